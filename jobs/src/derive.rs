//! `meterhouse derive`: meters that the catalog got later are read from earlier events.

use std::io::IsTerminal;

use ::ingest::derive::{DeriveError, DeriveReport, DeriveRequest, derive};
use anyhow::Result;
use clap::Args;
use indicatif::ProgressBar;
use jiff::civil::Date;
use sql::lake::Lake;

use crate::cli::{Exit, Globals, read_catalog, runtime, try_again_if_overtaken};
use crate::ingest::ingest_settings;
use crate::output::{Format, Rows};

/// Read meters that were added to the catalog from the events that are already in the lake
#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Examples:
  meterhouse derive --dry-run
  meterhouse derive --meter api_seconds
  meterhouse derive --from 2026-05-01 --to 2026-05-31

For each event, rows are added for the meters that read it and have none yet; rows that are there never change. \
Running it again adds nothing. The lake keeps an event's source, id, type, tenant, time and data: a meter that reads \
anything else cannot be derived, and the command says so before it changes anything. Events in which a meter \
finds no usable value are reported (exit code 3). Amendments are read as well, also with --from and --to those that name \
no time: they count on the day of their event.")]
pub struct DeriveArgs {
    /// Derive this meter; may be given several times [default: every meter of the catalog]
    #[arg(long, value_name = "METER")]
    meter: Vec<String>,
    /// The first day (UTC) whose events are read
    #[arg(long, value_name = "DATE")]
    from: Option<Date>,
    /// The last day (UTC) whose events are read
    #[arg(long, value_name = "DATE")]
    to: Option<Date>,
    /// Only say what would be added
    #[arg(long)]
    dry_run: bool,
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

pub fn run(args: &DeriveArgs, globals: &Globals) -> Result<Exit> {
    let config = globals.load_config()?;
    let lake = Lake::open(&config.lake)?;
    let catalog = read_catalog(&config.catalog)?;
    let request = DeriveRequest {
        meters: (!args.meter.is_empty()).then(|| args.meter.clone()),
        days: Some(args.from.map_or(i32::MIN, day)..=args.to.map_or(i32::MAX, day)),
        dry_run: args.dry_run,
        limits: ingest_settings(&config.ingest).limits,
        ..DeriveRequest::default()
    };
    let bar =
        if std::io::stderr().is_terminal() { ProgressBar::new_spinner() } else { ProgressBar::hidden() };
    let result = runtime()?.block_on(derive(&lake, &catalog, &request, |report| {
        bar.set_message(format!("{} days, {} rows", report.days, report.rows_in_all()));
        bar.tick();
    }));
    bar.finish_and_clear();
    let report = result.map_err(|error: DeriveError| try_again_if_overtaken(error.into()))?;
    if args.dry_run {
        eprintln!("nothing was changed (--dry-run)");
    }
    eprintln!(
        "{} rows in {} of {} days; {} events had no meter before",
        report.rows_in_all(),
        report.days_changed,
        report.days,
        report.newly_metered
    );
    rows(&report).print(args.format)?;
    Ok(if report.refused.is_empty() { Exit::Done } else { Exit::DoneWithRejects })
}

/// Days since 1970-01-01.
fn day(date: Date) -> i32 {
    date.since(Date::constant(1970, 1, 1)).map_or(0, |span| span.get_days())
}

fn rows(report: &DeriveReport) -> Rows {
    let mut rows = Rows::new(&["meter", "outcome", "events", "example"]);
    for (meter, count) in &report.rows {
        rows.push(vec![meter.clone().into(), "derived".into(), (*count).into(), serde_json::Value::Null]);
    }
    for ((meter, reason), refused) in &report.refused {
        let cells =
            [meter.clone().into(), (*reason).into(), refused.count.into(), refused.example.clone().into()];
        rows.push(cells.to_vec());
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_counted_from_1970() {
        assert_eq!(day(Date::constant(2026, 5, 1)), 20_574);
        assert_eq!(day(Date::constant(1969, 12, 31)), -1);
    }
}
