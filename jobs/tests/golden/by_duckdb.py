"""Computes a month's quantities with DuckDB over a lake's Parquet files and compares them with `meterhouse quantities`.

Usage: by_duckdb.py USAGE_EVENTS QUANTITIES_CSV CATALOG_JSON PERIOD

CATALOG_JSON is {"zones": {tenant: time zone}, "kinds": {meter: kind}}. Nothing of Meterhouse is used: the files are those
that the table's log names, the period's bounds come from Python's time zones, the numbers from DuckDB's 128-bit whole
numbers (which fail rather than wrap), and averages are compared as fractions. Every row of either side must be in the
other, to the last digit. Prints how many there were of each measure, as JSON; differences go to stderr, with exit code 1.
"""

import csv
import json
import sys
from collections import Counter
from datetime import datetime, timezone
from fractions import Fraction
from urllib.parse import unquote, urlparse
from zoneinfo import ZoneInfo

import duckdb
from deltalake import DeltaTable

HOUR_US = 3_600_000_000
BUCKET_US = 300_000_000
EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


def microseconds(instant):
    elapsed = instant - EPOCH
    return (elapsed.days * 86_400 + elapsed.seconds) * 1_000_000 + elapsed.microseconds


def bounds(period, zone):
    year, month = map(int, period.split("-"))
    following = (year + month // 12, month % 12 + 1)
    midnights = (datetime(*day, 1, tzinfo=ZoneInfo(zone)).astimezone(timezone.utc) for day in ((year, month), following))
    return tuple(microseconds(midnight) for midnight in midnights)


GAUGE = f"""
WITH last AS (
    SELECT * FROM own WHERE kind = 'gauge' AND moment < until
    QUALIFY row_number() OVER (PARTITION BY tenant, meter, dimensions, resource, moment ORDER BY nth DESC) = 1
), changes AS (
    SELECT *, nano - lag(nano, 1, 0::HUGEINT) OVER (PARTITION BY tenant, meter, dimensions, resource ORDER BY moment) AS change
    FROM last
), series AS (
    SELECT DISTINCT tenant, meter, dimensions, since, until FROM last
), cuts AS (
    -- Every five minutes a cut, so that no step reaches over two buckets.
    SELECT *, unnest(range(since, until, {BUCKET_US})) AS moment, 0::HUGEINT AS change FROM series
    UNION ALL
    SELECT tenant, meter, dimensions, since, until, greatest(moment, since), change FROM changes
), instants AS (
    SELECT tenant, meter, dimensions, since, until, moment, sum(change) AS change FROM cuts GROUP BY ALL
), steps AS (
    SELECT *,
        sum(change) OVER (series ORDER BY moment) AS level,
        lead(moment, 1, until) OVER (series ORDER BY moment) - moment AS length
    FROM instants WINDOW series AS (PARTITION BY tenant, meter, dimensions)
), buckets AS (
    SELECT tenant, meter, dimensions, sum(level * length) AS integral,
        row_number() OVER (PARTITION BY tenant, meter, dimensions ORDER BY sum(level * length)) AS nth,
        count(*) OVER (PARTITION BY tenant, meter, dimensions) AS count
    FROM steps GROUP BY tenant, meter, dimensions, moment // {BUCKET_US}
), peaks AS (
    SELECT tenant, meter, dimensions, resource, max(nano) AS peak FROM (
        SELECT tenant, meter, dimensions, resource, nano FROM last WHERE moment > since
        UNION ALL
        SELECT tenant, meter, dimensions, resource, arg_max(nano, moment) FROM last WHERE moment <= since GROUP BY ALL
        UNION ALL
        SELECT tenant, meter, dimensions, resource, 0::HUGEINT FROM last GROUP BY ALL HAVING min(moment - since) > 0
    ) GROUP BY ALL
), whole AS (
    SELECT tenant, meter, dimensions, max(level) AS peak, min(level) AS min, arg_max(level, moment) AS last,
        sum(level * length) AS integral, any_value(until - since) AS period
    FROM steps GROUP BY ALL
)
SELECT tenant, meter, dimensions, 'peak', peak, 1 FROM whole
UNION ALL SELECT tenant, meter, dimensions, 'min', min, 1 FROM whole
UNION ALL SELECT tenant, meter, dimensions, 'last', last, 1 FROM whole
UNION ALL SELECT tenant, meter, dimensions, 'average', integral, period FROM whole
UNION ALL SELECT tenant, meter, dimensions, 'unit_hours', integral, {HOUR_US} FROM whole
UNION ALL SELECT tenant, meter, dimensions, 'sum_of_peaks', sum(peak), 1 FROM peaks GROUP BY ALL
UNION ALL SELECT tenant, meter, dimensions, 'p95', integral, {BUCKET_US} FROM buckets WHERE nth = count - count // 20
"""

DELTA = f"""
WITH inside AS (SELECT * FROM own WHERE kind = 'delta' AND moment >= since AND moment < until),
hours AS (SELECT tenant, meter, dimensions, sum(nano) AS nano FROM inside GROUP BY tenant, meter, dimensions, moment // {HOUR_US})
SELECT tenant, meter, dimensions, 'sum', sum(nano), 1 FROM inside GROUP BY ALL
UNION ALL SELECT tenant, meter, dimensions, 'count', count(*) * 1000000000::HUGEINT, 1 FROM inside GROUP BY ALL
UNION ALL SELECT tenant, meter, dimensions, 'max', max(nano), 1 FROM inside GROUP BY ALL
UNION ALL SELECT tenant, meter, dimensions, 'busiest_hour', max(nano), 1 FROM hours GROUP BY ALL
"""

CUMULATIVE = """
WITH compared AS (
    SELECT *, lag(nano) OVER (PARTITION BY tenant, meter, dimensions, resource ORDER BY nth) AS before
    FROM own WHERE kind = 'cumulative'
)
SELECT tenant, meter, dimensions, 'increase',
    sum(CASE WHEN before IS NULL THEN 0::HUGEINT WHEN nano < before THEN nano ELSE nano - before END), 1
FROM compared WHERE moment >= since AND moment < until GROUP BY tenant, meter, dimensions
"""

SESSION = """
WITH stretches AS (
    SELECT *, lead(moment, 1, until) OVER (PARTITION BY tenant, meter, resource ORDER BY nth) AS following,
        last_value(CASE WHEN signal <> 'heartbeat' THEN signal END IGNORE NULLS)
            OVER (PARTITION BY tenant, meter, resource ORDER BY nth) AS word
    FROM own WHERE kind = 'session'
)
SELECT tenant, meter, dimensions, 'session_time',
    sum(greatest(least(following, until) - greatest(moment, since), 0))::HUGEINT * 1000000000, 1000000
FROM stretches WHERE signal IN ('start', 'heartbeat') AND word = 'start' AND moment < until GROUP BY tenant, meter, dimensions
"""

UNIQUE = f"""
WITH inside AS (SELECT * FROM own WHERE kind = 'unique' AND moment >= since AND moment < until)
SELECT tenant, meter, dimensions, 'unique_resources', count(DISTINCT resource) * 1000000000::HUGEINT, 1
FROM inside GROUP BY ALL
UNION ALL
SELECT tenant, meter, dimensions, 'resource_hours', count(DISTINCT (resource, moment // {HOUR_US})) * 1000000000::HUGEINT, 1
FROM inside GROUP BY ALL
"""


def by_duckdb(table, zones, kinds, period):
    uris = DeltaTable(table).file_uris()
    files = [unquote(urlparse(uri).path) if uri.startswith("file://") else uri for uri in uris]
    connection = duckdb.connect()
    connection.execute("CREATE TABLE periods (tenant VARCHAR, since BIGINT, until BIGINT)")
    connection.executemany("INSERT INTO periods VALUES (?, ?, ?)", [(key, *bounds(period, zone)) for key, zone in zones.items()])
    connection.execute("CREATE TABLE kinds (meter VARCHAR, kind VARCHAR)")
    connection.executemany("INSERT INTO kinds VALUES (?, ?)", list(kinds.items()))
    connection.execute(
        f"""
        CREATE TABLE own AS
        WITH first AS (
            SELECT * FROM read_parquet({files!r}, hive_partitioning = false)
            QUALIFY rank() OVER (
                PARTITION BY identity, "time" ORDER BY arrival, "partition", "offset", batch_index
            ) = 1
        )
        SELECT tenant, meter, kind, since, until, signal,
            coalesce(dimensions, '{{}}') AS dimensions, coalesce(resource, '') AS resource,
            epoch_us("time") AS moment,
            row_number() OVER (ORDER BY "time", arrival, "partition", "offset", batch_index) AS nth,
            replace(value::VARCHAR, '.', '')::HUGEINT AS nano
        FROM first JOIN periods USING (tenant) JOIN kinds USING (meter)
        """
    )
    found = {}
    for query in (GAUGE, DELTA, CUMULATIVE, SESSION, UNIQUE):
        for tenant, meter, dimensions, measure, numerator, denominator in connection.execute(query).fetchall():
            key = (tenant, meter, tuple(sorted(json.loads(dimensions).items())), measure)
            assert key not in found, f"twice: {key}"
            found[key] = Fraction(int(numerator), int(denominator) * 1_000_000_000)
    return found


def by_meterhouse(path, zones, period):
    found = {}
    with open(path, newline="") as source:
        for row in csv.DictReader(source):
            start, end = (
                microseconds(datetime.fromisoformat(row[name].replace("Z", "+00:00")).astimezone(timezone.utc))
                for name in ("span_start", "span_end")
            )
            assert (start, end) == bounds(period, zones[row["tenant"]]), f"another span: {row}"
            key = (row["tenant"], row["meter"], tuple(sorted(json.loads(row["dimensions"]).items())), row["measure"])
            assert key not in found, f"twice: {key}"
            found[key] = Fraction(row["exact_value"])
    return found


def main():
    table, path, catalog, period = sys.argv[1:]
    catalog = json.loads(catalog)
    theirs = by_duckdb(table, catalog["zones"], catalog["kinds"], period)
    ours = by_meterhouse(path, catalog["zones"], period)
    # Whether a series without any usage is listed as zero is a matter of taste.
    differences = [key for key in sorted(theirs.keys() | ours.keys()) if theirs.get(key, 0) != ours.get(key, 0)]
    for key in differences[:20]:
        print(f"{key}: DuckDB {theirs.get(key)}, meterhouse {ours.get(key)}", file=sys.stderr)
    print(json.dumps(Counter(key[3] for key, value in theirs.items() if value != 0)))
    return 1 if differences else 0


if __name__ == "__main__":
    sys.exit(main())
