//! Decoding the columns that quantities need, and nothing else: what every pass over the events pays at least.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Result, anyhow};
use arrow::datatypes::{DataType, Field, Schema};
use clap::Args;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ArrowReaderOptions, ParquetRecordBatchReaderBuilder};

/// What the engine reads of a compacted day.
const COLUMNS: [&str; 8] =
    ["tenant", "meter", "time", "value", "resource", "dimensions", "signal", "signal_time"];
const TEXTS: [&str; 5] = ["tenant", "meter", "resource", "dimensions", "signal"];

/// The files of a table, decoded with dictionaries kept.
#[derive(Debug, Clone, Args)]
pub(super) struct Decode {
    table: PathBuf,
    #[arg(long, default_value_t = 2)]
    threads: usize,
}

impl Decode {
    pub fn run(&self) -> Result<()> {
        let mut files = Vec::new();
        for day in std::fs::read_dir(&self.table)? {
            let day = day?.path();
            if day.is_dir() && !day.ends_with("_delta_log") {
                for file in std::fs::read_dir(day)? {
                    files.push(file?.path());
                }
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
            let threads: Vec<_> = (0..self.threads).map(|_| scope.spawn(work)).collect();
            for thread in threads {
                thread.join().map_err(|_| anyhow!("a decoding thread panicked"))??;
            }
            Ok(())
        })
    }
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
