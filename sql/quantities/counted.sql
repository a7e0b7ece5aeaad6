-- The rows of usage_events that count (DESIGN.md 3.2): identity and time make an event, and its first arrival counts; an
-- event that was voided does not, and what an amendment says stands in the place of an amended one. The other queries read
-- the result as `counted_events`.

WITH
-- Voids and amendments. The event that they correct stands in `resource`; of one that came twice the first counts, of several
-- about one event of its tenant the last.
told AS (
    SELECT * FROM (
        SELECT
            usage_events.*,
            ROW_NUMBER() OVER (PARTITION BY identity ORDER BY arrival, partition, "offset", batch_index) AS nth_same
        FROM usage_events
        WHERE event_type IN ('meterhouse.void', 'meterhouse.amend') AND meter IS NULL
    ) WHERE nth_same = 1
),
in_force AS (
    SELECT * FROM (
        SELECT
            told.*,
            ROW_NUMBER() OVER (
                PARTITION BY resource, tenant
                ORDER BY arrival DESC, partition DESC, "offset" DESC, batch_index DESC
            ) AS nth_last
        FROM told
    ) WHERE nth_last = 1
),
first_arrived AS (
    SELECT * FROM (
        -- All rows of the message that came first share its place in Kafka.
        SELECT
            RANK() OVER (PARTITION BY identity, time ORDER BY arrival, partition, "offset", batch_index) AS nth_arrival,
            ENCODE(identity, 'hex') AS target,
            usage_events.*
        FROM usage_events
        WHERE event_type NOT IN ('meterhouse.void', 'meterhouse.amend')
    ) WHERE nth_arrival = 1
),
-- Where a corrected event stands: its first row of each UTC day.
originals AS (
    SELECT * FROM (
        SELECT
            first_arrived.*,
            ROW_NUMBER() OVER (
                PARTITION BY target, tenant, DATE_TRUNC('day', time)
                ORDER BY arrival, partition, "offset", batch_index
            ) AS nth_row
        FROM first_arrived
    ) WHERE nth_row = 1
),
counted AS (
    SELECT
        told_of.identity IS NOT NULL AS is_corrected,
        seen.identity, seen.tenant, seen.meter, seen.time, seen.value, seen.resource, seen.dimensions, seen.signal,
        seen.signal_time, seen.arrival, seen.partition, seen."offset", seen.batch_index
    FROM first_arrived AS seen
    LEFT JOIN in_force AS told_of ON told_of.resource = seen.target AND told_of.tenant = seen.tenant
)
SELECT
    identity, tenant, meter, time, value, resource, dimensions, signal, signal_time, arrival, partition, "offset",
    batch_index
FROM counted
WHERE NOT is_corrected
UNION ALL
-- What an amendment says, at its own time if it names one, else in the place of the event.
SELECT
    said.identity, said.tenant, said.meter, said.time, said.value, said.resource, said.dimensions, said.signal,
    said.signal_time, said.arrival, said.partition, said."offset", said.batch_index
FROM usage_events AS said
JOIN in_force ON in_force.identity = said.identity AND in_force.topic = said.topic
    AND in_force.partition = said.partition AND in_force."offset" = said."offset"
    AND in_force.batch_index = said.batch_index
WHERE said.event_type = 'meterhouse.amend' AND said.meter IS NOT NULL AND in_force.time_given
UNION ALL
SELECT
    said.identity, said.tenant, said.meter, originals.time, said.value, said.resource, said.dimensions, said.signal,
    said.signal_time, originals.arrival, originals.partition, originals."offset", originals.batch_index
FROM usage_events AS said
JOIN in_force ON in_force.identity = said.identity AND in_force.topic = said.topic
    AND in_force.partition = said.partition AND in_force."offset" = said."offset"
    AND in_force.batch_index = said.batch_index
JOIN originals ON originals.target = in_force.resource AND originals.tenant = in_force.tenant
WHERE said.event_type = 'meterhouse.amend' AND said.meter IS NOT NULL AND NOT in_force.time_given
