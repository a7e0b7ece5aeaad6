"""Runs reports through psycopg and psql and compares with their known answers.

Arguments: the server's place for libpq, the file of the reports' cases, and psql's path or nothing.
"""
import csv, datetime, decimal, io, json, re, subprocess, sys
import psycopg

place, cases, psql = sys.argv[1], json.load(open(sys.argv[2])), sys.argv[3]
NUMBERS = {"percent", "hours", "top"}


def told(value):
    """A value as the reports' CSV has it."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, decimal.Decimal):
        return format(value, "f")
    if isinstance(value, datetime.datetime):
        return value.astimezone(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    return str(value)


def of_psql(cell, expected):
    """psql writes booleans and instants in its own way."""
    if expected in ("true", "false"):
        return {"t": "true", "f": "false"}.get(cell, cell)
    return re.sub(r"^(\d{4}-\d\d-\d\d) (\d\d:\d\d:\d\d)(\.0+)?(\+00)?$", r"\1T\2Z", cell)


for case in cases:
    name, query = case["name"], case["query"]
    parameters = {key: int(value) if key in NUMBERS else value for key, value in case["parameters"].items()}
    used = {key: value for key, value in parameters.items() if re.search(rf"\${key}\b", query)}
    expected = list(csv.reader(io.StringIO(case["expected"])))
    today = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d")
    expected = [[cell.replace("TODAY", today) for cell in row] for row in expected]
    placed = re.sub(r"\$([a-z]+)\b", r"%(\1)s", query.replace("%", "%%"))
    with psycopg.connect(place, autocommit=True) as connection:
        for kind in ("simple", "text", "binary", "prepared"):
            if kind == "simple":
                cursor = psycopg.ClientCursor(connection)
            else:
                cursor = connection.cursor(binary=kind == "binary")
            for again in range(2 if kind == "prepared" else 1):
                cursor.execute(placed, used, prepare=True if kind == "prepared" else None) if kind != "simple" else cursor.execute(placed, used)
                found = [[column.name for column in cursor.description]]
                found += [[told(value) for value in row] for row in cursor.fetchall()]
                differing = [pair for rows in zip(found, expected) for pair in zip(*rows) if pair[0] != pair[1]]
                assert found == expected, (name, kind, differing)
    if psql:
        text = re.sub(r"\$([a-z]+)\b", lambda it: f":{it[1]}" if it[1] in NUMBERS else f":'{it[1]}'", query)
        variables = [part for key, value in used.items() for part in ("-v", f"{key}={value}")]
        ran = subprocess.run([psql, "-X", "-q", "--csv", "-d", place, *variables], input=text + "\n;\n", capture_output=True, text=True)
        assert ran.returncode == 0 and not ran.stderr, (name, ran.stderr)
        found = list(csv.reader(io.StringIO(ran.stdout)))
        assert len(found) == len(expected), (name, found, expected)
        found = [[of_psql(*pair) for pair in zip(*rows)] for rows in zip(found, expected)]
        assert found == expected, (name, "psql", found, expected)
print(f"{len(cases)} reports")
