-- A gauge (DESIGN.md 3.5): the level of a resource holds from its sample until the next, over period starts too.
-- peak, min, last, average, unit hours, 95th percentile and the sum of the resources' peaks.
--
-- How: each sample changes its resource's level by (value - the value before); the running sum of all changes of a
-- dimension set is its level, and the integral is the sum of change * (end - instant of the change). What changed before the
-- span counts as a change at its start.
-- No sum can wrap: a value has 38 digits, a time in microseconds 19, and a Decimal256 holds 76, which leaves room for
-- 10^19 of their products (100 of them for the percentile, which compares averages times 17 digits more).
--
-- Asked with typed parameters:
--   $tenant, $meter              whose usage of what
--   $start_us, $end_us           the span, [start, end), in microseconds UTC
--   $by_1 … $by_4                names of the dimensions to tell apart, in ascending order; '' for none
--   $only_name, $only_values     only usage whose dimension $only_name has one of these values (with commas); '' for all
--   $period_us                   the length of the whole period, over which an average is taken
--   $expires_after_us            a level drops to zero so long after its sample; 0 for never
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
        CAST(value AS DECIMAL(76, 9)) AS value
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
last_at_instant AS (
    SELECT * FROM (
        SELECT
            own.*,
            ROW_NUMBER() OVER (PARTITION BY resource, dimension_set, time_us ORDER BY place DESC) AS nth_last
        FROM own
        WHERE is_taken
    ) WHERE nth_last = 1
),
-- A level that expires is a sample of zero at that instant, unless a sample came since.
samples AS (
    SELECT
        resource,
        dimension_set,
        dimensions,
        at_us AS time_us,
        CASE WHEN is_end THEN CAST(0 AS DECIMAL(76, 9)) ELSE value END AS value
    FROM (
        SELECT
            marks.*,
            MAX(time_us) OVER (
                PARTITION BY resource, dimension_set ORDER BY at_us
                RANGE BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW
            ) AS newest_us
        FROM (
            SELECT
                last_at_instant.*,
                is_end,
                time_us + CASE WHEN is_end THEN CAST($expires_after_us AS BIGINT) ELSE 0 END AS at_us
            FROM last_at_instant CROSS JOIN (VALUES (FALSE), (TRUE)) AS ends(is_end)
            WHERE NOT is_end OR CAST($expires_after_us AS BIGINT) > 0
        ) AS marks
    ) AS compared
    WHERE NOT is_end OR newest_us = time_us
),
changes AS (
    SELECT
        dimensions,
        resource,
        dimension_set,
        GREATEST(time_us, CAST($start_us AS BIGINT)) AS at_us,
        time_us,
        value,
        value - COALESCE(LAG(value) OVER (PARTITION BY resource, dimension_set ORDER BY time_us), 0) AS change
    FROM samples
    WHERE time_us < CAST($end_us AS BIGINT)
),
instants AS (
    SELECT dimensions, at_us, SUM(change) AS change FROM changes GROUP BY dimensions, at_us
),
levels AS (
    SELECT
        dimensions,
        at_us,
        change,
        SUM(change) OVER (
            PARTITION BY dimensions ORDER BY at_us ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW
        ) AS level,
        ROW_NUMBER() OVER (PARTITION BY dimensions ORDER BY at_us DESC) AS nth_last
    FROM instants
),
-- Before the first change of all, the level is zero.
extremes AS (
    SELECT
        dimensions,
        MAX(level) AS highest,
        MIN(level) AS lowest,
        CASE WHEN MIN(at_us) > CAST($start_us AS BIGINT) THEN 0 ELSE MAX(level) END AS opening_or_highest,
        CASE WHEN MIN(at_us) > CAST($start_us AS BIGINT) THEN 0 ELSE MIN(level) END AS opening_or_lowest
    FROM levels
    GROUP BY dimensions
),
integrals AS (
    SELECT
        dimensions,
        SUM(change * CAST(CAST($end_us AS BIGINT) - at_us AS DECIMAL(20, 0))) AS integral
    FROM instants
    GROUP BY dimensions
),
-- The levels that a resource had in the span: the one that it opened with, or zero, and those of its samples.
held AS (
    SELECT dimensions, resource, dimension_set, value, time_us, ROW_NUMBER() OVER (
        PARTITION BY resource, dimension_set, at_us ORDER BY time_us DESC
    ) AS nth_last
    FROM changes
),
resource_peaks AS (
    SELECT
        dimensions,
        CASE
            WHEN MIN(time_us) > CAST($start_us AS BIGINT) AND MAX(value) < 0 THEN CAST(0 AS DECIMAL(76, 9))
            ELSE MAX(value)
        END AS peak
    FROM held
    WHERE nth_last = 1
    GROUP BY dimensions, resource, dimension_set
),
-- The clock's five minutes, cut at the span's edges.
buckets AS (
    SELECT
        GREATEST(bucket * 300000000, CAST($start_us AS BIGINT)) AS from_us,
        LEAST((bucket + 1) * 300000000, CAST($end_us AS BIGINT)) AS until_us
    FROM (
        SELECT UNNEST(GENERATE_SERIES(
            CAST($start_us AS BIGINT) / 300000000, (CAST($end_us AS BIGINT) - 1) / 300000000
        )) AS bucket
    )
),
edges AS (
    SELECT MIN(until_us) - MIN(from_us) AS first_us, MAX(until_us) - MAX(from_us) AS last_us, COUNT(*) AS count
    FROM buckets
),
-- Averages over buckets of unequal length are compared as whole numbers: each times the two other lengths there are.
bucket_integrals AS (
    SELECT
        dimensions,
        from_us,
        until_us - from_us AS length_us,
        SUM(CASE
            WHEN at_us < until_us THEN change * CAST(until_us - GREATEST(at_us, from_us) AS DECIMAL(20, 0)) ELSE 0
        END) AS integral
    FROM buckets CROSS JOIN instants
    GROUP BY dimensions, from_us, until_us
),
ranked AS (
    SELECT
        dimensions,
        length_us,
        integral,
        count,
        ROW_NUMBER() OVER (
            PARTITION BY dimensions
            ORDER BY integral * CAST(CASE
                WHEN from_us = CAST($start_us AS BIGINT) THEN 300000000 * last_us
                WHEN from_us + length_us = CAST($end_us AS BIGINT) THEN 300000000 * first_us
                ELSE first_us * last_us
            END AS DECIMAL(20, 0)) DESC
        ) AS nth_highest
    FROM bucket_integrals CROSS JOIN edges
)
SELECT dimensions, 'peak' AS measure, GREATEST(highest, opening_or_highest) AS numerator, CAST(1 AS BIGINT) AS denominator
FROM extremes
UNION ALL
SELECT dimensions, 'min', LEAST(lowest, opening_or_lowest), 1 FROM extremes
UNION ALL
SELECT dimensions, 'last', level, 1 FROM levels WHERE nth_last = 1
UNION ALL
SELECT dimensions, 'average', integral, CAST($period_us AS BIGINT) FROM integrals
UNION ALL
SELECT dimensions, 'unit_hours', integral, 3600000000 FROM integrals
UNION ALL
SELECT dimensions, 'sum_of_peaks', SUM(peak), 1 FROM resource_peaks GROUP BY dimensions
UNION ALL
SELECT dimensions, 'p95', integral, length_us FROM ranked WHERE nth_highest = count / 20 + 1
