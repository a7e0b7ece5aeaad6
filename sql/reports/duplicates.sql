-- title: Duplicate rate by source
-- about: What came more than once and was not compacted yet (compaction takes repeats out), and events that contradict an
-- about: earlier one of the same identity. Rows are counted: an event has one for each meter that it feeds.
-- parameter from = 0001-01-01: the first day of the events
-- parameter until = 9999-12-31: the last day of the events
-- chart: bar source duplicate_percent
WITH arrived AS (
    -- Only what is not compacted can lie there twice.
    SELECT event_day FROM usage_days WHERE compacted IS NOT TRUE
), events AS (
    SELECT source, identity, meter, count(*) - 1 AS again
    FROM usage_events
    WHERE event_day BETWEEN CAST($from AS DATE) AND CAST($until AS DATE) AND event_day IN (SELECT event_day FROM arrived)
    GROUP BY source, identity, meter
    HAVING count(*) > 1
), repeated AS (
    SELECT source, sum(again) AS duplicates FROM events GROUP BY source
), received AS (
    SELECT source, count(*) AS received
    FROM usage_events
    WHERE event_day BETWEEN CAST($from AS DATE) AND CAST($until AS DATE)
    GROUP BY source
), conflicts AS (
    SELECT source, count(*) AS conflicts FROM rejected_messages WHERE reason = 'conflict' GROUP BY source
)
SELECT received.source, received, coalesce(duplicates, 0) AS duplicates, coalesce(conflicts, 0) AS conflicts,
       round(CAST(coalesce(duplicates, 0) AS DECIMAL(20, 0)) * 100 / CAST(received AS DECIMAL(20, 0)), 3) AS duplicate_percent
FROM received
LEFT JOIN repeated ON repeated.source = received.source
LEFT JOIN conflicts ON conflicts.source = received.source
ORDER BY duplicates DESC, received.source
