//! Can the brokers be reached, and do the topics exist?

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::metadata::MetadataTopic;
use rdkafka::topic_partition_list::TopicPartitionListElem;
use rdkafka::{Offset, TopicPartitionList};

use super::{CHECK_TIME_MAX, Finding, Status};
use crate::config::Config;

/// Keeps what the client says about its connections: a failed request itself only says that it failed.
#[derive(Debug, Clone, Default)]
struct Listener {
    reasons: Arc<Mutex<Vec<String>>>,
}

impl Listener {
    fn last_reason(&self) -> Option<String> {
        self.reasons.lock().expect("no holder panics").last().cloned()
    }
}

impl ClientContext for Listener {
    fn log(&self, _: RDKafkaLogLevel, _: &str, _: &str) {}

    fn error(&self, _: KafkaError, reason: &str) {
        self.reasons.lock().expect("no holder panics").push(reason.to_owned());
    }
}

impl ConsumerContext for Listener {}

pub(super) fn examine(config: &Config) -> Vec<Finding> {
    if config.kafka.brokers.is_empty() {
        let remedy = "set `brokers` in [kafka], unless usage only comes from files";
        return vec![Finding::new(Status::Skipped, "kafka", "no brokers are configured", remedy)];
    }
    let deadline = Instant::now() + CHECK_TIME_MAX;
    let listener = Listener::default();
    let mut client = config.kafka.client_config();
    client.set("group.id", &config.kafka.group);
    client.set("socket.connection.setup.timeout.ms", "4000");
    let created: Result<BaseConsumer<Listener>, KafkaError> = client.create_with_context(listener.clone());
    let consumer = match created {
        Ok(consumer) => consumer,
        Err(error) => {
            let remedy = "correct [kafka.properties]; `meterhouse config check` shows them";
            return vec![Finding::fail("kafka", error.to_string(), remedy)];
        }
    };
    // Only one topic is asked for: all of a large cluster's would not come in time.
    let metadata = consumer.fetch_metadata(config.kafka.topics.first().map(String::as_str), CHECK_TIME_MAX);
    let metadata = match metadata {
        Ok(metadata) => metadata,
        Err(error) => return vec![unreachable(&consumer, &listener, config, &error)],
    };
    let brokers: Vec<String> =
        metadata.brokers().iter().map(|broker| format!("{}:{}", broker.host(), broker.port())).collect();
    let mut findings =
        vec![Finding::ok("kafka", format!("{} brokers: {}", brokers.len(), brokers.join(", ")))];
    for name in &config.kafka.topics {
        findings.push(topic(&consumer, name, deadline));
    }
    findings
}

fn unreachable(
    consumer: &BaseConsumer<Listener>,
    listener: &Listener,
    config: &Config,
    error: &KafkaError,
) -> Finding {
    // The reasons are only handed over while the client is polled.
    let _ = consumer.poll(std::time::Duration::from_millis(100));
    let reason = listener.last_reason().unwrap_or_else(|| error.to_string());
    let found = format!("{}: {reason}", config.kafka.brokers.join(", "));
    Finding::fail(
        "kafka",
        found,
        "check `brokers` in [kafka], that they run and can be reached from here, and security.protocol and sasl.* in \
         [kafka.properties]",
    )
}

fn topic(consumer: &BaseConsumer<Listener>, name: &str, deadline: Instant) -> Finding {
    let check = format!("topic {name}");
    let late = || Finding::fail(check.clone(), "no answer in time", "try again; check the brokers' load");
    let left = || deadline.saturating_duration_since(Instant::now());
    let Ok(metadata) = consumer.fetch_metadata(Some(name), left()) else { return late() };
    let topic = metadata.topics().iter().find(|topic| topic.name() == name);
    let partitions = match topic.map(partitions_of) {
        Some(Ok(partitions)) => partitions,
        Some(Err(finding)) => return Finding { check, ..finding },
        None => return late(),
    };
    let offsets = |which| offsets(consumer, name, &partitions, which, left());
    match offsets(Offset::Beginning).and_then(|first| Ok((first, offsets(Offset::End)?))) {
        Ok((first, end)) => {
            let messages: i64 = end.iter().sum::<i64>() - first.iter().sum::<i64>();
            let found = format!("{} partitions, {messages} messages kept by the broker", partitions.len());
            Finding::ok(check, found)
        }
        Err((None, KafkaError::OffsetFetch(RDKafkaErrorCode::OperationTimedOut))) => {
            let found = format!("{} partitions, but no answer in time about their offsets", partitions.len());
            Finding::new(Status::Warn, check, found, "try again; check the brokers' load")
        }
        Err((partition, error)) => {
            let place = partition.map_or(String::new(), |partition| format!("partition {partition}: "));
            Finding::fail(check, format!("{place}{error}"), "check that the user may read the topic")
        }
    }
}

/// One end of each partition, all in one request: one for each of hundreds would not be answered in time.
fn offsets(
    consumer: &BaseConsumer<Listener>,
    topic: &str,
    partitions: &[i32],
    which: Offset,
    patience: Duration,
) -> Result<Vec<i64>, (Option<i32>, KafkaError)> {
    let mut list = TopicPartitionList::with_capacity(partitions.len());
    for partition in partitions {
        list.add_partition_offset(topic, *partition, which).map_err(|error| (Some(*partition), error))?;
    }
    // The protocol asks for both ends as it asks for times.
    let found = consumer.offsets_for_times(list, patience).map_err(|error| (None, error))?;
    let offset = |it: &TopicPartitionListElem<'_>| match (it.error(), it.offset()) {
        (Ok(()), Offset::Offset(offset)) => Ok(offset),
        (Err(error), _) => Err((Some(it.partition()), error)),
        (Ok(()), _) => Err((Some(it.partition()), KafkaError::OffsetFetch(RDKafkaErrorCode::NoOffset))),
    };
    found.elements().iter().map(offset).collect()
}

fn partitions_of(topic: &MetadataTopic) -> Result<Vec<i32>, Finding> {
    if let Some(error) = topic.error() {
        let code = rdkafka::types::RDKafkaErrorCode::from(error);
        let remedy = "create the topic, or correct `topics` in [kafka]; check that the user may describe it";
        return Err(Finding::fail("", code.to_string(), remedy));
    }
    let leaderless = topic.partitions().iter().filter(|partition| partition.leader() < 0).count();
    if leaderless > 0 {
        let found = format!("{leaderless} of {} partitions have no leader", topic.partitions().len());
        return Err(Finding::fail("", found, "bring the brokers that hold them back"));
    }
    if topic.partitions().is_empty() {
        return Err(Finding::fail(
            "",
            "the topic has no partitions",
            "create it, or correct `topics` in [kafka]",
        ));
    }
    Ok(topic.partitions().iter().map(rdkafka::metadata::MetadataPartition::id).collect())
}
