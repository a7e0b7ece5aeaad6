//! Reading the rows of a table's files, without a query engine.

use std::collections::BTreeSet;
use std::ops::{Bound, Range};
use std::sync::Arc;

use arrow::array::{ArrayRef, Date32Array, RecordBatch, RecordBatchOptions, new_null_array};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::error::ArrowError;
use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt, TryFutureExt, TryStreamExt};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions, RowSelection};
use parquet::arrow::async_reader::AsyncFileReader;
use parquet::arrow::{ParquetRecordBatchStreamBuilder, ProjectionMask};
use parquet::errors::ParquetError;
use parquet::file::metadata::{ParquetMetaData, ParquetMetaDataReader, RowGroupMetaData};
use parquet::file::statistics::Statistics;

use super::{DataFile, LakeError, TableHandle};

/// Rows per batch, unless the caller says otherwise.
const BATCH_ROWS: usize = 8 * 1024;

/// What to read of a file.
#[derive(Debug, Clone, Default)]
pub struct FileRead<'r> {
    /// Names of columns, the partition column included; none for all of them.
    pub columns: Option<&'r [&'r str]>,
    /// Fewer rows per batch keep memory low where single values are large.
    pub batch_rows: Option<usize>,
    /// Only these rows, as ascending ranges of their positions in the file.
    pub rows: Option<Vec<Range<usize>>>,
    /// Row groups that hold none of these tenants are passed over, where the file says so and `rows` does not choose;
    /// rows of others may be among those that are left.
    pub tenants: Option<&'r BTreeSet<String>>,
    /// Texts come as dictionaries, a row group's batches with one and the same.
    pub dictionaries: bool,
}

impl TableHandle {
    /// Streams the rows of a file in their order. The batches have the asked columns in the asked order
    /// and the types of the table's schema, whatever the writer of the file made of them.
    pub async fn read_file(
        &self,
        file: &DataFile,
        read: FileRead<'_>,
    ) -> Result<BoxStream<'static, Result<RecordBatch, LakeError>>, LakeError> {
        let (table, path) = (self.table().name(), file.path.clone());
        let failed = move |source| LakeError::File { table, path: path.clone(), source };
        let mut schema = self.read_schema(read.columns).map_err(|error| failed(error.into()))?;
        let mut reader = self.stored_file(file);
        let options = ArrowReaderOptions::new();
        let mut metadata = ArrowReaderMetadata::load_async(&mut reader, options).await.map_err(&failed)?;
        if read.dictionaries {
            schema = Arc::new(with_dictionaries(&schema, |_| true));
            let of_file = with_dictionaries(metadata.schema(), |_| true);
            let options = ArrowReaderOptions::new().with_schema(Arc::new(of_file));
            let footer = Arc::clone(metadata.metadata());
            metadata = ArrowReaderMetadata::try_new(footer, options).map_err(&failed)?;
        }
        let mut builder = ParquetRecordBatchStreamBuilder::new_with_metadata(reader, metadata);
        let names = schema.fields().iter().map(|field| field.name().as_str());
        let mask = ProjectionMask::columns(builder.parquet_schema(), names);
        if let (None, Some(tenants)) = (&read.rows, read.tenants) {
            let groups = groups_of_tenants(builder.metadata(), tenants);
            builder = builder.with_row_groups(groups);
        }
        if let Some(ranges) = read.rows {
            let rows = builder.metadata().file_metadata().num_rows() as usize;
            let selection = RowSelection::from_consecutive_ranges(ranges.into_iter(), rows);
            builder = builder.with_row_selection(selection);
        }
        let builder = builder.with_projection(mask).with_batch_size(read.batch_rows.unwrap_or(BATCH_ROWS));
        let batches = builder.build().map_err(&failed)?;
        let (day, partition_column) = (file.day, self.table().partition_column());
        Ok(batches
            .and_then(move |batch| {
                let adapted = adapt(&batch, &schema, partition_column, day);
                std::future::ready(adapted.map_err(ParquetError::from))
            })
            .map_err(failed)
            .boxed())
    }

    /// A file of the table, of which ranges are fetched as they are needed.
    pub(crate) fn stored_file(&self, file: &DataFile) -> StoredFile {
        StoredFile::new(Arc::clone(self.store()), Path::from(file.path.as_str()), file.size_bytes)
    }

    /// Streams the rows of files, one file after the other.
    pub fn read_batches<'a>(
        &'a self,
        files: &'a [DataFile],
        columns: Option<&'a [&'a str]>,
    ) -> BoxStream<'a, Result<RecordBatch, LakeError>> {
        self.read_batches_of(files, columns, None)
    }

    /// The same of some tenants, with texts as dictionaries; rows of others may be among them.
    pub(crate) fn read_dictionaries_of<'a>(
        &'a self,
        files: &'a [DataFile],
        tenants: &'a BTreeSet<String>,
    ) -> BoxStream<'a, Result<RecordBatch, LakeError>> {
        let read = FileRead { tenants: Some(tenants), dictionaries: true, ..FileRead::default() };
        let files = files.iter().filter(move |file| file.may_hold_any(tenants));
        futures::stream::iter(files)
            .then(move |file| self.read_file(file, read.clone()))
            .try_flatten()
            .boxed()
    }

    /// The same without files and row groups that hold none of some tenants; rows of others may be among the rest.
    pub fn read_batches_of<'a>(
        &'a self,
        files: &'a [DataFile],
        columns: Option<&'a [&'a str]>,
        tenants: Option<&'a BTreeSet<String>>,
    ) -> BoxStream<'a, Result<RecordBatch, LakeError>> {
        let read = move |file| self.read_file(file, FileRead { columns, tenants, ..FileRead::default() });
        let files = files.iter().filter(move |file| tenants.is_none_or(|tenants| file.may_hold_any(tenants)));
        futures::stream::iter(files).then(read).try_flatten().boxed()
    }

    fn read_schema(&self, columns: Option<&[&str]>) -> Result<SchemaRef, ArrowError> {
        let schema = self.table().schema();
        let Some(columns) = columns else { return Ok(schema) };
        let indices = columns.iter().map(|name| schema.index_of(name)).collect::<Result<Vec<_>, _>>()?;
        Ok(Arc::new(schema.project(&indices)?))
    }
}

/// How a text is read as a dictionary.
pub(crate) fn dictionary_type() -> DataType {
    DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8))
}

/// The schema with some of its texts as dictionaries.
pub(crate) fn with_dictionaries(schema: &Schema, is_chosen: impl Fn(&str) -> bool) -> Schema {
    let fields = schema.fields().iter().map(|field| {
        let is_text = matches!(field.data_type(), DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View);
        if is_text && is_chosen(field.name()) {
            Arc::new(Field::new(field.name(), dictionary_type(), field.is_nullable()))
        } else {
            Arc::clone(field)
        }
    });
    Schema::new(fields.collect::<Vec<_>>())
}

/// The row groups whose bounds do not rule out all of the tenants.
fn groups_of_tenants(metadata: &ParquetMetaData, tenants: &BTreeSet<String>) -> Vec<usize> {
    let schema = metadata.file_metadata().schema_descr();
    let tenant = (0..schema.num_columns()).find(|at| schema.column(*at).name() == "tenant");
    let bounds = |group: &RowGroupMetaData| text_bounds(group.column(tenant?).statistics()?);
    let groups = metadata.row_groups().iter().enumerate();
    let may_hold = |(_, group): &(usize, &RowGroupMetaData)| {
        bounds(group).is_none_or(|(low, high)| holds_any_between(tenants, &low, &high))
    };
    groups.filter(may_hold).map(|(at, _)| at).collect()
}

/// The smallest and largest text of a column chunk. Long texts are cut, but a bound never lies within what it bounds.
pub(crate) fn text_bounds(statistics: &Statistics) -> Option<(String, String)> {
    let text = |bytes: Option<&[u8]>| Some(std::str::from_utf8(bytes?).ok()?.to_owned());
    Some((text(statistics.min_bytes_opt())?, text(statistics.max_bytes_opt())?))
}

pub(crate) fn holds_any_between(tenants: &BTreeSet<String>, low: &str, high: &str) -> bool {
    let from_low = (Bound::Included(low), Bound::Unbounded);
    tenants.range::<str, _>(from_low).next().is_some_and(|tenant| tenant.as_str() <= high)
}

/// Brings a file's batch to the table's columns and types.
fn adapt(
    batch: &RecordBatch,
    schema: &Schema,
    partition_column: &str,
    day: i32,
) -> Result<RecordBatch, ArrowError> {
    let rows = batch.num_rows();
    let columns = schema.fields().iter().map(|field| -> Result<ArrayRef, ArrowError> {
        if field.name() == partition_column {
            return Ok(Arc::new(Date32Array::from_value(day, rows)));
        }
        match batch.column_by_name(field.name()) {
            Some(column) if column.data_type() == field.data_type() => Ok(Arc::clone(column)),
            Some(column) => cast(column, field.data_type()),
            // The column was added to the table after this file was written.
            None => Ok(new_null_array(field.data_type(), rows)),
        }
    });
    let columns = columns.collect::<Result<Vec<_>, _>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    RecordBatch::try_new_with_options(Arc::new(schema.clone()), columns, &options)
}

/// A file in the table's store, of which only the asked ranges are fetched.
#[derive(Debug, Clone)]
pub(crate) struct StoredFile {
    store: Arc<dyn ObjectStore>,
    path: Path,
    size_bytes: u64,
}

impl StoredFile {
    pub(super) fn new(store: Arc<dyn ObjectStore>, path: Path, size_bytes: u64) -> Self {
        Self { store, path, size_bytes }
    }
}

fn store_error(error: object_store::Error) -> ParquetError {
    ParquetError::External(Box::new(error))
}

impl AsyncFileReader for StoredFile {
    fn get_bytes(&mut self, range: Range<u64>) -> BoxFuture<'_, Result<Bytes, ParquetError>> {
        self.store.get_range(&self.path, range).map_err(store_error).boxed()
    }

    fn get_byte_ranges(
        &mut self,
        ranges: Vec<Range<u64>>,
    ) -> BoxFuture<'_, Result<Vec<Bytes>, ParquetError>> {
        async move { self.store.get_ranges(&self.path, &ranges).await.map_err(store_error) }.boxed()
    }

    fn get_metadata<'a>(
        &'a mut self,
        options: Option<&'a ArrowReaderOptions>,
    ) -> BoxFuture<'a, Result<Arc<ParquetMetaData>, ParquetError>> {
        async move {
            let size_bytes = self.size_bytes;
            let reader = ParquetMetaDataReader::new().with_arrow_reader_options(options);
            Ok(Arc::new(reader.load_and_finish(self, size_bytes).await?))
        }
        .boxed()
    }
}
