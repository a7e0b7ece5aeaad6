-- A counter that resets (DESIGN.md 3.5): how much it grew in the span.
--
-- How: against the sample before, however far back it lies, a sample adds the difference, or its own value after a drop;
-- the first ever adds nothing. An increase belongs to the later sample's time.
-- No sum can wrap: a value has 38 digits, a time in microseconds 19, and a Decimal256 holds 76, which leaves room for
-- 10^19 of their products.
--
-- Asked with typed parameters:
--   $tenant, $meter              whose usage of what
--   $start_us, $end_us           the span, [start, end), in microseconds UTC
--   $by_1 … $by_4                names of the dimensions to tell apart, in ascending order; '' for none
--   $only_name, $only_values     only usage whose dimension $only_name has one of these values (with commas); '' for all
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
increases AS (
    SELECT
        dimensions,
        time_us,
        CASE
            WHEN before IS NULL THEN CAST(0 AS DECIMAL(76, 9))
            WHEN value < before THEN value
            ELSE value - before
        END AS increase
    FROM (
        SELECT own.*, LAG(value) OVER (PARTITION BY resource, dimension_set ORDER BY place) AS before FROM own WHERE is_taken
    ) AS compared
)
SELECT dimensions, 'increase' AS measure, SUM(increase) AS numerator, CAST(1 AS BIGINT) AS denominator
FROM increases
WHERE time_us >= CAST($start_us AS BIGINT) AND time_us < CAST($end_us AS BIGINT)
GROUP BY dimensions
