//! Messages out of librdkafka, many at a time.
//!
//! The client library hands out one message per call, and each call costs an allocation, looks at the clock and the locks
//! of an event. librdkafka can fill an array instead, but not from the queue of the consumer: rebalances and errors lie
//! there between the messages, and that call would answer them by itself, by giving all partitions up. So the
//! partitions' own queues are forwarded to a queue that holds nothing but what belongs to partitions, and the
//! consumer's queue is asked for events as before.
//!
//! What must hold for no message to be lost:
//! - A partition is forwarded *before* it is assigned. From then on librdkafka leaves its queue alone, so its messages
//!   never lie partly in one queue and partly in another.
//! - Where a partition is taken away and given back, librdkafka ends the forwarding some time after it was told to stop,
//!   which may be after the new assignment. Then messages wait in the partition's own queue, in their order. So
//!   partitions are forwarded again and again; what waits moves along.
//! - What was fetched for an earlier assignment is dropped by librdkafka, which counts the versions of each partition.
#![expect(
    unsafe_code,
    reason = "librdkafka's batches, which the client library lacks; measured, see README.md"
)]

use std::ffi::{CStr, CString};
use std::ptr::{self, NonNull};
use std::time::{Duration, Instant};

use rdkafka::TopicPartitionList;
use rdkafka::bindings as native;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::types::RDKafkaRespErr;

use super::rebalance::{GroupContext, GroupMember};
use crate::raw_message::{Coordinates, Headers, RawMessage, UNREADABLE_HEADER};

/// Messages of a batch: few enough that they stay in the processor's cache until they are decoded.
const BATCH_MESSAGES: usize = 256;
/// Messages before one when it is fetched into the processor's cache: another core has unpacked it some time ago.
const AHEAD: usize = 2;
/// So many bytes of it; the processor sees by itself where a longer one goes on.
const AHEAD_BYTES: usize = 512;
/// How long librdkafka may take to read on elsewhere.
const SEEK_PATIENCE: Duration = Duration::from_secs(10);
const SEEK_PAUSE: Duration = Duration::from_millis(5);
/// How long messages may wait in a queue that is not forwarded any more.
const FORWARD_INTERVAL: Duration = Duration::from_millis(100);

/// What stands in a partition's queue.
#[derive(Debug)]
pub(super) enum Taken<'m> {
    Message(RawMessage<'m>),
    /// There is no more for now.
    End {
        topic: &'m str,
        partition: i32,
    },
    Failed(KafkaError),
}

/// A member of the consumer group. Its queues are given back before the client that they belong to, because fields are
/// dropped in their order.
pub(super) struct BatchConsumer {
    batch: Vec<NativeMessage>,
    partitions: Vec<NativeQueue>,
    messages: NativeQueue,
    forwarded: Instant,
    client: GroupMember,
}

impl BatchConsumer {
    pub fn new(client: GroupMember) -> Self {
        // SAFETY: the client is alive.
        let messages = unsafe { native::rd_kafka_queue_new(client.client().native_ptr()) };
        let messages = NativeQueue::owned(messages).expect("a queue takes nothing but memory");
        let batch = Vec::with_capacity(BATCH_MESSAGES);
        Self { batch, partitions: Vec::new(), messages, forwarded: Instant::now(), client }
    }

    /// For everything but messages and assignments.
    pub fn client(&self) -> &BaseConsumer<GroupContext> {
        &self.client
    }

    /// Reads these partitions from these positions on, and no others.
    pub fn assign(&mut self, list: &TopicPartitionList) -> KafkaResult<()> {
        self.partitions.clear();
        for element in list.elements() {
            self.partitions.push(self.partition_queue(element.topic(), element.partition())?);
        }
        self.forward();
        self.client.assign(list)
    }

    /// Reads on from other positions, of partitions that are assigned. What was fetched before is dropped.
    ///
    /// They are not assigned anew: librdkafka would stop them first, and it ends the process if they are assigned or taken
    /// away once more before they have stopped.
    pub fn seek(&mut self, mut list: TopicPartitionList) -> KafkaResult<()> {
        let started = Instant::now();
        loop {
            let sought = self.client.seek_partitions(list, SEEK_PATIENCE)?;
            // One that was just assigned has not started yet.
            let mut rest = TopicPartitionList::new();
            let mut refused = None;
            for element in sought.elements() {
                if let Err(error) = element.error() {
                    rest.add_partition_offset(element.topic(), element.partition(), element.offset())?;
                    refused = Some(error);
                }
            }
            match refused {
                None => return Ok(()),
                Some(error) if started.elapsed() > SEEK_PATIENCE => return Err(error),
                Some(_) => std::thread::sleep(SEEK_PAUSE),
            }
            list = rest;
        }
    }

    pub fn unassign(&mut self) -> KafkaResult<()> {
        self.partitions.clear();
        self.client.unassign()
    }

    fn partition_queue(&self, topic: &str, partition: i32) -> KafkaResult<NativeQueue> {
        let unknown = KafkaError::MetadataFetch(RDKafkaErrorCode::UnknownTopicOrPartition);
        let topic = CString::new(topic).map_err(|_| unknown.clone())?;
        let client = self.client.client().native_ptr();
        // SAFETY: the client is alive, and the name as long as the call.
        let queue = unsafe { native::rd_kafka_queue_get_partition(client, topic.as_ptr(), partition) };
        NativeQueue::owned(queue).ok_or(unknown)
    }

    fn forward(&mut self) {
        for partition in &self.partitions {
            // SAFETY: both queues are alive. The partition's keeps ours alive for as long as it needs it.
            unsafe { native::rd_kafka_queue_forward(partition.0.as_ptr(), self.messages.0.as_ptr()) };
        }
        self.forwarded = Instant::now();
    }

    /// Serves an event of the group or of the client; waits so long for one. To be called often, whether or not
    /// messages are taken.
    pub fn serve<E>(
        &mut self,
        patience: Duration,
        each: impl FnOnce(Taken<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        if self.forwarded.elapsed() >= FORWARD_INTERVAL {
            self.forward();
        }
        match self.client.poll(patience) {
            None => Ok(()),
            Some(Err(error)) => each(Taken::Failed(error)),
            // Forwarded before it was assigned, no partition's messages come this way.
            // SAFETY: the message is valid while it is borrowed, which ends after the call.
            Some(Ok(message)) => each(Taken::Message(unsafe { raw_message(message.ptr()) })),
        }
    }

    /// Takes the next messages, at most `BATCH_MESSAGES`; waits so long for as many. Returns how many there were.
    pub fn take<E>(
        &mut self,
        patience: Duration,
        mut each: impl FnMut(Taken<'_>) -> Result<(), E>,
    ) -> Result<usize, E> {
        self.batch.clear();
        let room = self.batch.spare_capacity_mut();
        let (room, places) = (room.as_mut_ptr().cast::<*mut native::rd_kafka_message_t>(), room.len());
        let patience_ms = patience.as_millis() as i32;
        // SAFETY: the queue is alive; `NativeMessage` is laid out like a pointer, and there is room for so many.
        let taken = unsafe {
            native::rd_kafka_consume_batch_queue(self.messages.0.as_ptr(), patience_ms, room, places)
        };
        let taken = usize::try_from(taken).unwrap_or(0);
        // SAFETY: so many places were filled, each with a message that is ours to give back.
        unsafe { self.batch.set_len(taken) };
        self.batch.iter().take(AHEAD).for_each(NativeMessage::fetch_ahead);
        // Messages are given back one by one, as long as the processor's cache holds them, also if one of them fails.
        let mut messages = self.batch.drain(..);
        while let Some(message) = messages.next() {
            if let Some(later) = messages.as_slice().get(AHEAD) {
                later.fetch_ahead();
            }
            each(message.taken())?;
        }
        Ok(taken)
    }
}

/// A queue of librdkafka, or a handle to one; it must not outlive its client.
#[derive(Debug)]
struct NativeQueue(NonNull<native::rd_kafka_queue_t>);

impl NativeQueue {
    /// Takes over what librdkafka made for us.
    fn owned(queue: *mut native::rd_kafka_queue_t) -> Option<Self> {
        NonNull::new(queue).map(Self)
    }
}

impl Drop for NativeQueue {
    fn drop(&mut self) {
        // SAFETY: it is ours, and nobody uses it after this.
        unsafe { native::rd_kafka_queue_destroy(self.0.as_ptr()) };
    }
}

/// A message that librdkafka has handed over; it must not outlive its client.
#[derive(Debug)]
#[repr(transparent)]
struct NativeMessage(NonNull<native::rd_kafka_message_t>);

impl Drop for NativeMessage {
    fn drop(&mut self) {
        // SAFETY: it is ours, and nobody uses it after this.
        unsafe { native::rd_kafka_message_destroy(self.0.as_ptr()) };
    }
}

impl NativeMessage {
    /// Tells the processor that the message is read soon.
    fn fetch_ahead(&self) {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the message is ours; a prefetch reads nothing, so any address will do.
        unsafe {
            use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
            let native::rd_kafka_message_s { payload, len, .. } = *self.0.as_ptr();
            for at in (0..len.min(AHEAD_BYTES)).step_by(64) {
                _mm_prefetch::<_MM_HINT_T0>(payload.cast::<i8>().wrapping_add(at));
            }
        }
    }

    fn taken(&self) -> Taken<'_> {
        // SAFETY: it is ours, so it is valid as long as `self` is borrowed, which is as long as the result is.
        unsafe {
            let native::rd_kafka_message_s { err, rkt, partition, .. } = *self.0.as_ptr();
            match err {
                RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR => Taken::Message(raw_message(self.0.as_ptr())),
                RDKafkaRespErr::RD_KAFKA_RESP_ERR__PARTITION_EOF if !rkt.is_null() => {
                    Taken::End { topic: topic(rkt), partition }
                }
                error => Taken::Failed(KafkaError::MessageConsumption(error.into())),
            }
        }
    }
}

/// # Safety
/// The message must be a valid one of a consumer, without an error, for `'m`.
unsafe fn raw_message<'m>(message: *const native::rd_kafka_message_t) -> RawMessage<'m> {
    let mut kind = native::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE;
    // SAFETY: the message is valid, by this function's own contract, and so are its parts.
    unsafe {
        let stamped_at_ms = native::rd_kafka_message_timestamp(message, &raw mut kind);
        let native::rd_kafka_message_s { rkt, partition, offset, payload, len, key, key_len, .. } = *message;
        RawMessage {
            at: Coordinates { topic: topic(rkt), partition, offset },
            stamped_at_us: (stamped_at_ms != -1).then(|| stamped_at_ms.saturating_mul(1_000)),
            key: bytes(key.cast(), key_len),
            payload: bytes(payload.cast(), len),
            headers: headers(message),
        }
    }
}

/// # Safety
/// It must be a valid topic for `'m`.
unsafe fn topic<'m>(topic: *const native::rd_kafka_topic_t) -> &'m str {
    // SAFETY: a topic keeps its name, which ends with a zero byte.
    let name = unsafe { CStr::from_ptr(native::rd_kafka_topic_name(topic)) };
    name.to_str().expect("topics have names of ASCII letters")
}

/// All headers, in their order. If a name is not text, those that are, and `UNREADABLE_HEADER` after them: names are bytes
/// to Kafka, and neither its clients nor its brokers look whether they are text.
///
/// # Safety
/// The message must be a valid one of a consumer, without an error, for `'m`.
unsafe fn headers<'m>(message: *const native::rd_kafka_message_t) -> Headers<'m> {
    let mut list = ptr::null_mut();
    let mut headers = Headers::new();
    // SAFETY: the message is valid, and keeps the headers that it is asked for.
    let error = unsafe { native::rd_kafka_message_headers(message, &raw mut list) };
    if error != RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR {
        return headers;
    }
    let mut all_readable = true;
    for place in 0.. {
        let (mut name, mut value, mut length) = (ptr::null(), ptr::null(), 0);
        // SAFETY: the list lives as long as its message; past its end it answers with an error.
        let error = unsafe {
            native::rd_kafka_header_get_all(list, place, &raw mut name, &raw mut value, &raw mut length)
        };
        if error != RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR {
            break;
        }
        // SAFETY: the list keeps names, which end with a zero byte, and values of this length.
        let (name, value) = unsafe { (CStr::from_ptr(name), bytes(value.cast(), length)) };
        match name.to_str() {
            Ok(name) => headers.push((name, value)),
            Err(_) => all_readable = false,
        }
    }
    if !all_readable {
        headers.push((UNREADABLE_HEADER, None));
    }
    headers
}

/// # Safety
/// If there is a pointer, so many bytes must be valid behind it for `'m`.
unsafe fn bytes<'m>(start: *const u8, length: usize) -> Option<&'m [u8]> {
    // SAFETY: by this function's own contract.
    (!start.is_null()).then(|| unsafe { std::slice::from_raw_parts(start, length) })
}
