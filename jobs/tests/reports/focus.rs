//! FOCUS 1.2 files: their sums are those of the invoices, and the FinOps Foundation's own validator takes them.
//!
//! The validator is the package `focus_validator` in the venv `focus` beside the Python that METERHOUSE_TEST_PYTHON
//! names; `deploy/install-test-tools` makes both. It ends with 0 whatever it finds, so its output is read. Invoice numbers have
//! a prefix here: of a CSV it takes a column of digits for numbers.

use std::collections::BTreeSet;
use std::fs::File;
use std::path::Path;
use std::process::Command;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::compute::concat_batches;
use arrow::datatypes::{DataType, Decimal128Type};
use datafusion::parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use crate::{lake, run};

/// A fee, usage, tax, a purchase, and a credit that pays a part.
const CATALOG: &str = "
catalog: shop
currency: EUR
tax: vat
taxes:
  vat: { description: VAT 19 %, percent: 19 }
meters:
  calls: { kind: delta, event_type: called, value: $.n, unit: request }
  packs: { kind: delta, event_type: bought, value: $.n, unit: pack }
plans:
  basic:
    prices:
      base: { description: Basic plan, flat: 10 }
      calls: { description: Calls, meter: calls, package: { size: 100, price: 0.5 } }
items:
  pack: { description: A pack, meter: packs, per_unit: 2.50 }
tenants:
  acme: { name: ACME GmbH, subscriptions: [{ plan: basic, from: 2026-01-01 }] }
  globex: { tax: none, subscriptions: [{ plan: basic, from: 2026-01-01 }] }
";

fn event(id: u32, kind: &str, tenant: &str, time: &str, n: u32) -> String {
    format!(
        r#"{{"specversion":"1.0","id":"{id}","source":"/s","type":"{kind}","subject":"{tenant}","time":"{time}","data":{{"n":{n}}}}}"#
    )
}

/// January is issued; then a late event changes it, so that February's draft corrects it.
fn shop() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    std::fs::write(path.join("catalog.yaml"), CATALOG).unwrap();
    let ingest = |events: &[String]| {
        std::fs::write(path.join("events.ndjson"), events.join("\n")).unwrap();
        run(path, &["ingest", "--file", "events.ndjson"], &[0]);
    };
    ingest(&[
        event(1, "called", "acme", "2026-01-12T00:00:00Z", 150),
        event(2, "bought", "acme", "2026-01-13T00:00:00Z", 3),
        event(3, "called", "globex", "2026-01-20T00:00:00Z", 20),
    ]);
    let grant =
        ["credits", "grant", "--tenant", "globex", "--currency", "EUR", "--name", "gift", "--amount", "4"];
    run(path, &grant, &[0]);
    run(path, &["rate", "--period", "2026-01"], &[0]);
    run(path, &["issue", "--period", "2026-01"], &[0]);
    ingest(&[event(4, "called", "acme", "2026-01-14T00:00:00Z", 300)]);
    run(path, &["rate", "--period", "2026-02"], &[0]);
    folder
}

fn export(folder: &Path, period: &str, format: &str) -> std::path::PathBuf {
    let file = folder.join(format!("focus-{period}.{format}"));
    let to = file.to_str().unwrap();
    run(folder, &["export", "focus", "--period", period, "--format", format, "--to", to], &[0]);
    file
}

fn rows(file: &Path) -> RecordBatch {
    let reader =
        ParquetRecordBatchReaderBuilder::try_new(File::open(file).unwrap()).unwrap().build().unwrap();
    let batches: Vec<RecordBatch> = reader.map(Result::unwrap).collect();
    concat_batches(&batches[0].schema(), &batches).unwrap()
}

/// `column` of each row as text, decimals in billionths.
fn texts(rows: &RecordBatch, column: &str) -> Vec<String> {
    let column = rows.column_by_name(column).unwrap();
    if let DataType::Decimal128(_, scale) = column.data_type() {
        assert_eq!(*scale, 9);
        let values = column.as_primitive::<Decimal128Type>();
        return values.iter().map(|value| value.map_or(String::new(), |value| value.to_string())).collect();
    }
    let texts = arrow::compute::cast(column, &DataType::Utf8).unwrap();
    texts.as_string::<i32>().iter().map(|text| text.unwrap_or_default().to_owned()).collect()
}

fn sum(rows: &RecordBatch, column: &str) -> i128 {
    texts(rows, column).iter().map(|value| value.parse::<i128>().unwrap()).sum()
}

const CENT: i128 = 10_000_000;

#[test]
fn charges_taxes_and_credits_add_up_to_what_is_due() {
    let folder = shop();
    // acme: 10 + 2 packages at 0.50 + 3 packs at 2.50 = 18.50, with tax 22.02 (3.515 is rounded); globex: 10.50 less 4.
    let january = rows(&export(folder.path(), "2026-01", "parquet"));
    for column in ["BilledCost", "EffectiveCost"] {
        assert_eq!(sum(&january, column), 2_852 * CENT, "{column}");
    }
    let of = |column: &str| texts(&january, column);
    let categories = "Usage Usage Purchase Usage Tax Usage Usage Credit";
    let mut found: Vec<(String, String)> =
        of("BillingAccountId").into_iter().zip(of("ChargeCategory")).collect();
    found.sort();
    let mut expected: Vec<(String, String)> = categories
        .split(' ')
        .enumerate()
        .map(|(at, category)| (if at < 5 { "acme" } else { "globex" }.to_owned(), category.to_owned()))
        .collect();
    expected.sort();
    assert_eq!(found, expected);
    assert_eq!(
        BTreeSet::from_iter(of("InvoiceId")),
        BTreeSet::from(["R-000001", "R-000002"].map(str::to_owned))
    );
    assert_eq!(
        BTreeSet::from_iter(of("InvoiceIssuerName")),
        BTreeSet::from(["Northlight Systems".to_owned()])
    );
    assert!(of("ChargeClass").iter().all(String::is_empty));

    // 450 calls are 5 packages where 2 were billed: 1.50 more, beside February's fee.
    let february = rows(&export(folder.path(), "2026-02", "parquet"));
    let corrected: Vec<String> = texts(&february, "ChargeClass")
        .into_iter()
        .zip(texts(&february, "BilledCost"))
        .filter_map(|(class, cost)| (class == "Correction").then_some(cost))
        .collect();
    assert_eq!(corrected, [(150 * CENT).to_string()]);
}

#[test]
fn the_validator_takes_the_files() {
    let Some(python) = std::env::var_os("METERHOUSE_TEST_PYTHON") else {
        println!("skipped: METERHOUSE_TEST_PYTHON is not set");
        return;
    };
    let validator = Path::new(&python).parent().unwrap().parent().unwrap().join("focus/bin/python");
    assert!(validator.exists(), "{} is missing: run deploy/install-test-tools", validator.display());
    let shop = shop();
    let mut files = Vec::new();
    for period in ["2026-01", "2026-02"] {
        files.extend(["parquet", "csv"].map(|format| export(shop.path(), period, format)));
    }
    let lakes: Vec<_> = ["redline", "onmemos", "zemfyre"].into_iter().map(lake).collect();
    for lake in &lakes {
        files.extend(["parquet", "csv"].map(|format| export(lake.path(), "2026-03", format)));
    }
    for file in files {
        validate(&validator, &file);
    }
}

/// What Meterhouse has of what the specification makes conditional. It knows no regions, reservations nor currencies
/// that differ between price and bill.
const SUPPORTED: &str = "ACCOUNT_NAMING_SUPPORTED,MULTIPLE_SUB_ACCOUNT_TYPES_SUPPORTED,NEGOTIATED_PRICING_SUPPORTED,\
                         PUBLIC_PRICE_LIST_SUPPORTED,USAGE_MEASUREMENT_SUPPORTED,UNIT_PRICING_SUPPORTED,\
                         SUB_ACCOUNT_SUPPORTED,TAGGING_SUPPORTED";

/// The validator checks this rule without its condition ("when the charge is not associated with an invoice"), so that it and its
/// opposite, C-005, cannot both hold. Every row of ours has an invoice, so it is this one that cannot.
const WAIVED: [&str; 1] = ["InvoiceId-C-004-C"];

/// It looks for its table of currencies in the folder in which it runs.
const START: &str = "
import os, sys, focus_validator
os.symlink(os.path.dirname(focus_validator.__file__), 'focus_validator')
from focus_validator.main import main
main()
";

fn validate(python: &Path, file: &Path) {
    let folder = tempfile::tempdir().unwrap();
    let arguments = ["--validate-version", "1.2.0.1", "--focus-dataset", "CostAndUsage", "--block-download"];
    let output = Command::new(python)
        .current_dir(folder.path())
        .args(["-c", START, "--data-file"])
        .arg(file)
        .args(arguments)
        .args(["--applicability-criteria", SUPPORTED, "--show-violations"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let ended = |with: &str| -> Vec<&str> {
        let lines = said.lines().filter_map(|line| line.split_once(with));
        lines.filter_map(|(rule, _)| rule.split_whitespace().last()).collect()
    };
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(ended(": PASS").len() > 200, "{}: {said}\n{errors}", file.display());
    let failed: Vec<&str> = ended(": FAIL").into_iter().filter(|rule| !WAIVED.contains(rule)).collect();
    assert!(failed.is_empty(), "{}: {failed:?}\n{said}", file.display());
}
