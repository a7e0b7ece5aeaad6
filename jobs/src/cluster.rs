//! `meterhouse cluster`: the scheduler and the executors of an Apache DataFusion Ballista cluster, with the lake's functions.
//!
//! Owns their settings and how they end. Does not own what they know of the lake (`sql::cluster`), nor how queries get
//! there (`--engine`). Neither asks who speaks to it: they belong on a network of their own.

use std::net::{IpAddr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;

use ::sql::cluster::{self, MESSAGE_BYTES_MAX, Scheduler};
use anyhow::{Context, Result, bail};
use ballista_core::serde::BallistaLogicalExtensionCodec;
use ballista_executor::executor_process::{ExecutorProcessConfig, start_executor_process};
use ballista_scheduler::cluster::BallistaCluster;
use ballista_scheduler::config::{SchedulerConfig, TaskDistributionPolicy};
use ballista_scheduler::scheduler_process::{create_scheduler, start_grpc_service_with_listener};
use clap::{Args, Subcommand};
use datafusion::prelude::SessionConfig;
use datafusion_proto::protobuf::{LogicalPlanNode, PhysicalPlanNode};
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};

use crate::cli::Exit;

/// Plans are deep trees, and reading one takes stack.
const STACK_BYTES: usize = 16 * 1024 * 1024;
const HEARTBEAT_SECONDS: u64 = 5;
/// An executor that was silent for so long is gone, and its tasks go to others.
const SILENCE_SECONDS: u64 = 20;
const MIB: u64 = 1024 * 1024;

/// Run queries on several machines
#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Examples:
  meterhouse cluster scheduler --listen 0.0.0.0:50050 --advertise scheduler
  meterhouse cluster executor --scheduler ballista://scheduler:50050 --listen 0.0.0.0:50051 --advertise $(hostname -i)
  meterhouse report margin --param period=2026-05 --engine ballista://scheduler:50050

One scheduler and any number of executors answer what `sql`, `report`, `export` and `quantities` ask with --engine. Executors \
read the lake themselves, with the credentials of their own environment; a lake in a local folder must lie at the same \
path on all machines. All must be of one version of this program.

Nobody has to log in, and nothing is encrypted: keep scheduler and executors on a network to which only those have \
access who may read the lake.")]
pub struct ClusterArgs {
    #[command(subcommand)]
    command: ClusterCommand,
}

#[derive(Debug, Clone, Subcommand)]
enum ClusterCommand {
    /// Take queries, cut them into tasks, and give these to executors
    Scheduler(SchedulerArgs),
    /// Do the tasks of a scheduler
    Executor(ExecutorArgs),
}

#[derive(Debug, Clone, Args)]
struct SchedulerArgs {
    /// Where to listen; port 0 takes any that is free
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:50050")]
    listen: SocketAddr,
    /// The host name or IP by which executors reach this machine [default: the IP of --listen]
    #[arg(long, value_name = "HOST")]
    advertise: Option<String>,
}

#[derive(Debug, Clone, Args)]
struct ExecutorArgs {
    /// The scheduler's address
    #[arg(long, value_name = "ADDRESS", default_value = "ballista://127.0.0.1:50050")]
    scheduler: Scheduler,
    /// Where to listen for those who fetch rows; port 0 takes any that is free
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:50051")]
    listen: SocketAddr,
    /// The port on which the scheduler gives tasks [default: the next after that of --listen, or any with port 0]
    #[arg(long, value_name = "PORT")]
    task_port: Option<u16>,
    /// The host name or IP by which others reach this machine [default: the IP of --listen]
    #[arg(long, value_name = "HOST")]
    advertise: Option<String>,
    /// Parts of queries to work on at once [default: one per core]
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u16).range(1..))]
    threads: Option<u16>,
    /// Memory for sorting, grouping and joining, in MiB; what needs more spills to disk [default: 70 % of the machine's, or of its container's]
    #[arg(long, value_name = "MIB", value_parser = clap::value_parser!(u32).range(16..))]
    memory: Option<u32>,
    /// A folder for rows between steps and for what spills [default: a new one in the folder for temporary files]
    #[arg(long, value_name = "FOLDER")]
    work_folder: Option<PathBuf>,
}

pub fn run(args: &ClusterArgs) -> Result<Exit> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_stack_size(STACK_BYTES)
        .build()
        .context("cannot start threads")?;
    match &args.command {
        ClusterCommand::Scheduler(args) => run_scheduler(&runtime, args),
        ClusterCommand::Executor(args) => run_executor(&runtime, args),
    }
}

fn run_scheduler(runtime: &Runtime, args: &SchedulerArgs) -> Result<Exit> {
    let host = advertised(args.listen, args.advertise.as_deref())?;
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind(args.listen)
            .await
            .with_context(|| format!("cannot listen on {}", args.listen))?;
        let address = listener.local_addr()?;
        let config = scheduler_config(address, host);
        let cluster = BallistaCluster::new_from_config(&config).await?;
        let scheduler =
            create_scheduler::<LogicalPlanNode, PhysicalPlanNode>(cluster, Arc::new(config)).await?;
        tracing::info!("the cluster's scheduler listens on {address}");
        tokio::select! {
            ended = start_grpc_service_with_listener(listener, scheduler) => {
                ended.context("the scheduler stopped")?;
            }
            () = asked_to_stop()? => {}
        }
        Ok(Exit::Done)
    })
}

fn scheduler_config(address: SocketAddr, host: String) -> SchedulerConfig {
    SchedulerConfig {
        external_host: host,
        bind_host: address.ip().to_string(),
        bind_port: address.port(),
        task_distribution: TaskDistributionPolicy::RoundRobin,
        executor_timeout_seconds: SILENCE_SECONDS,
        expire_dead_executor_interval_seconds: HEARTBEAT_SECONDS,
        no_executors_grace_period_seconds: SILENCE_SECONDS,
        grpc_server_max_decoding_message_size: MESSAGE_BYTES_MAX,
        grpc_server_max_encoding_message_size: MESSAGE_BYTES_MAX,
        grpc_client_max_message_size: MESSAGE_BYTES_MAX,
        override_config_producer: Some(Arc::new(cluster::server_config)),
        override_session_builder: Some(Arc::new(cluster::server_session)),
        override_logical_codec: Some(Arc::new(BallistaLogicalExtensionCodec::default())),
        override_physical_codec: Some(cluster::codec()),
        ..SchedulerConfig::default()
    }
}

fn run_executor(runtime: &Runtime, args: &ExecutorArgs) -> Result<Exit> {
    // Removed with what lies in it when the executor ends.
    let own_folder = match &args.work_folder {
        Some(folder) => {
            std::fs::create_dir_all(folder)
                .with_context(|| format!("cannot make the folder {}", folder.display()))?;
            None
        }
        None => Some(tempfile::tempdir().context("cannot make a folder for temporary files")?),
    };
    let folder = own_folder.as_ref().map(tempfile::TempDir::path).or(args.work_folder.as_deref());
    let folder = folder.context("an executor has a folder")?.to_owned();
    let config = executor_config(args, folder)?;
    let (host, port) = (args.scheduler.host.clone(), args.scheduler.port);
    tracing::info!(
        "an executor of the scheduler at {host}:{port} listens on {}:{} and {}",
        config.bind_host,
        config.port,
        config.grpc_port
    );
    runtime
        .block_on(start_executor_process(Arc::new(config)))
        .with_context(|| format!("the executor of the scheduler at {host}:{port} stopped"))?;
    Ok(Exit::Done)
}

fn executor_config(args: &ExecutorArgs, folder: PathBuf) -> Result<ExecutorProcessConfig> {
    let ip = args.listen.ip();
    let (port, next) = match args.listen.port() {
        0 => (free_port(ip)?, free_port(ip)?),
        port => {
            (port, port.checked_add(1).context("the port of --listen is the last one: give --task-port")?)
        }
    };
    let work_dir = folder.to_str().context("the work folder's name is not UTF-8")?.to_owned();
    let defaults = ExecutorProcessConfig::default();
    Ok(ExecutorProcessConfig {
        bind_host: ip.to_string(),
        external_host: Some(advertised(args.listen, args.advertise.as_deref())?),
        port,
        grpc_port: args.task_port.unwrap_or(next),
        scheduler_host: args.scheduler.host.clone(),
        scheduler_port: args.scheduler.port,
        scheduler_connect_timeout_seconds: SILENCE_SECONDS as u16,
        vcores: args.threads.map_or(defaults.vcores, usize::from),
        memory_pool_size: args.memory.map(|mib| u64::from(mib) * MIB),
        work_dir: Some(work_dir),
        grpc_max_decoding_message_size: MESSAGE_BYTES_MAX,
        grpc_max_encoding_message_size: MESSAGE_BYTES_MAX,
        executor_heartbeat_interval_seconds: HEARTBEAT_SECONDS,
        override_function_registry: Some(Arc::new(cluster::functions())),
        override_runtime_producer: Some(Arc::new(move |_: &SessionConfig| cluster::server_runtime(&folder))),
        override_config_producer: Some(Arc::new(cluster::server_config)),
        override_physical_codec: Some(cluster::codec()),
        ..defaults
    })
}

/// The name by which others reach this machine.
fn advertised(listen: SocketAddr, host: Option<&str>) -> Result<String> {
    match host {
        Some(host) => Ok(host.to_owned()),
        None if listen.ip().is_unspecified() => {
            bail!(
                "--listen {listen} is every address of this machine: say with --advertise by which one others reach it"
            )
        }
        None => Ok(listen.ip().to_string()),
    }
}

fn free_port(ip: IpAddr) -> Result<u16> {
    let listener = TcpListener::bind((ip, 0)).with_context(|| format!("cannot listen on {ip}"))?;
    Ok(listener.local_addr()?.port())
}

/// Resolves when the process is asked to end.
fn asked_to_stop() -> Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate()).context("cannot watch for signals")?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = tokio::signal::ctrl_c() => {}
        }
    })
}
