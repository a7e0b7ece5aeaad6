//! Ingest from a real broker, against a bare consumer of the same messages.
//!
//! Each side runs in a process of its own (`ingest_side`), so that neither its memory nor its processor time holds
//! anything of the producer's or of the other's.

use std::collections::{BTreeMap, BTreeSet};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use clap::Args;
use rating::catalog::Catalog;
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;

use super::ingest_side::{Measured, Side};
use super::{median, shown};
use crate::cli::runtime;
use crate::config::KafkaConfig;
use crate::generate::{Kafka, Shape, Share, count, generate};
use crate::output::Rows;

pub(super) const CATALOG: &str = include_str!("../../../testdata/catalogs/redline.yaml");
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
        let topic = format!("bench-{}", uuid::Uuid::new_v4());
        runtime()?.block_on(self.create_topic(&topic))?;
        let catalog = Catalog::parse(CATALOG, "redline.yaml")?;
        let messages = self.produce(&catalog, &topic)?;
        let (mut bare, mut ours) = (Vec::new(), Vec::new());
        for _ in 0..self.rounds {
            bare.push(self.measure(Side::Bare, &topic, messages)?);
            ours.push(self.measure(Side::Ingest, &topic, messages)?);
        }
        let ratios = bare.iter().zip(&ours).map(|(bare, ours)| bare.wall_s / ours.wall_s).collect();
        let mut rows = Rows::new(&[
            "side",
            "messages",
            "per_second",
            "per_cpu_second",
            "cpu_us_each",
            "of_bare",
            "memory_mib",
        ]);
        for (side, measured, ratio) in
            [("bare consumer", &bare, 1.0), ("meterhouse ingest", &ours, median(ratios))]
        {
            let (wall_s, cpu_s) = (middle(measured, |it| it.wall_s), middle(measured, |it| it.cpu_s));
            let count = messages as f64;
            rows.push(vec![
                side.into(),
                messages.into(),
                shown(count / wall_s, 0),
                shown(count / cpu_s, 0),
                shown(cpu_s / count * 1e6, 2),
                shown(ratio, 2),
                shown(measured.iter().map(|it| it.memory_mib).fold(0.0, f64::max), 0),
            ]);
            for stage in stages(measured) {
                let cpu_s = middle(measured, |it| it.stages_cpu_s.get(&stage).copied().unwrap_or(0.0));
                let mut row = vec![serde_json::Value::Null; 7];
                (row[0], row[4]) = (format!("  {stage}").into(), shown(cpu_s / count * 1e6, 2));
                rows.push(row);
            }
        }
        Ok(rows)
    }

    /// Runs one side in a process of its own.
    fn measure(&self, side: Side, topic: &str, messages: u64) -> Result<Measured> {
        let output = Command::new(std::env::current_exe()?)
            .args(["bench", "ingest-side", side.name(), "--kafka", &self.kafka, "--topic", topic])
            .args(["--partitions", &self.partitions.to_string(), "--messages", &messages.to_string()])
            .env("METERHOUSE_LOG", "warn")
            .stderr(Stdio::inherit())
            .output()
            .context("cannot start a process to measure")?;
        if !output.status.success() {
            bail!("the side {} failed, {}", side.name(), output.status);
        }
        serde_json::from_slice(&output.stdout).context("a side did not say what it measured")
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
}

fn middle(measured: &[Measured], pick: impl Fn(&Measured) -> f64) -> f64 {
    median(measured.iter().map(pick).collect())
}

fn stages(measured: &[Measured]) -> BTreeSet<String> {
    measured.iter().flat_map(|it| it.stages_cpu_s.keys().cloned()).collect()
}
