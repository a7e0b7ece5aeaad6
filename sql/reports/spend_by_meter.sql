-- title: Spend by meter and month
-- about: What was invoiced for each meter; fees and purchases have none.
-- parameter from = 0001-01: the first month
-- parameter until = 9999-12: the last month
-- money: spend
-- chart: line month spend meter
SELECT left(period, 7) AS month, coalesce(meter, 'fees') AS meter, currency, sum(amount) AS spend, count(*) AS lines
FROM invoice_lines
WHERE left(period, 7) BETWEEN $from AND $until
GROUP BY 1, 2, 3
ORDER BY 1, 2, 3
