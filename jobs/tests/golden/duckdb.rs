//! `meterhouse quantities` against DuckDB running its own SQL over the same Parquet files: equal to the last digit, before
//! and after compaction, in months in which clocks change.
//!
//! Runs when METERHOUSE_TEST_PYTHON (a venv made by deploy/install-test-tools) is set.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Output};

const CATALOG: &str = r"
catalog: differential
currency: USD
meters:
  stored: { kind: gauge, event_type: stored, value: $.bytes, resource: $.disk, dimensions: { region: $.region }, unit: byte }
  memory: { kind: gauge, event_type: memory, value: $.gb, resource: $.host, unit: GB }
  calls: { kind: delta, event_type: called, value: $.count, dimensions: { region: $.region, class: $.class }, unit: request }
  moved: { kind: cumulative, event_type: moved, value: $.total, resource: $.link, dimensions: { region: $.region }, unit: byte }
  runs:
    kind: session
    event_type: run
    resource: $.run
    dimensions: { size: $.size }
    session: { signal: $.state, start: begun, stop: ended }
    unit: second
  seen: { kind: unique, event_type: seen, resource: $.device, dimensions: { region: $.region }, unit: device }
tenants:
  york: { time_zone: America/New_York }
  berlin: { time_zone: Europe/Berlin }
  howe: { time_zone: Australia/Lord_Howe }
  kathmandu: { time_zone: Asia/Kathmandu }
  greenwich: {}
";

const FACTS: &str = r#"{
  "zones": {
    "york": "America/New_York", "berlin": "Europe/Berlin", "howe": "Australia/Lord_Howe",
    "kathmandu": "Asia/Kathmandu", "greenwich": "UTC"
  },
  "kinds": {
    "stored": "gauge", "memory": "gauge", "calls": "delta", "moved": "cumulative", "runs": "session", "seen": "unique"
  }
}"#;

/// Every measure that there is.
const MEASURES: usize = 15;

fn succeed(command: &mut Command) -> Output {
    let output = command.output().expect("the program starts");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    output
}

fn meterhouse(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_meterhouse"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("METERHOUSE_") {
            command.env_remove(name);
        }
    }
    command.current_dir(folder).args(arguments).env("METERHOUSE_LAKE", folder.join("lake"));
    succeed(&mut command)
}

fn compare(python: &str, folder: &Path, period: &str) {
    let quantities = meterhouse(folder, &["quantities", "--period", period, "--format", "csv"]);
    let csv = folder.join("quantities.csv");
    std::fs::write(&csv, quantities.stdout).unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/by_duckdb.py");
    let mut command = Command::new(python);
    command.arg(script).arg(folder.join("lake/usage_events")).arg(csv).args([FACTS, period]);
    let counts = succeed(&mut command).stdout;
    let counts: BTreeMap<String, usize> = serde_json::from_slice(&counts).unwrap();
    println!("{period}: {counts:?}");
    assert_eq!(counts.len(), MEASURES, "measures that were compared: {counts:?}");
    assert!(counts.values().all(|count| *count >= 5), "each for all tenants: {counts:?}");
}

#[test]
fn duckdb_finds_the_same_quantities() {
    let Some(python) = std::env::var("METERHOUSE_TEST_PYTHON").ok() else {
        println!("duckdb_finds_the_same_quantities is skipped: METERHOUSE_TEST_PYTHON is not set");
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    std::fs::write(folder.join("catalog.yaml"), CATALOG).unwrap();
    // From before the first month, so that levels, counters and sessions are carried in.
    let usage = ["--tenants", "5", "--events", "60000", "--start", "2026-02-20", "--days", "75"];
    let trouble = ["--duplicates", "3%", "--disorder", "5%", "--seed", "31", "--to", "usage.ndjson"];
    meterhouse(folder, &[&["generate"][..], &usage[..], &trouble[..]].concat());
    meterhouse(folder, &["ingest", "--file", "usage.ndjson"]);
    for period in ["2026-03", "2026-04"] {
        compare(&python, folder, period);
    }
    meterhouse(folder, &["compact"]);
    for period in ["2026-03", "2026-04"] {
        compare(&python, folder, period);
    }
}
