//! The command line of `meterhouse compact`.

use std::io::IsTerminal;

use ::ingest::commit::CommitError;
use anyhow::Result;
use clap::Args;
use indicatif::ProgressBar;
use sql::lake::Lake;

use super::{CompactError, CompactReport, CompactSettings, compact};
use crate::cli::{Exit, Globals, TryAgain, runtime};
use crate::output::{Format, Rows};

/// Sort each day's events into few large files and take out duplicates
#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Examples:
  meterhouse compact
  meterhouse compact --dry-run --format json

Touches only days with newly arrived files, and may run while ingest does. An event that arrived twice counts once, \
as the one that came first; one that came again with other content goes to rejected_messages with the reason \
`conflict` (exit code 3). Old files stay until `meterhouse vacuum`.")]
pub struct CompactArgs {
    /// Find out what would change, and change nothing; what came again on a day that is not compacted yet
    /// either is not foretold
    #[arg(long)]
    dry_run: bool,
    /// How many threads sort and encode [default: one per core]
    #[arg(long, value_name = "COUNT")]
    threads: Option<usize>,
    /// Days whose rows take more memory than this are read several times
    #[arg(long, value_name = "MIB", default_value_t = 1024)]
    memory_mib: usize,
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

pub fn run(args: &CompactArgs, globals: &Globals) -> Result<Exit> {
    let config = globals.load_config()?;
    let cores = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
    let settings = CompactSettings {
        identity_window_days: config.identity.window.map(|window| {
            u32::try_from((window.as_secs().max(0) as u64).div_ceil(86_400)).unwrap_or(u32::MAX)
        }),
        file_size_bytes: usize::try_from(config.ingest.file_size).unwrap_or(usize::MAX),
        threads: args.threads.unwrap_or(cores).max(1),
        memory_bytes: args.memory_mib.saturating_mul(1024 * 1024),
        dry_run: args.dry_run,
    };
    let lake = Lake::open(&config.lake)?;
    let bar =
        if std::io::stderr().is_terminal() { ProgressBar::new_spinner() } else { ProgressBar::hidden() };
    let result = runtime()?.block_on(compact(&lake, settings, |report| {
        bar.set_message(format!("{} days, {} rows", report.days, report.rows_after));
        bar.tick();
    }));
    bar.finish_and_clear();
    let report = match result {
        Ok(report) => report,
        Err(CompactError::Commit(error @ (CommitError::Fenced { .. } | CommitError::RemovedTwice(_)))) => {
            let what = "another compaction is at work on this lake; nothing was counted twice";
            return Err(anyhow::Error::new(error).context(what).context(TryAgain));
        }
        Err(error) => return Err(error.into()),
    };
    if args.dry_run {
        eprintln!("nothing was changed (--dry-run)");
    }
    let CompactReport {
        days,
        files_before,
        files_after,
        rows_before,
        rows_after,
        duplicate_rows,
        conflict_rows,
    } = report;
    let mut rows = Rows::new(&[
        "days",
        "files_before",
        "files_after",
        "rows_before",
        "rows_after",
        "duplicate_rows",
        "conflict_rows",
    ]);
    rows.push(vec![
        days.into(),
        files_before.into(),
        files_after.into(),
        rows_before.into(),
        rows_after.into(),
        duplicate_rows.into(),
        conflict_rows.into(),
    ]);
    rows.print(args.format)?;
    Ok(if conflict_rows > 0 { Exit::DoneWithRejects } else { Exit::Done })
}
