-- Unique resources (DESIGN.md 3.5): how many resources were seen, and in how many hours (of the UTC clock) each.
--
-- How: distinct resources, and distinct pairs of resource and hour, among the span's events.
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
        identity
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
in_span AS (
    SELECT own.*, (time_us - ((time_us % 3600000000) + 3600000000) % 3600000000) AS hour_us
    FROM own
    WHERE is_taken AND time_us >= CAST($start_us AS BIGINT) AND time_us < CAST($end_us AS BIGINT)
)
SELECT
    dimensions,
    'unique_resources' AS measure,
    CAST(COUNT(*) AS DECIMAL(76, 9)) AS numerator,
    CAST(1 AS BIGINT) AS denominator
FROM (SELECT DISTINCT dimensions, resource FROM in_span) AS resources GROUP BY dimensions
UNION ALL
SELECT dimensions, 'resource_hours', CAST(COUNT(*) AS DECIMAL(76, 9)), 1
FROM (SELECT DISTINCT dimensions, resource, hour_us FROM in_span) AS hours GROUP BY dimensions
