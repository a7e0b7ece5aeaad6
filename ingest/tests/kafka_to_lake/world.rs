//! A cluster, a producer and a lake.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use ingest::batch::PartitionName;
use ingest::kafka::{AcceptedGap, KafkaSource, ingest_kafka};
use ingest::metrics::Metrics;
use ingest::pipeline::{IngestError, IngestReport, IngestRun};
use ingest::rejects::{RejectQuery, RejectSample, rejects};
use ingest::settings::IngestSettings;
use rating::catalog::Catalog;
use rdkafka::ClientConfig;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseProducer, BaseRecord, DefaultProducerContext, Producer};
use sql::lake::{Lake, Table, TableSnapshot};

pub const CATALOG: &str = "
catalog: test
meters:
  stored:
    kind: gauge
    event_type: stored
    value: $.bytes
    unit: byte
";

pub struct World {
    pub brokers: String,
    pub group: String,
    pub cluster: Option<MockCluster<'static, DefaultProducerContext>>,
    producer: BaseProducer,
    pub runtime: tokio::runtime::Runtime,
    folder: tempfile::TempDir,
}

impl World {
    pub fn new(topics: &[(&str, i32)]) -> Self {
        let cluster = MockCluster::new(1).unwrap();
        for (topic, partitions) in topics {
            cluster.create_topic(topic, *partitions, 1).unwrap();
        }
        Self::on(&cluster.bootstrap_servers(), Some(cluster))
    }

    /// A world whose brokers are these.
    pub fn on(brokers: &str, cluster: Option<MockCluster<'static, DefaultProducerContext>>) -> Self {
        let producer = ClientConfig::new()
            .set("bootstrap.servers", brokers)
            .set("message.max.bytes", "40000000")
            .create()
            .unwrap();
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let (brokers, group) = (brokers.to_owned(), "meterhouse".to_owned());
        Self { brokers, group, cluster, producer, runtime, folder: tempfile::tempdir().unwrap() }
    }

    pub fn produce(&self, topic: &str, partition: i32, payload: &str) {
        self.produce_all([(topic, partition, payload.to_owned())]);
    }

    pub fn produce_all<'t>(&self, messages: impl IntoIterator<Item = (&'t str, i32, String)>) {
        for (topic, partition, payload) in messages {
            self.send(BaseRecord::to(topic).partition(partition).payload(payload.as_bytes()));
        }
        self.flush();
    }

    pub fn send(&self, record: BaseRecord<'_, [u8], [u8]>) {
        self.producer.send(record).map_err(|(error, _)| error).unwrap();
    }

    pub fn flush(&self) {
        self.producer.flush(Duration::from_mins(1)).unwrap();
    }

    pub fn lake(&self) -> Lake {
        Lake::open(self.folder.path().to_str().unwrap()).unwrap()
    }

    pub fn run(&self) -> IngestRun {
        IngestRun {
            lake: self.lake(),
            catalog: Catalog::parse(CATALOG, "test.yaml").unwrap(),
            settings: IngestSettings::default(),
            metrics: Arc::new(Metrics::default()),
            runtime: self.runtime.handle().clone(),
            stop: Arc::new(AtomicBool::new(false)),
        }
    }

    pub fn source(&self, topics: &[&str], gaps: Vec<AcceptedGap>) -> KafkaSource {
        KafkaSource {
            brokers: self.brokers.clone(),
            topics: topics.iter().map(|topic| (*topic).to_owned()).collect(),
            group: self.group.clone(),
            until_end: true,
            accepted_gaps: gaps,
            // The mock cluster only notices that a member left when its session times out.
            properties: vec![
                ("session.timeout.ms".into(), "6000".into()),
                ("heartbeat.interval.ms".into(), "500".into()),
            ],
        }
    }

    pub fn ingest(&self, topics: &[&str], gaps: Vec<AcceptedGap>) -> Result<IngestReport, IngestError> {
        ingest_kafka(&self.run(), &self.source(topics, gaps))
    }

    /// How far the lake has read a partition.
    pub fn position(&self, topic: &str, partition: i32) -> Option<i64> {
        let handle = self.lake().table(Table::UsageEvents);
        let name = PartitionName { topic: topic.into(), partition };
        let (_, positions) = self.runtime.block_on(handle.positions()).unwrap();
        positions.get(&name.application().unwrap()).copied()
    }

    pub fn snapshot(&self, table: Table) -> TableSnapshot {
        self.runtime.block_on(self.lake().table(table).snapshot(None)).unwrap()
    }

    /// The one reject that there is.
    pub fn only_reject(&self) -> RejectSample {
        let query = RejectQuery { samples: 2, preview_characters: 1_000, ..RejectQuery::default() };
        let mut summaries = self.runtime.block_on(rejects(&self.lake(), &query)).unwrap();
        assert_eq!((summaries.len(), summaries[0].count), (1, 1), "{summaries:?}");
        assert_eq!(summaries[0].reason, "invalid_utf8");
        summaries.remove(0).samples.remove(0)
    }

    pub fn rows(&self, table: Table) -> u64 {
        self.snapshot(table).files.iter().map(|file| file.rows).sum()
    }
}

pub fn event(id: u32) -> String {
    format!(
        r#"{{"specversion":"1.0","id":"{id}","source":"/test","type":"stored","subject":"acme",
            "time":"2026-05-{:02}T00:00:00Z","data":{{"bytes":{id}}}}}"#,
        id % 3 + 1
    )
}
