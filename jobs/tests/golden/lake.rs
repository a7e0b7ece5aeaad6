//! Rows as JSON lines, into a lake in memory and out of it again.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, RecordBatch};
use arrow::compute::{concat_batches, take};
use arrow::datatypes::{SchemaRef, TimestampMicrosecondType};
use arrow::json::{LineDelimitedWriter, ReaderBuilder};
use deltalake_core::kernel::Action;
use futures::TryStreamExt;
use ingest::commit::{Commit, TableLog};
use ingest::day_file::{DayFileWriter, FileKind};
use sql::lake::{Lake, Table};

/// A row per line, columns in the table's order.
pub fn to_lines(batch: &RecordBatch) -> String {
    let mut text = Vec::new();
    let mut writer = LineDelimitedWriter::new(&mut text);
    writer.write(batch).unwrap();
    writer.finish().unwrap();
    String::from_utf8(text).unwrap()
}

pub fn from_lines(schema: &SchemaRef, lines: &[String]) -> RecordBatch {
    let text = lines.join("\n");
    let reader = ReaderBuilder::new(Arc::clone(schema)).with_batch_size(4096).build(text.as_bytes()).unwrap();
    let batches: Vec<RecordBatch> = reader.map(Result::unwrap).collect();
    concat_batches(schema, &batches).unwrap()
}

/// Commits rows as files of their days.
pub async fn write(lake: &Lake, table: Table, rows: &RecordBatch, time: &str, kind: FileKind) {
    let mut log = TableLog::open(lake.table(table)).await.unwrap();
    let mut days: BTreeMap<i32, Vec<u32>> = BTreeMap::new();
    let times = rows.column_by_name(time).unwrap().as_primitive::<TimestampMicrosecondType>();
    for row in 0..rows.num_rows() {
        let day = times.value(row).div_euclid(86_400_000_000);
        days.entry(i32::try_from(day).unwrap()).or_default().push(u32::try_from(row).unwrap());
    }
    let mut actions = Vec::new();
    for (day, rows_of_day) in days {
        let at = arrow::array::UInt32Array::from(rows_of_day);
        let columns: Vec<ArrayRef> =
            rows.columns().iter().map(|column| take(column, &at, None).unwrap()).collect();
        let mut writer = DayFileWriter::new(table, day, kind).unwrap();
        writer.write(&RecordBatch::try_new(rows.schema(), columns).unwrap()).unwrap();
        let file = writer.finish(0).unwrap();
        log.upload(std::slice::from_ref(&file)).await.unwrap();
        actions.push(Action::Add(file.add));
    }
    log.commit(&Commit { operation: "WRITE", actions, ..Commit::default() }).await.unwrap();
}

/// All rows of a table without the partition column, files in the order of their days and rows.
pub async fn read(lake: &Lake, table: Table) -> RecordBatch {
    let handle = lake.table(table);
    let schema = table.file_schema();
    let Ok(snapshot) = handle.snapshot(None).await else { return RecordBatch::new_empty(schema) };
    let mut batches: Vec<RecordBatch> = Vec::new();
    for file in &snapshot.files {
        let mut found = handle.read_batches(std::slice::from_ref(file), None);
        while let Some(batch) = found.try_next().await.unwrap() {
            let kept = (0..batch.num_columns())
                .filter(|at| batch.schema().field(*at).name() != table.partition_column())
                .collect::<Vec<_>>();
            batches.push(batch.project(&kept).unwrap());
        }
    }
    concat_batches(&schema, &batches).unwrap()
}
