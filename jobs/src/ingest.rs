//! `meterhouse ingest`: usage into the lake, from Kafka or from files.

use std::fmt::Write as _;
use std::io::IsTerminal;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use ::ingest::decode::DecodeLimits;
use ::ingest::files::{FileSource, FilesReport, StoppedAt, ingest_files};
use ::ingest::kafka::{AcceptedGap, KafkaSource, ingest_kafka};
use ::ingest::metrics::Metrics;
use ::ingest::pipeline::{IngestError, IngestReport, IngestRun};
use ::ingest::settings::IngestSettings;
use anyhow::{Context, Result, bail};
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use sql::lake::Lake;

use crate::cli::{Exit, Globals, TryAgain, read_catalog, runtime};
use crate::config::{Config, IngestConfig};
use crate::memory::keep_freed_memory;
use crate::metrics_server;

/// Longer than a batch takes, so that each finds the memory of the one before.
pub const FREED_MEMORY_KEPT: Duration = Duration::from_secs(10);

/// Read usage events from Kafka or files into the lake, each exactly once
#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Examples:
  meterhouse ingest --kafka 127.0.0.1:9092 --topic usage
  meterhouse ingest --topic usage --topic corrections --until-end
  meterhouse ingest --file events.ndjson
  zcat backfill.gz | meterhouse ingest --file -

Runs until stopped (Ctrl-C or SIGTERM), and commits what it has before it ends. Where to read on is kept in the \
lake itself, in the same commit as the rows, so a crash at any moment neither loses nor doubles an event. Start as \
many processes as you like: the consumer group shares the partitions out among them.

Files hold one CloudEvent (JSON) per line; reading a file twice does no harm, because events are known by their \
source and id. Exit code 3 says that some messages were rejected: see `meterhouse rejects`. Exit code 75 says that a \
signal came before the end of a file: the rest is still to be read.")]
pub struct IngestArgs {
    /// Read from these brokers (host:port,…) [default: `brokers` in the settings]
    #[arg(long, value_name = "BROKERS")]
    kafka: Option<String>,
    /// Read this topic; may be given several times [default: `topics` in the settings]
    #[arg(long, value_name = "TOPIC")]
    topic: Vec<String>,
    /// The consumer group that shares out partitions [default: `group` in the settings]
    #[arg(long, value_name = "GROUP")]
    group: Option<String>,
    /// Stop when everything is read that was there at the start
    #[arg(long)]
    until_end: bool,
    /// Read this file, or standard input for `-`, in place of Kafka; may be given several times
    #[arg(long, value_name = "FILE", conflicts_with_all = ["kafka", "topic", "group", "until_end", "accept_gap"])]
    file: Vec<PathBuf>,
    /// Go on after a gap in a partition's offsets, as the error message names it
    #[arg(long, value_name = "TOPIC:PARTITION:FROM-TO")]
    accept_gap: Vec<AcceptedGap>,
    /// Serve Prometheus metrics on this address, such as 127.0.0.1:9464 [default: `listen` in the settings]
    #[arg(long, value_name = "ADDRESS")]
    metrics: Option<SocketAddr>,
}

pub fn run(args: &IngestArgs, globals: &Globals) -> Result<Exit> {
    keep_freed_memory(FREED_MEMORY_KEPT);
    let config = globals.load_config()?;
    let runtime = runtime()?;
    let run = IngestRun {
        lake: Lake::open(&config.lake)?,
        catalog: read_catalog(&config.catalog)?,
        settings: ingest_settings(&config.ingest),
        metrics: Arc::new(Metrics::default()),
        runtime: runtime.handle().clone(),
        stop: Arc::new(AtomicBool::new(false)),
    };
    stop_on_signals(&runtime, &run.stop)?;
    if let Some(address) = args.metrics.or(config.metrics.listen) {
        runtime.block_on(metrics_server::serve(address, Arc::clone(&run.metrics)))?;
    }
    let read_bytes = Arc::new(AtomicU64::new(0));
    let progress = Progress::start(&run.metrics, Work::of(args), &read_bytes);
    let result = if args.file.is_empty() {
        ingest_kafka(&run, &kafka_source(args, &config)?)
            .map(|report| FilesReport { report, stopped_at: None })
    } else {
        let sources: Vec<FileSource> = args.file.iter().map(|path| file_source(path)).collect();
        ingest_files(&run, &sources, |bytes| {
            read_bytes.fetch_add(bytes, Ordering::Relaxed);
        })
    };
    progress.finish();
    let FilesReport { report, stopped_at } = match result {
        Ok(read) => read,
        Err(error @ (IngestError::Commit(_) | IngestError::Kafka { .. })) => {
            return Err(anyhow::Error::new(error).context(TryAgain));
        }
        Err(error) => return Err(error.into()),
    };
    eprintln!("{}", summary(&report));
    if let Some(StoppedAt { file, line }) = stopped_at {
        eprintln!(
            "stopped after line {line} of {file}, before its end; run the same command again to read the rest: what \
             was read already counts once"
        );
        return Ok(Exit::TryAgain);
    }
    Ok(if report.counts.rejected > 0 { Exit::DoneWithRejects } else { Exit::Done })
}

fn file_source(path: &std::path::Path) -> FileSource {
    if path.as_os_str() == "-" { FileSource::StandardInput } else { FileSource::Path(path.to_owned()) }
}

/// What the settings say of ingest, in the terms of the ingest crate.
pub fn ingest_settings(config: &IngestConfig) -> IngestSettings {
    IngestSettings {
        limits: DecodeLimits {
            future_tolerance_us: i64::try_from(config.future_tolerance.as_micros()).unwrap_or(i64::MAX),
            earliest_time_us: config.earliest_time.as_microsecond(),
            message_bytes_max: usize::try_from(config.message_bytes_max).unwrap_or(usize::MAX),
        },
        flush_rows: usize::try_from(config.flush_rows).unwrap_or(usize::MAX),
        flush_age: config.flush_age.try_into().unwrap_or(Duration::ZERO),
        file_size_bytes: usize::try_from(config.file_size).unwrap_or(usize::MAX),
        open_days_max: usize::try_from(config.open_days_max).unwrap_or(usize::MAX),
    }
}

fn kafka_source(args: &IngestArgs, config: &Config) -> Result<KafkaSource> {
    let brokers = args.kafka.clone().unwrap_or_else(|| config.kafka.brokers.join(","));
    let topics = if args.topic.is_empty() { config.kafka.topics.clone() } else { args.topic.clone() };
    if brokers.is_empty() {
        bail!("no brokers to read from: give --kafka HOST:PORT, or set `brokers` in the settings");
    }
    if topics.is_empty() {
        bail!("no topic to read: give --topic NAME, or set `topics` in the settings");
    }
    let properties = config.kafka.properties.iter();
    Ok(KafkaSource {
        brokers,
        topics,
        group: args.group.clone().unwrap_or_else(|| config.kafka.group.clone()),
        until_end: args.until_end,
        accepted_gaps: args.accept_gap.clone(),
        properties: properties.map(|(name, value)| (name.clone(), value.expose().to_owned())).collect(),
    })
}

/// The first signal ends the run after a last commit; the second ends it at once.
fn stop_on_signals(runtime: &tokio::runtime::Runtime, stop: &Arc<AtomicBool>) -> Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let stop = Arc::clone(stop);
    let _guard = runtime.enter();
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for signals")?;
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for signals")?;
    runtime.spawn(async move {
        for ask in ["stopping after a last commit; again to stop at once", ""] {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            if ask.is_empty() {
                std::process::exit(i32::from(Exit::TryAgain.code()));
            }
            eprintln!("{ask}");
            stop.store(true, Ordering::SeqCst);
        }
    });
    Ok(())
}

/// How much there is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Work {
    Endless,
    /// What the topics hold at the start.
    Messages,
    /// Files of so many bytes together.
    Bytes(u64),
}

impl Work {
    fn of(args: &IngestArgs) -> Self {
        if args.file.is_empty() {
            return if args.until_end { Self::Messages } else { Self::Endless };
        }
        // A pipe has no size, and then nobody knows the end.
        let size = |path: &PathBuf| Some(path.metadata().ok().filter(std::fs::Metadata::is_file)?.len());
        args.file.iter().map(size).sum::<Option<u64>>().map_or(Self::Endless, Self::Bytes)
    }

    fn template(self) -> &'static str {
        match self {
            Self::Endless => "{spinner} {human_pos} messages committed, {per_sec}, {msg}",
            Self::Messages => {
                "{wide_bar} {human_pos} of {human_len} messages committed, {per_sec}, {eta} left"
            }
            Self::Bytes(_) => "{wide_bar} {bytes} of {total_bytes} read, {bytes_per_sec}, {eta} left",
        }
    }
}

/// A line on the terminal that moves while ingest runs.
struct Progress {
    bar: ProgressBar,
    ended: Arc<AtomicBool>,
    ticker: Option<std::thread::JoinHandle<()>>,
}

impl Progress {
    fn start(metrics: &Arc<Metrics>, work: Work, read_bytes: &Arc<AtomicU64>) -> Self {
        let ended = Arc::new(AtomicBool::new(false));
        if !std::io::stderr().is_terminal() {
            return Self { bar: ProgressBar::hidden(), ended, ticker: None };
        }
        let style = ProgressStyle::with_template(work.template()).expect("the template is valid");
        let bar = ProgressBar::new_spinner().with_style(style);
        let ticker = {
            let (bar, metrics, ended) = (bar.clone(), Arc::clone(metrics), Arc::clone(&ended));
            let read_bytes = Arc::clone(read_bytes);
            std::thread::spawn(move || {
                while !ended.load(Ordering::Relaxed) {
                    match work {
                        Work::Endless => {
                            bar.set_position(metrics.messages());
                            bar.set_message(format!("{} to read", metrics.lag()));
                        }
                        Work::Messages => {
                            bar.set_length(metrics.goal());
                            bar.set_position(metrics.offsets());
                        }
                        Work::Bytes(bytes) => {
                            bar.set_length(bytes);
                            bar.set_position(read_bytes.load(Ordering::Relaxed));
                        }
                    }
                    std::thread::sleep(Duration::from_millis(200));
                }
            })
        };
        Self { bar, ended, ticker: Some(ticker) }
    }

    fn finish(self) {
        self.ended.store(true, Ordering::Relaxed);
        if let Some(ticker) = self.ticker {
            let _ = ticker.join();
        }
        self.bar.finish_and_clear();
    }
}

/// A run in one line.
pub fn summary(report: &IngestReport) -> String {
    let counts = &report.counts;
    let mut text = format!("{} messages: {} events in {} rows", counts.messages, counts.events, counts.rows);
    for (count, what) in [
        (counts.unmetered, "events that no meter takes"),
        (counts.rejected, "rejected"),
        (counts.tombstones, "tombstones"),
        (counts.skipped_offsets, "offsets without a message"),
    ] {
        if count > 0 {
            write!(text, ", {count} {what}").expect("writing to a string");
        }
    }
    match report.version {
        Some(version) => format!("{text}; {} commits, usage_events is at version {version}", report.commits),
        None => format!("{text}; nothing new"),
    }
}
