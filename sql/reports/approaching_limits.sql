-- title: Approaching limits
-- about: Limits of the period that are used up by a share or more. Limits of an hour and of a lifetime are not among them.
-- parameter period = this_month: the month in which the periods start
-- parameter percent = 80: from how much on
-- chart: bar tenant percent
SELECT tenant, price AS quota, description, quantity AS used, billable AS allowed, unit,
       round(quantity * 100 / billable, 2) AS percent
FROM charges($period)
WHERE kind = 'limit' AND billable > 0 AND quantity * 100 >= billable * CAST($percent AS DECIMAL(9, 3))
ORDER BY percent DESC, tenant, quota
