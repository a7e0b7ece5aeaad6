-- title: Margin per tenant
-- about: What is charged less what the usage costs the vendor, by the costs of the catalog.
-- parameter period = last_month: the month in which the periods start
-- money: charged cost margin
-- chart: bar tenant margin
SELECT tenant, currency,
       coalesce(sum(amount) FILTER (WHERE kind = 'charge'), 0) AS charged,
       coalesce(sum(amount) FILTER (WHERE kind = 'cost'), 0) AS cost,
       coalesce(sum(amount) FILTER (WHERE kind = 'charge'), 0) - coalesce(sum(amount) FILTER (WHERE kind = 'cost'), 0) AS margin
FROM charges($period)
WHERE kind IN ('charge', 'cost')
GROUP BY tenant, currency
ORDER BY margin, tenant, currency
