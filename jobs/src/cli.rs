//! The command line: subcommands, what they share, exit codes, logging and how errors are shown.
//!
//! Data goes to stdout and messages to stderr. Secrets never come in as flags: other users of the machine can
//! read those.

use std::fmt::Write as _;
use std::io::{self, IsTerminal};
use std::path::PathBuf;
use std::process::ExitCode;

use ::ingest::commit::CommitError;
use anyhow::{Context, Result};
use clap::{Args, Parser, Subcommand};
use rating::catalog::{Catalog, CatalogErrors};
use tracing_subscriber::EnvFilter;

use crate::config::{self, Config, ConfigErrors};
use crate::{
    bench, book, catalog, close, compact, credits, demo, derive, doctor, explain, export, generate, ingest,
    invoice, issue, push, quantities, quotas, rate, reconcile, rejects, replay, report, rollup, runs,
    schedule, serve, simulate, sql, vacuum, verify,
};

/// Usage events in, exact invoices out.
///
/// Meterhouse reads usage events from Kafka or files, keeps each exactly once in a Delta Lake (a local folder
/// or a bucket), takes out duplicates, and answers SQL. It counts what every tenant used, exactly, prices it by a
/// catalog, issues invoices and tells Stripe, and explains every line of them down to the events.
#[derive(Debug, Parser)]
#[command(
    name = "meterhouse",
    version,
    propagate_version = true,
    max_term_width = 100,
    after_help = "\
Getting started:
  meterhouse demo              the whole path on this machine, with a Kafka broker of its own
  meterhouse config init       write a commented meterhouse.toml to start from
  meterhouse config check      find every mistake in it, and in the catalog it names
  meterhouse doctor            try the lake, Kafka and everything else that must work

Settings come from meterhouse.toml; the environment variable METERHOUSE_<SECTION>_<KEY> overrides each. \
METERHOUSE_LOG sets what is logged (error, warn, info, debug, or a filter like `info,ingest=debug`), and \
METERHOUSE_LOG_FORMAT=json logs one JSON object per line. NO_COLOR turns colours off.

Exit codes: 0 done, 1 error, 2 wrong usage, 3 done but something was rejected, 4 figures do not match, \
75 try again later."
)]
pub struct Cli {
    #[command(flatten)]
    globals: Globals,
    #[command(subcommand)]
    command: Command,
}

/// What every subcommand takes.
#[derive(Debug, Clone, Args)]
pub struct Globals {
    /// The settings file [default: meterhouse.toml in this folder, if there is one]
    #[arg(long, global = true, value_name = "FILE", env = "METERHOUSE_CONFIG", hide_env_values = true)]
    pub config: Option<PathBuf>,
}

impl Globals {
    /// The effective settings, or every mistake in them.
    pub fn load_config(&self) -> Result<Config> {
        Ok(Config::load(self.config.as_deref(), &config::environment())?)
    }
}

#[derive(Debug, Subcommand)]
enum Command {
    Demo(demo::DemoArgs),
    Ingest(ingest::IngestArgs),
    Compact(compact::CompactArgs),
    Rollup(rollup::RollupArgs),
    Quantities(quantities::QuantitiesArgs),
    Rate(rate::RateArgs),
    Quotas(quotas::QuotasArgs),
    Invoice(invoice::InvoiceArgs),
    Explain(explain::ExplainArgs),
    Simulate(simulate::SimulateArgs),
    Close(close::CloseArgs),
    Issue(issue::IssueArgs),
    Push(push::PushArgs),
    Reconcile(reconcile::ReconcileArgs),
    Verify(verify::VerifyArgs),
    Sql(sql::SqlArgs),
    Report(report::ReportArgs),
    Export(export::ExportArgs),
    Serve(serve::ServeArgs),
    #[cfg(feature = "cluster")]
    Cluster(crate::cluster::ClusterArgs),
    Rejects(rejects::RejectsArgs),
    Replay(replay::ReplayArgs),
    Derive(derive::DeriveArgs),
    Vacuum(vacuum::VacuumArgs),
    Generate(generate::GenerateArgs),
    Catalog(catalog::CatalogArgs),
    Credits(credits::CreditsArgs),
    Book(book::command::BookArgs),
    Runs(runs::RunsArgs),
    Schedule(schedule::ScheduleArgs),
    Config(config::ConfigArgs),
    Doctor(doctor::DoctorArgs),
    Bench(bench::BenchArgs),
}

impl Command {
    /// The demo speaks for itself; for a service, each commit is worth a line.
    fn default_log_level(&self) -> &'static str {
        if matches!(self, Self::Demo(_)) { "warn" } else { "info" }
    }
}

/// How a job ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    Done,
    Error,
    DoneWithRejects,
    ReconciliationMismatch,
    TryAgain,
}

impl Exit {
    pub fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Error => 1,
            Self::DoneWithRejects => 3,
            Self::ReconciliationMismatch => 4,
            Self::TryAgain => 75,
        }
    }
}

/// Put on an error as its context, it says that the same command may succeed later: exit code 75.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("try again later")]
pub struct TryAgain;

/// Marks an error as one that passes if it only says that another job committed first.
pub fn try_again_if_overtaken(error: anyhow::Error) -> anyhow::Error {
    let is_overtaken =
        error.chain().any(|cause| cause.downcast_ref::<CommitError>().is_some_and(CommitError::is_overtaken));
    if is_overtaken { error.context(TryAgain) } else { error }
}

/// Runs the program with the process's arguments.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let logging = start_logging(cli.command.default_log_level());
    let exit = logging.and_then(|()| run(cli)).unwrap_or_else(|error| show(&error));
    ExitCode::from(exit.code())
}

/// Runs a command line that is given without the program's name.
pub(crate) fn run_line(arguments: &[String]) -> Result<Exit> {
    run(Cli::try_parse_from(std::iter::once("meterhouse").chain(arguments.iter().map(String::as_str)))?)
}

fn run(cli: Cli) -> Result<Exit> {
    match cli.command {
        Command::Demo(args) => demo::run(&args),
        Command::Ingest(args) => ingest::run(&args, &cli.globals),
        Command::Compact(args) => compact::run(&args, &cli.globals),
        Command::Rollup(args) => rollup::run(&args, &cli.globals),
        Command::Quantities(args) => quantities::run(&args, &cli.globals),
        Command::Quotas(args) => quotas::run(&args, &cli.globals),
        Command::Rate(args) => rate::run(&args, &cli.globals),
        Command::Invoice(args) => invoice::run(&args, &cli.globals),
        Command::Explain(args) => explain::run(&args, &cli.globals),
        Command::Simulate(args) => simulate::run(&args, &cli.globals),
        Command::Close(args) => close::run(&args, &cli.globals),
        Command::Issue(args) => issue::run(&args, &cli.globals),
        Command::Push(args) => push::run(&args, &cli.globals),
        Command::Reconcile(args) => reconcile::run(&args, &cli.globals),
        Command::Verify(args) => verify::run(&args, &cli.globals),
        Command::Sql(args) => sql::run(&args, &cli.globals),
        Command::Report(args) => report::run(&args, &cli.globals),
        Command::Export(args) => export::run(&args, &cli.globals),
        Command::Serve(args) => serve::run(&args, &cli.globals),
        #[cfg(feature = "cluster")]
        Command::Cluster(args) => crate::cluster::run(&args),
        Command::Rejects(args) => rejects::run(&args, &cli.globals),
        Command::Replay(args) => replay::run(&args, &cli.globals),
        Command::Derive(args) => derive::run(&args, &cli.globals),
        Command::Vacuum(args) => vacuum::run(&args, &cli.globals),
        Command::Generate(args) => generate::run(&args, &cli.globals),
        Command::Catalog(args) => catalog::run(&args, &cli.globals),
        Command::Credits(args) => credits::run(&args, &cli.globals),
        Command::Book(args) => book::command::run(&args, &cli.globals),
        Command::Runs(args) => runs::run(&args, &cli.globals),
        Command::Schedule(args) => schedule::run(&args, &cli.globals),
        Command::Config(args) => config::run(&args, &cli.globals),
        Command::Bench(args) => bench::run(&args, &cli.globals),
        Command::Doctor(args) => doctor::run(&args, &cli.globals),
    }
}

/// The runtime on which a job's network work runs.
pub fn runtime() -> Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().context("cannot start threads")
}

/// Reads and checks a catalog.
pub fn read_catalog(path: &std::path::Path) -> Result<Catalog> {
    Ok(parse_catalog(path)?.0)
}

/// The same, with its text.
pub fn parse_catalog(path: &std::path::Path) -> Result<(Catalog, String)> {
    let name = path.display().to_string();
    let text = std::fs::read_to_string(path).with_context(|| {
        let is_default = path == std::path::Path::new(config::DEFAULT_CATALOG);
        format!("cannot read the catalog {name}{}", if is_default { HOW_TO_NAME_A_CATALOG } else { "" })
    })?;
    Ok((Catalog::parse(&text, &name)?, text))
}

/// For whoever starts in a folder in which nothing is set yet.
const HOW_TO_NAME_A_CATALOG: &str = " (`catalog` in meterhouse.toml or METERHOUSE_CATALOG names another; `meterhouse \
                                     config init` writes settings to start from)";

fn start_logging(level: &str) -> Result<()> {
    // The libraries' own progress reports are noise beside our one line per commit; what fails in them
    // comes back as an error, and a table that is not there yet is none.
    const QUIET: &str = "datafusion=warn,deltalake_core=warn,delta_kernel=off,buoyant_kernel=off,\
                         ballista_core=warn,ballista_core::execution_plans::distributed_query=off";
    let filter = match std::env::var("METERHOUSE_LOG") {
        Ok(written) if !written.is_empty() => EnvFilter::try_new(&written)
            .with_context(|| format!("METERHOUSE_LOG is `{written}`, which is not a log filter"))?,
        _ => EnvFilter::new(format!("{level},{QUIET}")),
    };
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
    let format = std::env::var("METERHOUSE_LOG_FORMAT").unwrap_or_default();
    match format.as_str() {
        "json" => builder.json().flatten_event(true).init(),
        "" | "text" => builder.with_ansi(colored(&io::stderr())).init(),
        other => anyhow::bail!("METERHOUSE_LOG_FORMAT is `{other}`, expected `text` or `json`"),
    }
    Ok(())
}

/// Whether colours may be written to a stream.
pub fn colored(stream: &impl IsTerminal) -> bool {
    let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    stream.is_terminal() && !no_color
}

fn show(error: &anyhow::Error) -> Exit {
    let broken_pipe = |cause: &(dyn std::error::Error + 'static)| {
        cause.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
    };
    // Whoever read our output has seen enough, as in `meterhouse … | head`.
    if error.chain().any(broken_pipe) {
        return Exit::Done;
    }
    eprintln!("{}", message(error));
    if error.downcast_ref::<TryAgain>().is_some() { Exit::TryAgain } else { Exit::Error }
}

/// The whole chain on one line; lists of mistakes already are complete messages.
fn message(error: &anyhow::Error) -> String {
    if let Some(mistakes) = error.downcast_ref::<ConfigErrors>() {
        return mistakes.to_string();
    }
    if let Some(mistakes) = error.downcast_ref::<CatalogErrors>() {
        return mistakes.to_string();
    }
    let mut message = "error".to_owned();
    for cause in error.chain() {
        // Some libraries repeat their cause in their own text.
        let text = cause.to_string();
        if !message.ends_with(&text) {
            write!(message, ": {text}").expect("writing to a string");
        }
    }
    message
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn errors_show_their_whole_chain_once() {
        let cause = io::Error::other("disk full");
        let error = anyhow::Error::new(cause).context("cannot write part 7").context(TryAgain);
        assert_eq!(message(&error), "error: try again later: cannot write part 7: disk full");
        assert_eq!(show(&error), Exit::TryAgain);
        assert_eq!(show(&anyhow::anyhow!("no such tenant")), Exit::Error);
        let closed = anyhow::Error::new(io::Error::from(io::ErrorKind::BrokenPipe)).context("cannot print");
        assert_eq!(show(&closed), Exit::Done);
    }
}
