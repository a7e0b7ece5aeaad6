//! A lake with a book in a folder of its own, driven by the program.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

pub const CATALOG: &str = "
catalog: shop
currency: EUR
meters:
  stored: { kind: gauge, event_type: stored, value: $.gb, resource: $.disk, unit: GB }
  calls: { kind: delta, event_type: called, value: $.n, dimensions: { region: $.region }, unit: request }
  runs: { kind: session, event_type: run, resource: $.run, session: { signal: $.state, start: begun, stop: ended }, unit: second }
plans:
  basic:
    prices:
      base: { description: Basic plan, flat: 10 }
      calls: { description: Calls, meter: calls, split_by: region, package: { size: 100, price: 0.5 } }
      storage:
        description: Storage
        meter: stored
        measure: average
        included: 1
        graduated: [{ up_to: 10, per_unit: 0.2 }, { per_unit: 0.1 }]
      running: { description: Running, meter: runs, measure: session_time, unit: hour, per_unit: 1.23 }
tenants:
  acme: { subscriptions: [{ plan: basic, from: 2026-01-01 }] }
  globex: { time_zone: Asia/Kathmandu, subscriptions: [{ plan: basic, from: 2026-01-01 }] }
";

pub struct World {
    folder: tempfile::TempDir,
    files: usize,
    /// Environment variables beyond those of every world.
    pub settings: Vec<(&'static str, &'static str)>,
}

/// An event of the source `/s`.
#[expect(clippy::needless_pass_by_value, reason = "callers write the data on the spot")]
pub fn event(id: &str, kind: &str, tenant: &str, time: &str, data: Value) -> Value {
    json!({
        "specversion": "1.0", "id": id, "source": "/s", "type": kind, "subject": tenant, "time": time, "data": data
    })
}

impl World {
    pub fn new(catalog: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("catalog.yaml"), catalog).unwrap();
        Self { folder, files: 0, settings: Vec::new() }
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    pub fn ingest(&mut self, events: &[Value]) {
        self.files += 1;
        let name = format!("events-{}.ndjson", self.files);
        let lines: Vec<String> = events.iter().map(Value::to_string).collect();
        std::fs::write(self.path().join(&name), lines.join("\n")).unwrap();
        self.run(&["ingest", "--file", &name], 0);
    }

    /// Rates and issues a month.
    #[track_caller]
    pub fn bill(&self, month: &str) {
        self.run(&["rate", "--period", month], 0);
        self.run(&["issue", "--period", month, "--grace", "0 s", "--without-papers"], 0);
    }

    /// What the program prints, and what it tells beside it.
    #[track_caller]
    pub fn run(&self, arguments: &[&str], code: i32) -> (String, String) {
        let output = self.command(arguments).output().expect("the program starts");
        let messages = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {messages}");
        (String::from_utf8(output.stdout).unwrap(), messages)
    }

    /// The program dies the first time that it passes a place.
    #[track_caller]
    pub fn die(&self, arguments: &[&str], place: &str) {
        let output = self.command(arguments).env("METERHOUSE_CRASH_AT", place).output().expect("it starts");
        assert_eq!(output.status.code(), None, "{arguments:?} did not die");
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_meterhouse"));
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("METERHOUSE_") {
                command.env_remove(name);
            }
        }
        command.current_dir(self.path()).args(arguments).env("METERHOUSE_LAKE", self.path().join("lake"));
        command.env("METERHOUSE_ISSUER_NAME", "Northlight").env("METERHOUSE_ISSUER_CORRECT_PERIODS", "6");
        command.envs(self.settings.iter().copied());
        command
    }

    #[track_caller]
    pub fn csv(&self, query: &str) -> String {
        self.run(&["sql", "--format", "csv", query], 0).0
    }

    /// From now on the program reads another catalog.
    pub fn change_catalog(&self, catalog: &str) {
        std::fs::write(self.path().join("catalog.yaml"), catalog).unwrap();
    }

    #[track_caller]
    pub fn invoice(&self, tenant: &str, month: &str) -> Value {
        let arguments = ["invoice", "show", "--tenant", tenant, "--period", month, "--format", "json"];
        serde_json::from_str(&self.run(&arguments, 0).0).unwrap()
    }

    /// The lines by which an invoice corrects earlier ones: price, number, old, new, difference and cause.
    #[track_caller]
    pub fn corrections(&self, tenant: &str, month: &str) -> Vec<String> {
        corrections_of(&self.invoice(tenant, month))
    }

    /// A document by its number.
    #[track_caller]
    pub fn numbered(&self, number: &str) -> Value {
        serde_json::from_str(&self.run(&["invoice", "show", number, "--format", "json"], 0).0).unwrap()
    }

    /// The lines by which a document corrects earlier invoices.
    #[track_caller]
    pub fn corrections_by(&self, number: &str) -> Vec<String> {
        corrections_of(&self.numbered(number))
    }

    /// Every invoice of these months comes out the same, with the book and from the lake alone; and the book holds together.
    #[track_caller]
    pub fn verify(&self, months: &[&str]) {
        for month in months {
            self.run(&["verify", "--period", month], 0);
            self.run(&["verify", "--period", month, "--offline", "lake"], 0);
        }
        self.run(&["book", "check"], 0);
    }
}

fn corrections_of(invoice: &Value) -> Vec<String> {
    let lines = invoice["lines"].as_array().unwrap().iter();
    let corrections = lines.filter(|line| line["corrects"].is_object()).map(|line| {
        let (key, corrects) = (&line["key"], &line["corrects"]);
        let parts = [
            &key["period"],
            &key["price"],
            &corrects["number"],
            &corrects["old"],
            &corrects["new"],
            &line["amount"],
            &corrects["cause"],
        ];
        parts.map(|part| part.as_str().unwrap()).join(" ")
    });
    corrections.collect()
}
