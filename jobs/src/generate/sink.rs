//! Where generated messages go.

use std::fs::{File, OpenOptions};
use std::io::{BufWriter, Stdout, Write};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use rdkafka::ClientContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Header, OwnedHeaders};
use rdkafka::producer::{BaseRecord, Producer, ProducerContext, ThreadedProducer};

use crate::config::KafkaConfig;

const BUFFER_BYTES: usize = 1 << 20;
/// How long the brokers may take for the last messages.
const FLUSH_TIME_MAX: Duration = Duration::from_mins(1);
/// How long to wait for room in a full queue before looking again.
const QUEUE_FULL_WAIT: Duration = Duration::from_millis(5);

/// Takes messages; nothing counts as delivered before `finish` has returned.
pub trait Sink {
    fn put(&mut self, key: &str, payload: &[u8]) -> Result<()>;
    fn finish(&mut self) -> Result<()>;
}

/// Counts only: for `--dry-run`.
#[derive(Debug, Default)]
pub struct Nowhere;

impl Sink for Nowhere {
    fn put(&mut self, _: &str, _: &[u8]) -> Result<()> {
        Ok(())
    }

    fn finish(&mut self) -> Result<()> {
        Ok(())
    }
}

/// One message per line.
#[derive(Debug)]
pub struct Lines<W: Write> {
    out: BufWriter<W>,
}

impl Lines<Stdout> {
    pub fn stdout() -> Self {
        Self { out: BufWriter::with_capacity(BUFFER_BYTES, std::io::stdout()) }
    }
}

impl Lines<File> {
    pub fn file(path: &Path, overwrite: bool) -> Result<Self> {
        let mut options = OpenOptions::new();
        options.write(true).truncate(true).create(overwrite).create_new(!overwrite);
        let opened = options.open(path);
        if matches!(&opened, Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists) {
            bail!("{} exists; --force overwrites it", path.display());
        }
        let file = opened.with_context(|| format!("cannot write {}", path.display()))?;
        Ok(Self { out: BufWriter::with_capacity(BUFFER_BYTES, file) })
    }
}

impl<W: Write> Sink for Lines<W> {
    fn put(&mut self, _: &str, payload: &[u8]) -> Result<()> {
        self.out.write_all(payload)?;
        Ok(self.out.write_all(b"\n")?)
    }

    fn finish(&mut self) -> Result<()> {
        Ok(self.out.flush()?)
    }
}

/// Structured CloudEvents on a topic.
#[expect(missing_debug_implementations, reason = "the producer has none")]
pub struct Kafka {
    producer: ThreadedProducer<Deliveries>,
    topic: String,
    headers: OwnedHeaders,
    deliveries: Deliveries,
}

/// Keeps the first failure: the others follow from it.
#[derive(Debug, Clone, Default)]
struct Deliveries {
    first_failure: Arc<Mutex<Option<String>>>,
}

impl Deliveries {
    fn check(&self) -> Result<()> {
        match &*self.first_failure.lock().expect("no holder panics") {
            Some(failure) => bail!("a message was not delivered: {failure}"),
            None => Ok(()),
        }
    }
}

impl ClientContext for Deliveries {
    fn error(&self, error: KafkaError, reason: &str) {
        tracing::warn!("kafka: {error}: {reason}");
    }
}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        if let Err((error, _)) = result {
            self.first_failure.lock().expect("no holder panics").get_or_insert_with(|| error.to_string());
        }
    }
}

impl Kafka {
    pub fn open(kafka: &KafkaConfig, topic: &str) -> Result<Self> {
        ensure!(!kafka.brokers.is_empty(), "no brokers: give --kafka, or set `brokers` in [kafka]");
        let mut config = kafka.client_config();
        for (name, value) in [
            ("enable.idempotence", "true"),
            ("compression.type", "lz4"),
            ("linger.ms", "20"),
            ("batch.size", "1000000"),
            ("batch.num.messages", "10000"),
            ("queue.buffering.max.messages", "500000"),
            ("queue.buffering.max.kbytes", "262144"),
            ("message.timeout.ms", "60000"),
        ] {
            // What the settings say stands.
            if config.get(name).is_none() {
                config.set(name, value);
            }
        }
        let deliveries = Deliveries::default();
        let producer = config
            .create_with_context(deliveries.clone())
            .with_context(|| format!("cannot set up a producer for {}", kafka.brokers.join(", ")))?;
        let headers = OwnedHeaders::new()
            .insert(Header { key: "content-type", value: Some("application/cloudevents+json") });
        Ok(Self { producer, topic: topic.to_owned(), headers, deliveries })
    }
}

impl Sink for Kafka {
    fn put(&mut self, key: &str, payload: &[u8]) -> Result<()> {
        let mut record = BaseRecord::to(&self.topic).key(key).payload(payload).headers(self.headers.clone());
        loop {
            let Err((error, refused)) = self.producer.send(record) else { return Ok(()) };
            if error.rdkafka_error_code() != Some(RDKafkaErrorCode::QueueFull) {
                return Err(error).with_context(|| format!("cannot produce to topic {}", self.topic));
            }
            self.deliveries.check()?;
            record = refused;
            std::thread::sleep(QUEUE_FULL_WAIT);
        }
    }

    fn finish(&mut self) -> Result<()> {
        let flushed = self.producer.flush(FLUSH_TIME_MAX);
        self.deliveries.check()?;
        flushed.with_context(|| format!("the brokers did not confirm the last messages to {}", self.topic))
    }
}
