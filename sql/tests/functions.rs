//! The functions, with answers that were worked out by hand.

mod answers;

use std::sync::Arc;

use answers::cells;
use rating::catalog::Catalog;
use sql::lake::Lake;
use sql::session::{LakeSession, SessionSettings, Sources, open_session_over};

const CATALOG: &str = "
catalog: small
currency: USD
meters:
  stored: { kind: gauge, event_type: sampled, value: $.bytes, unit: byte }
  calls: { kind: delta, event_type: called, value: $.count, unit: request }
plans:
  small:
    prices:
      storage: { meter: stored, measure: average, unit: GB, included: 1, per_unit: 0.10 }
      calls_in: { meter: calls, measure: sum, package: { size: 1000, price: 0.50 } }
      calls_out: { meter: calls, measure: max, per_unit: 1 }
tenants:
  berlin:
    time_zone: Europe/Berlin
    subscriptions: [{ plan: small, from: 2026-01-01 }]
";

async fn session(threads: usize) -> LakeSession {
    let catalog = Arc::new(Catalog::parse(CATALOG, "small.yaml").unwrap());
    let sources = Sources { catalog: Some(catalog), ..Sources::default() };
    let settings = SessionSettings { threads, ..SessionSettings::default() };
    open_session_over(&Lake::open("memory:///functions").unwrap(), &settings, &sources).await.unwrap()
}

/// `a` holds 10 for an hour and then 20, `b` holds 5 from half an hour on, until 2 o'clock.
const SAMPLES: &str = "(VALUES
    (TIMESTAMP '2026-05-01T01:00:00Z', 20.0, 'a'), (TIMESTAMP '2026-05-01T00:30:00Z', 5.0, 'b'),
    (TIMESTAMP '2026-05-01T00:00:00Z', 10.0, 'a'), (TIMESTAMP '2026-05-01T02:00:00Z', 0.0, 'a')) AS s(t, v, r)";

#[tokio::test]
async fn measures_are_exact_whatever_the_order_of_rows() {
    let bounds = "TIMESTAMP '2026-05-01T00:00:00Z', TIMESTAMP '2026-05-01T03:00:00Z'";
    for (call, expected) in [
        // (10 * 1 + 20 * 1 + 5 * 1.5) / 2
        ("time_weighted_average(t, v, r)".to_owned(), "18.750000000000"),
        // b goes on holding 5 in the third hour: (10 + 20 + 5 * 2.5) / 3
        (format!("time_weighted_average(t, v, r, {bounds})"), "14.166666666667"),
        ("peak(t, v, r)".to_owned(), "25.000000000000"),
        // One resource: 10, 5, 20, 0.
        ("peak(t, v)".to_owned(), "20.000000000000"),
        ("p95(t, v, r)".to_owned(), "25.000000000000"),
        // a: 10 and a reset to 0; b has one sample.
        ("counter_increase(t, v, r)".to_owned(), "10.000000000000"),
        ("counter_increase(t, v)".to_owned(), "20.000000000000"),
        ("peak(t, v, r) FILTER (WHERE t < TIMESTAMP '2026-05-01T00:10:00Z')".to_owned(), "10.000000000000"),
        ("peak(t, v) FILTER (WHERE false)".to_owned(), ""),
    ] {
        for threads in [1, 4] {
            let query = format!("SELECT {call} AS answer FROM {SAMPLES}");
            assert_eq!(cells(&session(threads).await, &query).await, [expected], "{call}");
        }
    }
}

/// Of 5 and 100 at one instant the higher counts: 90 and then 100, and no reset between.
#[tokio::test]
async fn of_two_samples_at_one_instant_the_higher_counts() {
    let samples = "(VALUES
        (TIMESTAMP '2026-05-01T11:00:00Z', 100.0, 'a'), (TIMESTAMP '2026-05-01T10:00:00Z', 90.0, 'a'),
        (TIMESTAMP '2026-05-01T11:00:00Z', 5.0, 'a')) AS s(t, v, r)";
    let query = format!("SELECT counter_increase(t, v, r), peak(t, v, r) FROM {samples}");
    assert_eq!(cells(&session(2).await, &query).await, ["10.000000000000 100.000000000000"]);
}

/// The same samples split over partitions, so that partial states are merged.
#[tokio::test]
async fn partial_states_merge() {
    let session = session(4).await;
    let many = "SELECT g, peak(t, v, r), counter_increase(t, v, r), time_weighted_average(t, v, r) FROM (
        SELECT i % 3 AS g, to_timestamp_seconds(1777593600 + i) AS t, i::decimal(20, 0) AS v,
               (i % 2)::text AS r
        FROM (SELECT value AS i FROM generate_series(0, 29999))) GROUP BY g ORDER BY g";
    let found = cells(&session, many).await;
    // Group 0 holds 0, 3, 6 … 29997; of the two resources the last levels are 29997 and 29994.
    assert!(found[0].starts_with("0 59991.000000000000 59988.000000000000 "), "{found:?}");
    assert_eq!(found.len(), 3);
}

#[tokio::test]
async fn units_periods_and_prices() {
    let session = session(1).await;
    for (expression, expected) in [
        ("to_gb(1500000000)", "1.500000000000"),
        ("to_gib(1610612736)", "1.500000000000"),
        // 2^-30 = 0.000000000931322…
        ("to_gib(1)", "0.000000000931"),
        ("to_gib(NULL)", ""),
        // Midnight in Berlin is 22:00 UTC in summer and 23:00 in winter.
        ("period_start('berlin', TIMESTAMP '2026-03-31T22:00:00Z')", "2026-03-31T22:00:00Z"),
        ("period_start('berlin', TIMESTAMP '2026-03-31T21:59:59Z')", "2026-02-28T23:00:00Z"),
        ("period_end('berlin', TIMESTAMP '2026-03-31T21:59:59Z')", "2026-03-31T22:00:00Z"),
        ("period_start('nobody', TIMESTAMP '2026-03-31T21:59:59Z')", ""),
        // 1 GB is included: 2.5 * 0.10.
        ("price('small', 'stored', 3.5)", "0.250000000000"),
        ("price('small', 'storage', 1)", "0.000000000000"),
        ("price('small', 'calls_in', 1001)", "1.000000000000"),
        ("price(NULL, 'storage', 1)", ""),
    ] {
        assert_eq!(
            cells(&session, &format!("SELECT {expression} AS answer")).await,
            [expected],
            "{expression}"
        );
    }
    for (expression, expected) in [
        ("price('large', 'storage', 1)", "no plan `large`"),
        ("price('small', 'calls', 1)", "calls_in, calls_out"),
        ("price('small', 'disk', 1)", "no price of `disk`"),
        ("to_gb('many')", "takes a number"),
        ("to_gb(1::double)", "no floats"),
        ("peak(now())", "time and the value"),
    ] {
        let query = format!("SELECT {expression} AS answer");
        let error = match session.query(&query).await {
            Ok(frame) => frame.collect().await.unwrap_err(),
            Err(error) => error,
        };
        assert!(error.to_string().contains(expected), "{expression}: {error}");
    }
}

/// A sum that has no place in its type is an error: 38 digits for decimals, 64 bits for whole numbers.
#[tokio::test]
async fn sums_never_wrap_around() {
    let large =
        |scale: u8| format!("CAST('{}' AS DECIMAL(38, {scale}))", "9".repeat(38 - usize::from(scale)));
    for threads in [1, 4] {
        let session = session(threads).await;
        for (rows, of) in [
            (format!("(VALUES ({0}), ({0})) AS t(v)", large(9)), "v"),
            (format!("(VALUES ({0}), ({0}), ({0})) AS t(v)", large(0)), "v"),
            // Just a digit too many, which an i128 would hold.
            (format!("(VALUES ({}), (CAST(1 AS DECIMAL(38, 0)))) AS t(v)", large(0)), "v"),
            ("(VALUES (9223372036854775807), (1)) AS t(v)".to_owned(), "v"),
            ("generate_series(1, 20000) AS t(v)".to_owned(), "9000000000000000 + v"),
        ] {
            for query in [
                format!("SELECT sum({of}) FROM {rows}"),
                format!("SELECT g, sum({of}) FROM {rows}, (VALUES (1), (2)) AS g(g) GROUP BY g"),
                format!("SELECT sum({of}) OVER (ORDER BY {of} ROWS UNBOUNDED PRECEDING) FROM {rows}"),
                format!(
                    "SELECT sum(DISTINCT x) FROM (SELECT {of} AS x FROM {rows} UNION ALL SELECT {of} - 1 FROM {rows})"
                ),
            ] {
                let failed = session.query(&query).await.unwrap().collect().await.unwrap_err().to_string();
                assert!(failed.contains("sum(): the sum"), "{query}: {failed}");
            }
        }
        for (query, expected) in [
            (
                format!("SELECT sum(v) FROM (VALUES ({0}), (-{0}), ({0})) AS t(v)", large(9)),
                "9".repeat(29) + ".000000000",
            ),
            ("SELECT sum(v) FROM generate_series(1, 1000) AS t(v)".to_owned(), "500500".to_owned()),
            ("SELECT sum(v) FROM generate_series(1, 1000) AS t(v) WHERE v < 0".to_owned(), String::new()),
            ("SELECT sum(DISTINCT v % 10) FROM generate_series(1, 1000) AS t(v)".to_owned(), "45".to_owned()),
            (
                "SELECT sum(v) FILTER (WHERE v > 990) FROM generate_series(1, 1000) AS t(v)".to_owned(),
                "9955".to_owned(),
            ),
            ("SELECT avg(v) FROM (VALUES (0.1), (0.2)) AS t(v)".to_owned(), "0.15000".to_owned()),
        ] {
            assert_eq!(cells(&session, &query).await, [expected], "{query}");
        }
        let groups = "SELECT v % 3, sum(v), sum(0.5 * v) FILTER (WHERE v > 100) FROM generate_series(1, 30000) AS t(v) GROUP BY 1 ORDER BY 1";
        assert_eq!(
            cells(&session, groups).await,
            ["0 150015000 75006658.5", "1 149995000 74996641.5", "2 150005000 75001675.0"].map(str::to_owned)
        );
        let moving = "SELECT sum(v) OVER (ORDER BY v ROWS 1 PRECEDING) FROM generate_series(1, 4) AS t(v)";
        assert_eq!(cells(&session, moving).await, ["1", "3", "5", "7"]);
    }
}
