//! Queries end when they have to, and what they held is given back.

use std::net::Shutdown;
use std::time::{Duration, Instant};

use crate::wire::Client;
use crate::world::World;

/// Holds memory (the build side of a join) and goes on for minutes.
const LONG: &str = "SELECT count(*) FROM (SELECT a.value AS x, b.value AS y FROM generate_series(1, 100000) AS a \
                    JOIN generate_series(1, 100000000) AS b ON a.value % 3 = b.value % 3) AS c WHERE x + y < 0";

#[track_caller]
fn wait_until_held(served: &crate::world::Served) {
    let start = Instant::now();
    while served.memory_bytes() == 0 {
        assert!(start.elapsed() < Duration::from_secs(30), "the query holds nothing");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_cancelled_query_ends_and_frees_its_memory() {
    let world = World::new(false);
    let served = world.serve("");
    let mut client = served.client("acme");
    for is_extended in [false, true] {
        if is_extended {
            client.parse("", LONG);
            client.bind("", "", &[]);
            client.send(b'E', &[0, 0, 0, 0, 0]);
            client.send(b'S', b"");
        } else {
            client.send_simple(LONG);
        }
        wait_until_held(&served);
        // With a wrong key nothing happens.
        Client::cancel(served.address, client.process, &[1, 2, 3, 4]);
        std::thread::sleep(Duration::from_millis(100));
        assert!(served.memory_bytes() > 0);
        Client::cancel(served.address, client.process, &client.key.clone());
        assert_eq!(
            client.answer().error.unwrap(),
            ("57014".to_owned(), "canceling statement due to user request".to_owned())
        );
        served.wait_until_free();
        assert_eq!(client.simple("SELECT 1").value(), "1", "the connection goes on");
    }
}

#[test]
fn a_query_that_takes_too_long_ends_and_frees_its_memory() {
    let world = World::new(false);
    let served = world.serve("statement_timeout = \"2 s\"");
    let mut client = served.client("acme");
    let start = Instant::now();
    let answer = client.simple(LONG);
    assert_eq!(answer.code(), "57014");
    assert!(start.elapsed() < Duration::from_secs(20));
    client.simple("SET statement_timeout = '100ms'");
    assert_eq!(client.extended(LONG, &[]).code(), "57014");
    client.simple("SET statement_timeout = 0");
    assert_eq!(client.simple("SHOW statement_timeout").value(), "2000ms", "the server's limit stays");
    served.wait_until_free();
}

#[test]
fn a_query_whose_client_is_gone_ends_and_frees_its_memory() {
    let world = World::new(false);
    let served = world.serve("connections = 1");
    let mut client = served.client("acme");
    client.send_simple(LONG);
    wait_until_held(&served);
    client.stop(Shutdown::Both);
    served.wait_until_free();
    // Its place is free, too.
    let start = Instant::now();
    while Client::connect(served.address, "acme", crate::world::PASSWORD).is_err() {
        assert!(start.elapsed() < Duration::from_secs(10));
    }
}

/// A client that asks for much and reads nothing does not hold it for longer than a statement may take.
#[test]
fn a_client_that_does_not_read_is_let_go() {
    let world = World::new(false);
    let served = world.serve("statement_timeout = \"1 s\"");
    let mut client = served.client("acme");
    client.send_simple(
        "SELECT a.value, b.value FROM generate_series(1, 100000) AS a JOIN generate_series(1, 1000000) AS b ON a.value % 3 = b.value % 3",
    );
    wait_until_held(&served);
    served.wait_until_free();
}

#[test]
fn too_much_memory_and_too_many_rows_are_errors() {
    let world = World::new(false);
    let served = world.serve("query_memory = \"4 MiB\"\nrows = 1000");
    let mut client = served.client("acme");
    let hungry = "SELECT count(DISTINCT value::text || 'some more text for each of them') FROM generate_series(1, 3000000)";
    for answer in [client.simple(hungry), client.extended(hungry, &[])] {
        assert_eq!(answer.code(), "53200", "{answer:?}");
    }
    served.wait_until_free();
    let many = |count: u64| format!("SELECT value FROM generate_series(1, {count})");
    assert_eq!(client.simple(&many(1000)).rows.len(), 1000);
    for answer in [client.simple(&many(1001)), client.extended(&many(1001), &[])] {
        assert_eq!((answer.code(), answer.rows.len()), ("54000", 1000));
    }
    served.wait_until_free();
}

/// All queries together have a limit as well; those that do not fit fail, the others do not notice.
#[test]
fn memory_is_limited_over_all_queries() {
    let world = World::new(false);
    let served = world.serve("memory = \"8 MiB\"\nquery_memory = \"1 GiB\"");
    let mut client = served.client("acme");
    let hungry = "SELECT count(DISTINCT value::text || 'some more text for each of them') FROM generate_series(1, 3000000)";
    assert_eq!(client.simple(hungry).code(), "53200");
    assert!(served.memory_bytes() <= 8 * 1024 * 1024);
    assert_eq!(served.client("anna").simple("SELECT count(*) FROM usage_events").value(), "14");
    served.wait_until_free();
}

#[test]
fn texts_and_statements_are_limited() {
    let world = World::new(false);
    let served = world.serve("");
    let mut client = served.client("acme");
    let long = format!("SELECT '{}'", "x".repeat(2 * 1024 * 1024));
    assert_eq!(client.simple(&long).code(), "54000");
    let deep = format!("SELECT {}1{}", "(".repeat(5000), ")".repeat(5000));
    assert_eq!(client.simple(&deep).code(), "42601");
    // Each would nest deeper than a stack is.
    for chain in [
        "SELECT 1{ + 1}",
        "SELECT 1 WHERE true{ OR false}",
        "SELECT 1{ UNION ALL SELECT 1}",
        "SELECT 1{::int}",
        "SELECT * FROM usage_events{, usage_events}",
    ] {
        let (head, link) = chain.trim_end_matches('}').split_once('{').unwrap();
        let text = head.to_owned() + &link.repeat(20_000);
        for answer in [client.simple(&text), client.extended(&text, &[])] {
            assert_eq!(answer.code(), "54001", "{chain}");
        }
    }
    let wide = format!("SELECT count(*) FROM usage_events WHERE false{}", " OR id = 'a1'".repeat(600));
    assert_eq!(client.simple(&wide).value(), "2");
    let doubled: Vec<String> = (1..60)
        .map(|n| format!("a{n} AS (SELECT * FROM a{0} UNION ALL SELECT * FROM a{0})", n - 1))
        .collect();
    let doubled = format!("WITH a0 AS (SELECT 1 AS n), {} SELECT count(*) FROM a59", doubled.join(", "));
    assert_eq!(client.simple(&doubled).code(), "54001");
    for number in 0..1000 {
        client.parse(&format!("s{number}"), "SELECT 1");
    }
    client.send(b'S', b"");
    assert_eq!(client.answer().error, None);
    assert_eq!(client.extended("SELECT 1", &[]).code(), "54000");
    client.simple("DEALLOCATE ALL");
    assert_eq!(client.extended("SELECT 1", &[]).value(), "1");
}
