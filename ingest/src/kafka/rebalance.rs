//! What the consumer group asks of this process, kept until the reading loop gets to it.
//!
//! librdkafka reports an assignment and waits for an answer. Answering needs the lake's tables and a
//! last commit, so it happens in the reading loop and not inside the callback.

use std::collections::VecDeque;
use std::ops::Deref;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rdkafka::ClientContext;
use rdkafka::Statistics;
use rdkafka::TopicPartitionList;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::types::RDKafkaRespErr;

use crate::batch::PartitionName;
use crate::metrics::Metrics;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Request {
    Assign(Vec<PartitionName>),
    Revoke,
}

/// The callbacks of our consumer.
#[derive(Debug)]
pub(super) struct GroupContext {
    requests: Mutex<VecDeque<Request>>,
    closing: AtomicBool,
    metrics: Arc<Metrics>,
}

impl GroupContext {
    pub fn new(metrics: Arc<Metrics>) -> Self {
        Self { requests: Mutex::default(), closing: AtomicBool::new(false), metrics }
    }

    pub fn next_request(&self) -> Option<Request> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }

    /// From now on nobody answers requests: give partitions up at once.
    pub fn close(&self) {
        self.closing.store(true, Ordering::SeqCst);
    }
}

/// A consumer that leaves its group however it is dropped. A panic unwinds past `close`; the library would then wait
/// for ever for an answer to the last revocation, and the process would neither work nor end.
pub(super) struct GroupMember(pub BaseConsumer<GroupContext>);

impl Deref for GroupMember {
    type Target = BaseConsumer<GroupContext>;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl Drop for GroupMember {
    fn drop(&mut self) {
        self.0.context().close();
    }
}

impl ConsumerContext for GroupContext {
    fn rebalance(
        &self,
        consumer: &BaseConsumer<Self>,
        kind: RDKafkaRespErr,
        partitions: &mut TopicPartitionList,
    ) {
        if self.closing.load(Ordering::SeqCst) {
            if let Err(error) = consumer.unassign() {
                tracing::warn!(%error, "cannot give up partitions while closing");
            }
            return;
        }
        let request = if kind == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS {
            let names = partitions.elements();
            let name = |it: &rdkafka::topic_partition_list::TopicPartitionListElem<'_>| PartitionName {
                topic: it.topic().into(),
                partition: it.partition(),
            };
            Request::Assign(names.iter().map(name).collect())
        } else {
            Request::Revoke
        };
        self.requests.lock().unwrap_or_else(PoisonError::into_inner).push_back(request);
    }
}

impl ClientContext for GroupContext {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        match level {
            RDKafkaLogLevel::Debug => tracing::debug!(facility, message, "librdkafka"),
            RDKafkaLogLevel::Info | RDKafkaLogLevel::Notice => {
                tracing::info!(facility, message, "librdkafka");
            }
            _ => tracing::warn!(facility, message, "librdkafka"),
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        // Every partition ends somewhere; the reading loop hears of it too.
        if matches!(error, KafkaError::Global(RDKafkaErrorCode::PartitionEOF)) {
            return;
        }
        tracing::warn!(%error, reason, "librdkafka");
    }

    fn stats(&self, statistics: Statistics) {
        for (topic, statistics) in &statistics.topics {
            for (partition, statistics) in &statistics.partitions {
                // Partition -1 stands for messages without one; a lag of -1 is not known yet.
                if *partition >= 0 && statistics.desired && statistics.consumer_lag >= 0 {
                    let name = PartitionName { topic: topic.as_str().into(), partition: *partition };
                    self.metrics.set_lag(&name, statistics.consumer_lag);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rdkafka::ClientConfig;
    use rdkafka::mocking::MockCluster;

    use super::*;

    #[test]
    fn a_member_that_is_dropped_leaves_without_being_told_to() {
        let cluster = MockCluster::new(1).unwrap();
        cluster.create_topic("usage", 1, 1).unwrap();
        let consumer: BaseConsumer<GroupContext> = ClientConfig::new()
            .set("bootstrap.servers", cluster.bootstrap_servers())
            .set("group.id", "meterhouse")
            .create_with_context(GroupContext::new(Arc::default()))
            .unwrap();
        let member = GroupMember(consumer);
        member.subscribe(&["usage"]).unwrap();
        while member.context().next_request().is_none() {
            let _ = member.poll(Duration::from_millis(50));
        }
        let mut partitions = TopicPartitionList::new();
        partitions.add_partition_offset("usage", 0, rdkafka::Offset::Beginning).unwrap();
        member.assign(&partitions).unwrap();
        let (ended, end) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            drop(member);
            ended.send(())
        });
        end.recv_timeout(Duration::from_secs(30))
            .expect("the consumer waits for an answer that nobody gives");
    }
}
