#!/usr/bin/env python3
"""Reads `usage_events` or `rejected_messages` with three readers that are not ours and requires that they agree.

The readers: `deltalake` into pyarrow, DuckDB over the snapshot's list of files, polars' `scan_delta`. Each
counts and sums on its own. Standard output is one JSON object; exit code 1 when the readers disagree, when one
fails, or when the table lacks a column. Sums are exact decimals without exponent or trailing zeros.

The table is a local path or an s3:// or gs:// address, whose credentials come from the usual variables. DuckDB
would have to download an extension to reach a bucket, so the snapshot's files are copied for it first.
"""

import argparse
import decimal
import json
import os
import sys
import tempfile
from pathlib import Path
from urllib.parse import unquote, urlparse

import duckdb
import polars
import pyarrow
import pyarrow.compute as compute
from deltalake import DeltaTable

COLUMNS = (
    "event_day", "identity", "source", "id", "tenant", "event_type", "meter", "time", "time_given", "value", "resource",
    "dimensions", "signal", "signal_time", "data", "topic", "partition", "offset", "batch_index", "arrival",
)
REJECTED_COLUMNS = (
    "rejected_day", "reason", "detail", "topic", "partition", "offset", "batch_index", "stamped", "arrival", "key", "headers",
    "payload", "source", "id", "tenant", "event_type",
)
decimal.getcontext().prec = 100


def exact(value):
    """A decimal as text, written in the one way that makes equal values equal texts."""
    if value is None:
        return None
    text = format(decimal.Decimal(value), "f")
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return "0" if text == "-0" else text


def answer(rows, days, identities, usages, groups, offsets, non_null):
    """What a reader found, in one shape and order whatever its types."""
    return {
        "rows": rows,
        "distinct_identities": identities,
        "distinct_identity_and_meter": usages,
        "rows_by_day": {str(day): count for day, count in sorted(days)},
        "non_null": dict(sorted(non_null.items())),
        "usage": [
            {"tenant": tenant, "meter": meter, "rows": count, "sum": exact(total)}
            for tenant, meter, count, total in sorted(groups, key=lambda group: (group[0], group[1] or "", group[1] is None))
        ],
        "offsets": [
            {"topic": topic, "partition": partition, "first": first, "last": last, "distinct": distinct}
            for topic, partition, first, last, distinct in sorted(offsets, key=lambda group: (str(group[0]), group[1] or 0))
        ],
    }


def rejected_answer(rows, days, places, reasons, non_null):
    """The same of rejected messages."""
    return {
        "rows": rows,
        "rows_by_day": {str(day): count for day, count in sorted(days)},
        "distinct_places": places,
        "non_null": dict(sorted(non_null.items())),
        "reasons": [
            {"reason": reason, "rows": count, "payload_bytes": bytes or 0} for reason, count, bytes in sorted(reasons)
        ],
    }


def storage_options(url):
    scheme = urlparse(url).scheme
    prefixes = {"s3": ("AWS_",), "s3a": ("AWS_",), "gs": ("GOOGLE_",)}.get(scheme, ())
    return {name: value for name, value in os.environ.items() if name.startswith(prefixes)} if prefixes else {}


def with_deltalake(table):
    dataset = table.to_pyarrow_dataset()
    usage = dataset.to_table(["event_day", "identity", "tenant", "meter", "value", "topic", "partition", "offset"])
    # 38 digits hold every value but not every sum of them.
    wide = usage.set_column(
        usage.schema.get_field_index("value"), "value", compute.cast(usage["value"], pyarrow.decimal256(76, 9))
    )
    groups = wide.group_by(["tenant", "meter"]).aggregate([([], "count_all"), ("value", "sum")]).to_pylist()
    days = usage.group_by("event_day").aggregate([([], "count_all")]).to_pylist()
    places = usage.group_by(["topic", "partition"]).aggregate(
        [("offset", "min"), ("offset", "max"), ("offset", "count_distinct")]
    ).to_pylist()
    return answer(
        rows=usage.num_rows,
        days=[(day["event_day"], day["count_all"]) for day in days],
        identities=usage.group_by("identity").aggregate([]).num_rows,
        usages=usage.group_by(["identity", "meter"]).aggregate([]).num_rows,
        groups=[(group["tenant"], group["meter"], group["count_all"], group["value_sum"]) for group in groups],
        offsets=[
            (place["topic"], place["partition"], place["offset_min"], place["offset_max"], place["offset_count_distinct"])
            for place in places
        ],
        non_null={name: dataset.count_rows(filter=compute.field(name).is_valid()) for name in COLUMNS},
    )


def rejected_with_deltalake(table):
    dataset = table.to_pyarrow_dataset()
    rejected = dataset.to_table(["rejected_day", "reason", "payload", "topic", "partition", "offset", "batch_index"])
    rejected = rejected.append_column("bytes", compute.cast(compute.binary_length(rejected["payload"]), pyarrow.int64()))
    reasons = rejected.group_by("reason").aggregate([([], "count_all"), ("bytes", "sum")]).to_pylist()
    days = rejected.group_by("rejected_day").aggregate([([], "count_all")]).to_pylist()
    return rejected_answer(
        rejected.num_rows,
        [(day["rejected_day"], day["count_all"]) for day in days],
        rejected.group_by(["topic", "partition", "offset", "batch_index"]).aggregate([]).num_rows,
        [(reason["reason"], reason["count_all"], reason["bytes_sum"]) for reason in reasons],
        {name: dataset.count_rows(filter=compute.field(name).is_valid()) for name in REJECTED_COLUMNS},
    )


def local_files(table, url, folder):
    """The snapshot's files as local paths; those of a bucket are copied into `folder` under their own names."""
    uris = table.file_uris()
    if "://" not in url or url.startswith("file://"):
        return [unquote(urlparse(uri).path) if uri.startswith("file://") else uri for uri in uris]
    from obstore.store import from_url

    bucket = "{0.scheme}://{0.netloc}".format(urlparse(url))
    # Credentials and endpoint come from the environment, as they do for the program under test.
    store = from_url(bucket, client_options={"allow_http": True})
    copies = []
    for uri in uris:
        name = unquote(urlparse(uri).path).lstrip("/")
        copy = Path(folder, name)
        copy.parent.mkdir(parents=True, exist_ok=True)
        with copy.open("wb") as sink:
            for chunk in store.get(name).stream():
                sink.write(chunk)
        copies.append(str(copy))
    return copies


def with_duckdb(table, url):
    with tempfile.TemporaryDirectory(prefix="meterhouse-read-back-") as folder:
        files = local_files(table, url, folder)
        if not files:
            return answer(0, [], 0, 0, [], [], dict.fromkeys(COLUMNS, 0))
        connection = duckdb.connect(config={"temp_directory": folder})
        connection.execute(
            "CREATE VIEW usage AS SELECT * FROM read_parquet("
            f"{files!r}, hive_partitioning = true, hive_types = {{'event_day': DATE}}, union_by_name = true)"
        )
        counts = ", ".join(f'count("{name}")' for name in COLUMNS)
        rows, identities, usages, *non_null = connection.execute(
            f"SELECT count(*), count(DISTINCT identity), count(DISTINCT (identity, meter)), {counts} FROM usage"
        ).fetchone()
        return answer(
            rows,
            connection.execute("SELECT event_day, count(*) FROM usage GROUP BY ALL").fetchall(),
            identities,
            usages,
            connection.execute("SELECT tenant, meter, count(*), sum(value) FROM usage GROUP BY ALL").fetchall(),
            connection.execute(
                'SELECT topic, "partition", min("offset"), max("offset"), count(DISTINCT "offset") FROM usage GROUP BY ALL'
            ).fetchall(),
            dict(zip(COLUMNS, non_null)),
        )


def rejected_with_duckdb(table, url):
    with tempfile.TemporaryDirectory(prefix="meterhouse-read-back-") as folder:
        files = local_files(table, url, folder)
        if not files:
            return rejected_answer(0, [], 0, [], dict.fromkeys(REJECTED_COLUMNS, 0))
        connection = duckdb.connect(config={"temp_directory": folder})
        connection.execute(
            "CREATE VIEW rejected AS SELECT * FROM read_parquet("
            f"{files!r}, hive_partitioning = true, hive_types = {{'rejected_day': DATE}}, union_by_name = true)"
        )
        counts = ", ".join(f'count("{name}")' for name in REJECTED_COLUMNS)
        rows, places, *non_null = connection.execute(
            f'SELECT count(*), count(DISTINCT (topic, "partition", "offset", batch_index)), {counts} FROM rejected'
        ).fetchone()
        return rejected_answer(
            rows,
            connection.execute("SELECT rejected_day, count(*) FROM rejected GROUP BY ALL").fetchall(),
            places,
            connection.execute(
                "SELECT reason, count(*), sum(octet_length(payload))::BIGINT FROM rejected GROUP BY ALL"
            ).fetchall(),
            dict(zip(REJECTED_COLUMNS, non_null)),
        )


def collect(frame):
    return frame.collect(engine="streaming")


def scan(table, url):
    return polars.scan_delta(url, version=table.version(), storage_options=storage_options(url) or None)


def rejected_with_polars(table, url):
    rejected = scan(table, url)
    rows, places = collect(rejected.select(
        polars.len().alias("rows"),
        polars.struct("topic", "partition", "offset", "batch_index").n_unique().alias("places"),
    )).row(0)
    return rejected_answer(
        rows,
        collect(rejected.group_by("rejected_day").agg(polars.len())).rows(),
        places,
        collect(rejected.group_by("reason").agg(
            polars.len(), polars.col("payload").bin.size().cast(polars.Int64).sum()
        )).rows(),
        collect(rejected.select(polars.col(REJECTED_COLUMNS).count())).row(0, named=True),
    )


def with_polars(table, url):
    usage = scan(table, url)
    totals = collect(usage.select(
        polars.len().alias("rows"),
        polars.col("identity").n_unique().alias("identities"),
        polars.struct("identity", "meter").n_unique().alias("usages"),
    )).row(0)
    groups = collect(usage.group_by("tenant", "meter").agg(
        polars.len(), polars.col("value").count().alias("given"), polars.col("value").sum()
    )).rows()
    return answer(
        totals[0],
        collect(usage.group_by("event_day").agg(polars.len())).rows(),
        totals[1],
        totals[2],
        # polars sums nothing to zero where the other two, and SQL, say null.
        [(tenant, meter, rows, total if given else None) for tenant, meter, rows, given, total in groups],
        collect(usage.group_by("topic", "partition").agg(
            polars.col("offset").min().alias("first"),
            polars.col("offset").max().alias("last"),
            polars.col("offset").n_unique().alias("distinct"),
        )).rows(),
        collect(usage.select(polars.col(COLUMNS).count())).row(0, named=True),
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", help="local path, s3://bucket/path or gs://bucket/path")
    parser.add_argument("--version", type=int, help="table version (default: the newest)")
    options = parser.parse_args()
    url = options.table
    table = DeltaTable(url, version=options.version, storage_options=storage_options(url) or None)
    columns = {field.name for field in table.schema().fields}
    is_usage = "event_day" in columns
    missing = sorted(set(COLUMNS if is_usage else REJECTED_COLUMNS) - columns)
    if missing:
        print(f"the table lacks: {', '.join(missing)}", file=sys.stderr)
        return 1
    readers = {
        "deltalake": lambda: (with_deltalake if is_usage else rejected_with_deltalake)(table),
        "duckdb": lambda: (with_duckdb if is_usage else rejected_with_duckdb)(table, url),
        "polars": lambda: (with_polars if is_usage else rejected_with_polars)(table, url),
    }
    found, failures = {}, []
    for name, read in readers.items():
        try:
            found[name] = read()
        except Exception as error:  # one reader's failure must not hide what the others found
            failures.append(f"{name} failed: {type(error).__name__}: {error}")
    first = next(iter(found), None)
    for name, result in found.items():
        for key, value in result.items():
            if value != found[first][key]:
                failures.append(f"{name} and {first} disagree on {key}: {value} against {found[first][key]}")
    for failure in failures:
        print(failure, file=sys.stderr)
    print(json.dumps({
        "table": url,
        "version": table.version(),
        "files": len(table.file_uris()),
        "agree": not failures,
        "readers": found,
    }, ensure_ascii=False, indent=2))
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
