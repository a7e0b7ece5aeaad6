//! Where a session's queries run: in this process, or on a cluster.

use std::sync::Arc;

use datafusion::error::Result;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::execution::runtime_env::RuntimeEnv;
use datafusion::prelude::{DataFrame, SessionConfig, SessionContext};
use rating::catalog::Catalog;

use super::{SessionSettings, Sources};

/// Where queries run.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Engine {
    #[default]
    Here,
    #[cfg(feature = "cluster")]
    Cluster(crate::cluster::Scheduler),
}

/// What answers planned queries.
#[derive(Debug, Clone)]
pub(super) enum Runner {
    Here,
    #[cfg(feature = "cluster")]
    Cluster(Arc<crate::cluster::Cluster>),
}

/// A context that plans for the engine, and what answers its queries.
#[cfg_attr(not(feature = "cluster"), allow(unused_variables, clippy::unnecessary_wraps))]
pub(super) fn start(
    settings: &SessionSettings,
    sources: &Sources,
    config: SessionConfig,
    runtime: Arc<RuntimeEnv>,
) -> Result<(SessionContext, Runner)> {
    match &settings.engine {
        Engine::Here => Ok((SessionContext::new_with_config_rt(config, runtime), Runner::Here)),
        #[cfg(feature = "cluster")]
        Engine::Cluster(scheduler) => {
            if settings.tenant.is_some() {
                // Executors read whole files: nothing there keeps a tenant's rows apart.
                return datafusion::common::plan_err!("a session of one tenant cannot run on a cluster");
            }
            let cluster = crate::cluster::Cluster::new(scheduler.clone(), sources);
            Ok((crate::cluster::client_context(config, runtime), Runner::Cluster(Arc::new(cluster))))
        }
    }
}

impl Runner {
    /// Whether several processes answer one query.
    pub fn is_spread(&self) -> bool {
        match self {
            Self::Here => false,
            #[cfg(feature = "cluster")]
            Self::Cluster(_) => true,
        }
    }

    /// A catalog that plans may name beside that of the session.
    #[cfg_attr(not(feature = "cluster"), allow(unused_variables))]
    pub fn know(&self, catalog: &Arc<Catalog>, text: &Arc<str>) {
        match self {
            Self::Here => {}
            #[cfg(feature = "cluster")]
            Self::Cluster(cluster) => cluster.know(catalog, text),
        }
    }

    pub async fn answer(&self, query: DataFrame) -> Result<SendableRecordBatchStream> {
        match self {
            Self::Here => query.execute_stream().await,
            #[cfg(feature = "cluster")]
            Self::Cluster(cluster) => cluster.answer(query).await,
        }
    }
}
