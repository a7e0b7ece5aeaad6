-- title: Peak against average, and what each would cost
-- about: For each price of a level (storage, connections) the peak and the average, and the line's amount if it were billed by either.
-- parameter period = last_month: the month in which the periods start
-- money: cost_by_peak cost_by_average difference
-- chart: bar tenant difference
SELECT
    tenant, plan, price, meter, unit, currency,
    sum(quantity) FILTER (WHERE kind = 'by_peak') AS peak,
    sum(quantity) FILTER (WHERE kind = 'by_average') AS average,
    max(measure) FILTER (WHERE kind = 'charge') AS billed_by,
    sum(amount) FILTER (WHERE kind = 'by_peak') AS cost_by_peak,
    sum(amount) FILTER (WHERE kind = 'by_average') AS cost_by_average,
    sum(amount) FILTER (WHERE kind = 'by_peak') - sum(amount) FILTER (WHERE kind = 'by_average') AS difference
FROM charges($period)
WHERE kind IN ('charge', 'by_peak', 'by_average')
GROUP BY tenant, plan, subscription, price, dimensions, span_start, meter, unit, currency
HAVING count(*) FILTER (WHERE kind = 'by_peak') > 0
ORDER BY difference DESC, tenant, plan, price, average
