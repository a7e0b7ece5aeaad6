//! `meterhouse generate`: synthetic usage for any catalog.
//!
//! Owns what the events look like and in which order they come; the same arguments give the same bytes on every
//! machine. It feeds tests, benchmarks and demos, and never reads a clock.

mod event;
mod generator;
mod hints;
mod lake_sink;
mod plan;
mod poison;
mod random;
mod sink;
#[cfg(test)]
mod tests;
mod time_text;

use std::io::IsTerminal;
use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use clap::{ArgGroup, Args};
use indicatif::{ProgressBar, ProgressStyle};
use jiff::tz::TimeZone;
use rating::catalog::Catalog;

pub use generator::{Generator, Message, MessageKind, Shape, Share};
pub use lake_sink::IntoLake;
pub use sink::{Kafka, Lines, Nowhere, Sink};

use sql::lake::Lake;

use crate::cli::{Exit, Globals, read_catalog, runtime};
use crate::ingest::ingest_settings;

const DAY_US: i64 = 86_400_000_000;
/// How many messages pass between two looks at the progress bar.
const MESSAGES_PER_TICK: u64 = 1 << 14;

/// Make synthetic usage events for a catalog: to a file, to stdout, to Kafka or into the lake
#[derive(Debug, Clone, Args)]
#[command(
    group = ArgGroup::new("destination").required(true).args(["to", "kafka", "lake", "dry_run"]),
    after_help = "\
Examples:
  meterhouse generate --catalog catalog.yaml --events 1000 --to - | head -3
  meterhouse generate --events 1e6 --duplicates 1% --disorder 2% --poison 0.1% --to events.ndjson
  meterhouse generate --events 5e6 --tenants 1000 --kafka 127.0.0.1:9092 --topic usage
  meterhouse generate --events 1e7 --tenants 10000 --lake
  meterhouse generate --events 100000 --dry-run

The same arguments give the same bytes, on every machine. Event ids are UUIDs made from the seed, so generating \
twice is the same as sending every event twice: Meterhouse counts each once. Another seed gives other events.

Sessions that still run at the end of the period stay open. Kafka messages are structured CloudEvents with the \
tenant as key; security settings come from [kafka.properties] in meterhouse.toml.")]
pub struct GenerateArgs {
    /// The catalog whose meters the events feed [default: `catalog` in the settings]
    #[arg(long, value_name = "FILE")]
    catalog: Option<PathBuf>,
    /// Chooses one of 2^64 streams of events
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many tenants, those of the catalog first; the n-th has one n-th of the first one's events
    #[arg(long, value_name = "COUNT", default_value = "20", value_parser = count)]
    tenants: u64,
    /// How many resources (devices, folders, brokers …) each tenant has
    #[arg(long, value_name = "COUNT", default_value = "5", value_parser = count)]
    resources: u64,
    /// How many good, different events; duplicates and poison come on top. 1e6 is a million
    #[arg(long, value_name = "COUNT", default_value = "100000", value_parser = count)]
    events: u64,
    /// The first day, in UTC
    #[arg(long, value_name = "DATE", default_value = "2026-05-01")]
    start: jiff::civil::Date,
    /// How many days
    #[arg(long, value_name = "COUNT", default_value = "31", value_parser = count)]
    days: u64,
    /// How many events are sent a second time, byte for byte, like 1% or 0.5%
    #[arg(long, value_name = "PERCENT", default_value = "0%", value_parser = share)]
    duplicates: Share,
    /// How many events come late, after up to 1000 that happened after them
    #[arg(long, value_name = "PERCENT", default_value = "0%", value_parser = share)]
    disorder: Share,
    /// How many messages that must be rejected are mixed in
    #[arg(long, value_name = "PERCENT", default_value = "0%", value_parser = share)]
    poison: Share,
    /// Pad events to at least this many bytes
    #[arg(long, value_name = "BYTES", default_value_t = 0)]
    event_bytes: u64,
    /// Write one event per line into this file; `-` is stdout
    #[arg(long, value_name = "FILE")]
    to: Option<PathBuf>,
    /// Overwrite the file if it exists
    #[arg(long, requires = "to")]
    force: bool,
    /// Send to these brokers (host:port,…); without a value, to those of the settings
    #[arg(long, value_name = "BROKERS", num_args = 0..=1, default_missing_value = "")]
    kafka: Option<String>,
    /// The topic [default: the first of `topics` in the settings]
    #[arg(long, requires = "kafka")]
    topic: Option<String>,
    /// Put the events straight into the lake of the settings
    #[arg(long)]
    lake: bool,
    /// Make everything and send it nowhere; shows how fast that is
    #[arg(long)]
    dry_run: bool,
}

/// What came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Generated {
    pub events: u64,
    /// Of the events, how many came late.
    pub late: u64,
    pub duplicates: u64,
    pub poison: u64,
    pub bytes: u64,
}

impl Generated {
    pub fn messages(&self) -> u64 {
        self.events + self.duplicates + self.poison
    }

    fn count(&mut self, message: Message<'_>) {
        self.bytes += message.payload.len() as u64;
        match message.kind {
            MessageKind::Event => self.events += 1,
            MessageKind::Late => {
                self.events += 1;
                self.late += 1;
            }
            MessageKind::Duplicate => self.duplicates += 1,
            MessageKind::Poison => self.poison += 1,
        }
    }
}

pub fn run(args: &GenerateArgs, globals: &Globals) -> Result<Exit> {
    let config = globals.load_config()?;
    let catalog = read_catalog(args.catalog.as_ref().unwrap_or(&config.catalog))?;
    let shape = shape(args)?;
    let runtime = runtime()?;
    let mut sink: Box<dyn Sink> = match (&args.to, &args.kafka) {
        (Some(path), _) if path.as_os_str() == "-" => Box::new(Lines::stdout()),
        (Some(path), _) => Box::new(Lines::file(path, args.force)?),
        (None, Some(brokers)) => {
            let mut kafka = config.kafka;
            if !brokers.is_empty() {
                kafka.brokers = brokers.split(',').map(|broker| broker.trim().to_owned()).collect();
            }
            let topic = args.topic.as_ref().or(kafka.topics.first()).context("no topic: give --topic")?;
            Box::new(Kafka::open(&kafka, topic)?)
        }
        (None, None) if args.lake => {
            let (lake, settings) = (Lake::open(&config.lake)?, ingest_settings(&config.ingest));
            let name = format!("generated-{}", args.seed);
            Box::new(IntoLake::open(lake, catalog.clone(), settings, &name, &runtime)?)
        }
        (None, None) => Box::new(Nowhere),
    };
    let started = Instant::now();
    let generated = generate(&catalog, shape, &mut *sink)?;
    report(&generated, started.elapsed());
    Ok(Exit::Done)
}

fn shape(args: &GenerateArgs) -> Result<Shape> {
    let start = args.start.to_zoned(TimeZone::UTC).context("the first day is out of range")?;
    let start_us = start.timestamp().as_microsecond();
    ensure!(args.days <= 3660, "at most ten years (3660 days), found {} days", args.days);
    Ok(Shape {
        seed: args.seed,
        tenants: args.tenants,
        resources: args.resources,
        events: args.events,
        start_us,
        end_us: start_us + args.days as i64 * DAY_US,
        duplicates: args.duplicates,
        disorder: args.disorder,
        poison: args.poison,
        event_bytes_min: args.event_bytes,
    })
}

/// Makes all messages of a shape and puts them into the sink.
pub fn generate(catalog: &Catalog, shape: Shape, sink: &mut dyn Sink) -> Result<Generated> {
    let bar = progress_bar(shape.messages());
    let mut generator = Generator::new(catalog, shape)?;
    let mut generated = Generated::default();
    while let Some(message) = generator.next_message() {
        sink.put(message.key, message.payload)?;
        generated.count(message);
        if generated.messages().is_multiple_of(MESSAGES_PER_TICK) {
            bar.set_position(generated.messages());
        }
    }
    sink.finish()?;
    bar.finish_and_clear();
    Ok(generated)
}

fn progress_bar(messages: u64) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{wide_bar} {human_pos}/{human_len} {per_sec} {eta}")
        .expect("the template is valid");
    ProgressBar::new(messages).with_style(style)
}

fn report(generated: &Generated, took: std::time::Duration) {
    let Generated { events, late, duplicates, poison, bytes } = generated;
    let seconds = took.as_secs_f64().max(0.001);
    let per_second = (generated.messages() as f64 / seconds) as u64;
    eprintln!(
        "{events} events ({late} late), {duplicates} duplicates, {poison} poison: {} messages of {} bytes on average \
         in {seconds:.1} s, {per_second} per second",
        generated.messages(),
        bytes / generated.messages().max(1),
    );
}

/// A whole number above zero; 1e6, 1_000_000 and 5M are easier to read than seven digits.
pub fn count(text: &str) -> Result<u64, String> {
    let wrong = || "expected a whole number above zero, like 100000, 100_000, 1e5 or 5M".to_owned();
    let plain = text.replace('_', "");
    let (digits, factor) = match plain.split_once(['e', 'E']) {
        Some((digits, exponent)) => {
            let exponent = exponent.parse::<u32>().map_err(|_| wrong())?;
            (digits, 10u64.checked_pow(exponent).ok_or_else(wrong)?)
        }
        None => match plain.strip_suffix(['k', 'K']) {
            Some(digits) => (digits, 1_000),
            None => plain.strip_suffix('M').map_or((plain.as_str(), 1), |digits| (digits, 1_000_000)),
        },
    };
    let number: u64 = digits.parse().map_err(|_| wrong())?;
    number.checked_mul(factor).filter(|count| *count > 0).ok_or_else(wrong)
}

/// A percentage with up to four decimals, as millionths.
fn share(text: &str) -> Result<Share, String> {
    let wrong = || "expected a percentage from 0 to 100 with at most 4 decimals, like 1% or 0.5%".to_owned();
    let number = text.trim().trim_end_matches('%').trim_end();
    let (whole, decimals) = number.split_once('.').unwrap_or((number, ""));
    let is_number = !whole.is_empty() && whole.bytes().chain(decimals.bytes()).all(|c| c.is_ascii_digit());
    if !is_number || decimals.len() > 4 {
        return Err(wrong());
    }
    let millionths: u64 = format!("{whole}{decimals:0<4}").parse().map_err(|_| wrong())?;
    u32::try_from(millionths).ok().filter(|share| *share <= 1_000_000).map(Share).ok_or_else(wrong)
}
