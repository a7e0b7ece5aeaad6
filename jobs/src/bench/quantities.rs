//! Quantities of a month, against DuckDB and polars computing some of them, and against decoding the columns alone.

use std::path::{Path, PathBuf};
use std::process::Command;

use ::sql::lake::Lake;
use anyhow::{Result, anyhow};
use clap::Args;

use super::month::{UsageDays, month_us};
use super::side::{Measured, Sides, other, ours};
use crate::cli::runtime;
use crate::generate::count;
use crate::output::Rows;

const SCRIPT: &str = include_str!("quantities.py");
const OURS: &str = "meterhouse";

#[derive(Debug, Clone, Args)]
pub(super) struct QuantitiesBench {
    /// How many events in the month
    #[arg(long, value_name = "COUNT", default_value = "100e6", value_parser = count)]
    events: u64,
    #[arg(long, value_name = "COUNT", default_value_t = 10_000)]
    tenants: u64,
    /// Measure files as they arrived instead of compacted days
    #[arg(long)]
    uncompacted: bool,
    /// A Python with DuckDB and polars; without it only our side runs
    #[arg(long, value_name = "PROGRAM", env = "METERHOUSE_TEST_PYTHON")]
    python: Option<PathBuf>,
    #[arg(long, value_name = "COUNT", default_value_t = 2)]
    threads: usize,
    #[arg(long, value_name = "COUNT", default_value_t = 3)]
    rounds: usize,
}

impl QuantitiesBench {
    pub fn run(&self) -> Result<Rows> {
        let folder = tempfile::tempdir()?;
        let folder = folder.path();
        let lake = Lake::open(&folder.join("lake").to_string_lossy())?;
        let month = UsageDays { is_sorted: !self.uncompacted, ..UsageDays::month(self.events, self.tenants) };
        runtime()?.block_on(month.write(&lake)).map_err(|error| anyhow!(error))?;
        let mut sides = Sides::default();
        for _ in 0..self.rounds.max(1) {
            sides.add("bare decode", self.decode(folder)?);
            sides.add(OURS, self.quantities(folder, self.threads, false)?);
            sides.add("meterhouse, one thread", self.quantities(folder, 1, false)?);
            sides.add("meterhouse, every measure", self.quantities(folder, self.threads, true)?);
            if let Some(python) = &self.python {
                for name in ["polars", "duckdb"] {
                    sides.add(name, engine(python, name, &folder.join("lake/usage_events"), self.threads)?);
                }
            }
        }
        Ok(sides.rows(OURS, "meterhouse_takes"))
    }

    fn decode(&self, folder: &Path) -> Result<Measured> {
        ours(folder, &["bench", "decode", "lake/usage_events", "--threads", &self.threads.to_string()])
    }

    fn quantities(&self, folder: &Path, threads: usize, everything: bool) -> Result<Measured> {
        let (threads, tenants) = (threads.to_string(), self.tenants.to_string());
        let mut command =
            vec!["bench", "month-quantities", "lake", "--threads", &threads, "--tenants", &tenants];
        command.extend(everything.then_some("--everything"));
        ours(folder, &command)
    }
}

/// Another engine on the same files.
pub(super) fn engine(python: &Path, name: &str, table: &Path, threads: usize) -> Result<Measured> {
    let (start_us, end_us) = month_us();
    let figures = [threads as i64, start_us, end_us];
    let mut program = Command::new(python);
    program
        .args(["-c", SCRIPT, name])
        .arg(table)
        .args(figures.map(|figure| figure.to_string()))
        .env("POLARS_MAX_THREADS", threads.to_string());
    other(&mut program, name)
}
