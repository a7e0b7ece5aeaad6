//! `meterhouse replay`: rejects that decode after a fix are counted.

use ::ingest::replay::{ReplayError, ReplayReport, ReplayRequest, replay};
use anyhow::Result;
use clap::Args;
use jiff::Timestamp;
use sql::lake::Lake;

use crate::cli::{Exit, Globals, read_catalog, runtime, try_again_if_overtaken};
use crate::ingest::ingest_settings;
use crate::output::{Format, Rows};
use crate::rejects::RejectFilterArgs;

/// Count rejects that decode now, after the catalog or the settings were fixed
#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Examples:
  meterhouse replay --dry-run
  meterhouse replay --reason value_missing --since 2026-05-01
  meterhouse replay --topic usage

What decodes with the catalog of today moves from rejected_messages to usage_events, each event once, whatever happens \
on the way; run it again after a crash. The rest stays, under its new reason (exit code 3). Conflicts are never \
replayed: their event counts already, with other content.")]
pub struct ReplayArgs {
    #[command(flatten)]
    filter: RejectFilterArgs,
    /// Only say what would happen
    #[arg(long)]
    dry_run: bool,
    /// Also take messages beyond the offsets that ingest has committed: only after a topic was made anew
    #[arg(long)]
    include_uncommitted: bool,
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

pub fn run(args: &ReplayArgs, globals: &Globals) -> Result<Exit> {
    let config = globals.load_config()?;
    let lake = Lake::open(&config.lake)?;
    let catalog = read_catalog(&config.catalog)?;
    let request = ReplayRequest {
        filter: args.filter.filter(),
        include_uncommitted: args.include_uncommitted,
        dry_run: args.dry_run,
        limits: ingest_settings(&config.ingest).limits,
        now_us: Timestamp::now().as_microsecond(),
    };
    let result = runtime()?.block_on(replay(&lake, &catalog, &request, |_| ()));
    let report = result.map_err(|error: ReplayError| try_again_if_overtaken(error.into()))?;
    explain(&report, args.dry_run);
    rows(&report).print(args.format)?;
    Ok(if report.still_rejected.is_empty() { Exit::Done } else { Exit::DoneWithRejects })
}

fn explain(report: &ReplayReport, dry_run: bool) {
    if dry_run {
        eprintln!("nothing was changed (--dry-run)");
    }
    if report.finished_files > 0 {
        eprintln!("finished what an interrupted replay had begun: {} files", report.finished_files);
    }
    if report.uncommitted > 0 {
        eprintln!(
            "{} rejects were left alone, because ingest has not committed their offsets yet",
            report.uncommitted
        );
    }
}

fn rows(report: &ReplayReport) -> Rows {
    let mut rows = Rows::new(&["outcome", "reason", "count"]);
    let mut push = |outcome: &str, reason: Option<&str>, count: u64| {
        rows.push(vec![outcome.into(), reason.into(), count.into()]);
    };
    push("events counted", None, report.events);
    push("usage rows", None, report.rows);
    push("events without a meter", None, report.unmetered);
    for (reason, count) in &report.still_rejected {
        push("still rejected", Some(reason), *count);
    }
    push("left alone", Some("conflict"), report.conflicts);
    push("left alone", Some("not committed by ingest"), report.uncommitted);
    rows
}
