//! Batches against single messages, and what happens to them while partitions come and go, on the mock cluster.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{BorrowedMessage, Header, Headers as _, Message, OwnedHeaders};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseProducer, BaseRecord, DefaultProducerContext, Producer};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

use super::batch_consumer::{BatchConsumer, Taken};
use super::rebalance::{GroupContext, GroupMember};
use crate::metrics::Metrics;
use crate::raw_message::{Coordinates, RawMessage};

const TOPIC: &str = "usage";
const PARTITIONS: i32 = 4;
const MESSAGES: i64 = 400;
const PATIENCE: Duration = Duration::from_secs(30);

fn settings(cluster: &MockCluster<'_, DefaultProducerContext>) -> ClientConfig {
    let mut settings = ClientConfig::new();
    settings
        .set("bootstrap.servers", cluster.bootstrap_servers())
        .set("group.id", "test")
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("auto.offset.reset", "error")
        .set("enable.partition.eof", "true")
        // Small answers, so that an assignment ends others in the middle.
        .set("fetch.message.max.bytes", "2000")
        .set("fetch.wait.max.ms", "10");
    settings
}

/// Messages of every shape: with and without key, value and headers, with names and values of any bytes.
fn fill(cluster: &MockCluster<'_, DefaultProducerContext>, random: &mut SmallRng) {
    cluster.create_topic(TOPIC, PARTITIONS, 1).unwrap();
    let producer: BaseProducer =
        ClientConfig::new().set("bootstrap.servers", cluster.bootstrap_servers()).create().unwrap();
    for partition in 0..PARTITIONS {
        for number in 0..MESSAGES {
            let text = format!("{{\"number\":{number},\"of\":{partition}}}");
            let mut record = BaseRecord::<[u8], str>::to(TOPIC).partition(partition);
            record = record.timestamp(1_777_600_000_000 + number);
            if random.random_range(0..10) > 0 {
                record = record.payload(&text);
            }
            let key: Vec<u8> = (0..random.random_range(0..4)).map(|_| random.random()).collect();
            if random.random() {
                record = record.key(&key);
            }
            let mut headers = OwnedHeaders::new();
            for _ in 0..random.random_range(0..4) {
                let value: Vec<u8> = (0..random.random_range(0..4)).map(|_| random.random()).collect();
                let key = ["content-type", "ce_id", "", "ü"][random.random_range(0..4)];
                headers = headers.insert(Header { key, value: random.random::<bool>().then_some(&value) });
            }
            producer.send(record.headers(headers)).map_err(|(error, _)| error).unwrap();
        }
    }
    producer.flush(PATIENCE).unwrap();
}

/// A message as the client library hands it out.
fn alone(message: &BorrowedMessage<'_>) -> String {
    let headers = message.headers().map(|headers| headers.iter().map(|it| (it.key, it.value)).collect());
    let raw = RawMessage {
        at: Coordinates { topic: message.topic(), partition: message.partition(), offset: message.offset() },
        stamped_at_us: message.timestamp().to_millis().map(|ms| ms * 1_000),
        key: message.key(),
        payload: message.payload(),
        headers: headers.unwrap_or_default(),
    };
    format!("{raw:?}")
}

fn positions(starts: &BTreeMap<i32, i64>) -> TopicPartitionList {
    let mut list = TopicPartitionList::new();
    for (partition, start) in starts {
        list.add_partition_offset(TOPIC, *partition, Offset::Offset(*start)).unwrap();
    }
    list
}

fn batch_consumer(cluster: &MockCluster<'_, DefaultProducerContext>) -> BatchConsumer {
    let context = GroupContext::new(Arc::new(Metrics::default()));
    BatchConsumer::new(GroupMember(settings(cluster).create_with_context(context).unwrap()))
}

/// Takes what there is until `until` is content, and notes it by partition; panics if that never comes.
fn take_until(
    consumer: &mut BatchConsumer,
    taken: &mut BTreeMap<i32, Vec<(i64, String)>>,
    ended: &mut Vec<i32>,
    until: impl Fn(&BTreeMap<i32, Vec<(i64, String)>>, &[i32]) -> bool,
) {
    let started = Instant::now();
    while !until(taken, ended) {
        assert!(started.elapsed() < PATIENCE, "messages stopped coming: {:?}", ends(taken));
        let mut each = |it: Taken<'_>| {
            match it {
                Taken::Message(message) => {
                    let messages = taken.entry(message.at.partition).or_default();
                    messages.push((message.at.offset, format!("{message:?}")));
                }
                Taken::End { topic, partition } => {
                    assert_eq!(topic, TOPIC);
                    ended.push(partition);
                }
                Taken::Failed(error) => panic!("{error}"),
            }
            Ok::<(), ()>(())
        };
        consumer.serve(Duration::ZERO, &mut each).unwrap();
        consumer.take(Duration::from_millis(10), &mut each).unwrap();
    }
}

fn ends(taken: &BTreeMap<i32, Vec<(i64, String)>>) -> Vec<(i32, Option<i64>)> {
    taken
        .iter()
        .map(|(partition, messages)| (*partition, messages.last().map(|(offset, _)| *offset)))
        .collect()
}

#[test]
fn a_batch_holds_what_single_polls_hand_out() {
    let cluster = MockCluster::new(1).unwrap();
    fill(&cluster, &mut SmallRng::seed_from_u64(5));
    let starts: BTreeMap<i32, i64> = (0..PARTITIONS).map(|partition| (partition, 0)).collect();

    let plain: BaseConsumer = settings(&cluster).create().unwrap();
    plain.assign(&positions(&starts)).unwrap();
    let mut expected: BTreeMap<i32, Vec<(i64, String)>> = BTreeMap::new();
    let started = Instant::now();
    while expected.values().map(Vec::len).sum::<usize>() < (i64::from(PARTITIONS) * MESSAGES) as usize {
        assert!(started.elapsed() < PATIENCE, "the plain consumer got {:?}", ends(&expected));
        if let Some(Ok(message)) = plain.poll(Duration::from_millis(100)) {
            expected.entry(message.partition()).or_default().push((message.offset(), alone(&message)));
        }
    }

    let mut consumer = batch_consumer(&cluster);
    consumer.assign(&positions(&starts)).unwrap();
    let (mut taken, mut ended) = (BTreeMap::new(), Vec::new());
    take_until(&mut consumer, &mut taken, &mut ended, |_, ended| ended.len() == PARTITIONS as usize);
    ended.sort_unstable();
    assert_eq!(ended, (0..PARTITIONS).collect::<Vec<_>>(), "each partition ends once");
    for (partition, messages) in &expected {
        assert_eq!(&taken[partition], messages, "partition {partition}");
    }
}

/// Takes messages until each partition has brought what is wanted of it, and looks that they come one after the other from
/// where their partition starts.
fn take_from(
    consumer: &mut BatchConsumer,
    starts: &BTreeMap<i32, i64>,
    wanted: &BTreeMap<i32, i64>,
    round: &str,
) {
    let (mut taken, mut ended) = (BTreeMap::new(), Vec::new());
    take_until(consumer, &mut taken, &mut ended, |taken, _| {
        wanted.iter().all(|(partition, wanted)| {
            let last = taken.get(partition).and_then(|messages: &Vec<(i64, String)>| messages.last());
            last.is_some_and(|(offset, _)| offset >= wanted)
        })
    });
    for (partition, messages) in taken {
        let start = starts.get(&partition).unwrap_or_else(|| panic!("{round}: {partition} is not ours"));
        let offsets: Vec<i64> = messages.iter().map(|(offset, _)| *offset).collect();
        let expected: Vec<i64> = (*start..).take(offsets.len()).collect();
        assert_eq!(offsets, expected, "{round}, partition {partition}");
    }
}

/// Partitions are assigned over and over, mostly without being given up in between, at any place, while messages
/// wait in every queue. (Not before the one before has brought a message of each: librdkafka stops the process when a
/// partition that it is still stopping is assigned and taken away once more. Whoever only goes to other places seeks.)
/// Each assignment must bring its messages from its very position on, one after the other.
#[test]
fn every_assignment_brings_its_messages_from_its_position_on() {
    let seed = rand::random();
    println!("seed {seed}");
    let mut random = SmallRng::seed_from_u64(seed);
    let cluster = MockCluster::new(1).unwrap();
    fill(&cluster, &mut random);
    let mut consumer = batch_consumer(&cluster);
    for round in 0..60 {
        if random.random_range(0..4) == 0 {
            consumer.unassign().unwrap();
        }
        let mut starts = BTreeMap::new();
        for partition in 0..PARTITIONS {
            if random.random_range(0..4) > 0 {
                starts.insert(partition, random.random_range(0..MESSAGES));
            }
        }
        consumer.assign(&positions(&starts)).unwrap();
        let wanted: BTreeMap<i32, i64> = starts
            .iter()
            .map(|(partition, start)| (*partition, random.random_range(*start..MESSAGES)))
            .collect();
        take_from(&mut consumer, &starts, &wanted, &format!("seed {seed}, round {round}"));
    }
}

/// A writer that is refused goes back, is refused again at once, and then loses its partitions: at any moment, whether or not
/// anything came of the step before.
#[test]
fn going_back_again_and_again_brings_messages_from_the_last_place_on() {
    let seed = rand::random();
    println!("seed {seed}");
    let mut random = SmallRng::seed_from_u64(seed);
    let cluster = MockCluster::new(1).unwrap();
    fill(&cluster, &mut random);
    let mut consumer = batch_consumer(&cluster);
    let anywhere = |random: &mut SmallRng| -> BTreeMap<i32, i64> {
        (0..PARTITIONS).map(|partition| (partition, random.random_range(0..MESSAGES))).collect()
    };
    for round in 0..40 {
        let mut starts = anywhere(&mut random);
        consumer.assign(&positions(&starts)).unwrap();
        for _ in 0..random.random_range(1..5) {
            if random.random() {
                let wanted = starts.iter().map(|(at, start)| (*at, random.random_range(*start..MESSAGES)));
                take_from(&mut consumer, &starts, &wanted.collect(), &format!("seed {seed}, round {round}"));
            }
            starts = anywhere(&mut random);
            consumer.seek(positions(&starts)).unwrap();
        }
        if random.random() {
            take_from(
                &mut consumer,
                &starts,
                &starts,
                &format!("seed {seed}, round {round}, the last place"),
            );
        }
        consumer.unassign().unwrap();
        // The group gives partitions only once those before have stopped.
        let started = Instant::now();
        while started.elapsed() < Duration::from_millis(50) {
            let none = |_: Taken<'_>| Ok::<(), ()>(());
            consumer.serve(Duration::from_millis(5), none).unwrap();
            consumer.take(Duration::ZERO, none).unwrap();
        }
    }
}
