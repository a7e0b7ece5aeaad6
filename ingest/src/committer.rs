//! The committing thread: a batch's files are stored, then rejects and usage are committed, in this order.
//!
//! Each table keeps its own positions, so a crash between the two commits is harmless: the next reader
//! starts where the usage table stands and looks up what the reject table already has (`unfinished`).

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use crossbeam_channel::{Receiver, Sender};
use deltalake_core::kernel::Action;
use serde_json::json;
use tokio::sync::Mutex;

use crate::batch::{Counts, PartitionName, Stretch};
use crate::commit::{Commit, CommitError, Committed, Position, TableLog};
use crate::crash_point::crash_point;
use crate::day_file::FinishedFile;
use crate::encoder::SealedBatch;
use crate::metrics::Metrics;

/// The two tables that ingest writes, shared by the threads of one process.
#[derive(Debug)]
pub struct LakeLogs {
    pub usage: TableLog,
    pub rejected: TableLog,
}

/// What became of a batch.
#[derive(Debug)]
pub enum Outcome {
    Committed {
        version: u64,
        counts: Counts,
        ends: Vec<(PartitionName, i64)>,
    },
    /// Another writer owns some of the partitions now, or the batch waited for too long: read the positions anew.
    Fenced(CommitError),
    Failed(CommitError),
}

#[derive(Debug)]
pub struct Committer {
    pub logs: Arc<Mutex<LakeLogs>>,
    /// Batches of another generation are dropped unseen.
    pub generation: Arc<AtomicU64>,
    pub metrics: Arc<Metrics>,
    pub runtime: tokio::runtime::Handle,
}

impl Committer {
    /// Commits batches until the encoder hangs up or a commit fails for good.
    pub fn run(&self, batches: &Receiver<SealedBatch>, outcomes: &Sender<Outcome>) {
        for batch in batches {
            let done = batch.seal.done.clone();
            if batch.seal.generation == self.generation.load(Ordering::SeqCst)
                && !batch.seal.stretches.is_empty()
            {
                let outcome = self.runtime.block_on(self.commit(batch));
                let failed = matches!(outcome, Outcome::Failed(_));
                if matches!(outcome, Outcome::Fenced(_)) {
                    // What was read since then builds on positions that no longer hold.
                    self.generation.fetch_add(1, Ordering::SeqCst);
                }
                if outcomes.send(outcome).is_err() || failed {
                    return;
                }
            }
            if let Some(done) = done {
                let _ = done.send(());
            }
        }
    }

    async fn commit(&self, batch: SealedBatch) -> Outcome {
        match self.try_commit(&batch).await {
            Ok(committed) => {
                self.report(&batch, committed);
                Outcome::Committed {
                    version: committed.usage.version,
                    counts: batch.seal.counts,
                    ends: batch
                        .seal
                        .stretches
                        .into_iter()
                        .map(|stretch| (stretch.name, stretch.end))
                        .collect(),
                }
            }
            Err(error) if error.is_overtaken() => Outcome::Fenced(error),
            Err(error) => Outcome::Failed(error),
        }
    }

    async fn try_commit(&self, batch: &SealedBatch) -> Result<CommittedBatch, CommitError> {
        let mut logs = self.logs.lock().await;
        let started = Instant::now();
        if !batch.rejected.is_empty() {
            logs.rejected.upload(&batch.rejected).await?;
            crash_point("between_uploads");
        }
        logs.usage.upload(&batch.usage).await?;
        let upload = started.elapsed();
        let started = Instant::now();
        let usage = usage_commit(batch);
        if !batch.rejected.is_empty() {
            // If somebody else reads these messages by now, they may take for usage what we refused.
            logs.usage.check(&usage).await?;
            logs.rejected.commit(&rejected_commit(batch)).await?;
            crash_point("between_commits");
        }
        let usage = logs.usage.commit(&usage).await?;
        crash_point("after_commits");
        Ok(CommittedBatch { usage, upload, commit: started.elapsed() })
    }

    fn report(&self, batch: &SealedBatch, committed: CommittedBatch) {
        let counts = batch.seal.counts;
        let bytes: usize = batch.usage.iter().chain(&batch.rejected).map(|file| file.add.size as usize).sum();
        self.metrics.committed(counts, bytes as u64, committed.commit, committed.upload);
        tracing::info!(
            version = committed.usage.version,
            attempts = committed.usage.attempts,
            messages = counts.messages,
            events = counts.events,
            rows = counts.rows,
            unmetered = counts.unmetered,
            rejected = counts.rejected,
            tombstones = counts.tombstones,
            skipped_offsets = counts.skipped_offsets,
            partitions = batch.seal.stretches.len(),
            files = batch.usage.len() + batch.rejected.len(),
            bytes,
            upload_ms = committed.upload.as_millis() as u64,
            commit_ms = committed.commit.as_millis() as u64,
            age_ms = batch.seal.opened.elapsed().as_millis() as u64,
            lag = self.metrics.lag(),
            "committed"
        );
    }
}

#[derive(Debug, Clone, Copy)]
struct CommittedBatch {
    usage: Committed,
    upload: std::time::Duration,
    commit: std::time::Duration,
}

fn adds(files: &[FinishedFile]) -> Vec<Action> {
    files.iter().map(|file| Action::Add(file.add.clone())).collect()
}

/// Only partitions with new rejects move in the reject table: most batches have none and skip its commit.
fn rejected_commit(batch: &SealedBatch) -> Commit {
    let with_rejects = batch.seal.stretches.iter().filter(|stretch| stretch.rejects_recorded > 0);
    let positions = with_rejects.flat_map(|stretch| {
        let position = stretch.name.application().map(|application| Position {
            application,
            expected: stretch.rejects_expected,
            next: stretch.rejects_next(),
        });
        let rounds = stretch.rounds_next().zip(stretch.name.rounds_application());
        let rounds = rounds.map(|(next, application)| Position {
            application,
            expected: stretch.rounds_expected,
            next,
        });
        position.into_iter().chain(rounds)
    });
    Commit {
        operation: "WRITE",
        parameters: HashMap::from([("mode".to_owned(), json!("Append"))]),
        positions: positions.collect(),
        actions: adds(&batch.rejected),
        notes: HashMap::new(),
    }
}

fn usage_commit(batch: &SealedBatch) -> Commit {
    let positions = batch.seal.stretches.iter().filter_map(|stretch| {
        let application = stretch.name.application()?;
        Some(Position { application, expected: stretch.expected, next: stretch.end })
    });
    let stretches: Vec<_> = batch.seal.stretches.iter().map(stretch_note).collect();
    Commit {
        operation: "WRITE",
        parameters: HashMap::from([("mode".to_owned(), json!("Append"))]),
        positions: positions.collect(),
        actions: adds(&batch.usage),
        notes: HashMap::from([("meterhouseStretches".to_owned(), json!(stretches))]),
    }
}

/// What the commit says of a stretch, so that every offset can be accounted for from the log alone.
fn stretch_note(stretch: &Stretch) -> serde_json::Value {
    let Counts { messages, events, rows, unmetered, rejected, tombstones, skipped_offsets } = stretch.counts;
    json!({
        "topic": &*stretch.name.topic,
        "partition": stretch.name.partition,
        "start": stretch.start,
        "end": stretch.end,
        "messages": messages,
        "events": events,
        "rows": rows,
        "unmetered": unmetered,
        "rejected": rejected,
        "tombstones": tombstones,
        "skippedOffsets": skipped_offsets,
    })
}
