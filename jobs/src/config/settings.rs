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
use super::issuer::IssuerConfig;
use super::reader::{Environment, Reader, Setting, Text, variable_of};
use super::serve_sql::ServeSqlConfig;
use super::{kafka_properties, value};

/// Where the settings are looked for unless something else is named.
pub const DEFAULT_FILE: &str = "meterhouse.toml";
/// Where the catalog is looked for if nothing says otherwise.
pub const DEFAULT_CATALOG: &str = "catalog.yaml";

const DUE_EXAMPLE: &str = "write minute, hour, day of month, month and day of week, and a time zone if it is another: \
                           \"30 6 1 * * Europe/Berlin\"";

/// The effective settings.
#[derive(Debug, Clone)]
pub struct Config {
    /// The file that was read, if there is one.
    pub file: Option<PathBuf>,
    /// A folder, or an s3:// or gs:// address.
    pub lake: String,
    pub catalog: PathBuf,
    /// The folder of people's own reports; it need not exist.
    pub reports: PathBuf,
    pub kafka: KafkaConfig,
    pub ingest: IngestConfig,
    pub identity: IdentityConfig,
    pub metrics: MetricsConfig,
    pub book: BookConfig,
    pub schedule: ScheduleConfig,
    pub stripe: StripeConfig,
    pub issuer: IssuerConfig,
    pub serve_sql: ServeSqlConfig,
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
    /// May carry a password. None stands for a file beside the lake.
    pub url: Option<Secret>,
    /// How long a job that died blocks the next.
    pub lease: SignedDuration,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScheduleConfig {
    /// For entries that name none.
    pub time_zone: String,
    /// How much later than planned an entry may start.
    pub jitter: SignedDuration,
    /// Command lines and when they are due, both as written.
    pub entries: Vec<(String, String)>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StripeConfig {
    pub key: Option<Secret>,
    /// Another address than Stripe's own, for tests.
    pub url: Option<Url>,
    pub calls_per_second: u64,
    /// Whether `close` ends with a push.
    pub push_on_close: bool,
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
        let catalog = reader.setting("", "catalog", value::TEXT, DEFAULT_CATALOG);
        let catalog = reader.resolve(&catalog, &reader.last_origin());
        let reports = reader.setting("", "reports", value::TEXT, "reports");
        let reports = reader.resolve(&reports, &reader.last_origin());
        let config = Self {
            file,
            lake,
            catalog,
            reports,
            kafka: read_kafka(&mut reader),
            ingest: read_ingest(&mut reader),
            identity: IdentityConfig {
                window: reader.setting("identity", "window", value::WINDOW, "35 days"),
            },
            metrics: MetricsConfig { listen: reader.optional("metrics", "listen", value::LISTEN) },
            book: read_book(&mut reader),
            schedule: read_schedule(&mut reader),
            stripe: read_stripe(&mut reader),
            issuer: IssuerConfig::read(&mut reader),
            serve_sql: ServeSqlConfig::read(&mut reader),
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

fn read_stripe(reader: &mut Reader<'_>) -> StripeConfig {
    StripeConfig {
        key: reader.secret("stripe", "key", "key_file"),
        url: reader.optional("stripe", "url", value::HTTP),
        calls_per_second: reader.setting("stripe", "calls_per_second", value::COUNT, "1000"),
        push_on_close: reader.setting("stripe", "push_on_close", value::YES_NO, "false"),
    }
}

fn read_book(reader: &mut Reader<'_>) -> BookConfig {
    let url = reader.optional("book", "url", value::BOOK);
    let origin = reader.last_origin();
    let parsed = url.as_deref().and_then(|url| Url::parse(url).ok()).filter(Url::has_host);
    if let Some(mut without) = parsed.filter(carries_password) {
        if matches!(origin, Origin::File { .. }) {
            let message = "`book.url`: a password does not belong in this file";
            let hint =
                "set METERHOUSE_BOOK_URL, or `url_file` to the path of a file that holds the whole address";
            reader.report(Mistake::new(origin.clone().without_value(), message).hint(hint));
        }
        without.set_query(None);
        let hidden = match without.password() {
            Some(_) => without.set_password(Some("hidden")).map(|()| without.to_string()),
            None => Ok(without.to_string()),
        };
        if let Some(setting) = reader.settings.last_mut() {
            setting.value = Some(hidden.unwrap_or_else(|()| "(hidden)".to_owned()));
        }
    }
    let file = reader.optional("book", "url_file", value::TEXT);
    let file_origin = reader.last_origin();
    let from_file = file.and_then(|path| {
        let secret = reader.secret_file("book.url_file", &path, file_origin.clone())?;
        if (value::BOOK.parse)(secret.expose()).is_none() {
            let message = format!("`book.url_file`: the file does not hold {}", value::BOOK.expected);
            reader.report(Mistake::new(file_origin, message).hint(value::BOOK.example));
        }
        Some(secret)
    });
    let url = url.map(|url| Secret::new(resolve_sqlite(reader, url, &origin)));
    let lease = reader.setting("book", "lease", value::DURATION, "60 s");
    BookConfig { url: url.or(from_file), lease }
}

fn read_schedule(reader: &mut Reader<'_>) -> ScheduleConfig {
    let time_zone = reader.setting("schedule", "time_zone", value::TIME_ZONE, "UTC");
    let jitter = reader.setting("schedule", "jitter", value::TOLERANCE, "30 s");
    let mut entries = Vec::new();
    for (command, due, origin) in reader.texts("schedule", "jobs") {
        let due = match due {
            Text::Plain(due) => due,
            Text::File(_) => {
                let message = format!("`schedule.jobs`: `{command}`: expected when it is due");
                reader.report(Mistake::new(origin, message).hint(DUE_EXAMPLE));
                continue;
            }
        };
        if let Err(problem) = crate::schedule::Due::parse(&due, &time_zone) {
            let message = format!("`schedule.jobs`: `{command}`: {problem}");
            reader.report(Mistake::new(origin, message).hint(DUE_EXAMPLE));
            continue;
        }
        let value = Some(due.clone());
        let name = format!("schedule.jobs.{command}");
        reader.settings.push(Setting { name, value, origin, variable: variable_of("schedule", "jobs") });
        entries.push((command, due));
    }
    ScheduleConfig { time_zone, jitter, entries }
}

/// Drivers take a password among the parameters too.
fn carries_password(url: &Url) -> bool {
    url.password().is_some() || url.query_pairs().any(|(name, _)| name.contains("password"))
}

/// A relative path in the settings file is meant from its folder.
fn resolve_sqlite(reader: &Reader<'_>, url: String, origin: &Origin) -> String {
    let Some(rest) = url.strip_prefix("sqlite:") else {
        return url;
    };
    let path = rest.strip_prefix("//").unwrap_or(rest);
    format!("sqlite:{}", reader.resolve(path, origin).display())
}
