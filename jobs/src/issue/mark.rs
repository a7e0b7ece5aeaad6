//! Marking issued invoices in the lake, so that whoever reads it alone knows their numbers.
//!
//! The book decides what is issued; this follows. The commit is fenced like that of `rate`, so that neither undoes the
//! other.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use anyhow::Result;
use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, StringArray};
use deltalake_core::kernel::Action;
use futures::{StreamExt, TryStreamExt};
use ingest::commit::{Commit, MAINTENANCE, TableLog};
use ingest::day_file::FileKind;
use ingest::day_files::{DayFiles, removal};
use serde_json::json;
use sql::lake::{DataFile, FileRead, Lake, Table, TableHandle};

use crate::threads::threads;

/// The state of an invoice that never changes again.
pub const ISSUED: &str = "issued";

/// Writes number and state into the rows of these documents, which lie in these months.
pub async fn as_issued(
    lake: &Lake,
    numbers: &BTreeMap<String, String>,
    months: &BTreeSet<i32>,
) -> Result<()> {
    if numbers.is_empty() {
        return Ok(());
    }
    let mut log = TableLog::open(lake.table(Table::Invoices)).await?;
    let epoch = log.positions(&[MAINTENANCE.to_owned()]).await?[MAINTENANCE];
    let files = log.handle().snapshot(None).await?.files.into_iter();
    let numbers = Arc::new(numbers.clone());
    // Reading and encoding a file is work of the processor: as many at once as there are cores.
    let rewritten = files.filter(|file| months.contains(&file.day)).map(|file| {
        let (table, numbers) = (log.handle().clone(), Arc::clone(&numbers));
        async move { tokio::spawn(rewrite(table, file, numbers)).await? }
    });
    let rewritten: Vec<Vec<Action>> =
        futures::stream::iter(rewritten).buffer_unordered(threads()).try_collect().await?;
    let actions = rewritten.into_iter().flatten().collect();
    let commit = Commit::maintenance("UPDATE", epoch, actions, ("meterhouseJob", json!("issue")));
    log.commit(&commit).await?;
    log.settle().await;
    Ok(())
}

/// Puts another file in the place of one that holds some of the documents; nothing where it holds none.
async fn rewrite(
    table: TableHandle,
    file: DataFile,
    numbers: Arc<BTreeMap<String, String>>,
) -> Result<Vec<Action>> {
    let ids = FileRead { columns: Some(&["invoice"]), ..FileRead::default() };
    let ids: Vec<RecordBatch> = table.read_file(&file, ids).await?.try_collect().await?;
    let is_meant =
        |batch: &RecordBatch| text(batch, "invoice").iter().flatten().any(|id| numbers.contains_key(id));
    if !ids.iter().any(is_meant) {
        return Ok(Vec::new());
    }
    let mut written = DayFiles::new(&table, FileKind::Drafts);
    let mut batches = table.read_file(&file, FileRead::default()).await?;
    while let Some(batch) = batches.try_next().await? {
        let mut marked = marked(&batch, &numbers)?;
        marked.remove_column(marked.schema().index_of(Table::Invoices.partition_column())?);
        written.write(file.day, &marked).await?;
    }
    let adds = written.finish().await?.into_iter().map(|file| Action::Add(file.add));
    Ok(std::iter::once(removal(Table::Invoices, &file)).chain(adds).collect())
}

fn marked(batch: &RecordBatch, numbers: &BTreeMap<String, String>) -> Result<RecordBatch> {
    let ids = text(batch, "invoice");
    let number_of = |row: usize| numbers.get(ids.value(row)).map(String::as_str);
    let schema = batch.schema();
    let columns = schema.fields().iter().zip(batch.columns()).map(|(field, column)| -> ArrayRef {
        let merged = |own: &StringArray, new: &dyn Fn(usize) -> Option<String>| -> ArrayRef {
            let kept = |row: usize| own.is_valid(row).then(|| own.value(row).to_owned());
            Arc::new((0..own.len()).map(|row| new(row).or_else(|| kept(row))).collect::<StringArray>())
        };
        match field.name().as_str() {
            "state" => merged(column.as_string(), &|row| number_of(row).map(|_| ISSUED.to_owned())),
            "number" => merged(column.as_string(), &|row| number_of(row).map(str::to_owned)),
            _ => Arc::clone(column),
        }
    });
    Ok(RecordBatch::try_new(Arc::clone(&schema), columns.collect())?)
}

fn text<'b>(batch: &'b RecordBatch, name: &str) -> &'b StringArray {
    batch.column_by_name(name).expect("the column was read").as_string()
}
