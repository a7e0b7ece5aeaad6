"""Runs the text of a report over raw events with DuckDB: the other side of `meterhouse bench reports`.

Usage: reports.py LAKE_TABLE THREADS TEXT; prints the seconds taken. DuckDB is loaded and has its tables before the clock starts.
"""
import glob
import os
import sys
import time

import duckdb

table, threads, text = sys.argv[1], int(sys.argv[2]), sys.argv[3]
files = sorted(glob.glob(os.path.join(table, "event_day=*", "*.parquet")))
connection = duckdb.connect()
connection.execute(f"SET threads = {threads}")
connection.execute("SET enable_progress_bar = false")
connection.execute("SET TimeZone = 'UTC'")
connection.execute(f"CREATE VIEW usage_events AS SELECT * FROM read_parquet({files!r}, hive_partitioning = true)")
connection.execute("CREATE TABLE usage_days AS SELECT DISTINCT event_day, true AS compacted FROM usage_events")
connection.execute("CREATE TABLE rejected_messages (reason TEXT, source TEXT, arrival TIMESTAMPTZ)")
connection.execute(
    "CREATE TABLE meters AS SELECT * FROM (VALUES ('devices', 'unique'), ('messages', 'cumulative'), "
    "('sessions', 'session'), ('storage', 'gauge'), ('traffic', 'delta')) AS meters (meter, kind)"
)
started = time.perf_counter()
connection.execute(f"CREATE TEMP TABLE answer AS {text}")
print(time.perf_counter() - started)
