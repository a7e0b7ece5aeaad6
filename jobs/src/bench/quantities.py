"""Sums, largest values, time-weighted averages and peaks of a month: the other side of `meterhouse bench quantities`.

Usage: quantities.py duckdb|polars LAKE_TABLE THREADS PERIOD_START_US PERIOD_END_US; prints what that took as
JSON. In floats and without looking for duplicates, which is less than what Meterhouse computes.
"""
import glob
import json
import os
import resource
import sys
import time

engine, table, threads = sys.argv[1], sys.argv[2], int(sys.argv[3])
start_us, end_us = int(sys.argv[4]), int(sys.argv[5])
files = sorted(glob.glob(os.path.join(table, "event_day=*", "*.parquet")))


def with_duckdb():
    import duckdb

    connection = duckdb.connect()
    connection.execute(f"SET threads = {threads}")
    connection.execute("SET preserve_insertion_order = false")
    # It would stand among the figures on standard output.
    connection.execute("SET enable_progress_bar = false")
    source = f"read_parquet({files!r}, hive_partitioning = false)"
    flows = connection.execute(
        f"""
        SELECT tenant, dimensions, sum(value::DOUBLE), max(value::DOUBLE), count(*)
        FROM {source} WHERE meter = 'traffic' GROUP BY ALL
        """
    ).fetchall()
    levels = connection.execute(
        f"""
        WITH changes AS (
            SELECT tenant, epoch_us("time") AS moment,
                value::DOUBLE - lag(value::DOUBLE, 1, 0) OVER (PARTITION BY tenant, resource ORDER BY "time") AS change
            FROM {source} WHERE meter = 'storage'
        ), levels AS (
            SELECT tenant, moment, change, sum(change) OVER (PARTITION BY tenant ORDER BY moment) AS level FROM changes
        )
        SELECT tenant, max(level), sum(change * ({end_us} - moment)) / ({end_us} - {start_us}) FROM levels GROUP BY tenant
        """
    ).fetchall()
    return len(flows) + len(levels)


def with_polars():
    import polars as pl

    source = pl.scan_parquet(files, hive_partitioning=False)
    value = pl.col("value").cast(pl.Float64)
    flows = (
        source.filter(pl.col("meter") == "traffic")
        .group_by("tenant", "dimensions")
        .agg(value.sum().alias("sum"), value.max().alias("max"), pl.len().alias("count"))
    )
    at = pl.col("time").dt.epoch("us")
    levels = (
        source.filter(pl.col("meter") == "storage")
        .select("tenant", "resource", at.alias("at"), value.alias("value"))
        .sort("at")
        .with_columns(
            (pl.col("value") - pl.col("value").shift(1, fill_value=0.0).over("tenant", "resource")).alias("change")
        )
        .with_columns(pl.col("change").cum_sum().over("tenant").alias("level"))
        .group_by("tenant")
        .agg(
            pl.col("level").max().alias("peak"),
            ((pl.col("change") * (end_us - pl.col("at"))).sum() / (end_us - start_us)).alias("average"),
        )
    )
    return sum(len(frame) for frame in pl.collect_all([flows, levels]))


if engine == "polars":
    os.environ["POLARS_MAX_THREADS"] = str(threads)
    import polars  # noqa: F401
else:
    import duckdb  # noqa: F401
started, cpu_started = time.perf_counter(), time.process_time()
rows = with_polars() if engine == "polars" else with_duckdb()
assert rows > 0, "nothing came out"
figures = {
    "wall_s": time.perf_counter() - started,
    "cpu_s": time.process_time() - cpu_started,
    "memory_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
}
print(json.dumps(figures))
