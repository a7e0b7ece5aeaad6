//! Every setting there is, with its default.
//!
//! Owns the keys, their sections and meaning; `meterhouse.toml` beside this file explains them to people, and a
//! test keeps the two alike.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use jiff::{SignedDuration, Timestamp};
use url::Url;

use super::diagnostic::{ConfigErrors, Mistake, Origin, Secret};
use super::reader::{Environment, Reader, Setting};
use super::{kafka_properties, value};

/// Where the settings are looked for unless something else is named.
pub const DEFAULT_FILE: &str = "meterhouse.toml";

/// The effective settings.
#[derive(Debug, Clone)]
pub struct Config {
    /// The file that was read, if there is one.
    pub file: Option<PathBuf>,
    /// A folder, or an s3:// or gs:// address.
    pub lake: String,
    pub catalog: PathBuf,
    pub kafka: KafkaConfig,
    pub ingest: IngestConfig,
    pub identity: IdentityConfig,
    pub metrics: MetricsConfig,
    pub book: BookConfig,
    pub stripe: StripeConfig,
    /// Every setting as text with its origin, for people.
    pub settings: Vec<Setting>,
    /// What is probably a slip, but stops nothing.
    pub warnings: Vec<String>,
}

#[derive(Debug, Clone)]
pub struct KafkaConfig {
    /// Empty if there is no Kafka.
    pub brokers: Vec<String>,
    pub topics: Vec<String>,
    pub group: String,
    /// Handed to librdkafka as they are.
    pub properties: BTreeMap<String, Secret>,
}

impl KafkaConfig {
    /// What every client starts from: the brokers and the properties.
    pub fn client_config(&self) -> rdkafka::ClientConfig {
        let mut config = rdkafka::ClientConfig::new();
        for (name, value) in &self.properties {
            config.set(name, value.expose());
        }
        config.set("bootstrap.servers", self.brokers.join(","));
        config
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IngestConfig {
    pub flush_rows: u64,
    pub flush_age: SignedDuration,
    /// The size in bytes that data files should reach.
    pub file_size: u64,
    pub message_bytes_max: u64,
    pub future_tolerance: SignedDuration,
    pub earliest_time: Timestamp,
    /// How many days of events may be in the making at once.
    pub open_days_max: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdentityConfig {
    /// None is unlimited.
    pub window: Option<SignedDuration>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MetricsConfig {
    pub listen: Option<SocketAddr>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BookConfig {
    /// May carry a password.
    pub url: Secret,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StripeConfig {
    pub key: Option<Secret>,
}

impl Config {
    /// Reads the settings: the environment before the file, the file before the defaults.
    ///
    /// The file is the one that is named, or `meterhouse.toml` in the current folder if it exists.
    pub fn load(named: Option<&Path>, environment: &Environment) -> Result<Self, ConfigErrors> {
        let file = match named {
            Some(path) => Some(path.to_path_buf()),
            None => Some(PathBuf::from(DEFAULT_FILE)).filter(|path| path.exists()),
        };
        let text = file.as_ref().map_or_else(|| Ok(String::new()), std::fs::read_to_string);
        let text = text.map_err(|error| {
            let name = file.as_deref().unwrap_or(Path::new("")).display();
            let message = format!("cannot read the settings file {name}: {error}");
            let hint = "name another with --config, or write one with `meterhouse config init`";
            ConfigErrors { mistakes: vec![Mistake::new(Origin::Default, message).hint(hint)] }
        })?;
        let name = file.as_ref().map_or_else(String::new, |path| path.display().to_string());
        Self::read(file, &name, &text, environment)
    }

    /// Reads the settings from a file's text.
    pub(super) fn read(
        file: Option<PathBuf>,
        name: &str,
        text: &str,
        environment: &Environment,
    ) -> Result<Self, ConfigErrors> {
        let mut reader = Reader::new(name, text, environment);
        let lake = reader.setting("", "lake", value::LAKE, "./lake");
        let lake = match Url::parse(&lake) {
            Ok(url) if url.scheme().len() > 1 => lake,
            _ => reader.resolve(&lake, &reader.last_origin()).display().to_string(),
        };
        let catalog = reader.setting("", "catalog", value::TEXT, "catalog.yaml");
        let catalog = reader.resolve(&catalog, &reader.last_origin());
        let config = Self {
            file,
            lake,
            catalog,
            kafka: read_kafka(&mut reader),
            ingest: read_ingest(&mut reader),
            identity: IdentityConfig {
                window: reader.setting("identity", "window", value::WINDOW, "35 days"),
            },
            metrics: MetricsConfig { listen: reader.optional("metrics", "listen", value::LISTEN) },
            book: read_book(&mut reader),
            stripe: StripeConfig { key: reader.secret("stripe", "key", "key_file") },
            settings: Vec::new(),
            warnings: Vec::new(),
        };
        let (settings, warnings) = reader.close()?;
        Ok(Self { settings, warnings, ..config })
    }

    /// The setting of this name, like `ingest.flush_age`.
    pub fn setting(&self, name: &str) -> Option<&Setting> {
        self.settings.iter().find(|setting| setting.name == name)
    }
}

fn read_kafka(reader: &mut Reader<'_>) -> KafkaConfig {
    KafkaConfig {
        brokers: reader.optional("kafka", "brokers", value::BROKERS).unwrap_or_default(),
        topics: reader.setting("kafka", "topics", value::LIST, "usage"),
        group: reader.setting("kafka", "group", value::TEXT, "meterhouse"),
        properties: kafka_properties::read(reader),
    }
}

fn read_ingest(reader: &mut Reader<'_>) -> IngestConfig {
    IngestConfig {
        flush_rows: reader.setting("ingest", "flush_rows", value::COUNT, "2000000"),
        flush_age: reader.setting("ingest", "flush_age", value::DURATION, "5 s"),
        file_size: reader.setting("ingest", "file_size", value::SIZE, "128 MiB"),
        message_bytes_max: reader.setting("ingest", "message_bytes_max", value::SIZE, "1 MiB"),
        future_tolerance: reader.setting("ingest", "future_tolerance", value::TOLERANCE, "5 min"),
        earliest_time: reader.setting("ingest", "earliest_time", value::INSTANT, "2000-01-01T00:00:00Z"),
        open_days_max: reader.setting("ingest", "open_days_max", value::COUNT, "64"),
    }
}

fn read_book(reader: &mut Reader<'_>) -> BookConfig {
    let url = reader.setting("book", "url", value::BOOK, "sqlite:book.sqlite");
    let origin = reader.last_origin();
    let password = Url::parse(&url).ok().filter(|url| url.password().is_some());
    if let Some(mut without) = password {
        if matches!(origin, Origin::File { .. }) {
            let message = "`book.url`: a password does not belong in this file";
            let hint =
                "set METERHOUSE_BOOK_URL, or `url_file` to the path of a file that holds the whole address";
            reader.report(Mistake::new(origin.without_value(), message).hint(hint));
        }
        let hidden = without.set_password(Some("hidden")).map(|()| without.to_string());
        if let Some(setting) = reader.settings.last_mut() {
            setting.value = Some(hidden.unwrap_or_else(|()| "(hidden)".to_owned()));
        }
    }
    let url_was_given = reader.last_origin() != Origin::Default;
    let file = reader.optional("book", "url_file", value::TEXT);
    let origin = reader.last_origin();
    let from_file = file.and_then(|path| {
        let secret = reader.secret_file("book.url_file", &path, origin.clone())?;
        if (value::BOOK.parse)(secret.expose()).is_none() {
            let message = format!("`book.url_file`: the file does not hold {}", value::BOOK.expected);
            reader.report(Mistake::new(origin, message).hint(value::BOOK.example));
        }
        Some(secret)
    });
    let url = Secret::new(url);
    BookConfig { url: from_file.filter(|_| !url_was_given).unwrap_or(url) }
}
