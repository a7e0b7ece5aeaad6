-- title: Spend by meter and month
-- about: What was invoiced for each meter, drafts among them; fees and purchases have none. Corrections count to the meter of the price
-- about: that they correct.
-- parameter from = 0001-01: the first month
-- parameter until = 9999-12: the last month
-- money: spend
-- chart: line month spend meter
WITH lines AS (
    SELECT left(period, 7) AS month, currency, amount, max(meter) OVER (PARTITION BY tenant, period, subscription, price) AS meter
    FROM invoice_lines
    WHERE left(period, 7) BETWEEN $from AND $until
)
SELECT month, coalesce(meter, 'fees') AS meter, currency, sum(amount) AS spend, count(*) AS lines
FROM lines
GROUP BY month, coalesce(meter, 'fees'), currency
ORDER BY 1, 2, 3
