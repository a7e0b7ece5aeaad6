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

/// The average of 10^12 GB at 9.2 * 10^18 a GB is no amount: huge cannot be rated, and the others are.
#[test]
fn a_tenant_that_cannot_be_rated_takes_the_answer_from_nobody_else() {
    let folder = lake(
        CATALOG,
        &[
            event(
                "stored",
                "huge",
                "2026-05-01T00:00:00Z",
                json!({ "disk": "d", "gb": 1_000_000_000_000_u64 }),
            ),
            desk("globex", "2026-05-01T10:00:00Z", json!({ "id": "s", "what": "start" })),
            desk("globex", "2026-05-01T11:00:00Z", json!({ "id": "s", "what": "stop" })),
        ],
    );
    let folder = folder.path();
    let of = |arguments: &[&str], code: i32| {
        let output = meterhouse(folder, arguments);
        let messages = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {messages}");
        assert!(messages.contains("tenant huge cannot be rated: "), "{arguments:?}: {messages}");
        String::from_utf8(output.stdout).unwrap()
    };
    let margin = ["report", "margin", "--param", "period=2026-05", "--format", "csv"];
    let margin = of(&margin, 3);
    assert!(margin.contains("globex,EUR,1.000000000000,") && !margin.contains("huge"), "{margin}");
    of(&["export", "charges", "--period", "2026-05", "--format", "csv", "--to", "charges.csv"], 3);
    of(&["sql", "SELECT sum(amount) FROM charges('2026-05')"], 3);
    // Who asks for that tenant has no answer.
    of(&["sql", "SELECT sum(amount) FROM charges('2026-05') WHERE tenant IN ('globex', 'huge')"], 1);
    run(folder, &["sql", "SELECT sum(amount) FROM charges('2026-05') WHERE tenant = 'globex'"], &[0]);
}

#[test]
fn charges_go_by_the_catalog_of_their_period() {
    let catalog = "
catalog: shop
currency: EUR
meters: { calls: { kind: delta, event_type: called, value: $.n, unit: request } }
plans: { basic: { prices: { calls: { meter: calls, per_unit: 0.10 } } } }
tenants: { acme: { subscriptions: [{ plan: basic, from: 2019-01-01 }] } }
";
    let folder = lake(
        catalog,
        &[
            event("called", "acme", "2019-12-05T00:00:00Z", json!({ "n": 100 })),
            event("called", "acme", "2020-01-05T00:00:00Z", json!({ "n": 100 })),
        ],
    );
    let folder = folder.path();
    run(folder, &["catalog", "apply"], &[0]);
    std::fs::write(folder.join("next.yaml"), catalog.replace("0.10", "0.20")).unwrap();
    run(folder, &["catalog", "apply", "next.yaml", "--effective-from", "2020-01-01"], &[0]);
    let charged = |from: &str| {
        let query = format!("SELECT period, amount FROM {from} ORDER BY 1");
        run(folder, &["sql", "--format", "csv", &query], &[0])
    };
    let (december, january) = ("2019-12-01,10.000000000000\n", "2020-01-01,20.000000000000\n");
    assert_eq!(charged("charges('2019-12')"), format!("period,amount\n{december}"));
    assert_eq!(charged("charges('2020-01')"), format!("period,amount\n{january}"));
    let both = charged("charges WHERE period IN ('2020-01-01', '2019-12-01')");
    assert_eq!(both, format!("period,amount\n{december}{january}"));
}

/// 5 GB of the vendor's and 5 GB of the tenant's, each with a price of its own.
#[test]
fn quantities_say_which_usage_a_price_chooses() {
    let folder = lake(
        "
catalog: shop
currency: EUR
meters: { stored: { kind: gauge, event_type: stored, value: $.gb, resource: $.disk, dimensions: { owner: $.owner }, unit: GB } }
plans:
  basic:
    prices:
      storage: { meter: stored, measure: peak, only: { owner: vendor }, per_unit: 1 }
      own: { meter: stored, measure: peak, only: { owner: tenant }, per_unit: 0 }
tenants: { acme: { subscriptions: [{ plan: basic, from: 2026-01-01 }] } }
",
        &[
            event("stored", "acme", "2026-05-01T00:00:00Z", json!({ "disk": "a", "owner": "vendor", "gb": 5 })),
            event("stored", "acme", "2026-05-01T00:00:00Z", json!({ "disk": "b", "owner": "tenant", "gb": 5 })),
        ],
    );
    let query =
        "SELECT only, dimensions, value FROM quantities('2026-05') WHERE measure = 'peak' ORDER BY 1, 2";
    let rows = run(folder.path(), &["sql", "--format", "csv", query], &[0]).replace('"', "");
    assert_eq!(
        rows,
        "only,dimensions,value
{owner:[tenant]},{},5.000000000000
{owner:[vendor]},{},5.000000000000
{},{owner:tenant},5.000000000000
{},{owner:vendor},5.000000000000
"
    );
}

#[test]
fn limits_of_any_size_with_what_was_bought_to_raise_them() {
    let folder = lake(
        "
catalog: shop
currency: EUR
meters:
  calls: { kind: delta, event_type: called, value: $.n, unit: request }
  stored: { kind: gauge, event_type: stored, value: $.gb, resource: $.disk, unit: GB }
  bought: { kind: delta, event_type: bought, value: $.n, unit: piece }
plans:
  basic:
    prices: { fee: { flat: 1 } }
    quotas:
      calls: { meter: calls, limit: 1000000000000 }
      room: { meter: stored, measure: last, unit: GB, limit: 100 }
      desks: { meter: bought, limit: 0 }
items:
  fifty: { description: 50 GB, meter: bought, per_unit: 5, raises: { quota: room, by: 50 } }
tenants: { acme: { subscriptions: [{ plan: basic, from: 2026-01-01 }] } }
",
        &[
            event("called", "acme", "2026-05-02T00:00:00Z", json!({ "n": 900_000_000_000_u64 })),
            event("stored", "acme", "2026-05-02T00:00:00Z", json!({ "disk": "d", "gb": 90 })),
            event("bought", "acme", "2026-02-01T00:00:00Z", json!({ "n": 1 })),
            event("bought", "acme", "2026-05-01T00:00:00Z", json!({ "n": 1 })),
        ],
    );
    let rows = report(folder.path(), "approaching_limits", &["period=2026-05", "percent=40"]);
    let rows: Vec<Vec<&str>> = rows.lines().skip(1).map(|row| row.split(',').collect()).collect();
    let shown: Vec<String> = rows.iter().map(|row| format!("{} {} {}", row[1], row[4], row[6])).collect();
    // The pieces of which there may be none; 0.9 of the calls; 90 of 100 + 2 * 50 GB.
    assert_eq!(
        shown,
        ["desks 0.000000000000 ", "calls 1000000000000.000000000000 90.00", "room 200.000000000000 45.00"]
    );
}

/// 12,000,000,000 requests at 0.0000001 are 1,200.00; 100 of 150 calls are free for acme, and none for zeta.
#[test]
fn overage_corrections_and_focus() {
    let folder = lake(
        "
catalog: shop
currency: EUR
meters:
  calls: { kind: delta, event_type: called, value: $.n, unit: call }
  requests: { kind: delta, event_type: asked, value: $.n, unit: request }
plans:
  pay:
    prices:
      calls: { meter: calls, per_unit: 1 }
      requests: { meter: requests, per_unit: 0.0000001 }
tenants:
  acme:
    subscriptions: [{ plan: pay, from: 2026-01-01 }]
    overrides: [{ plan: pay, price: calls, from: 2026-01-01, included: 100 }]
  zeta: { subscriptions: [{ plan: pay, from: 2026-01-01 }] }
",
        &[
            event("called", "acme", "2026-01-05T00:00:00Z", json!({ "n": 150 })),
            event("called", "zeta", "2026-01-05T00:00:00Z", json!({ "n": 150 })),
            event("asked", "zeta", "2026-01-05T00:00:00Z", json!({ "n": 12_000_000_000_u64 })),
        ],
    );
    let folder = folder.path();
    run(folder, &["rate", "--period", "2026-01"], &[0]);
    let focus = report(folder, "focus", &["period=2026-01"]);
    let price = "EUR,0.000000100,1200.000000000,0.000000100,12000000000.000000000,request,";
    assert!(focus.contains(price), "{focus}");
    run(folder, &["issue", "--period", "2026-01", "--grace", "0 s", "--without-papers"], &[0]);
    let overage = || report(folder, "overage", &["period=2026-01"]);
    let header = "tenant,plan,price,meter,unit,currency,beyond_included,overage\n";
    let of_acme = |overage: &str| format!("{header}acme,pay,calls,calls,call,EUR,50.000000000,{overage}\n");
    assert_eq!(overage(), of_acme("50.000000000"));
    ingest(folder, "late.ndjson", &[event("called", "acme", "2026-01-06T00:00:00Z", json!({ "n": 30 }))]);
    run(folder, &["rate", "--period", "2026-02"], &[0]);
    assert_eq!(overage(), of_acme("80.000000000"));
    let spend = report(folder, "spend_by_meter", &["from=2026-01", "until=2026-01"]);
    let header = "month,meter,currency,spend,lines\n";
    assert_eq!(
        spend,
        format!("{header}2026-01,calls,EUR,230.000000000,3\n2026-01,requests,EUR,1200.000000000,2\n")
    );
}

#[test]
fn a_file_that_is_ingested_twice_has_duplicates() {
    let events = [desk("acme", "2026-05-01T10:00:00Z", json!({ "id": "s", "what": "start" }))];
    let folder = lake(CATALOG, &events);
    ingest(folder.path(), "events.ndjson", &events);
    let rows = report(folder.path(), "duplicates", &[]);
    assert_eq!(rows.lines().nth(1), Some("/s,2,1,0,50.000"));
}

/// A day that is rolled again after a late event counts as it was rolled last, then as now.
#[test]
fn roll_ups_as_they_were_have_one_generation() {
    let catalog = "
catalog: shop
currency: EUR
meters: { calls: { kind: delta, event_type: called, value: $.n, unit: call } }
plans: { pay: { prices: { calls: { meter: calls, per_unit: 1 } } } }
tenants: { acme: { subscriptions: [{ plan: pay, from: 2026-01-01 }] } }
";
    let called = |hour: u8, n: u32| {
        event("called", "acme", &format!("2026-01-05T{hour:02}:00:00Z"), json!({ "n": n }))
    };
    let folder = lake(catalog, &[called(1, 10)]);
    let folder = folder.path();
    run(folder, &["rollup"], &[0]);
    ingest(folder, "late.ndjson", &[called(2, 2)]);
    run(folder, &["rollup"], &[0]);
    let sums = |from: &str| {
        let query = format!(
            "SELECT view, dimensions, sum(sum) AS sum, count(*) AS n FROM {from} GROUP BY 1, 2 ORDER BY 1, 2"
        );
        run(folder, &["sql", "--format", "csv", &query], &[0])
    };
    let now = sums("usage_daily");
    assert!(now.contains(",12.000000000,1\n"), "{now}");
    assert_eq!(sums("usage_daily_at('2100-01-01')"), now);
}
