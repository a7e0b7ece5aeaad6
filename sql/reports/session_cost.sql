-- title: Session cost by user type and size
-- about: Time and amount of sessions by two of their dimensions.
-- parameter period = last_month: the month in which the periods start
-- parameter first = user_type: the first dimension
-- parameter second = size: the second dimension
-- money: cost
-- chart: bar user_type cost size
SELECT dimension(dimensions, $first) AS user_type, dimension(dimensions, $second) AS size, unit, currency,
       sum(quantity) AS time, sum(amount) AS cost, count(DISTINCT tenant) AS tenants
FROM charges($period)
WHERE kind = 'charge' AND measure = 'session_time'
GROUP BY 1, 2, 3, 4
ORDER BY 1 NULLS LAST, 2 NULLS LAST, 3, 4
