-- What Grafana's PostgreSQL data source asks: a test of the connection, the version, tables and columns for its query builder,
-- and the form in which a panel's macros arrive.
SELECT 1
----
SELECT current_setting('server_version_num')::int/100 AS version
----
SELECT quote_ident(table_schema) || '.' || quote_ident(table_name) AS "table" FROM information_schema.tables
WHERE quote_ident(table_schema) NOT IN ('information_schema', 'pg_catalog', '_timescaledb_catalog', 'timescaledb_information')
ORDER BY 1
----
SELECT quote_ident(column_name) AS "column", data_type AS "type" FROM information_schema.columns
WHERE quote_ident(table_name) = 'usage_events' ORDER BY 1
----
SELECT floor(extract(epoch FROM time) / 3600) * 3600 AS time, meter AS metric, sum(value) AS value FROM usage_events
WHERE time BETWEEN '2026-05-01T00:00:00Z' AND '2026-05-31T23:59:59Z' GROUP BY 1, 2 ORDER BY 1, 2
----
SELECT date_trunc('day', time) AS time, count(*) AS value FROM usage_events
WHERE time >= to_timestamp(1777593600) AND time <= to_timestamp(1780272000) GROUP BY 1 ORDER BY 1
----
SELECT "tenant", sum("value") FROM "public"."usage_events" GROUP BY "tenant" LIMIT 50
