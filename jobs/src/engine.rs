//! `--engine`: where the queries of a command run.

use ::sql::session::Engine;
use clap::Args;

#[derive(Debug, Clone, Args)]
pub struct EngineArgs {
    /// Run on the cluster whose scheduler is at this address, ballista://HOST:PORT [default: in this process]
    #[arg(long, value_name = "ADDRESS", value_parser = engine, hide = !cfg!(feature = "cluster"))]
    engine: Option<Engine>,
}

impl EngineArgs {
    pub fn engine(&self) -> Engine {
        self.engine.clone().unwrap_or_default()
    }

    pub fn is_elsewhere(&self) -> bool {
        self.engine.is_some()
    }
}

#[cfg(feature = "cluster")]
fn engine(text: &str) -> Result<Engine, String> {
    text.parse().map(Engine::Cluster)
}

#[cfg(not(feature = "cluster"))]
fn engine(_text: &str) -> Result<Engine, String> {
    Err("this program was built without clusters; build it with `cargo build --release --features cluster`"
        .to_owned())
}
