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
----
SELECT extversion FROM pg_extension WHERE extname = 'timescaledb'
----
SELECT schema_name AS "name" FROM information_schema.schemata
WHERE schema_name NOT IN ('pg_toast', 'information_schema',
                             'pg_catalog',
                             '_timescaledb_cache',
                             '_timescaledb_catalog',
                             '_timescaledb_internal',
                             '_timescaledb_config',
                             'timescaledb_information',
                             'timescaledb_experimental') ORDER BY schema_name
----
SELECT quote_ident(table_name) AS "table" FROM information_schema.tables WHERE quote_ident(table_schema) = 'public' ORDER BY 1
----
SELECT
    CASE WHEN 
          quote_ident(table_schema) IN (
          SELECT
            CASE WHEN trim(s[i]) = '"$user"' THEN user ELSE trim(s[i]) END
          FROM
            generate_series(
              array_lower(string_to_array(current_setting('search_path'),','),1),
              array_upper(string_to_array(current_setting('search_path'),','),1)
            ) as i,
            string_to_array(current_setting('search_path'),',') s
          )
      THEN quote_ident(table_name)
      ELSE quote_ident(table_schema) || '.' || quote_ident(table_name)
    END AS "table"
    FROM information_schema.tables
    WHERE quote_ident(table_schema) NOT IN ('information_schema',
                             'pg_catalog',
                             '_timescaledb_cache',
                             '_timescaledb_catalog',
                             '_timescaledb_internal',
                             '_timescaledb_config',
                             'timescaledb_information',
                             'timescaledb_experimental')
    ORDER BY CASE WHEN 
          quote_ident(table_schema) IN (
          SELECT
            CASE WHEN trim(s[i]) = '"$user"' THEN user ELSE trim(s[i]) END
          FROM
            generate_series(
              array_lower(string_to_array(current_setting('search_path'),','),1),
              array_upper(string_to_array(current_setting('search_path'),','),1)
            ) as i,
            string_to_array(current_setting('search_path'),',') s
          ) THEN 0 ELSE 1 END, 1
----
SELECT quote_ident(column_name) AS "column", data_type AS "type"
    FROM information_schema.columns
    WHERE
      CASE WHEN array_length(parse_ident('usage_events'),1) = 2
        THEN quote_ident(table_schema) = (parse_ident('usage_events'))[1]
          AND quote_ident(table_name) = (parse_ident('usage_events'))[2]
        ELSE quote_ident(table_name) = 'usage_events'
          AND 
          quote_ident(table_schema) IN (
          SELECT
            CASE WHEN trim(s[i]) = '"$user"' THEN user ELSE trim(s[i]) END
          FROM
            generate_series(
              array_lower(string_to_array(current_setting('search_path'),','),1),
              array_upper(string_to_array(current_setting('search_path'),','),1)
            ) as i,
            string_to_array(current_setting('search_path'),',') s
          )
      END
