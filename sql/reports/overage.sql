-- title: Overage by tenant
-- about: What tenants pay for usage beyond what their plan includes.
-- parameter period = last_month: the month in which the periods start
-- money: overage
-- chart: bar tenant overage
WITH included AS (
    SELECT DISTINCT plan, price FROM allowances WHERE price IS NOT NULL
)
SELECT lines.tenant, subscriptions.plan, lines.price, lines.meter, lines.billable_unit AS unit, lines.currency,
       sum(lines.billable) AS beyond_included, sum(lines.amount) AS overage
FROM invoice_lines AS lines
JOIN subscriptions ON subscriptions.tenant = lines.tenant AND subscriptions.subscription = lines.subscription
JOIN included ON included.plan = subscriptions.plan AND included.price = lines.price
WHERE left(lines.period, 7) = $period AND lines.meter IS NOT NULL AND lines.billable > 0
GROUP BY 1, 2, 3, 4, 5, 6
ORDER BY overage DESC, 1, 2, 3
