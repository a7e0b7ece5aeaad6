//! A pinned version of a table as DataFusion scans it: its own Parquet source over exactly the files of
//! the snapshot, of which those that a query's filters rule out are not opened.

use std::sync::Arc;

use arrow::datatypes::{Field, SchemaRef};
use async_trait::async_trait;
use datafusion::catalog::Session;
use datafusion::common::{ScalarValue, Statistics, project_schema};
use datafusion::datasource::file_format::FileFormat;
use datafusion::datasource::file_format::parquet::ParquetFormat;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfigBuilder, ParquetSource};
use datafusion::datasource::table_schema::TableSchema;
use datafusion::datasource::{TableProvider, TableType};
use datafusion::error::Result;
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::empty::EmptyExec;
use object_store::path::Path;
use url::{Position, Url};

use super::file_bounds::FileBounds;
use crate::lake::{Table, TableHandle, TableSnapshot};

/// One version of one of the lake's tables.
#[derive(Debug)]
pub struct LakeTable {
    table: Table,
    schema: SchemaRef,
    root: ObjectStoreUrl,
    folder: Path,
    snapshot: Option<Arc<TableSnapshot>>,
    /// In the order of the snapshot's files.
    bounds: Vec<FileBounds>,
}

impl LakeTable {
    pub fn new(handle: &TableHandle, snapshot: Arc<TableSnapshot>) -> Self {
        let table = handle.table();
        let bounds = snapshot.files.iter().map(|file| FileBounds::of(table, file)).collect();
        Self { bounds, snapshot: Some(snapshot), ..Self::empty(handle) }
    }

    /// A table that does not exist yet: it has its columns and no rows.
    pub fn empty(handle: &TableHandle) -> Self {
        let table = handle.table();
        Self {
            table,
            schema: table.schema(),
            root: root_url(handle.url()),
            folder: handle.folder(),
            snapshot: None,
            bounds: Vec::new(),
        }
    }

    /// The files that may hold rows which pass the filters.
    fn files(&self, state: &dyn Session, filters: &[Expr], limit: Option<usize>) -> Vec<PartitionedFile> {
        let Some(snapshot) = &self.snapshot else { return Vec::new() };
        let may_match = FileBounds::may_match(self.table, &self.bounds, state, filters);
        let mut rows = 0;
        let mut files = Vec::new();
        for ((file, bounds), may_match) in snapshot.files.iter().zip(&self.bounds).zip(may_match) {
            // Without filters, the first files that hold enough rows do for a limit.
            if limit.is_some_and(|limit| filters.is_empty() && rows >= limit) {
                break;
            }
            if may_match {
                rows += file.rows as usize;
                let path =
                    self.folder.parts().chain(Path::from(file.path.as_str()).parts()).collect::<Path>();
                files.push(
                    PartitionedFile::new(path.to_string(), file.size_bytes)
                        .with_partition_values(vec![ScalarValue::Date32(Some(file.day))])
                        .with_statistics(Arc::new(bounds.statistics(self.table))),
                );
            }
        }
        files
    }

    /// The reader has the partition column last, the table has it first.
    fn reader_indices(&self, projection: Option<&Vec<usize>>) -> Vec<usize> {
        let partition = self.schema.index_of(self.table.partition_column()).expect("it is a column");
        let last = self.schema.fields().len() - 1;
        let reader_index = |index: usize| match index.cmp(&partition) {
            std::cmp::Ordering::Less => index,
            std::cmp::Ordering::Equal => last,
            std::cmp::Ordering::Greater => index - 1,
        };
        match projection {
            Some(indices) => indices.iter().map(|index| reader_index(*index)).collect(),
            None => (0..=last).map(reader_index).collect(),
        }
    }
}

#[async_trait]
impl TableProvider for LakeTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        // Filters rule out files, row groups and pages; the rows that are left are still filtered.
        Ok(vec![TableProviderFilterPushDown::Inexact; filters.len()])
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let files = self.files(state, filters, limit);
        if files.is_empty() {
            return Ok(Arc::new(EmptyExec::new(project_schema(&self.schema, projection)?)));
        }
        let day = Field::clone(self.schema.field_with_name(self.table.partition_column())?);
        let reader_schema = TableSchema::builder(self.table.file_schema())
            .with_table_partition_cols(vec![Arc::new(day)])
            .build();
        let groups = FileGroup::new(files).split_files(state.config().target_partitions());
        let (groups, statistics) = with_statistics(groups, reader_schema.table_schema())?;
        let source = Arc::new(ParquetSource::new(reader_schema));
        let config = FileScanConfigBuilder::new(self.root.clone(), source)
            .with_file_groups(groups)
            .with_statistics(statistics)
            .with_projection_indices(Some(self.reader_indices(projection)))?
            .with_limit(limit)
            .build();
        let format = ParquetFormat::new().with_options(state.default_table_options().parquet);
        format.create_physical_plan(state, config).await
    }
}

/// Sums up what is known of the files, per group and in all. Row counts stay exact.
fn with_statistics(groups: Vec<FileGroup>, schema: &SchemaRef) -> Result<(Vec<FileGroup>, Statistics)> {
    let of_group = |group: FileGroup| {
        let files = group.iter().filter_map(|file| file.statistics.as_deref());
        let statistics = Arc::new(Statistics::try_merge_iter(files, schema)?);
        Ok((group.with_statistics(Arc::clone(&statistics)), statistics))
    };
    let (groups, statistics): (Vec<_>, Vec<_>) =
        groups.into_iter().map(of_group).collect::<Result<Vec<_>>>()?.into_iter().unzip();
    let total = Statistics::try_merge_iter(statistics.iter().map(Arc::as_ref), schema)?;
    Ok((groups, total))
}

/// The root of the store in which an address lies, as DataFusion names it.
pub(super) fn root_url(url: &Url) -> ObjectStoreUrl {
    ObjectStoreUrl::parse(&url[..Position::BeforePath]).expect("scheme and host of an address are one")
}
