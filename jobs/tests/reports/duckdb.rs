//! Every report that DuckDB can run gives the same rows there: DuckDB reads what `meterhouse export` wrote of each table, and the
//! text of the report as it stands.
//!
//! DuckDB is that of METERHOUSE_TEST_PYTHON; without it the test says so and passes.

use std::path::Path;
use std::process::Command;

use sql::report::Report;

use crate::{lake, run};

const SCRIPT: &str = include_str!("duckdb.py");

/// What the reports read. Of the computed ones it is the period's rows.
const TABLES: [&str; 14] = [
    "allowances",
    "charges",
    "invoice_lines",
    "invoices",
    "limits",
    "meters",
    "plans",
    "prices",
    "quantities",
    "rejected_messages",
    "stripe_records",
    "subscriptions",
    "tenants",
    "usage_days",
];

/// Up to when running sessions count.
const NOW: &str = "2026-03-20T12:00:00Z";

/// Parameters beside their defaults.
fn parameters(report: &Report, period: &str) -> Vec<(String, String)> {
    let values = report.parameters.iter().map(|parameter| {
        let value = match (parameter.name.as_str(), parameter.default.as_deref().unwrap()) {
            ("period", _) => period.to_owned(),
            // Of a month that lies behind, everything has come in.
            ("now", _) => NOW.to_owned(),
            ("percent", _) => "10".to_owned(),
            ("issuer", _) => "Northlight Systems".to_owned(),
            (_, default) => default.to_owned(),
        };
        (parameter.name.clone(), value)
    });
    values.collect()
}

fn compare(python: &Path, system: &str, period: &str) {
    let folder = lake(system);
    let folder = folder.path();
    let export = |name: &str, arguments: &[&str]| {
        let file = format!("{name}.parquet");
        let base = ["export", name, "--format", "parquet", "--to", &file];
        run(folder, &[&base[..], arguments].concat(), &[0]);
    };
    for table in TABLES {
        if ["charges", "quantities"].contains(&table) {
            export(table, &["--period", period]);
            let (query, file) =
                (format!("SELECT * FROM {table}('{period}', '{NOW}')"), format!("{table}_until.parquet"));
            run(folder, &["sql", &query, "--format", "parquet", "--output", &file], &[0]);
        } else {
            export(table, &[]);
        }
    }
    export("usage_events", &[]);
    let mut compared = 0;
    for report in Report::built_in() {
        let parameters = parameters(&report, period);
        let given: Vec<String> = parameters.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let mut arguments = vec!["report", &report.name, "--format", "parquet", "--output", "ours.parquet"];
        arguments.extend(given.iter().flat_map(|given| ["--param", given]));
        run(folder, &arguments, &[0]);
        // As somebody would type them: DuckDB takes no parameters inside of table functions.
        let mut text = report.text.clone();
        for (name, value) in &parameters {
            text = text.replace(&format!("${name}"), &format!("'{value}'"));
        }
        std::fs::write(folder.join("report.sql"), text).unwrap();
        let output = Command::new(python).current_dir(folder).args(["-c", SCRIPT]).output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{system}, {}: {said}{errors}", report.name);
        println!("{system}, {}: {}", report.name, said.trim());
        compared += said.trim().parse::<usize>().unwrap();
    }
    assert!(compared > 10, "{system}: {compared} rows are a poor proof");
}

#[test]
fn duckdb_finds_the_same_rows() {
    let Some(python) = std::env::var_os("METERHOUSE_TEST_PYTHON") else {
        println!("skipped: METERHOUSE_TEST_PYTHON is not set");
        return;
    };
    for system in ["redline", "onmemos", "zemfyre"] {
        compare(Path::new(&python), system, "2026-03");
    }
}
