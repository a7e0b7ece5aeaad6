-- What Metabase asks while it synchronises: schemas, tables, columns, keys, and a fingerprint of some rows.
SELECT nspname FROM pg_namespace WHERE nspname !~ '^pg_' AND nspname <> 'information_schema'
----
SELECT n.nspname AS schema, c.relname AS name, CASE c.relkind WHEN 'r' THEN 'TABLE' WHEN 'v' THEN 'VIEW' END AS type,
       d.description AS description
FROM pg_catalog.pg_class AS c
INNER JOIN pg_catalog.pg_namespace AS n ON c.relnamespace = n.oid
LEFT JOIN pg_catalog.pg_description AS d ON c.oid = d.objoid AND d.objsubid = 0
WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' AND c.relkind IN ('r', 'p', 'v', 'f', 'm') ORDER BY 1, 2
----
SELECT table_schema, table_name, column_name, data_type, ordinal_position, is_nullable
FROM information_schema.columns WHERE table_schema = 'public' ORDER BY table_schema, table_name, ordinal_position
----
SELECT "public"."usage_events"."tenant", "public"."usage_events"."value" FROM "public"."usage_events" LIMIT 2000
----
SHOW timezone
