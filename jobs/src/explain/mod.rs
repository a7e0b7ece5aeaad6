//! `meterhouse explain`: one line of an invoice, walked back to where it comes from.
//!
//! From the stored line come its price with the place in the catalog, every step of the arithmetic and the quantity; the
//! events (`events`) are read anew from the version of the lake that the invoice names. Nothing is rated again.

mod events;

use std::fmt::Write as _;
use std::io::Write;

use anyhow::{Context, Result, bail};
use clap::Args;
use jiff::Timestamp;
use rating::catalog::Catalog;
use rating::exact::Exact;
use rating::line::LineItem;
use rating::period::PeriodChoice;
use sql::lake::Lake;

use crate::book::Book;
use crate::cli::{Exit, Globals, read_catalog, runtime};
use crate::config::Config;
use crate::invoice::{InvoiceChoice, StoredInvoice, steps, stored};
use crate::issue::catalogs;
use crate::output::Format;

/// Explain a line of an invoice
#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Examples:
  meterhouse explain 2026-01-01-3f9a5b0c7d21e864 3
  meterhouse explain 2026-01-01-3f9a5b0c7d21e864 3 --events
  meterhouse explain --tenant acme --period 2026-01 storage
  meterhouse explain --tenant acme --period 2026-01 3 --events --format csv

LINE is the line's number on the invoice, its key, or the name of its price where only one line has it. With --events, \
the events that were counted follow, each with its identity and its place in Kafka, from the version of usage_events \
that the invoice was made from; what was carried into the line's time stands first. In another format than `table`, the \
events are all that is printed.")]
pub struct ExplainArgs {
    /// The invoice's id (left out with --tenant and --period), and the line
    #[arg(value_name = "ID LINE", num_args = 1..=2, required = true)]
    what: Vec<String>,
    /// The tenant whose invoice of --period is meant
    #[arg(long, value_name = "TENANT", requires = "period")]
    tenant: Option<String>,
    /// The period, as a month (2026-01) or a day in it (2026-01-15)
    #[arg(long, value_name = "PERIOD", requires = "tenant")]
    period: Option<PeriodChoice>,
    /// List the events that were counted
    #[arg(long)]
    events: bool,
    /// How the events are printed
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

pub fn run(args: &ExplainArgs, globals: &Globals) -> Result<Exit> {
    let config = globals.load_config()?;
    let lake = Lake::open(&config.lake)?;
    let (which, line) = args.split()?;
    runtime()?.block_on(async {
        let stored = stored::find(&lake, &config.catalog, &which).await?;
        let (number, line) = find_line(&stored, line)?;
        if args.format == Format::Table {
            let mut out = std::io::stdout().lock();
            write!(out, "{}", explanation(&stored, number, line))?;
            out.flush()?;
        }
        if args.events || args.format != Format::Table {
            let catalog = catalog_of(&lake, &config, &stored).await?;
            let events = events::counted(&lake, &catalog, &stored, line).await?;
            if args.format == Format::Table {
                println!("\nEvents");
            }
            events.rows().print(args.format)?;
            if events.repeated > 0 {
                eprintln!("{} rows of events that came twice were passed over", events.repeated);
            }
        }
        anyhow::Ok(())
    })?;
    Ok(Exit::Done)
}

impl ExplainArgs {
    fn split(&self) -> Result<(InvoiceChoice, &str)> {
        let (tenant, period) = (self.tenant.clone(), self.period);
        match (self.what.as_slice(), &tenant) {
            ([id, line], None) => {
                Ok((InvoiceChoice { id: Some(id.clone()), tenant: None, period: None }, line))
            }
            ([line], Some(_)) => Ok((InvoiceChoice { id: None, tenant, period }, line)),
            _ => bail!("name the invoice by its id or by --tenant and --period, and then the line"),
        }
    }
}

/// The line by its number, its key, or its price's name.
fn find_line<'s>(stored: &'s StoredInvoice, wanted: &str) -> Result<(usize, &'s LineItem)> {
    let lines = || stored.invoice.lines.iter().enumerate().map(|(at, line)| (at + 1, line));
    let number = wanted.parse::<usize>().ok();
    if let Some(found) = lines().find(|(at, line)| Some(*at) == number || line.key.to_string() == wanted) {
        return Ok(found);
    }
    let of_price: Vec<_> = lines().filter(|(_, line)| line.key.price == wanted).collect();
    match of_price.as_slice() {
        [one] => Ok(*one),
        [] => {
            bail!("invoice {} has no line {wanted}; it has {} lines", stored.id, stored.invoice.lines.len())
        }
        many => {
            let numbers: Vec<String> = many.iter().map(|(at, _)| at.to_string()).collect();
            bail!("the price {wanted} has the lines {}: name one of them", numbers.join(", "))
        }
    }
}

/// The catalog that the invoice was made with, wherever it is kept, or none that could mislead.
async fn catalog_of(lake: &Lake, config: &Config, stored: &StoredInvoice) -> Result<Catalog> {
    let made_with = stored.invoice.provenance.catalog_hash.as_str();
    let now = read_catalog(&config.catalog);
    if let Ok(catalog) = &now
        && catalog.hash.to_hex().as_str() == made_with
    {
        return now;
    }
    if let Some(catalog) = catalogs::load(lake, made_with).await? {
        return Ok(catalog);
    }
    if let Some(book) = Book::existing_of(config).await?
        && let Ok(content) = book.catalog_content(made_with).await
    {
        return Ok(Catalog::parse(&content, made_with)?);
    }
    let shown = config.catalog.display();
    let now = now?.hash.to_hex();
    bail!(
        "the invoice was made with catalog {made_with}, which is neither kept in the lake nor in the book, and {shown} \
         is {now}: name the catalog of then in the settings, or rate the period again"
    )
}

fn explanation(stored: &StoredInvoice, number: usize, line: &LineItem) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = writeln!(text, "Line {number} of invoice {}: {}", stored.id, line.description);
    let _ = writeln!(text, "{}", line.key);
    let _ = writeln!(text);
    let mut facts: Vec<steps::Step> = Vec::new();
    let mut say = |name: &str, text: String| facts.push((name.to_owned(), text));
    let place = line.price_source.as_deref().unwrap_or("the catalog");
    let holder = match line.key.subscription.as_str() {
        "" => "bought once".to_owned(),
        subscription => format!("subscription {subscription}"),
    };
    say("price", format!("{} of {holder}, {place}", line.key.price));
    say("span", span(stored, line));
    if let Some(used) = &line.quantity {
        say("meter", format!("{} of {}, in {}", used.measure, used.meter, used.unit));
        if !used.dimensions.is_empty() {
            let values: Vec<String> =
                used.dimensions.iter().map(|(name, value)| format!("{name}={value}")).collect();
            say("values", values.join(", "));
        }
        say("quantity", used.value.to_string());
        let samples = match (used.samples.first_us, used.samples.last_us) {
            (Some(first_us), Some(last_us)) => {
                format!("{} from {} to {}", used.samples.count, time(first_us), time(last_us))
            }
            _ => used.samples.count.to_string(),
        };
        say("samples", samples);
        if used.carried_in != Exact::ZERO {
            say("carried in", format!("{} {}", steps::number(&used.carried_in), used.unit));
        }
    }
    text.push_str(&steps::aligned(&facts, "  "));
    let _ = writeln!(text, "\nArithmetic");
    let unit = line.quantity.as_ref().map_or("", |used| used.unit.as_str());
    text.push_str(&steps::aligned(&steps::of_trail(&line.trail, unit, line.currency), "  "));
    text
}

fn span(stored: &StoredInvoice, line: &LineItem) -> String {
    let (span, period) = (line.key.span, stored.invoice.period.span);
    let whole = if span == period {
        "the whole period".to_owned()
    } else {
        format!("{} of the period", span.share_of(&period))
    };
    format!("{} until {}, {whole}", time(span.start_us), time(span.end_us))
}

pub(crate) fn time(instant_us: i64) -> String {
    Timestamp::from_microsecond(instant_us).map_or_else(|_| instant_us.to_string(), |time| time.to_string())
}

/// What a line reads of its meter, by the catalog that it was made with.
fn filter_of(
    catalog: &Catalog,
    stored: &StoredInvoice,
    line: &LineItem,
) -> Result<std::collections::BTreeMap<String, Vec<String>>> {
    let missing = || format!("the catalog has no price {} any more", line.key.price);
    let price = if line.key.subscription.is_empty() {
        catalog.item(&line.key.price).and_then(|item| item.price.as_ref())
    } else {
        let terms = catalog.tenant_terms(&stored.invoice.tenant).with_context(missing)?;
        let held = catalog.prices_in_force(terms, line.key.span);
        let own = held
            .into_iter()
            .find(|held| held.subscription.key == line.key.subscription && held.price.key == line.key.price);
        own.map(|own| own.price)
    };
    let usage = price.with_context(missing)?.usage.as_ref();
    Ok(usage.map(|usage| usage.only.clone()).unwrap_or_default())
}
