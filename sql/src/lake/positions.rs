//! How far every application (such as the reader of a Kafka partition) has come, by a table's log.
//!
//! The library answers for one application at a time and replays the log for each, which takes minutes where a topic has
//! hundreds of partitions. Here the newest checkpoint and the entries after it are read once for all of them.

use std::collections::HashMap;
use std::ops::RangeInclusive;
use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type};
use bytes::Bytes;
use deltalake_core::DeltaTableError;
use deltalake_core::kernel::Snapshot;
use futures::{StreamExt, TryStreamExt};
use object_store::ObjectStoreExt;
use object_store::path::Path;
use parquet::arrow::{ParquetRecordBatchStreamBuilder, ProjectionMask};
use serde_json::Value;

use super::read::StoredFile;
use super::{LakeError, TableHandle};

/// Entries of the log that are fetched at once.
const ENTRIES_AT_ONCE: usize = 16;

/// Where applications stand, by their names.
pub type Positions = HashMap<String, i64>;

impl TableHandle {
    /// The newest version and, at that version, how far every application has come.
    pub async fn positions(&self) -> Result<(u64, Positions), LakeError> {
        // The library also says whether this program understands the table at all.
        let snapshot = match Snapshot::try_new(self.log().as_ref(), None).await {
            Ok(snapshot) => snapshot,
            Err(error) => return Err(self.missing_or(error).await),
        };
        let newest = snapshot.version();
        let read_from = self.newest_checkpoint().await?.filter(|version| *version <= newest);
        let known = match read_from {
            Some(version) => {
                self.checkpoint_positions(version).await?.map(|positions| (positions, version + 1))
            }
            None => None,
        };
        // Without a checkpoint that can be read, every entry tells: none of them is ever deleted.
        let (mut positions, first) = known.unwrap_or_default();
        self.add_entries(&mut positions, first..=newest).await?;
        Ok((newest, positions))
    }

    /// The version of the newest checkpoint, by the note that its writer leaves.
    async fn newest_checkpoint(&self) -> Result<Option<u64>, LakeError> {
        let note = self.log_file("_last_checkpoint".to_owned()).await?;
        let note: Option<Value> = note.and_then(|bytes| serde_json::from_slice(&bytes).ok());
        Ok(note.and_then(|note| note.get("version")?.as_u64()))
    }

    /// What a checkpoint of one file says; nothing if there is none, because another program wrote it in another form.
    async fn checkpoint_positions(&self, version: u64) -> Result<Option<Positions>, LakeError> {
        let path = Path::from(format!("_delta_log/{version:020}.checkpoint.parquet"));
        let size_bytes = match self.store().head(&path).await {
            Ok(found) => found.size,
            Err(object_store::Error::NotFound { .. }) => return Ok(None),
            Err(source) => return Err(self.error(DeltaTableError::ObjectStore { source })),
        };
        let failed = |source| LakeError::File { table: self.table().name(), path: path.to_string(), source };
        let file = StoredFile::new(Arc::clone(self.store()), path.clone(), size_bytes);
        // Most of a checkpoint is about files, and stays where it is.
        let builder = ParquetRecordBatchStreamBuilder::new(file).await.map_err(failed)?;
        let mask = ProjectionMask::columns(builder.parquet_schema(), ["txn"]);
        let mut batches = builder.with_projection(mask).build().map_err(failed)?;
        let mut positions = Positions::new();
        while let Some(batch) = batches.try_next().await.map_err(failed)? {
            add_transactions(&mut positions, &batch).map_err(|error| failed(error.into()))?;
        }
        Ok(Some(positions))
    }

    /// Adds what entries of the log say, each of which overrules those before it.
    async fn add_entries(
        &self,
        positions: &mut Positions,
        versions: RangeInclusive<u64>,
    ) -> Result<(), LakeError> {
        let entry = async |version: u64| {
            let name = format!("{version:020}.json");
            let missing =
                LakeError::Incomplete { table: self.table().name(), path: name.clone(), what: "entry" };
            self.log_file(name).await?.ok_or(missing)
        };
        let mut entries = futures::stream::iter(versions).map(entry).buffered(ENTRIES_AT_ONCE);
        while let Some(bytes) = entries.try_next().await? {
            positions.extend(transactions_of(&bytes));
        }
        Ok(())
    }

    async fn log_file(&self, name: String) -> Result<Option<Bytes>, LakeError> {
        let path = Path::from(format!("_delta_log/{name}"));
        let read = async { self.store().get(&path).await?.bytes().await };
        match read.await {
            Ok(bytes) => Ok(Some(bytes)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(source) => Err(self.error(DeltaTableError::ObjectStore { source })),
        }
    }
}

/// The `txn` actions among the rows of a checkpoint.
fn add_transactions(positions: &mut Positions, batch: &RecordBatch) -> Result<(), arrow::error::ArrowError> {
    // A table without any may have a checkpoint without the column.
    let Some(transactions) = batch.column_by_name("txn").and_then(|column| column.as_struct_opt()) else {
        return Ok(());
    };
    let column =
        |name: &str, kind: &DataType| transactions.column_by_name(name).map(|it| cast(it, kind)).transpose();
    let (Some(names), Some(versions)) =
        (column("appId", &DataType::Utf8)?, column("version", &DataType::Int64)?)
    else {
        return Ok(());
    };
    let (names, versions) = (names.as_string::<i32>(), versions.as_primitive::<Int64Type>());
    // In the rows of other actions there is something as well, which means nothing.
    let rows = (0..batch.num_rows()).filter(|row| transactions.is_valid(*row));
    positions.extend(rows.map(|row| (names.value(row).to_owned(), versions.value(row))));
    Ok(())
}

/// The `txn` actions of an entry, in their order.
fn transactions_of(entry: &[u8]) -> impl Iterator<Item = (String, i64)> {
    const ACTION: &[u8] = b"\"txn\"";
    // Most lines are about files and long, so only those are parsed that may be meant.
    let lines = entry.split(|byte| *byte == b'\n');
    lines.filter(|line| line.windows(ACTION.len()).any(|part| part == ACTION)).filter_map(|line| {
        let action: Value = serde_json::from_slice(line).ok()?;
        let transaction = action.get("txn")?;
        Some((transaction.get("appId")?.as_str()?.to_owned(), transaction.get("version")?.as_i64()?))
    })
}

#[cfg(test)]
mod tests {
    use object_store::PutPayload;

    use super::*;
    use crate::lake::{Lake, Table};

    async fn write_entry(handle: &TableHandle, version: u64, lines: &[&str]) {
        let path = Path::from(format!("_delta_log/{version:020}.json"));
        let text = lines.join("\n");
        handle.store().put(&path, PutPayload::from(text)).await.unwrap();
    }

    /// The same question is put to the library, one application after the other.
    async fn agrees_with_the_library(handle: &TableHandle, names: &[String]) -> Positions {
        let (version, positions) = handle.positions().await.unwrap();
        let snapshot =
            deltalake_core::kernel::EagerSnapshot::try_new(handle.log().as_ref(), None).await.unwrap();
        assert_eq!(snapshot.version(), version);
        for name in names {
            let expected = snapshot.transaction_version(handle.log().as_ref(), name).await.unwrap();
            assert_eq!(positions.get(name).copied(), expected, "{name}");
        }
        positions
    }

    #[tokio::test]
    async fn all_positions_are_those_that_the_library_finds_one_by_one() {
        let lake = Lake::open("memory:///").unwrap();
        let handle = lake.table(Table::UsageEvents);
        assert!(matches!(handle.positions().await, Err(LakeError::Missing("usage_events"))));
        handle.create_if_missing().await.unwrap();
        assert_eq!(handle.positions().await.unwrap(), (0, Positions::new()));
        let names: Vec<String> =
            (0..40).map(|partition| format!("meterhouse/kafka/usage/{partition}")).collect();
        for version in 1..=50 {
            let action = |name: &String, to: u64| format!(r#"{{"txn":{{"appId":"{name}","version":{to}}}}}"#);
            // Some never move again after the checkpoint, some only after it.
            let moved = names
                .iter()
                .enumerate()
                .filter(|(at, _)| (*at as u64) < version && version % 3 == *at as u64 % 3);
            let lines: Vec<String> = moved.map(|(_, name)| action(name, version * 10)).collect();
            let info = r#"{"commitInfo":{"operation":"the \"txn\" of nobody"}}"#;
            let lines: Vec<&str> = std::iter::once(info).chain(lines.iter().map(String::as_str)).collect();
            write_entry(&handle, version, &lines).await;
            if version == 21 || version == 30 {
                handle.checkpoint(version).await.unwrap();
            }
        }
        let positions = agrees_with_the_library(&handle, &names).await;
        assert_eq!(positions.len(), names.len());

        // Without the note of where the newest checkpoint is, the entries say the same.
        handle.store().delete(&Path::from("_delta_log/_last_checkpoint")).await.unwrap();
        assert_eq!(handle.positions().await.unwrap(), (50, positions));
    }
}
