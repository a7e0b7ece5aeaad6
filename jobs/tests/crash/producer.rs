//! Sends numbered messages without pause, and keeps account of what the lake must hold afterwards.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, DeliveryResult, Producer, ProducerContext};

use super::random::Random;
use super::world::PARTITIONS;

/// Only these partitions see transactions: while one is open, nobody reads its partition any further.
const TRANSACTIONAL: [i32; 2] = [6, 7];
const MESSAGES_PER_SECOND: u32 = 800;
const BROKER_PATIENCE: Duration = Duration::from_secs(30);

/// What was sent and acknowledged.
#[derive(Debug, Default)]
pub struct Sent {
    /// The ids of events that must count; each stands for one row per meter.
    pub events: BTreeSet<String>,
    /// The texts of what must be rejected.
    pub poison: BTreeSet<String>,
    pub messages: u64,
    pub tombstones: u64,
    /// Events of transactions that were aborted: nobody may see them.
    pub aborted: u64,
}

pub struct Producing {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Sent>,
}

impl Producing {
    pub fn start(broker: &str, topic: &str, seed: u64) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (broker, topic, stopped) = (broker.to_owned(), topic.to_owned(), Arc::clone(&stop));
        let thread = std::thread::spawn(move || produce(&broker, &topic, seed, &stopped));
        Self { stop, thread }
    }

    /// Ends with a plain message on every partition, so that none ends with a transaction's marker.
    pub fn finish(self) -> Sent {
        self.stop.store(true, Ordering::SeqCst);
        self.thread.join().expect("the producer works")
    }
}

#[derive(Default)]
struct Failures(AtomicUsize);

impl rdkafka::ClientContext for Failures {}

impl ProducerContext for Failures {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        self.0.fetch_add(usize::from(result.is_err()), Ordering::SeqCst);
    }
}

type Connection = BaseProducer<Failures>;

fn connect(broker: &str, transactional_id: Option<&str>) -> Connection {
    let mut settings = ClientConfig::new();
    settings.set("bootstrap.servers", broker).set("enable.idempotence", "true").set("linger.ms", "5");
    if let Some(id) = transactional_id {
        settings.set("transactional.id", id);
    }
    let connection: Connection = settings.create_with_context(Failures::default()).unwrap();
    if transactional_id.is_some() {
        connection.init_transactions(BROKER_PATIENCE).unwrap();
    }
    connection
}

fn produce(broker: &str, topic: &str, seed: u64, stop: &AtomicBool) -> Sent {
    let plain = connect(broker, None);
    let transactional = connect(broker, Some(topic));
    let mut sender = Sender { topic, random: Random::new(seed ^ 0x5eed), number: 0, sent: Sent::default() };
    let started = Instant::now();
    while !stop.load(Ordering::SeqCst) {
        for _ in 0..8 {
            sender.send_any(&plain);
        }
        if sender.number.is_multiple_of(25) {
            sender.send_transaction(&transactional);
        }
        plain.poll(Duration::ZERO);
        let due = started + sender.number * (Duration::from_secs(1) / MESSAGES_PER_SECOND);
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
    }
    for partition in 0..PARTITIONS {
        sender.send_event(&plain, partition);
    }
    plain.flush(BROKER_PATIENCE).unwrap();
    for connection in [&plain, &transactional] {
        assert_eq!(connection.context().0.load(Ordering::SeqCst), 0, "messages were not delivered");
    }
    sender.sent
}

struct Sender<'t> {
    topic: &'t str,
    random: Random,
    number: u32,
    sent: Sent,
}

impl Sender<'_> {
    /// A message of any kind, mostly an event.
    fn send_any(&mut self, connection: &Connection) {
        let partition = self.random.below(PARTITIONS as u64) as i32;
        match self.random.below(40) {
            0 => self.send_poison(connection, partition),
            1 => self.send_tombstone(connection, partition),
            2 => self.send_batch(connection, partition),
            _ => self.send_event(connection, partition),
        }
    }

    fn send(&mut self, connection: &Connection, partition: i32, payload: Option<&str>, batch: bool) {
        let mut record = BaseRecord::<[u8], str>::to(self.topic).partition(partition);
        if let Some(payload) = payload {
            record = record.payload(payload);
        }
        if batch {
            let value = Some("application/cloudevents-batch+json");
            record = record.headers(OwnedHeaders::new().insert(Header { key: "content-type", value }));
        }
        while let Err((error, back)) = connection.send(record) {
            // On a busy machine the broker may fall behind.
            assert_eq!(error.rdkafka_error_code(), Some(RDKafkaErrorCode::QueueFull), "{error}");
            connection.poll(Duration::from_millis(100));
            record = back;
        }
        self.sent.messages += 1;
    }

    fn new_event(&mut self) -> (String, String) {
        self.number += 1;
        let id = format!("event-{:08}", self.number);
        let text = format!(
            r#"{{"specversion":"1.0","id":"{id}","source":"/crash","type":"stored","subject":"tenant-{}","time":"2026-05-{:02}T00:00:00Z","data":{{"bytes":{},"objects":{}}}}}"#,
            self.number % 7,
            self.number % 3 + 1,
            self.number,
            self.number % 11,
        );
        (id, text)
    }

    /// Half of it is no JSON at all, half an event without the value that its meter reads.
    fn new_poison(&mut self) -> String {
        self.number += 1;
        let number = self.number;
        if number.is_multiple_of(2) {
            return format!("poison {number}");
        }
        format!(
            r#"{{"specversion":"1.0","id":"poison-{number}","source":"/crash","type":"stored","subject":"t","time":"2026-05-01T00:00:00Z","data":{{"objects":1}}}}"#
        )
    }

    fn send_event(&mut self, connection: &Connection, partition: i32) {
        let (id, text) = self.new_event();
        self.send(connection, partition, Some(&text), false);
        self.sent.events.insert(id);
    }

    fn send_poison(&mut self, connection: &Connection, partition: i32) {
        let text = self.new_poison();
        self.send(connection, partition, Some(&text), false);
        self.sent.poison.insert(text);
    }

    fn send_tombstone(&mut self, connection: &Connection, partition: i32) {
        self.send(connection, partition, None, false);
        self.sent.tombstones += 1;
    }

    /// One message that carries two events and a poisonous one.
    fn send_batch(&mut self, connection: &Connection, partition: i32) {
        let (first_id, first) = self.new_event();
        let (second_id, second) = self.new_event();
        let poison = loop {
            let poison = self.new_poison();
            if poison.starts_with('{') {
                break poison;
            }
        };
        self.send(connection, partition, Some(&format!("[{first},{poison},{second}]")), true);
        self.sent.events.extend([first_id, second_id]);
        self.sent.poison.insert(poison);
    }

    /// A few events in a transaction, every third of which is aborted.
    fn send_transaction(&mut self, connection: &Connection) {
        connection.begin_transaction().unwrap();
        let aborts = self.random.below(3) == 0;
        for partition in TRANSACTIONAL {
            for _ in 0..=self.random.below(3) {
                let (id, text) = self.new_event();
                self.send(connection, partition, Some(&text), false);
                if aborts {
                    self.sent.messages -= 1;
                    self.sent.aborted += 1;
                } else {
                    self.sent.events.insert(id);
                }
            }
        }
        if aborts {
            // Otherwise they might never leave this process.
            connection.flush(BROKER_PATIENCE).unwrap();
            connection.abort_transaction(BROKER_PATIENCE).unwrap();
        } else {
            connection.commit_transaction(BROKER_PATIENCE).unwrap();
        }
    }
}
