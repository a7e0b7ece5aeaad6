//! The rows of a day's files, column by column.

use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Field, Int32Type, Int64Type, Schema, SchemaRef, TimestampMicrosecondType};
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use object_store::ObjectStoreExt;
use object_store::path::Path;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ArrowReaderOptions, ParquetRecordBatchReaderBuilder};
use sql::lake::{DataFile, Table, TableHandle};

use super::CompactError;

const FETCHES_AT_ONCE: usize = 8;
/// Rows per batch when decoding.
pub const BATCH_ROWS: usize = 32 * 1024;

/// Columns of few distinct values, kept as dictionaries.
const DICTIONARY_COLUMNS: [&str; 7] =
    ["source", "tenant", "event_type", "meter", "dimensions", "signal", "topic"];

/// A file in memory, still compressed.
#[derive(Debug, Clone)]
pub struct SourceFile {
    pub file: DataFile,
    pub bytes: Bytes,
}

/// Fetches files from the lake.
pub async fn fetch(table: &TableHandle, files: &[DataFile]) -> Result<Vec<SourceFile>, CompactError> {
    let gets = files.iter().map(|file| async move {
        let failed = |source| CompactError::Store { path: file.path.clone(), source };
        let found = table.store().get(&Path::from(file.path.as_str())).await.map_err(failed)?;
        let bytes = found.bytes().await.map_err(failed)?;
        Ok::<_, CompactError>(SourceFile { file: file.clone(), bytes })
    });
    futures::stream::iter(gets).buffered(FETCHES_AT_ONCE).try_collect().await
}

/// The schema in which rows are rearranged: texts that repeat stay dictionaries.
pub fn working_schema() -> SchemaRef {
    let dictionary = DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8));
    let fields = Table::UsageEvents
        .file_schema()
        .fields()
        .iter()
        .map(|field| {
            if DICTIONARY_COLUMNS.contains(&field.name().as_str()) {
                Arc::new(Field::new(field.name(), dictionary.clone(), field.is_nullable()))
            } else {
                Arc::clone(field)
            }
        })
        .collect::<Vec<_>>();
    Arc::new(Schema::new(fields))
}

impl SourceFile {
    /// Decodes some columns, or all of them, in the order of the file's rows.
    pub fn read(
        &self,
        columns: Option<&[&str]>,
    ) -> Result<impl Iterator<Item = Result<RecordBatch, CompactError>> + use<>, CompactError> {
        let options = ArrowReaderOptions::new().with_schema(working_schema());
        let builder = ParquetRecordBatchReaderBuilder::try_new_with_options(self.bytes.clone(), options)?;
        let builder = match columns {
            Some(columns) => {
                let mask = ProjectionMask::columns(builder.parquet_schema(), columns.iter().copied());
                builder.with_projection(mask)
            }
            None => builder,
        };
        let reader = builder.with_batch_size(BATCH_ROWS).build()?;
        Ok(reader.map(|batch| batch.map_err(CompactError::from)))
    }

    /// Decodes some columns of a file of any table, without dictionaries.
    pub fn read_plain(
        &self,
        columns: &[&str],
    ) -> Result<impl Iterator<Item = Result<RecordBatch, CompactError>> + use<>, CompactError> {
        let builder = ParquetRecordBatchReaderBuilder::try_new(self.bytes.clone())?;
        let mask = ProjectionMask::columns(builder.parquet_schema(), columns.iter().copied());
        let reader = builder.with_projection(mask).with_batch_size(BATCH_ROWS).build()?;
        Ok(reader.map(|batch| batch.map_err(CompactError::from)))
    }

    pub fn columns_error(&self) -> CompactError {
        CompactError::Columns { path: self.file.path.clone() }
    }
}

/// Where a row came from and when: what decides which of two events with one identity came first.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ArrivalKey {
    pub arrival_us: i64,
    pub topic: Arc<str>,
    pub partition: i32,
    pub offset: i64,
    pub batch_index: i32,
}

/// The columns that say where a batch's rows came from.
#[derive(Debug)]
pub struct ArrivalColumns<'b> {
    pub arrival: &'b [i64],
    pub partition: &'b [i32],
    pub offset: &'b [i64],
    pub batch_index: &'b [i32],
    topics: Vec<Arc<str>>,
    topic_keys: &'b [i32],
}

pub const ARRIVAL_COLUMNS: [&str; 5] = ["arrival", "topic", "partition", "offset", "batch_index"];

impl<'b> ArrivalColumns<'b> {
    pub fn of(batch: &'b RecordBatch) -> Option<Self> {
        let topic = batch.column_by_name("topic")?.as_dictionary_opt::<Int32Type>()?;
        let names = topic.values().as_string_opt::<i32>()?;
        Some(Self {
            arrival: batch
                .column_by_name("arrival")?
                .as_primitive_opt::<TimestampMicrosecondType>()?
                .values(),
            partition: batch.column_by_name("partition")?.as_primitive_opt::<Int32Type>()?.values(),
            offset: batch.column_by_name("offset")?.as_primitive_opt::<Int64Type>()?.values(),
            batch_index: batch.column_by_name("batch_index")?.as_primitive_opt::<Int32Type>()?.values(),
            topics: (0..names.len()).map(|at| Arc::from(names.value(at))).collect(),
            topic_keys: topic.keys().values(),
        })
    }

    pub fn key(&self, row: usize) -> ArrivalKey {
        ArrivalKey {
            arrival_us: self.arrival[row],
            topic: Arc::clone(&self.topics[self.topic_keys[row] as usize]),
            partition: self.partition[row],
            offset: self.offset[row],
            batch_index: self.batch_index[row],
        }
    }
}
