//! The whole file ingest: a file's events land once each, and its poison is kept, whatever the store does.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use arrow::array::{AsArray, RecordBatch};
use ingest::batch::{PartitionName, PartitionState};
use ingest::files::{FileSource, ingest_files};
use ingest::metrics::Metrics;
use ingest::pipeline::{IngestError, IngestReport, IngestRun, Pipeline, now_us};
use ingest::raw_message::{Coordinates, Headers, RawMessage};
use ingest::settings::IngestSettings;
use object_store::ObjectStoreExt;
use object_store::path::Path;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use rating::catalog::Catalog;
use sql::lake::{Lake, LakeError, Table};

use super::random::Random;

const CATALOG: &str = "
catalog: faults
meters:
  stored: { kind: gauge, event_type: stored, value: $.bytes, unit: byte }
";
const LINES: u64 = 240;
/// Rows in a batch, so that a file takes several commits.
const FLUSH_ROWS: usize = 40;
const BOUND: Duration = Duration::from_mins(1);

/// Writes the file; returns the ids that must count and the texts that must be rejected.
fn write_lines(file: &mut std::fs::File, seed: u64) -> (BTreeSet<String>, BTreeSet<String>) {
    let mut random = Random::new(seed);
    let (mut ids, mut poison) = (BTreeSet::new(), BTreeSet::new());
    for number in 0..LINES {
        if random.below(12) == 0 {
            let text = format!("poison {number}");
            writeln!(file, "{text}").unwrap();
            poison.insert(text);
            continue;
        }
        writeln!(
            file,
            r#"{{"specversion":"1.0","id":"{number}","source":"/file","type":"stored","subject":"acme","time":"2026-05-{:02}T00:00:00Z","data":{{"bytes":{number}}}}}"#,
            number % 3 + 1
        )
        .unwrap();
        ids.insert(number.to_string());
    }
    (ids, poison)
}

fn run_into(lake: &Lake, runtime: &tokio::runtime::Runtime) -> IngestRun {
    IngestRun {
        lake: lake.clone(),
        catalog: Catalog::parse(CATALOG, "test.yaml").unwrap(),
        settings: IngestSettings { flush_rows: FLUSH_ROWS, ..IngestSettings::default() },
        metrics: Arc::new(Metrics::default()),
        runtime: runtime.handle().clone(),
        stop: Arc::new(AtomicBool::new(false)),
    }
}

/// Ingests a file into `lake` and counts what `clean`, the same lake, holds then.
pub fn ingest_and_check(lake: &Lake, clean: &Lake, seed: u64) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let mut file = tempfile::NamedTempFile::new().unwrap();
    let (ids, poison) = write_lines(file.as_file_mut(), seed);
    let run = run_into(lake, &runtime);
    let report = ingest_until_it_starts(&run, clean, &FileSource::Path(file.path().to_owned()), &runtime);
    assert_eq!((report.counts.events, report.counts.rejected), (ids.len() as u64, poison.len() as u64));
    assert!(report.commits > 3, "{} commits", report.commits);
    assert_once(&texts(clean, &runtime, Table::UsageEvents, "id"), &ids);
    assert_once(&texts(clean, &runtime, Table::RejectedMessages, "payload"), &poison);
}

/// Opening the lake's tables is not tried again by the program, whose supervisor starts it anew; nothing is
/// committed by then. From then on every fault is ingest's own business.
fn ingest_until_it_starts(
    run: &IngestRun,
    clean: &Lake,
    source: &FileSource,
    runtime: &tokio::runtime::Runtime,
) -> IngestReport {
    let deadline = Instant::now() + BOUND;
    loop {
        let error = match ingest_files(run, std::slice::from_ref(source), |_| ()) {
            Ok(read) => return read.report,
            Err(error) => error,
        };
        assert!(Instant::now() < deadline, "ingest never starts: {error:?}");
        for table in Table::ALL {
            match runtime.block_on(clean.table(table).snapshot(None)) {
                Ok(snapshot) => assert_eq!(snapshot.files, [], "it stopped half-way: {error:?}"),
                Err(LakeError::Missing(_)) => {}
                Err(error) => panic!("the clean lake cannot be read: {error:?}"),
            }
        }
    }
}

fn assert_once(found: &[String], expected: &BTreeSet<String>) {
    let mut counts: BTreeMap<&String, u32> = BTreeMap::new();
    for text in found {
        *counts.entry(text).or_default() += 1;
    }
    let twice: Vec<_> = counts.iter().filter(|(_, count)| **count != 1).collect();
    assert!(twice.is_empty(), "more than once: {twice:?}");
    assert!(counts.keys().copied().eq(expected), "lost or made up: {} of {}", counts.len(), expected.len());
}

/// A column of text or bytes of a table's newest version.
fn texts(lake: &Lake, runtime: &tokio::runtime::Runtime, table: Table, column: &str) -> Vec<String> {
    let handle = lake.table(table);
    let snapshot = runtime.block_on(handle.snapshot(None)).unwrap();
    let paths: BTreeSet<&String> = snapshot.files.iter().map(|file| &file.path).collect();
    assert_eq!(paths.len(), snapshot.files.len(), "a file is in the table twice");
    let mut found = Vec::new();
    for file in &snapshot.files {
        let path = Path::from(file.path.as_str());
        let bytes =
            runtime.block_on(async { handle.store().get(&path).await.unwrap().bytes().await.unwrap() });
        let reader = ParquetRecordBatchReaderBuilder::try_new(bytes).unwrap().build().unwrap();
        let batches: Vec<RecordBatch> = reader.map(Result::unwrap).collect();
        assert_eq!(batches.iter().map(|batch| batch.num_rows() as u64).sum::<u64>(), file.rows);
        for batch in batches {
            let values = batch.column_by_name(column).unwrap();
            let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
            match values.as_binary_opt::<i32>() {
                Some(values) => found.extend(values.iter().map(|value| text(value.unwrap()))),
                None => found.extend(values.as_string::<i32>().iter().map(|value| value.unwrap().to_owned())),
            }
        }
    }
    found
}

/// Two batches are on their way, the second with somebody waiting for it, when the first fails for good because
/// the table was changed. Returns how the run ends.
pub fn wait_behind_a_failed_commit(lake: &Lake) -> Result<IngestReport, IngestError> {
    const CHANGE: &str = r#"{"protocol":{"minReaderVersion":1,"minWriterVersion":2}}"#;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let mut pipeline = Pipeline::start(&run_into(lake, &runtime)).unwrap();
    let entry = Path::from(format!("_delta_log/{:020}.json", 1));
    let handle = lake.table(Table::UsageEvents);
    runtime.block_on(handle.store().put(&entry, CHANGE.into())).unwrap();

    let name = PartitionName { topic: "file:test".into(), partition: 0 };
    let state = PartitionState::starting_at(1);
    pipeline.batcher.assign([(name, state)]);
    let take = |pipeline: &mut Pipeline, offset| {
        let at = Coordinates { topic: "file:test", partition: 0, offset };
        let payload = Some(&br#"{"specversion":"1.0","id":"1","source":"/","type":"other","subject":"acme","time":"2026-05-01T00:00:00Z","data":{}}"#[..]);
        let message = RawMessage { at, stamped_at_us: None, key: None, payload, headers: Headers::new() };
        pipeline.batcher.take(&message, now_us()).unwrap();
    };
    // The committer stands still until both batches are sealed.
    let logs = Arc::clone(&pipeline.logs);
    let held = runtime.block_on(logs.lock_owned());
    take(&mut pipeline, 1);
    pipeline.seal().unwrap();
    take(&mut pipeline, 2);
    let letting_go = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(300));
        drop(held);
    });
    let waited = pipeline.seal_and_wait();
    letting_go.join().unwrap();
    pipeline.finish(waited.map_err(IngestError::from))
}

/// Two processes own a partition at once. The clock of the first stands for a refusal; the second accepts the same
/// message and is faster. Returns the rows of usage and of rejects.
pub fn rows_after_two_owners(lake: &Lake) -> (u64, u64) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let name = PartitionName { topic: "usage".into(), partition: 0 };
    let applications = [name.application().unwrap()];
    let owner = |arrival_us| {
        let mut pipeline = Pipeline::start(&run_into(lake, &runtime)).unwrap();
        let logs = Arc::clone(&pipeline.logs);
        runtime.block_on(async {
            let mut logs = logs.lock().await;
            logs.usage.positions(&applications).await.unwrap();
            logs.rejected.positions(&applications).await.unwrap();
        });
        pipeline.batcher.assign([(name.clone(), PartitionState::starting_at(0))]);
        let at = Coordinates { topic: "usage", partition: 0, offset: 0 };
        let payload = Some(&br#"{"specversion":"1.0","id":"1","source":"/","type":"other","subject":"acme","time":"2026-05-01T00:00:00Z","data":{}}"#[..]);
        let message = RawMessage { at, stamped_at_us: None, key: None, payload, headers: Headers::default() };
        pipeline.batcher.take(&message, arrival_us).unwrap();
        pipeline
    };
    let late = owner(now_us() / 2);
    let report = owner(now_us()).finish(Ok(())).unwrap();
    assert_eq!((report.counts.events, report.counts.rejected), (1, 0));
    let report = late.finish(Ok(())).unwrap();
    assert_eq!(report, IngestReport::default());
    let rows = |table| {
        let files = runtime.block_on(lake.table(table).snapshot(None)).unwrap().files;
        files.iter().map(|file| file.rows).sum()
    };
    (rows(Table::UsageEvents), rows(Table::RejectedMessages))
}
