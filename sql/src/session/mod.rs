//! A SQL session over a lake: its tables at pinned versions, bounded memory, exact decimals.
//!
//! Owns the DataFusion side of the lake: which files a query reads (`lake_table`, `file_bounds`), and the
//! functions that the lake's columns need (`dimension`). It only reads. No order of rows is declared
//! anywhere, because distributed engines plan wrongly over tables that declare one.

mod dimension;
mod file_bounds;
mod lake_table;

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;

use datafusion::error::DataFusionError;
use datafusion::execution::context::SQLOptions;
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::memory_pool::{FairSpillPool, TrackConsumersPool};
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use datafusion::logical_expr::ScalarUDF;
use datafusion::prelude::{DataFrame, SessionConfig, SessionContext};

pub use dimension::Dimension;
pub use lake_table::LakeTable;

use rating::catalog::Catalog;

use crate::lake::{Lake, LakeError, Table, TableSnapshot};
use crate::quantities::QuantitiesFunction;

/// How many of the largest consumers an out-of-memory error names.
const CONSUMERS_NAMED: NonZeroUsize = NonZeroUsize::new(5).expect("5 is not 0");

/// What a sort sets aside for its merge if there is plenty.
const SORT_RESERVE_BYTES: usize = 10 * 1024 * 1024;

/// What a session may use, and which versions of the tables it sees.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionSettings {
    /// Operators that could take more spill to disk.
    pub memory_limit_bytes: usize,
    pub threads: usize,
    /// Where to spill; none for the system's folder for temporary files.
    pub spill_folder: Option<PathBuf>,
    pub spill_limit_bytes: u64,
    /// Tables that are read at this version; all others at their newest one.
    pub versions: BTreeMap<Table, u64>,
}

impl Default for SessionSettings {
    fn default() -> Self {
        Self {
            memory_limit_bytes: 1024 * 1024 * 1024,
            threads: std::thread::available_parallelism().map_or(1, NonZeroUsize::get),
            spill_folder: None,
            spill_limit_bytes: 16 * 1024 * 1024 * 1024,
            versions: BTreeMap::new(),
        }
    }
}

/// Why there is no session, or no answer.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    #[error(transparent)]
    Lake(#[from] LakeError),
    #[error("cannot set up the SQL session")]
    Setup(#[source] DataFusionError),
}

/// A session with the lake's tables registered under their names.
#[derive(Clone)]
pub struct LakeSession {
    pub context: SessionContext,
    /// What was registered; a table that does not exist yet is registered empty and stands not here.
    pub snapshots: BTreeMap<Table, Arc<TableSnapshot>>,
}

impl std::fmt::Debug for LakeSession {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let versions: Vec<_> =
            self.snapshots.iter().map(|(table, snapshot)| (table.name(), snapshot.version)).collect();
        formatter.debug_struct("LakeSession").field("versions", &versions).finish_non_exhaustive()
    }
}

impl LakeSession {
    /// Lets queries ask for `quantities('2026-05')`, as the catalog's meters and prices count them.
    pub fn add_quantities(&self, lake: &Lake, catalog: Arc<Catalog>) {
        let snapshot = self.snapshots.get(&Table::UsageEvents).cloned();
        let function = QuantitiesFunction { lake: lake.clone(), snapshot, catalog };
        self.context.register_udtf("quantities", Arc::new(function));
    }

    /// Plans a query. What would change anything, including settings, is refused.
    pub async fn query(&self, text: &str) -> Result<DataFrame, DataFusionError> {
        self.context.sql_with_options(text, read_only()).await
    }
}

/// Refuses everything but queries.
pub fn read_only() -> SQLOptions {
    SQLOptions::new().with_allow_ddl(false).with_allow_dml(false).with_allow_statements(false)
}

/// Opens a session over a lake. The tables stay at the versions of this moment, or at those asked for.
pub async fn open_session(lake: &Lake, settings: &SessionSettings) -> Result<LakeSession, SessionError> {
    let runtime = runtime(lake, settings).map_err(SessionError::Setup)?;
    let context = SessionContext::new_with_config_rt(session_config(settings), Arc::new(runtime));
    context.register_udf(ScalarUDF::from(Dimension::default()));
    let mut snapshots = BTreeMap::new();
    for table in Table::ALL {
        let handle = lake.table(table);
        let provider = match handle.snapshot(settings.versions.get(&table).copied()).await {
            Ok(snapshot) => {
                let snapshot = Arc::new(snapshot);
                snapshots.insert(table, Arc::clone(&snapshot));
                LakeTable::new(&handle, snapshot)
            }
            Err(LakeError::Missing(_)) if !settings.versions.contains_key(&table) => {
                LakeTable::empty(&handle)
            }
            Err(error) => return Err(error.into()),
        };
        context.register_table(table.name(), Arc::new(provider)).map_err(SessionError::Setup)?;
    }
    Ok(LakeSession { context, snapshots })
}

fn session_config(settings: &SessionSettings) -> SessionConfig {
    // Each sorting thread sets this aside for merging what it spilled; by default more than a small
    // session has.
    let sort_reserve_bytes =
        (settings.memory_limit_bytes / (8 * settings.threads.max(1))).min(SORT_RESERVE_BYTES);
    SessionConfig::new()
        .with_target_partitions(settings.threads.max(1))
        .with_default_catalog_and_schema("meterhouse", "public")
        .with_information_schema(true)
        .with_sort_spill_reservation_bytes(sort_reserve_bytes)
        // Without it `0.1` in a query is a float, and every sum that it touches becomes one.
        .set_bool("datafusion.sql_parser.parse_float_as_decimal", true)
}

fn runtime(lake: &Lake, settings: &SessionSettings) -> Result<RuntimeEnv, DataFusionError> {
    let mode = match &settings.spill_folder {
        Some(folder) => DiskManagerMode::Directories(vec![folder.clone()]),
        None => DiskManagerMode::OsTmpDirectory,
    };
    let spill = DiskManagerBuilder::default()
        .with_mode(mode)
        .with_max_temp_directory_size(settings.spill_limit_bytes);
    let pool = TrackConsumersPool::new(FairSpillPool::new(settings.memory_limit_bytes), CONSUMERS_NAMED);
    let runtime =
        RuntimeEnvBuilder::new().with_disk_manager_builder(spill).with_memory_pool(Arc::new(pool)).build()?;
    runtime.register_object_store(lake_table::root_url(lake.url()).as_ref(), Arc::clone(lake.root_store()));
    Ok(runtime)
}
