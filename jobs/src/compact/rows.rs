//! The rows of a day's files, column by column.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Int32Type, Int64Type, Schema, SchemaRef, TimestampMicrosecondType};
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use object_store::ObjectStoreExt;
use object_store::path::Path;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder,
};
use parquet::basic::Encoding;
use parquet::file::metadata::ColumnChunkMetaData;
use sql::lake::{DataFile, Table, TableHandle};

use super::CompactError;

const FETCHES_AT_ONCE: usize = 8;
/// Files that need not be in memory together are fetched in portions of about this size.
const PORTION_BYTES: u64 = 64 * 1024 * 1024;
/// Rows per batch when decoding.
const BATCH_ROWS: usize = 32 * 1024;

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
    let gets = files.iter().map(|file| fetch_one(table.clone(), file.clone())).collect::<Vec<_>>();
    futures::stream::iter(gets).buffered(FETCHES_AT_ONCE).try_collect().await
}

async fn fetch_one(table: TableHandle, file: DataFile) -> Result<SourceFile, CompactError> {
    let failed = |source| CompactError::Store { path: file.path.clone(), source };
    let found = table.store().get(&Path::from(file.path.as_str())).await.map_err(failed)?;
    let bytes = found.bytes().await.map_err(failed)?;
    Ok(SourceFile { file, bytes })
}

/// Cuts files into portions that may be in memory at once: several small ones, or a large one alone.
pub fn portions(mut files: &[DataFile]) -> impl Iterator<Item = &[DataFile]> {
    std::iter::from_fn(move || {
        let mut bytes = 0;
        let fits = files.iter().take_while(|file| {
            bytes += file.size_bytes;
            bytes <= PORTION_BYTES
        });
        let (portion, rest) = files.split_at(fits.count().max(1).min(files.len()));
        files = rest;
        (!portion.is_empty()).then_some(portion)
    })
}

/// The schema in which rows are rearranged: texts that repeat stay dictionaries.
pub fn working_schema() -> SchemaRef {
    schema_with_dictionaries(|column| DICTIONARY_COLUMNS.contains(&column))
}

fn schema_with_dictionaries(is_dictionary: impl Fn(&str) -> bool) -> SchemaRef {
    let dictionary = DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8));
    let fields = Table::UsageEvents
        .file_schema()
        .fields()
        .iter()
        .map(|field| {
            if is_dictionary(field.name()) {
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
        columns_error(&self.file)
    }
}

pub fn columns_error(file: &DataFile) -> CompactError {
    CompactError::Columns { path: file.path.clone() }
}

/// Decodes the columns of some files one by one.
#[derive(Debug)]
pub struct ColumnReader {
    files: Vec<(Bytes, ArrowReaderMetadata)>,
}

impl ColumnReader {
    pub fn new(sources: &[SourceFile]) -> Result<Self, CompactError> {
        let load = |source: &SourceFile| ArrowReaderMetadata::load(&source.bytes, ArrowReaderOptions::new());
        let found = sources.iter().map(load).collect::<Result<Vec<_>, _>>()?;
        // Resources may repeat, or be sessions of which each has its own.
        let repeats = |column: &str| {
            found.iter().all(|file| {
                let groups = file.metadata().row_groups();
                let at = file.parquet_schema().columns().iter().position(|it| it.name() == column);
                at.is_some_and(|at| groups.iter().all(|group| is_all_dictionary(group.column(at))))
            })
        };
        let resource_repeats = repeats("resource");
        let schema = schema_with_dictionaries(|column| {
            DICTIONARY_COLUMNS.contains(&column) || (column == "resource" && resource_repeats)
        });
        let options = ArrowReaderOptions::new().with_schema(schema);
        let files = sources.iter().zip(found).map(|(source, found)| {
            let metadata = ArrowReaderMetadata::try_new(Arc::clone(found.metadata()), options.clone())?;
            Ok((source.bytes.clone(), metadata))
        });
        Ok(Self { files: files.collect::<Result<_, CompactError>>()? })
    }

    /// How many rows each file has.
    pub fn rows(&self) -> impl Iterator<Item = usize> {
        self.files.iter().map(|(_, file)| file.metadata().file_metadata().num_rows() as usize)
    }

    /// Decodes a column of all files, an array for each row group.
    pub fn read(&self, column: &str) -> Result<Vec<ArrayRef>, CompactError> {
        let mut parts = Vec::new();
        for (bytes, file) in &self.files {
            let mask = ProjectionMask::columns(file.parquet_schema(), [column]);
            for (number, group) in file.metadata().row_groups().iter().enumerate() {
                let reader = ParquetRecordBatchReaderBuilder::new_with_metadata(bytes.clone(), file.clone())
                    .with_projection(mask.clone())
                    .with_row_groups(vec![number])
                    .with_batch_size(group.num_rows() as usize)
                    .build()?;
                for batch in reader {
                    parts.push(Arc::clone(batch?.column(0)));
                }
            }
        }
        Ok(parts)
    }
}

/// Whether every value of a column is in its dictionary.
fn is_all_dictionary(column: &ColumnChunkMetaData) -> bool {
    let is_dictionary = |encoding| column.page_encoding_stats_mask().is_some_and(|it| it.is_only(encoding));
    is_dictionary(Encoding::RLE_DICTIONARY) || is_dictionary(Encoding::PLAIN_DICTIONARY)
}

/// The name of a row: which batch or file it is of, and its place there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RowId {
    part: u32,
    row: u32,
}

impl RowId {
    pub fn new(part: usize, row: usize) -> Self {
        let number = |number| u32::try_from(number).expect("files and rows are counted in 32 bits");
        Self { part: number(part), row: number(row) }
    }

    pub fn part(self) -> usize {
        self.part as usize
    }

    pub fn row(self) -> usize {
        self.row as usize
    }
}

/// Rows in memory that can be found by their names.
pub trait FindRow {
    /// The batch that holds a row, and the row's place in it.
    fn find(&self, row: RowId) -> (&RecordBatch, usize);
}

/// Where a row came from and when: what decides which of two events with one identity came first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ArrivalKey<T> {
    pub arrival_us: i64,
    pub topic: T,
    pub partition: i32,
    pub offset: i64,
    pub batch_index: i32,
}

impl<T: AsRef<str>> ArrivalKey<T> {
    pub fn with_topic<U>(&self, topic: U) -> ArrivalKey<U> {
        let &Self { arrival_us, partition, offset, batch_index, .. } = self;
        ArrivalKey { arrival_us, topic, partition, offset, batch_index }
    }

    pub fn as_ref(&self) -> ArrivalKey<&str> {
        self.with_topic(self.topic.as_ref())
    }
}

impl ArrivalKey<&str> {
    pub fn to_owned(self) -> ArrivalKey<String> {
        self.with_topic(self.topic.to_owned())
    }
}

/// The columns that say where a batch's rows came from.
#[derive(Debug, Clone, Copy)]
pub struct ArrivalColumns<'b> {
    arrival: &'b [i64],
    partition: &'b [i32],
    offset: &'b [i64],
    batch_index: &'b [i32],
    topics: &'b StringArray,
    topic_keys: &'b [i32],
}

/// The identity together with where and when a row arrived.
pub const IDENTITY_COLUMNS: [&str; 6] =
    ["identity", "arrival", "topic", "partition", "offset", "batch_index"];

impl<'b> ArrivalColumns<'b> {
    pub fn of(batch: &'b RecordBatch) -> Option<Self> {
        let topic = batch.column_by_name("topic")?.as_dictionary_opt::<Int32Type>()?;
        Some(Self {
            arrival: batch
                .column_by_name("arrival")?
                .as_primitive_opt::<TimestampMicrosecondType>()?
                .values(),
            partition: batch.column_by_name("partition")?.as_primitive_opt::<Int32Type>()?.values(),
            offset: batch.column_by_name("offset")?.as_primitive_opt::<Int64Type>()?.values(),
            batch_index: batch.column_by_name("batch_index")?.as_primitive_opt::<Int32Type>()?.values(),
            topics: topic.values().as_string_opt::<i32>()?,
            topic_keys: topic.keys().values(),
        })
    }

    /// The columns of a batch that was read with all columns.
    pub fn of_whole(batch: &'b RecordBatch) -> Self {
        Self::of(batch).expect("read by the working schema")
    }

    pub fn key(&self, row: usize) -> ArrivalKey<&'b str> {
        self.key_with(row, self.topics.value(self.topic_keys[row] as usize))
    }

    /// The topics that rows name by their numbers.
    pub fn topics(&self) -> impl Iterator<Item = &'b str> {
        self.topics.iter().map(Option::unwrap_or_default)
    }

    /// Like `key`, with the topic's number in another list.
    pub fn numbers(&self, row: usize, topics: &[u32]) -> ArrivalKey<u32> {
        self.key_with(row, topics[self.topic_keys[row] as usize])
    }

    fn key_with<T>(&self, row: usize, topic: T) -> ArrivalKey<T> {
        ArrivalKey {
            arrival_us: self.arrival[row],
            topic,
            partition: self.partition[row],
            offset: self.offset[row],
            batch_index: self.batch_index[row],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn portions_hold_every_file_once() {
        let file = |size_bytes: u64| DataFile {
            path: String::new(),
            size_bytes,
            rows: 0,
            day: 0,
            modified_at_ms: 0,
            statistics: None,
        };
        let files = [1, PORTION_BYTES - 1, 1, PORTION_BYTES + 1, 2, 2].map(file);
        let sizes: Vec<usize> = portions(&files).map(<[DataFile]>::len).collect();
        assert_eq!(sizes, [2, 1, 1, 2]);
        assert_eq!(portions(&[]).count(), 0);
    }
}
