-- Sessions (DESIGN.md 3.5): seconds of running sessions that overlap the span. A session goes over from one dimension set
-- to another where a sign of life says so (a heartbeat without dimensions says nothing of them); without a stop it goes
-- on, or ends so long after its last sign of life. A heartbeat begins a session only where a timeout can end it, and not
-- within that time after a stop.
--
-- How: from each start, heartbeat or complete event a stretch goes to the session's next event, to its known end or to
-- its timeout, whichever is first. A session has owed B(elapsed) in all: the elapsed time, at least the minimum, in whole
-- increments; a stretch in the span owes what B grew by.
-- Not computed here: a session that sends complete events as well as others.
--
-- Asked with typed parameters:
--   $tenant, $meter              whose usage of what
--   $start_us, $end_us           the span, [start, end), in microseconds UTC
--   $by_1 … $by_4                names of the dimensions to tell apart, in ascending order; '' for none
--   $only_name, $only_values     only usage whose dimension $only_name has one of these values (with commas); '' for all
--   $timeout_us                  after the last sign of life; 0 for never
--   $minimum_us, $increment_us   of a session's billed time; 0 and 1 for exactly what it ran
-- Answers one row for each dimension set and measure: the value is numerator / denominator, exactly. A dimension set with
-- the value zero may be missing. What counts comes from counted.sql. Dimension names and
-- values that are asked for must hold no comma, names nothing that JSON or a regular expression escapes.

WITH
of_meter AS (
    SELECT
        ROW_NUMBER() OVER (ORDER BY time, arrival, partition, "offset", batch_index) AS place,
        CAST(time AS BIGINT) AS time_us,
        COALESCE(resource, '') AS resource,
        COALESCE(dimensions, '') AS dimension_set,
        COALESCE(signal_time, time) AS signal_time,
        signal,
        CAST(CAST(value AS DECIMAL(76, 9)) * 1000000000 AS BIGINT) / 1000 AS duration_us
    FROM counted_events
    WHERE tenant = CAST($tenant AS VARCHAR) AND meter = CAST($meter AS VARCHAR)
),
own AS (
    SELECT
        of_meter.*,
        CONCAT('{', ARRAY_TO_STRING(MAKE_ARRAY(
            REGEXP_MATCH(dimension_set, CONCAT('"', CAST($by_1 AS VARCHAR), '":"(?:[^"\\]|\\.)*"'))[1],
            REGEXP_MATCH(dimension_set, CONCAT('"', CAST($by_2 AS VARCHAR), '":"(?:[^"\\]|\\.)*"'))[1],
            REGEXP_MATCH(dimension_set, CONCAT('"', CAST($by_3 AS VARCHAR), '":"(?:[^"\\]|\\.)*"'))[1],
            REGEXP_MATCH(dimension_set, CONCAT('"', CAST($by_4 AS VARCHAR), '":"(?:[^"\\]|\\.)*"'))[1]
        ), ','), '}') AS dimensions,
        CAST($only_name AS VARCHAR) = '' OR COALESCE(ARRAY_HAS(
            STRING_TO_ARRAY(CAST($only_values AS VARCHAR), ','),
            REGEXP_MATCH(dimension_set, CONCAT('"', CAST($only_name AS VARCHAR), '":"((?:[^"\\]|\\.)*)"'))[1]
        ), FALSE) AS is_taken
    FROM of_meter
),
signals AS (
    SELECT
        resource AS session,
        dimensions,
        is_taken,
        signal <> 'heartbeat' OR dimension_set NOT IN ('', '{}') AS says_dimensions,
        signal,
        CAST(CASE WHEN signal = 'heartbeat' THEN time_us ELSE CAST(signal_time AS BIGINT) END AS BIGINT) AS at_us,
        CASE WHEN signal = 'complete' THEN CAST(signal_time AS BIGINT) + CAST(duration_us AS BIGINT) END AS known_us,
        place
    FROM own
    WHERE signal <> 'complete' OR duration_us >= 0
),
words AS (
    SELECT
        signals.*,
        LAST_VALUE(CASE WHEN signal <> 'heartbeat' THEN signal END) IGNORE NULLS OVER earlier AS last_word,
        MAX(CASE WHEN signal = 'stop' THEN at_us END) OVER earlier AS stopped_us
    FROM signals
    WINDOW earlier AS (
        PARTITION BY session ORDER BY at_us, place ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
    )
),
heard AS (
    SELECT *
    FROM words
    WHERE signal <> 'heartbeat' OR CASE
        WHEN CAST($timeout_us AS BIGINT) = 0 THEN COALESCE(last_word, 'stop') <> 'stop'
        ELSE COALESCE(last_word, 'start') <> 'stop' OR stopped_us + CAST($timeout_us AS BIGINT) < at_us
    END
),
neighbours AS (
    SELECT
        heard.*,
        LAG(at_us) OVER (PARTITION BY session ORDER BY at_us, place) AS before_us,
        LAG(signal) OVER (PARTITION BY session ORDER BY at_us, place) AS before,
        LEAD(at_us) OVER (PARTITION BY session ORDER BY at_us, place) AS next_us,
        LEAD(signal) OVER (PARTITION BY session ORDER BY at_us, place) AS next
    FROM heard
),
-- A session begins where none of its name runs.
begun AS (
    SELECT
        neighbours.*,
        MAX(CASE
            WHEN before IS NULL OR before = 'stop' OR signal = 'complete'
                OR (CAST($timeout_us AS BIGINT) > 0 AND before_us + CAST($timeout_us AS BIGINT) < at_us)
            THEN at_us
        END) OVER (
            PARTITION BY session ORDER BY at_us, place ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW
        ) AS begun_us
    FROM neighbours
),
known AS (
    SELECT
        begun.*,
        COALESCE(LAST_VALUE(CASE WHEN says_dimensions THEN dimensions END) IGNORE NULLS OVER run, dimensions)
            AS kept_dimensions,
        COALESCE(LAST_VALUE(CASE WHEN says_dimensions THEN is_taken END) IGNORE NULLS OVER run, is_taken)
            AS is_kept_taken
    FROM begun
    WINDOW run AS (
        PARTITION BY session, begun_us ORDER BY at_us, place ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW
    )
),
stretches AS (
    SELECT
        kept_dimensions AS dimensions,
        is_kept_taken AS is_taken,
        begun_us,
        at_us AS from_us,
        LEAST(
            COALESCE(next_us, 9223372036854775807),
            COALESCE(known_us, 9223372036854775807),
            CASE
                WHEN known_us IS NULL AND CAST($timeout_us AS BIGINT) > 0 THEN at_us + CAST($timeout_us AS BIGINT)
                ELSE 9223372036854775807
            END
        ) AS until_us,
        -- Nothing is owed for dimensions that a session had for no time at all, unless it ended there.
        next_us IS NOT NULL AND next_us = at_us AND next <> 'stop' AS is_passed_over
    FROM known
    WHERE signal <> 'stop'
),
in_span AS (
    SELECT
        dimensions,
        is_taken,
        begun_us,
        GREATEST(from_us, CAST($start_us AS BIGINT)) AS from_us,
        LEAST(until_us, CAST($end_us AS BIGINT)) AS until_us
    FROM stretches
    WHERE from_us < CAST($end_us AS BIGINT) AND until_us >= CAST($start_us AS BIGINT) AND NOT is_passed_over
),
elapsed AS (
    SELECT
        dimensions,
        is_taken,
        GREATEST(until_us - begun_us, CAST($minimum_us AS BIGINT)) AS after_us,
        CASE WHEN from_us > begun_us THEN GREATEST(from_us - begun_us, CAST($minimum_us AS BIGINT)) ELSE 0 END
            AS before_us
    FROM in_span
),
owed AS (
    SELECT
        dimensions,
        is_taken,
        (after_us + CAST($increment_us AS BIGINT) - 1) / CAST($increment_us AS BIGINT) * CAST($increment_us AS BIGINT)
        - (before_us + CAST($increment_us AS BIGINT) - 1) / CAST($increment_us AS BIGINT)
        * CAST($increment_us AS BIGINT) AS owed_us
    FROM elapsed
)
SELECT
    dimensions,
    'session_time' AS measure,
    SUM(CAST(owed_us AS DECIMAL(76, 9))) AS numerator,
    CAST(1000000 AS BIGINT) AS denominator
FROM owed
WHERE is_taken
GROUP BY dimensions
