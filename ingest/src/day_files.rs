//! Files of several days in the making, which are stored as they fill up, so that memory stays bounded.
//!
//! What is stored here belongs to the table only once a commit names it.

use std::collections::{BTreeMap, HashMap};

use arrow::array::RecordBatch;
use deltalake_core::kernel::{Action, Add, Remove};
use sql::lake::{DataFile, LakeError, Table, TableHandle};

use crate::commit::{CommitError, upload};
use crate::day_file::{DayFileWriter, FileKind, day_text};

/// All open files together are ended at this size,
const OPEN_BYTES_MAX: usize = 64 * 1024 * 1024;
/// or when this many days are open.
const OPEN_DAYS_MAX: usize = 64;

/// What can go wrong when the lake's rows are rewritten.
#[derive(Debug, thiserror::Error)]
pub enum RewriteError {
    #[error(transparent)]
    Commit(#[from] CommitError),
    #[error(transparent)]
    Lake(#[from] LakeError),
    #[error("cannot encode Parquet")]
    Encode(#[from] parquet::errors::ParquetError),
    #[error("cannot rearrange rows")]
    Arrow(#[from] arrow::error::ArrowError),
}

#[derive(Debug)]
pub struct DayFiles {
    handle: TableHandle,
    kind: FileKind,
    open: BTreeMap<i32, DayFileWriter>,
    stored: Vec<StoredFile>,
    rows: u64,
}

/// A file that lies in the store and that no commit names yet.
#[derive(Debug, Clone)]
pub struct StoredFile {
    pub day: i32,
    pub rows: u64,
    pub add: Add,
}

impl StoredFile {
    /// The file as a snapshot will show it.
    pub fn data_file(&self) -> DataFile {
        DataFile {
            path: self.add.path.clone(),
            size_bytes: self.add.size as u64,
            rows: self.rows,
            day: self.day,
            modified_at_ms: self.add.modification_time,
            statistics: self.add.stats.clone(),
        }
    }
}

impl DayFiles {
    pub fn new(handle: &TableHandle, kind: FileKind) -> Self {
        Self { handle: handle.clone(), kind, open: BTreeMap::new(), stored: Vec::new(), rows: 0 }
    }

    pub fn rows(&self) -> u64 {
        self.rows
    }

    pub async fn write(&mut self, day: i32, batch: &RecordBatch) -> Result<(), RewriteError> {
        if batch.num_rows() == 0 {
            return Ok(());
        }
        self.rows += batch.num_rows() as u64;
        let writer = match self.open.entry(day) {
            std::collections::btree_map::Entry::Occupied(entry) => entry.into_mut(),
            std::collections::btree_map::Entry::Vacant(entry) => {
                entry.insert(DayFileWriter::new(self.handle.table(), day, self.kind)?)
            }
        };
        writer.write(batch)?;
        let bytes: usize = self.open.values().map(DayFileWriter::bytes).sum();
        if bytes >= OPEN_BYTES_MAX || self.open.len() > OPEN_DAYS_MAX {
            self.store().await?;
        }
        Ok(())
    }

    async fn store(&mut self) -> Result<(), RewriteError> {
        let now_ms = jiff::Timestamp::now().as_millisecond();
        for (day, writer) in std::mem::take(&mut self.open) {
            let file = writer.finish(now_ms)?;
            upload(&self.handle, std::slice::from_ref(&file)).await?;
            self.stored.push(StoredFile { day, rows: file.rows as u64, add: file.add });
        }
        Ok(())
    }

    /// Stores what is left, and returns what a commit must name.
    pub async fn finish(mut self) -> Result<Vec<StoredFile>, RewriteError> {
        self.store().await?;
        Ok(self.stored)
    }
}

/// Takes a file out of its table because its rows change.
pub fn removal(table: Table, file: &DataFile) -> Action {
    let day = HashMap::from([(table.partition_column().to_owned(), Some(day_text(file.day)))]);
    Action::Remove(Remove {
        path: file.path.clone(),
        data_change: true,
        deletion_timestamp: Some(jiff::Timestamp::now().as_millisecond()),
        extended_file_metadata: Some(true),
        partition_values: Some(day),
        size: Some(file.size_bytes as i64),
        ..Remove::default()
    })
}
