//! The three threads of an ingest process and what joins them.
//!
//! A source (Kafka or files) runs on the caller's thread: it reads messages and decodes them. Two more
//! threads encode and commit. The channels between them are short, so memory stays bounded however far
//! ingest lags behind: whoever is slowest makes the others wait.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, bounded, unbounded};
use parquet::errors::ParquetError;
use rating::catalog::Catalog;
use sql::lake::{Lake, Table};
use tokio::sync::Mutex;

use crate::batch::{Batcher, Counts, EncodedBytes, EncoderStopped};
use crate::commit::{CommitError, TableLog};
use crate::committer::{Committer, LakeLogs, Outcome};
use crate::encoder::encode;
use crate::encoder_queue::encoder_queue;
use crate::metrics::Metrics;
use crate::settings::IngestSettings;

/// Chunks of rows that may wait for the encoder.
const CHUNKS_WAITING: usize = 32;
/// So many bytes of them at most.
const BYTES_WAITING: usize = 128 * 1024 * 1024;
/// How often whoever waits for a commit looks whether the other threads still work.
const STOPPED_LOOK: Duration = Duration::from_millis(100);

/// Why ingest stopped short.
#[derive(Debug, thiserror::Error)]
pub enum IngestError {
    #[error("cannot commit to the lake")]
    Commit(#[from] CommitError),
    #[error("cannot encode Parquet")]
    Encode(#[from] ParquetError),
    #[error("Kafka: {what}")]
    Kafka {
        what: String,
        #[source]
        source: rdkafka::error::KafkaError,
    },
    #[error(transparent)]
    Gap(#[from] crate::kafka::OffsetGap),
    #[error("cannot read {name}")]
    File {
        name: String,
        #[source]
        source: std::io::Error,
    },
    #[error("{0}")]
    Setting(String),
    #[error("the {0} thread stopped without saying why")]
    Thread(&'static str),
}

impl From<EncoderStopped> for IngestError {
    fn from(_: EncoderStopped) -> Self {
        Self::Thread("encoding")
    }
}

/// What an ingest run did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct IngestReport {
    pub counts: Counts,
    pub commits: u64,
    /// The newest version of `usage_events` that the run wrote.
    pub version: Option<u64>,
}

/// What a source needs besides its messages.
#[derive(Debug)]
pub struct Pipeline {
    pub batcher: Batcher,
    pub outcomes: Receiver<Outcome>,
    pub logs: Arc<Mutex<LakeLogs>>,
    pub generation: Arc<AtomicU64>,
    pub metrics: Arc<Metrics>,
    pub runtime: tokio::runtime::Handle,
    /// Set from outside to end the run after a last commit.
    pub stop: Arc<AtomicBool>,
    pub report: IngestReport,
    encoder: JoinHandle<Result<(), ParquetError>>,
    committer: JoinHandle<()>,
}

/// Everything that a run is given.
#[derive(Debug, Clone)]
pub struct IngestRun {
    pub lake: Lake,
    pub catalog: Catalog,
    pub settings: IngestSettings,
    pub metrics: Arc<Metrics>,
    pub runtime: tokio::runtime::Handle,
    pub stop: Arc<AtomicBool>,
}

impl Pipeline {
    /// Opens the lake's tables and starts the threads. Must not be called on a thread of the runtime.
    pub fn start(run: &IngestRun) -> Result<Self, IngestError> {
        let logs = run.runtime.block_on(async {
            let usage = TableLog::open(run.lake.table(Table::UsageEvents)).await?;
            let rejected = TableLog::open(run.lake.table(Table::RejectedMessages)).await?;
            Ok::<_, CommitError>(Arc::new(Mutex::new(LakeLogs { usage, rejected })))
        })?;
        let generation = Arc::new(AtomicU64::new(0));
        let encoded_bytes = EncodedBytes::default();
        let (to_encoder, from_batcher) = encoder_queue(CHUNKS_WAITING, BYTES_WAITING);
        let (to_committer, from_encoder) = bounded(1);
        // A source may be slow to look, and the committer must never wait for it.
        let (to_source, outcomes) = unbounded();
        let encoder = {
            let encoded_bytes = Arc::clone(&encoded_bytes);
            // Each day may have a file of usage and one of corrections.
            let open_files_max = 2 * run.settings.open_days_max.max(1);
            spawn("encode", move || encode(&from_batcher, &to_committer, encoded_bytes, open_files_max))
        };
        let committer = Committer {
            logs: Arc::clone(&logs),
            generation: Arc::clone(&generation),
            metrics: Arc::clone(&run.metrics),
            runtime: run.runtime.clone(),
        };
        let committer = spawn("commit", move || committer.run(&from_encoder, &to_source));
        Ok(Self {
            batcher: Batcher::new(&run.catalog, &run.settings, to_encoder, encoded_bytes),
            outcomes,
            logs,
            generation,
            metrics: Arc::clone(&run.metrics),
            runtime: run.runtime.clone(),
            stop: Arc::clone(&run.stop),
            report: IngestReport::default(),
            encoder,
            committer,
        })
    }

    pub fn should_stop(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    pub fn seal(&mut self) -> Result<(), EncoderStopped> {
        self.batcher.seal(self.generation.load(Ordering::SeqCst), today(), None)
    }

    /// Ends the batch and waits until everything read so far is committed or dropped.
    pub fn seal_and_wait(&mut self) -> Result<(), EncoderStopped> {
        let (done, is_done) = bounded(1);
        self.batcher.seal(self.generation.load(Ordering::SeqCst), today(), Some(done))?;
        // A thread that stopped leaves what waits in its channel unanswered; then the outcome, or the next
        // send, says why.
        while is_done.recv_timeout(STOPPED_LOOK) == Err(RecvTimeoutError::Timeout) {
            if self.encoder.is_finished() || self.committer.is_finished() {
                break;
            }
        }
        Ok(())
    }

    /// Adds a landed commit to the report.
    pub fn note_commit(&mut self, version: u64, counts: Counts) {
        self.report.counts.add(counts);
        self.report.commits += 1;
        self.report.version = Some(version);
    }

    /// Waits for the threads to finish what they have, and says how the run went.
    pub fn finish(mut self, source: Result<(), IngestError>) -> Result<IngestReport, IngestError> {
        let ended = match source {
            Ok(()) => self.seal().map_err(IngestError::from),
            Err(error) => Err(error),
        };
        drop(self.batcher);
        let encoded = self.encoder.join().map_err(|_| IngestError::Thread("encoding"))?;
        self.committer.join().map_err(|_| IngestError::Thread("committing"))?;
        self.runtime.block_on(async {
            let mut logs = self.logs.lock().await;
            logs.usage.settle().await;
            logs.rejected.settle().await;
        });
        for outcome in self.outcomes.try_iter() {
            match outcome {
                Outcome::Committed { version, counts, .. } => {
                    self.report.counts.add(counts);
                    self.report.commits += 1;
                    self.report.version = Some(version);
                }
                Outcome::Failed(error) => return Err(error.into()),
                // The other writer reads on from where the tables stand.
                Outcome::Fenced(error) => tracing::warn!(%error, "the last batch was dropped"),
            }
        }
        encoded?;
        ended.map(|()| self.report)
    }
}

fn spawn<T: Send + 'static>(name: &str, work: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
    std::thread::Builder::new().name(name.to_owned()).spawn(work).expect("the system can start a thread")
}

/// Microseconds since 1970 UTC.
pub fn now_us() -> i64 {
    jiff::Timestamp::now().as_microsecond()
}

fn today() -> i32 {
    crate::timestamp::day_of(now_us())
}
