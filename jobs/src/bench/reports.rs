//! Reports over a month of many tenants: over roll-ups, over raw events, and DuckDB over the same files.
//!
//! Each of ours is a run of the program, from its start to its last row. DuckDB runs the very text of a report that reads raw
//! events only. Where a report reads prices it has nothing to run, so its figure there is that of the sums, peaks and averages that
//! everything else is made of, in floats (`quantities.py`).

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use ::sql::lake::Lake;
use ::sql::report::Report;
use anyhow::{Context, Result, anyhow, bail};
use clap::Args;

use super::month::{UsageDays, meters};
use super::quantities;
use super::{median, shown};
use crate::cli::runtime;
use crate::generate::count;
use crate::output::Rows;

const SCRIPT: &str = include_str!("reports.py");
const PERIOD: &str = "2026-05";
/// What each report is asked, where its default follows the clock or the settings.
const ASKED: [(&str, &str); 3] = [("period", PERIOD), ("now", "2026-05-20T00:00:00Z"), ("issuer", "Bench")];
/// These read events and rejects and nothing else.
const RAW: [&str; 3] = ["data_quality", "duplicates", "late_and_rejected"];
const PLANS: &str = "
plans:
  basic:
    prices:
      base: { description: Basic plan, flat: 10 }
      storage: { description: Storage, meter: storage, measure: average, included: 1000000, per_unit: 0.0000001 }
      traffic: { description: Traffic, meter: traffic, per_unit: 0.0000001 }
      messages: { description: Messages, meter: messages, per_unit: 0.0000001 }
      sessions: { description: Sessions, meter: sessions, unit: hour, per_unit: 0.05 }
      devices: { description: Devices, meter: devices, measure: unique_resources, per_unit: 2 }
    quotas:
      storage: { meter: storage, measure: peak, limit: 20000000 }
costs:
  stored: { description: Stored, meter: storage, measure: average, per_unit: 0.00000001 }
other_tenants: { subscriptions: [{ plan: basic, from: 2026-01-01 }] }
";

#[derive(Debug, Clone, Args)]
pub(super) struct ReportsBench {
    /// How many events in the month
    #[arg(long, value_name = "COUNT", default_value = "20e6", value_parser = count)]
    events: u64,
    #[arg(long, value_name = "COUNT", default_value_t = 10_000)]
    tenants: u64,
    /// Only these reports [default: all]
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    only: Vec<String>,
    /// A Python with DuckDB; without it only our side runs
    #[arg(long, value_name = "PROGRAM", env = "METERHOUSE_TEST_PYTHON")]
    python: Option<PathBuf>,
    #[arg(long, value_name = "COUNT", default_value_t = 2)]
    threads: usize,
    #[arg(long, value_name = "COUNT", default_value_t = 3)]
    rounds: usize,
    /// Keep the lake in this folder, and use it if it is there
    #[arg(long, value_name = "FOLDER")]
    lake: Option<PathBuf>,
}

/// The folder of the lakes and their catalog.
struct World {
    folder: PathBuf,
    threads: usize,
}

impl ReportsBench {
    pub fn run(&self) -> Result<Rows> {
        let temporary = tempfile::tempdir()?;
        let folder = self.lake.clone().unwrap_or_else(|| temporary.path().to_owned());
        let world = World { folder, threads: self.threads };
        self.make(&world)?;
        let reports = Report::built_in();
        let reports: Vec<&Report> = reports
            .iter()
            .filter(|report| self.only.is_empty() || self.only.contains(&report.name))
            .collect();
        let measure = |side: &dyn Fn(&Report) -> Result<f64>, report: &Report| -> Result<f64> {
            let figures = (0..self.rounds.max(1)).map(|_| side(report));
            Ok(median(figures.collect::<Result<_>>()?))
        };
        let rolled: Vec<f64> = reports
            .iter()
            .map(|report| measure(&|report| world.report(report, "lake"), report))
            .collect::<Result<_>>()?;
        let mut rows = Rows::new(&["report", "over_roll_ups_s", "over_events_s", "duckdb_s", "takes"]);
        for (report, rolled) in reports.into_iter().zip(rolled) {
            let raw = measure(&|report| world.report(report, "raw"), report)?;
            let theirs = match &self.python {
                Some(python) if reads_usage(report) => {
                    Some(measure(&|report| world.duckdb(python, report), report)?)
                }
                _ => None,
            };
            rows.push(vec![
                report.name.clone().into(),
                shown(rolled, 2),
                shown(raw, 2),
                theirs.map_or(serde_json::Value::Null, |seconds| shown(seconds, 2)),
                theirs.map_or(serde_json::Value::Null, |seconds| format!("{:.2}x", raw / seconds).into()),
            ]);
        }
        Ok(rows)
    }

    /// Two lakes of the same events: `lake` with invoices and roll-ups, `raw` with invoices alone.
    fn make(&self, world: &World) -> Result<()> {
        if world.folder.join("lake").is_dir() && world.folder.join("raw").is_dir() {
            return Ok(());
        }
        std::fs::create_dir_all(&world.folder)?;
        std::fs::write(world.folder.join("catalog.yaml"), format!("{}{PLANS}", meters()))?;
        let month = UsageDays::month(self.events, self.tenants);
        for lake in ["raw", "lake"] {
            let lake = Lake::open(&world.folder.join(lake).to_string_lossy())?;
            runtime()?.block_on(month.write(&lake)).map_err(|error| anyhow!(error))?;
        }
        world.program("raw", &["rate", "--period", PERIOD])?;
        world.program("lake", &["rate", "--period", PERIOD])?;
        world.program("lake", &["rollup"])?;
        Ok(())
    }
}

/// Whether it reads events, themselves or as quantities. The others read invoices, which both have.
fn reads_usage(report: &Report) -> bool {
    RAW.contains(&report.name.as_str()) || report.text.contains("charges(")
}

impl World {
    fn program(&self, lake: &str, arguments: &[&str]) -> Result<f64> {
        let started = Instant::now();
        let mut command = Command::new(std::env::current_exe()?);
        for (name, _) in
            std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("METERHOUSE_"))
        {
            command.env_remove(name);
        }
        let output = command
            .current_dir(&self.folder)
            .env("METERHOUSE_LAKE", self.folder.join(lake))
            .args(arguments)
            .stdout(Stdio::null())
            .output()?;
        let taken = started.elapsed().as_secs_f64();
        // Usage without a price is a warning.
        if !matches!(output.status.code(), Some(0 | 3)) {
            bail!("{arguments:?} failed: {}", String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(taken)
    }

    fn report(&self, report: &Report, lake: &str) -> Result<f64> {
        let threads = self.threads.to_string();
        let mut arguments = vec!["report", &report.name, "--format", "csv", "--threads", &threads];
        let asked = asked(report);
        arguments.extend(asked.iter().flat_map(|given| ["--param", given]));
        self.program(lake, &arguments)
    }

    fn duckdb(&self, python: &Path, report: &Report) -> Result<f64> {
        let table = self.folder.join("raw/usage_events");
        if !RAW.contains(&report.name.as_str()) {
            return Ok(quantities::engine(python, "duckdb", &table, self.threads)?.wall_s);
        }
        let mut text = report.text.clone();
        for parameter in &report.parameters {
            let default = parameter.default.clone().unwrap_or_default();
            text = text.replace(&format!("${}", parameter.name), &format!("'{default}'"));
        }
        let output = Command::new(python)
            .args(["-c", SCRIPT])
            .arg(table)
            .args([self.threads.to_string(), text])
            .output()
            .with_context(|| format!("cannot run {}", python.display()))?;
        if !output.status.success() {
            bail!("DuckDB failed: {}", String::from_utf8_lossy(&output.stderr).trim());
        }
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        said.trim().parse().with_context(|| format!("DuckDB's script printed {said:?}"))
    }
}

fn asked(report: &Report) -> Vec<String> {
    let known = |name: &str| ASKED.iter().find(|(known, _)| *known == name);
    let given = report.parameters.iter().filter_map(|parameter| known(&parameter.name));
    given.map(|(name, value)| format!("{name}={value}")).collect()
}
