//! A SQL session over a lake: its tables at pinned versions, bounded memory, exact decimals.
//!
//! Owns the DataFusion side of the lake: which files a query reads (`lake_table`, `file_bounds`), the tables as they were
//! (`time_travel`), their comments (`information`), the functions that the lake's columns need (`dimension`), and where
//! queries run (`engine`). It only reads. No order of rows is declared anywhere, because distributed engines plan wrongly over tables that declare
//! one.
//!
//! # Sessions of one tenant
//! [`build_session`] with `SessionSettings::tenant` makes a session that shows one tenant's rows in everything that a query
//! can name: tables, views, table functions. It is the only place where a name is registered, and whatever it registers
//! goes through [`Registry::add`], which seals it (`tenant_table`), takes it as made for that tenant, or leaves it out
//! (`relation::Whose`). The catalog of such a session holds that tenant's part only, so functions that read it cannot
//! tell of others. What a server adds to the context afterwards it must restrict itself.
//!
//! A server keeps the [`LakeTables`] of a moment and one runtime, and builds a session for each connection from them.

mod catalogs;
mod dimension;
mod engine;
mod file_bounds;
mod information;
mod lake_table;
mod query;
mod tenant_table;
mod time_travel;
mod unavailable;

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;

use datafusion::catalog::{
    CatalogProvider as _, CatalogProviderList as _, MemoryCatalogProvider, MemoryCatalogProviderList,
    MemorySchemaProvider, SchemaProvider as _, TableFunctionImpl, TableProvider,
};
use datafusion::datasource::ViewTable;
use datafusion::error::DataFusionError;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::execution::context::SQLOptions;
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::memory_pool::{FairSpillPool, TrackConsumersPool};
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use datafusion::logical_expr::{LogicalPlan, ScalarUDF};
use datafusion::prelude::{DataFrame, SessionConfig, SessionContext};

pub(crate) use catalogs::SessionCatalogs;
pub use catalogs::{CatalogWithText, PeriodCatalogs};
pub use dimension::Dimension;
pub use engine::Engine;
pub use lake_table::LakeTable;
pub use query::{Parameters, QueryError, TableArgument, fill_table_arguments};

use rating::catalog::Catalog;

use crate::functions;
use crate::lake::{Lake, LakeError, Table, TableSnapshot};
use crate::quantities::{
    ChargeKinds, LeftOut, LeftOutTenant, QuantitiesFunction, Told, charge_columns, quantity_columns,
};
use crate::relation::{
    BookProvider, BookSource, BookTable, CatalogProvider, CatalogTable, Relation, RelationKind, VIEWS, View,
    Whose, catalog_of_one_tenant, usage_days,
};
use engine::Runner;
use information::Information;
use tenant_table::{TenantFunction, TenantTable};
use time_travel::TableAt;
pub(crate) use time_travel::instant;
use unavailable::Unavailable;

/// The name of the catalog and of its schemas.
const CATALOG: &str = "meterhouse";
const PUBLIC: &str = "public";
/// Tables of the lake before which a view stands.
const LAKE: &str = "lake";

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
    /// Tables that are read at this version.
    pub versions: BTreeMap<Table, u64>,
    /// All others are read as they were at this instant; none for their newest versions.
    pub as_of_us: Option<i64>,
    /// The session shows this tenant's rows only.
    pub tenant: Option<String>,
    pub engine: Engine,
}

impl Default for SessionSettings {
    fn default() -> Self {
        Self {
            memory_limit_bytes: 1024 * 1024 * 1024,
            threads: std::thread::available_parallelism().map_or(1, NonZeroUsize::get),
            spill_folder: None,
            spill_limit_bytes: 16 * 1024 * 1024 * 1024,
            versions: BTreeMap::new(),
            as_of_us: None,
            tenant: None,
            engine: Engine::default(),
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

/// What a session shows besides the lake.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// Without one there are neither quantities nor the catalog's tables.
    pub catalog: Option<Arc<Catalog>>,
    /// What the catalog was read from; only a cluster needs it, whose machines read it again.
    pub catalog_text: Option<Arc<str>>,
    /// Those of periods that another catalog rates; without any it is the one above.
    pub period_catalogs: Option<Arc<dyn PeriodCatalogs>>,
    /// Without one the book's tables are empty.
    pub book: Option<Arc<dyn BookSource>>,
    /// Why neither catalog nor book can be read, in a sentence, if they should be there: what is made from them then fails with it.
    pub unavailable: Option<String>,
    /// When it is: decides which limits hold.
    pub now_us: i64,
}

/// The lake's tables at one moment.
#[derive(Debug, Clone)]
pub struct LakeTables {
    /// A table that does not exist yet is empty.
    tables: BTreeMap<Table, Arc<LakeTable>>,
    /// A table that does not exist yet stands not here.
    snapshots: BTreeMap<Table, Arc<TableSnapshot>>,
}

impl LakeTables {
    /// Reads the versions that the settings ask for.
    pub async fn read(lake: &Lake, settings: &SessionSettings) -> Result<Self, LakeError> {
        let (mut tables, mut snapshots) = (BTreeMap::new(), BTreeMap::new());
        for table in Table::ALL {
            let handle = lake.table(table);
            let opened = match Self::snapshot(lake, table, settings).await? {
                Some(snapshot) => {
                    let snapshot = Arc::new(snapshot);
                    snapshots.insert(table, Arc::clone(&snapshot));
                    LakeTable::new(&handle, snapshot)
                }
                None => LakeTable::empty(&handle),
            };
            tables.insert(table, Arc::new(opened));
        }
        Ok(Self { tables, snapshots })
    }

    async fn snapshot(
        lake: &Lake,
        table: Table,
        settings: &SessionSettings,
    ) -> Result<Option<TableSnapshot>, LakeError> {
        let handle = lake.table(table);
        let read = match (settings.versions.get(&table), settings.as_of_us) {
            (Some(version), _) => return handle.snapshot(Some(*version)).await.map(Some),
            (None, None) => handle.snapshot(None).await,
            (None, Some(at_us)) => match handle.version_at(at_us).await {
                Ok(None) => return Ok(None),
                Ok(version) => handle.snapshot(version).await,
                Err(error) => Err(error),
            },
        };
        match read {
            Ok(snapshot) => Ok(Some(snapshot)),
            Err(LakeError::Missing(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// A session with everything registered under its name.
#[derive(Clone)]
pub struct LakeSession {
    pub context: SessionContext,
    /// The versions of the lake's tables; a table that does not exist yet stands not here.
    pub snapshots: BTreeMap<Table, Arc<TableSnapshot>>,
    /// What a query can name, in the order in which people look for it.
    pub relations: Arc<Vec<Relation>>,
    runner: Runner,
}

impl std::fmt::Debug for LakeSession {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let versions: Vec<_> =
            self.snapshots.iter().map(|(table, snapshot)| (table.name(), snapshot.version)).collect();
        formatter.debug_struct("LakeSession").field("versions", &versions).finish_non_exhaustive()
    }
}

impl LakeSession {
    /// Plans a query. What would change anything, including settings, is refused.
    pub async fn query(&self, text: &str) -> Result<DataFrame, DataFusionError> {
        self.context.sql_with_options(text, read_only()).await
    }

    /// Tenants that the answers so far are without, because they cannot be rated.
    pub fn left_out(&self) -> Vec<LeftOutTenant> {
        let noted = self.context.copied_config().get_extension::<LeftOut>();
        noted.map(|noted| noted.take()).unwrap_or_default()
    }

    /// Begins to answer a planned query, where the session's engine is.
    pub async fn answer(&self, query: DataFrame) -> Result<SendableRecordBatchStream, DataFusionError> {
        self.runner.answer(query).await
    }
}

/// Refuses everything but queries.
pub fn read_only() -> SQLOptions {
    SQLOptions::new().with_allow_ddl(false).with_allow_dml(false).with_allow_statements(false)
}

/// Opens a session over a lake alone. The tables stay at the versions of this moment, or at those asked for.
pub async fn open_session(lake: &Lake, settings: &SessionSettings) -> Result<LakeSession, SessionError> {
    open_session_over(lake, settings, &Sources::default()).await
}

/// The same with all that stands beside the lake.
pub async fn open_session_over(
    lake: &Lake,
    settings: &SessionSettings,
    sources: &Sources,
) -> Result<LakeSession, SessionError> {
    let tables = LakeTables::read(lake, settings).await?;
    let runtime = Arc::new(runtime(lake, settings).map_err(SessionError::Setup)?);
    build_session(lake, settings, &tables, sources, runtime).await.map_err(SessionError::Setup)
}

/// Puts a session together from tables that were read before. Several sessions may share tables and a runtime.
pub async fn build_session(
    lake: &Lake,
    settings: &SessionSettings,
    tables: &LakeTables,
    sources: &Sources,
    runtime: Arc<RuntimeEnv>,
) -> Result<LakeSession, DataFusionError> {
    let config = session_config(settings).with_extension(Arc::new(LeftOut::default()));
    let (context, runner) = engine::start(settings, sources, config, runtime)?;
    context.register_udf(ScalarUDF::from(Dimension::default()));
    let mut registry = Registry::new(context, runner, settings.tenant.as_deref());
    for (table, provider) in &tables.tables {
        let relation = Relation::of_lake_table(*table);
        let whose = relation.whose();
        if View::stands_before(*table) {
            registry.add_hidden(table.name(), whose, Arc::clone(provider) as _)?;
        } else {
            registry.add_time_travel(lake, *table, None);
            registry.add(relation, whose, Arc::clone(provider) as _)?;
        }
    }
    registry.add_usage_days(tables).await?;
    for view in VIEWS {
        registry.add_view(view, lake).await?;
    }
    let catalog = sources.catalog.as_ref().map(|catalog| match &settings.tenant {
        Some(tenant) => Arc::new(catalog_of_one_tenant(catalog, tenant)),
        None => Arc::clone(catalog),
    });
    functions::register(&registry.context, catalog.as_ref());
    if let Some(catalog) = &catalog {
        registry.add_catalog(lake, tables, catalog, sources)?;
    }
    if let Some(reason) = &sources.unavailable {
        registry.add_unavailable(reason)?;
        return registry.finish(tables);
    }
    for table in BookTable::ALL {
        let provider = BookProvider::table(table, sources.book.clone(), settings.tenant.as_deref())?;
        registry.add(table.relation(), table.whose(), provider)?;
    }
    registry.finish(tables)
}

/// The one way by which a session gets something that a query can name.
struct Registry<'s> {
    context: SessionContext,
    runner: Runner,
    catalog: Arc<MemoryCatalogProvider>,
    public: Arc<MemorySchemaProvider>,
    behind_views: Arc<MemorySchemaProvider>,
    tenant: Option<&'s str>,
    relations: Vec<Relation>,
}

impl<'s> Registry<'s> {
    fn new(context: SessionContext, runner: Runner, tenant: Option<&'s str>) -> Self {
        let catalog = Arc::new(MemoryCatalogProvider::new());
        context.register_catalog(CATALOG, Arc::clone(&catalog) as _);
        let (public, behind_views) = (Arc::default(), Arc::default());
        Self { context, runner, catalog, public, behind_views, tenant, relations: Vec::new() }
    }

    /// What this session may see of a table; nothing if it may not know of it.
    fn restricted(
        &self,
        whose: Whose,
        provider: Arc<dyn TableProvider>,
    ) -> Result<Option<Arc<dyn TableProvider>>, DataFusionError> {
        Ok(match (self.tenant, whose) {
            (None, _) | (Some(_), Whose::MadeForTenant) => Some(provider),
            (Some(tenant), Whose::TenantColumn) => Some(Arc::new(TenantTable::new(provider, tenant)?)),
            (Some(_), Whose::Vendor) => None,
        })
    }

    fn add(
        &mut self,
        relation: Relation,
        whose: Whose,
        provider: Arc<dyn TableProvider>,
    ) -> Result<(), DataFusionError> {
        if let Some(provider) = self.restricted(whose, provider)? {
            self.public.register_table(relation.name.clone(), provider)?;
            self.relations.push(relation);
        }
        Ok(())
    }

    /// A table before which a view of its name stands.
    fn add_hidden(
        &self,
        name: &str,
        whose: Whose,
        provider: Arc<dyn TableProvider>,
    ) -> Result<(), DataFusionError> {
        if let Some(provider) = self.restricted(whose, provider)? {
            self.behind_views.register_table(name.to_owned(), provider)?;
        }
        Ok(())
    }

    fn add_function(&self, name: &str, whose: Whose, function: Arc<dyn TableFunctionImpl>) {
        let function = match (self.tenant, whose) {
            (None, _) | (Some(_), Whose::MadeForTenant) => function,
            (Some(tenant), Whose::TenantColumn) => {
                Arc::new(TenantFunction { whole: function, tenant: tenant.to_owned() })
            }
            (Some(_), Whose::Vendor) => return,
        };
        self.context.register_udtf(name, function);
    }

    fn add_time_travel(&self, lake: &Lake, table: Table, view: Option<LogicalPlan>) {
        let whose = Relation::of_lake_table(table).whose();
        let function = TableAt { handle: lake.table(table), view };
        self.add_function(&format!("{}_at", table.name()), whose, Arc::new(function));
    }

    async fn add_usage_days(&mut self, tables: &LakeTables) -> Result<(), DataFusionError> {
        let usage = tables.snapshots.get(&Table::UsageEvents).map(AsRef::as_ref);
        let days = if self.tenant.is_some() {
            self.register_schemas()?;
            let plan = self.context.state().create_logical_plan(usage_days::OF_ONE_TENANT).await?;
            Arc::new(ViewTable::new(plan, None)) as _
        } else {
            usage_days::provider(usage)?
        };
        self.add(usage_days::relation(), Whose::MadeForTenant, days)
    }

    /// A view sees what the session sees, so it needs no restriction of its own.
    async fn add_view(&mut self, view: View, lake: &Lake) -> Result<(), DataFusionError> {
        self.register_schemas()?;
        let plan = self.context.state().create_logical_plan(view.text).await?;
        let behind = Table::ALL.into_iter().find(|table| table.name() == view.name);
        if let Some(table) = behind.filter(|table| View::stands_before(*table)) {
            self.add_time_travel(lake, table, Some(plan.clone()));
        }
        let provider = ViewTable::new(plan, Some(view.text.to_owned()));
        self.relations.push(view.relation(&provider.schema()));
        self.public.register_table(view.name.to_owned(), Arc::new(provider))?;
        Ok(())
    }

    fn add_catalog(
        &mut self,
        lake: &Lake,
        tables: &LakeTables,
        catalog: &Arc<Catalog>,
        sources: &Sources,
    ) -> Result<(), DataFusionError> {
        let catalogs = Arc::new(SessionCatalogs {
            own: Arc::clone(catalog),
            of_periods: sources.period_catalogs.clone(),
            tenant: self.tenant.map(str::to_owned),
            runner: self.runner.clone(),
        });
        for (told, relation) in told_relations() {
            let function = QuantitiesFunction {
                told,
                lake: lake.clone(),
                snapshot: tables.snapshots.get(&Table::UsageEvents).cloned(),
                catalogs: Arc::clone(&catalogs),
                is_spread: self.runner.is_spread(),
            };
            self.add(relation, Whose::TenantColumn, function.table())?;
            self.add_function(told.name(), Whose::TenantColumn, Arc::new(function));
        }
        for table in CatalogTable::ALL {
            let provider = CatalogProvider::new(table, catalog, sources.now_us);
            self.add(table.relation(), table.whose(), Arc::new(provider))?;
        }
        Ok(())
    }

    /// All that is made from catalog and book, without them.
    fn add_unavailable(&mut self, reason: &str) -> Result<(), DataFusionError> {
        let of = |relation: &Relation| {
            let (name, schema) = (relation.name.clone(), relation.schema());
            Arc::new(Unavailable { name, schema, reason: reason.to_owned() })
        };
        for (told, relation) in told_relations() {
            let unavailable = of(&relation);
            self.add(relation, Whose::TenantColumn, Arc::clone(&unavailable) as _)?;
            self.add_function(told.name(), Whose::TenantColumn, unavailable);
        }
        let of_catalog = CatalogTable::ALL.map(|table| (table.relation(), table.whose()));
        let of_book = BookTable::ALL.map(|table| (table.relation(), table.whose()));
        for (relation, whose) in of_catalog.into_iter().chain(of_book) {
            let unavailable = of(&relation);
            self.add(relation, whose, unavailable)?;
        }
        Ok(())
    }

    fn register_schemas(&self) -> Result<(), DataFusionError> {
        self.catalog.register_schema(PUBLIC, Arc::clone(&self.public) as _)?;
        self.catalog.register_schema(LAKE, Arc::clone(&self.behind_views) as _)?;
        Ok(())
    }

    fn finish(self, tables: &LakeTables) -> Result<LakeSession, DataFusionError> {
        self.register_schemas()?;
        let state = self.context.state();
        // What stands behind views is not listed.
        let listed = MemoryCatalogProvider::new();
        listed.register_schema(PUBLIC, Arc::clone(&self.public) as _)?;
        let catalogs = MemoryCatalogProviderList::new();
        catalogs.register_catalog(CATALOG.to_owned(), Arc::new(listed));
        let information = Information {
            listed: Arc::new(catalogs),
            functions: state.table_functions().clone(),
            relations: self.relations.clone(),
            hides_settings: self.tenant.is_some(),
        };
        self.catalog.register_schema("information_schema", Arc::new(information))?;
        Ok(LakeSession {
            context: self.context,
            snapshots: tables.snapshots.clone(),
            relations: Arc::new(self.relations),
            runner: self.runner,
        })
    }
}

/// What the engine tells of a period, and how people find it.
fn told_relations() -> [(Told, Relation); 2] {
    let quantities = ("what every tenant used in a period, by every measure", quantity_columns());
    let charges = ("what the usage of a period costs, whether it was billed or not", charge_columns());
    [(Told::Quantities, quantities), (Told::Charges(ChargeKinds::ALL), charges)].map(
        |(told, (what, columns))| {
            let name = told.name().to_owned();
            let description = format!(
                "{what}; a query names the period: {name}('2026-05'), or WHERE period = '2026-05-01'"
            );
            (told, Relation { name, kind: RelationKind::Table, description, columns })
        },
    )
}

fn session_config(settings: &SessionSettings) -> SessionConfig {
    // Each sorting thread sets this aside for merging what it spilled; by default more than a small
    // session has.
    let sort_reserve_bytes =
        (settings.memory_limit_bytes / (8 * settings.threads.max(1))).min(SORT_RESERVE_BYTES);
    SessionConfig::new()
        .with_target_partitions(settings.threads.max(1))
        .with_default_catalog_and_schema(CATALOG, PUBLIC)
        .with_create_default_catalog_and_schema(false)
        // So that errors can point at their place.
        .set_bool("datafusion.sql_parser.collect_spans", true)
        .with_sort_spill_reservation_bytes(sort_reserve_bytes)
        // Without it `0.1` in a query is a float, and every sum that it touches becomes one.
        .set_bool("datafusion.sql_parser.parse_float_as_decimal", true)
}

/// What a session runs in: memory up to a limit, a place to spill, and the lake's store.
pub fn runtime(lake: &Lake, settings: &SessionSettings) -> Result<RuntimeEnv, DataFusionError> {
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
