//! `meterhouse invoice`: invoices as they stand in the lake, for people and for machines.
//!
//! Owns finding one (`stored`), its text (`text`), and the words for the steps of a line (`steps`), which `explain` and
//! `catalog price` use too. Does not compute anything: what is shown is what was stored.

pub mod steps;
pub mod stored;
pub mod text;

use std::io::Write;

use anyhow::Result;
use clap::{Args, Subcommand, ValueEnum};
use sql::lake::Lake;

use crate::cli::{Exit, Globals, runtime};

pub use stored::{InvoiceChoice, StoredInvoice};

/// Show invoices
#[derive(Debug, Clone, Args)]
pub struct InvoiceArgs {
    #[command(subcommand)]
    command: InvoiceCommand,
}

#[derive(Debug, Clone, Subcommand)]
enum InvoiceCommand {
    /// Print an invoice
    #[command(after_help = "\
Examples:
  meterhouse invoice show 2026-01-01-3f9a5b0c7d21e864
  meterhouse invoice show 000017
  meterhouse invoice show --tenant acme --period 2026-01
  meterhouse invoice show --tenant acme --period 2026-01 --format json | jq .due

The JSON is the invoice's canonical text, whose BLAKE3 hash is its digest: byte for byte what was rated.")]
    Show {
        #[command(flatten)]
        which: InvoiceChoice,
        #[arg(long, value_enum, default_value_t)]
        format: ShowFormat,
    },
}

/// How an invoice is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum ShowFormat {
    /// For people.
    #[default]
    Table,
    /// The canonical JSON.
    Json,
}

pub fn run(args: &InvoiceArgs, globals: &Globals) -> Result<Exit> {
    let InvoiceCommand::Show { which, format } = &args.command;
    let config = globals.load_config()?;
    let lake = Lake::open(&config.lake)?;
    let stored = runtime()?.block_on(stored::find(&lake, &config.catalog, which))?;
    let mut out = std::io::stdout().lock();
    match format {
        ShowFormat::Json => writeln!(out, "{}", stored.document)?,
        ShowFormat::Table => write!(out, "{}", text::invoice(&stored))?,
    }
    out.flush()?;
    Ok(Exit::Done)
}
