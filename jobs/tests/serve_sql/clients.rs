//! Programs that we did not write: psql, and Python's psycopg.
//!
//! psql is found on the PATH or by METERHOUSE_TEST_PSQL; psycopg in the venv whose Python is METERHOUSE_TEST_PYTHON. Without
//! them the tests say so and pass.

use std::process::{Command, Output};

use crate::world::{PASSWORD, Served, World, program};

fn psql(served: &Served, user: &str, arguments: &[&str]) -> Option<Output> {
    let Some(psql) = program("METERHOUSE_TEST_PSQL", "psql") else {
        println!("skipped: there is no psql");
        return None;
    };
    let place = format!("host=127.0.0.1 port={} user={user} dbname=meterhouse", served.address.port());
    let mut command = Command::new(psql);
    command.args(["-X", "-d", &place]).args(arguments).env("PGPASSWORD", PASSWORD).env_remove("PGOPTIONS");
    Some(command.output().unwrap())
}

#[track_caller]
fn said(output: &Output) -> String {
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && errors.is_empty(), "{errors}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

#[test]
fn psql_asks_and_browses() {
    let world = World::new(true);
    let served = world.serve("");
    let query =
        "SELECT tenant, meter, count(*) AS n, sum(value) AS s FROM usage_events GROUP BY 1, 2 ORDER BY 1, 2";
    let Some(output) = psql(&served, "acme", &["-A", "-t", "-c", query]) else { return };
    assert_eq!(said(&output), "acme|stored|7|6098.000000000\nacme|writes|7|7.000000000\n");
    let browse = |command: &str| said(&psql(&served, "acme", &["-A", "-t", "-c", command]).unwrap());
    for (command, expected) in [
        ("\\d", "public|usage_events|table|"),
        ("\\dt", "public|usage_events|table|"),
        ("\\dt+", "public|usage_events|table|"),
        ("\\l", "meterhouse|"),
        ("\\l+", "meterhouse|"),
        ("\\dn", "public|"),
        ("\\dn+", "public|"),
        ("\\d usage_events", "tenant|text||not null|"),
        ("\\d+ usage_events", "value|numeric||||"),
        ("\\d invoices", "tenant|text||not null|"),
        ("\\dp", "public|usage_events|table|"),
        ("\\conninfo", "user \"acme\""),
    ] {
        let said = browse(command);
        assert!(said.contains(expected), "{command}: {said}");
    }
    let others = "\\d+ \\dv \\dv+ \\di \\ds \\dm \\dx \\du \\dg \\df \\df+ \\db \\dT \\dT+ \\dD \\dC \\dc \\do \\da \\dE \\ddp \\drds \\z \\dO \\dd \\dX \\dAc";
    for command in others.split(' ').chain(["\\d no_such_table", "\\dt public.usage*", "\\dT numeric"]) {
        let output = psql(&served, "acme", &["-c", command]).unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(!errors.contains("ERROR"), "{command}: {errors}");
    }
    let copied = said(
        &psql(
            &served,
            "acme",
            &[
                "-c",
                "\\copy (SELECT tenant, sum(value) AS s FROM usage_events GROUP BY 1) TO STDOUT CSV HEADER",
            ],
        )
        .unwrap(),
    );
    assert_eq!(copied, "tenant,s\nacme,6105.000000000\n");
    // In pieces, by a cursor.
    let pieces = ["-A", "-t", "-v", "FETCH_COUNT=3", "-c", "SELECT id FROM usage_events ORDER BY id"];
    assert_eq!(said(&psql(&served, "anna", &pieces).unwrap()).lines().count(), 28);
}

const PSYCOPG: &str = r#"
import decimal, psycopg, sys, datetime
place = sys.argv[1]
D = decimal.Decimal
with psycopg.connect(place) as connection:
    for binary in (False, True):
        with connection.cursor(binary=binary) as cursor:
            row = cursor.execute("SELECT tenant, sum(value) AS s, max(time) AS t, min(event_day) AS d, count(*) AS n FROM usage_events "
                "WHERE tenant = %s AND meter = %s GROUP BY 1", ["acme", "stored"]).fetchone()
            assert row == ("acme", D("6098.000000000"), datetime.datetime(2026, 5, 6, 10, tzinfo=datetime.timezone.utc),
                datetime.date(2026, 5, 1), 7), row
            row = cursor.execute("SELECT CAST('-12345678901234567890123.456789' AS decimal(38, 6)), 0.1 + 0.2, NULL, true, "
                "length(encode(identity, 'hex')) = 32 FROM usage_events LIMIT 1").fetchone()
            assert row == (D("-12345678901234567890123.456789"), D("0.3"), None, True, True), row
            rows = cursor.execute("SELECT measure, value FROM quantities('2026-05') WHERE meter = 'writes' AND measure = 'sum'").fetchall()
            assert rows == [("sum", D("7"))], rows
    # Prepared on the server's side after some runs.
    for number in range(12):
        count = connection.execute("SELECT count(*) FROM usage_events WHERE value > %s", [number], prepare=True).fetchone()
        assert count[0] > 0
    with connection.cursor(name="pieces") as cursor:
        cursor.execute("SELECT id FROM usage_events ORDER BY id")
        assert len(cursor.fetchmany(5)) == 5 and len(cursor.fetchall()) == 9
    connection.commit()
    with connection.cursor().copy("COPY (SELECT id, value FROM usage_events WHERE meter = 'stored' ORDER BY id LIMIT 2) TO STDOUT") as copy:
        assert list(copy.rows()) == [("a1", "1001.000000000"), ("a2", "1002.000000000")]
    try:
        connection.execute("DELETE FROM usage_events")
        raise SystemExit("it deleted")
    except psycopg.errors.InsufficientPrivilege:
        connection.rollback()
    # Several statements in one text go by the simple protocol.
    assert psycopg.ClientCursor(connection).execute("SELECT 1; SELECT 2").nextset()
    info = connection.info
    assert info.parameter_status("TimeZone") == "UTC" and info.server_version == 160006, info.server_version
print("ok")
"#;

#[test]
fn psycopg_reads_every_type_in_text_and_binary() {
    let Some(python) = std::env::var_os("METERHOUSE_TEST_PYTHON") else {
        println!("skipped: METERHOUSE_TEST_PYTHON is not set");
        return;
    };
    let world = World::new(true);
    let served = world.serve("");
    let place = format!(
        "host=127.0.0.1 port={} user=acme dbname=meterhouse password='{PASSWORD}'",
        served.address.port()
    );
    let output = Command::new(python).args(["-c", PSYCOPG, &place]).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(String::from_utf8_lossy(&output.stdout), "ok\n", "{errors}");
}
