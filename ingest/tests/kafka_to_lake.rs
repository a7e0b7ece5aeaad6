//! From a real Kafka producer through the real consumer into a lake, on librdkafka's own mock cluster.

mod raw_produce;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use ingest::decode::DecodeLimits;
use ingest::kafka::{AcceptedGap, KafkaSource, ingest_kafka};
use ingest::metrics::Metrics;
use ingest::pipeline::{IngestError, IngestReport, IngestRun, now_us};
use ingest::rejects::{RejectFilter, RejectQuery, RejectSample, rejects};
use ingest::replay::{ReplayRequest, replay};
use ingest::settings::IngestSettings;
use rating::catalog::Catalog;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseProducer, BaseRecord, DefaultProducerContext, Producer};
use sql::lake::{Lake, Table, TableSnapshot};

const CATALOG: &str = "
catalog: test
meters:
  stored:
    kind: gauge
    event_type: stored
    value: $.bytes
    unit: byte
";

struct World {
    cluster: MockCluster<'static, DefaultProducerContext>,
    producer: BaseProducer,
    runtime: tokio::runtime::Runtime,
    folder: tempfile::TempDir,
}

impl World {
    fn new(topics: &[(&str, i32)]) -> Self {
        let cluster = MockCluster::new(1).unwrap();
        for (topic, partitions) in topics {
            cluster.create_topic(topic, *partitions, 1).unwrap();
        }
        let producer = rdkafka::ClientConfig::new()
            .set("bootstrap.servers", cluster.bootstrap_servers())
            .create()
            .unwrap();
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        Self { cluster, producer, runtime, folder: tempfile::tempdir().unwrap() }
    }

    fn produce(&self, topic: &str, partition: i32, payload: &str) {
        let record = BaseRecord::<(), str>::to(topic).partition(partition).payload(payload);
        self.producer.send(record).map_err(|(error, _)| error).unwrap();
        self.producer.flush(Duration::from_secs(10)).unwrap();
    }

    fn lake(&self) -> Lake {
        Lake::open(self.folder.path().to_str().unwrap()).unwrap()
    }

    fn ingest(&self, topics: &[&str], gaps: Vec<AcceptedGap>) -> Result<IngestReport, IngestError> {
        let run = IngestRun {
            lake: self.lake(),
            catalog: Catalog::parse(CATALOG, "test.yaml").unwrap(),
            settings: IngestSettings::default(),
            metrics: Arc::new(Metrics::default()),
            runtime: self.runtime.handle().clone(),
            stop: Arc::new(AtomicBool::new(false)),
        };
        let source = KafkaSource {
            brokers: self.cluster.bootstrap_servers(),
            topics: topics.iter().map(|topic| (*topic).to_owned()).collect(),
            group: "meterhouse".to_owned(),
            until_end: true,
            accepted_gaps: gaps,
            // The mock cluster only notices that a member left when its session times out.
            properties: vec![
                ("session.timeout.ms".into(), "6000".into()),
                ("heartbeat.interval.ms".into(), "500".into()),
            ],
        };
        ingest_kafka(&run, &source)
    }

    fn snapshot(&self, table: Table) -> TableSnapshot {
        self.runtime.block_on(self.lake().table(table).snapshot(None)).unwrap()
    }

    /// The one reject that there is.
    fn only_reject(&self) -> RejectSample {
        let query = RejectQuery { samples: 2, preview_characters: 1_000, ..RejectQuery::default() };
        let mut summaries = self.runtime.block_on(rejects(&self.lake(), &query)).unwrap();
        assert_eq!((summaries.len(), summaries[0].count), (1, 1), "{summaries:?}");
        assert_eq!(summaries[0].reason, "invalid_utf8");
        summaries.remove(0).samples.remove(0)
    }

    fn rows(&self, table: Table) -> u64 {
        self.snapshot(table).files.iter().map(|file| file.rows).sum()
    }
}

fn event(id: u32) -> String {
    format!(
        r#"{{"specversion":"1.0","id":"{id}","source":"/test","type":"stored","subject":"acme",
            "time":"2026-05-{:02}T00:00:00Z","data":{{"bytes":{id}}}}}"#,
        id % 3 + 1
    )
}

#[test]
fn every_message_lands_once_however_often_ingest_runs() {
    let world = World::new(&[("usage", 4), ("more", 1)]);
    for id in 0..40 {
        world.produce("usage", (id % 4) as i32, &event(id));
    }
    world.produce("more", 0, &event(100));
    world.produce("more", 0, "no event");
    let report = world.ingest(&["usage", "more"], vec![]).unwrap();
    assert_eq!((report.counts.messages, report.counts.events, report.counts.rejected), (42, 41, 1));
    assert_eq!((world.rows(Table::UsageEvents), world.rows(Table::RejectedMessages)), (41, 1));
    let days: Vec<i32> = world.snapshot(Table::UsageEvents).files.iter().map(|file| file.day).collect();
    assert_eq!(days, [20_574, 20_575, 20_576]);

    let report = world.ingest(&["usage", "more"], vec![]).unwrap();
    assert_eq!(report, IngestReport::default());

    world.produce("usage", 2, &event(101));
    let report = world.ingest(&["usage", "more"], vec![]).unwrap();
    assert_eq!((report.counts.messages, report.commits), (1, 1));
    assert_eq!(world.rows(Table::UsageEvents), 42);
}

#[test]
fn a_topic_made_anew_stops_ingest_until_the_gap_is_accepted() {
    let mut world = World::new(&[("usage", 1)]);
    for id in 0..10 {
        world.produce("usage", 0, &event(id));
    }
    world.produce("usage", 0, "no event");
    world.ingest(&["usage"], vec![]).unwrap();

    let anew = World::new(&[("usage", 1)]);
    anew.produce("usage", 0, &event(50));
    anew.produce("usage", 0, "no event either");
    world.cluster = anew.cluster;
    let error = world.ingest(&["usage"], vec![]).unwrap_err();
    let IngestError::Gap(gap) = &error else { panic!("{error:?}") };
    assert_eq!((gap.expected, gap.first, gap.end), (11, 0, 2));
    let flag = error.to_string().split("--accept-gap ").nth(1).unwrap().to_owned();
    assert_eq!(world.rows(Table::UsageEvents), 10);

    let report = world.ingest(&["usage"], vec![flag.parse().unwrap()]).unwrap();
    assert_eq!(report.counts.messages, 2);
    // Rejects of the old topic, whose offsets were higher, do not hide those of the new one.
    assert_eq!((world.rows(Table::UsageEvents), world.rows(Table::RejectedMessages)), (11, 2));

    // The gap is behind us, whether the flag is still given or not.
    for gaps in [vec![flag.parse().unwrap()], vec![]] {
        assert_eq!(world.ingest(&["usage"], gaps).unwrap(), IngestReport::default());
    }
}

/// A name that is not text panics in the library that reads it.
#[test]
fn a_header_whose_name_is_not_text_makes_a_reject() {
    let world = World::new(&[("usage", 1)]);
    let content_type = (&b"content-type"[..], &b"application/cloudevents+json"[..]);
    let broker = world.cluster.bootstrap_servers();
    let produce = |headers: &[(&[u8], &[u8])], id| {
        raw_produce::produce(&broker, "usage", 0, headers, event(id).as_bytes());
    };
    produce(&[content_type], 0);
    produce(&[(b"x-\xff", b"1"), content_type], 1);
    produce(&[content_type], 2);
    let report = world.ingest(&["usage"], vec![]).unwrap();
    assert_eq!((report.counts.messages, report.counts.events, report.counts.rejected), (3, 2, 1));

    let sample = world.only_reject();
    assert_eq!((sample.offset, sample.preview.as_str()), (1, event(1).replace('\n', "\\n").as_str()));
    assert_eq!(sample.detail, "the name of one of the message's headers is not UTF-8");
    // It is kept with what could be read of its headers, and a replay comes to the same end.
    let request = ReplayRequest {
        filter: RejectFilter::default(),
        include_uncommitted: false,
        dry_run: false,
        limits: DecodeLimits::default(),
        now_us: now_us(),
    };
    let catalog = Catalog::parse(CATALOG, "test.yaml").unwrap();
    let replayed = world.runtime.block_on(replay(&world.lake(), &catalog, &request, |_| ())).unwrap();
    assert_eq!((replayed.selected, replayed.events), (1, 0));
    assert_eq!(world.only_reject(), sample);
}
