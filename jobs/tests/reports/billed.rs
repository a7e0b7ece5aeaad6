//! Reports about what was billed, and about what stands in the book; by hand.

use std::path::Path;

use crate::world::{meterhouse, run};

const CATALOG: &str = "
catalog: shop
currency: EUR
stripe: { mode: invoices, send: draft, days_until_due: 14 }
meters:
  calls: { kind: delta, event_type: called, value: $.n, unit: call }
  large: { kind: delta, event_type: called, value: $.large, unit: call }
plans:
  pay:
    prices:
      base: { flat: 10 }
      calls: { meter: calls, included: 100, per_unit: 0.10 }
  other: { prices: { calls: { meter: calls, per_unit: 0.10 } } }
tenants:
  acme: { stripe: { customer: cus_acme }, subscriptions: [{ plan: pay, from: 2026-01-01 }] }
  globex: { subscriptions: [{ plan: pay, from: 2026-01-01 }] }
  zeta: { subscriptions: [{ plan: other, from: 2026-01-01 }] }
";

fn called(tenant: &str, time: &str, n: u32) -> String {
    format!(
        r#"{{"specversion":"1.0","id":"{tenant}{time}","source":"/s","type":"called","subject":"{tenant}","time":"{time}","data":{{"n":{n},"large":0}}}}"#
    )
}

/// 250 calls of acme's and 150 of globex' and zeta's in January, and 120 of acme's in the first half of February.
fn shop() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    std::fs::write(path.join("catalog.yaml"), CATALOG).unwrap();
    let events = [
        called("acme", "2026-01-12T00:00:00Z", 250),
        called("globex", "2026-01-12T00:00:00Z", 150),
        called("zeta", "2026-01-12T00:00:00Z", 150),
        called("acme", "2026-02-10T00:00:00Z", 120),
    ];
    std::fs::write(path.join("events.ndjson"), events.join("\n")).unwrap();
    run(path, &["ingest", "--file", "events.ndjson"], &[0]);
    run(path, &["rate", "--period", "2026-01"], &[0]);
    folder
}

fn report(folder: &Path, name: &str, parameters: &[&str]) -> Vec<String> {
    let mut arguments = vec!["report", name, "--format", "csv"];
    arguments.extend(parameters.iter().flat_map(|parameter| ["--param", parameter]));
    run(folder, &arguments, &[0]).lines().skip(1).map(str::to_owned).collect()
}

#[test]
fn reconciliation_sees_what_is_issued_and_what_waits_for_stripe() {
    let folder = shop();
    let folder = folder.path();
    let reconciled = || {
        let rows = report(folder, "reconciliation", &["period=2026-01"]);
        // Tenant, state, number, total, difference, missing lines, Stripe records, those not told.
        let told = rows.iter().map(|row| {
            let cells: Vec<&str> = row.split(',').collect();
            [0, 3, 4, 6, 8, 9, 10, 11].map(|at| cells[at]).join(" ")
        });
        let mut told: Vec<String> = told.collect();
        told.sort();
        told
    };
    assert_eq!(
        reconciled(),
        [
            "acme draft  25.000000000 0.000000000 0 0 0",
            "globex draft  15.000000000 0.000000000 0 0 0",
            "zeta draft  15.000000000 0.000000000 0 0 0"
        ]
    );
    let issued =
        run(folder, &["issue", "--period", "2026-01", "--grace", "0 s", "--without-papers"], &[0, 3]);
    // Stripe is told of acme's invoice, of its two lines and that it is complete.
    let records = "SELECT tenant, kind, state, count(*) AS n FROM stripe_records GROUP BY 1, 2, 3 ORDER BY 2";
    let records = run(folder, &["sql", "--format", "csv", records], &[0]);
    let waiting = records
        .lines()
        .skip(1)
        .map(|row| row.rsplit(',').next().unwrap().parse::<u32>().unwrap())
        .sum::<u32>();
    assert!(
        waiting > 2
            && records.lines().skip(1).all(|row| row.starts_with("acme,") && row.contains(",waiting,")),
        "{records}"
    );
    assert_eq!(
        reconciled(),
        [
            format!("acme issued R-000001 25.000000000 0.000000000 0 {waiting} {waiting}"),
            "globex issued R-000002 15.000000000 0.000000000 0 0 0".to_owned(),
            "zeta issued R-000003 15.000000000 0.000000000 0 0 0".to_owned()
        ],
        "{issued}"
    );
}

#[test]
fn unbilled_is_without_what_was_issued() {
    let folder = shop();
    let folder = folder.path();
    let unbilled = |period: &str| report(folder, "unbilled", &[period, "now=2026-02-15T00:00:00Z"]);
    let january = unbilled("period=2026-01");
    assert_eq!(january.len(), 3, "{january:?}");
    run(folder, &["issue", "--period", "2026-01", "--grace", "0 s", "--without-papers"], &[0, 3]);
    assert_eq!(unbilled("period=2026-01"), Vec::<String>::new());
    // Half of February is over: acme's fee of 10 and 20 calls at 0.10, which go on to 4.00.
    let cents = |value: &str| format!("{value}0000000000");
    let acme =
        format!("acme,EUR,{},{},{},{},14.00", cents("10.00"), cents("0.00"), cents("2.00"), cents("12.00"));
    let february = unbilled("period=2026-02");
    assert_eq!((february.len(), &february[0]), (3, &acme), "{february:?}");
}

/// globex pays for 50 calls beyond the 100 of its plan, also after it left; zeta's plan includes none.
#[test]
fn overage_of_a_tenant_that_left() {
    let folder = shop();
    let folder = folder.path();
    let expected = [
        "acme,pay,calls,calls,call,EUR,150.000000000,15.000000000",
        "globex,pay,calls,calls,call,EUR,50.000000000,5.000000000",
    ];
    assert_eq!(report(folder, "overage", &["period=2026-01"]), expected);
    let left: String = CATALOG
        .lines()
        .filter(|line| !line.starts_with("  globex") && !line.starts_with("  zeta"))
        .map(|line| line.to_owned() + "\n")
        .collect();
    std::fs::write(folder.join("catalog.yaml"), left).unwrap();
    assert_eq!(report(folder, "overage", &["period=2026-01"]), expected);
}

/// Each event feeds two meters, so it has two rows.
#[test]
fn late_and_rejected_counts_events() {
    let folder = shop();
    let rows = report(folder.path(), "late_and_rejected", &["hours=24"]);
    let [row] = &rows[..] else { panic!("{rows:?}") };
    assert_eq!(row.split_once(',').unwrap().1, "4,4,0");
    let count =
        run(folder.path(), &["sql", "--format", "csv", "SELECT count(*) AS n FROM usage_events"], &[0]);
    assert_eq!(count, "n\n8\n");
}

/// The settings' catalog may be another than the one in force, so nothing is priced by it then.
#[test]
fn without_the_book_there_are_no_prices() {
    let folder = shop();
    let folder = folder.path();
    run(folder, &["catalog", "apply"], &[0]);
    let book = folder.join("book.sqlite");
    assert!(book.is_file());
    for beside in ["book.sqlite-wal", "book.sqlite-shm"] {
        let _ = std::fs::remove_file(folder.join(beside));
    }
    std::fs::write(&book, "this is no database".repeat(1000)).unwrap();
    for (arguments, name) in [
        (&["report", "margin", "--param", "period=2026-01"][..], "charges"),
        (&["report", "unbilled", "--param", "period=2026-01"], "charges"),
        (&["report", "reconciliation", "--param", "period=2026-01"], "stripe_records"),
        (&["report", "overage", "--param", "period=2026-01"], ""),
        (&["export", "charges", "--period", "2026-01", "--format", "csv", "--to", "charges.csv"], "charges"),
        (&["sql", "SELECT * FROM quantities('2026-01')"], "quantities"),
        (&["sql", "SELECT * FROM tenants"], "tenants"),
        (&["sql", "SELECT * FROM runs"], "runs"),
    ] {
        let output = meterhouse(folder, arguments);
        let messages = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {messages}");
        assert!(messages.contains(&format!("{name} cannot be read: the book")), "{arguments:?}: {messages}");
        assert!(messages.contains("the book cannot be read, so"), "{arguments:?}: {messages}");
    }
    // What is in the lake can be asked.
    let total = run(folder, &["sql", "--format", "csv", "SELECT sum(total) AS s FROM invoices"], &[0]);
    assert_eq!(total, "s\n55.000000000\n");
}
