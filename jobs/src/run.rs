//! The frame in which a job runs: its lease, its record in the book, and an end that is always told.
//!
//! Owns taking the lease, renewing it while the job works, and recording inputs, counts and outcome with the whole error
//! chain. Does not own the work. A job that loses its lease is stopped at its next await; whatever it writes to the book before
//! that is refused there, because every write shows the lease's token, and whatever it commits to the lake is refused by the
//! table's own fence. Only papers are put down without one, and never over another.
//!
//! A job made of steps, each a run of its own, is asked to stop between two of them (`with_run_of_steps`): the step under way
//! hears of it itself and tells its own end.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, resume_unwind};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use ::ingest::crash_point::crash_point;
use ::sql::lake::{Lake, LakeError, Table};
use anyhow::{Context, Result, anyhow, bail};
use futures::FutureExt;
use tokio::sync::oneshot;

use crate::book::{Book, BookError, Fence, Outcome, Run, Writing};
use crate::cli::TryAgain;
use crate::config::Config;

/// A lease is renewed so many times before it would run out.
const RENEWALS_PER_LEASE: u32 = 3;

/// What is to be run.
#[derive(Debug, Clone, Copy)]
pub struct RunSpec<'a> {
    pub job: &'a str,
    /// Empty for a job that is about no period.
    pub period: &'a str,
    /// Jobs that must not run at the same time share a lease.
    pub lease: &'a str,
    pub lease_duration: Duration,
}

/// What `rate` makes and `issue` numbers: they take turns.
pub const DRAFTS: &str = "drafts";

impl<'a> RunSpec<'a> {
    /// A job that is about no period and has a lease of its own.
    pub fn of_job(job: &'a str, config: &Config) -> Self {
        Self { job, period: "", lease: job, lease_duration: config.book.lease.unsigned_abs() }
    }

    #[must_use]
    pub fn with_period(self, period: &'a str) -> Self {
        Self { period, ..self }
    }

    #[must_use]
    pub fn with_lease(self, lease: &'a str) -> Self {
        Self { lease, ..self }
    }
}

/// What a job has at hand while it runs.
#[derive(Debug)]
pub struct RunContext {
    book: Book,
    run_id: String,
    fence: Fence,
    notes: Mutex<Notes>,
    /// Set once a job of steps is to stop.
    stop: Arc<OnceLock<Stop>>,
}

/// Why a job of steps goes no further.
#[derive(Debug)]
enum Stop {
    Asked,
    /// The token of the lease that was lost.
    LostLease {
        newest: i64,
    },
}

#[derive(Debug, Default)]
struct Notes {
    inputs: BTreeMap<String, String>,
    counts: BTreeMap<String, i64>,
    has_rejects: bool,
}

impl RunContext {
    pub fn book(&self) -> &Book {
        &self.book
    }

    pub fn run_id(&self) -> &str {
        &self.run_id
    }

    /// What every write of this run must show.
    pub fn fence(&self) -> &Fence {
        &self.fence
    }

    /// A transaction of this run.
    pub async fn begin(&self) -> Result<Writing, BookError> {
        self.book.begin_as(&self.fence).await
    }

    /// Between two steps: an error if it is time to stop.
    pub fn check(&self) -> Result<()> {
        match self.stop.get() {
            None => Ok(()),
            Some(Stop::Asked) => bail!("asked to stop"),
            Some(Stop::LostLease { newest }) => {
                let (lease, token) = (self.fence.lease.clone(), self.fence.token);
                Err(BookError::Fenced { lease, token, newest: *newest }.into())
            }
        }
    }

    /// Notes what the run works on, like the version of a table.
    #[expect(clippy::needless_pass_by_value, reason = "a number or a text, whichever is at hand")]
    pub fn input(&self, name: &str, value: impl ToString) {
        self.notes().inputs.insert(name.to_owned(), value.to_string());
    }

    /// Notes at which version a table of the lake stands; nothing where it does not exist yet.
    pub async fn note_version(&self, lake: &Lake, table: Table) -> Result<()> {
        match lake.table(table).snapshot(None).await {
            Ok(snapshot) => self.input(table.name(), snapshot.version),
            Err(LakeError::Missing(_)) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    /// Notes how much of something the run did, in all.
    pub fn count(&self, name: &str, count: impl TryInto<i64>) {
        self.notes().counts.insert(name.to_owned(), count.try_into().unwrap_or(i64::MAX));
    }

    /// Notes that something was rejected or some tenants failed: the run is done all the same.
    pub fn has_rejects(&self) {
        self.notes().has_rejects = true;
    }

    fn notes(&self) -> std::sync::MutexGuard<'_, Notes> {
        self.notes.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// Runs a job: takes its lease or says who has it, hands the job what it needs, and records how it ended.
pub async fn with_run<T, F>(book: &Book, spec: RunSpec<'_>, work: F) -> Result<T>
where
    F: AsyncFnOnce(&RunContext) -> Result<T>,
{
    let (run, context) = start(book, spec).await?;
    let KeptLease { lost, kept } = KeptLease::of(book, &run.fence, spec.lease_duration);
    let ended = tokio::select! {
        ended = caught(&context, work) => ended,
        Ok(error) = lost => Ended::Failed(error.into()),
        () = asked_to_stop() => Ended::Interrupted,
    };
    drop(kept);
    end(book, run, &context, ended).await
}

/// The same for a job whose steps are runs of their own. It is never broken off, but asks `RunContext::check` between its
/// steps: what is under way holds a lease of its own, is asked to stop too, and tells its own end.
pub async fn with_run_of_steps<T, F>(book: &Book, spec: RunSpec<'_>, work: F) -> Result<T>
where
    F: AsyncFnOnce(&RunContext) -> Result<T>,
{
    let (run, context) = start(book, spec).await?;
    let KeptLease { lost, kept } = KeptLease::of(book, &run.fence, spec.lease_duration);
    let mut watched = std::pin::pin!(caught(&context, work));
    let stop = async {
        tokio::select! {
            Ok(error) = lost => match error {
                BookError::Fenced { newest, .. } => Stop::LostLease { newest },
                _ => Stop::Asked,
            },
            () = asked_to_stop() => Stop::Asked,
        }
    };
    let ended = tokio::select! {
        ended = &mut watched => ended,
        stop = stop => {
            let _ = context.stop.set(stop);
            watched.await
        }
    };
    drop(kept);
    let ended = match (ended, context.stop.get()) {
        (Ended::Failed(_), Some(Stop::Asked)) => Ended::Interrupted,
        (ended, _) => ended,
    };
    end(book, run, &context, ended).await
}

async fn start(book: &Book, spec: RunSpec<'_>) -> Result<(Run, RunContext)> {
    let started = book.start_run(spec.job, spec.period, spec.lease, &holder(), spec.lease_duration).await;
    let run = match started {
        Ok(run) => run,
        Err(error @ BookError::Held { .. }) => {
            let message = if spec.lease == spec.job {
                format!("another `{}` is at work", spec.job)
            } else {
                format!("`{}` has to wait: a job that works on {} is under way", spec.job, spec.lease)
            };
            return Err(anyhow::Error::new(error).context(message).context(TryAgain));
        }
        Err(error) => return Err(try_again_if_it_passes(error.into())),
    };
    crash_point("after_start");
    let context = RunContext {
        book: book.clone(),
        run_id: run.run_id.clone(),
        fence: run.fence.clone(),
        notes: Mutex::default(),
        stop: Arc::default(),
    };
    Ok((run, context))
}

async fn caught<T, F>(context: &RunContext, work: F) -> Ended<T>
where
    F: AsyncFnOnce(&RunContext) -> Result<T>,
{
    match AssertUnwindSafe(Box::pin(work(context))).catch_unwind().await {
        Ok(Ok(done)) => Ended::Done(done),
        Ok(Err(error)) => Ended::Failed(error),
        Err(panic) => Ended::Panicked(panic),
    }
}

async fn end<T>(book: &Book, mut run: Run, context: &RunContext, ended: Ended<T>) -> Result<T> {
    let notes = std::mem::take(&mut *context.notes());
    (run.inputs, run.counts) = (notes.inputs, notes.counts);
    crash_point("before_end");
    record_end(book, run, ended, notes.has_rejects).await
}

enum Ended<T> {
    Done(T),
    Failed(anyhow::Error),
    Panicked(Box<dyn std::any::Any + Send>),
    Interrupted,
}

async fn record_end<T>(book: &Book, mut run: Run, ended: Ended<T>, has_rejects: bool) -> Result<T> {
    let chain = |error: &anyhow::Error| error.chain().map(ToString::to_string).collect();
    match &ended {
        Ended::Done(_) => run.outcome = if has_rejects { Outcome::DoneWithRejects } else { Outcome::Done },
        Ended::Failed(error) => {
            let is_fenced = |cause: &(dyn std::error::Error + 'static)| {
                matches!(cause.downcast_ref::<BookError>(), Some(BookError::Fenced { .. }))
            };
            run.outcome = if error.chain().any(is_fenced) { Outcome::Overtaken } else { Outcome::Failed };
            run.error = chain(error);
        }
        Ended::Panicked(panic) => {
            run.outcome = Outcome::Failed;
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
            run.error = vec![format!("panicked: {}", text.unwrap_or_default())];
        }
        Ended::Interrupted => run.outcome = Outcome::Interrupted,
    }
    let recorded = book.end_run(&run).await;
    match ended {
        Ended::Done(done) => {
            recorded.with_context(|| format!("`{}` is done, but that could not be recorded", run.job))?;
            Ok(done)
        }
        // The first error is what matters; that it could not be recorded either is only logged.
        Ended::Failed(error) => {
            log_unrecorded(recorded, &run);
            Err(try_again_if_it_passes(error))
        }
        Ended::Panicked(panic) => {
            log_unrecorded(recorded, &run);
            resume_unwind(panic)
        }
        Ended::Interrupted => {
            log_unrecorded(recorded, &run);
            Err(anyhow!("`{}` was interrupted; run it again and it goes on", run.job).context(TryAgain))
        }
    }
}

fn log_unrecorded(recorded: Result<(), BookError>, run: &Run) {
    if let Err(error) = recorded {
        tracing::error!(
            job = run.job,
            error = &error as &dyn std::error::Error,
            "the end of a run could not be recorded"
        );
    }
}

/// An error of the book that may be gone a moment later is worth another try.
fn try_again_if_it_passes(error: anyhow::Error) -> anyhow::Error {
    let passes = |cause: &(dyn std::error::Error + 'static)| {
        cause.downcast_ref::<BookError>().is_some_and(BookError::passes)
    };
    let is_marked = error.downcast_ref::<TryAgain>().is_some();
    if !is_marked && error.chain().any(passes) { error.context(TryAgain) } else { error }
}

/// A lease that is renewed beside the work.
struct KeptLease {
    /// Tells that another has taken it.
    lost: oneshot::Receiver<BookError>,
    /// Dropped once the work is over. A renewal under way comes to its end all the same: a transaction that is broken off
    /// leaves its connection in an odd state.
    kept: oneshot::Sender<()>,
}

impl KeptLease {
    fn of(book: &Book, fence: &Fence, duration: Duration) -> Self {
        let (lost_sender, lost) = oneshot::channel();
        let (kept, over) = oneshot::channel();
        tokio::spawn(keep_lease(book.clone(), fence.clone(), duration, lost_sender, over));
        Self { lost, kept }
    }
}

/// Renews the lease until it is lost, and says so then, or until the run is over. That the book cannot be reached for a while loses nothing yet.
async fn keep_lease(
    book: Book,
    fence: Fence,
    duration: Duration,
    lost: oneshot::Sender<BookError>,
    mut over: oneshot::Receiver<()>,
) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(duration / RENEWALS_PER_LEASE) => {}
            _ = &mut over => return,
        }
        match book.renew_lease(&fence, duration).await {
            Ok(()) => {}
            Err(error @ BookError::Fenced { .. }) => {
                // Nobody listens any more if the work has just ended.
                let _ = lost.send(error);
                return;
            }
            Err(error) => {
                let lease = &fence.lease;
                tracing::warn!(
                    lease,
                    error = &error as &dyn std::error::Error,
                    "a lease could not be renewed"
                );
            }
        }
    }
}

/// Until somebody presses Ctrl-C or a service manager says that it is time.
pub async fn asked_to_stop() {
    use tokio::signal::unix::{SignalKind, signal};
    let Ok(mut terminate) = signal(SignalKind::terminate()) else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = terminate.recv() => {}
        pressed = tokio::signal::ctrl_c() => if pressed.is_err() {
            std::future::pending::<()>().await;
        },
    }
}

/// Who holds a lease, for people: the machine and the process.
pub fn holder() -> String {
    let host: String = sysinfo::System::host_name().unwrap_or_default().chars().take(200).collect();
    format!("{host}:{}", std::process::id())
}
