"""Deduplicates and sorts each day of a lake with DuckDB: the other side of `meterhouse bench compact`.

Usage: duckdb.py LAKE_TABLE OUTPUT THREADS; prints the seconds taken, processor seconds, the rows read and
written, and the peak of memory in KiB.
"""
import glob
import os
import resource
import sys
import time

import duckdb

table, output, threads = sys.argv[1], sys.argv[2], int(sys.argv[3])
connection = duckdb.connect()
connection.execute(f"SET threads = {threads}")
connection.execute("SET preserve_insertion_order = false")
connection.execute("SET enable_progress_bar = false")
days = sorted(glob.glob(os.path.join(table, "event_day=*")))


def cpu_seconds():
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def count(files):
    return connection.execute(f"SELECT count(*) FROM read_parquet('{files}')").fetchone()[0]


rows_read = sum(count(f"{day}/part-*.parquet") for day in days)
started, cpu_started = time.perf_counter(), cpu_seconds()
for day in days:
    target = os.path.join(output, os.path.basename(day))
    os.makedirs(target, exist_ok=True)
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
seconds, cpu = time.perf_counter() - started, cpu_seconds() - cpu_started
rows_written = sum(count(f"{output}/{os.path.basename(day)}/sorted.parquet") for day in days)
print(seconds, cpu, rows_read, rows_written, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
