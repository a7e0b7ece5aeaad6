//! The recount: what the lake holds against what was sent.

use std::collections::{BTreeMap, BTreeSet};

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::{Int32Type, Int64Type};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use sql::lake::Table;

use super::ledger::{self, Ledger};
use super::producer::Sent;
use super::world::{METERS, PARTITIONS, World};

/// Every event counts once, and every offset is accounted for.
pub fn check(world: &World, sent: &Sent) {
    let ledger = ledger::read(world);
    check_offsets(&ledger, sent);
    check_files(world, &ledger);
    check_events(world, &ledger, sent);
    check_rejects(world, sent);
    println!(
        "          {} versions; {} messages, {} aborted ones unseen, {} tombstones",
        ledger.version.unwrap(),
        sent.messages,
        sent.aborted,
        sent.tombstones
    );
}

/// The stretches of each partition follow each other from 0 on, and each offset is a message or was skipped.
fn check_offsets(ledger: &Ledger, sent: &Sent) {
    assert_eq!(ledger.stretches.len(), PARTITIONS as usize);
    let (mut messages, mut tombstones, mut rejected) = (0, 0, 0);
    for (partition, stretches) in &ledger.stretches {
        let mut next = 0;
        for stretch in stretches {
            let version = stretch.version;
            assert_eq!(stretch.start, next, "partition {partition}: gap or overlap in version {version}");
            assert_eq!(
                stretch.messages + stretch.skipped,
                stretch.end - stretch.start,
                "partition {partition}: offsets of version {version} are not accounted for"
            );
            next = stretch.end;
            messages += stretch.messages;
            tombstones += stretch.tombstones;
            rejected += stretch.rejected;
        }
        assert_eq!(
            ledger.ends.get(partition),
            Some(&next),
            "partition {partition}: rows and position disagree"
        );
    }
    assert_eq!(messages as u64, sent.messages, "messages");
    assert_eq!(tombstones as u64, sent.tombstones, "tombstones");
    assert_eq!(rejected as usize, sent.poison.len(), "rejects");
}

/// Each file is part of the table once, is there, and holds the rows that the log counts in it.
fn check_files(world: &World, ledger: &Ledger) {
    let paths: BTreeSet<&str> = ledger.added.iter().map(|file| file.path.as_str()).collect();
    assert_eq!(paths.len(), ledger.added.len(), "a file was added twice");
    for file in ledger.live() {
        let path = format!("usage_events/{}", file.path);
        let bytes = world.object(&path).unwrap_or_else(|| panic!("{path} is gone"));
        let reader = ParquetRecordBatchReaderBuilder::try_new(bytes).expect(&path);
        assert_eq!(reader.metadata().file_metadata().num_rows(), file.rows, "{path}");
    }
    let in_stretches: i64 = ledger.stretches.values().flatten().map(|stretch| stretch.rows).sum();
    let arrived: i64 = ledger.added.iter().filter(|file| !file.is_compacted()).map(|file| file.rows).sum();
    assert_eq!(arrived, in_stretches, "rows that arrived, and as the stretches count them");
    let left: i64 = ledger.live().map(|file| file.rows).sum();
    assert_eq!(left, in_stretches, "nothing was sent twice, so compaction has nothing to drop");
}

/// Every event has one row per meter and no more.
fn check_events(world: &World, ledger: &Ledger, sent: &Sent) {
    let mut found: BTreeMap<(String, String), u32> = BTreeMap::new();
    let columns = ["id", "meter", "partition", "offset"];
    for batch in rows_of(world, Table::UsageEvents, &columns) {
        let (ids, meters) = (text(&batch, "id"), text(&batch, "meter"));
        let partitions = batch.column_by_name("partition").unwrap().as_primitive::<Int32Type>();
        let offsets = batch.column_by_name("offset").unwrap().as_primitive::<Int64Type>();
        for at in 0..batch.num_rows() {
            *found.entry((ids[at].clone(), meters[at].clone())).or_default() += 1;
            assert!(offsets.value(at) < ledger.ends[&i64::from(partitions.value(at))], "{}", ids[at]);
        }
    }
    let twice: Vec<_> = found.iter().filter(|(_, count)| **count != 1).take(10).collect();
    assert!(twice.is_empty(), "counted more than once: {twice:?}");
    let expected: BTreeSet<(String, String)> =
        sent.events.iter().flat_map(|id| METERS.map(|meter| (id.clone(), meter.to_owned()))).collect();
    let missing: Vec<_> = expected.iter().filter(|row| !found.contains_key(*row)).take(10).collect();
    assert!(missing.is_empty(), "lost: {missing:?}");
    let uncalled: Vec<_> = found.keys().filter(|row| !expected.contains(*row)).take(10).collect();
    assert!(uncalled.is_empty(), "never sent, or aborted: {uncalled:?}");
}

/// Every poison message is kept once, with its bytes.
fn check_rejects(world: &World, sent: &Sent) {
    let mut found: BTreeMap<String, u32> = BTreeMap::new();
    for batch in rows_of(world, Table::RejectedMessages, &["payload"]) {
        let payloads = batch.column_by_name("payload").unwrap().as_binary::<i32>();
        for payload in payloads {
            let text = String::from_utf8(payload.expect("bytes").to_vec()).unwrap();
            *found.entry(text).or_default() += 1;
        }
    }
    let twice: Vec<_> = found.iter().filter(|(_, count)| **count != 1).take(10).collect();
    assert!(twice.is_empty(), "rejected more than once: {twice:?}");
    let found: BTreeSet<String> = found.into_keys().collect();
    let differences: Vec<_> = found.symmetric_difference(&sent.poison).take(10).collect();
    assert!(differences.is_empty(), "rejected and poisoned differ: {differences:?}");
}

fn text(batch: &RecordBatch, column: &str) -> Vec<String> {
    let column = batch.column_by_name(column).unwrap().as_string::<i32>();
    column.iter().map(|text| text.unwrap_or("null").to_owned()).collect()
}

/// The rows of a table's newest version.
fn rows_of(world: &World, table: Table, columns: &[&str]) -> Vec<RecordBatch> {
    let mut batches = Vec::new();
    for file in world.snapshot(table).files {
        let bytes = world.object(&format!("{}/{}", table.name(), file.path)).expect("a file of the table");
        let builder = ParquetRecordBatchReaderBuilder::try_new(bytes).unwrap();
        let mask = ProjectionMask::columns(builder.parquet_schema(), columns.iter().copied());
        let reader = builder.with_projection(mask).build().unwrap();
        batches.extend(reader.map(Result::unwrap));
    }
    batches
}
