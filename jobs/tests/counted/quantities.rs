//! `meterhouse quantities` from events and from roll-ups.

use std::path::Path;

use crate::{columns, event, folder, ingest, run};

const CATALOG: &str = "
catalog: test
currency: USD
meters:
  stored: { kind: gauge, event_type: stored, value: $.v, resource: $.disk, unit: GB }
  calls: { kind: delta, event_type: called, value: $.v, unit: request }
tenants:
  acme: { subscriptions: [] }
  york: { time_zone: America/New_York, subscriptions: [] }
  huge: { subscriptions: [] }
";

const SHOWN: [&str; 6] = ["tenant", "measure", "exact_value", "samples", "carried_in", "unit"];

/// What both ways say, which must be the same.
#[track_caller]
fn counted(folder: &Path, period: &str, tenant: &str) -> Vec<String> {
    let of = |from: &str| {
        let arguments =
            ["quantities", "--period", period, "--tenant", tenant, "--format", "csv", "--from", from];
        run(folder, &arguments, 0).0
    };
    let events = of("events");
    assert_eq!(of("auto"), events);
    columns(&events, &SHOWN)
}

#[test]
fn a_level_is_carried_over_many_months() {
    let folder = folder(CATALOG);
    let folder = folder.path();
    ingest(
        folder,
        "first.ndjson",
        &[
            event("1", "stored", "acme", "2025-01-05T12:00:00", "2.5"),
            event("2", "stored", "acme", "2026-03-16T12:00:00", "5.5"),
        ],
    );
    let months_later = [
        "acme peak 2.5 0 2.500000000000 GB",
        "acme average 2.5 0 2.500000000000 GB",
        "acme p95 2.5 0 2.500000000000 GB",
        "acme last 2.5 0 2.500000000000 GB",
        "acme min 2.5 0 2.500000000000 GB",
        "acme unit_hours 1680 0 2.500000000000 GB hour",
        "acme sum_of_peaks 2.5 0 2.500000000000 GB",
    ];
    for step in ["events", "rolled"] {
        assert_eq!(counted(folder, "2026-02", "acme"), months_later, "{step}: 28 days of 2.5 GB");
        // In the middle of the 31 days of March it grows by three.
        let march = counted(folder, "2026-03", "acme");
        assert_eq!(march[0], "acme peak 5.5 1 2.500000000000 GB", "{step}");
        assert_eq!(march[1], "acme average 4 1 2.500000000000 GB", "{step}");
        assert_eq!(march[5], "acme unit_hours 2976 1 2.500000000000 GB hour", "{step}");
        // After all events, and before them.
        let july = counted(folder, "2026-07", "acme");
        assert_eq!(july[1], "acme average 5.5 0 5.500000000000 GB", "{step}");
        assert_eq!(counted(folder, "2024-12", "acme"), [""; 0], "{step}");
        run(folder, &["rollup"], 0);
    }
    let (table, _) = run(folder, &["quantities", "--period", "2026-03", "--tenant", "acme"], 0);
    let average = table.lines().find(|line| line.contains("average")).unwrap();
    assert!(average.contains(" 4 ") && average.contains(" 2.5"), "{table}");
    assert!(!table.contains("00000"), "no digits that say nothing: {table}");
}

#[test]
fn an_event_that_comes_again_counts_once() {
    let folder = folder(CATALOG);
    let folder = folder.path();
    let first = event("1", "called", "acme", "2026-03-05T00:00:00", "7");
    ingest(
        folder,
        "first.ndjson",
        &[first.clone(), event("2", "called", "acme", "2026-03-06T00:00:00", "1")],
    );
    let sum = |step: &str| {
        let march = counted(folder, "2026-03", "acme");
        assert_eq!(
            march[..2],
            ["acme sum 8 2 0.000000000000 request", "acme count 2 2 0.000000000000 event"],
            "{step}"
        );
    };
    sum("as it came");
    run(folder, &["rollup"], 0);
    run(folder, &["compact"], 0);
    sum("compacted");
    // The same file again, as after a run that died.
    run(folder, &["ingest", "--file", "first.ndjson"], 0);
    sum("the same file");
    // Once more as it was, once with another value, and once for somebody else: the first counts.
    ingest(folder, "again.ndjson", &[first]);
    sum("again");
    ingest(folder, "other.ndjson", &[event("1", "called", "acme", "2026-03-05T00:00:00", "9")]);
    ingest(folder, "york.ndjson", &[event("1", "called", "york", "2026-03-05T00:00:00", "9")]);
    sum("contradicted");
    assert_eq!(counted(folder, "2026-03", "york"), [""; 0]);
    run(folder, &["rollup"], 0);
    sum("rolled again");
    assert_eq!(counted(folder, "2026-03", "york"), [""; 0]);
    run(folder, &["compact"], 3);
    sum("compacted again");
}

/// Its rejects are stored each time, because a file has no position that could say they are known.
#[test]
fn rejects_of_a_file_that_came_twice_count_once_when_they_are_replayed() {
    let folder = folder(&CATALOG.replace("value: $.v, unit: request", "value: $.size, unit: request"));
    let folder = folder.path();
    let (amended, amendment) = (
        event("2", "called", "acme", "2026-03-06T00:00:00", "9"),
        r#"{"specversion":"1.0","id":"a","source":"/s","type":"meterhouse.amend","subject":"acme","data":{"source":"/s","id":"2","type":"called","time":"2026-03-06T00:00:00Z","data":{"v":2}},"time":"2026-03-07T00:00:00Z"}"#,
    );
    let lines =
        [event("1", "called", "acme", "2026-03-05T00:00:00", "5"), amended, amendment.to_owned()].join("\n");
    std::fs::write(folder.join("first.ndjson"), lines).unwrap();
    for _ in 0..2 {
        run(folder, &["ingest", "--file", "first.ndjson"], 3);
    }
    assert_eq!(counted(folder, "2026-03", "acme"), [""; 0]);
    std::fs::write(folder.join("catalog.yaml"), CATALOG).unwrap();
    run(folder, &["replay"], 0);
    let sum = ["acme sum 7 2 0.000000000000 request", "acme count 2 2 0.000000000000 event"];
    assert_eq!(counted(folder, "2026-03", "acme")[..2], sum, "as it was replayed");
    run(folder, &["compact"], 0);
    assert_eq!(counted(folder, "2026-03", "acme")[..2], sum, "compacted");
    let (lines, _) =
        run(folder, &["sql", "SELECT count(*) AS n FROM usage_events WHERE id = '1'", "--format", "csv"], 0);
    assert_eq!(lines, "n\n1\n");
}

#[test]
fn a_meter_that_came_later_counts_an_amended_event_as_amended() {
    let folder = folder(CATALOG);
    let folder = folder.path();
    let amendment = r#"{"specversion":"1.0","id":"a","source":"/s","type":"meterhouse.amend","subject":"acme","data":{"source":"/s","id":"1","type":"called","data":{"v":5}},"time":"2026-03-07T00:00:00Z"}"#;
    let first = event("1", "called", "acme", "2026-03-05T00:00:00", "4");
    ingest(folder, "first.ndjson", &[first, amendment.to_owned()]);
    let later = CATALOG.replace(
        "tenants:",
        "  again: { kind: delta, event_type: called, value: $.v, unit: request }\ntenants:",
    );
    std::fs::write(folder.join("catalog.yaml"), later).unwrap();
    run(folder, &["derive"], 0);
    let sum = "acme sum 5 1 0.000000000000 request";
    let march = counted(folder, "2026-03", "acme");
    assert_eq!((march[0].as_str(), march[4].as_str(), march.len()), (sum, sum, 8));
}

#[test]
fn a_month_with_a_missing_hour_is_an_hour_shorter() {
    let folder = folder(CATALOG);
    let folder = folder.path();
    // When New York's clocks go from two to three: 573 of the 743 hours of that March are left.
    ingest(folder, "first.ndjson", &[event("1", "stored", "york", "2026-03-08T07:00:00", "1")]);
    for step in ["events", "rolled"] {
        let march = counted(folder, "2026-03", "york");
        assert_eq!(march[1], "york average 573/743 1 0.000000000000 GB", "{step}");
        assert_eq!(march[5], "york unit_hours 573 1 0.000000000000 GB hour", "{step}");
        run(folder, &["rollup"], 0);
    }
}

#[test]
fn who_cannot_be_counted_is_named_and_all_others_are_counted() {
    let folder = folder(CATALOG);
    let folder = folder.path();
    let most = "90000000000000000000000000000";
    ingest(
        folder,
        "first.ndjson",
        &[
            event("1", "called", "huge", "2026-03-05T00:00:00", most),
            event("2", "called", "huge", "2026-03-07T00:00:00", most),
            event("3", "called", "acme", "2026-03-05T00:00:00", "1"),
            event("4", "called", "stranger", "2026-01-05T00:00:00", "1"),
            event("5", "called", "stranger", "2026-03-05T00:00:00", "1"),
        ],
    );
    let quantities = ["quantities", "--period", "2026-03", "--format", "csv"];
    for step in ["events", "rolled"] {
        let (rows, messages) = run(folder, &quantities, 3);
        assert_eq!(
            columns(&rows, &["tenant", "measure", "exact_value"]),
            ["acme sum 1", "acme count 1", "acme max 1", "acme busiest_hour 1"],
            "{step}"
        );
        let error = messages.lines().find(|line| line.starts_with("error")).unwrap();
        assert!(error.contains("tenant huge") && error.contains("meter calls"), "{step}: {messages}");
        let not_set_up = "tenant stranger is not set up in the catalog; its 2 rows of usage are kept";
        assert!(messages.contains(not_set_up), "{step}: {messages}");
        run(folder, &["rollup"], 0);
    }
}
