//! Reports, views and exports as people run them, over the usage of the golden folders.
//!
//! `testdata/reports/*.slt` hold the answers that are known: a block is a command (`report NAME PARAMETER=VALUE …`, or
//! `query` and a statement), a line `----`, and the rows as CSV. With `METERHOUSE_WRITE_EXPECTED=1` they are written anew,
//! to be compared with the invoices of the golden folders before they are committed.

mod billed;
mod buckets;
mod duckdb;
mod focus;
mod shell;
mod small;
mod streaming;
mod world;

use arrow::array::RecordBatch;
use datafusion::parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use world::{answer, blocks, lake, run, testdata};

/// Runs the blocks of a file and compares, or writes it anew.
fn check(system: &str) {
    let folder = lake(system);
    let mut written = String::new();
    for (command, expected) in blocks(system) {
        let found = answer(folder.path(), &command, &[]);
        if std::env::var_os("METERHOUSE_WRITE_EXPECTED").is_none() {
            assert_eq!(found, expected, "{system}: {command}");
        }
        written.extend([&command, "\n----\n", &found, "\n\n"]);
    }
    if std::env::var_os("METERHOUSE_WRITE_EXPECTED").is_some() {
        let path = testdata().join(format!("reports/{system}.slt"));
        std::fs::write(path, written.trim_end().to_owned() + "\n").unwrap();
    }
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

/// What a query does not ask for is not rated; that must not change what it asks for.
#[test]
fn each_kind_of_charges_is_the_same_alone() {
    let folder = lake("redline");
    for kind in ["charge", "by_peak", "by_average", "cost", "limit"] {
        let asked = |filter: &str| {
            let query = format!("SELECT * FROM charges('2026-03') WHERE {filter}");
            run(folder.path(), &["sql", "--format", "csv", &query], &[0])
        };
        let alone = asked(&format!("kind = '{kind}'"));
        assert_eq!(alone, asked(&format!("concat(kind, '') = '{kind}'")));
        assert!(alone.lines().count() > 1, "there are rows of {kind}: {alone}");
        let some = asked(&format!("kind IN ('{kind}', 'none') AND kind <> 'limits'"));
        assert_eq!(some, alone);
    }
    let none = "SELECT count(*) FROM charges('2026-03') WHERE kind = 'none'";
    assert_eq!(run(folder.path(), &["sql", "--format", "csv", none], &[0]), "count(*)\n0\n");
    let narrow = "SELECT amount FROM charges('2026-03') WHERE kind = 'cost' AND tenant = 'licence-5d41402a'";
    assert!(run(folder.path(), &["sql", "--format", "csv", narrow], &[0]).lines().count() > 1);
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
