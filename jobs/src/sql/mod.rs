//! `meterhouse sql`: queries over the lake, one or many. It only reads, and writes an answer while it is computed.

pub(crate) mod cells;
mod shell;
pub(crate) mod writing;

use std::io::{self, IsTerminal, Read};
use std::path::PathBuf;

use ::sql::lake::Table;
use ::sql::session::{LakeSession, Parameters, QueryError, SessionSettings};
use anyhow::{Context, Result, bail};
use clap::Args;
use datafusion::error::DataFusionError;
use datafusion::execution::SendableRecordBatchStream;
use jiff::Timestamp;

use crate::cli::{Exit, Globals, runtime};
use crate::engine::EngineArgs;
use crate::reporting;

pub(crate) use writing::{AnswerFormat, Destination};

const MIB: usize = 1024 * 1024;

/// Query the lake with SQL
#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Examples:
  meterhouse sql                                             a shell with history and completion; \\? helps
  meterhouse sql \"SELECT tenant, meter, sum(value) FROM usage_events WHERE time >= '2026-05-01' GROUP BY 1, 2\"
  meterhouse sql --param tenant=acme 'SELECT * FROM invoices WHERE tenant = $tenant'
  meterhouse sql --file report.sql --format parquet --output report.parquet
  echo 'SHOW TABLES' | meterhouse sql
  meterhouse sql --as-of 2026-05-01T00:00:00Z 'SELECT count(*) FROM usage_events'
  meterhouse sql 'SELECT count(*) FROM usage_events_at(1204)'

sql/README.md lists every table with its columns, and so does \\d in the shell. Nothing can be changed. A filter \
on `time`, `event_day`, `tenant` or `meter` keeps a query from opening files that cannot match. Numbers with a \
decimal point are exact decimals. Parameters are values of the type that their place in the query has.

Exit code 3 says that some tenants cannot be rated and that the answer is without them; the reasons are on stderr.")]
pub struct SqlArgs {
    /// The query [default: --file, standard input, or a shell on a terminal]
    query: Option<String>,
    /// Read the query from this file, or from standard input for `-`
    #[arg(long, value_name = "FILE", conflicts_with = "query")]
    file: Option<PathBuf>,
    /// A value for the placeholder $NAME; may be given several times
    #[arg(long, value_name = "NAME=VALUE", value_parser = parameter)]
    param: Vec<(String, String)>,
    /// Write the answer to this file [default: standard output]
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    session: SessionArgs,
    #[arg(long, value_enum, default_value_t)]
    format: AnswerFormat,
}

/// What the session of a query may use, and when it looks at the lake.
#[derive(Debug, Clone, Args)]
pub struct SessionArgs {
    /// Read usage_events as it was at this version [default: the newest]
    #[arg(long, value_name = "VERSION")]
    usage_version: Option<u64>,
    /// Read all tables of the lake as they were at this instant
    #[arg(long, value_name = "INSTANT", value_parser = instant)]
    as_of: Option<Timestamp>,
    /// Memory for sorting, grouping and joining, in MiB; what needs more spills to disk
    #[arg(long, value_name = "MIB", default_value_t = 1024, value_parser = clap::value_parser!(u32).range(16..))]
    memory: u32,
    /// Threads to use, or on a cluster the parts into which each step is cut [default: one per core, or 16 parts]
    #[arg(long, value_name = "COUNT")]
    threads: Option<usize>,
    #[command(flatten)]
    engine: EngineArgs,
}

/// Enough for a few machines, and little enough for each to be worth its message.
pub(crate) const CLUSTER_PARTS: usize = 16;

impl SessionArgs {
    pub fn settings(&self) -> SessionSettings {
        let defaults = SessionSettings::default();
        let threads = if self.engine.is_elsewhere() { CLUSTER_PARTS } else { defaults.threads };
        SessionSettings {
            memory_limit_bytes: self.memory as usize * MIB,
            threads: self.threads.unwrap_or(threads).max(1),
            engine: self.engine.engine(),
            versions: self.usage_version.map(|version| (Table::UsageEvents, version)).into_iter().collect(),
            as_of_us: self.as_of.map(Timestamp::as_microsecond),
            ..defaults
        }
    }
}

/// Reads `name=value`.
pub fn parameter(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => {
            Ok((name.trim_start_matches('$').to_owned(), value.to_owned()))
        }
        _ => Err("expected NAME=VALUE".to_owned()),
    }
}

fn instant(text: &str) -> Result<Timestamp, String> {
    text.parse().map_err(|_| "expected an instant such as 2026-05-01T00:00:00Z".to_owned())
}

pub fn run(args: &SqlArgs, globals: &Globals) -> Result<Exit> {
    let config = globals.load_config()?;
    let is_shell = args.query.is_none() && args.file.is_none() && io::stdin().is_terminal();
    let query = if is_shell { String::new() } else { args.query_text()? };
    let runtime = runtime()?;
    let session = runtime.block_on(reporting::open(&config, &args.session.settings()))?;
    if is_shell {
        shell::run(&runtime, &session, args.format)?;
        return Ok(Exit::Done);
    }
    let parameters: Parameters = args.param.iter().cloned().collect();
    let destination = Destination::of(args.output.as_deref());
    runtime.block_on(async {
        let answer = answer(&session, &query, &parameters).await?;
        destination.write(answer, args.format, &query, &[]).await
    })?;
    Ok(tell_left_out(&session))
}

/// Says on standard error which tenants the answer is without, and why.
pub(crate) fn tell_left_out(session: &LakeSession) -> Exit {
    let left_out = session.left_out();
    for one in &left_out {
        eprintln!("error: {one}; the answer is without it");
    }
    if left_out.is_empty() { Exit::Done } else { Exit::DoneWithRejects }
}

/// Begins to answer a query.
pub(crate) async fn answer(
    session: &LakeSession,
    query: &str,
    parameters: &Parameters,
) -> Result<SendableRecordBatchStream> {
    let frame = session.query_with(query, parameters).await?;
    session.answer(frame).await.map_err(|error| failed(&error, query))
}

/// The error of a query that was planned and then failed.
pub(crate) fn failed(error: &DataFusionError, query: &str) -> anyhow::Error {
    anyhow::Error::new(QueryError::of(error, query)).context("the query failed")
}

impl SqlArgs {
    fn query_text(&self) -> Result<String> {
        let text = match (&self.query, &self.file) {
            (Some(query), _) => query.clone(),
            (None, Some(path)) if path.as_os_str() != "-" => std::fs::read_to_string(path)
                .with_context(|| format!("cannot read the query in {}", path.display()))?,
            _ => {
                let mut text = String::new();
                io::stdin().read_to_string(&mut text).context("cannot read the query")?;
                text
            }
        };
        if text.trim().is_empty() {
            bail!("the query is empty");
        }
        Ok(text)
    }
}
