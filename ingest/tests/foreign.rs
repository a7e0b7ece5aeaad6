//! Software that is not ours on both ends: events made by a CloudEvents SDK must decode to what it says it sent,
//! and readers that know nothing of us must find in the lake what we find.
//!
//! Runs when METERHOUSE_TEST_PYTHON (a venv made by deploy/install-test-tools) and METERHOUSE_TEST_KAFKA
//! (`deploy/services up kafka`) are set.

use std::collections::{BTreeMap, HashSet};
use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use arrow::array::AsArray;
use arrow::datatypes::Decimal128Type;
use ingest::kafka::{KafkaSource, ingest_kafka};
use ingest::metrics::Metrics;
use ingest::pipeline::IngestRun;
use ingest::settings::IngestSettings;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use rating::catalog::Catalog;
use serde_json::Value;
use sql::lake::{Lake, Table, VALUE_SCALE};

const METER: &str = "storage_bytes";
const EVENTS_PER_MODE: u64 = 150;
const DUPLICATES_PER_MODE: u64 = 20;
const PATIENCE: Duration = Duration::from_mins(2);

fn variable(name: &str) -> Option<String> {
    let value = std::env::var(name).ok().filter(|text| !text.is_empty());
    if value.is_none() {
        println!("skipped: {name} is not set");
    }
    value
}

/// Runs a script of ours and reads the JSON object that it prints.
fn run_script(python: &str, name: &str, arguments: &[&str]) -> Value {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/foreign").join(name);
    let mut command = Command::new(python);
    command.arg(script).args(arguments).stdin(Stdio::null()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|error| panic!("cannot start {python}: {error}"));
    let mut stdout = child.stdout.take().unwrap();
    let reader = std::thread::spawn(move || {
        let mut text = String::new();
        stdout.read_to_string(&mut text).map(|_| text)
    });
    let deadline = Instant::now() + PATIENCE;
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if Instant::now() > deadline {
            let _ = child.kill();
            panic!("{name} does not end");
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    let text = reader.join().unwrap().unwrap();
    assert!(status.success(), "{name}: {status}\n{text}");
    serde_json::from_str(&text).unwrap()
}

/// Reads the topic to its end into the lake.
fn ingest(broker: &str, topic: &str, lake: &Lake, runtime: &tokio::runtime::Runtime) -> (u64, u64, u64) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata/catalogs/redline.yaml");
    let catalog = std::fs::read_to_string(path).unwrap();
    let run = IngestRun {
        lake: lake.clone(),
        catalog: Catalog::parse(&catalog, "redline.yaml").unwrap(),
        settings: IngestSettings::default(),
        metrics: Arc::new(Metrics::default()),
        runtime: runtime.handle().clone(),
        stop: Arc::new(AtomicBool::new(false)),
    };
    let source = KafkaSource {
        brokers: broker.to_owned(),
        topics: vec![topic.to_owned()],
        group: topic.to_owned(),
        until_end: true,
        accepted_gaps: Vec::new(),
        properties: Vec::new(),
    };
    let counts = ingest_kafka(&run, &source).unwrap().counts;
    (counts.messages, counts.events, counts.rejected)
}

/// Rows and sum, in units of the last decimal.
type Sums = BTreeMap<String, (u64, i128)>;

/// What the lake holds per tenant: all of its rows, and each event once.
fn our_reading(folder: &Path, lake: &Lake, runtime: &tokio::runtime::Runtime) -> (Sums, Sums) {
    let (mut all, mut once, mut seen) = (Sums::new(), Sums::new(), HashSet::new());
    let snapshot = runtime.block_on(lake.table(Table::UsageEvents).snapshot(None)).unwrap();
    for file in snapshot.files {
        let file = File::open(folder.join(Table::UsageEvents.name()).join(file.path)).unwrap();
        for batch in ParquetRecordBatchReaderBuilder::try_new(file).unwrap().build().unwrap() {
            let batch = batch.unwrap();
            let column = |name| batch.column_by_name(name).unwrap();
            let (tenants, meters) = (column("tenant").as_string::<i32>(), column("meter").as_string::<i32>());
            let (identities, values) =
                (column("identity").as_binary::<i32>(), column("value").as_primitive::<Decimal128Type>());
            for at in 0..batch.num_rows() {
                assert_eq!(meters.value(at), METER);
                let add = |sums: &mut Sums| {
                    let sum = sums.entry(tenants.value(at).to_owned()).or_default();
                    *sum = (sum.0 + 1, sum.1 + values.value(at));
                };
                add(&mut all);
                if seen.insert(identities.value(at).to_owned()) {
                    add(&mut once);
                }
            }
        }
    }
    (all, once)
}

fn whole(text: &Value) -> i128 {
    text.as_str().unwrap().parse::<i128>().unwrap() * 10_i128.pow(VALUE_SCALE as u32)
}

#[test]
fn foreign_events_decode_and_foreign_readers_agree() {
    let Some(python) = variable("METERHOUSE_TEST_PYTHON") else { return };
    let Some(broker) = variable("METERHOUSE_TEST_KAFKA") else { return };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let lake = Lake::open(folder.path().to_str().unwrap()).unwrap();
    let topic = format!("foreign-{}", uuid::Uuid::new_v4());
    let (count, duplicates) = (EVENTS_PER_MODE.to_string(), DUPLICATES_PER_MODE.to_string());
    let arguments = ["--broker", &broker, "--topic", &topic, "--count", &count, "--duplicates", &duplicates];
    let sent = run_script(&python, "produce_cloudevents.py", &arguments);

    let sent_events = sent["events"].as_u64().unwrap() + sent["duplicates"].as_u64().unwrap();
    assert_eq!(sent_events, 3 * (EVENTS_PER_MODE + DUPLICATES_PER_MODE));
    let messages = sent["messages"].as_u64().unwrap();
    assert_eq!(ingest(&broker, &topic, &lake, &runtime), (messages, sent_events, 0));

    let (all, once) = our_reading(folder.path(), &lake, &runtime);
    let told: Sums = sent["tenants"]
        .as_object()
        .unwrap()
        .iter()
        .map(|(tenant, it)| (tenant.clone(), (it["events"].as_u64().unwrap(), whole(&it["sum"]))))
        .collect();
    assert_eq!(once, told, "per tenant: what we read, and what the SDK's script says it sent");

    let read_back =
        run_script(&python, "read_back.py", &[folder.path().join("usage_events").to_str().unwrap()]);
    assert_eq!(read_back["agree"], true);
    for (name, reader) in read_back["readers"].as_object().unwrap() {
        let theirs: Sums = reader["usage"]
            .as_array()
            .unwrap()
            .iter()
            .map(|it| {
                assert_eq!(it["meter"], METER);
                let tenant = it["tenant"].as_str().unwrap().to_owned();
                (tenant, (it["rows"].as_u64().unwrap(), whole(&it["sum"])))
            })
            .collect();
        assert_eq!(theirs, all, "{name} and we read different sums");
        assert_eq!(reader["rows"], sent_events, "{name}");
        assert_eq!(reader["distinct_identities"], sent["events"], "{name}");
    }
    println!(
        "{sent_events} events of an SDK that is not ours; {} readers agree",
        read_back["readers"].as_object().unwrap().len()
    );
}
