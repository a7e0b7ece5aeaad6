//! `meterhouse quantities`: what every tenant used in a period, exactly, before any price.

use std::collections::BTreeSet;
use std::io::{self, BufWriter, Write};
use std::sync::Arc;

use ::sql::lake::{Lake, Table, TableSnapshot};
use ::sql::quantities::{
    Answers, NOT_SET_UP, Narrowed, PROBLEM, PeriodScan, QUANTITIES, QuantitiesFunction, QuantityRows,
    Question,
};
use ::sql::relation::TENANT;
use ::sql::rollups::Source;
use ::sql::session::SessionSettings;
use anyhow::{Context, Result, bail};
use arrow::array::{Array, AsArray, RecordBatch, StringArray, UInt64Array};
use arrow::compute::{concat_batches, take_record_batch};
use arrow::datatypes::Int64Type;
use clap::Args;
use datafusion::logical_expr::{col, lit};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use futures::TryStreamExt;
use rating::period::{PeriodChoice, PeriodFilter};

use crate::book::Book;
use crate::catalog::chosen::{ChosenCatalog, now_us};
use crate::cli::{Exit, Globals, runtime};
use crate::config::Config;
use crate::engine::EngineArgs;
use crate::output::Format;
use crate::periods::{PeriodArg, PeriodMonth};
use crate::rate::tenants::RatedTenants;
use crate::reporting;
use crate::source::SourceArgs;
use crate::sql::{self, CLUSTER_PARTS, writing};

/// The columns that people look at; the other formats have them all.
const SHOWN: [&str; 13] = [
    "tenant",
    "meter",
    "only",
    "dimensions",
    "measure",
    "span_start",
    "span_end",
    "unit",
    "value",
    "samples",
    "first_sample",
    "last_sample",
    "carried_in",
];

/// Compute what every tenant used in a period
#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Examples:
  meterhouse quantities --period 2026-05
  meterhouse quantities --period last
  meterhouse quantities --period 2026-05-15 --tenant acme --format csv
  meterhouse quantities --period 2026-05 --as-of 1204 --format json

A month means, for each tenant, the period of its own billing cycle and time zone that starts in it; a day means the \
period that the day lies in. Every meter is shown by all of its dimensions and measures, and the way that prices add \
it up. `exact_value` (in JSON and CSV) is a fraction where the decimals of `value` do not end. The same rows are there \
in SQL: SELECT * FROM quantities('2026-05').

Exit code 3 says that some tenants have no quantities; the reasons are on stderr.")]
pub struct QuantitiesArgs {
    /// A month (2026-05), a day (2026-05-15), or `last`: each tenant's own period that ended last
    #[arg(long, value_name = "PERIOD")]
    period: PeriodArg,
    /// Only this tenant; may be given several times
    #[arg(long, value_name = "TENANT")]
    tenant: Vec<String>,
    /// Read usage_events as it was at this version [default: the newest]
    #[arg(long, value_name = "VERSION")]
    as_of: Option<u64>,
    #[command(flatten)]
    source: SourceArgs,
    #[command(flatten)]
    engine: EngineArgs,
    /// Threads to use, or on a cluster the parts into which the tenants are cut [default: one per core, or 16 parts]
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
        if args.engine.is_elsewhere() {
            let PeriodArg::Chosen(period) = args.period else {
                bail!(
                    "a cluster counts one period: name it by its month or a day in it, or leave --engine out"
                );
            };
            let chosen = ChosenCatalog::for_period(book.as_ref(), &config, period, None).await?;
            let (rows, exit) = on_cluster(args, period, &config, book, chosen).await?;
            write(rows, args.format).await?;
            return Ok(exit);
        }
        let now_us = now_us(book.as_ref()).await?;
        let snapshot = Arc::new(table.snapshot(args.as_of).await?);
        let (mut rows, mut exit) = (QuantityRows::default(), Exit::Done);
        for month in args.period.months(book.as_ref(), &config, None, now_us).await? {
            let answers = count(args, &lake, &month, &snapshot).await?;
            for usage in &answers.usages {
                rows.push_usage(usage, &month.chosen.catalog);
            }
            if report_failures(&answers) != Exit::Done {
                exit = Exit::DoneWithRejects;
            }
        }
        write(rows.finish()?, args.format).await?;
        Ok(exit)
    })
}

/// What was used in the periods of a month that are meant.
async fn count(
    args: &QuantitiesArgs,
    lake: &Lake,
    month: &PeriodMonth,
    snapshot: &Arc<TableSnapshot>,
) -> Result<Answers> {
    let scan = PeriodScan {
        table: lake.table(Table::UsageEvents),
        snapshot: Arc::clone(snapshot),
        catalog: Arc::clone(&month.chosen.catalog),
        period: month.month,
        question: Question::Everything,
        tenants: (!args.tenant.is_empty()).then(|| args.tenant.iter().cloned().collect::<BTreeSet<_>>()),
        narrowed: Narrowed::default(),
        threads: args.threads.map_or_else(threads, usize::from),
    };
    let mut answers = scan.run_from(lake, args.source.source()).await?;
    if month.filter != PeriodFilter::All {
        let meant = RatedTenants::of_month(&month.chosen.catalog, month.parts(), None)?;
        answers.usages.retain(|usage| meant.charges(&usage.demand.tenant).is_some());
        answers.failed.retain(|failure| meant.charges(&failure.tenant).is_some());
    }
    Ok(answers)
}

/// The same rows, counted by a cluster, and who has none.
async fn on_cluster(
    args: &QuantitiesArgs,
    period: PeriodChoice,
    config: &Config,
    book: Option<Book>,
    chosen: ChosenCatalog,
) -> Result<(RecordBatch, Exit)> {
    if args.source.source() != Source::Auto {
        bail!(
            "a cluster takes quantities from roll-ups where these answer exactly, and from events elsewhere: leave --from out"
        );
    }
    let settings = SessionSettings {
        threads: args.threads.map_or(CLUSTER_PARTS, usize::from),
        versions: args.as_of.map(|version| (Table::UsageEvents, version)).into_iter().collect(),
        engine: args.engine.engine(),
        ..SessionSettings::default()
    };
    let catalog = Arc::clone(&chosen.catalog);
    let session = reporting::open_with(config, &settings, book, chosen).await?;
    let snapshot = session.snapshots.get(&Table::UsageEvents).cloned();
    let outcomes = QuantitiesFunction::outcomes(Lake::open(&config.lake)?, snapshot, catalog);
    let mut frame = session.context.read_table(outcomes.of_period(period))?;
    if !args.tenant.is_empty() {
        frame = frame.filter(col(TENANT).in_list(args.tenant.iter().map(lit).collect(), false))?;
    }
    let failed = |error| sql::failed(&error, "");
    let rows = session.answer(frame).await.map_err(failed)?;
    let schema = rows.schema();
    let rows: Vec<RecordBatch> = rows.try_collect().await.map_err(failed)?;
    split(&concat_batches(&schema, &rows)?)
}

/// Quantities in the order of the tenants; who has none is said on stderr.
fn split(outcomes: &RecordBatch) -> Result<(RecordBatch, Exit)> {
    let text = |name: &str| -> Result<&StringArray> {
        Ok(outcomes.column_by_name(name).with_context(|| format!("outcomes have a {name}"))?.as_string())
    };
    let (tenants, problems) = (text(TENANT)?, text(PROBLEM)?);
    // Each tenant's rows come together and in their order, the tenants as they were finished.
    let mut order: Vec<u64> = (0..outcomes.num_rows() as u64).collect();
    order.sort_by_key(|row| tenants.value(*row as usize));
    let samples = outcomes.column_by_name("samples").context("outcomes have samples")?;
    let samples = samples.as_primitive::<Int64Type>();
    let mut failed = Vec::new();
    order.retain(|row| {
        let row = *row as usize;
        match problems.is_valid(row).then(|| problems.value(row)) {
            None => return true,
            Some(NOT_SET_UP) => say_not_set_up(tenants.value(row), samples.value(row).unsigned_abs()),
            Some(problem) => failed.push(problem),
        }
        false
    });
    for problem in &failed {
        eprintln!("error: {problem}");
    }
    let exit = if failed.is_empty() { Exit::Done } else { Exit::DoneWithRejects };
    let quantities = take_record_batch(outcomes, &UInt64Array::from(order))?;
    let columns = quantities.columns()[..QUANTITIES.fields().len()].to_vec();
    Ok((RecordBatch::try_new(Arc::clone(&QUANTITIES), columns)?, exit))
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
        say_not_set_up(tenant, *rows);
    }
    for failure in &answers.failed {
        eprintln!("error: {}", failure.in_words());
    }
    if answers.failed.is_empty() { Exit::Done } else { Exit::DoneWithRejects }
}

fn say_not_set_up(tenant: &str, rows: u64) {
    eprintln!("tenant {tenant} is not set up in the catalog; its {rows} rows of usage are kept");
}
