"""Runs report.sql with DuckDB over the Parquet files of the folder, and compares with the rows of ours.parquet.

Prints how many rows were the same; ends with 1 and both sides of the first difference otherwise. DuckDB divides decimals into
floats, so its floats are rounded to the digits that our column has; everything else has to be the same to the digit.
"""
import decimal
import glob
import os
import sys

import duckdb

connection = duckdb.connect()
connection.execute("SET TimeZone = 'UTC'")
for file in glob.glob("*.parquet"):
    name = os.path.splitext(file)[0]
    if name in ("charges", "quantities"):
        connection.execute(f"CREATE MACRO {name}(period) AS TABLE SELECT * FROM '{file}'")
    elif name != "ours":
        connection.execute(f"CREATE VIEW {name} AS SELECT * FROM '{file}'")
connection.execute("CREATE MACRO dimension(dimensions, name) AS json_extract_string(dimensions, '$.' || name)")

ours = connection.execute("SELECT * FROM 'ours.parquet'")
names = [column[0] for column in ours.description]
ours = ours.fetchall()
with open("report.sql") as file:
    theirs = connection.execute(file.read())
their_names = [column[0] for column in theirs.description]
theirs = theirs.fetchall()


def like(cell, model):
    if isinstance(cell, float) and isinstance(model, decimal.Decimal):
        return decimal.Decimal(repr(cell)).quantize(model, decimal.ROUND_HALF_UP)
    return cell


def differ(what, left, right):
    sys.exit(f"{what} differ\nours:   {left}\nDuckDB: {right}")


if names != their_names:
    differ("columns", names, their_names)
if len(ours) != len(theirs):
    differ("numbers of rows", len(ours), len(theirs))
for left, right in zip(ours, theirs):
    right = tuple(map(like, right, left))
    if left != right:
        differ("rows", left, right)
print(len(ours))
