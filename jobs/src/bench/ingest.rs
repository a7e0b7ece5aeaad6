//! Ingest from a real broker, against a bare consumer of the same messages.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use ::ingest::kafka::{KafkaSource, ingest_kafka};
use ::ingest::metrics::Metrics;
use ::ingest::pipeline::IngestRun;
use ::ingest::settings::IngestSettings;
use anyhow::{Context, Result, bail};
use clap::Args;
use rating::catalog::Catalog;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use sql::lake::Lake;

use super::usage::{Stopwatch, Taken, memory_peak_mib, reset_memory_peak};
use super::{median, shown};
use crate::cli::runtime;
use crate::config::KafkaConfig;
use crate::generate::{Kafka, Shape, Share, count, generate};
use crate::output::Rows;

const CATALOG: &str = include_str!("../../../testdata/catalogs/redline.yaml");
const MONTH_START_US: i64 = 1_777_593_600_000_000;
const DAY_US: i64 = 86_400_000_000;

#[derive(Debug, Clone, Args)]
pub(super) struct IngestBench {
    /// The brokers to measure with
    #[arg(long, value_name = "BROKERS", env = "METERHOUSE_TEST_KAFKA")]
    kafka: String,
    /// How many events
    #[arg(long, value_name = "COUNT", default_value = "5e6", value_parser = count)]
    events: u64,
    /// How many partitions
    #[arg(long, value_name = "COUNT", default_value_t = 8)]
    partitions: i32,
    /// Bytes of an event
    #[arg(long, value_name = "BYTES", default_value_t = 350)]
    event_bytes: u64,
    /// How often each side runs
    #[arg(long, value_name = "COUNT", default_value_t = 3)]
    rounds: usize,
}

impl IngestBench {
    pub fn run(&self) -> Result<Rows> {
        let runtime = runtime()?;
        let topic = format!("bench-{}", uuid::Uuid::new_v4());
        runtime.block_on(self.create_topic(&topic))?;
        let catalog = Catalog::parse(CATALOG, "redline.yaml")?;
        let messages = self.produce(&catalog, &topic)?;
        let (mut bare, mut ours, mut memory) = (Vec::new(), Vec::new(), 0f64);
        for _ in 0..self.rounds {
            bare.push(self.count_only(&topic, messages)?);
            reset_memory_peak();
            ours.push(self.ingest(&runtime, &catalog, &topic, messages)?);
            memory = memory.max(memory_peak_mib());
        }
        let per = |taken: &[Taken], pick: fn(&Taken) -> f64| {
            median(taken.iter().map(|taken| messages as f64 / pick(taken)).collect())
        };
        let ratios = bare.iter().zip(&ours).map(|(bare, ours)| bare.wall_s / ours.wall_s).collect();
        let mut rows =
            Rows::new(&["side", "messages", "per_second", "per_cpu_second", "of_bare", "memory_mib"]);
        let mut row = |side: &str, taken: &[Taken], ratio: f64, memory: serde_json::Value| {
            let (wall, cpu) = (per(taken, |taken| taken.wall_s), per(taken, |taken| taken.cpu_s));
            rows.push(vec![
                side.into(),
                messages.into(),
                shown(wall, 0),
                shown(cpu, 0),
                shown(ratio, 2),
                memory,
            ]);
        };
        row("bare consumer", &bare, 1.0, serde_json::Value::Null);
        row("meterhouse ingest", &ours, median(ratios), shown(memory, 0));
        Ok(rows)
    }

    async fn create_topic(&self, topic: &str) -> Result<()> {
        let admin: AdminClient<DefaultClientContext> =
            ClientConfig::new().set("bootstrap.servers", &self.kafka).create()?;
        let new = NewTopic::new(topic, self.partitions, TopicReplication::Fixed(1));
        for result in admin.create_topics([&new], &AdminOptions::new()).await? {
            result.map_err(|(topic, error)| anyhow::anyhow!("cannot make the topic {topic}: {error}"))?;
        }
        Ok(())
    }

    fn produce(&self, catalog: &Catalog, topic: &str) -> Result<u64> {
        let shape = Shape {
            seed: 1,
            tenants: 1_000,
            resources: 5,
            events: self.events,
            start_us: MONTH_START_US,
            end_us: MONTH_START_US + 2 * DAY_US,
            duplicates: Share::default(),
            disorder: Share::default(),
            poison: Share::default(),
            event_bytes_min: self.event_bytes,
        };
        let kafka = KafkaConfig {
            brokers: vec![self.kafka.clone()],
            topics: vec![topic.to_owned()],
            group: String::new(),
            properties: BTreeMap::new(),
        };
        Ok(generate(catalog, shape, &mut Kafka::open(&kafka, topic)?)?.messages())
    }

    /// The least that any consumer does: take each message and look at its length.
    fn count_only(&self, topic: &str, messages: u64) -> Result<Taken> {
        let watch = Stopwatch::start();
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
            list.add_partition_offset(topic, partition, Offset::Beginning)?;
        }
        consumer.assign(&list)?;
        let (mut seen, mut bytes) = (0u64, 0usize);
        let mut last = Instant::now();
        while seen < messages {
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
        Ok(watch.taken())
    }

    fn ingest(
        &self,
        runtime: &tokio::runtime::Runtime,
        catalog: &Catalog,
        topic: &str,
        messages: u64,
    ) -> Result<Taken> {
        let folder = tempfile::tempdir()?;
        let run = IngestRun {
            lake: Lake::open(&folder.path().to_string_lossy())?,
            catalog: catalog.clone(),
            settings: IngestSettings::default(),
            metrics: Arc::new(Metrics::default()),
            runtime: runtime.handle().clone(),
            stop: Arc::new(AtomicBool::new(false)),
        };
        let source = KafkaSource {
            brokers: self.kafka.clone(),
            topics: vec![topic.to_owned()],
            group: format!("bench-{}", uuid::Uuid::new_v4()),
            until_end: true,
            accepted_gaps: Vec::new(),
            properties: Vec::new(),
        };
        let watch = Stopwatch::start();
        let report = ingest_kafka(&run, &source).context("ingest failed")?;
        let taken = watch.taken();
        if report.counts.events != messages {
            bail!("{} events landed, {messages} were sent", report.counts.events);
        }
        Ok(taken)
    }
}
