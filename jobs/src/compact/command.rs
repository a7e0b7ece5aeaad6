//! The command line of `meterhouse compact`.

use std::io::IsTerminal;
use std::time::Duration;

use ::ingest::commit::CommitError;
use anyhow::Result;
use clap::Args;
use indicatif::ProgressBar;
use sql::lake::{Lake, Table};

use super::{CompactError, CompactReport, CompactSettings, compact};
use crate::book::Book;
use crate::cli::{Exit, Globals, TryAgain, runtime};
use crate::config::Config;
use crate::memory::keep_freed_memory;
use crate::output::{Format, Rows};
use crate::run::{RunContext, RunSpec, with_run};

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
    /// Days whose rows take more memory than this (2048 at most) are read several times
    #[arg(long, value_name = "MIB", default_value_t = 1024)]
    memory_mib: usize,
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// Longer than a day takes, so that each finds the memory of the one before.
const FREED_MEMORY_KEPT: Duration = Duration::from_secs(10);

pub fn run(args: &CompactArgs, globals: &Globals) -> Result<Exit> {
    // Days come and go with the same amounts.
    keep_freed_memory(FREED_MEMORY_KEPT);
    let config = globals.load_config()?;
    let settings = settings(args, &config);
    let lake = Lake::open(&config.lake)?;
    let report = runtime()?.block_on(async {
        if args.dry_run {
            return Ok(compact(&lake, settings, |_| {}).await?);
        }
        let book = Book::of(&config).await?;
        compact_as_run(&book, &lake, &config, settings).await
    })?;
    if args.dry_run {
        eprintln!("nothing was changed (--dry-run)");
    }
    let (names, cells): (Vec<&str>, Vec<_>) =
        figures(&report).into_iter().map(|(name, count)| (name, count.into())).unzip();
    let mut rows = Rows::new(&names);
    rows.push(cells);
    rows.print(args.format)?;
    Ok(if report.conflict_rows > 0 { Exit::DoneWithRejects } else { Exit::Done })
}

/// Compacts within a run of the book.
pub async fn compact_as_run(
    book: &Book,
    lake: &Lake,
    config: &Config,
    settings: CompactSettings,
) -> Result<CompactReport> {
    with_run(book, RunSpec::of_job("compact", config), async |run| compact_in(run, lake, settings).await)
        .await
}

fn settings(args: &CompactArgs, config: &Config) -> CompactSettings {
    let own = settings_of(config);
    CompactSettings {
        threads: args.threads.unwrap_or(own.threads).max(1),
        memory_bytes: args.memory_mib.saturating_mul(1024 * 1024),
        dry_run: args.dry_run,
        ..own
    }
}

/// What the settings say; threads, memory and dry runs are for the command line.
pub fn settings_of(config: &Config) -> CompactSettings {
    CompactSettings {
        identity_window_days: config.identity.window.map(|window| {
            u32::try_from((window.as_secs().max(0) as u64).div_ceil(86_400)).unwrap_or(u32::MAX)
        }),
        file_size_bytes: usize::try_from(config.ingest.file_size).unwrap_or(usize::MAX),
        threads: std::thread::available_parallelism().map_or(2, std::num::NonZero::get),
        ..CompactSettings::default()
    }
}

/// Does the work, of which the book learns how far it came even if it fails.
async fn compact_in(run: &RunContext, lake: &Lake, settings: CompactSettings) -> Result<CompactReport> {
    let note = |report: &CompactReport| {
        for (name, count) in figures(report) {
            run.count(name, count);
        }
    };
    run.note_version(lake, Table::UsageEvents).await?;
    let bar =
        if std::io::stderr().is_terminal() { ProgressBar::new_spinner() } else { ProgressBar::hidden() };
    let result = compact(lake, settings, |report| {
        bar.set_message(format!("{} days, {} rows", report.days, report.rows_after));
        bar.tick();
        note(report);
    });
    let result = result.await;
    bar.finish_and_clear();
    match result {
        Ok(report) => {
            note(&report);
            if report.conflict_rows > 0 {
                run.has_rejects();
            }
            Ok(report)
        }
        Err(CompactError::Commit(error)) if error.is_overtaken() => {
            let what = match error {
                CommitError::MayBeDeleted(_) => {
                    "`meterhouse vacuum` ran while days were compacted, and may have deleted what was stored for this run; \
                     nothing was changed"
                }
                _ => "another compaction is at work on this lake; nothing was counted twice",
            };
            Err(anyhow::Error::new(error).context(what).context(TryAgain))
        }
        Err(error) => Err(error.into()),
    }
}

fn figures(report: &CompactReport) -> [(&'static str, u64); 7] {
    let CompactReport {
        days,
        files_before,
        files_after,
        rows_before,
        rows_after,
        duplicate_rows,
        conflict_rows,
    } = *report;
    [
        ("days", days as u64),
        ("files_before", files_before as u64),
        ("files_after", files_after as u64),
        ("rows_before", rows_before),
        ("rows_after", rows_after),
        ("duplicate_rows", duplicate_rows),
        ("conflict_rows", conflict_rows),
    ]
}
