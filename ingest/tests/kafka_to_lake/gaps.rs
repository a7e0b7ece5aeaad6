//! Offsets that are gone: before the first start, between two, and while ingest reads.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use ingest::batch::PartitionName;
use ingest::commit::{Commit, Position, TableLog};
use ingest::kafka::{AcceptedGap, KafkaSource, OffsetGap, ingest_kafka};
use ingest::pipeline::{IngestError, IngestReport, IngestRun};
use ingest::settings::IngestSettings;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use sql::lake::Table;

use crate::world::{World, event};

const PATIENCE: Duration = Duration::from_mins(1);

fn gap_of(error: IngestError) -> (OffsetGap, AcceptedGap) {
    let flag = error.to_string().split("--accept-gap ").nth(1).unwrap_or_else(|| panic!("{error:?}")).parse();
    let IngestError::Gap(gap) = error else { panic!("{error:?}") };
    (gap, flag.unwrap())
}

/// So much that the mock cluster, which keeps 5 MB of a partition, drops what came first.
fn overflow(world: &World, topic: &str, partition: i32) {
    let text = format!("{{\"padding\":\"{}\"}}", "x".repeat(20_000));
    world.produce_all((0..400).map(|_| (topic, partition, text.clone())));
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
    (world.brokers, world.cluster) = (anew.brokers, anew.cluster);
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

/// Ends a run, so that the thread of a test that fails does not hold it up.
struct Stop(Arc<AtomicBool>);

impl Drop for Stop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// Reads a hundred messages and holds the last 30 of them for an hour; `meanwhile` is done then, and makes it end.
fn ingest_until_it_ends(
    world: &World,
    topic: &str,
    meanwhile: impl FnOnce(),
) -> Result<IngestReport, IngestError> {
    let settings =
        IngestSettings { flush_rows: 70, flush_age: Duration::from_hours(1), ..IngestSettings::default() };
    let run = IngestRun { settings, ..world.run() };
    let source = KafkaSource { until_end: false, ..world.source(&[topic], vec![]) };
    std::thread::scope(|scope| {
        let (running, source) = (run.clone(), &source);
        let ingest = scope.spawn(move || ingest_kafka(&running, source));
        let _stop = Stop(Arc::clone(&run.stop));
        let started = Instant::now();
        // All hundred are fetched and taken together.
        while run.metrics.messages() < 70 {
            assert!(started.elapsed() < PATIENCE && !ingest.is_finished(), "{}", run.metrics.text());
            std::thread::sleep(Duration::from_millis(10));
        }
        meanwhile();
        while !ingest.is_finished() {
            assert!(started.elapsed() < 2 * PATIENCE, "ingest goes on although messages are gone");
            std::thread::sleep(Duration::from_millis(10));
        }
        ingest.join().unwrap()
    })
}

/// What is in hand when messages behind it are gone was read, and may be gone as well by now.
fn a_gap_met_while_reading(world: &World, topic: &str, meanwhile: impl FnOnce()) {
    let (gap, flag) = gap_of(ingest_until_it_ends(world, topic, meanwhile).unwrap_err());
    assert_eq!(gap.expected, 100);
    assert!(gap.first > 100, "{gap}");
    assert_eq!((world.rows(Table::UsageEvents), world.position(topic, 0)), (100, Some(100)));
    // The very gap that was said is accepted.
    let report = world.ingest(&[topic], vec![flag]).unwrap();
    assert_eq!(report.counts.messages as i64, gap.end - gap.first);
    assert_eq!(world.position(topic, 0), Some(gap.end));
}

#[test]
fn a_gap_that_is_met_while_reading_loses_nothing_that_was_read() {
    let world = World::new(&[("usage", 1)]);
    world.produce_all((0..100).map(|id| ("usage", 0, event(id))));
    let cluster = world.cluster.as_ref().unwrap();
    a_gap_met_while_reading(&world, "usage", || {
        // Ingest gets nothing for as long as the messages that it waits for come and go.
        let late = [RDKafkaRespErr::RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT; 200];
        cluster.request_errors(RDKafkaApiKey::Fetch, &late);
        std::thread::sleep(Duration::from_secs(1));
        overflow(&world, "usage", 0);
        cluster.clear_request_errors(RDKafkaApiKey::Fetch);
    });
}

/// The same where an operator deletes records of a real broker.
#[test]
fn records_that_are_deleted_on_a_broker_stop_ingest() {
    let Some(broker) = std::env::var("METERHOUSE_TEST_KAFKA").ok().filter(|text| !text.is_empty()) else {
        println!("skipped: METERHOUSE_TEST_KAFKA is not set");
        return;
    };
    let topic = format!("deleted-{}", std::process::id());
    let mut world = World::on(&broker, None);
    world.group.clone_from(&topic);
    let admin: AdminClient<DefaultClientContext> =
        ClientConfig::new().set("bootstrap.servers", &broker).create().unwrap();
    let new = NewTopic::new(&topic, 2, TopicReplication::Fixed(1));
    world.runtime.block_on(admin.create_topics([&new], &AdminOptions::new())).unwrap();
    world.produce_all((0..100).map(|id| (topic.as_str(), 0, event(id))));
    let delete = |partition, before| {
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(&topic, partition, Offset::Offset(before)).unwrap();
        let deleted = world.runtime.block_on(admin.delete_records(&list, &AdminOptions::new())).unwrap();
        for element in deleted.elements() {
            element.error().unwrap();
        }
    };
    let report = world.ingest(&[&topic], vec![]).unwrap();
    assert_eq!(report.counts.messages, 100);

    // Partition 1 has never had a message, and loses its first before anybody reads them.
    world.produce_all((0..50).map(|id| (topic.as_str(), 1, event(1_000 + id))));
    delete(1, 20);
    let (gap, flag) = gap_of(world.ingest(&[&topic], vec![]).unwrap_err());
    assert_eq!((gap.name.partition, gap.expected, gap.resume), (1, 0, 20));
    assert_eq!(world.ingest(&[&topic], vec![flag]).unwrap().counts.messages, 30);

    // Retention overtakes ingest while it stands still.
    world.produce_all((0..30).map(|id| (topic.as_str(), 0, event(2_000 + id))));
    delete(0, 110);
    let (gap, flag) = gap_of(world.ingest(&[&topic], vec![]).unwrap_err());
    assert_eq!((gap.name.partition, gap.expected, gap.resume), (0, 100, 110));
    assert_eq!(world.ingest(&[&topic], vec![flag]).unwrap().counts.messages, 20);
    world.runtime.block_on(admin.delete_topics(&[&topic], &AdminOptions::new())).unwrap();
}

#[test]
fn a_partition_that_was_empty_for_long_is_not_begun_behind_what_was_deleted() {
    let world = World::new(&[("usage", 2)]);
    world.produce("usage", 0, &event(1));
    world.ingest(&["usage"], vec![]).unwrap();
    assert_eq!((world.position("usage", 0), world.position("usage", 1)), (Some(1), Some(0)));
    overflow(&world, "usage", 1);
    let (gap, flag) = gap_of(world.ingest(&["usage"], vec![]).unwrap_err());
    assert_eq!((gap.name.partition, gap.expected), (1, 0));
    let report = world.ingest(&["usage"], vec![flag]).unwrap();
    assert_eq!(report.counts.messages as i64, gap.end - gap.first);

    // A lake that has never read the topic begins where it begins today.
    let fresh = World::on(&world.brokers, None);
    let report = fresh.ingest(&["usage"], vec![]).unwrap();
    assert_eq!(report.counts.messages as i64, 1 + gap.end - gap.first);
    assert_eq!(fresh.ingest(&["usage"], vec![]).unwrap(), IngestReport::default());
}

/// Such a partition has no position, because nobody knew of it when the topic was first read.
#[test]
fn a_partition_that_was_added_later_begins_at_its_first_message() {
    let world = World::new(&[("usage", 2)]);
    overflow(&world, "usage", 1);
    let name = PartitionName { topic: "usage".into(), partition: 0 };
    let position = Position { application: name.application().unwrap(), expected: None, next: 0 };
    let commit = Commit { operation: "WRITE", positions: vec![position], ..Commit::default() };
    world.runtime.block_on(async {
        let mut log = TableLog::open(world.lake().table(Table::UsageEvents)).await.unwrap();
        log.commit(&commit).await.unwrap();
    });
    let (gap, flag) = gap_of(world.ingest(&["usage"], vec![]).unwrap_err());
    assert_eq!((gap.name.partition, gap.expected), (1, 0));
    let report = world.ingest(&["usage"], vec![flag]).unwrap();
    assert_eq!(report.counts.messages as i64, gap.end - gap.first);
}

#[test]
fn the_end_of_a_topic_that_does_not_exist_is_not_waited_for() {
    let world = World::new(&[("usage", 1)]);
    world.produce("usage", 0, &event(1));
    let error = world.ingest(&["usage", "usgae"], vec![]).unwrap_err();
    let IngestError::Setting(text) = &error else { panic!("{error:?}") };
    assert!(text.contains("the topic `usgae` does not exist on 127.0.0.1"), "{text}");
    assert_eq!(world.position("usage", 0), None);
}
