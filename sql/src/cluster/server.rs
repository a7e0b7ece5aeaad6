//! What scheduler and executors need of us: sessions with our functions, and stores that reach the lake.

use std::path::Path;
use std::sync::Arc;

use ballista_core::config::BALLISTA_CLIENT_GRPC_MAX_MESSAGE_SIZE;
use ballista_core::extension::SessionConfigExt;
use ballista_core::registry::BallistaFunctionRegistry;
use datafusion::error::Result;
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use datafusion::execution::{SessionState, SessionStateBuilder};
use datafusion::logical_expr::ScalarUDF;
use datafusion::prelude::{SessionConfig, SessionContext};
use datafusion_proto::physical_plan::PhysicalExtensionCodec;

use super::MESSAGE_BYTES_MAX;
use super::codec::LakeCodec;
use super::stores::LakeStores;
use crate::session::Dimension;

/// Reads and writes plans; each process needs one for as long as it runs.
pub fn codec() -> Arc<dyn PhysicalExtensionCodec> {
    Arc::new(LakeCodec::default())
}

/// The settings from which those of a query are made.
pub fn server_config() -> SessionConfig {
    SessionConfig::new_with_ballista()
        .set_usize(BALLISTA_CLIENT_GRPC_MAX_MESSAGE_SIZE, MESSAGE_BYTES_MAX as usize)
}

/// A session of the scheduler, which reads plans and runs nothing.
pub fn server_session(config: SessionConfig) -> Result<SessionState> {
    let runtime = RuntimeEnvBuilder::new().with_object_store_registry(Arc::new(LakeStores::default()));
    Ok(session_with_functions(config, Arc::new(runtime.build()?)).state())
}

/// The functions that executors know by name.
pub fn functions() -> BallistaFunctionRegistry {
    let context = session_with_functions(server_config(), Arc::default());
    BallistaFunctionRegistry::from(&context.state())
}

/// What an executor's tasks run in; it puts limits on their memory itself.
pub fn server_runtime(spill_folder: &Path) -> Result<Arc<RuntimeEnv>> {
    let mode = DiskManagerMode::Directories(vec![spill_folder.to_owned()]);
    let runtime = RuntimeEnvBuilder::new()
        .with_disk_manager_builder(DiskManagerBuilder::default().with_mode(mode))
        .with_object_store_registry(Arc::new(LakeStores::default()));
    Ok(Arc::new(runtime.build()?))
}

/// Functions that need a catalog bring it along in the plan (`codec`).
fn session_with_functions(config: SessionConfig, runtime: Arc<RuntimeEnv>) -> SessionContext {
    let state =
        SessionStateBuilder::new().with_default_features().with_config(config).with_runtime_env(runtime);
    let context = SessionContext::new_with_state(state.build());
    context.register_udf(ScalarUDF::from(Dimension::default()));
    crate::functions::register(&context, None);
    context
}
