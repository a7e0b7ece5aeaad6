//! The reading loop: take messages, decode them, and answer the consumer group.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::metadata::MetadataPartition;
use rdkafka::topic_partition_list::TopicPartitionListElem;
use rdkafka::{Offset, TopicPartitionList};
use serde_json::json;

use super::batch_consumer::{BatchConsumer, Taken};
use super::gaps::{AcceptedGap, OffsetGap};
use super::rebalance::{GroupContext, GroupMember, Request};
use crate::batch::{PartitionName, PartitionState};
use crate::commit::{Commit, CommitError, Position};
use crate::committer::{LakeLogs, Outcome};
use crate::pipeline::{IngestError, IngestReport, IngestRun, Pipeline, now_us};
use crate::unfinished::{ReadAgain, Unfinished, stored_rejects};

/// How long messages are waited for; batches, stops and the group are looked after in between.
const PATIENCE: Duration = Duration::from_millis(50);
const BROKER_PATIENCE: Duration = Duration::from_secs(30);
/// How long a topic is waited for that must be there.
const TOPIC_PATIENCE: Duration = Duration::from_secs(5);

/// What to read.
#[derive(Debug, Clone)]
pub struct KafkaSource {
    pub brokers: String,
    pub topics: Vec<String>,
    pub group: String,
    /// Stop once everything is read that was there when a partition was assigned.
    pub until_end: bool,
    pub accepted_gaps: Vec<AcceptedGap>,
    /// Further settings for librdkafka, such as those for TLS and passwords.
    pub properties: Vec<(String, String)>,
}

/// Reads topics into the lake until told to stop, or until their end.
pub fn ingest_kafka(run: &IngestRun, source: &KafkaSource) -> Result<IngestReport, IngestError> {
    let pipeline = Pipeline::start(run)?;
    let context = GroupContext::new(Arc::clone(&run.metrics));
    let client = consumer_settings(source).create_with_context(context);
    let consumer = BatchConsumer::new(GroupMember(client.map_err(kafka("cannot make a consumer"))?));
    let topics: Vec<&str> = source.topics.iter().map(String::as_str).collect();
    if source.until_end {
        // The group waits for topics that are not there, so this would never come to an end.
        topics.iter().try_for_each(|topic| find_topic(&consumer, source, topic))?;
    }
    consumer.client().subscribe(&topics).map_err(kafka("cannot subscribe"))?;
    let mut reader = Reader { source, consumer, pipeline, ends: HashMap::new(), assigned: false };
    let result = reader.read();
    reader.close(result)
}

/// Looks whether a topic is there; one that was just made may take a moment.
fn find_topic(consumer: &BatchConsumer, source: &KafkaSource, topic: &str) -> Result<(), IngestError> {
    // A pattern finds what there is.
    if topic.starts_with('^') {
        return Ok(());
    }
    let started = Instant::now();
    loop {
        match partitions_of(consumer.client(), topic) {
            Ok(_) => return Ok(()),
            Err(KafkaError::MetadataFetch(
                RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic,
            )) if started.elapsed() > TOPIC_PATIENCE => {
                return Err(IngestError::Setting(format!(
                    "the topic `{topic}` does not exist on {}; make it, or correct its name. (Without --until-end, \
                     ingest waits until it is there.)",
                    source.brokers
                )));
            }
            Err(KafkaError::MetadataFetch(
                RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic,
            )) => std::thread::sleep(PATIENCE),
            Err(error) => {
                return Err(kafka(&format!("cannot ask {} for the topic `{topic}`", source.brokers))(error));
            }
        }
    }
}

/// The partitions of a topic.
fn partitions_of(client: &BaseConsumer<GroupContext>, topic: &str) -> KafkaResult<Vec<i32>> {
    let metadata = client.fetch_metadata(Some(topic), BROKER_PATIENCE)?;
    let found = metadata.topics().iter().find(|it| it.name() == topic);
    match found.map(|it| (it.error(), it.partitions())) {
        Some((None, partitions)) if !partitions.is_empty() => {
            Ok(partitions.iter().map(MetadataPartition::id).collect())
        }
        Some((Some(error), _)) => Err(KafkaError::MetadataFetch(error.into())),
        Some((None, _)) | None => Err(KafkaError::MetadataFetch(RDKafkaErrorCode::UnknownTopicOrPartition)),
    }
}

fn consumer_settings(source: &KafkaSource) -> ClientConfig {
    let mut settings = ClientConfig::new();
    settings
        .set("bootstrap.servers", &source.brokers)
        .set("group.id", &source.group)
        .set("client.id", "meterhouse-ingest")
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        // Every start position is given explicitly; a position that is gone is an error, never a guess.
        .set("auto.offset.reset", "error")
        .set("isolation.level", "read_committed")
        .set("enable.partition.eof", "true")
        .set("queued.min.messages", "500000")
        // Enough for the broker's next answers. What waits longer has left the processor's cache when it is decoded.
        .set("queued.max.messages.kbytes", "32768")
        // A partition whose messages wait is asked again after this pause: a second, the default, is longer than
        // what waits lasts.
        .set("fetch.queue.backoff.ms", "20")
        // Answers of 4 MiB a partition, unpacked, are so large that their memory comes from the system anew each time
        // and has to be cleared.
        .set("fetch.message.max.bytes", "1048576")
        .set("statistics.interval.ms", "5000")
        .set("topic.metadata.refresh.interval.ms", "30000");
    for (key, value) in &source.properties {
        settings.set(key, value);
    }
    settings
}

fn kafka(what: &str) -> impl FnOnce(KafkaError) -> IngestError {
    let what = what.to_owned();
    move |source| IngestError::Kafka { what, source }
}

struct Reader<'s> {
    source: &'s KafkaSource,
    consumer: BatchConsumer,
    pipeline: Pipeline,
    /// The partitions that we read, and where each ends.
    ends: HashMap<PartitionName, PartitionEnd>,
    /// Whether the group has said which partitions are ours.
    assigned: bool,
}

/// When a partition counts as read to its end.
#[derive(Debug)]
struct PartitionEnd {
    /// The offset after its last, when it was assigned.
    goal: i64,
    /// The next offset when librdkafka last said that there is no more.
    seen_at: Option<i64>,
}

impl Reader<'_> {
    fn read(&mut self) -> Result<(), IngestError> {
        loop {
            self.answer_group()?;
            self.look_at_outcomes()?;
            if self.pipeline.should_stop() || self.is_done() {
                return Ok(());
            }
            if self.pipeline.batcher.is_due() {
                self.pipeline.seal()?;
            }
            self.take_messages()?;
        }
    }

    /// Takes what the group has to say, and then the next messages. An assignment is answered only after this, so what
    /// was taken before it never counts as its own.
    fn take_messages(&mut self) -> Result<(), IngestError> {
        let arrival_us = now_us();
        let reads_any = !self.ends.is_empty();
        let (pipeline, ends) = (&mut self.pipeline, &mut self.ends);
        let mut failed = Vec::new();
        let mut each = |taken: Taken<'_>| {
            match taken {
                Taken::Message(message) => {
                    pipeline.batcher.take(&message, arrival_us)?;
                    if pipeline.batcher.is_full() {
                        pipeline.seal()?;
                    }
                }
                Taken::End { topic, partition } => {
                    let mut read = pipeline.batcher.partitions();
                    if let Some((name, next)) = read.find(|(name, _)| name.is(topic, partition))
                        && let Some(end) = ends.get_mut(name)
                    {
                        end.seen_at = Some(next);
                    }
                }
                Taken::Failed(error) => failed.push(error),
            }
            Ok::<(), IngestError>(())
        };
        if reads_any {
            self.consumer.serve(Duration::ZERO, &mut each)?;
            self.consumer.take(PATIENCE, &mut each)?;
        } else {
            self.consumer.serve(PATIENCE, &mut each)?;
        }
        failed.into_iter().try_for_each(|error| self.taking_failed(error))
    }

    fn taking_failed(&mut self, error: KafkaError) -> Result<(), IngestError> {
        match error {
            KafkaError::MessageConsumption(
                RDKafkaErrorCode::AutoOffsetReset | RDKafkaErrorCode::OffsetOutOfRange,
            ) => {
                // What is in hand may be all that is left of its messages. Once it is committed, the gap also begins where
                // the lake stands, so that the flag that accepts it says the same.
                self.pipeline.seal_and_wait()?;
                self.look_at_outcomes()?;
                Err(self.find_gap().map_or_else(|| kafka("the position is gone")(error), IngestError::from))
            }
            KafkaError::MessageConsumptionFatal(_) => Err(kafka("the consumer cannot go on")(error)),
            // librdkafka tries again by itself; a topic may also be about to be made.
            error => {
                tracing::warn!(%error, "cannot read for now");
                Ok(())
            }
        }
    }

    fn find_gap(&self) -> Option<OffsetGap> {
        self.pipeline.batcher.partitions().find_map(|(name, next)| {
            let (first, end) = self.watermarks(name).ok()?;
            OffsetGap::find(name, next, first, end)
        })
    }

    fn watermarks(&self, name: &PartitionName) -> Result<(i64, i64), IngestError> {
        self.consumer.client().fetch_watermarks(&name.topic, name.partition, BROKER_PATIENCE).map_err(kafka(
            &format!("cannot ask for the offsets of topic {} partition {}", name.topic, name.partition),
        ))
    }

    /// The first offset of each partition and the one after its last. All are asked for at once, because a
    /// request for each of hundreds of partitions takes its time.
    fn all_watermarks(&self, names: &[PartitionName]) -> Result<Vec<(i64, i64)>, IngestError> {
        let (first, end) = (self.offsets(names, Offset::Beginning), self.offsets(names, Offset::End));
        let found = |name: &PartitionName| match (first.get(name), end.get(name)) {
            (Some(first), Some(end)) => Ok((*first, *end)),
            // Asked alone, a partition says what is wrong with it.
            _ => self.watermarks(name),
        };
        names.iter().map(found).collect()
    }

    /// The offsets of one end of partitions; of those that answer.
    fn offsets(&self, names: &[PartitionName], which: Offset) -> HashMap<PartitionName, i64> {
        let mut list = TopicPartitionList::with_capacity(names.len());
        for name in names {
            let added = list.add_partition_offset(&name.topic, name.partition, which);
            debug_assert!(added.is_ok(), "both ends are offsets");
        }
        // The protocol asks for both ends as it asks for times, and the library hands them through.
        let found = match self.consumer.client().offsets_for_times(list, BROKER_PATIENCE) {
            Ok(found) => found,
            Err(error) => {
                tracing::debug!(%error, "cannot ask for all offsets at once");
                return HashMap::new();
            }
        };
        let offset = |it: &TopicPartitionListElem<'_>| {
            let name = PartitionName { topic: it.topic().into(), partition: it.partition() };
            match (it.error(), it.offset()) {
                (Ok(()), Offset::Offset(offset)) => Some((name, offset)),
                _ => None,
            }
        };
        found.elements().iter().filter_map(offset).collect()
    }

    fn answer_group(&mut self) -> Result<(), IngestError> {
        while let Some(request) = self.consumer.client().context().next_request() {
            match request {
                Request::Revoke => {
                    // What was read is committed while it is still ours; if it is not any more, the commit
                    // is refused and the new owner reads the same messages.
                    self.pipeline.seal_and_wait()?;
                    self.consumer.unassign().map_err(kafka("cannot give up partitions"))?;
                    self.ends.clear();
                    // Nothing is ours, which is not the same as everything being read.
                    self.assigned = false;
                    self.look_at_outcomes()?;
                    self.pipeline.batcher.discard()?;
                    self.pipeline.metrics.forget_lags();
                    tracing::info!("partitions given up");
                }
                Request::Assign(names) => {
                    self.assign(names)?;
                    self.assigned = true;
                }
            }
        }
        Ok(())
    }

    /// Starts reading partitions where the lake's tables stand.
    fn assign(&mut self, names: Vec<PartitionName>) -> Result<(), IngestError> {
        let list = self.take_up(names)?;
        self.consumer.assign(&list).map_err(kafka("cannot take partitions"))?;
        tracing::info!(partitions = self.ends.len(), "partitions taken");
        Ok(())
    }

    /// Reads on where the lake's tables stand, of the partitions that are read already.
    fn go_back(&mut self, names: Vec<PartitionName>) -> Result<(), IngestError> {
        let list = self.take_up(names)?;
        self.consumer.seek(list).map_err(kafka("cannot go back to where the lake stands"))
    }

    /// Makes the batch ready for partitions, and says where they are to be read from.
    fn take_up(&mut self, names: Vec<PartitionName>) -> Result<TopicPartitionList, IngestError> {
        self.begin_topics(&names)?;
        let positions = self.positions(&names)?;
        let watermarks = self.all_watermarks(&names)?;
        let mut list = TopicPartitionList::with_capacity(names.len());
        let mut states = Vec::with_capacity(names.len());
        self.ends.clear();
        let mut to_read = 0;
        for ((name, mut state), (first, end)) in names.into_iter().zip(positions).zip(watermarks) {
            // A partition without a position was added to its topic after that was first read.
            if let Some(gap) = OffsetGap::find(&name, state.committed.unwrap_or(0), first, end) {
                self.accept(&gap, &mut state)?;
            }
            state.next = state.committed.unwrap_or(0);
            list.add_partition_offset(&name.topic, name.partition, Offset::Offset(state.next))
                .map_err(kafka("cannot set a position"))?;
            to_read += end.saturating_sub(state.next).max(0) as u64;
            self.ends.insert(name.clone(), PartitionEnd { goal: end, seen_at: None });
            states.push((name, state));
        }
        self.pipeline.metrics.expect(to_read);
        self.pipeline.batcher.assign(states);
        Ok(list)
    }

    /// Commits where each partition of a topic begins that this lake has never read, whoever will read it. A partition that
    /// stays empty for long would else begin, silently, behind what was deleted meanwhile.
    fn begin_topics(&self, names: &[PartitionName]) -> Result<(), IngestError> {
        let mut topics: Vec<&Arc<str>> = names.iter().map(|name| &name.topic).collect();
        topics.sort_unstable();
        topics.dedup();
        let logs = Arc::clone(&self.pipeline.logs);
        for topic in topics {
            let is_known = self.pipeline.runtime.block_on(async {
                let mut logs = logs.lock().await;
                logs.usage.read_on().await?;
                Ok::<_, CommitError>(logs.usage.knows_any(&PartitionName::applications_of(topic)))
            })?;
            if is_known {
                continue;
            }
            let partitions = partitions_of(self.consumer.client(), topic)
                .map_err(kafka(&format!("cannot ask for the partitions of topic {topic}")))?;
            let name = |partition| PartitionName { topic: Arc::clone(topic), partition };
            let all: Vec<PartitionName> = partitions.into_iter().map(name).collect();
            let watermarks = self.all_watermarks(&all)?;
            let begun = begin(all.iter().zip(watermarks.iter().map(|(first, _)| *first)));
            let committed =
                self.pipeline.runtime.block_on(async { logs.lock().await.usage.commit(&begun).await });
            match committed {
                Ok(_) => tracing::info!(topic = &**topic, partitions = all.len(), "topic begun"),
                // Another process was faster, and says the same.
                Err(error) if error.is_overtaken() => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Moves a partition's positions over a gap that the operator accepted, before anything is read behind it.
    fn accept(&self, gap: &OffsetGap, state: &mut PartitionState) -> Result<(), IngestError> {
        if !self.source.accepted_gaps.iter().any(|accepted| accepted.covers(gap)) {
            return Err(gap.clone().into());
        }
        // Where offsets begin anew, rejects of the old ones say nothing about those to come. They go first: if
        // we die in between, the usage table still asks for the gap to be accepted.
        let starts_anew =
            gap.resume < gap.expected && state.rejects_committed.is_some_and(|settled| settled > gap.resume);
        let stands_at = state.committed;
        let logs = Arc::clone(&self.pipeline.logs);
        self.pipeline.runtime.block_on(async {
            let mut logs = logs.lock().await;
            if starts_anew {
                logs.rejected.commit(&gap.commit(state.rejects_committed)).await?;
            }
            logs.usage.commit(&gap.commit(stands_at)).await
        })?;
        if starts_anew {
            state.rejects_committed = Some(gap.resume);
            state.unfinished = None;
        }
        state.committed = Some(gap.resume);
        let OffsetGap { name, expected, first, end, resume } = gap;
        tracing::warn!(topic = &*name.topic, name.partition, expected, first, end, resume, "gap accepted");
        Ok(())
    }

    /// What the usage table and the reject table say of each partition; `next` is still open.
    fn positions(&self, names: &[PartitionName]) -> Result<Vec<PartitionState>, IngestError> {
        let logs = Arc::clone(&self.pipeline.logs);
        self.pipeline.runtime.block_on(async {
            let mut logs = logs.lock().await;
            positions(&mut logs, names).await
        })
    }

    fn look_at_outcomes(&mut self) -> Result<(), IngestError> {
        let mut fenced = None;
        while let Ok(outcome) = self.pipeline.outcomes.try_recv() {
            match outcome {
                Outcome::Committed { version, counts, ends } => {
                    self.pipeline.note_commit(version, counts);
                    self.tell_group(&ends);
                }
                Outcome::Fenced(error) => fenced = Some(error),
                Outcome::Failed(error) => return Err(error.into()),
            }
        }
        if let Some(error) = fenced {
            tracing::warn!(%error, "the batch was refused; reading the positions anew");
            self.pipeline.metrics.fenced();
            self.pipeline.batcher.discard()?;
            let names: Vec<PartitionName> = self.ends.keys().cloned().collect();
            if !names.is_empty() {
                self.go_back(names)?;
            }
        }
        Ok(())
    }

    /// Tells the group how far we are. Nothing depends on it, but other tools show lag by it.
    fn tell_group(&self, ends: &[(PartitionName, i64)]) {
        let mut list = TopicPartitionList::with_capacity(ends.len());
        for (name, end) in ends.iter().filter(|(name, _)| self.ends.contains_key(name)) {
            let added = list.add_partition_offset(&name.topic, name.partition, Offset::Offset(*end));
            debug_assert!(added.is_ok(), "a whole number is always an offset");
        }
        if list.count() > 0
            && let Err(error) = self.consumer.client().commit(&list, CommitMode::Async)
        {
            tracing::debug!(%error, "cannot tell the group how far we are");
        }
    }

    /// Whether everything was read that was there at the start. A transaction's marker at the end of a partition has an
    /// offset but is no message, so that goal is reached when librdkafka says that there is no more.
    fn is_done(&self) -> bool {
        let is_read = |(name, next): (&PartitionName, i64)| {
            self.ends.get(name).is_none_or(|end| next >= end.goal || end.seen_at == Some(next))
        };
        self.source.until_end && self.assigned && self.pipeline.batcher.partitions().all(is_read)
    }

    /// Commits the rest, leaves the group and reports.
    fn close(mut self, result: Result<(), IngestError>) -> Result<IngestReport, IngestError> {
        self.consumer.client().context().close();
        let result = result.and_then(|()| {
            self.pipeline.seal_and_wait()?;
            self.ends.clear();
            self.look_at_outcomes()
        });
        let Self { consumer, pipeline, .. } = self;
        drop(consumer);
        pipeline.finish(result)
    }
}

/// What the tables say of partitions, as of one version of each.
async fn positions(logs: &mut LakeLogs, names: &[PartitionName]) -> Result<Vec<PartitionState>, IngestError> {
    let applications: Vec<String> = names.iter().filter_map(PartitionName::application).collect();
    let usage = logs.usage.positions(&applications).await?;
    let mut asked = applications.clone();
    // The reject table goes on meanwhile, so this ends with an answer that holds all that follows from it.
    let (rejected, read_again) = loop {
        let rejected = logs.rejected.positions(&asked).await?;
        let mut read_again = ReadAgain::new();
        for (name, application) in names.iter().zip(&applications) {
            let (start, end) = (usage[application].unwrap_or(0), rejected[application].unwrap_or(0));
            if start < end {
                read_again.insert(name.clone(), start..end);
            }
        }
        let rounds = read_again.keys().filter_map(PartitionName::rounds_application);
        let unasked: Vec<String> = rounds.filter(|name| !rejected.contains_key(name)).collect();
        if unasked.is_empty() {
            break (rejected, read_again);
        }
        asked.extend(unasked);
    };
    let mut stored = HashMap::new();
    if !read_again.is_empty() {
        tracing::info!(partitions = read_again.len(), "rejects of an unfinished batch are looked up");
        stored = stored_rejects(&logs.rejected, &read_again).await?;
    }
    let state = |(name, application): (&PartitionName, &String)| PartitionState {
        committed: usage[application],
        rejects_committed: rejected[application],
        next: 0,
        unfinished: read_again.contains_key(name).then(|| Unfinished {
            rejects: stored.remove(name).unwrap_or_default(),
            rounds: name.rounds_application().and_then(|rounds| rejected[&rounds]),
        }),
    };
    Ok(names.iter().zip(&applications).map(state).collect())
}

/// Where partitions begin that were never read.
fn begin<'n>(first_offsets: impl Iterator<Item = (&'n PartitionName, i64)>) -> Commit {
    let positions = first_offsets
        .filter_map(|(name, next)| Some(Position { application: name.application()?, expected: None, next }));
    Commit {
        operation: "WRITE",
        parameters: HashMap::from([("mode".to_owned(), json!("Append"))]),
        positions: positions.collect(),
        actions: Vec::new(),
        notes: HashMap::from([("meterhouseBeginnings".to_owned(), json!(true))]),
    }
}
