//! `meterhouse sql`: queries over the lake. It only reads, and prints an answer while it is computed.

use std::io::{self, BufWriter, Read, Write};
use std::path::PathBuf;

use ::sql::lake::Table;
use ::sql::session::SessionSettings;
use anyhow::{Context, Result, bail};
use arrow::array::{Array, RecordBatch};
use arrow::datatypes::SchemaRef;
use arrow::json::writer::{JsonArray, WriterBuilder};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use clap::Args;
use datafusion::execution::SendableRecordBatchStream;
use futures::TryStreamExt;
use serde_json::{Number, Value};

use crate::cli::{Exit, Globals, runtime};
use crate::output::{Format, Rows};
use crate::reporting;

/// A table for people starts anew after this many rows, so that it can be printed before all are known.
const TABLE_ROWS: usize = 1_000;
const MIB: usize = 1024 * 1024;

/// Query the lake with SQL
#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Examples:
  meterhouse sql \"SELECT tenant, meter, sum(value) FROM usage_events WHERE time >= '2026-05-01' GROUP BY 1, 2\"
  meterhouse sql \"SELECT dimension(dimensions, 'region') AS region, count(*) FROM usage_events GROUP BY 1\"
  meterhouse sql --file report.sql --format csv > report.csv
  echo 'SHOW TABLES' | meterhouse sql
  meterhouse sql --usage-version 1204 'SELECT count(*) FROM usage_events'

Tables: usage_events, rejected_messages, invoices and invoice_lines; `DESCRIBE usage_events` lists the columns. quantities('2026-05') is a table \
of what every tenant used in a period. Nothing can be changed. A filter \
on `time`, `event_day`, `tenant` or `meter` keeps a query from opening files that cannot match. Numbers with a \
decimal point are exact decimals. dimension(dimensions, 'name') reads one of a row's dimensions.")]
pub struct SqlArgs {
    /// The query [default: read it from --file or standard input]
    query: Option<String>,
    /// Read the query from this file, or from standard input for `-`
    #[arg(long, value_name = "FILE", conflicts_with = "query")]
    file: Option<PathBuf>,
    /// Read usage_events as it was at this version [default: the newest]
    #[arg(long, value_name = "VERSION")]
    usage_version: Option<u64>,
    /// Memory for sorting, grouping and joining, in MiB; what needs more spills to disk
    #[arg(long, value_name = "MIB", default_value_t = 1024, value_parser = clap::value_parser!(u32).range(16..))]
    memory: u32,
    /// Threads to use [default: one per core]
    #[arg(long, value_name = "COUNT")]
    threads: Option<usize>,
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

pub fn run(args: &SqlArgs, globals: &Globals) -> Result<Exit> {
    let config = globals.load_config()?;
    let query = args.query_text()?;
    let defaults = SessionSettings::default();
    let settings = SessionSettings {
        memory_limit_bytes: args.memory as usize * MIB,
        threads: args.threads.unwrap_or(defaults.threads).max(1),
        versions: args.usage_version.map(|version| (Table::UsageEvents, version)).into_iter().collect(),
        ..defaults
    };
    runtime()?.block_on(async {
        let session = reporting::open(&config, &settings).await?;
        let answer = session.query(&query).await.context("cannot plan the query")?;
        let answer = answer.execute_stream().await.context("cannot run the query")?;
        let mut out = BufWriter::new(io::stdout().lock());
        print(answer, args.format, &mut out).await?;
        out.flush()?;
        anyhow::Ok(())
    })?;
    Ok(Exit::Done)
}

impl SqlArgs {
    fn query_text(&self) -> Result<String> {
        let text = match (&self.query, &self.file) {
            (Some(query), _) => query.clone(),
            (None, Some(path)) if path.as_os_str() != "-" => std::fs::read_to_string(path)
                .with_context(|| format!("cannot read the query in {}", path.display()))?,
            _ => {
                let mut text = String::new();
                io::stdin().read_to_string(&mut text).context("cannot read the query")?;
                text
            }
        };
        if text.trim().is_empty() {
            bail!("the query is empty");
        }
        Ok(text)
    }
}

pub(crate) async fn print(
    answer: SendableRecordBatchStream,
    format: Format,
    out: &mut dyn Write,
) -> Result<()> {
    match format {
        Format::Table => print_table(answer, out).await,
        Format::Json => print_json(answer, out).await,
        Format::Csv => print_csv(answer, out).await,
    }
}

async fn print_json(mut answer: SendableRecordBatchStream, out: &mut dyn Write) -> Result<()> {
    let builder = WriterBuilder::new().with_explicit_nulls(true);
    let mut writer = builder.build::<_, JsonArray>(&mut *out);
    while let Some(batch) = answer.try_next().await.context("the query failed")? {
        writer.write(&batch)?;
    }
    writer.finish()?;
    writeln!(out)?;
    Ok(())
}

async fn print_csv(mut answer: SendableRecordBatchStream, out: &mut dyn Write) -> Result<()> {
    let mut writer = arrow::csv::WriterBuilder::new().with_header(true).build(out);
    // The header stands there even if no row follows.
    writer.write(&RecordBatch::new_empty(answer.schema()))?;
    while let Some(batch) = answer.try_next().await.context("the query failed")? {
        writer.write(&batch)?;
    }
    Ok(())
}

async fn print_table(mut answer: SendableRecordBatchStream, out: &mut dyn Write) -> Result<()> {
    let schema = answer.schema();
    let (mut rows, mut is_first) = (table_of(&schema), true);
    while let Some(batch) = answer.try_next().await.context("the query failed")? {
        let options = FormatOptions::default();
        let columns = batch.columns().iter().map(|column| ArrayFormatter::try_new(column, &options));
        let columns = columns.collect::<Result<Vec<_>, _>>()?;
        for row in 0..batch.num_rows() {
            let cells = batch.columns().iter().zip(&columns).map(|(column, texts)| {
                if column.is_null(row) {
                    return Ok(Value::Null);
                }
                let text = texts.value(row).try_to_string()?;
                let number = column.data_type().is_numeric().then(|| text.parse::<Number>().ok()).flatten();
                Ok(number.map_or(Value::String(text), Value::Number))
            });
            rows.push(cells.collect::<Result<_, arrow::error::ArrowError>>()?);
            if rows.len() == TABLE_ROWS {
                rows.write(Format::Table, out)?;
                (rows, is_first) = (table_of(&schema), false);
            }
        }
    }
    if is_first || !rows.is_empty() {
        rows.write(Format::Table, out)?;
    }
    Ok(())
}

fn table_of(schema: &SchemaRef) -> Rows {
    let names: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
    Rows::new(&names)
}
