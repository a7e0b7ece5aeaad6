//! `meterhouse demo`: the whole path on one machine, with nothing installed.
//!
//! Starts librdkafka's in-process broker, produces a month of usage for four systems through a real
//! producer, reads it through the real consumer into a lake per system, shows what landed, closes the month and
//! shows the invoices. The events are the same each time, so a second run finds everything in place.

mod bill;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use ::ingest::kafka::{KafkaSource, ingest_kafka};
use ::ingest::metrics::Metrics;
use ::ingest::pipeline::{IngestReport, IngestRun};
use ::ingest::settings::IngestSettings;
use anyhow::{Context, Result};
use arrow::array::{Array, AsArray};
use clap::Args;
use rating::catalog::Catalog;
use rdkafka::mocking::MockCluster;
use sql::lake::{Lake, Table};

use crate::cli::{Exit, runtime};
use crate::config::KafkaConfig;
use crate::generate::{Kafka, Shape, Share, generate};
use crate::output::{Format, Rows};

/// A system's name, its catalog, and how much usage it makes in a month.
const SYSTEMS: [(&str, &str, u64); 4] = [
    ("redline", include_str!("../../testdata/catalogs/redline.yaml"), 4_000),
    ("onmemos", include_str!("../../testdata/catalogs/onmemos.yaml"), 4_000),
    ("zemfyre", include_str!("../../testdata/catalogs/zemfyre.yaml"), 6_000),
    ("documents", include_str!("../../testdata/catalogs/documents.yaml"), 3_000),
];
const PARTITIONS: i32 = 4;
const TENANTS: u64 = 4;
/// May 2026, in UTC.
const MONTH_START_US: i64 = 1_777_593_600_000_000;
const MONTH_US: i64 = 31 * 86_400_000_000;

/// Try everything on this machine: a month of usage of four systems, from Kafka to invoices
#[derive(Debug, Clone, Args)]
pub struct DemoArgs {
    /// Where the demo keeps its lakes, catalogs and settings
    #[arg(long, value_name = "FOLDER", default_value = "meterhouse-demo")]
    folder: PathBuf,
}

pub fn run(args: &DemoArgs) -> Result<Exit> {
    let broker = MockCluster::new(1).context("cannot start the embedded Kafka broker")?;
    eprintln!("Kafka broker started inside this process at {}", broker.bootstrap_servers());
    let runtime = runtime()?;
    let mut systems = Vec::new();
    for (name, catalog_text, events) in SYSTEMS {
        let folder = args.folder.join(name);
        std::fs::create_dir_all(&folder)
            .with_context(|| format!("cannot make the folder {}", folder.display()))?;
        write_settings(&folder, name, catalog_text)?;
        let catalog = Catalog::parse(catalog_text, &format!("{name}.yaml"))?;
        let topic = format!("{name}.usage");
        broker.create_topic(&topic, PARTITIONS, 1).context("cannot make a topic")?;
        produce(&catalog, &broker.bootstrap_servers(), &topic, events)?;
        let lake = Lake::open(&folder.join("lake").to_string_lossy())?;
        systems.push(System { name, folder, catalog, topic, lake });
    }
    let reports = consume_all(&runtime, &systems, &broker.bootstrap_servers())?;
    for (system, report) in systems.iter().zip(&reports) {
        let landed = runtime.block_on(landed(&system.lake))?;
        show(system.name, &system.folder, report, &landed)?;
    }
    let mut is_verified = true;
    for system in &systems {
        is_verified &= bill::close_and_show(&runtime, system)?;
    }
    say_what_next(&args.folder);
    Ok(if is_verified { Exit::Done } else { Exit::ReconciliationMismatch })
}

/// One of the four systems in its folder.
struct System {
    name: &'static str,
    folder: PathBuf,
    catalog: Catalog,
    topic: String,
    lake: Lake,
}

/// Reads all topics at once: each group of consumers waits some seconds for the broker to deal out partitions.
fn consume_all(
    runtime: &tokio::runtime::Runtime,
    systems: &[System],
    brokers: &str,
) -> Result<Vec<IngestReport>> {
    std::thread::scope(|scope| {
        let consume =
            |system: &System| consume(runtime, &system.lake, system.catalog.clone(), brokers, &system.topic);
        let threads: Vec<_> = systems.iter().map(|system| scope.spawn(move || consume(system))).collect();
        let joined = threads.into_iter().map(|thread| thread.join().expect("ingest does not panic"));
        joined.collect()
    })
}

/// A folder that can be worked in: a settings file beside its catalog.
fn write_settings(folder: &Path, name: &str, catalog: &str) -> Result<()> {
    let settings = format!(
        "# Settings of the demo system {name}. All keys: `meterhouse config init --dry-run`.\n\
         lake = \"lake\"\ncatalog = \"catalog.yaml\"\n\n\
         [kafka]\nbrokers = [\"127.0.0.1:9092\"]\ntopics = [\"{name}.usage\"]\n\n\
         [issuer]\nname = \"The {name} company\"\naddress = \"1 Example Street\\nSpringfield\"\n\
         email = \"billing@{name}.example\"\n",
    );
    for (file, text) in [("meterhouse.toml", settings.as_str()), ("catalog.yaml", catalog)] {
        let path = folder.join(file);
        std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

fn produce(catalog: &Catalog, brokers: &str, topic: &str, events: u64) -> Result<()> {
    let shape = Shape {
        seed: 2026,
        tenants: TENANTS,
        resources: 3,
        events,
        start_us: MONTH_START_US,
        end_us: MONTH_START_US + MONTH_US,
        duplicates: Share(10_000),
        disorder: Share(20_000),
        poison: Share::default(),
        event_bytes_min: 0,
    };
    let kafka = KafkaConfig {
        brokers: vec![brokers.to_owned()],
        topics: vec![topic.to_owned()],
        group: String::new(),
        properties: BTreeMap::new(),
    };
    generate(catalog, shape, &mut Kafka::open(&kafka, topic)?)?;
    Ok(())
}

fn consume(
    runtime: &tokio::runtime::Runtime,
    lake: &Lake,
    catalog: Catalog,
    brokers: &str,
    topic: &str,
) -> Result<IngestReport> {
    let run = IngestRun {
        lake: lake.clone(),
        catalog,
        settings: IngestSettings::default(),
        metrics: Arc::new(Metrics::default()),
        runtime: runtime.handle().clone(),
        stop: Arc::new(AtomicBool::new(false)),
    };
    let source = KafkaSource {
        brokers: brokers.to_owned(),
        topics: vec![topic.to_owned()],
        group: format!("demo-{topic}"),
        until_end: true,
        accepted_gaps: Vec::new(),
        properties: Vec::new(),
    };
    Ok(ingest_kafka(&run, &source)?)
}

/// Rows of the lake by meter and tenant.
type Landed = BTreeMap<String, BTreeMap<String, u64>>;

async fn landed(lake: &Lake) -> Result<Landed> {
    let table = lake.table(Table::UsageEvents);
    let snapshot = table.snapshot(None).await?;
    let mut landed = Landed::new();
    for source in crate::compact::fetch(&table, &snapshot.files).await? {
        for batch in source.read_plain(&["tenant", "meter"])? {
            let batch = batch?;
            let (tenants, meters) = (batch.column(0).as_string::<i32>(), batch.column(1).as_string::<i32>());
            for row in 0..batch.num_rows() {
                let meter = if meters.is_valid(row) { meters.value(row) } else { "(no meter)" };
                let tenants_of_meter = landed.entry(meter.to_owned()).or_default();
                *tenants_of_meter.entry(tenants.value(row).to_owned()).or_default() += 1;
            }
        }
    }
    Ok(landed)
}

fn show(name: &str, folder: &Path, report: &IngestReport, landed: &Landed) -> Result<()> {
    let tenants: std::collections::BTreeSet<&str> =
        landed.values().flat_map(|tenants| tenants.keys().map(String::as_str)).collect();
    let rows: u64 = landed.values().flat_map(BTreeMap::values).sum();
    println!("\n{name}: {rows} rows for {} tenants in {}", tenants.len(), folder.join("lake").display());
    match report.version {
        Some(_) => {
            println!("new in this run: {} events in {} commits\n", report.counts.events, report.commits);
        }
        None => println!("all of it was here from an earlier run; nothing was counted twice\n"),
    }
    let mut columns = vec!["meter"];
    columns.extend(&tenants);
    let mut table = Rows::new(&columns);
    for (meter, counts) in landed {
        let mut row = vec![meter.clone().into()];
        row.extend(tenants.iter().map(|tenant| counts.get(*tenant).copied().unwrap_or(0).into()));
        table.push(row);
    }
    table.print(Format::Table)?;
    Ok(())
}

fn say_what_next(folder: &Path) {
    let settings = folder.join("zemfyre").join("meterhouse.toml");
    let program = std::env::args().next().unwrap_or_else(|| "meterhouse".to_owned());
    println!(
        "\nWhat next:\n  {program} --config {0} invoice show --tenant instance-harbor --period 2026-05\n  \
         {program} --config {0} explain --tenant instance-harbor --period 2026-05 storage --events\n  \
         {program} --config {0} sql \"select meter, measure, value from quantities('2026-05') where tenant = 'instance-harbor'\"",
        settings.display()
    );
}
