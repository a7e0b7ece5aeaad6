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

use ::ingest::crash_point::crash_point;
use anyhow::{Context, Result, bail};
use clap::{Args, Parser};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::book::{Book, BookError, Occurrence};
use crate::cli::{Cli, Exit, Globals, runtime};
use crate::config::Config;
use crate::output::{Format, Rows};
use crate::run::{asked_to_stop, holder};

pub use due::{Due, Plan, jitter_us};

/// A sleep is cut into pieces, so that a clock that was set or a machine that slept is noticed.
const LOOK_AGAIN: Duration = Duration::from_secs(30);
/// A run that could not work now is tried again after so long, and then after twice as long each time.
const TRY_AGAIN_FIRST: Duration = Duration::from_secs(10);
const TRY_AGAIN_MAX: Duration = Duration::from_mins(10);
/// Between taking a time and starting its run lies one command of the system; who needs longer has died in between.
const STARTING_US_MAX: i64 = 60_000_000;
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
  \"close --period last\" = \"40 4 * * *\"
  \"vacuum\" = \"40 3 * * SUN Europe/Berlin\"

Times that were missed, because nothing ran then, are caught up once. A time at which the entry's last run is still \
under way is skipped. A run that meets another at work, or cannot reach something (exit code 75), is tried again soon, until \
the entry's next time. Several schedulers may run on one book: each time is taken by one of them. systemd timers and \
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
            try_again_first: TRY_AGAIN_FIRST,
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
    try_again_first: Duration,
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
            let next_us = plan.next_at_us.unwrap_or(i64::MAX);
            let lost_us = last.starting_since_us.map(|since_us| since_us.saturating_add(STARTING_US_MAX));
            if lost_us.is_some_and(|lost_us| lost_us <= now_us) {
                return self.run_what_was_not_begun(entry, &last).await;
            }
            let wait_us = next_us.min(lost_us.unwrap_or(i64::MAX)).saturating_sub(now_us);
            return Ok(Duration::from_micros(wait_us.max(0) as u64));
        };
        let jitter_us = jitter_us(self.book.place(), &entry.name, due_at_us, self.jitter_max_us);
        let starts_us = due_at_us.saturating_add(jitter_us);
        if now_us < starts_us {
            return Ok(Duration::from_micros((starts_us - now_us) as u64));
        }
        if !self.book.claim_occurrence_to_run(&entry.name, due_at_us, &holder()).await? {
            return Ok(Duration::ZERO);
        }
        crash_point("after_claim_occurrence");
        if plan.missed > 0 {
            tracing::warn!(job = entry.name, missed = plan.missed, "missed times are caught up by one run");
        }
        self.run_claimed(entry, due_at_us).await
    }

    /// Runs what a scheduler took that was gone before it began. Where a later time is due already, that one catches it up.
    async fn run_what_was_not_begun(&mut self, entry: &Entry, lost: &Occurrence) -> Result<Duration> {
        if !self.book.take_over_occurrence(&entry.name, lost, &holder()).await? {
            return Ok(Duration::ZERO);
        }
        let who = &lost.claimed_by;
        tracing::warn!(job = entry.name, who, "a scheduler was gone before it began a run: it is caught up");
        self.run_claimed(entry, lost.due_at_us).await
    }

    async fn run_claimed(&mut self, entry: &Entry, due_at_us: i64) -> Result<Duration> {
        if self.run_until_done(entry, due_at_us).await? {
            self.skip_overlaps(entry, due_at_us).await?;
        }
        Ok(Duration::ZERO)
    }

    /// Runs the entry, and again as long as it says that it could not work now; false if its next time came first.
    async fn run_until_done(&mut self, entry: &Entry, due_at_us: i64) -> Result<bool> {
        let mut wait = self.try_again_first;
        loop {
            let status = self.run_to_its_end(entry, due_at_us).await?;
            say_how_it_ended(&entry.name, status);
            if status.code() != Some(i32::from(Exit::TryAgain.code())) || *self.stopped.borrow() {
                return Ok(true);
            }
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                _ = self.stopped.wait_for(|stopped| *stopped) => return Ok(true),
            }
            if entry.due.plan(due_at_us, self.book.now_us().await?).due_at_us.is_some() {
                return Ok(false);
            }
            wait = (wait * 2).min(TRY_AGAIN_MAX);
        }
    }

    async fn run_to_its_end(&mut self, entry: &Entry, due_at_us: i64) -> Result<ExitStatus> {
        let mut command = tokio::process::Command::new(&self.program);
        if let Some(settings) = &self.settings {
            command.arg("--config").arg(settings);
        }
        command.args(&entry.arguments).stdin(Stdio::null());
        tracing::info!(job = entry.name, "started");
        let mut child = command.spawn().with_context(|| format!("cannot start `{}`", entry.name))?;
        self.note_beginning(entry, due_at_us).await;
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

    /// If that cannot be noted, the entry is run once more than it had to be, which does no harm; its run goes on meanwhile.
    async fn note_beginning(&self, entry: &Entry, due_at_us: i64) {
        if let Err(error) = self.book.occurrence_began(&entry.name, due_at_us).await {
            let error = &error as &dyn std::error::Error;
            tracing::warn!(job = entry.name, error, "the beginning of a run could not be noted");
        }
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
        tracing::warn!(
            job = name,
            "not now: it is at work elsewhere, or something it needs was away; tried again soon"
        );
    } else if code == Some(i32::from(Exit::DoneWithRejects.code())) {
        tracing::warn!(job = name, "done, and something was rejected: see `meterhouse runs`");
    } else {
        tracing::error!(job = name, status = %status, "failed: see `meterhouse runs`");
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicI64, Ordering};

    use super::*;
    use crate::book::BookAddress;

    const MINUTE_US: i64 = 60_000_000;
    /// A Monday, 12:00:30.
    const NOW_US: i64 = 1_779_710_430_000_000;

    /// An entry of each minute that runs a shell in a folder of its own, and a scheduler with a book whose clock stands.
    struct World {
        folder: tempfile::TempDir,
        now_us: Arc<AtomicI64>,
        scheduler: Scheduler,
        entry: Entry,
        _stop: tokio::sync::watch::Sender<bool>,
    }

    impl World {
        async fn new(script: &str) -> Self {
            let folder = tempfile::tempdir().unwrap();
            let now_us = Arc::new(AtomicI64::new(NOW_US));
            let address = BookAddress::file(&folder.path().join("book.sqlite"));
            let book = Book::open(&address).await.unwrap().with_clock(Arc::clone(&now_us));
            let line = format!("cd {}; echo run >> runs; {script}", folder.path().display());
            let entry = Entry {
                name: "job".to_owned(),
                arguments: vec!["-c".to_owned(), line],
                due: Due::parse("* * * * *", "UTC").unwrap(),
            };
            book.claim_occurrence("job", NOW_US - 5 * MINUTE_US, "somebody").await.unwrap();
            let (stop, stopped) = tokio::sync::watch::channel(false);
            let scheduler = Scheduler {
                book,
                program: "/bin/sh".into(),
                settings: None,
                jitter_max_us: 0,
                try_again_first: Duration::from_millis(1),
                stopped,
            };
            Self { folder, now_us, scheduler, entry, _stop: stop }
        }

        fn runs(&self) -> usize {
            let runs = std::fs::read_to_string(self.folder.path().join("runs")).unwrap_or_default();
            runs.lines().count()
        }

        async fn wait_for_runs(folder: &std::path::Path, count: usize) {
            let runs = || std::fs::read_to_string(folder.join("runs")).unwrap_or_default().lines().count();
            while runs() < count {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }

        async fn last_due_us(&self) -> i64 {
            self.scheduler.book.last_occurrence("job").await.unwrap().unwrap().due_at_us
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn times_at_which_the_last_run_is_under_way_are_skipped() {
        let mut world = World::new("while [ ! -e go ]; do sleep 0.01; done").await;
        let (folder, now_us) = (world.folder.path().to_owned(), Arc::clone(&world.now_us));
        let meanwhile = tokio::spawn(async move {
            World::wait_for_runs(&folder, 1).await;
            now_us.fetch_add(3 * MINUTE_US, Ordering::SeqCst);
            std::fs::write(folder.join("go"), "").unwrap();
        });
        world.scheduler.step(&world.entry).await.unwrap();
        meanwhile.await.unwrap();
        assert_eq!(world.runs(), 1);
        assert_eq!(
            world.last_due_us().await,
            NOW_US + 3 * MINUTE_US - MINUTE_US / 2,
            "all of them are taken"
        );
        assert_eq!(world.scheduler.step(&world.entry).await.unwrap(), Duration::from_secs(30));
        assert_eq!(world.runs(), 1);
        world.now_us.fetch_add(MINUTE_US, Ordering::SeqCst);
        world.scheduler.step(&world.entry).await.unwrap();
        assert_eq!(world.runs(), 2, "the next time is no overlap");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_could_not_work_now_is_tried_again() {
        let mut world = World::new("[ $(wc -l < runs) -ge 4 ] || exit 75").await;
        world.scheduler.step(&world.entry).await.unwrap();
        assert_eq!(world.runs(), 4);
        // Another outcome is final.
        let mut failing = World::new("exit 1").await;
        failing.scheduler.step(&failing.entry).await.unwrap();
        assert_eq!(failing.runs(), 1);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn trying_again_ends_where_the_next_time_begins() {
        let mut world = World::new("exit 75").await;
        let (folder, now_us) = (world.folder.path().to_owned(), Arc::clone(&world.now_us));
        let meanwhile = tokio::spawn(async move {
            World::wait_for_runs(&folder, 2).await;
            now_us.fetch_add(MINUTE_US, Ordering::SeqCst);
        });
        world.scheduler.step(&world.entry).await.unwrap();
        meanwhile.await.unwrap();
        // That time was not skipped: it comes now.
        assert_eq!(world.last_due_us().await, NOW_US - MINUTE_US / 2);
        let plan = world.entry.due.plan(world.last_due_us().await, world.now_us.load(Ordering::SeqCst));
        assert_eq!(plan.due_at_us, Some(NOW_US + MINUTE_US / 2));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_a_scheduler_took_and_did_not_begin_is_caught_up_once() {
        let mut world = World::new("").await;
        let due_us = NOW_US - MINUTE_US / 2;
        // It dies right after.
        let book = world.scheduler.book.clone();
        assert!(book.claim_occurrence_to_run("job", due_us, "somebody").await.unwrap());
        let hourly = Due::parse("0 * * * *", "UTC").unwrap();
        world.entry.due = hourly;
        let wait = world.scheduler.step(&world.entry).await.unwrap();
        assert_eq!(wait, Duration::from_mins(1), "it may still be about to begin");
        assert_eq!(world.runs(), 0);
        world.now_us.fetch_add(MINUTE_US, Ordering::SeqCst);
        world.scheduler.step(&world.entry).await.unwrap();
        assert_eq!(world.runs(), 1);
        let wait = world.scheduler.step(&world.entry).await.unwrap();
        assert_eq!((world.runs(), wait), (1, Duration::from_micros((58 * MINUTE_US + MINUTE_US / 2) as u64)));
        assert_eq!(world.last_due_us().await, due_us);
    }

    /// What cannot even be started, as while the program is replaced, stays due.
    #[tokio::test(flavor = "multi_thread")]
    async fn what_could_not_be_started_is_caught_up() {
        let mut world = World::new("").await;
        let shell = std::mem::replace(&mut world.scheduler.program, "/nowhere/meterhouse".into());
        world.scheduler.step(&world.entry).await.unwrap_err();
        world.scheduler.program = shell;
        world.entry.due = Due::parse("0 * * * *", "UTC").unwrap();
        world.now_us.fetch_add(MINUTE_US, Ordering::SeqCst);
        world.scheduler.step(&world.entry).await.unwrap();
        assert_eq!(world.runs(), 1);
    }

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
