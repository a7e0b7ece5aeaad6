-- title: Data quality: silent resources and counter resets
-- about: Resources of levels that have told nothing for a while before the newest event of the lake, and counters that dropped.
-- about: Events are taken as they came: those that were voided, amended or came again are among them.
-- parameter hours = 48: a resource is silent after so many hours
-- parameter from = 0001-01-01: the first day that is looked at
-- chart: bar meter count
WITH newest AS (
    SELECT date_part('epoch', max(time)) AS at FROM usage_events
), last AS (
    SELECT tenant, usage_events.meter, resource, max(time) AS last_sample
    FROM usage_events
    JOIN meters ON meters.meter = usage_events.meter
    WHERE kind = 'gauge' AND event_day >= CAST($from AS DATE)
    GROUP BY 1, 2, 3
), counters AS (
    SELECT tenant, usage_events.meter, resource, time, value,
           lag(value) OVER (PARTITION BY tenant, usage_events.meter, resource, usage_events.dimensions ORDER BY time, arrival) AS before
    FROM usage_events
    JOIN meters ON meters.meter = usage_events.meter
    WHERE kind = 'cumulative' AND event_day >= CAST($from AS DATE)
)
SELECT 'silent' AS problem, tenant, meter, resource, last_sample AS since, 1 AS count
FROM last CROSS JOIN newest
WHERE newest.at - date_part('epoch', last_sample) > 3600 * CAST($hours AS BIGINT)
UNION ALL
SELECT 'counter reset', tenant, meter, resource, min(time), count(*)
FROM counters
WHERE value < before
GROUP BY 2, 3, 4
ORDER BY 1, 2, 3, 4
