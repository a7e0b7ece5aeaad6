//! A table of the lake, and one pinned version of it.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use arrow::datatypes::Field;
use deltalake_core::kernel::engine::arrow_conversion::TryIntoKernel;
use deltalake_core::kernel::{LogicalFileView, Snapshot, StructField};
use deltalake_core::logstore::{LogStoreRef, StorageConfig, default_logstore};
use deltalake_core::operations::create::CreateBuilder;
use deltalake_core::protocol::SaveMode;
use deltalake_core::{DeltaTable, DeltaTableError};
use futures::TryStreamExt;
use object_store::path::Path;
use object_store::prefix::PrefixStore;
use object_store::{ObjectStore, ObjectStoreExt as _};
use parquet::errors::ParquetError;
use url::Url;

use super::{Lake, Table};

/// What goes wrong with a table of the lake.
#[derive(Debug, thiserror::Error)]
pub enum LakeError {
    #[error("the table `{0}` does not exist in this lake yet")]
    Missing(&'static str),
    #[error("cannot read or create the table `{table}`")]
    Delta {
        table: &'static str,
        #[source]
        source: Box<DeltaTableError>,
    },
    #[error("cannot read the file {path} of the table `{table}`")]
    File {
        table: &'static str,
        path: String,
        #[source]
        source: ParquetError,
    },
    #[error("file {path} of the table `{table}` has no {what} in the table's log")]
    Incomplete { table: &'static str, path: String, what: &'static str },
}

/// A table's place in the lake. The table itself may not exist yet.
#[derive(Debug, Clone)]
pub struct TableHandle {
    table: Table,
    url: Url,
    store: Arc<dyn ObjectStore>,
    log: LogStoreRef,
}

/// One version of a table: the files that it consists of.
#[derive(Debug, Clone)]
pub struct TableSnapshot {
    pub table: Table,
    pub version: u64,
    /// The table's own id, which stays when it is copied elsewhere.
    pub table_id: String,
    pub files: Vec<DataFile>,
}

/// A Parquet file of a table's version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DataFile {
    /// Relative to the table.
    pub path: String,
    pub size_bytes: u64,
    pub rows: u64,
    /// The value of the partition column: days since 1970-01-01.
    pub day: i32,
    pub modified_at_ms: i64,
    /// Smallest and largest values as JSON, as the table's log has them.
    pub statistics: Option<String>,
}

impl TableHandle {
    pub(super) fn new(lake: &Lake, table: Table) -> Self {
        let url = lake.url().join(&format!("{}/", table.name())).expect("a table's name is a path segment");
        let root = Arc::clone(lake.root_store());
        let store: Arc<dyn ObjectStore> =
            Arc::new(PrefixStore::new(Arc::clone(&root), super::store::prefix(&url)));
        let log = default_logstore(Arc::clone(&store), root, &url, &StorageConfig::default());
        Self { table, url, store, log }
    }

    pub fn table(&self) -> Table {
        self.table
    }

    pub fn url(&self) -> &Url {
        &self.url
    }

    /// Where the table lies in the lake's root store.
    pub fn folder(&self) -> Path {
        super::store::prefix(&self.url)
    }

    /// A store whose root is this table.
    pub fn store(&self) -> &Arc<dyn ObjectStore> {
        &self.store
    }

    pub fn log(&self) -> &LogStoreRef {
        &self.log
    }

    pub(super) fn error(&self, source: DeltaTableError) -> LakeError {
        match source {
            DeltaTableError::NotATable(_) => LakeError::Missing(self.table.name()),
            source => LakeError::Delta { table: self.table.name(), source: Box::new(source) },
        }
    }

    /// A folder that does not exist fails in another way than an empty one, but means the same.
    pub(super) async fn missing_or(&self, error: DeltaTableError) -> LakeError {
        match self.exists().await {
            Ok(false) => LakeError::Missing(self.table.name()),
            _ => self.error(error),
        }
    }

    pub async fn exists(&self) -> Result<bool, LakeError> {
        self.log.is_delta_table_location().await.map_err(|error| self.error(error))
    }

    /// Whether the log goes on after a version; one small request, whatever the table's size.
    pub async fn has_newer(&self, version: u64) -> Result<bool, LakeError> {
        let entry = Path::from(format!("_delta_log/{:020}.json", version + 1));
        match self.store.head(&entry).await {
            Ok(_) => Ok(true),
            Err(object_store::Error::NotFound { .. }) => Ok(false),
            Err(source) => Err(self.error(DeltaTableError::ObjectStore { source })),
        }
    }

    /// Creates the table unless it exists; safe if several processes do it at once.
    pub async fn create_if_missing(&self) -> Result<(), LakeError> {
        if self.exists().await? {
            return Ok(());
        }
        let created = CreateBuilder::new()
            .with_log_store(Arc::clone(&self.log))
            .with_table_name(self.table.name())
            .with_comment(self.table.description())
            .with_columns(self.delta_columns()?)
            .with_partition_columns([self.table.partition_column()])
            .with_save_mode(SaveMode::Ignore)
            .with_configuration([
                ("delta.dataSkippingStatsColumns", Some(self.table.statistics_columns().join(","))),
                // Issued invoices pin versions, so only `meterhouse vacuum` may drop history.
                ("delta.enableExpiredLogCleanup", Some("false".to_owned())),
            ])
            .await;
        match created {
            Ok(_) => Ok(()),
            // Another process may have been first, whatever error that became here.
            Err(error) => match self.exists().await {
                Ok(true) => Ok(()),
                _ => Err(self.error(error)),
            },
        }
    }

    fn delta_columns(&self) -> Result<Vec<StructField>, LakeError> {
        let columns = self.table.columns().iter().map(|column| {
            let comment = HashMap::from([("comment".to_owned(), column.meaning.to_owned())]);
            let field =
                Field::new(column.name, column.kind.arrow_type(), column.nullable).with_metadata(comment);
            (&field).try_into_kernel().map_err(|error| self.error(DeltaTableError::Arrow { source: error }))
        });
        columns.collect()
    }

    /// Reads the file list of a version, or of the newest one.
    pub async fn snapshot(&self, version: Option<u64>) -> Result<TableSnapshot, LakeError> {
        let snapshot = match Snapshot::try_new(self.log.as_ref(), version).await {
            Ok(snapshot) => snapshot,
            Err(error) => return Err(self.missing_or(error).await),
        };
        let views: Vec<_> = snapshot
            .file_views(self.log.as_ref(), None)
            .try_collect()
            .await
            .map_err(|error| self.error(error))?;
        let mut files = views.into_iter().map(|view| self.data_file(&view)).collect::<Result<Vec<_>, _>>()?;
        files.sort_by(|left, right| (left.day, &left.path).cmp(&(right.day, &right.path)));
        let table_id = snapshot.metadata().id().to_owned();
        Ok(TableSnapshot { table: self.table, version: snapshot.version(), table_id, files })
    }

    fn data_file(&self, view: &LogicalFileView) -> Result<DataFile, LakeError> {
        let path = view.path().into_owned();
        let incomplete = |what| LakeError::Incomplete { table: self.table.name(), path: path.clone(), what };
        let partition = view.partition_values_map();
        let day = partition.get(self.table.partition_column()).and_then(Option::as_deref);
        let day = day.and_then(parse_day).ok_or_else(|| incomplete("day"))?;
        let rows = view.num_records().ok_or_else(|| incomplete("row count"))?;
        Ok(DataFile {
            day,
            rows: rows as u64,
            size_bytes: view.size() as u64,
            modified_at_ms: view.modification_time(),
            statistics: view.stats(),
            path,
        })
    }

    /// Writes a checkpoint of a version, so that readers need not replay the log from its start.
    pub async fn checkpoint(&self, version: u64) -> Result<(), LakeError> {
        let mut table = DeltaTable::new(Arc::clone(&self.log));
        table.load_version(version).await.map_err(|error| self.error(error))?;
        deltalake_core::checkpoints::create_checkpoint(&table, None).await.map_err(|error| self.error(error))
    }
}

impl DataFile {
    /// Whether compaction wrote it: rows in the order of tenant, meter, time and arrival, each event once. The sorted
    /// files of a day follow each other in that order.
    pub fn is_sorted(&self) -> bool {
        self.path.rsplit('/').next().is_some_and(|name| name.starts_with("sorted-"))
    }

    /// By this the sorted files of a day stand in the order of their rows. A file's smallest meter may be another tenant's
    /// than its first, so meters (and after them times) say something only between files of one and the same tenant;
    /// two files have the same first and last tenant only then.
    pub fn bounds_in_order(&self) -> [Option<String>; 6] {
        let text = |bound: &str, column: &str| self.bound(bound, column);
        [
            text("minValues", "tenant"),
            text("maxValues", "tenant"),
            text("minValues", "meter"),
            text("maxValues", "meter"),
            text("minValues", "time"),
            text("maxValues", "time"),
        ]
    }

    /// The first and last tenant of the file, if the log says.
    pub fn tenant_bounds(&self) -> Option<(String, String)> {
        Some((self.bound("minValues", "tenant")?, self.bound("maxValues", "tenant")?))
    }

    /// Whether the log does not rule out that one of these tenants has rows in the file.
    pub fn may_hold_any(&self, tenants: &BTreeSet<String>) -> bool {
        let bounds = self.tenant_bounds();
        bounds.is_none_or(|(low, high)| super::holds_any_between(tenants, &low, &high))
    }

    fn bound(&self, bound: &str, column: &str) -> Option<String> {
        let statistics: serde_json::Value = serde_json::from_str(self.statistics.as_deref()?).ok()?;
        Some(statistics.get(bound)?.get(column)?.as_str()?.to_owned())
    }
}

/// Reads a partition's day as days since 1970-01-01.
pub(crate) fn parse_day(text: &str) -> Option<i32> {
    use arrow::array::types::Date32Type;
    use arrow::compute::kernels::cast_utils::Parser;
    Date32Type::parse(text)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Sorted rows of a day, cut anywhere, and a file for each part.
    #[test]
    fn the_files_of_a_sorted_day_follow_each_other() {
        let rows = [
            ("ann", "calls", "10"),
            ("bob", "calls", "11"),
            ("bob", "stored", "01"),
            ("bob", "stored", "05"),
            ("bob", "stored", "09"),
            ("bob", "trips", "03"),
            ("cid", "calls", "02"),
            ("cid", "trips", "01"),
        ];
        let file = |rows: &[(&str, &str, &str)]| {
            let columns: [(&str, Vec<&str>); 3] = [
                ("tenant", rows.iter().map(|row| row.0).collect()),
                ("meter", rows.iter().map(|row| row.1).collect()),
                ("time", rows.iter().map(|row| row.2).collect()),
            ];
            let bound = |of: fn(&[&str]) -> String| {
                columns.iter().map(|(name, texts)| (*name, of(texts))).collect::<HashMap<_, _>>()
            };
            let lowest = bound(|texts| (*texts.iter().min().unwrap()).to_owned());
            let highest = bound(|texts| (*texts.iter().max().unwrap()).to_owned());
            let statistics = json!({ "minValues": lowest, "maxValues": highest }).to_string();
            let path = "sorted-x.parquet".to_owned();
            DataFile { path, size_bytes: 0, rows: 0, day: 0, modified_at_ms: 0, statistics: Some(statistics) }
        };
        for first in 1..rows.len() {
            for second in first + 1..rows.len() {
                let files = [&rows[..first], &rows[first..second], &rows[second..]].map(file);
                let orders = files.each_ref().map(DataFile::bounds_in_order);
                assert!(orders.is_sorted() && orders[0] != orders[1] && orders[1] != orders[2], "{orders:?}");
            }
        }
    }

    #[tokio::test]
    async fn a_table_is_created_once_and_starts_empty() {
        let lake = Lake::open("memory:///").unwrap();
        let handle = lake.table(Table::UsageEvents);
        assert!(!handle.exists().await.unwrap());
        assert!(matches!(handle.snapshot(None).await, Err(LakeError::Missing("usage_events"))));
        let (first, second) = tokio::join!(handle.create_if_missing(), handle.create_if_missing());
        first.and(second).unwrap();
        handle.create_if_missing().await.unwrap();
        let snapshot = handle.snapshot(None).await.unwrap();
        assert_eq!((snapshot.version, snapshot.files), (0, vec![]));
        handle.checkpoint(0).await.unwrap();
        assert_eq!(handle.snapshot(Some(0)).await.unwrap().version, 0);
        assert!(!handle.has_newer(0).await.unwrap());
    }
}
