//! `meterhouse book`: what a person does with the book itself.

use std::path::PathBuf;

use anyhow::Result;
use clap::{Args, Subcommand};

use super::{Book, BookAddress, Manifest, address};
use crate::cli::{Exit, Globals, runtime};
use crate::output::{Format, Rows};

/// Check the book, or move it to another database
#[derive(Debug, Clone, Args)]
pub struct BookArgs {
    #[command(subcommand)]
    command: BookCommand,
}

#[derive(Debug, Clone, Subcommand)]
enum BookCommand {
    /// Look whether everything in the book holds together
    #[command(after_help = "\
Examples:
  meterhouse book check
  meterhouse book check --format json

Numbers without gaps, lines that sum to their documents, credits that are the sum of their entries, catalogs that are \
what their hashes say. The exit code is 1 if any rule is broken.")]
    Check {
        #[arg(long, value_enum, default_value_t)]
        format: Format,
    },
    /// Write the whole book into a new folder, as JSON lines
    #[command(after_help = "\
Example, from MySQL to PostgreSQL:
  METERHOUSE_BOOK_URL=mysql://…    meterhouse book export moving
  METERHOUSE_BOOK_URL=postgres://… meterhouse book import moving

The book is read as it is at one instant. Stop the jobs first all the same: what they write after it stays behind.")]
    Export { folder: PathBuf },
    /// Fill a new book with what `export` wrote
    #[command(after_help = "\
Everything is checked against the manifest first. A book that holds anything is left as it is.")]
    Import { folder: PathBuf },
}

pub fn run(args: &BookArgs, globals: &Globals) -> Result<Exit> {
    let address = address(&globals.load_config()?)?;
    runtime()?.block_on(async {
        let book = Book::open(&address).await?;
        let exit = run_on(&book, &address, args).await;
        book.close().await?;
        exit
    })
}

async fn run_on(book: &Book, address: &BookAddress, args: &BookArgs) -> Result<Exit> {
    match &args.command {
        BookCommand::Check { format } => {
            let findings = book.check().await?;
            let mut rows = Rows::new(&["rule", "checked", "broken"]);
            for finding in &findings {
                rows.push(vec![finding.rule.into(), finding.checked.into(), finding.broken.len().into()]);
                for broken in &finding.broken {
                    eprintln!("{}: {broken}", finding.rule);
                }
            }
            rows.print(*format)?;
            let is_sound = findings.iter().all(|finding| finding.broken.is_empty());
            Ok(if is_sound { Exit::Done } else { Exit::Error })
        }
        BookCommand::Export { folder } => {
            let manifest = book.export(folder).await?;
            eprintln!("{} rows of {address} are in {}", rows_of(&manifest), folder.display());
            Ok(Exit::Done)
        }
        BookCommand::Import { folder } => {
            let manifest = book.import(folder).await?;
            eprintln!("{} rows of {} are in {address}", rows_of(&manifest), folder.display());
            Ok(Exit::Done)
        }
    }
}

fn rows_of(manifest: &Manifest) -> u64 {
    manifest.tables.iter().map(|table| table.rows).sum()
}
