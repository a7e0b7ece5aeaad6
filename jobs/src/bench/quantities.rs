//! Quantities of a month, against DuckDB and polars computing some of them, and against decoding the columns alone.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use ::sql::lake::{Lake, Table};
use ::sql::quantities::{PeriodScan, Question};
use anyhow::{Context, Result, anyhow, bail};
use arrow::datatypes::{DataType, Field, Schema};
use clap::Args;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ArrowReaderOptions, ParquetRecordBatchReaderBuilder};
use rating::catalog::Catalog;

use super::month::{CATALOG, Month, month_us};
use super::usage::{Stopwatch, memory_peak_mib, reset_memory_peak};
use super::{median, shown};
use crate::cli::runtime;
use crate::generate::count;
use crate::output::Rows;

const SCRIPT: &str = include_str!("quantities.py");
const PERIOD: &str = "2026-05";
/// What the engine reads of a compacted day.
const COLUMNS: [&str; 8] =
    ["tenant", "meter", "time", "value", "resource", "dimensions", "signal", "signal_time"];
const TEXTS: [&str; 5] = ["tenant", "meter", "resource", "dimensions", "signal"];

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

/// What one side took, round by round.
#[derive(Debug, Default)]
struct Side {
    wall_s: Vec<f64>,
    cpu_s: Vec<f64>,
    memory_mib: f64,
}

impl QuantitiesBench {
    pub fn run(&self) -> Result<Rows> {
        let folder = tempfile::tempdir()?;
        let runtime = runtime()?;
        let path = folder.path().join("lake");
        let lake = Lake::open(&path.to_string_lossy())?;
        let month = Month { events: self.events, tenants: self.tenants, is_sorted: !self.uncompacted };
        runtime.block_on(month.write(&lake)).map_err(|error| anyhow!(error))?;
        let table = path.join("usage_events");
        let mut sides: Vec<(&str, Side)> =
            ["bare decode", "meterhouse", "meterhouse, one thread", "polars", "duckdb"]
                .map(|name| (name, Side::default()))
                .into();
        for _ in 0..self.rounds.max(1) {
            for (name, side) in &mut sides {
                match *name {
                    "bare decode" => side.measure(|| decode(&table, self.threads))?,
                    "meterhouse" => side.measure(|| self.quantities(&runtime, &lake, self.threads))?,
                    "meterhouse, one thread" => side.measure(|| self.quantities(&runtime, &lake, 1))?,
                    engine => {
                        if let Some(python) = &self.python {
                            side.wall_s.push(other(python, engine, &table, self.threads)?);
                        }
                    }
                }
            }
        }
        let ours = median(sides[1].1.wall_s.clone());
        let mut rows = Rows::new(&["side", "seconds", "cpu_seconds", "memory_mib", "meterhouse_takes"]);
        for (name, side) in sides.iter().filter(|(_, side)| !side.wall_s.is_empty()) {
            let wall_s = median(side.wall_s.clone());
            let or_nothing = |figure: f64, decimals| {
                if figure.is_nan() || figure == 0.0 {
                    serde_json::Value::Null
                } else {
                    shown(figure, decimals)
                }
            };
            rows.push(vec![
                (*name).into(),
                shown(wall_s, 2),
                or_nothing(median(side.cpu_s.clone()), 2),
                or_nothing(side.memory_mib, 0),
                format!("{:.2}x", ours / wall_s).into(),
            ]);
        }
        Ok(rows)
    }

    fn quantities(&self, runtime: &tokio::runtime::Runtime, lake: &Lake, threads: usize) -> Result<()> {
        let tenants = "\nother_tenants: { subscriptions: [] }\n";
        let catalog = Arc::new(Catalog::parse(&format!("{CATALOG}{tenants}"), "month.yaml")?);
        let table = lake.table(Table::UsageEvents);
        let answers = runtime.block_on(async {
            let snapshot = Arc::new(table.snapshot(None).await?);
            let period = PERIOD.parse()?;
            let question = Question::Everything;
            let scan = PeriodScan { table, snapshot, catalog, period, question, tenants: None, threads };
            anyhow::Ok(scan.run().await?)
        })?;
        let quantities: usize =
            answers.usages.iter().map(|usage| usage.quantities(|_| String::new()).count()).sum();
        if answers.usages.len() as u64 != self.tenants || quantities < answers.usages.len() {
            bail!("{} tenants and {quantities} quantities came out", answers.usages.len());
        }
        Ok(())
    }
}

/// The seconds that another engine takes.
pub(super) fn other(python: &Path, engine: &str, table: &Path, threads: usize) -> Result<f64> {
    let (start_us, end_us) = month_us();
    let output = Command::new(python)
        .args(["-c", SCRIPT, engine])
        .arg(table)
        .args([threads as i64, start_us, end_us].map(|at| at.to_string()))
        .env("POLARS_MAX_THREADS", threads.to_string())
        .output()
        .with_context(|| format!("cannot run {}", python.display()))?;
    if !output.status.success() {
        bail!("{engine} failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let seconds = text.split_whitespace().next().and_then(|figure| figure.parse().ok());
    seconds.with_context(|| format!("{engine}'s script printed {text:?}"))
}

impl Side {
    fn measure(&mut self, work: impl FnOnce() -> Result<()>) -> Result<()> {
        reset_memory_peak();
        let watch = Stopwatch::start();
        work()?;
        let taken = watch.taken();
        self.wall_s.push(taken.wall_s);
        self.cpu_s.push(taken.cpu_s);
        self.memory_mib = self.memory_mib.max(memory_peak_mib());
        Ok(())
    }
}

/// Decodes the columns that the engine reads, dictionaries kept, and does nothing with them.
fn decode(table: &Path, threads: usize) -> Result<()> {
    let mut files = Vec::new();
    for day in std::fs::read_dir(table)? {
        let day = day?.path();
        if day.is_dir() && !day.ends_with("_delta_log") {
            files.extend(
                std::fs::read_dir(day)?
                    .map(|file| file.map(|file| file.path()))
                    .collect::<Result<Vec<_>, _>>()?,
            );
        }
    }
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        let work = || -> Result<usize> {
            let mut rows = 0;
            while let Some(file) = files.get(next.fetch_add(1, Ordering::Relaxed)) {
                rows += decode_file(file)?;
            }
            Ok(rows)
        };
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        for thread in threads {
            thread.join().map_err(|_| anyhow!("a decoding thread panicked"))??;
        }
        Ok(())
    })
}

fn decode_file(path: &Path) -> Result<usize> {
    let file = std::fs::File::open(path)?;
    let plain = ParquetRecordBatchReaderBuilder::try_new(file.try_clone()?)?;
    let dictionary = DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8));
    let fields = plain.schema().fields().iter().map(|field| {
        if TEXTS.contains(&field.name().as_str()) {
            Arc::new(Field::new(field.name(), dictionary.clone(), field.is_nullable()))
        } else {
            Arc::clone(field)
        }
    });
    let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
    let options = ArrowReaderOptions::new().with_schema(schema);
    let builder = ParquetRecordBatchReaderBuilder::try_new_with_options(file, options)?;
    let mask = ProjectionMask::columns(builder.parquet_schema(), COLUMNS);
    let mut rows = 0;
    for batch in builder.with_projection(mask).with_batch_size(16 * 1024).build()? {
        rows += batch?.num_rows();
    }
    Ok(rows)
}
