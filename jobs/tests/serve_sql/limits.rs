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

/// A cursor computes nothing before somebody fetches from it, and not for ever when nobody does any more.
#[test]
fn cursors_that_nobody_fetches_from_hold_nothing() {
    let world = World::new(false);
    let served = world.serve("statement_timeout = \"2 s\"");
    let mut client = served.client("acme");
    client.simple("BEGIN");
    for number in 0..20 {
        assert_eq!(client.simple(&format!("DECLARE c{number} CURSOR FOR {LONG}")).error, None);
    }
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(served.memory_bytes(), 0, "a cursor began before the first FETCH");
    // The first row comes at once; what the others need is computed meanwhile.
    let begun = format!("SELECT 1 AS n UNION ALL SELECT n + 1 FROM ({}) AS l(n)", LONG.trim_end());
    assert_eq!(client.simple(&format!("DECLARE begun CURSOR FOR {begun}")).error, None);
    assert_eq!(client.simple("FETCH 1 FROM begun").value(), "1");
    wait_until_held(&served);
    served.wait_until_free();
    assert_eq!(client.simple("SELECT 2").value(), "2", "the connection and its transaction go on");
    assert_eq!(client.simple("FETCH 1 FROM begun").code(), "57014");
    client.simple("ROLLBACK");
    // A FETCH that takes too long ends as any statement does.
    client.simple("BEGIN");
    client.simple(&format!("DECLARE c CURSOR FOR {LONG}"));
    assert_eq!(client.simple("FETCH ALL FROM c").code(), "57014");
    served.wait_until_free();
}

/// Rows of a FETCH go to the client as they come: half a gigabyte of them takes a few megabytes here.
#[test]
fn fetched_rows_are_not_collected() {
    let world = World::new(false);
    let served = world.serve("");
    let mut client = served.client("acme");
    client.simple("BEGIN");
    let text = "x".repeat(2_000);
    let rows = format!("SELECT value, '{text}' AS t FROM generate_series(1, 250000)");
    assert_eq!(client.simple(&format!("DECLARE c CURSOR FOR {rows}")).error, None);
    let before = resident_bytes();
    client.send_simple("FETCH ALL FROM c");
    let (mut count, mut most) = (0, 0);
    loop {
        match client.next().unwrap() {
            (b'D', _) => {
                count += 1;
                if count % 10_000 == 0 {
                    most = Ord::max(most, resident_bytes());
                }
            }
            (b'C', tag) => assert_eq!(tag, b"FETCH 250000\0"),
            (b'E', error) => panic!("{}", String::from_utf8_lossy(&error)),
            (b'Z', _) => break,
            _ => {}
        }
    }
    assert_eq!(count, 250_000);
    // A batch of 8,192 rows and those ahead of it; all rows together are 500 MB.
    let more = most.saturating_sub(before);
    assert!(more < 250_000_000, "{more} bytes more");
    // A long text of the query is in every row: here five gigabytes, if a batch had as many rows as usual.
    client.simple("ROLLBACK");
    let long = format!("SELECT value, '{}' AS t FROM generate_series(1, 8192) LIMIT 10", "x".repeat(600_000));
    let before = resident_bytes();
    assert_eq!(client.simple(&long).rows.len(), 10);
    let more = resident_bytes().saturating_sub(before);
    assert!(more < 250_000_000, "{more} bytes more");
    client.simple("BEGIN");
    client.simple("DECLARE c CURSOR FOR SELECT value FROM generate_series(1, 10)");
    for expected in [vec!["1", "2", "3"], vec!["4", "5", "6"], vec!["7", "8", "9"], vec!["10"], vec![]] {
        let answer = client.extended("FETCH 3 FROM c", &[]);
        let rows: Vec<&str> = answer.rows.iter().map(|row| row[0].as_deref().unwrap()).collect();
        assert_eq!((rows, answer.tags), (expected.clone(), vec![format!("FETCH {}", expected.len())]));
    }
}

fn resident_bytes() -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = text.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

/// Prepared statements and bound values are memory that no query's limit sees.
#[test]
fn what_a_connection_keeps_is_limited() {
    let world = World::new(false);
    let served = world.serve("");
    let mut client = served.client("acme");
    let large = format!("SELECT '{}'", "x".repeat(1_000_000));
    let mut kept = 0;
    let code = loop {
        client.parse(&format!("s{kept}"), &large);
        client.send(b'S', b"");
        match client.answer().error {
            None => kept += 1,
            Some((code, _)) => break code,
        }
    };
    assert_eq!((code.as_str(), kept), ("54000", 8));
    client.simple("DEALLOCATE ALL");
    // The one without a name is replaced each time.
    for _ in 0..20 {
        assert_eq!(client.extended(&large, &[]).error, None);
    }
    client.simple("DEALLOCATE ALL");
    client.simple("BEGIN");
    client.parse("one", "SELECT $1::text");
    let value = "y".repeat(10_000_000);
    for portal in 0..4 {
        client.bind(&format!("p{portal}"), "one", &[Some(&value)]);
        client.send(b'S', b"");
        let error = client.answer().error.map(|(code, _)| code);
        assert_eq!(error, (portal == 3).then(|| "54000".to_owned()), "portal {portal}");
    }
    client.simple("ROLLBACK");
    assert_eq!(client.simple("SELECT 1").value(), "1");
}
