//! Rating and simulating from roll-ups comes to the same as from events, to the byte.

use std::path::Path;

use crate::commands::run;

const CATALOG: &str = "
catalog: test
currency: USD
meters:
  stored: { kind: gauge, event_type: stored, value: $.v, resource: $.disk, unit: GB, dimensions: { region: $.region } }
  calls: { kind: delta, event_type: called, value: $.v, unit: request, dimensions: { region: $.region } }
  sent: { kind: cumulative, event_type: sent, value: $.v, resource: $.disk, unit: byte }
plans:
  basic:
    prices:
      fee: { description: Basic, flat: 10 }
      calls: { description: Calls, meter: calls, split_by: region, per_unit: 0.01 }
      busy: { description: Busiest hour, meter: calls, measure: busiest_hour, per_unit: 0.1 }
      storage: { description: Storage, meter: stored, measure: average, per_unit: 0.2 }
      peak: { description: Peak, meter: stored, measure: peak, per_unit: 0.1 }
      sent: { description: Traffic, meter: sent, per_unit: 0.001 }
  exact:
    prices:
      p95: { description: P95, meter: stored, measure: p95, per_unit: 0.1 }
      storage: { description: Storage, meter: stored, measure: average, per_unit: 0.2 }
tenants:
  acme: { time_zone: America/New_York, subscriptions: [{ plan: basic, from: 2026-01-01 }] }
  p: { subscriptions: [{ plan: exact, from: 2026-01-01 }, { plan: basic, from: 2026-03-15 }] }
  silent: { subscriptions: [{ plan: basic, from: 2026-01-01 }] }
other_tenants:
  time_zone: Australia/Lord_Howe
  subscriptions: [{ plan: basic, from: 2026-01-01 }]
";

fn event(id: u32, kind: &str, tenant: &str, time: &str, value: &str) -> String {
    format!(
        r#"{{"specversion":"1.0","id":"{id}","source":"/s","type":"{kind}","subject":"{tenant}","time":"{time}Z","data":{{"v":{value},"disk":"d{}","region":"r{}"}}}}"#,
        id % 2,
        id % 3
    )
}

fn ingest(folder: &Path, name: &str, events: &[String]) {
    std::fs::write(folder.join(name), events.join("\n")).unwrap();
    run(folder, &["ingest", "--file", name], 0);
}

fn lake() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("catalog.yaml"), CATALOG).unwrap();
    let mut events = vec![
        event(1, "stored", "acme", "2026-02-20T00:00:00", "4"),
        event(2, "stored", "acme", "2026-03-08T07:00:00", "16.5"),
        event(3, "stored", "acme", "2026-04-01T03:59:59", "1000"),
        event(4, "stored", "acme", "2026-04-01T04:00:00", "7"),
        event(5, "sent", "acme", "2026-02-27T00:00:00", "100"),
        event(6, "sent", "acme", "2026-03-03T00:00:00", "150"),
        event(8, "sent", "acme", "2026-03-09T00:00:00", "20"),
        event(9, "stored", "p", "2026-03-02T00:00:00", "3"),
        event(10, "stored", "p", "2026-03-20T00:00:00", "8"),
        // A tenant that comes just after its own March, one just before its end, one long after.
        event(11, "called", "after", "2026-03-31T13:00:00", "1"),
        event(12, "called", "before", "2026-03-31T12:59:59", "1"),
        event(13, "called", "late", "2026-04-09T00:00:00", "1"),
        // So large that they overflow one after the other, and would not if the second day were added up first.
        event(14, "called", "huge", "2026-03-05T00:00:00", "90000000000000000000000000000"),
        event(15, "called", "huge", "2026-03-06T01:00:00", "90000000000000000000000000000"),
        event(16, "called", "huge", "2026-03-06T02:00:00", "-90000000000000000000000000000"),
    ];
    for day in 1..28 {
        let time = format!("2026-03-{day:02}T{:02}:30:00", day % 24);
        events.push(event(
            100 + day,
            "called",
            if day % 3 == 0 { "acme" } else { "p" },
            &time,
            &format!("{day}"),
        ));
    }
    events.push(event(109, "called", "acme", "2026-03-09T09:30:00", "9"));
    ingest(folder.path(), "first.ndjson", &events);
    folder
}

const DOCUMENTS: &str = "SELECT tenant, digest, document FROM invoices ORDER BY 1, 2";
const LINES: &str = "SELECT * FROM invoice_lines ORDER BY invoice, line";

#[test]
fn drafts_are_the_same_bytes_from_everywhere() {
    let folder = lake();
    let folder = folder.path();
    let stored = |query| run(folder, &["sql", "--format", "json", query], 0);
    let rate = |from: &str| {
        let problems = run(folder, &["rate", "--period", "2026-03", "--from", from, "--format", "csv"], 3);
        assert!(problems.contains("huge,2026-03-01,failed,"), "{problems}");
        [stored(DOCUMENTS), stored(LINES), problems]
    };
    let without = rate("events");
    for tenant in ["acme", "p", "silent", "before"] {
        assert!(without[0].contains(&format!("\"tenant\":\"{tenant}\"")), "{tenant}: {}", without[0]);
    }
    for tenant in ["after", "late"] {
        assert!(!without[0].contains(&format!("\"tenant\":\"{tenant}\"")), "{tenant} was not there yet");
    }
    assert_eq!(rate("auto"), without, "before any roll-up");
    run(folder, &["rollup"], 0);
    // Another table version makes other bytes, so drafts are made anew by each.
    for step in ["rolled", "compacted", "late events", "rolled again"] {
        match step {
            "compacted" => drop(run(folder, &["compact"], 0)),
            "late events" => ingest(
                folder,
                "late.ndjson",
                &[
                    event(201, "called", "acme", "2026-03-14T10:00:00", "50"),
                    event(202, "stored", "fresh", "2026-03-14T10:00:00", "5"),
                    event(203, "stored", "p", "2026-01-14T10:00:00", "2"),
                ],
            ),
            "rolled again" => drop(run(folder, &["rollup"], 0)),
            _ => {}
        }
        let (rolled, events) = (rate("auto"), rate("events"));
        assert_eq!(rolled, events, "{step}");
    }
    // Only those whose roll-ups do not tell are missing.
    run(folder, &["rate", "--period", "2026-03", "--from", "rollups", "--tenant", "acme"], 0);
    let simulate = |from: &str| {
        std::fs::write(folder.join("next.yaml"), CATALOG.replace("per_unit: 0.2", "per_unit: 0.3")).unwrap();
        let arguments =
            ["simulate", "--catalog", "next.yaml", "--period", "2026-02..2026-04", "--format", "csv"];
        run(folder, &[&arguments[..], &["--from", from]].concat(), 3)
    };
    let (rolled, events) = (simulate("auto"), simulate("events"));
    assert_eq!(rolled, events);
    assert!(events.lines().count() > 4, "{events}");
}

#[test]
fn sql_answers_from_roll_ups_too() {
    let folder = lake();
    let folder = folder.path();
    let query = "SELECT * FROM quantities('2026-03') WHERE tenant IN ('acme', 'p', 'before') ORDER BY tenant, meter, dimensions, measure, span_start, span_end";
    let sql = |query: &str| run(folder, &["sql", "--format", "csv", query], 0);
    let events = sql(query);
    run(folder, &["rollup"], 0);
    assert_eq!(sql(query), events);
    assert!(events.lines().count() > 20, "{events}");
    // The busiest hour of a meter, from the table of hours.
    let busiest = "SELECT tenant, max(sum) AS value FROM usage_hourly WHERE meter = 'calls' AND dimensions IS NULL \
                   AND tenant IN ('acme', 'p') GROUP BY tenant ORDER BY tenant";
    assert_eq!(sql(busiest), "tenant,value\nacme,27.000000000\np,26.000000000\n");
    // Four on one disk, and sixteen and a half on another from seven o'clock on.
    let number = |column: &str| format!("rtrim(rtrim(cast({column} AS varchar), '0'), '.') AS ");
    let hours = format!(
        "SELECT hour, 'region=' || dimension(dimensions, 'region') AS dimensions, {}opening, {}closing, {}highest, {}lowest,
                {}average, samples FROM usage_hourly
         WHERE tenant = 'acme' AND meter = 'stored' AND hour BETWEEN '2026-03-08T06:00:00Z' AND '2026-03-08T07:00:00Z'
         ORDER BY hour, dimensions NULLS FIRST",
        number("opening"),
        number("closing"),
        number("highest"),
        number("lowest"),
        number("integral / 3600000000"),
    );
    assert_eq!(
        sql(&hours),
        "hour,dimensions,opening,closing,highest,lowest,average,samples
2026-03-08T06:00:00Z,,4,4,4,4,4,0
2026-03-08T06:00:00Z,region=r1,4,4,4,4,4,0
2026-03-08T07:00:00Z,,4,20.5,20.5,20.5,20.5,1
2026-03-08T07:00:00Z,region=r1,4,4,4,4,4,0
2026-03-08T07:00:00Z,region=r2,0,16.5,16.5,16.5,16.5,1
"
    );
}
