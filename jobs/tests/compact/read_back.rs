//! A lake's whole life on each kind of store (a folder, S3, GCS): `ingest`, `compact`, `derive`, `replay` and `vacuum` of the
//! real program. Then readers that are not ours find in its compacted tables what our own SQL finds, and that is what was
//! worked out by hand.
//!
//! Buckets are there when METERHOUSE_TEST_S3 and METERHOUSE_TEST_GCS are set (`deploy/services up s3 gcs`), readers when
//! METERHOUSE_TEST_PYTHON is (a venv made by deploy/install-test-tools).

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use sql::lake::{Lake, Table, VALUE_SCALE};

const EVENTS: u64 = 600;
const TENANTS: u64 = 4;
const DAYS: u64 = 3;
const POISON: u64 = 5;
/// Every so many events are of the type that no meter reads at first, and of the one that the first catalog refuses.
const SEEN_EVERY: u64 = 6;
const REFUSED_EVERY: u64 = 10;

const FIRST_CATALOG: &str = "
catalog: life
meters:
  received: { kind: delta, event_type: traffic, value: $.in, unit: byte }
  sent: { kind: delta, event_type: traffic, value: $.out, unit: byte }
  stored: { kind: gauge, event_type: stored, value: $.bytes, unit: byte }
";
/// What is stored is called by another name, and what is seen is counted.
const SECOND_CATALOG: &str = "
catalog: life
meters:
  received: { kind: delta, event_type: traffic, value: $.in, unit: byte }
  sent: { kind: delta, event_type: traffic, value: $.out, unit: byte }
  stored: { kind: gauge, event_type: stored, value: $.size, unit: byte }
  seen: { kind: delta, event_type: seen, value: $.count, unit: device }
";

/// Rows, and their sum in units of the last decimal, by tenant and meter.
type Sums = BTreeMap<(String, String), (u64, i128)>;
/// Rows, and the bytes of their messages, by reason.
type Reasons = BTreeMap<String, (u64, u64)>;

fn whole(value: u64) -> i128 {
    i128::from(value) * 10_i128.pow(VALUE_SCALE as u32)
}

/// A decimal's text in units of the last decimal.
fn units(text: &str) -> i128 {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    format!("{whole}{fraction:0<width$}", width = VALUE_SCALE as usize).parse().unwrap()
}

/// What is sent, and what must be found in the end.
#[derive(Default)]
struct Story {
    lines: String,
    usage: Sums,
    rejected: Reasons,
}

impl Story {
    fn new() -> Self {
        let mut story = Self::default();
        for number in 0..EVENTS {
            story.send_event(number);
        }
        for number in 0..POISON {
            let text = format!("poison {number}");
            writeln!(story.lines, "{text}").unwrap();
            story.reject("invalid_json", text.len());
        }
        story
    }

    fn send_event(&mut self, number: u64) {
        let tenant = format!("tenant-{}", number % TENANTS);
        let (event_type, data, figures) = if number.is_multiple_of(REFUSED_EVERY) {
            ("stored", format!(r#"{{"size":{number}.5}}"#), vec![("stored", whole(number) + whole(1) / 2)])
        } else if number.is_multiple_of(SEEN_EVERY) {
            ("seen", format!(r#"{{"count":{number}}}"#), vec![("seen", whole(number))])
        } else {
            let data = format!(r#"{{"in":{number},"out":0.000000001}}"#);
            ("traffic", data, vec![("received", whole(number)), ("sent", 1)])
        };
        let line = event(number, &tenant, event_type, &data);
        writeln!(self.lines, "{line}").unwrap();
        for (meter, value) in figures {
            let sum = self.usage.entry((tenant.clone(), meter.to_owned())).or_default();
            *sum = (sum.0 + 1, sum.1 + value);
        }
    }

    fn reject(&mut self, reason: &str, bytes: usize) {
        let reason = self.rejected.entry(reason.to_owned()).or_default();
        *reason = (reason.0 + 1, reason.1 + bytes as u64);
    }
}

fn event(id: u64, tenant: &str, event_type: &str, data: &str) -> String {
    format!(
        r#"{{"specversion":"1.0","id":"{id}","source":"/life","type":"{event_type}","subject":"{tenant}","time":"2026-05-{:02}T10:00:00Z","data":{data}}}"#,
        id % DAYS + 1
    )
}

/// A lake somewhere, with a folder for what the program needs beside it.
struct Place {
    url: String,
    folder: tempfile::TempDir,
}

impl Place {
    fn meterhouse(&self, arguments: &[&str]) -> (Option<i32>, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_meterhouse"));
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("METERHOUSE_") {
                command.env_remove(name);
            }
        }
        command.current_dir(self.folder.path()).args(arguments).env("METERHOUSE_LAKE", &self.url);
        command.env("METERHOUSE_BOOK_URL", "sqlite:book.sqlite");
        let output = command.output().expect("the program starts");
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        let code = output.status.code();
        assert!(matches!(code, Some(0 | 3)), "{arguments:?}: exit code {code:?}\n{told}");
        (code, String::from_utf8(output.stdout).unwrap())
    }

    fn live_through(&self, story: &Story) {
        let write = |name: &str, text: &str| std::fs::write(self.folder.path().join(name), text).unwrap();
        write("catalog.yaml", FIRST_CATALOG);
        write("events.ndjson", &story.lines);
        // One that says something else of an event that is there.
        write("conflict.ndjson", &event(1, "tenant-1", "traffic", r#"{"in":7,"out":7}"#));
        assert_eq!(self.meterhouse(&["ingest", "--file", "events.ndjson"]).0, Some(3));
        assert_eq!(self.meterhouse(&["compact"]).0, Some(0));
        write("catalog.yaml", SECOND_CATALOG);
        assert_eq!(self.meterhouse(&["derive"]).0, Some(0));
        assert_eq!(self.meterhouse(&["replay"]).0, Some(3));
        // The whole file again, whose events are there already, and its poison, which nothing tells from other poison.
        let without_poison: String = story
            .lines
            .lines()
            .filter(|line| !line.starts_with("poison"))
            .fold(String::new(), |text, line| text + line + "\n");
        write("again.ndjson", &without_poison);
        assert_eq!(
            self.meterhouse(&["ingest", "--file", "again.ndjson", "--file", "conflict.ndjson"]).0,
            Some(0)
        );
        assert_eq!(self.meterhouse(&["compact"]).0, Some(3));
        self.meterhouse(&["vacuum", "--retain", "0 s", "--nothing-writes"]);
        let lake = Lake::open(&self.url).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let snapshot = runtime.block_on(lake.table(Table::UsageEvents).snapshot(None)).unwrap();
        assert!(
            snapshot.files.len() == DAYS as usize
                && snapshot.files.iter().all(sql::lake::DataFile::is_sorted)
        );
    }

    /// The rows of our own SQL's answer.
    fn query(&self, query: &str) -> Vec<Vec<String>> {
        let (_, csv) = self.meterhouse(&["sql", "--format", "csv", query]);
        csv.lines().skip(1).map(|line| line.split(',').map(str::to_owned).collect()).collect()
    }

    fn usage(&self) -> Sums {
        let query = "SELECT tenant, meter, count(*), sum(value) FROM usage_events GROUP BY 1, 2";
        let row =
            |row: Vec<String>| ((row[0].clone(), row[1].clone()), (row[2].parse().unwrap(), units(&row[3])));
        self.query(query).into_iter().map(row).collect()
    }

    fn rejected(&self) -> Reasons {
        let query = "SELECT reason, count(*), sum(octet_length(encode(payload, 'hex')) / 2) FROM rejected_messages GROUP BY 1";
        let row = |row: Vec<String>| (row[0].clone(), (row[1].parse().unwrap(), row[2].parse().unwrap()));
        self.query(query).into_iter().map(row).collect()
    }

    /// Each reader's answer about a table, by its name.
    fn read_back(&self, python: &str, table: Table) -> BTreeMap<String, Value> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../ingest/tests/foreign/read_back.py");
        let address = format!("{}/{}", self.url, table.name());
        let output = Command::new(python).arg(script).arg(&address).output().unwrap();
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{address}: {told}");
        let found: Value = serde_json::from_slice(&output.stdout).unwrap();
        serde_json::from_value(found["readers"].clone()).unwrap()
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

fn their_usage(answer: &Value) -> Sums {
    let groups = answer["usage"].as_array().unwrap().iter();
    let group = |it: &Value| {
        ((text(&it["tenant"]), text(&it["meter"])), (it["rows"].as_u64().unwrap(), units(&text(&it["sum"]))))
    };
    groups.map(group).collect()
}

fn their_rejected(answer: &Value) -> Reasons {
    let groups = answer["reasons"].as_array().unwrap().iter();
    let group = |it: &Value| {
        (text(&it["reason"]), (it["rows"].as_u64().unwrap(), it["payload_bytes"].as_u64().unwrap()))
    };
    groups.map(group).collect()
}

fn live_and_read_back(url: String, folder: tempfile::TempDir) {
    let story = Story::new();
    let place = Place { url, folder };
    place.live_through(&story);
    let (usage, rejected) = (place.usage(), place.rejected());
    assert_eq!(usage, story.usage, "{}: what our SQL finds, and what was sent", place.url);
    let mut expected: BTreeMap<String, u64> =
        story.rejected.iter().map(|(name, it)| (name.clone(), it.0)).collect();
    expected.insert("conflict".to_owned(), 1);
    let found: BTreeMap<String, u64> = rejected.iter().map(|(name, it)| (name.clone(), it.0)).collect();
    assert_eq!(found, expected, "{}", place.url);

    let Some(python) = variable("METERHOUSE_TEST_PYTHON") else { return };
    let readers = place.read_back(&python, Table::UsageEvents);
    assert_eq!(readers.len(), 3);
    for (name, answer) in readers {
        assert_eq!(their_usage(&answer), usage, "{name} over {}", place.url);
        assert_eq!(answer["distinct_identities"], EVENTS, "{name} over {}", place.url);
    }
    for (name, answer) in place.read_back(&python, Table::RejectedMessages) {
        assert_eq!(their_rejected(&answer), rejected, "{name} over {}", place.url);
    }
    println!("three readers and our SQL agree over {}", place.url);
}

fn variable(name: &str) -> Option<String> {
    let value = std::env::var(name).ok().filter(|text| !text.is_empty());
    if value.is_none() {
        println!("skipped: {name} is not set");
    }
    value
}

fn in_bucket(name: &str) {
    if let Some(bucket) = variable(name) {
        let url = format!("{}/life-{}", bucket.trim_end_matches('/'), uuid::Uuid::new_v4());
        live_and_read_back(url, tempfile::tempdir().unwrap());
    }
}

#[test]
fn others_read_a_local_lake_as_we_do() {
    let folder = tempfile::tempdir().unwrap();
    let url = folder.path().join("lake").to_str().unwrap().to_owned();
    live_and_read_back(url, folder);
}

#[test]
fn others_read_a_lake_on_s3_as_we_do() {
    in_bucket("METERHOUSE_TEST_S3");
}

#[test]
fn others_read_a_lake_on_gcs_as_we_do() {
    in_bucket("METERHOUSE_TEST_GCS");
}
