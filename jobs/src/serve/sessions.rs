//! What each user sees of the lake, at its newest version.
//!
//! Owns opening the lake again when it has moved on, and for each user a session with PostgreSQL's catalog over what the
//! user may see. The numbers that the catalog gives to tables stay the same for as long as the server runs, because clients
//! ask for a table's number first and for its columns by that number later. Does not own how a tenant's rows are told from
//! others (`sql::session`).

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use datafusion::catalog::{
    CatalogProvider, CatalogProviderList, MemoryCatalogProvider, MemoryCatalogProviderList, SchemaProvider,
};
use datafusion::execution::memory_pool::{GreedyMemoryPool, MemoryPool};
use datafusion::execution::runtime_env::RuntimeEnv;
use datafusion::execution::session_state::{SessionState, SessionStateBuilder};
use datafusion::prelude::SessionContext;
use datafusion_postgres::datafusion_pg_catalog::pg_catalog::context::EmptyContextProvider;
use datafusion_postgres::datafusion_pg_catalog::pg_catalog::setup_pg_catalog;
use futures::future::try_join_all;
use sql::functions::register_sums;
use sql::lake::{Lake, Table};
use sql::quantities::LeftOut;
use sql::query_memory::QueryMemory;
use sql::session::{LakeSession, LakeTables, SessionSettings, Sources, build_session, runtime};
use tokio::sync::Mutex;

use super::allowed::{is_harmless_table_function, with_allowed_functions};
use super::functions;
use super::users::User;
use crate::config::Config;
use crate::reporting;

/// The name of the database and its schemas, as the lake's session has them.
pub const DATABASE: &str = "meterhouse";
const PUBLIC: &str = "public";
const PG_CATALOG: &str = "pg_catalog";

/// What one user sees of one version of the lake.
#[derive(Debug)]
pub struct UserSession {
    /// Counts how often the lake was opened; a statement that was planned before is planned again.
    pub opening: u64,
    pub state: SessionState,
    pub is_restricted: bool,
    /// Tables and table functions of the lake.
    pub names: BTreeSet<String>,
}

impl UserSession {
    /// The state for one query, with its own memory and so many rows at once, and the surroundings of all queries. Whom its rows are without is
    /// noted for the connection that asks.
    pub fn for_query(&self, memory_bytes: usize, batch_rows: usize, left_out: &Arc<LeftOut>) -> SessionState {
        let runtime = QueryMemory::runtime(memory_bytes, self.state.runtime_env());
        let config =
            self.state.config().clone().with_batch_size(batch_rows).with_extension(Arc::clone(left_out));
        SessionStateBuilder::new_from_existing(self.state.clone())
            .with_config(config)
            .with_runtime_env(runtime)
            .build()
    }
}

/// The lake as it was opened last.
struct Opening {
    number: u64,
    tables: LakeTables,
    sources: Sources,
    /// Shows everything.
    session: LakeSession,
    opened_at: Instant,
    looked_at: Instant,
    users: HashMap<String, Arc<UserSession>>,
}

/// What stays of a user when the lake is opened again.
struct Base {
    context: SessionContext,
    pg_catalog: Arc<dyn SchemaProvider>,
}

pub struct Sessions {
    lake: Lake,
    config: Config,
    settings: SessionSettings,
    refresh: Duration,
    /// The surroundings of all queries.
    runtime: Arc<RuntimeEnv>,
    inner: Mutex<(Opening, BTreeMap<String, Base>)>,
}

impl std::fmt::Debug for Sessions {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Sessions").field("memory", self.memory()).finish_non_exhaustive()
    }
}

/// Catalogs are applied, and limits begin, without a commit to the lake; a session knows of them after so long.
const CATALOG_HOLDS: Duration = Duration::from_mins(1);

impl Sessions {
    /// Opens the lake; `settings` has the memory of all queries together.
    pub async fn open(
        lake: Lake,
        config: Config,
        settings: SessionSettings,
        refresh: Duration,
    ) -> Result<Self> {
        let memory_pool: Arc<dyn MemoryPool> = Arc::new(GreedyMemoryPool::new(settings.memory_limit_bytes));
        let runtime = Arc::new(RuntimeEnv { memory_pool, ..runtime(&lake, &settings)? });
        let opening = open(&lake, &config, &settings, &runtime, 1).await?;
        let inner = Mutex::new((opening, BTreeMap::new()));
        Ok(Self { lake, config, settings, refresh, runtime, inner })
    }

    /// The memory that all queries together hold.
    pub fn memory(&self) -> &Arc<dyn MemoryPool> {
        &self.runtime.memory_pool
    }

    /// What a user sees of the newest version of the lake.
    pub async fn of(&self, user: &User) -> Result<Arc<UserSession>> {
        let mut inner = self.inner.lock().await;
        let (opening, bases) = &mut *inner;
        if opening.looked_at.elapsed() >= self.refresh {
            let is_old = opening.opened_at.elapsed() >= CATALOG_HOLDS;
            if is_old || self.has_moved_on(&opening.session).await? {
                let number = opening.number + 1;
                *opening = open(&self.lake, &self.config, &self.settings, &self.runtime, number).await?;
            }
            opening.looked_at = Instant::now();
        }
        if let Some(session) = opening.users.get(&user.name) {
            return Ok(Arc::clone(session));
        }
        if !bases.contains_key(&user.name) {
            bases.insert(user.name.clone(), self.base(&opening.session.context, user)?);
        }
        let lake_session = match &user.tenant {
            None => opening.session.clone(),
            Some(tenant) => {
                let settings = SessionSettings { tenant: Some(tenant.clone()), ..self.settings.clone() };
                let runtime = Arc::clone(&self.runtime);
                build_session(&self.lake, &settings, &opening.tables, &opening.sources, runtime).await?
            }
        };
        let session = Arc::new(user_session(opening.number, &lake_session, &bases[&user.name], user)?);
        opening.users.insert(user.name.clone(), Arc::clone(&session));
        Ok(session)
    }

    async fn has_moved_on(&self, session: &LakeSession) -> Result<bool> {
        let tables = Table::ALL.into_iter().map(async |table| {
            let handle = self.lake.table(table);
            match session.snapshots.get(&table) {
                Some(snapshot) => handle.has_newer(snapshot.version).await,
                None => handle.exists().await,
            }
        });
        Ok(try_join_all(tables).await?.contains(&true))
    }

    fn base(&self, lake: &SessionContext, user: &User) -> Result<Base> {
        let config = lake.copied_config().with_create_default_catalog_and_schema(true);
        let context = SessionContext::new_with_config_rt(config, Arc::clone(&self.runtime));
        setup_pg_catalog(&context, DATABASE, EmptyContextProvider).context("cannot set up pg_catalog")?;
        functions::register(&context, &user.name);
        register_sums(&context);
        let catalog = context.catalog(DATABASE).context("the session has no catalog")?;
        let pg_catalog = catalog.schema(PG_CATALOG).context("the session has no pg_catalog")?;
        Ok(Base { context, pg_catalog })
    }
}

async fn open(
    lake: &Lake,
    config: &Config,
    settings: &SessionSettings,
    runtime: &Arc<RuntimeEnv>,
    number: u64,
) -> Result<Opening> {
    let tables = LakeTables::read(lake, settings).await?;
    let sources = reporting::sources(config).await;
    let session = build_session(lake, settings, &tables, &sources, Arc::clone(runtime)).await?;
    let now = Instant::now();
    Ok(Opening { number, tables, sources, session, opened_at: now, looked_at: now, users: HashMap::new() })
}

fn user_session(number: u64, lake_session: &LakeSession, base: &Base, user: &User) -> Result<UserSession> {
    let lake = lake_session.context.state();
    let catalog = lake_session.context.catalog(DATABASE).context("the lake's session has no catalog")?;
    let public = catalog.schema(PUBLIC).context("the lake's session has no tables")?;

    let shown = MemoryCatalogProvider::new();
    for name in catalog.schema_names() {
        let schema = catalog.schema(&name).context("a schema of the lake's session is gone")?;
        shown.register_schema(&name, schema)?;
    }
    shown.register_schema(PG_CATALOG, Arc::clone(&base.pg_catalog))?;
    let catalogs = MemoryCatalogProviderList::new();
    catalogs.register_catalog(DATABASE.to_owned(), Arc::new(shown));
    // What pg_class and its kin list.
    let listed = base.context.catalog(DATABASE).context("the session has no catalog")?;
    listed.register_schema(PUBLIC, Arc::clone(&public))?;

    let mut table_functions = lake.table_functions().clone();
    let mut names: BTreeSet<String> = public.table_names().into_iter().collect();
    names.extend(table_functions.keys().cloned());
    for (name, function) in base.context.state().table_functions() {
        if is_harmless_table_function(name) {
            table_functions.insert(name.clone(), Arc::clone(function));
            names.remove(name);
        }
    }
    let (state, of_the_lake) = with_functions_of(base.context.state(), &lake);
    let state = SessionStateBuilder::new_from_existing(state).with_catalog_list(Arc::new(catalogs)).build();
    Ok(UserSession {
        opening: number,
        state: with_allowed_functions(state, &of_the_lake, table_functions),
        is_restricted: user.tenant.is_some(),
        names,
    })
}

/// The state with what the lake's session has more of functions, and their names.
fn with_functions_of(state: SessionState, lake: &SessionState) -> (SessionState, BTreeSet<String>) {
    let context = SessionContext::new_with_state(state);
    let mut names = BTreeSet::new();
    let known = context.state();
    for (name, function) in lake.scalar_functions() {
        if !known.scalar_functions().contains_key(name) {
            context.register_udf(function.as_ref().clone());
            names.insert(name.clone());
        }
    }
    for (name, function) in lake.aggregate_functions() {
        if !known.aggregate_functions().contains_key(name) {
            context.register_udaf(function.as_ref().clone());
            names.insert(name.clone());
        }
    }
    (context.state(), names)
}
