//! Queries on a cluster of machines: Apache DataFusion Ballista, with the lake's tables and our functions.
//!
//! A query is planned here, over the files of the session's snapshots, and the finished plan goes to the scheduler, which
//! cuts it into stages; executors read the lake themselves. Nobody but the planner opens a table's log, so all of them work
//! on the same files.
//!
//! Owns: what of a plan can leave this process (`shipping`), how what is ours in it is written down (`codec`), how errors
//! come back (`errors`), how executors reach the lake (`stores`), and the sessions of scheduler and executors (`server`). Does not own starting
//! these (`jobs`). No table declares an order of rows (`session`), because Ballista plans wrongly over one that does.

mod codec;
mod errors;
mod server;
mod shipping;
mod stores;

use std::collections::BTreeSet;
use std::fmt;
use std::pin::Pin;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use ballista_core::config::BALLISTA_CLIENT_GRPC_MAX_MESSAGE_SIZE;
use ballista_core::execution_plans::execute_physical_plan;
use ballista_core::extension::SessionConfigExt;
use ballista_core::optimizer::ballista_default_optimizer_rules;
use datafusion::arrow::array::RecordBatch;
use datafusion::common::{exec_datafusion_err, exec_err};
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::runtime_env::RuntimeEnv;
use datafusion::execution::{SendableRecordBatchStream, SessionState, SessionStateBuilder};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{ExecutionPlan, execute_stream};
use datafusion::prelude::{DataFrame, SessionConfig, SessionContext};
use datafusion_proto::protobuf::PhysicalPlanNode;
use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryStreamExt};
use rating::catalog::Catalog;
use tokio::net::TcpStream;

use crate::quantities::{LeftOut, left_out_of_message};
use crate::session::Sources;
use codec::LakeCodec;

pub use server::{codec, functions, server_config, server_runtime, server_session};

/// Plans name their files, and those of `quantities` the catalog too, so they are larger than most messages.
pub const MESSAGE_BYTES_MAX: u32 = 256 * 1024 * 1024;

const SCHEME: &str = "ballista://";
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// The address of a cluster's scheduler, written `ballista://HOST:PORT`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scheduler {
    pub host: String,
    pub port: u16,
}

impl FromStr for Scheduler {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parsed = || {
            let (host, port) = text.strip_prefix(SCHEME)?.trim_end_matches('/').rsplit_once(':')?;
            let port = port.parse().ok()?;
            (!host.is_empty() && !host.contains('/')).then(|| Self { host: host.to_owned(), port })
        };
        parsed().ok_or_else(|| format!("expected {SCHEME}HOST:PORT, the address of a cluster's scheduler"))
    }
}

impl fmt::Display for Scheduler {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{SCHEME}{}:{}", self.host, self.port)
    }
}

/// The cluster as a session uses it.
#[derive(Debug)]
pub(crate) struct Cluster {
    scheduler: Scheduler,
    codec: LakeCodec,
}

/// A context that plans for a cluster.
pub(crate) fn client_context(config: SessionConfig, runtime: Arc<RuntimeEnv>) -> SessionContext {
    let config = config
        .upgrade_for_ballista()
        .set_usize(BALLISTA_CLIENT_GRPC_MAX_MESSAGE_SIZE, MESSAGE_BYTES_MAX as usize);
    let state = SessionStateBuilder::new()
        .with_default_features()
        .with_config(config)
        .with_runtime_env(runtime)
        .with_optimizer_rules(ballista_default_optimizer_rules());
    SessionContext::new_with_state(state.build())
}

impl Cluster {
    pub fn new(scheduler: Scheduler, sources: &Sources) -> Self {
        let codec = LakeCodec::default();
        if let (Some(catalog), Some(text)) = (&sources.catalog, &sources.catalog_text) {
            codec.know(catalog, text);
        }
        Self { scheduler, codec }
    }

    pub fn know(&self, catalog: &Arc<Catalog>, text: &Arc<str>) {
        self.codec.know(catalog, text);
    }

    /// Begins to answer a query. What reads nothing of the lake's files is answered here.
    pub async fn answer(&self, query: DataFrame) -> Result<SendableRecordBatchStream> {
        let (state, plan) = query.into_parts();
        let plan = state.create_physical_plan(&plan).await?;
        if !shipping::reads_the_lake(&plan) {
            return execute_stream(plan, state.task_ctx());
        }
        let mut plan = shipping::prepare(plan, &state.task_ctx()).await?;
        self.reach().await?;
        let told = state.config().get_extension::<LeftOut>();
        let mut without = BTreeSet::new();
        loop {
            let mut rows = self.rows(&state, Arc::clone(&plan)).await?.peekable();
            // Rows come once all tasks are done, so a failure comes before the first.
            let failed = match Pin::new(&mut rows).peek().await {
                Some(Err(error)) => left_out_of_message(&words_of(error)),
                _ => None,
            };
            let (Some(failed), Some(told)) = (failed, &told) else {
                let scheduler = self.scheduler.clone();
                let (schema, rows) =
                    (plan.schema(), rows.map_err(move |error| failed_on(&scheduler, &error)));
                return Ok(Box::pin(RecordBatchStreamAdapter::new(schema, rows)));
            };
            let known = without.len();
            for one in failed {
                without.insert(one.tenant.clone());
                told.note(one);
            }
            if without.len() == known {
                return exec_err!("the cluster fails at tenants that it was told to leave out");
            }
            plan = shipping::without(plan, &without)?;
        }
    }

    /// Lets the cluster work on a plan.
    async fn rows(
        &self,
        state: &SessionState,
        plan: Arc<dyn ExecutionPlan>,
    ) -> Result<BoxStream<'static, Result<RecordBatch>>> {
        let settings = state.config().ballista_config();
        let rows = execute_physical_plan::<PhysicalPlanNode>(
            format!("http://{}:{}", self.scheduler.host, self.scheduler.port),
            &settings,
            plan,
            &self.codec,
            state.session_id().to_owned(),
            state.config().clone(),
        );
        // That it cannot be begun is told as its first row, as what fails later is.
        Ok(match rows.await {
            Ok(rows) => rows.boxed(),
            Err(error) => stream::once(async { Err(error) }).boxed(),
        })
    }

    /// Says plainly that nobody is there, which the client's own error does not.
    async fn reach(&self) -> Result<()> {
        let Scheduler { host, port } = &self.scheduler;
        let connected =
            tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect((host.as_str(), *port))).await;
        let reason = match connected {
            Ok(Ok(_)) => return Ok(()),
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("no answer within {} seconds", CONNECT_TIMEOUT.as_secs()),
        };
        Err(exec_datafusion_err!(
            "cannot reach the cluster's scheduler at {host}:{port}: {reason}; is `meterhouse cluster scheduler` running there?"
        ))
    }
}

fn failed_on(scheduler: &Scheduler, error: &DataFusionError) -> DataFusionError {
    exec_datafusion_err!("on the cluster {scheduler}: {}", words_of(error))
}

fn words_of(error: &DataFusionError) -> String {
    match error.find_root() {
        DataFusionError::Execution(message) => errors::in_words(message),
        other => errors::in_words(&other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_schedulers() {
        let scheduler: Scheduler = "ballista://scheduler.internal:50050".parse().unwrap();
        assert_eq!(scheduler, Scheduler { host: "scheduler.internal".to_owned(), port: 50050 });
        assert_eq!(scheduler.to_string(), "ballista://scheduler.internal:50050");
        for wrong in
            ["scheduler:50050", "ballista://scheduler", "ballista://:1", "ballista://a:b", "ballista://a/b:1"]
        {
            assert!(wrong.parse::<Scheduler>().is_err(), "{wrong}");
        }
    }
}
