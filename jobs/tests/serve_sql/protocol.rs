//! What the protocol promises: prepared statements, portals, cursors, transactions, and that each query sees the newest lake.

use crate::world::{World, event};

#[test]
fn prepared_statements_take_values_of_each_type() {
    let world = World::new(true);
    let served = world.serve("");
    let mut client = served.client("anna");
    let count = "SELECT count(*) FROM usage_events WHERE tenant = $1 AND value > $2::numeric AND time >= $3";
    let values = [Some("acme"), Some("1003.5"), Some("2026-05-02 00:00:00+00")];
    // Of the days 4, 5 and 6.
    assert_eq!(client.extended(count, &values).value(), "3");
    assert_eq!(client.extended("SELECT $1::int + $2::bigint", &[Some("2"), Some("40")]).value(), "42");
    assert_eq!(
        client
            .extended(
                "SELECT count(*) FROM usage_events WHERE tenant = ANY(ARRAY[$1, $2])",
                &[Some("acme"), Some("x")]
            )
            .value(),
        "14"
    );
    assert_eq!(client.extended("SELECT tenant FROM usage_events WHERE tenant = $1", &[None]).rows.len(), 0);
    assert_eq!(client.extended("SELECT $1::int", &[]).code(), "08P01");
    assert_eq!(client.simple("SELECT $1::int").code(), "42P02");
    assert_eq!(client.extended("SELECT 1; SELECT 2", &[]).code(), "42601");
    assert_eq!(client.extended("", &[]).error, None);
    assert_eq!(client.simple(" ; ").error, None);
    let several = client.simple("SELECT 1; SELECT 2");
    assert_eq!((several.rows.len(), several.tags.join(",")), (2, "SELECT 1,SELECT 1".to_owned()));
}

#[test]
fn decimals_keep_every_digit() {
    let world = World::new(false);
    let served = world.serve("");
    let mut client = served.client("anna");
    let wide = "99999999999999999999999999999.123456789";
    let query = format!("SELECT CAST('{wide}' AS decimal(38, 9)) AS v");
    assert_eq!(client.simple(&query).value(), wide);
    assert_eq!(client.extended(&query, &[]).value(), wide);
    assert_eq!(client.simple("SELECT 0.1 + 0.2 AS v").value(), "0.3");
}

#[test]
fn rows_are_copied_as_lines() {
    let world = World::new(false);
    let served = world.serve("rows = 5");
    let mut client = served.client("acme");
    let query =
        "COPY (SELECT tenant, value, NULL AS n FROM usage_events WHERE id = 'a1' ORDER BY value) TO STDOUT";
    let expected = ["acme\t1.000000000\t\\N\n", "acme\t1001.000000000\t\\N\n"];
    for answer in [client.simple(query), client.extended(query, &[])] {
        assert_eq!(answer.error, None);
        let lines: Vec<&str> = answer.rows.iter().filter_map(|row| row[0].as_deref()).collect();
        assert_eq!((lines.as_slice(), answer.tags.join(",")), (&expected[..], "COPY 2".to_owned()));
    }
    for (wrong, code) in [
        ("COPY usage_events (id) TO STDOUT", "54000"),
        ("COPY (SELECT 1 / 0) TO STDOUT", "22012"),
        ("COPY usage_events FROM STDIN", "42501"),
        ("COPY nothing TO STDOUT", "42000"),
    ] {
        for answer in [client.simple(wrong), client.extended(wrong, &[])] {
            assert_eq!(answer.code(), code, "{wrong}: {answer:?}");
        }
    }
    assert_eq!(client.simple("SELECT 1").value(), "1");
}

#[test]
fn a_correlated_subquery_is_computed_and_not_made_null() {
    let world = World::new(false);
    let served = world.serve("");
    let query = "SELECT DISTINCT a.tenant, (SELECT count(*) FROM usage_events AS b WHERE b.tenant = a.tenant) AS n \
                 FROM usage_events AS a";
    let answer = served.client("anna").simple(query);
    assert_eq!(answer.rows, [[Some("acme".to_owned()), Some("14".to_owned())]], "{answer:?}");
}

#[test]
fn a_portal_gives_rows_piece_by_piece() {
    let world = World::new(true);
    let served = world.serve("");
    let mut client = served.client("anna");
    client.simple("BEGIN");
    client.parse("all", "SELECT id FROM usage_events ORDER BY id");
    client.bind("p", "all", &[]);
    let mut counts = Vec::new();
    for _ in 0..4 {
        client.send(b'E', b"p\0\0\0\0\x0a");
        client.send(b'S', b"");
        let answer = client.answer();
        counts.push((answer.rows.len(), answer.is_suspended));
    }
    assert_eq!(counts[..3], [(10, true), (10, true), (8, false)]);
    // The last went with its rows.
    assert_eq!(counts[3], (0, false));
    client.simple("ROLLBACK");
    served.wait_until_free();
    // Outside of a transaction a portal ends with its Sync.
    client.bind("p", "all", &[]);
    client.send(b'S', b"");
    client.answer();
    client.send(b'E', b"p\0\0\0\0\0");
    client.send(b'S', b"");
    assert_eq!(client.answer().code(), "34000");
}

#[test]
fn a_cursor_goes_forward() {
    let world = World::new(true);
    let served = world.serve("");
    let mut client = served.client("acme");
    assert_eq!(client.simple("DECLARE c CURSOR FOR SELECT 1").code(), "25P01");
    client.simple("BEGIN");
    client.simple("DECLARE c CURSOR FOR SELECT DISTINCT id FROM usage_events ORDER BY id");
    let first = client.simple("FETCH FORWARD 2 FROM c");
    assert_eq!((first.rows.len(), first.tags[0].as_str()), (2, "FETCH 2"), "{first:?}");
    assert_eq!(client.extended("FETCH ALL FROM c", &[]).rows.len(), 5);
    assert_eq!(client.simple("FETCH NEXT FROM c").rows.len(), 0);
    client.simple("CLOSE c");
    assert_eq!(client.simple("FETCH 1 FROM c").code(), "34000");
    assert_eq!(client.transaction, b'E');
    assert_eq!(client.simple("SELECT 1").code(), "25P02");
    assert_eq!(client.simple("COMMIT").tags, ["ROLLBACK"]);
    assert_eq!((client.transaction, client.simple("SELECT 1").value().to_owned()), (b'I', "1".to_owned()));
}

#[test]
fn savepoints_bring_a_failed_transaction_back() {
    let world = World::new(false);
    let served = world.serve("");
    let mut client = served.client("acme");
    for (statement, transaction) in [
        ("BEGIN", b'T'),
        ("SAVEPOINT a", b'T'),
        ("SELECT nonsense", b'E'),
        ("ROLLBACK TO SAVEPOINT a", b'T'),
        ("SELECT 1", b'T'),
        ("RELEASE SAVEPOINT a", b'T'),
        ("END", b'I'),
    ] {
        client.simple(statement);
        assert_eq!(client.transaction, transaction, "{statement}");
    }
}

/// A prepared statement, too, sees what came after it was prepared.
#[test]
fn each_query_sees_the_newest_version() {
    let world = World::new(false);
    let served = world.serve("");
    let mut client = served.client("acme");
    client.parse("count", "SELECT count(*) FROM usage_events");
    let counted = |client: &mut crate::wire::Client| {
        client.bind("", "count", &[]);
        client.send(b'E', &[0, 0, 0, 0, 0]);
        client.send(b'S', b"");
        client.answer().value().to_owned()
    };
    assert_eq!(counted(&mut client), "14");
    world.ingest(&[event("acme", "later", "2026-05-07T00:00:00Z", 5, "disk-9", "eu")]);
    assert_eq!(counted(&mut client), "16");
    assert_eq!(client.simple("SELECT count(*) FROM usage_events").value(), "16");
}

#[test]
fn settings_are_told_and_forgotten() {
    let world = World::new(false);
    let served = world.serve("");
    let mut client = served.client("acme");
    let told = |name: &str| {
        client.parameters.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    };
    assert!(told("server_version").unwrap().starts_with("16."));
    assert_eq!((told("TimeZone"), told("client_encoding")), (Some("UTC"), Some("UTF8")));
    assert_eq!(client.simple("SET application_name = 'report'; SHOW application_name").value(), "report");
    assert_eq!(client.extended("SHOW application_name", &[]).value(), "report");
    client.simple("DISCARD ALL");
    assert_eq!(client.simple("SHOW application_name").value(), "");
    assert_eq!(client.simple("SELECT current_user").value(), "acme");
    assert!(client.simple("SELECT version()").value().starts_with("PostgreSQL 16."));
}

#[test]
fn nonsense_on_the_wire_ends_the_connection_and_nothing_else() {
    let world = World::new(false);
    let served = world.serve("");
    for (kind, body) in
        [(b'Z', &b"\0"[..]), (b'd', b"x"), (b'P', b"no end"), (b'D', b"Xno\0"), (b'B', b"\0\0\xff\xff")]
    {
        let mut client = served.client("acme");
        client.send(kind, body);
        client.send(b'S', b"");
        client.answer();
    }
    let mut client = served.client("acme");
    client.parse("", "SELECT 1 AS a, 2 AS b");
    // Three formats for two columns.
    client.send(b'B', b"\0\0\0\0\0\0\0\x03\0\x01\0\x01\0\x01");
    client.send(b'E', &[0, 0, 0, 0, 0]);
    client.send(b'S', b"");
    assert_eq!(client.answer().code(), "08P01");
    assert_eq!(client.simple("SELECT 1").value(), "1");
}
