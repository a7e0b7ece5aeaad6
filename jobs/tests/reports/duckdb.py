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
        # With a second argument sessions that still run end at an instant: those rows are in a file of their own.
        whole, until = (f"(SELECT * FROM '{name}{ending}.parquet')" for ending in ("", "_until"))
        connection.execute(f"CREATE MACRO {name}(period) AS TABLE {whole}, (period, now) AS TABLE {until}")
    elif name != "ours" and not name.endswith("_until"):
        connection.execute(f"CREATE VIEW {name} AS SELECT * FROM '{file}'")
connection.execute("CREATE MACRO dimension(dimensions, name) AS json_extract_string(dimensions, '$.' || name)")


def rows(query):
    """Names of columns and rows, by way of Arrow: fetchall() would ask for another package where there are time zones."""
    table = connection.sql(query).to_arrow_table()
    return table.column_names, [tuple(row.values()) for row in table.to_pylist()]


names, ours = rows("SELECT * FROM 'ours.parquet'")
with open("report.sql") as file:
    their_names, theirs = rows(file.read())


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
