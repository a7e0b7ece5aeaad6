//! `meterhouse config`: the settings, checked and explained.
//!
//! Owns the settings file, the environment's part in it, and finding every mistake at once with its place. Does
//! not own the catalog, whose mistakes are shown along with its own, nor connections: `doctor` tries those.

mod diagnostic;
mod issuer;
mod kafka_properties;
mod reader;
mod serve_sql;
mod settings;
#[cfg(test)]
mod tests;
mod value;

use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};
use rating::catalog::Catalog;

pub use diagnostic::{ConfigErrors, Mistake, Origin, Secret};
pub use issuer::IssuerConfig;
pub use reader::{Environment, Setting};
pub use serve_sql::{PasswordSource, ServeSqlConfig, SqlUserConfig};
pub use settings::{
    BookConfig, Config, DEFAULT_CATALOG, DEFAULT_FILE, IdentityConfig, IngestConfig, KafkaConfig,
    MetricsConfig, ScheduleConfig, StripeConfig,
};
pub use value::duration;

use crate::cli::{Exit, Globals};
use crate::output::{Format, Rows};
use crate::stripe::late;

const TEMPLATE: &str = include_str!("config/meterhouse.toml");

/// Check the settings, or write a file to start from
#[derive(Debug, Args)]
pub struct ConfigArgs {
    #[command(subcommand)]
    command: ConfigCommand,
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Find every mistake in the settings and the catalog; if there is none, show what is in effect and why
    #[command(after_help = "\
Examples:
  meterhouse config check
  meterhouse --config /etc/meterhouse.toml config check
  METERHOUSE_LAKE=s3://usage/lake meterhouse config check --format json

Nothing is connected to: that is `meterhouse doctor`.")]
    Check {
        #[arg(long, value_enum, default_value_t)]
        format: Format,
    },
    /// Write a commented meterhouse.toml; an existing file is never overwritten
    #[command(after_help = "\
Examples:
  meterhouse config init
  meterhouse config init /etc/meterhouse.toml
  meterhouse config init --dry-run | less")]
    Init {
        /// Where to write it
        #[arg(default_value = DEFAULT_FILE)]
        file: PathBuf,
        /// Print it to stdout and write nothing
        #[arg(long)]
        dry_run: bool,
    },
}

/// The process's environment. What is not Unicode can be none of our settings.
pub fn environment() -> Environment {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect()
}

pub fn run(args: &ConfigArgs, globals: &Globals) -> Result<Exit> {
    match &args.command {
        ConfigCommand::Check { format } => check(globals.config.as_deref(), *format),
        ConfigCommand::Init { dry_run: true, .. } => {
            io::stdout().write_all(TEMPLATE.as_bytes())?;
            Ok(Exit::Done)
        }
        ConfigCommand::Init { file, .. } => init(file),
    }
}

fn check(file: Option<&Path>, format: Format) -> Result<Exit> {
    let (config, mistakes) = find_mistakes(file, &environment());
    if let Some(config) = &config {
        for warning in &config.warnings {
            eprintln!("warning: {warning}");
        }
    }
    match config {
        Some(config) if mistakes.is_empty() => {
            for warning in warnings_of_catalog(&config) {
                eprintln!("warning: {warning}");
            }
            show_settings(&config).print(format)?;
            Ok(Exit::Done)
        }
        _ => {
            for mistakes in mistakes {
                eprintln!("{mistakes}");
            }
            Ok(Exit::Error)
        }
    }
}

/// What the catalog, and the settings with it, may lead to that nobody wants.
fn warnings_of_catalog(config: &Config) -> Vec<String> {
    let name = config.catalog.display();
    let text = std::fs::read_to_string(&config.catalog).unwrap_or_default();
    let Ok(catalog) = Catalog::parse(&text, &name.to_string()) else { return Vec::new() };
    let advice = catalog.advice().into_iter().map(|advice| format!("{name}:{advice}"));
    advice.chain(late::warning(&catalog, config.issuer.grace)).collect()
}

/// Checks the settings and the catalog they name; each of the messages holds all mistakes of one file.
fn find_mistakes(file: Option<&Path>, environment: &Environment) -> (Option<Config>, Vec<String>) {
    let config = match Config::load(file, environment) {
        Ok(config) => config,
        Err(errors) => return (None, vec![errors.to_string()]),
    };
    let name = config.catalog.display().to_string();
    let problem = match std::fs::read_to_string(&config.catalog) {
        Ok(text) => Catalog::parse(&text, &name).err().map(|errors| errors.to_string()),
        Err(error) => {
            let origin = config.setting("catalog").map_or(Origin::Default, |setting| setting.origin.clone());
            let message = format!("`catalog`: cannot read {name}: {error}");
            let hint = "set `catalog` to the path of the YAML file that defines your meters";
            let mistakes = vec![Mistake::new(origin, message).hint(hint)];
            Some(ConfigErrors { mistakes }.to_string())
        }
    };
    (Some(config), problem.into_iter().collect())
}

fn show_settings(config: &Config) -> Rows {
    let mut rows = Rows::new(&["setting", "value", "from", "overridden by"]);
    for Setting { name, value, origin, variable } in &config.settings {
        let from = match value {
            Some(_) => origin.to_string(),
            None => "not set".to_owned(),
        };
        rows.push(vec![name.clone().into(), value.clone().into(), from.into(), variable.clone().into()]);
    }
    rows
}

fn init(file: &Path) -> Result<Exit> {
    let opened = OpenOptions::new().write(true).create_new(true).open(file);
    let mut opened = match opened {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            bail!("{} exists and is left as it is; name another file", file.display())
        }
        other => other.with_context(|| format!("cannot write {}", file.display()))?,
    };
    opened.write_all(TEMPLATE.as_bytes()).with_context(|| format!("cannot write {}", file.display()))?;
    eprintln!("wrote {}; edit it, then run `meterhouse config check`", file.display());
    Ok(Exit::Done)
}
