//! A file of `usage_events` as the engine reads it: only the columns that it needs, texts as dictionaries.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::DataType;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions, RowSelection};
use parquet::arrow::async_reader::ParquetRecordBatchStreamBuilder;
use parquet::errors::ParquetError;
use parquet::file::statistics::Statistics;

use super::QuantitiesError;
use crate::lake::{
    DataFile, StoredFile, Table, TableHandle, dictionary_type, text_bounds, with_dictionaries,
};

const BATCH_ROWS: usize = 16 * 1024;

type Builder = ParquetRecordBatchStreamBuilder<StoredFile>;

/// Columns of text; each is read as a dictionary.
const TEXTS: [&str; 6] = ["tenant", "meter", "resource", "dimensions", "signal", "topic"];

/// A file whose footer is read.
#[derive(Debug)]
pub(super) struct LakeFile {
    pub file: DataFile,
    stored: StoredFile,
    metadata: ArrowReaderMetadata,
}

/// A row group by its statistics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct GroupBounds {
    /// The place of its first row in the file.
    pub first_row: u64,
    pub rows: u64,
    /// Nothing when the file does not say.
    pub tenants: Option<(String, String)>,
    pub times_us: Option<(i64, i64)>,
}

impl LakeFile {
    pub async fn open(table: &TableHandle, file: DataFile) -> Result<Self, QuantitiesError> {
        let mut stored = table.stored_file(&file);
        let failed = |source| QuantitiesError::Parquet { path: file.path.clone(), source };
        let plain =
            ArrowReaderMetadata::load_async(&mut stored, ArrowReaderOptions::new()).await.map_err(failed)?;
        let options = ArrowReaderOptions::new()
            .with_schema(Arc::new(with_dictionaries(plain.schema(), |name| TEXTS.contains(&name))));
        let metadata = ArrowReaderMetadata::try_new(Arc::clone(plain.metadata()), options).map_err(failed)?;
        Ok(Self { file, stored, metadata })
    }

    pub fn row_groups(&self) -> Vec<GroupBounds> {
        let metadata = self.metadata.metadata();
        let schema = metadata.file_metadata().schema_descr();
        let column = |name: &str| (0..schema.num_columns()).find(|at| schema.column(*at).name() == name);
        let (tenant, time) = (column("tenant"), column("time"));
        let mut first_row = 0;
        let bounds = metadata.row_groups().iter().map(|group| {
            let rows = group.num_rows() as u64;
            first_row += rows;
            GroupBounds {
                first_row: first_row - rows,
                rows,
                tenants: tenant.and_then(|at| text_bounds(group.column(at).statistics()?)),
                times_us: time.and_then(|at| time_bounds(group.column(at).statistics()?)),
            }
        });
        bounds.collect()
    }

    pub fn rows_of(&self, row_groups: &[usize]) -> usize {
        let metadata = self.metadata.metadata();
        row_groups.iter().map(|at| metadata.row_group(*at).num_rows() as usize).sum()
    }

    /// How many bytes some columns of a row group take as they are stored, at most.
    pub fn row_group_bytes_max(&self, columns: &[&'static str]) -> u64 {
        let groups = self.metadata.metadata().row_groups().iter().map(|group| {
            let stored =
                group.columns().iter().filter(|column| columns.contains(&column.column_descr().name()));
            stored.map(|column| column.compressed_size().max(0) as u64).sum()
        });
        groups.max().unwrap_or(0)
    }

    pub fn all_row_groups(&self) -> Vec<usize> {
        (0..self.metadata.metadata().num_row_groups()).collect()
    }

    /// Streams some columns of some row groups, in the file's order.
    pub fn read(
        &self,
        columns: &[&'static str],
        row_groups: Vec<usize>,
    ) -> Result<BoxStream<'static, Result<RecordBatch, QuantitiesError>>, QuantitiesError> {
        self.stream(columns, |builder| builder.with_row_groups(row_groups))
    }

    /// Streams some columns of some rows, given as ascending ranges.
    pub fn read_rows(
        &self,
        columns: &[&'static str],
        rows: Vec<Range<usize>>,
    ) -> Result<BoxStream<'static, Result<RecordBatch, QuantitiesError>>, QuantitiesError> {
        let selection = RowSelection::from_consecutive_ranges(rows.into_iter(), self.file.rows as usize);
        self.stream(columns, |builder| builder.with_row_selection(selection))
    }

    fn stream(
        &self,
        columns: &[&'static str],
        choose: impl FnOnce(Builder) -> Builder,
    ) -> Result<BoxStream<'static, Result<RecordBatch, QuantitiesError>>, QuantitiesError> {
        let path = self.file.path.clone();
        let failed = move |source: ParquetError| QuantitiesError::Parquet { path: path.clone(), source };
        let builder =
            ParquetRecordBatchStreamBuilder::new_with_metadata(self.stored.clone(), self.metadata.clone());
        let mask = ProjectionMask::columns(builder.parquet_schema(), columns.iter().copied());
        let builder = choose(builder.with_projection(mask).with_batch_size(BATCH_ROWS));
        Ok(builder.build().map_err(&failed)?.map_err(failed).boxed())
    }

    /// A column in the type that the engine works with, whatever the file's writer made of it.
    pub fn column(&self, batch: &RecordBatch, name: &'static str) -> Result<ArrayRef, QuantitiesError> {
        let missing = || QuantitiesError::Column { path: self.file.path.clone(), column: name };
        let column = batch.column_by_name(name).ok_or_else(missing)?;
        let expected = working_type(name);
        if *column.data_type() == expected { Ok(Arc::clone(column)) } else { Ok(cast(column, &expected)?) }
    }
}

fn time_bounds(statistics: &Statistics) -> Option<(i64, i64)> {
    match statistics {
        Statistics::Int64(times) => Some((*times.min_opt()?, *times.max_opt()?)),
        _ => None,
    }
}

fn working_type(name: &str) -> DataType {
    if TEXTS.contains(&name) {
        return dictionary_type();
    }
    let column = Table::UsageEvents.columns().iter().find(|column| column.name == name);
    column.map_or(DataType::Null, |column| column.kind.arrow_type())
}
