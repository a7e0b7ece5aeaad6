//! The command line of `meterhouse rollup`.

use std::io::IsTerminal;

use ::sql::lake::Lake;
use anyhow::Result;
use clap::Args;
use indicatif::ProgressBar;
use jiff::civil::Date;

use super::{RollUpReport, RollUpSettings, roll_up};
use crate::book::Book;
use crate::catalog::chosen::ChosenCatalog;
use crate::cli::{Exit, Globals, runtime, try_again_if_overtaken};
use crate::config::Config;
use crate::output::{Format, Rows};
use crate::quantities::threads;
use crate::run::{RunSpec, with_run};

/// Keep each day's totals, so that periods close without reading their events again
#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Examples:
  meterhouse rollup
  meterhouse rollup --dry-run --format json
  meterhouse rollup --from 2026-05-01

Brings usage_hourly, usage_daily, usage_periods and usage_carried up to the newest events. Only what new commits touched is folded anew: an event \
that comes late changes its tenant's day, and the days after it as far as they open differently. A changed catalog \
adds the questions that are new; other rules of a meter roll everything again. `quantities`, `rate` and `simulate` use \
roll-ups where they answer exactly; usage_hourly is there for charts and reports.

Exit code 3 says that the days of some tenants cannot be rolled; their quantities are read from events.")]
pub struct RollupArgs {
    /// Find out what would be folded, and write nothing
    #[arg(long)]
    dry_run: bool,
    /// Fold every tenant anew from this UTC day on
    #[arg(long, value_name = "DAY")]
    from: Option<Date>,
    /// Threads to use [default: one per core]
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u16).range(1..))]
    threads: Option<u16>,
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// Rolls up within a run of the book.
pub async fn roll_up_as_run(
    book: &Book,
    lake: &Lake,
    config: &Config,
    settings: &RollUpSettings,
) -> Result<RollUpReport> {
    with_run(book, RunSpec::of_job("rollup", config), async |run| {
        let report = roll_up_with_bar(lake, settings).await?;
        run.input("usage_events", report.version);
        run.count("days", report.days);
        run.count("tenant_days", report.tenant_days);
        run.count("rows", report.rows);
        if !report.failed.is_empty() {
            run.has_rejects();
        }
        Ok(report)
    })
    .await
}

async fn roll_up_with_bar(lake: &Lake, settings: &RollUpSettings) -> Result<RollUpReport> {
    let bar =
        if std::io::stderr().is_terminal() { ProgressBar::new_spinner() } else { ProgressBar::hidden() };
    let rolled = roll_up(lake, settings, |report| {
        bar.set_message(format!("{} days, {} rows", report.days, report.rows));
        bar.tick();
    });
    let rolled = rolled.await;
    bar.finish_and_clear();
    rolled
}

pub fn run(args: &RollupArgs, globals: &Globals) -> Result<Exit> {
    let config = globals.load_config()?;
    let lake = Lake::open(&config.lake)?;
    let threads = args.threads.map_or_else(threads, usize::from);
    let from = args
        .from
        .map(|date| date.since(Date::constant(1970, 1, 1)).map_or(i32::MIN, |since| since.get_days()));
    let rolled = runtime()?.block_on(async {
        let book =
            if args.dry_run { Book::existing_of(&config).await? } else { Some(Book::of(&config).await?) };
        let catalog = ChosenCatalog::for_now(book.as_ref(), &config).await?.catalog;
        let settings =
            RollUpSettings { from, dry_run: args.dry_run, ..RollUpSettings::of_catalog(catalog, threads) };
        match book {
            Some(book) if !args.dry_run => roll_up_as_run(&book, &lake, &config, &settings).await,
            _ => roll_up_with_bar(&lake, &settings).await,
        }
    });
    let report = rolled.map_err(try_again_if_overtaken)?;
    if args.dry_run {
        eprintln!("nothing was changed (--dry-run)");
    }
    for (tenant, why) in report.reasons() {
        eprintln!("error: days of tenant {tenant} cannot be rolled: {why}");
    }
    let mut rows = Rows::new(&["version", "days", "tenants", "tenant_days", "rows", "failed_tenants"]);
    rows.push(vec![
        report.version.into(),
        report.days.into(),
        report.tenants.len().into(),
        report.tenant_days.into(),
        report.rows.into(),
        report.failed.len().into(),
    ]);
    rows.print(args.format)?;
    Ok(if report.failed.is_empty() { Exit::Done } else { Exit::DoneWithRejects })
}
