//! One side of the ingest benchmark, in a process of its own: it says on standard output what it took.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use ::ingest::kafka::{KafkaSource, ingest_kafka};
use ::ingest::metrics::Metrics;
use ::ingest::pipeline::IngestRun;
use ::ingest::settings::IngestSettings;
use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};
use rating::catalog::Catalog;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use serde::{Deserialize, Serialize};
use sql::lake::Lake;

use super::ingest::CATALOG;
use super::usage::{NOTING, Stopwatch, ThreadTimes, memory_peak_mib};
use crate::cli::runtime;
use crate::ingest::FREED_MEMORY_KEPT;
use crate::memory::keep_freed_memory;

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Side {
    /// The least that any consumer does: take each message and look at its length.
    Bare,
    Ingest,
}

impl Side {
    pub fn name(self) -> &'static str {
        match self {
            Self::Bare => "bare",
            Self::Ingest => "ingest",
        }
    }
}

#[derive(Debug, Clone, Args)]
pub(super) struct IngestSide {
    side: Side,
    #[arg(long)]
    kafka: String,
    #[arg(long)]
    topic: String,
    #[arg(long)]
    partitions: i32,
    #[arg(long)]
    messages: u64,
}

/// What a side took.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Measured {
    pub wall_s: f64,
    pub cpu_s: f64,
    pub memory_mib: f64,
    /// Processor time by what the threads are there for.
    pub stages_cpu_s: BTreeMap<String, f64>,
}

impl IngestSide {
    pub fn run(&self) -> Result<()> {
        let threads = ThreadTimes::start();
        let watch = Stopwatch::start();
        match self.side {
            Side::Bare => self.count_only()?,
            Side::Ingest => self.ingest()?,
        }
        let taken = watch.taken();
        let mut stages_cpu_s: BTreeMap<String, f64> = BTreeMap::new();
        let mut noting_cpu_s = 0.0;
        for (thread, cpu_s) in threads.finish() {
            if thread == NOTING {
                noting_cpu_s += cpu_s;
                continue;
            }
            *stages_cpu_s.entry(self.stage(&thread).to_owned()).or_default() += cpu_s;
        }
        let memory_mib = memory_peak_mib();
        let cpu_s = taken.cpu_s - noting_cpu_s;
        let measured = Measured { wall_s: taken.wall_s, cpu_s, memory_mib, stages_cpu_s };
        println!("{}", serde_json::to_string(&measured)?);
        Ok(())
    }

    /// What a thread of this name is there for. The main thread bears the program's name.
    fn stage(&self, thread: &str) -> &'static str {
        match thread {
            "encode" => "encode Parquet",
            "commit" | "tokio-rt-worker" => "store and commit",
            name if name.starts_with("rdk:") => "fetch (librdkafka)",
            _ if self.side == Side::Bare => "take each message",
            _ => "take and decode each message",
        }
    }

    fn count_only(&self) -> Result<()> {
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", &self.kafka)
            .set("group.id", "bench-bare")
            .set("enable.auto.commit", "false")
            .set("isolation.level", "read_committed")
            .set("queued.min.messages", "500000")
            .set("queued.max.messages.kbytes", "131072")
            .set("fetch.message.max.bytes", "4194304")
            .create()?;
        let mut list = TopicPartitionList::new();
        for partition in 0..self.partitions {
            list.add_partition_offset(&self.topic, partition, Offset::Beginning)?;
        }
        consumer.assign(&list)?;
        let (mut seen, mut bytes) = (0u64, 0usize);
        let mut last = Instant::now();
        while seen < self.messages {
            match consumer.poll(Duration::from_millis(100)) {
                Some(message) => {
                    bytes += rdkafka::Message::payload(&message?).map_or(0, <[u8]>::len);
                    seen += 1;
                    last = Instant::now();
                }
                None if last.elapsed() > Duration::from_secs(30) => {
                    bail!("the broker stopped after {seen} messages of {bytes} bytes");
                }
                None => {}
            }
        }
        Ok(())
    }

    fn ingest(&self) -> Result<()> {
        keep_freed_memory(FREED_MEMORY_KEPT);
        let folder = tempfile::tempdir()?;
        let runtime = runtime()?;
        let run = IngestRun {
            lake: Lake::open(&folder.path().to_string_lossy())?,
            catalog: Catalog::parse(CATALOG, "redline.yaml")?,
            settings: IngestSettings::default(),
            metrics: Arc::new(Metrics::default()),
            runtime: runtime.handle().clone(),
            stop: Arc::new(AtomicBool::new(false)),
        };
        let source = KafkaSource {
            brokers: self.kafka.clone(),
            topics: vec![self.topic.clone()],
            group: format!("bench-{}", uuid::Uuid::new_v4()),
            until_end: true,
            accepted_gaps: Vec::new(),
            properties: Vec::new(),
        };
        let report = ingest_kafka(&run, &source).context("ingest failed")?;
        if report.counts.events != self.messages {
            bail!("{} events landed, {} were sent", report.counts.events, self.messages);
        }
        Ok(())
    }
}
