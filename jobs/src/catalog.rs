//! `meterhouse catalog`: checking a catalog, and saying what a new one would change.

use std::path::PathBuf;

use anyhow::Result;
use clap::{Args, Subcommand};
use rating::catalog::diff;

use crate::cli::{Exit, Globals, read_catalog};
use crate::output::{Format, Rows};

/// Check a catalog, or compare two
#[derive(Debug, Clone, Args)]
pub struct CatalogArgs {
    #[command(subcommand)]
    command: CatalogCommand,
}

#[derive(Debug, Clone, Subcommand)]
enum CatalogCommand {
    /// Find every mistake at once, with line and column; if there is none, list the meters
    #[command(after_help = "\
Examples:
  meterhouse catalog check
  meterhouse catalog check catalogs/next.yaml --format json")]
    Check {
        /// The catalog [default: `catalog` in the settings]
        file: Option<PathBuf>,
        #[arg(long, value_enum, default_value_t)]
        format: Format,
    },
    /// Say in words what changes from one catalog to another, and for whom
    #[command(after_help = "\
Example:
  meterhouse catalog diff catalog.yaml catalogs/next.yaml")]
    Diff { old: PathBuf, new: PathBuf },
}

pub fn run(args: &CatalogArgs, globals: &Globals) -> Result<Exit> {
    match &args.command {
        CatalogCommand::Check { file, format } => {
            let path = match file {
                Some(file) => file.clone(),
                None => globals.load_config()?.catalog,
            };
            let catalog = read_catalog(&path)?;
            let mut rows = Rows::new(&["meter", "kind", "event_type", "unit", "description"]);
            for meter in &catalog.meters {
                rows.push(vec![
                    meter.key.clone().into(),
                    meter.kind.name().into(),
                    meter.event_type.clone().into(),
                    meter.unit.to_string().into(),
                    meter.description.clone().into(),
                ]);
            }
            rows.print(*format)?;
            eprintln!("{}: no mistakes", path.display());
        }
        CatalogCommand::Diff { old, new } => {
            let sentences = diff(&read_catalog(old)?, &read_catalog(new)?);
            if sentences.is_empty() {
                eprintln!("nothing changes for anybody");
            }
            for sentence in sentences {
                println!("{sentence}");
            }
        }
    }
    Ok(Exit::Done)
}
