//! What ingest tells Prometheus.

use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

use crate::batch::{Counts, PartitionName};

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PartitionLabels {
    topic: String,
    partition: i32,
}

/// Counters of one ingest process.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    messages: Counter,
    events: Counter,
    rows: Counter,
    unmetered: Counter,
    rejected: Counter,
    tombstones: Counter,
    skipped_offsets: Counter,
    commits: Counter,
    fenced: Counter,
    bytes: Counter,
    commit_seconds: Histogram,
    upload_seconds: Histogram,
    lag: Family<PartitionLabels, Gauge<i64, AtomicI64>>,
    lags: Mutex<HashMap<PartitionName, i64>>,
    /// How many offsets will be committed once everything is that was there when partitions were last taken.
    goal: AtomicU64,
}

impl Default for Metrics {
    fn default() -> Self {
        let seconds = || Histogram::new(exponential_buckets(0.002, 2.0, 14));
        let mut metrics = Self {
            registry: Registry::with_prefix("meterhouse_ingest"),
            messages: Counter::default(),
            events: Counter::default(),
            rows: Counter::default(),
            unmetered: Counter::default(),
            rejected: Counter::default(),
            tombstones: Counter::default(),
            skipped_offsets: Counter::default(),
            commits: Counter::default(),
            fenced: Counter::default(),
            bytes: Counter::default(),
            commit_seconds: seconds(),
            upload_seconds: seconds(),
            lag: Family::default(),
            lags: Mutex::default(),
            goal: AtomicU64::new(0),
        };
        metrics.register();
        metrics
    }
}

impl Metrics {
    fn register(&mut self) {
        let counters = [
            ("messages", "Messages committed, of whatever kind", &self.messages),
            ("events", "Usage events committed", &self.events),
            ("rows", "Rows of usage_events committed", &self.rows),
            ("unmetered_events", "Events committed that no meter takes", &self.unmetered),
            ("rejected", "Messages and batch elements rejected", &self.rejected),
            ("tombstones", "Messages without a value", &self.tombstones),
            ("skipped_offsets", "Offsets that held no message for us", &self.skipped_offsets),
            ("commits", "Commits to the lake", &self.commits),
            ("fenced", "Batches dropped because another writer took over", &self.fenced),
            ("stored_bytes", "Bytes of Parquet stored", &self.bytes),
        ];
        for (name, help, counter) in counters {
            self.registry.register(name, help, counter.clone());
        }
        let (commit, upload) = (self.commit_seconds.clone(), self.upload_seconds.clone());
        self.registry.register_with_unit("commit", "Time to commit a batch", Unit::Seconds, commit);
        self.registry.register_with_unit("upload", "Time to store a batch's files", Unit::Seconds, upload);
        self.registry.register("lag", "Messages in the partition that are not read yet", self.lag.clone());
    }

    pub fn committed(&self, counts: Counts, bytes: u64, commit: Duration, upload: Duration) {
        self.messages.inc_by(counts.messages);
        self.events.inc_by(counts.events);
        self.rows.inc_by(counts.rows);
        self.unmetered.inc_by(counts.unmetered);
        self.rejected.inc_by(counts.rejected);
        self.tombstones.inc_by(counts.tombstones);
        self.skipped_offsets.inc_by(counts.skipped_offsets);
        self.commits.inc();
        self.bytes.inc_by(bytes);
        self.commit_seconds.observe(commit.as_secs_f64());
        self.upload_seconds.observe(upload.as_secs_f64());
    }

    /// Messages committed so far.
    pub fn messages(&self) -> u64 {
        self.messages.get()
    }

    /// Offsets committed so far: messages, and those that held none.
    pub fn offsets(&self) -> u64 {
        self.messages.get() + self.skipped_offsets.get()
    }

    /// So many offsets are there to be read from now on.
    pub fn expect(&self, offsets: u64) {
        self.goal.store(self.offsets() + offsets, Ordering::Relaxed);
    }

    /// What `offsets` will be when everything is committed that was there at the start; 0 before that is known.
    pub fn goal(&self) -> u64 {
        self.goal.load(Ordering::Relaxed)
    }

    pub fn fenced(&self) {
        self.fenced.inc();
    }

    pub fn set_lag(&self, name: &PartitionName, lag: i64) {
        let labels = PartitionLabels { topic: name.topic.to_string(), partition: name.partition };
        self.lag.get_or_create(&labels).set(lag);
        self.lags.lock().unwrap_or_else(PoisonError::into_inner).insert(name.clone(), lag);
    }

    /// Partitions that this process no longer reads are another's to report.
    pub fn forget_lags(&self) {
        self.lag.clear();
        self.lags.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Messages not read yet, over all partitions that are ours.
    pub fn lag(&self) -> i64 {
        self.lags.lock().unwrap_or_else(PoisonError::into_inner).values().sum()
    }

    /// The text that Prometheus scrapes.
    pub fn text(&self) -> String {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry)
            .expect("a string takes all text");
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_names_what_was_counted() {
        let metrics = Metrics::default();
        let counts = Counts { messages: 7, events: 5, ..Counts::default() };
        metrics.committed(counts, 100, Duration::from_millis(5), Duration::from_millis(1));
        metrics.set_lag(&PartitionName { topic: "usage".into(), partition: 3 }, 42);
        let text = metrics.text();
        for line in [
            "meterhouse_ingest_messages_total 7",
            "meterhouse_ingest_lag{topic=\"usage\",partition=\"3\"} 42",
            "meterhouse_ingest_commit_seconds_count 1",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
        metrics.expect(10);
        assert_eq!((metrics.offsets(), metrics.goal()), (7, 17));
        metrics.forget_lags();
        assert_eq!(metrics.lag(), 0);
    }
}
