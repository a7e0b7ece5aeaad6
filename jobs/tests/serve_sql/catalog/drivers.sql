-- What drivers ask on their own: types by number and by name, and settings when they connect.
SELECT t.oid, t.typname, t.typtype, t.typelem, t.typrelid FROM pg_catalog.pg_type AS t WHERE t.oid = 1700
----
SELECT typname AS name, oid, typarray AS array_oid, typdelim AS delimiter FROM pg_type WHERE typname = 'numeric'
----
SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY
----
SHOW TRANSACTION ISOLATION LEVEL
----
SHOW standard_conforming_strings
----
SELECT pg_is_in_recovery(), current_setting('default_transaction_read_only')
----
SET client_min_messages TO warning
----
SET DateStyle = 'ISO'
----
SELECT current_catalog, current_user
----
SELECT c.relname, a.attname, a.attnum, format_type(a.atttypid, a.atttypmod) FROM pg_attribute AS a
JOIN pg_class AS c ON c.oid = a.attrelid JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE n.nspname = 'public' AND a.attnum > 0 ORDER BY 1, 3
