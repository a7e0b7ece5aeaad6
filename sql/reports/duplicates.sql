-- title: Duplicate rate by source
-- about: Events that came more than once and were not compacted yet (compaction takes repeats out), and events that contradict an
-- about: earlier one of the same identity.
-- parameter from = 0001-01-01: the first day of the events
-- parameter until = 9999-12-31: the last day of the events
-- chart: bar source duplicate_percent
WITH events AS (
    SELECT source, identity, count(DISTINCT concat_ws('/', topic, "partition", "offset", batch_index, CAST(arrival AS TEXT))) AS times
    FROM usage_events
    WHERE event_day BETWEEN CAST($from AS DATE) AND CAST($until AS DATE)
    GROUP BY source, identity
), repeated AS (
    SELECT source, sum(times) AS received, sum(times - 1) AS duplicates FROM events GROUP BY source
), conflicts AS (
    SELECT source, count(*) AS conflicts FROM rejected_messages WHERE reason = 'conflict' GROUP BY source
)
SELECT repeated.source, received, duplicates, coalesce(conflicts, 0) AS conflicts,
       round(CAST(duplicates AS DECIMAL(20, 0)) * 100 / CAST(received AS DECIMAL(20, 0)), 3) AS duplicate_percent
FROM repeated
LEFT JOIN conflicts ON conflicts.source = repeated.source
ORDER BY duplicates DESC, repeated.source
