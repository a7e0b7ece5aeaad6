-- title: Top tenants by spend
-- about: The tenants with the highest invoices, drafts among them.
-- parameter period = last_month: the month in which the periods start
-- parameter top = 20: how many
-- money: spend
-- chart: bar tenant spend
SELECT tenant, currency, sum(total) AS spend, count(*) AS invoices, bool_and(state = 'issued') AS is_issued
FROM invoices
WHERE left(period, 7) = $period
GROUP BY tenant, currency
ORDER BY spend DESC, tenant, currency
LIMIT CAST($top AS BIGINT)
