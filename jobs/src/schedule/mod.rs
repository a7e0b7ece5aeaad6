//! `meterhouse schedule`: runs jobs when they are due.
//!
//! Each job runs as a process of its own, this same program with the entry's arguments. So a scheduled job is exactly what
//! a person, systemd or Kubernetes would run; its memory is given back when it ends; and one that crashes or is killed
//! takes nobody with it. Calling the jobs as functions would save some tens of milliseconds a start, and was
//! turned down for that. Owns when to start what, once; what a job does, and that two of them do not meet, is theirs.

mod due;

use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::{Args, Parser};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::book::{Book, BookError};
use crate::cli::{Cli, Exit, Globals, runtime};
use crate::config::Config;
use crate::output::{Format, Rows};
use crate::run::{asked_to_stop, holder};

pub use due::{Due, Plan, jitter_us};

/// A sleep is cut into pieces, so that a clock that was set or a machine that slept is noticed.
const LOOK_AGAIN: Duration = Duration::from_secs(30);
/// What may not be scheduled: what never ends, or is no job.
const NO_JOBS: [&str; 4] = ["schedule", "ingest", "demo", "bench"];

/// Run jobs when they are due, as the settings' [schedule] says
#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Examples:
  meterhouse schedule --plan          show what is due when, and run nothing
  meterhouse schedule                 until stopped

In meterhouse.toml:
  [schedule.jobs]
  \"compact\" = \"17 * * * *\"
  \"vacuum\" = \"40 3 * * SUN Europe/Berlin\"

Times that were missed, because nothing ran then, are caught up once. A time at which the entry's last run is still \
under way is skipped. Several schedulers may run on one book: each time is taken by one of them. systemd timers and \
Kubernetes CronJobs, whose files are in deploy/, run the same commands.")]
pub struct ScheduleArgs {
    /// Show what is due when, and run nothing
    #[arg(long)]
    plan: bool,
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

#[derive(Debug, Clone)]
struct Entry {
    /// As written in the settings; by it the book knows the entry.
    name: String,
    arguments: Vec<String>,
    due: Due,
}

pub fn run(args: &ScheduleArgs, globals: &Globals) -> Result<Exit> {
    let config = globals.load_config()?;
    let entries = entries(&config)?;
    if entries.is_empty() {
        bail!(
            "nothing is scheduled: add lines like \"compact\" = \"17 * * * *\" to [schedule.jobs] in the settings"
        );
    }
    runtime()?.block_on(async {
        let book = Book::of(&config).await?;
        if args.plan {
            show_plan(&book, &entries, args.format).await?;
        } else {
            let jitter_max_us = i64::try_from(config.schedule.jitter.as_micros()).unwrap_or(i64::MAX);
            run_until_stopped(&book, entries, globals, jitter_max_us).await?;
        }
        Ok(Exit::Done)
    })
}

/// The entries of the settings, each checked as the command line that it is.
fn entries(config: &Config) -> Result<Vec<Entry>> {
    let mut entries = Vec::new();
    for (name, due) in &config.schedule.entries {
        let arguments = words(name)?;
        let job = arguments.first().map(String::as_str).unwrap_or_default();
        if NO_JOBS.contains(&job) {
            bail!("[schedule.jobs]: `{name}`: `{job}` is no job that can be scheduled");
        }
        let line = std::iter::once("meterhouse".to_owned()).chain(arguments.iter().cloned());
        if let Err(error) = Cli::try_parse_from(line) {
            bail!("[schedule.jobs]: `{name}` is no command of this program:\n{error}");
        }
        let due = Due::parse(due, &config.schedule.time_zone).map_err(anyhow::Error::msg)?;
        entries.push(Entry { name: name.clone(), arguments, due });
    }
    Ok(entries)
}

/// A command line's words; quotes keep several together.
fn words(line: &str) -> Result<Vec<String>> {
    let (mut words, mut word, mut quote) = (Vec::new(), None::<String>, None);
    for character in line.chars() {
        match (character, quote) {
            (closing, Some(open)) if closing == open => quote = None,
            ('"' | '\'', None) => {
                quote = Some(character);
                word.get_or_insert_default();
            }
            (space, None) if space.is_whitespace() => words.extend(word.take()),
            _ => word.get_or_insert_default().push(character),
        }
    }
    if quote.is_some() {
        bail!("[schedule.jobs]: `{line}`: a quote is not closed");
    }
    words.extend(word);
    Ok(words)
}

async fn show_plan(book: &Book, entries: &[Entry], format: Format) -> Result<()> {
    let now_us = book.now_us().await?;
    let mut rows = Rows::new(&["job", "last", "due", "missed", "next"]);
    let shown = |at_us: i64| jiff::Timestamp::from_microsecond(at_us).map(|at| at.to_string()).ok();
    for entry in entries {
        let last = book.last_occurrence(&entry.name).await?;
        let last_us = last.as_ref().map(|last| last.due_at_us);
        let plan = entry.due.plan(last_us.unwrap_or(now_us), now_us);
        rows.push(vec![
            entry.name.clone().into(),
            last_us.and_then(shown).into(),
            plan.due_at_us.and_then(shown).into(),
            plan.missed.into(),
            plan.next_at_us.and_then(shown).into(),
        ]);
    }
    rows.print(format)?;
    Ok(())
}

async fn run_until_stopped(
    book: &Book,
    entries: Vec<Entry>,
    globals: &Globals,
    jitter_max_us: i64,
) -> Result<()> {
    let program = std::env::current_exe().context("cannot find this program's own file")?;
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let mut watches = tokio::task::JoinSet::new();
    for entry in entries {
        tracing::info!(job = entry.name, "scheduled");
        let scheduler = Scheduler {
            book: book.clone(),
            program: program.clone(),
            settings: globals.config.clone(),
            jitter_max_us,
            stopped: stopped.clone(),
        };
        watches.spawn(async move { scheduler.watch(&entry).await });
    }
    asked_to_stop().await;
    tracing::info!("stopping; jobs under way are asked to stop");
    stop.send_replace(true);
    while watches.join_next().await.is_some() {}
    Ok(())
}

/// Watches one entry.
struct Scheduler {
    book: Book,
    program: PathBuf,
    settings: Option<PathBuf>,
    jitter_max_us: i64,
    stopped: tokio::sync::watch::Receiver<bool>,
}

impl Scheduler {
    async fn watch(mut self, entry: &Entry) {
        while !*self.stopped.borrow() {
            let wait = match self.step(entry).await {
                Ok(wait) => wait,
                Err(error) => {
                    // The book may be back soon; what was due stays due.
                    tracing::error!(
                        job = entry.name,
                        error = format!("{error:#}"),
                        "the schedule could not be read"
                    );
                    LOOK_AGAIN
                }
            };
            tokio::select! {
                () = tokio::time::sleep(wait.min(LOOK_AGAIN)) => {}
                _ = self.stopped.wait_for(|stopped| *stopped) => {}
            }
        }
    }

    /// Runs the entry if it is due; how long nothing is to be done then.
    async fn step(&mut self, entry: &Entry) -> Result<Duration> {
        let now_us = self.book.now_us().await?;
        let Some(last) = self.book.last_occurrence(&entry.name).await? else {
            // New in the schedule: what lies before was not missed, as nobody had asked for it.
            self.book.claim_occurrence(&entry.name, now_us, &holder()).await?;
            return Ok(Duration::ZERO);
        };
        let plan = entry.due.plan(last.due_at_us, now_us);
        let Some(due_at_us) = plan.due_at_us else {
            let wait_us = plan.next_at_us.map_or(i64::MAX, |next_us| next_us - now_us);
            return Ok(Duration::from_micros(wait_us.max(0) as u64));
        };
        let jitter_us = jitter_us(self.book.place(), &entry.name, due_at_us, self.jitter_max_us);
        let starts_us = due_at_us.saturating_add(jitter_us);
        if now_us < starts_us {
            return Ok(Duration::from_micros((starts_us - now_us) as u64));
        }
        if !self.book.claim_occurrence(&entry.name, due_at_us, &holder()).await? {
            return Ok(Duration::ZERO);
        }
        if plan.missed > 0 {
            tracing::warn!(job = entry.name, missed = plan.missed, "missed times are caught up by one run");
        }
        let status = self.run_to_its_end(entry).await?;
        say_how_it_ended(&entry.name, status);
        self.skip_overlaps(entry, due_at_us).await?;
        Ok(Duration::ZERO)
    }

    async fn run_to_its_end(&mut self, entry: &Entry) -> Result<ExitStatus> {
        let mut command = tokio::process::Command::new(&self.program);
        if let Some(settings) = &self.settings {
            command.arg("--config").arg(settings);
        }
        command.args(&entry.arguments).stdin(Stdio::null());
        tracing::info!(job = entry.name, "started");
        let mut child = command.spawn().with_context(|| format!("cannot start `{}`", entry.name))?;
        tokio::select! {
            status = child.wait() => return Ok(status?),
            _ = self.stopped.wait_for(|stopped| *stopped) => {}
        }
        // It ends in its own way, and tells the book so.
        if let Some(id) = child.id() {
            kill(Pid::from_raw(id.cast_signed()), Signal::SIGTERM).context("cannot ask a job to stop")?;
        }
        Ok(child.wait().await?)
    }

    /// What came due while the entry's own run was under way is not run after it.
    async fn skip_overlaps(&self, entry: &Entry, ran_at_us: i64) -> Result<(), BookError> {
        let plan = entry.due.plan(ran_at_us, self.book.now_us().await?);
        if let Some(latest_us) = plan.due_at_us
            && self.book.claim_occurrence(&entry.name, latest_us, &holder()).await?
        {
            let skipped = plan.missed + 1;
            tracing::warn!(job = entry.name, skipped, "skipped: the run before was still under way");
        }
        Ok(())
    }
}

fn say_how_it_ended(name: &str, status: ExitStatus) {
    let code = status.code();
    if status.success() {
        tracing::info!(job = name, "done");
    } else if code == Some(i32::from(Exit::TryAgain.code())) {
        tracing::warn!(job = name, "not now: it is at work elsewhere, or something it needs was away");
    } else if code == Some(i32::from(Exit::DoneWithRejects.code())) {
        tracing::warn!(job = name, "done, and something was rejected: see `meterhouse runs`");
    } else {
        tracing::error!(job = name, status = %status, "failed: see `meterhouse runs`");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn command_lines_are_cut_into_words() {
        for (line, expected) in [
            ("compact", &["compact"][..]),
            ("  vacuum  --retain '30 days' ", &["vacuum", "--retain", "30 days"]),
            ("sql \"SELECT 'a b'\"", &["sql", "SELECT 'a b'"]),
            ("x ''", &["x", ""]),
        ] {
            assert_eq!(words(line).unwrap(), expected, "{line}");
        }
        assert!(words("vacuum --retain '30 days").is_err());
    }
}
