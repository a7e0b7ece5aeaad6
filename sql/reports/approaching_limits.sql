-- title: Approaching limits
-- about: Limits of the period that are used up by a share or more, with what was bought to raise them; of a limit of nothing any usage is
-- about: more than all. Limits of an hour and of a lifetime are not among them.
-- parameter period = this_month: the month in which the periods start
-- parameter percent = 80: from how much on
-- chart: bar tenant percent
SELECT tenant, price AS quota, description, quantity AS used, billable AS allowed, unit,
       round(CAST(quantity AS DECIMAL(28, 6)) * 100 / nullif(CAST(billable AS DECIMAL(28, 6)), 0), 2) AS percent
FROM charges($period)
WHERE kind = 'limit' AND quantity > 0 AND quantity * 100 >= billable * CAST($percent AS DECIMAL(9, 3))
ORDER BY percent DESC NULLS FIRST, tenant, quota
