//! `meterhouse quantities`: what every tenant used in a period, exactly, before any price.

use std::collections::BTreeSet;
use std::io::{self, BufWriter, Write};
use std::sync::Arc;

use ::sql::lake::{Lake, Table};
use ::sql::quantities::{Answers, PeriodScan, QUANTITIES, QuantityRows, Question};
use anyhow::{Context, Result};
use arrow::array::RecordBatch;
use clap::Args;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use rating::period::PeriodChoice;

use crate::book::Book;
use crate::catalog::chosen::ChosenCatalog;
use crate::cli::{Exit, Globals, runtime};
use crate::output::Format;
use crate::source::SourceArgs;
use crate::sql::writing;

/// The columns that people look at; the other formats have them all.
const SHOWN: [&str; 10] = [
    "tenant",
    "meter",
    "dimensions",
    "measure",
    "span_start",
    "span_end",
    "unit",
    "value",
    "samples",
    "carried_in",
];

/// Compute what every tenant used in a period
#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Examples:
  meterhouse quantities --period 2026-05
  meterhouse quantities --period 2026-05-15 --tenant acme --format csv
  meterhouse quantities --period 2026-05 --as-of 1204 --format json

A month means, for each tenant, the period of its own billing cycle and time zone that starts in it; a day means the \
period that the day lies in. Every meter is shown by all of its dimensions and measures, and the way that prices add \
it up. `exact_value` (in JSON and CSV) is a fraction where the decimals of `value` do not end. The same rows are there \
in SQL: SELECT * FROM quantities('2026-05').

Exit code 3 says that some tenants have no quantities; the reasons are on stderr.")]
pub struct QuantitiesArgs {
    /// A month (2026-05) or a day (2026-05-15)
    #[arg(long, value_name = "PERIOD")]
    period: PeriodChoice,
    /// Only this tenant; may be given several times
    #[arg(long, value_name = "TENANT")]
    tenant: Vec<String>,
    /// Read usage_events as it was at this version [default: the newest]
    #[arg(long, value_name = "VERSION")]
    as_of: Option<u64>,
    #[command(flatten)]
    source: SourceArgs,
    /// Threads to use [default: one per core]
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u16).range(1..))]
    threads: Option<u16>,
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

pub fn run(args: &QuantitiesArgs, globals: &Globals) -> Result<Exit> {
    let config = globals.load_config()?;
    let lake = Lake::open(&config.lake)?;
    let table = lake.table(Table::UsageEvents);
    runtime()?.block_on(async {
        let book = Book::existing_of(&config).await?;
        let catalog = ChosenCatalog::for_period(book.as_ref(), &config, args.period, None).await?.catalog;
        let snapshot = Arc::new(table.snapshot(args.as_of).await?);
        let scan = PeriodScan {
            table,
            snapshot,
            catalog: Arc::clone(&catalog),
            period: args.period,
            question: Question::Everything,
            tenants: (!args.tenant.is_empty()).then(|| args.tenant.iter().cloned().collect::<BTreeSet<_>>()),
            threads: args.threads.map_or_else(threads, usize::from),
        };
        let answers = scan.run_from(&lake, args.source.source()).await?;
        let mut rows = QuantityRows::default();
        for usage in &answers.usages {
            rows.push_usage(usage, &catalog);
        }
        write(rows.finish()?, args.format).await?;
        Ok(report_failures(&answers))
    })
}

/// One for each core.
pub fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

async fn write(batch: RecordBatch, format: Format) -> Result<()> {
    let batch = match format {
        Format::Table => {
            let columns = SHOWN.iter().map(|name| QUANTITIES.index_of(name));
            batch.project(&columns.collect::<Result<Vec<_>, _>>()?)?
        }
        Format::Json | Format::Csv => batch,
    };
    let stream = futures::stream::iter([Ok(batch.clone())]);
    let stream = Box::pin(RecordBatchStreamAdapter::new(batch.schema(), stream));
    let mut out = BufWriter::new(io::stdout());
    writing::write(stream, format.into(), "", &[], &mut out).await.context("cannot print the quantities")?;
    Ok(out.flush()?)
}

/// Says on stderr for whom there is no answer, and why.
fn report_failures(answers: &Answers) -> Exit {
    for (tenant, rows) in &answers.not_set_up {
        eprintln!("tenant {tenant} is not set up in the catalog; its {rows} rows of usage are kept");
    }
    for failure in &answers.failed {
        eprintln!("error: {:#}", anyhow::Error::new(failure.clone()));
    }
    if answers.failed.is_empty() { Exit::Done } else { Exit::DoneWithRejects }
}
