//! `meterhouse catalog`: checking a catalog, saying what a new one would change, pricing a quantity by it, applying it, and
//! which one holds for a period (`chosen`).

pub mod chosen;
mod price;

use std::path::{Path, PathBuf};

use anyhow::{Result, anyhow};
use clap::{Args, Subcommand};
use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use rating::catalog::{Catalog, diff};
use rating::exact::Exact;

use crate::book::Book;
use crate::cli::{Exit, Globals, parse_catalog, read_catalog, runtime};
use crate::config::Config;
use crate::output::{Format, Rows};
use crate::runs::instant;

/// From here on holds what was always so: the first catalog of a book, unless it is told otherwise.
const ALWAYS_US: i64 = 0;

/// Check a catalog, compare two, price a quantity, or apply one to the book
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
    /// Price a quantity by a plan and show each step, each tier's part among them
    #[command(after_help = "\
Examples:
  meterhouse catalog price --plan starter --price storage --quantity 17.3
  meterhouse catalog price --plan pay_as_you_go --price sessions --quantity 12 --dimensions user_type=pro --dimensions size=gpu

The quantity is in the price's own unit and over a whole period, with nothing else drawn from the plan's pools. A \
tenant's own terms are not looked at.")]
    Price {
        /// The plan
        #[arg(long)]
        plan: String,
        /// The price in it
        #[arg(long)]
        price: String,
        /// How much, in the unit of the price
        #[arg(long, value_parser = price::quantity, allow_hyphen_values = true)]
        quantity: Exact,
        /// A dimension that the price looks at; may be given several times
        #[arg(long, value_name = "NAME=VALUE", value_parser = price::dimension)]
        dimensions: Vec<(String, String)>,
        /// The plan's version in force on this day [default: the newest]
        #[arg(long, value_name = "DATE")]
        on: Option<Date>,
        /// The catalog [default: `catalog` in the settings]
        #[arg(long, value_name = "FILE")]
        catalog: Option<PathBuf>,
        #[arg(long, value_enum, default_value_t)]
        format: Format,
    },
    /// Store a catalog in the book, and let it hold from a date on
    #[command(after_help = "\
Examples:
  meterhouse catalog apply catalog.yaml --dry-run
  meterhouse catalog apply catalog.yaml
  meterhouse catalog apply next.yaml --effective-from 2026-07-01
  meterhouse catalog apply next.yaml --effective-from 2026-07-01T00:00:00+02:00

What changes against the catalog that holds at that date is printed. A catalog with mistakes is refused. A date is the \
start of that day in UTC. The first catalog of a book holds from always on, a later one from now on unless told \
otherwise. Applied again, the same catalog changes nothing. One that begins in the past changes what is rated from now \
on; issued invoices keep the catalog that they name.")]
    Apply {
        /// The catalog [default: `catalog` in the settings]
        file: Option<PathBuf>,
        /// A date, or an instant with its offset
        #[arg(long, value_name = "DATE", value_parser = point_in_time)]
        effective_from: Option<i64>,
        /// Who applies it
        #[arg(long, value_name = "NAME", env = "USER", default_value = "unknown", hide_env_values = true)]
        by: String,
        /// Only say what would change
        #[arg(long)]
        dry_run: bool,
    },
    /// List every version that was applied: which catalog, from when on, who and when
    #[command(after_help = "\
Examples:
  meterhouse catalog history
  meterhouse catalog history --show 3 > catalog-3.yaml")]
    History {
        /// Print the catalog of this version, as it was applied
        #[arg(long, value_name = "VERSION")]
        show: Option<i64>,
        #[arg(long, value_enum, default_value_t)]
        format: Format,
    },
}

/// The first instant of a day in UTC, or an exact instant.
pub(crate) fn point_in_time(text: &str) -> Result<i64, String> {
    if let Ok(exact) = text.parse::<Timestamp>() {
        return Ok(exact.as_microsecond());
    }
    let start = text.parse::<Date>().ok().and_then(|date| date.to_zoned(TimeZone::UTC).ok());
    let expected = "expected a date like 2026-07-01, or an instant like 2026-07-01T00:00:00+02:00";
    start.map(|start| start.timestamp().as_microsecond()).ok_or_else(|| expected.to_owned())
}

pub fn run(args: &CatalogArgs, globals: &Globals) -> Result<Exit> {
    match &args.command {
        CatalogCommand::Check { file, format } => {
            let path = match file {
                Some(file) => file.clone(),
                None => globals.load_config()?.catalog,
            };
            check(&path, *format)?;
        }
        CatalogCommand::Diff { old, new } => print_changes(&read_catalog(old)?, &read_catalog(new)?),
        CatalogCommand::Apply { file, effective_from, by, dry_run } => {
            let config = globals.load_config()?;
            let path = file.as_ref().unwrap_or(&config.catalog);
            runtime()?.block_on(apply(&config, path, *effective_from, by, *dry_run))?;
        }
        CatalogCommand::History { show, format } => {
            let config = globals.load_config()?;
            runtime()?.block_on(history(&config, *show, *format))?;
        }
        CatalogCommand::Price { plan, price, quantity, dimensions, on, catalog, format } => {
            let path = match catalog {
                Some(path) => path.clone(),
                None => globals.load_config()?.catalog,
            };
            let question = price::PriceQuestion {
                plan,
                price,
                quantity: quantity.clone(),
                dimensions: dimensions.iter().cloned().collect(),
                on: *on,
            };
            price::print(&read_catalog(&path)?, &question, *format)?;
        }
    }
    Ok(Exit::Done)
}

fn check(path: &Path, format: Format) -> Result<()> {
    let catalog = read_catalog(path)?;
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
    rows.print(format)?;
    eprintln!("{}: no mistakes", path.display());
    warn(&catalog, path);
    Ok(())
}

fn warn(catalog: &Catalog, path: &Path) {
    for advice in catalog.advice() {
        eprintln!("warning: {}:{advice}", path.display());
    }
}

fn print_changes(old: &Catalog, new: &Catalog) {
    let sentences = diff(old, new);
    if sentences.is_empty() {
        eprintln!("nothing changes for anybody");
    }
    for sentence in sentences {
        println!("{sentence}");
    }
}

async fn apply(
    config: &Config,
    path: &Path,
    effective_from_us: Option<i64>,
    by: &str,
    dry_run: bool,
) -> Result<()> {
    let (catalog, content) = parse_catalog(path)?;
    warn(&catalog, path);
    let book = if dry_run { Book::existing_of(config).await? } else { Some(Book::of(config).await?) };
    let Some(book) = book else {
        eprintln!("{}: no mistakes; it would be the first of a new book (--dry-run)", path.display());
        return Ok(());
    };
    let history = book.catalog_history().await?;
    let effective_from_us = match effective_from_us {
        Some(effective_from_us) => effective_from_us,
        None if history.is_empty() => ALWAYS_US,
        None => book.now_us().await?,
    };
    match book.catalog_in_force(effective_from_us).await? {
        Some(before) => print_changes(&before.catalog, &catalog),
        None => eprintln!("no catalog holds then; `{}` has {} meters", catalog.name, catalog.meters.len()),
    }
    let later = history.iter().filter(|known| known.effective_from_us > effective_from_us);
    if let Some(next) = later.min_by_key(|known| known.effective_from_us) {
        eprintln!("it holds until version {} does, from {}", next.version, instant(next.effective_from_us));
    }
    if dry_run {
        eprintln!("nothing was applied (--dry-run)");
        return Ok(());
    }
    let (applied, is_new) = book.apply_catalog(&catalog, &content, effective_from_us, by).await?;
    let from = from_when(applied.effective_from_us);
    if is_new {
        eprintln!("{} is version {} now and holds {from}", path.display(), applied.version);
    } else {
        eprintln!("this catalog holds already: version {}, {from}", applied.version);
    }
    Ok(())
}

fn from_when(effective_from_us: i64) -> String {
    if effective_from_us == ALWAYS_US {
        return "from always on".to_owned();
    }
    format!("from {} on", instant(effective_from_us))
}

async fn history(config: &Config, show: Option<i64>, format: Format) -> Result<()> {
    let book = Book::of(config).await?;
    let versions = book.catalog_history().await?;
    if let Some(wanted) = show {
        let version = versions.iter().find(|known| known.version == wanted);
        let version = version.ok_or_else(|| anyhow!("no catalog version {wanted} was applied"))?;
        print!("{}", book.catalog_content(&version.catalog_hash).await?);
        return Ok(());
    }
    let in_force = book.catalog_in_force(book.now_us().await?).await?.map(|found| found.applied.version);
    let mut rows =
        Rows::new(&["version", "in_force", "effective_from", "applied", "by", "catalog", "program"]);
    for version in versions {
        rows.push(vec![
            version.version.into(),
            if in_force == Some(version.version) { "now" } else { "" }.into(),
            if version.effective_from_us == ALWAYS_US {
                "always".into()
            } else {
                instant(version.effective_from_us).into()
            },
            instant(version.applied_at_us).into(),
            version.applied_by.into(),
            version.catalog_hash.into(),
            version.program_version.into(),
        ]);
    }
    rows.print(format)?;
    Ok(())
}
