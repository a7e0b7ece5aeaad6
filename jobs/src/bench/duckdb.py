"""Deduplicates and sorts each day of a lake with DuckDB: the other side of `meterhouse bench compact`.

Usage: duckdb.py LAKE_TABLE OUTPUT THREADS; prints the seconds taken and the rows written.
"""
import glob
import os
import sys
import time

import duckdb

table, output, threads = sys.argv[1], sys.argv[2], int(sys.argv[3])
connection = duckdb.connect()
connection.execute(f"SET threads = {threads}")
connection.execute("SET preserve_insertion_order = false")
days = sorted(glob.glob(os.path.join(table, "event_day=*")))
started = time.perf_counter()
rows = 0
for day in days:
    target = os.path.join(output, os.path.basename(day))
    os.makedirs(target)
    connection.execute(
        f"""
        COPY (
            SELECT * EXCLUDE (arrival_rank) FROM (
                SELECT *, dense_rank() OVER (
                    PARTITION BY identity ORDER BY arrival, topic, "partition", "offset", batch_index
                ) AS arrival_rank
                FROM read_parquet('{day}/part-*.parquet', hive_partitioning = false)
            )
            WHERE arrival_rank = 1
            ORDER BY tenant, meter, "time", arrival, topic, "partition", "offset", batch_index
        ) TO '{target}/sorted.parquet' (FORMAT parquet, COMPRESSION zstd, COMPRESSION_LEVEL 1)
        """
    )
    rows += connection.execute(
        f"SELECT count(*) FROM read_parquet('{target}/sorted.parquet')"
    ).fetchone()[0]
print(time.perf_counter() - started, rows)
