//! `meterhouse close`, and what is left of an invoice once the catalog has moved on.

use crate::{event, folder, ingest, run};

const CATALOG: &str = "
catalog: test
currency: USD
meters:
  stored: { kind: gauge, event_type: stored, value: $.v, resource: $.disk, unit: GB }
plans:
  basic: { prices: { storage: { description: Storage, meter: stored, measure: average, per_unit: 2 } } }
tenants:
  acme: { subscriptions: [{ plan: basic, from: 2026-01-01 }] }
";

#[test]
fn a_period_is_rolled_up_before_it_is_rated() {
    let folder = folder(CATALOG);
    let folder = folder.path();
    std::fs::write(folder.join("meterhouse.toml"), "[issuer]\nname = \"Seller\"\n").unwrap();
    ingest(folder, "first.ndjson", &[event("1", "stored", "acme", "2026-01-11T00:00:00", "31")]);
    let close = ["close", "--period", "2026-01", "--grace", "0 s", "--without-papers"];
    run(folder, &close, 0);
    let csv = |query: &str| run(folder, &["sql", "--format", "csv", query], 0).0;
    assert_eq!(csv("SELECT state, due FROM invoices"), "state,due\nissued,42.000000000\n");
    assert_eq!(csv("SELECT count(*) AS n FROM usage_hourly"), "n\n24\n");
    let (runs, _) = run(folder, &["runs", "--format", "json"], 0);
    let mut jobs: Vec<String> = serde_json::from_str::<Vec<serde_json::Value>>(&runs)
        .unwrap()
        .iter()
        .map(|run| run["job"].as_str().unwrap().to_owned())
        .collect();
    jobs.reverse();
    assert_eq!(jobs, ["close", "compact", "rollup", "rate", "issue"]);
    run(folder, &close, 0);
    // The invoice keeps its catalog.
    std::fs::write(folder.join("catalog.yaml"), CATALOG.replace("stored", "held")).unwrap();
    let explain = ["explain", "--tenant", "acme", "--period", "2026-01", "storage", "--events"];
    let (text, _) = run(folder, &explain, 0);
    assert!(text.contains("catalog.yaml:7") && text.contains("2026-01-11T00:00:00Z"), "{text}");
    let (text, messages) = run(folder, &["verify", "--period", "2026-01"], 0);
    assert!(text.contains("the same to the byte"), "{text} {messages}");
}
