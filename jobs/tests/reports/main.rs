//! Reports, views and exports as people run them, over the usage of the golden folders.
//!
//! `testdata/reports/*.slt` hold the answers that are known: a block is a command (`report NAME PARAMETER=VALUE …`, or
//! `query` and a statement), a line `----`, and the rows as CSV. With `METERHOUSE_WRITE_EXPECTED=1` they are written anew,
//! to be compared with the invoices of the golden folders before they are committed.

mod buckets;
mod duckdb;
mod focus;
mod shell;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use arrow::array::RecordBatch;
use datafusion::parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::Value;

fn testdata() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata")
}

fn meterhouse(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_meterhouse"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("METERHOUSE_") {
            command.env_remove(name);
        }
    }
    command.current_dir(folder).args(arguments).env("METERHOUSE_LAKE", folder.join("lake"));
    command.env("METERHOUSE_ISSUER_NAME", "Northlight Systems").env("METERHOUSE_ISSUER_NUMBER_PREFIX", "R-");
    command.output().expect("the program starts")
}

#[track_caller]
fn run(folder: &Path, arguments: &[&str], codes: &[i32]) -> String {
    let output = meterhouse(folder, arguments);
    let messages = String::from_utf8(output.stderr).unwrap();
    let is_expected = output.status.code().is_some_and(|code| codes.contains(&code));
    assert!(is_expected, "{arguments:?} ended with {:?}: {messages}", output.status.code());
    String::from_utf8(output.stdout).unwrap()
}

/// A lake with the messages of a golden folder and the drafts of its period.
fn lake(system: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let golden = testdata().join("golden").join(system);
    let catalog = testdata().join(format!("catalogs/{system}.yaml"));
    std::fs::copy(catalog, folder.path().join("catalog.yaml")).unwrap();
    let messages = std::fs::read_to_string(golden.join("1_messages.jsonl")).unwrap();
    let messages = messages.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let events: Vec<String> =
        messages.filter_map(|message| Some(message.get("event")?.to_string())).collect();
    std::fs::write(folder.path().join("events.ndjson"), events.join("\n")).unwrap();
    run(folder.path(), &["ingest", "--file", "events.ndjson"], &[0, 3]);
    let run_of: Value =
        serde_json::from_str(&std::fs::read_to_string(golden.join("0_run.json")).unwrap()).unwrap();
    run(folder.path(), &["rate", "--period", run_of["period"].as_str().unwrap()], &[0, 3]);
    run(folder.path(), &["rollup"], &[0]);
    folder
}

/// Runs the blocks of a file and compares, or writes it anew.
fn check(system: &str) {
    let folder = lake(system);
    let path = testdata().join(format!("reports/{system}.slt"));
    let text = std::fs::read_to_string(&path).unwrap();
    let today = jiff::Timestamp::now().strftime("%Y-%m-%d").to_string();
    let mut written = String::new();
    for block in text.split("\n\n").map(str::trim).filter(|block| !block.is_empty()) {
        let (command, expected) = block.split_once("\n----").unwrap_or((block, ""));
        let found = answer(folder.path(), command).replace(&today, "TODAY");
        let found = found.trim_end();
        if std::env::var_os("METERHOUSE_WRITE_EXPECTED").is_none() {
            assert_eq!(found, expected.trim_start_matches('\n'), "{system}: {command}");
        }
        written.extend([command, "\n----\n", found, "\n\n"]);
    }
    if std::env::var_os("METERHOUSE_WRITE_EXPECTED").is_some() {
        std::fs::write(path, written.trim_end().to_owned() + "\n").unwrap();
    }
}

fn answer(folder: &Path, command: &str) -> String {
    let command: String =
        command.lines().filter(|line| !line.starts_with('#')).collect::<Vec<_>>().join("\n");
    if let Some(query) = command.strip_prefix("query") {
        return run(folder, &["sql", "--format", "csv", query], &[0]);
    }
    let mut words =
        command.strip_prefix("report ").expect("a block is a report or a query").split_whitespace();
    let mut arguments = vec!["report", words.next().expect("a report has a name"), "--format", "csv"];
    for parameter in words {
        arguments.extend(["--param", parameter]);
    }
    run(folder, &arguments, &[0])
}

#[test]
fn redline() {
    check("redline");
}

#[test]
fn onmemos() {
    check("onmemos");
}

#[test]
fn zemfyre() {
    check("zemfyre");
}

#[test]
fn every_report_has_a_known_answer() {
    let folder = testdata().join("reports");
    let texts: String = ["redline", "onmemos", "zemfyre"]
        .map(|system| std::fs::read_to_string(folder.join(format!("{system}.slt"))).unwrap())
        .concat();
    for report in sql::report::Report::built_in() {
        assert!(texts.contains(&format!("report {} ", report.name)), "{}", report.name);
    }
}

#[test]
fn exports_charts_and_formats() {
    let folder = lake("redline");
    let folder = folder.path();
    let count = run(folder, &["sql", "--format", "csv", "SELECT count(*) FROM usage_events"], &[0]);
    let rows: usize = count.lines().nth(1).unwrap().parse().unwrap();
    run(folder, &["export", "usage_events", "--format", "parquet", "--to", "events.parquet"], &[0]);
    let file = std::fs::File::open(folder.join("events.parquet")).unwrap();
    let reader = ParquetRecordBatchReaderBuilder::try_new(file).unwrap().build().unwrap();
    assert_eq!(reader.map(|batch| RecordBatch::num_rows(&batch.unwrap())).sum::<usize>(), rows);
    let march =
        ["export", "usage_events", "--period", "2026-03", "--format", "ndjson", "--to", "march.ndjson"];
    run(folder, &march, &[0]);
    let march = std::fs::read_to_string(folder.join("march.ndjson")).unwrap();
    assert!(!march.is_empty() && march.lines().all(|line| line.contains("\"event_day\":\"2026-03-")));
    let address = format!("file://{}/charges.csv", folder.display());
    run(folder, &["export", "charges", "--period", "2026-03", "--format", "csv", "--to", &address], &[0]);
    let charges = std::fs::read_to_string(folder.join("charges.csv")).unwrap();
    assert!(
        charges.starts_with("tenant,period,") && charges.contains("licence-7d793037,2026-03-01,"),
        "{charges}"
    );
    run(folder, &["export", "margin", "--period", "2026-03", "--format", "csv", "--to", "margin.csv"], &[0]);
    let by_report = run(folder, &["report", "margin", "--param", "period=2026-03", "--format", "csv"], &[0]);
    assert_eq!(std::fs::read_to_string(folder.join("margin.csv")).unwrap(), by_report);
    for wrong in [
        vec!["export", "plans", "--period", "2026-03", "--format", "csv", "--to", "x.csv"],
        vec!["export", "usage_event", "--format", "csv", "--to", "x.csv"],
        vec!["report", "margins"],
        vec!["report", "margin", "--param", "month=2026-03"],
        vec!["report", "reconciliation", "--chart"],
        vec!["report", "margin", "--chart-output", "margin.gif"],
        vec!["sql", "SELECT $tenant"],
        vec!["sql", "DROP TABLE plans"],
    ] {
        run(folder, &wrong, &[1]);
    }
    assert!(!folder.join("x.csv").exists());
    let chart = run(folder, &["report", "margin", "--param", "period=2026-03", "--chart"], &[0]);
    assert!(chart.starts_with("Margin per tenant\n\n") && chart.contains('█'), "{chart}");
    let drawn = |file: &str| {
        let margin =
            ["report", "margin", "--param", "period=2026-03", "--chart-output", file, "--format", "markdown"];
        run(folder, &margin, &[0])
    };
    let table = drawn("margin.svg");
    assert!(table.starts_with("| tenant | currency |"), "{table}");
    assert_eq!(drawn("margin.png"), table);
    assert!(std::fs::read(folder.join("margin.png")).unwrap().starts_with(b"\x89PNG"));
    assert!(std::fs::read_to_string(folder.join("margin.svg")).unwrap().starts_with("<svg "));
    std::fs::create_dir(folder.join("reports")).unwrap();
    let mine = "-- title: Mine\n-- parameter tenant: whose\nSELECT name FROM tenants WHERE tenant = $tenant";
    std::fs::write(folder.join("reports/mine.sql"), mine).unwrap();
    let mine =
        run(folder, &["report", "mine", "--param", "tenant=licence-7d793037", "--format", "csv"], &[0]);
    assert_eq!(mine, "name\nOkafor Data\n");
    assert!(run(folder, &["report"], &[0]).contains("tenant (needed)"));
}
