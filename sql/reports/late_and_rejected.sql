-- title: Late and rejected events
-- about: For each day on which events arrived how many there were, how many of them late, and how many messages were rejected.
-- parameter from = 0001-01-01: the first day
-- parameter until = 9999-12-31: the last day
-- parameter hours = 1: an event is late that arrives so many hours after its time
-- chart: line day late
WITH arrived AS (
    SELECT CAST(arrival AS DATE) AS day, count(*) AS events, count(*) FILTER (WHERE is_late) AS late
    FROM (
        -- An event that feeds several meters has a row for each.
        SELECT arrival, topic, "partition", "offset", batch_index,
               bool_or(date_part('epoch', arrival) - date_part('epoch', time) > 3600 * CAST($hours AS BIGINT)) AS is_late
        FROM usage_events
        GROUP BY 1, 2, 3, 4, 5
    ) AS one_by_one
    GROUP BY 1
), rejected AS (
    SELECT CAST(arrival AS DATE) AS day, count(*) AS rejected
    FROM rejected_messages
    GROUP BY 1
)
SELECT coalesce(arrived.day, rejected.day) AS day, coalesce(events, 0) AS events, coalesce(late, 0) AS late,
       coalesce(rejected, 0) AS rejected
FROM arrived
FULL JOIN rejected ON rejected.day = arrived.day
WHERE coalesce(arrived.day, rejected.day) BETWEEN CAST($from AS DATE) AND CAST($until AS DATE)
ORDER BY 1
