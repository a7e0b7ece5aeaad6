//! Compaction of a month, against DuckDB doing the same to the same files.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use ::ingest::settings::IngestSettings;
use anyhow::{Context, Result, bail};
use clap::Args;
use rating::catalog::Catalog;
use sql::lake::Lake;

use super::usage::{Stopwatch, memory_peak_mib, reset_memory_peak};
use super::{median, shown};
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
    /// How often every side runs, in turns; the figures are medians
    #[arg(long, value_name = "COUNT", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    runs: u32,
}

/// What one run took.
#[derive(Debug, Clone, Copy)]
struct Run {
    rows_in: u64,
    rows_out: u64,
    wall_s: f64,
    cpu_s: f64,
    memory_mib: f64,
}

impl CompactBench {
    pub fn run(&self) -> Result<Rows> {
        let folder = tempfile::tempdir()?;
        let runtime = runtime()?;
        let lake = Lake::open(&folder.path().join("lake").to_string_lossy())?;
        self.fill(&runtime, &lake)?;
        let before = files_below(folder.path())?;
        let mut sides: Vec<(&str, Vec<Run>)> = Vec::new();
        let mut add = |side, run| match sides.iter_mut().find(|(known, _)| *known == side) {
            Some((_, runs)) => runs.push(run),
            None => sides.push((side, vec![run])),
        };
        for _ in 0..self.runs {
            if let Some(python) = &self.python {
                add("duckdb", self.duckdb(python, folder.path())?);
                restore(folder.path(), &before)?;
            }
            for (side, days) in [("meterhouse, same day only", 0), ("meterhouse, 35 days", 35)] {
                add(side, self.compact(&runtime, &lake, days)?);
                restore(folder.path(), &before)?;
            }
        }
        let mut rows = Rows::new(&[
            "side",
            "rows",
            "seconds",
            "cpu_seconds",
            "rows_per_second",
            "rows_per_cpu_second",
            "memory_mib",
        ]);
        for (side, runs) in sides {
            let of = |figure: fn(&Run) -> f64| median(runs.iter().map(figure).collect());
            rows.push(vec![
                side.into(),
                runs[0].rows_out.into(),
                shown(of(|run| run.wall_s), 1),
                shown(of(|run| run.cpu_s), 1),
                shown(of(|run| run.rows_in as f64 / run.wall_s), 0),
                shown(of(|run| run.rows_in as f64 / run.cpu_s), 0),
                shown(of(|run| run.memory_mib), 0),
            ]);
        }
        Ok(rows)
    }

    fn compact(&self, runtime: &tokio::runtime::Runtime, lake: &Lake, days: u32) -> Result<Run> {
        let settings = CompactSettings {
            identity_window_days: Some(days),
            threads: self.threads,
            ..CompactSettings::default()
        };
        reset_memory_peak();
        let watch = Stopwatch::start();
        let report = runtime.block_on(compact(lake, settings, |_| ()))?;
        let taken = watch.taken();
        Ok(Run {
            rows_in: report.rows_before,
            rows_out: report.rows_after,
            wall_s: taken.wall_s,
            cpu_s: taken.cpu_s,
            memory_mib: memory_peak_mib(),
        })
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

    fn duckdb(&self, python: &Path, folder: &Path) -> Result<Run> {
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
        let figures: Option<Vec<f64>> = text.split_whitespace().map(|figure| figure.parse().ok()).collect();
        match figures.as_deref() {
            Some([wall_s, cpu_s, rows_in, rows_out, memory_kib]) => Ok(Run {
                rows_in: *rows_in as u64,
                rows_out: *rows_out as u64,
                wall_s: *wall_s,
                cpu_s: *cpu_s,
                memory_mib: memory_kib / 1024.0,
            }),
            _ => bail!("DuckDB's script printed {text:?}"),
        }
    }
}

fn files_below(folder: &Path) -> Result<HashSet<PathBuf>> {
    let mut files = HashSet::new();
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            files.extend(files_below(&entry.path())?);
        } else {
            files.insert(entry.path());
        }
    }
    Ok(files)
}

/// Makes a run undone: neither side changes or removes a file that was there before.
fn restore(folder: &Path, before: &HashSet<PathBuf>) -> Result<()> {
    for added in files_below(folder)?.difference(before) {
        std::fs::remove_file(added)?;
    }
    Ok(())
}
