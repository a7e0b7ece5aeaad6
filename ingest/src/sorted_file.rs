//! A compacted day's file in the making: row groups whose columns are encoded apart from each other, so
//! that several threads can share the work.
//!
//! Owns what differs from the layout of newly arrived files (`day_file`). Readers of a compacted file look
//! for tenants, meters and times: those columns have bounds for each page; texts that nobody prunes by have
//! none at all, since finding them costs more than the dictionary encoding of most columns.

use arrow::array::{ArrayRef, AsArray};
use arrow::datatypes::{Int32Type, SchemaRef};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::{
    ArrowColumnChunk, ArrowColumnWriter, ArrowRowGroupWriterFactory, compute_leaves,
};
use parquet::basic::{Compression, Encoding};
use parquet::errors::ParquetError;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::{ColumnDescPtr, ColumnPath};
use sql::lake::Table;

use crate::day_file::{
    FileKind, FinishedFile, Pieces, WITHOUT_BOUNDS, WITHOUT_DICTIONARY, writer_properties,
};
use crate::dictionary_column::{DictionaryChunk, DictionaryColumn};

/// Rows per row group: a tenant's rows stand together, and who looks for one reads at least a whole group.
pub const ROW_GROUP_ROWS: usize = 128 * 1024;

/// Columns by whose bounds pages are skipped.
const WITH_PAGE_BOUNDS: [&str; 3] = ["tenant", "meter", "time"];
/// Texts whose lengths stand apart from their bytes: the lengths of identities and of most ids are all the
/// same, and then take no room and no time to compress.
const LENGTHS_APART: [&str; 3] = ["identity", "id", "data"];

fn sorted_properties() -> WriterProperties {
    let mut properties = writer_properties()
        .set_max_row_group_row_count(None)
        // The files of a day are put in order by their bounds, and cut ones of long names could be the same.
        .set_statistics_truncate_length(None);
    for column in WITH_PAGE_BOUNDS {
        properties =
            properties.set_column_statistics_enabled(ColumnPath::from(column), EnabledStatistics::Page);
    }
    for column in WITHOUT_BOUNDS {
        properties =
            properties.set_column_statistics_enabled(ColumnPath::from(column), EnabledStatistics::None);
    }
    for column in LENGTHS_APART {
        properties =
            properties.set_column_encoding(ColumnPath::from(column), Encoding::DELTA_LENGTH_BYTE_ARRAY);
    }
    // Digests do not get smaller.
    properties.set_column_compression(ColumnPath::from("identity"), Compression::UNCOMPRESSED).build()
}

/// A column of a row group, encoded.
pub enum EncodedColumn {
    Values(ArrowColumnChunk),
    Numbers(DictionaryChunk),
}

impl std::fmt::Debug for EncodedColumn {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("EncodedColumn")
    }
}

/// Encodes a column of a row group: texts that come as numbers into a dictionary by their numbers, everything else
/// by its values.
pub struct ColumnEncoder {
    schema: SchemaRef,
    column: usize,
    descriptor: ColumnDescPtr,
    values: ArrowColumnWriter,
    numbers: Option<DictionaryColumn>,
}

impl std::fmt::Debug for ColumnEncoder {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "ColumnEncoder({})", self.descriptor.name())
    }
}

impl ColumnEncoder {
    /// The arrays of a column are all of one type, and numbers are all into one dictionary.
    pub fn write(&mut self, values: &ArrayRef) -> Result<(), ParquetError> {
        let name = self.descriptor.name();
        if !WITHOUT_DICTIONARY.contains(&name)
            && let Some(rows) = values.as_dictionary_opt::<Int32Type>()
        {
            let numbers = match &mut self.numbers {
                Some(numbers) => numbers,
                none => {
                    let has_bounds = WITH_PAGE_BOUNDS.contains(&name);
                    none.insert(DictionaryColumn::new(ColumnDescPtr::clone(&self.descriptor), has_bounds)?)
                }
            };
            return numbers.write(rows);
        }
        for leaf in compute_leaves(self.schema.field(self.column), values)? {
            self.values.write(&leaf)?;
        }
        Ok(())
    }

    pub fn finish(self) -> Result<EncodedColumn, ParquetError> {
        match self.numbers {
            Some(numbers) => Ok(EncodedColumn::Numbers(numbers.finish()?)),
            None => Ok(EncodedColumn::Values(self.values.close()?)),
        }
    }
}

/// Makes the encoders of row groups; it does not matter of which file.
pub struct RowGroupEncoders {
    schema: SchemaRef,
    columns: Vec<ColumnDescPtr>,
    factory: ArrowRowGroupWriterFactory,
}

impl std::fmt::Debug for RowGroupEncoders {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("RowGroupEncoders")
    }
}

impl RowGroupEncoders {
    pub fn new() -> Result<Self, ParquetError> {
        let schema = Table::UsageEvents.file_schema();
        let (writer, factory) = open()?;
        Ok(Self { schema, columns: writer.schema_descr().columns().to_vec(), factory })
    }

    /// An encoder for each column of a row group, in the order of the schema.
    pub fn row_group(&self) -> Result<Vec<ColumnEncoder>, ParquetError> {
        let writers = self.factory.create_column_writers(0)?.into_iter().enumerate();
        let encoder = |(column, values)| ColumnEncoder {
            schema: SchemaRef::clone(&self.schema),
            column,
            descriptor: ColumnDescPtr::clone(&self.columns[column]),
            values,
            numbers: None,
        };
        Ok(writers.map(encoder).collect())
    }
}

fn open() -> Result<(SerializedFileWriter<Pieces>, ArrowRowGroupWriterFactory), ParquetError> {
    let schema = Table::UsageEvents.file_schema();
    ArrowWriter::try_new(Pieces::default(), schema, Some(sorted_properties()))?.into_serialized_writer()
}

/// A file of a compacted day, in memory.
pub struct SortedFileWriter {
    day: i32,
    writer: SerializedFileWriter<Pieces>,
}

impl std::fmt::Debug for SortedFileWriter {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "SortedFileWriter(day {}, {} bytes)", self.day, self.bytes())
    }
}

impl SortedFileWriter {
    pub fn new(day: i32) -> Result<Self, ParquetError> {
        let (writer, _) = open()?;
        Ok(Self { day, writer })
    }

    /// Adds a row group, all columns in the order of the schema.
    pub fn append(&mut self, columns: impl IntoIterator<Item = EncodedColumn>) -> Result<(), ParquetError> {
        let mut row_group = self.writer.next_row_group()?;
        for column in columns {
            match column {
                EncodedColumn::Values(chunk) => chunk.append_to_row_group(&mut row_group)?,
                EncodedColumn::Numbers(chunk) => {
                    let (bytes, close) = chunk.into_parts();
                    row_group.append_column(&bytes, close)?;
                }
            }
        }
        row_group.close().map(drop)
    }

    /// How large the file is so far.
    pub fn bytes(&self) -> usize {
        self.writer.bytes_written()
    }

    pub fn finish(mut self, now_ms: i64) -> Result<FinishedFile, ParquetError> {
        let metadata = self.writer.finish()?;
        let pieces = std::mem::take(self.writer.inner_mut());
        Ok(FinishedFile::new(Table::UsageEvents, self.day, FileKind::Sorted, pieces, &metadata, now_ms))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    use arrow::array::{Array, AsArray, RecordBatch};
    use arrow::compute::{cast, concat_batches};
    use arrow::datatypes::DataType;
    use bytes::Bytes;
    use parquet::arrow::arrow_reader::{ArrowReaderOptions, ParquetRecordBatchReaderBuilder};
    use parquet::file::metadata::PageIndexPolicy;

    use crate::columns::UsageColumns;
    use crate::event::{Identity, UsageEvent};
    use crate::raw_message::Coordinates;

    fn rows(ids: std::ops::Range<i64>) -> RecordBatch {
        let mut columns = UsageColumns::default();
        for id in ids {
            let text = id.to_string();
            let event = UsageEvent {
                identity: Identity::of("s", &text),
                source: "s".into(),
                id: text.as_str().into(),
                tenant: if id < 30_000 { "acme".into() } else { "beta".into() },
                event_type: "t".into(),
                time_us: id,
                time_given: true,
                data: None,
                batch_index: 0,
                readings: smallvec::SmallVec::new(),
            };
            columns.push(&event, &[], Coordinates { topic: "t", partition: 0, offset: id }, 0);
        }
        columns.finish()
    }

    /// Texts as dictionaries, as compaction has them.
    fn with_dictionaries(column: &ArrayRef) -> ArrayRef {
        let dictionary = DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8));
        match column.data_type() {
            DataType::Utf8 => cast(column, &dictionary).unwrap(),
            _ => Arc::clone(column),
        }
    }

    #[test]
    fn row_groups_of_dictionaries_read_back_as_plain_rows_with_bounds() {
        let groups = [rows(0..50_000), rows(50_000..50_001)];
        let encoders = RowGroupEncoders::new().unwrap();
        let mut writer = SortedFileWriter::new(0).unwrap();
        for group in &groups {
            let columns = encoders.row_group().unwrap().into_iter().zip(group.columns());
            let encoded = columns.map(|(mut encoder, column)| {
                encoder.write(&with_dictionaries(column)).unwrap();
                encoder.finish().unwrap()
            });
            writer.append(encoded.collect::<Vec<_>>()).unwrap();
        }
        let file = writer.finish(7).unwrap();
        assert_eq!((file.rows, file.add.data_change), (50_001, false));
        assert_eq!(FileKind::of(&file.add.path), FileKind::Sorted);

        let options = ArrowReaderOptions::new().with_page_index_policy(PageIndexPolicy::Required);
        let reader =
            ParquetRecordBatchReaderBuilder::try_new_with_options(Bytes::from(file.pieces.concat()), options)
                .unwrap();
        let metadata = Arc::clone(reader.metadata());
        assert_eq!(metadata.num_row_groups(), 2);
        let schema = metadata.file_metadata().schema_descr_ptr();
        let at = |name: &str| schema.columns().iter().position(|column| column.name() == name).unwrap();
        let pages = &metadata.column_index().unwrap()[0];
        for column in WITH_PAGE_BOUNDS {
            assert!(pages[at(column)].num_pages() > 1, "the pages of {column} have bounds of their own");
        }
        assert!(metadata.row_group(0).column(at("data")).statistics().is_none());

        let read: Vec<RecordBatch> = reader.build().unwrap().map(Result::unwrap).collect();
        let expected = concat_batches(&groups[0].schema(), &groups).unwrap();
        let read = concat_batches(&read[0].schema(), &read).unwrap();
        assert_eq!(read.columns(), expected.columns());
        assert_eq!(read.column_by_name("id").unwrap().as_string::<i32>().value(50_000), "50000");
    }

    #[test]
    fn bounds_of_long_names_are_whole() {
        let names = ["a", "b"].map(|end| "n".repeat(100) + end);
        let rows = rows(0..2);
        let encoders = RowGroupEncoders::new().unwrap();
        let mut writer = SortedFileWriter::new(0).unwrap();
        let columns = encoders.row_group().unwrap().into_iter().zip(rows.columns());
        let schema = rows.schema();
        let encoded = columns.zip(schema.fields()).map(|((mut encoder, column), field)| {
            let tenants: ArrayRef = Arc::new(arrow::array::StringArray::from(names.to_vec()));
            let column = if field.name() == "tenant" { &tenants } else { column };
            encoder.write(&with_dictionaries(column)).unwrap();
            encoder.finish().unwrap()
        });
        writer.append(encoded.collect::<Vec<_>>()).unwrap();
        let statistics = writer.finish(7).unwrap().add.stats.unwrap();
        let statistics: serde_json::Value = serde_json::from_str(&statistics).unwrap();
        for (bound, name) in ["minValues", "maxValues"].into_iter().zip(&names) {
            assert_eq!(statistics[bound]["tenant"], name.as_str(), "{statistics}");
        }
    }
}
