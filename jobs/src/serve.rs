//! `meterhouse serve sql`: the lake for psql, DBeaver, Grafana, Metabase and every other client of PostgreSQL.
//!
//! It only reads. A client is known by its password (`scram`, `login`), speaks the protocol's two halves (`connection`, `answer`), and
//! may ask what is allowed by name: statements (`command`), plan nodes and functions (`allowed`), settings
//! (`client_settings`). What it sees is its user's part of the lake (`sessions`, `sql::session`).

mod allowed;
mod answer;
mod catalog_gaps;
mod client_settings;
mod command;
mod connection;
mod copy;
mod encode;
mod failure;
mod format_function;
mod functions;
mod login;
mod numeric;
mod query;
mod running;
mod scram;
mod server;
mod sessions;
mod socket;
mod statement;
mod tls;
mod users;

use std::collections::{BTreeMap, HashMap};
use std::io::{self, IsTerminal as _};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ::sql::lake::Lake;
use ::sql::session::SessionSettings;
use anyhow::{Context as _, Result, bail};
use clap::{Args, Subcommand};
use datafusion_postgres::pgwire::api::RandomPidSecretKeyGenerator;
use datafusion_postgres::pgwire::api::auth::sasl::scram::random_nonce;
use datafusion_postgres::pgwire::tokio::TlsAcceptor;
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

pub use scram::Verifier;
pub use server::Server;

use crate::cli::{Exit, Globals};
use crate::config::{Config, PasswordSource, ServeSqlConfig, SqlUserConfig};
use crate::run::asked_to_stop;
use query::QueryLimits;
use running::{QueryThreads, STACK_BYTES};
use sessions::Sessions;
use statement::Statements;
use users::User;

/// Answer other programs, until stopped
#[derive(Debug, Clone, Args)]
pub struct ServeArgs {
    #[command(subcommand)]
    command: ServeCommand,
}

#[derive(Debug, Clone, Subcommand)]
enum ServeCommand {
    Sql(ServeSqlArgs),
}

/// Answer PostgreSQL's clients: psql, DBeaver, Grafana, Metabase and every driver
#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Examples:
  meterhouse serve sql --make-verifier < password.txt     prints a verifier for [serve_sql.users]
  meterhouse serve sql
  psql \"host=127.0.0.1 port=5433 user=anna dbname=meterhouse\"

Settings are in [serve_sql] of meterhouse.toml: the address, the certificate, limits of memory, time and rows, and the users, \
each with all tenants or with one. A tenant's user sees that tenant's rows only, in every table. Nothing can be changed \
over this server. It listens on this machine only, unless it has a certificate. SIGTERM lets running queries finish for ten \
seconds.")]
pub struct ServeSqlArgs {
    /// Read a password from standard input, print its verifier for the settings file, and exit
    #[arg(long)]
    make_verifier: bool,
    /// Listen here instead of at `serve_sql.listen`
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<SocketAddr>,
    /// Listen beyond this machine without encryption, where something else encrypts
    #[arg(long)]
    without_tls: bool,
}

pub fn run(args: &ServeArgs, globals: &Globals) -> Result<Exit> {
    let ServeCommand::Sql(args) = &args.command;
    if args.make_verifier {
        println!("{}", Verifier::of(&read_password()?).write());
        return Ok(Exit::Done);
    }
    let config = globals.load_config()?;
    runtime()?.block_on(serve_sql(args, &config))?;
    Ok(Exit::Done)
}

/// The runtime on which clients are talked to.
pub fn runtime() -> Result<Runtime> {
    let mut runtime = Builder::new_multi_thread();
    runtime.enable_all().thread_stack_size(STACK_BYTES).build().context("cannot start threads")
}

fn read_password() -> Result<String> {
    if io::stdin().is_terminal() {
        eprintln!("Password (it will be visible; better: meterhouse serve sql --make-verifier < FILE):");
    }
    let mut password = String::new();
    io::stdin().read_line(&mut password).context("cannot read the password")?;
    let password = password.trim_end_matches(['\r', '\n']);
    if password.is_empty() {
        bail!("the password is empty");
    }
    Ok(password.to_owned())
}

async fn serve_sql(args: &ServeSqlArgs, config: &Config) -> Result<()> {
    let settings = &config.serve_sql;
    let address = args.listen.unwrap_or(settings.listen);
    let tls = acceptor(settings)?;
    if tls.is_none() && !args.without_tls {
        refuse_in_the_clear(address)?;
    }
    let server = Arc::new(new_server(config, tls.is_some()).await?);
    let listener = TcpListener::bind(address).await.with_context(|| format!("cannot listen on {address}"))?;
    let address = listener.local_addr()?;
    tracing::info!(%address, tls = tls.is_some(), users = server.users.len(), "answering PostgreSQL's clients");
    let stopping = server.stopping.clone();
    let serving = tokio::spawn(server.run(listener, tls));
    asked_to_stop().await;
    tracing::info!("stopping: running queries may finish");
    stopping.cancel();
    serving.await?;
    Ok(())
}

/// Nothing where the settings name no certificate.
fn acceptor(settings: &ServeSqlConfig) -> Result<Option<TlsAcceptor>> {
    match (&settings.certificate, &settings.key) {
        (Some(certificate), Some(key)) => Ok(Some(tls::acceptor(certificate, key)?)),
        _ => Ok(None),
    }
}

fn refuse_in_the_clear(address: SocketAddr) -> Result<()> {
    if !address.ip().is_loopback() {
        bail!(
            "{address} can be reached from other machines, and without a certificate everything would be sent in the clear: \
             set serve_sql.certificate and serve_sql.key, or say --without-tls if something else encrypts"
        );
    }
    Ok(())
}

/// Reads everything that the settings name, as a start does.
pub fn try_settings(settings: &ServeSqlConfig) -> Result<()> {
    users(settings)?;
    if acceptor(settings)?.is_none() {
        refuse_in_the_clear(settings.listen)?;
    }
    Ok(())
}

/// A server over the lake of the settings, for their users.
pub async fn new_server(config: &Config, requires_tls: bool) -> Result<Server> {
    let settings = &config.serve_sql;
    let users = users(settings)?;
    let sessions = Sessions::open(
        Lake::open(&config.lake)?,
        config.clone(),
        session_settings(settings),
        duration(settings.refresh),
    );
    Ok(Server {
        sessions: sessions.await?,
        users,
        statements: Statements::default(),
        query_threads: QueryThreads::start(SessionSettings::default().threads)
            .context("cannot start threads")?,
        limits: QueryLimits { memory_bytes: settings.query_memory as usize, rows: Some(settings.rows) },
        statement_timeout: settings.statement_timeout.map(duration),
        idle_timeout: duration(settings.idle_timeout),
        requires_tls,
        end_point: match &settings.certificate {
            Some(certificate) if requires_tls => tls::end_point(certificate)?,
            _ => None,
        },
        secret: random_nonce(),
        process_numbers: RandomPidSecretKeyGenerator::default(),
        connections: Arc::new(Semaphore::new(settings.connections as usize)),
        cancels: Mutex::new(HashMap::new()),
        stopping: CancellationToken::new(),
        stopped: CancellationToken::new(),
    })
}

fn session_settings(settings: &ServeSqlConfig) -> SessionSettings {
    SessionSettings { memory_limit_bytes: settings.memory as usize, ..SessionSettings::default() }
}

fn duration(of_settings: jiff::SignedDuration) -> Duration {
    of_settings.unsigned_abs()
}

fn users(settings: &ServeSqlConfig) -> Result<BTreeMap<String, Arc<User>>> {
    if settings.users.is_empty() {
        bail!("nobody may log in: name users in [serve_sql.users] of the settings");
    }
    settings.users.iter().map(user).collect()
}

fn user(config: &SqlUserConfig) -> Result<(String, Arc<User>)> {
    let name = &config.name;
    let password = |text: String| {
        let text = text.trim_end_matches(['\r', '\n']);
        if text.is_empty() {
            bail!("the password of the user {name} is empty");
        }
        Ok(Verifier::of(text))
    };
    let verifier = match &config.password {
        PasswordSource::Verifier(verifier) => verifier.clone(),
        PasswordSource::File(path) => {
            let text = std::fs::read_to_string(path);
            password(text.with_context(|| {
                format!("`serve_sql.users`: cannot read the password of {name} in {}", path.display())
            })?)?
        }
        PasswordSource::Variable(variable) => password(std::env::var(variable).with_context(|| {
            format!("`serve_sql.users`: the password of {name} is not in the environment variable {variable}")
        })?)?,
    };
    let user = User { name: name.clone(), verifier, tenant: config.tenant.clone() };
    Ok((name.clone(), Arc::new(user)))
}
