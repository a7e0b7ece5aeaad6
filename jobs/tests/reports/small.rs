//! Reports over small lakes whose answers are worked out by hand.

use std::path::Path;

use serde_json::{Value, json};

use crate::world::{meterhouse, run};

const CATALOG: &str = "
catalog: shop
currency: EUR
meters:
  stored: { kind: gauge, event_type: stored, value: $.gb, resource: $.disk, unit: GB }
  desk:
    kind: session
    event_type: desk
    resource: $.id
    session: { signal: $.what, start: start, stop: stop }
    dimensions: { size: $.size }
    unit: second
plans:
  basic:
    prices:
      desk: { description: Desk, meter: desk, unit: hour, split_by: size, graduated: [{ up_to: 1000, per_unit: 1, flat: 5 }, { per_unit: 1 }] }
  hours: { prices: { desk: { description: Desk, meter: desk, unit: hour, per_unit: 1 } } }
  large: { prices: { storage: { meter: stored, measure: average, per_unit: 9223372036854775807 } } }
tenants:
  acme: { subscriptions: [{ plan: basic, from: 2026-01-01 }] }
  globex: { subscriptions: [{ plan: hours, from: 2026-01-01 }] }
  huge: { subscriptions: [{ plan: large, from: 2026-01-01 }] }
";

/// An event of the source `/s`.
#[expect(clippy::needless_pass_by_value, reason = "callers write the data on the spot")]
fn event(kind: &str, tenant: &str, time: &str, data: Value) -> String {
    let id = format!("{kind} {tenant} {time} {data}");
    json!({
        "specversion": "1.0", "id": id, "source": "/s", "type": kind, "subject": tenant, "time": time, "data": data
    })
    .to_string()
}

fn lake(catalog: &str, events: &[String]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("catalog.yaml"), catalog).unwrap();
    ingest(folder.path(), "events.ndjson", events);
    folder
}

fn ingest(folder: &Path, name: &str, events: &[String]) {
    std::fs::write(folder.join(name), events.join("\n")).unwrap();
    run(folder, &["ingest", "--file", name], &[0]);
}

fn report(folder: &Path, name: &str, parameters: &[&str]) -> String {
    let mut arguments = vec!["report", name, "--format", "csv"];
    arguments.extend(parameters.iter().flat_map(|parameter| ["--param", parameter]));
    run(folder, &arguments, &[0])
}

fn desk(tenant: &str, time: &str, data: Value) -> String {
    event("desk", tenant, time, data)
}

#[test]
fn a_stop_without_dimensions_belongs_to_its_sessions_line() {
    let folder = lake(
        CATALOG,
        &[
            desk("acme", "2026-05-01T10:00:00Z", json!({ "id": "s", "what": "start", "size": "pro" })),
            desk("acme", "2026-05-01T11:00:00Z", json!({ "id": "s", "what": "stop" })),
        ],
    );
    let folder = folder.path();
    run(folder, &["rate", "--period", "2026-05"], &[0]);
    let lines = "SELECT dimensions, billable, amount FROM invoice_lines WHERE tenant = 'acme'";
    let lines = run(folder, &["sql", "--format", "csv", lines], &[0]);
    assert_eq!(lines, "dimensions,billable,amount\n\"{\"\"size\"\":\"\"pro\"\"}\",1.000000000,6.000000000\n");
    let explain = ["explain", "--tenant", "acme", "--period", "2026-05", "1", "--format", "csv"];
    let events = run(folder, &explain, &[0]);
    let signals: Vec<&str> = events.lines().skip(1).map(|row| row.split(',').nth(4).unwrap()).collect();
    assert_eq!(signals, ["start", "stop"], "{events}");
}

/// A desk that is taken since midnight of the 1st, at 1.00 an hour, seen at midnight of the 2nd.
#[test]
fn unbilled_counts_a_running_session_up_to_now() {
    let start = json!({ "id": "s", "what": "start", "size": "pro" });
    let folder = lake(CATALOG, &[desk("globex", "2026-05-01T00:00:00Z", start)]);
    let unbilled = |now: &str| {
        let rows = report(folder.path(), "unbilled", &["period=2026-05", now]);
        let row = rows.lines().find(|row| row.starts_with("globex")).unwrap().to_owned();
        let cells: Vec<&str> = row.split(',').collect();
        // Used, so far, and the forecast.
        [cells[4], cells[5], cells[6]].map(|cell| cell.parse::<f64>().unwrap().to_string())
    };
    assert_eq!(unbilled("now=2026-05-02T00:00:00Z"), ["24", "24", "744"]);
    assert_eq!(unbilled("now=2026-05-16T12:00:00Z"), ["372", "372", "744"]);
    assert_eq!(unbilled("now=2026-07-01T00:00:00Z"), ["744", "744", "744"]);
    let charges = |arguments: &str| {
        let query = format!("SELECT quantity, span_end FROM charges({arguments}) WHERE tenant = 'globex'");
        run(folder.path(), &["sql", "--format", "csv", &query], &[0])
    };
    let whole = |quantity: &str| format!("quantity,span_end\n{quantity},2026-06-01T00:00:00Z\n");
    assert_eq!(charges("'2026-05', '2026-05-01T06:00:00Z'"), whole("6.000000000000"));
    assert_eq!(charges("'2026-05', 1, '2026-05-01T06:00:00Z'"), whole("6.000000000000"));
    assert_eq!(charges("'2026-05', '2026-04-30T00:00:00Z'"), whole("0.000000000000"));
    assert_eq!(charges("'2026-05'"), whole("744.000000000000"));
    let wrong = "SELECT * FROM charges('2026-05', 'noon')";
    let failed = meterhouse(folder.path(), &["sql", wrong]);
    assert!(String::from_utf8_lossy(&failed.stderr).contains("charges() takes a period like"));
}
