//! Compaction of a month, against DuckDB doing the same to the same files.

use std::path::{Path, PathBuf};
use std::process::Command;

use ::ingest::settings::IngestSettings;
use anyhow::{Context, Result, bail};
use clap::Args;
use rating::catalog::Catalog;
use sql::lake::Lake;

use super::shown;
use super::usage::{Stopwatch, memory_peak_mib, reset_memory_peak};
use crate::cli::runtime;
use crate::compact::{CompactSettings, compact};
use crate::generate::{IntoLake, Shape, Share, count, generate};
use crate::output::Rows;

const CATALOG: &str = include_str!("../../../testdata/catalogs/redline.yaml");
const SCRIPT: &str = include_str!("duckdb.py");
const MONTH_START_US: i64 = 1_777_593_600_000_000;
const DAY_US: i64 = 86_400_000_000;

#[derive(Debug, Clone, Args)]
pub(super) struct CompactBench {
    /// How many events in the month
    #[arg(long, value_name = "COUNT", default_value = "20e6", value_parser = count)]
    events: u64,
    #[arg(long, value_name = "COUNT", default_value_t = 10_000)]
    tenants: u64,
    /// A Python with DuckDB; without it only our side runs
    #[arg(long, value_name = "PROGRAM", env = "METERHOUSE_TEST_PYTHON")]
    python: Option<PathBuf>,
    #[arg(long, value_name = "COUNT", default_value_t = 2)]
    threads: usize,
}

impl CompactBench {
    pub fn run(&self) -> Result<Rows> {
        let folder = tempfile::tempdir()?;
        let runtime = runtime()?;
        let lake = Lake::open(&folder.path().join("lake").to_string_lossy())?;
        self.fill(&runtime, &lake)?;
        let mut rows = Rows::new(&["side", "rows", "seconds", "rows_per_second", "memory_mib"]);
        // DuckDB first: compaction leaves its input in place, but the cache is then warm for both.
        if let Some(python) = &self.python {
            let (seconds, count) = self.duckdb(python, folder.path())?;
            let per_second = shown(count as f64 / seconds, 0);
            rows.push(vec![
                "duckdb".into(),
                count.into(),
                shown(seconds, 1),
                per_second,
                serde_json::Value::Null,
            ]);
        }
        for (side, window) in [("meterhouse, same day only", Some(0)), ("meterhouse, 35 days", Some(35))] {
            let settings = CompactSettings {
                identity_window_days: window,
                threads: self.threads,
                dry_run: window == Some(0),
                ..CompactSettings::default()
            };
            reset_memory_peak();
            let watch = Stopwatch::start();
            let report = runtime.block_on(compact(&lake, settings, |_| ()))?;
            let seconds = watch.taken().wall_s;
            let per_second = shown(report.rows_before as f64 / seconds, 0);
            let memory = shown(memory_peak_mib(), 0);
            rows.push(vec![side.into(), report.rows_after.into(), shown(seconds, 1), per_second, memory]);
        }
        Ok(rows)
    }

    fn fill(&self, runtime: &tokio::runtime::Runtime, lake: &Lake) -> Result<()> {
        let catalog = Catalog::parse(CATALOG, "redline.yaml")?;
        let shape = Shape {
            seed: 1,
            tenants: self.tenants,
            resources: 5,
            events: self.events,
            start_us: MONTH_START_US,
            end_us: MONTH_START_US + 31 * DAY_US,
            duplicates: Share(10_000),
            disorder: Share(20_000),
            poison: Share::default(),
            event_bytes_min: 0,
        };
        let settings = IngestSettings::default();
        generate(
            &catalog,
            shape,
            &mut IntoLake::open(lake.clone(), catalog.clone(), settings, "bench", runtime)?,
        )?;
        Ok(())
    }

    fn duckdb(&self, python: &Path, folder: &Path) -> Result<(f64, u64)> {
        let output = Command::new(python)
            .args(["-c", SCRIPT])
            .arg(folder.join("lake/usage_events"))
            .arg(folder.join("duckdb"))
            .arg(self.threads.to_string())
            .output()
            .with_context(|| format!("cannot run {}", python.display()))?;
        if !output.status.success() {
            bail!("DuckDB failed: {}", String::from_utf8_lossy(&output.stderr).trim());
        }
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let mut figures = text.split_whitespace();
        let seconds = figures.next().and_then(|figure| figure.parse().ok());
        let rows = figures.next().and_then(|figure| figure.parse().ok());
        seconds.zip(rows).with_context(|| format!("DuckDB's script printed {text:?}"))
    }
}
