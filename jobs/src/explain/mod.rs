//! `meterhouse explain`: one line of an invoice, walked back to where it comes from.
//!
//! From the stored line come its price with the place in the catalog, every step of the arithmetic and the quantity; the
//! events (`events`) are read anew from the version of the lake that the invoice names. Nothing is rated again but a period
//! that is corrected (`correction`).

mod correction;
mod events;

use std::fmt::Write as _;
use std::io::Write;

use anyhow::{Context, Result, bail};
use clap::Args;
use jiff::Timestamp;
use rating::catalog::{Catalog, ModelSource, Place, PriceSpan};
use rating::exact::Exact;
use rating::line::LineItem;
use rating::period::PeriodChoice;
use rating::price::{Part, PriceModel, Rule};
use sql::lake::Lake;

use crate::book::Book;
use crate::cli::{Exit, Globals, read_catalog, runtime};
use crate::config::Config;
use crate::invoice::{InvoiceChoice, StoredInvoice, steps, stored};
use crate::issue::catalogs;
use crate::output::Format;

use correction::Corrected;

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
        let book = Book::existing_of(&config).await?;
        let sources = Sources { lake: &lake, book: book.as_ref(), config: &config };
        let stored = stored::find(&lake, book.as_ref(), &config, &which).await?;
        let (number, line) = find_line(&stored, line)?;
        let corrected = match &line.corrects {
            Some(_) => Some(Corrected::find(&lake, &sources, &stored, line).await?),
            None => None,
        };
        if args.format == Format::Table {
            let text = match (&corrected, &line.corrects) {
                (Some(corrected), Some(corrects)) => corrected.explanation(&stored, number, line, corrects),
                _ => {
                    // Without the catalog of then nobody knows in which lines its rules stood.
                    let catalog = sources.catalog(&stored.invoice.provenance.catalog_hash).await.ok();
                    let rules = catalog.map(|catalog| rules(&catalog, &stored, line)).unwrap_or_default();
                    explanation(&stored, number, line, &rules)
                }
            };
            let mut out = std::io::stdout().lock();
            write!(out, "{text}")?;
            out.flush()?;
        }
        if args.events || args.format != Format::Table {
            let (catalog, line) = match corrected {
                Some(Corrected { catalog, line: now }) => (catalog, now),
                None => (sources.catalog(&stored.invoice.provenance.catalog_hash).await?, Some(line.clone())),
            };
            let events = match line {
                Some(line) => events::counted(&lake, &catalog, &stored, &line).await?,
                None => events::CountedEvents::default(),
            };
            if args.format == Format::Table {
                println!("\nEvents");
            }
            events.rows().print(args.format)?;
            events.tell();
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

/// Where the catalog may be that an invoice was made with.
#[derive(Debug)]
struct Sources<'s> {
    lake: &'s Lake,
    book: Option<&'s Book>,
    config: &'s Config,
}

impl Sources<'_> {
    /// The catalog with this hash, or none that could mislead.
    async fn catalog(&self, hash: &str) -> Result<Catalog> {
        if let Some(catalog) = catalogs::load(self.lake, hash).await? {
            return Ok(catalog);
        }
        if let Some(book) = self.book
            && let Ok(content) = book.catalog_content(hash).await
        {
            return Ok(Catalog::parse(&content, &format!("catalog {hash}"))?);
        }
        let path = &self.config.catalog;
        let catalog = read_catalog(path)?;
        let now = catalog.hash.to_hex().to_string();
        if now != hash {
            bail!(
                "the invoice was made with catalog {hash}, but {} is {now}: name the catalog of then in the settings",
                path.display()
            );
        }
        Ok(catalog)
    }
}

fn explanation(stored: &StoredInvoice, number: usize, line: &LineItem, rules: &[String]) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = writeln!(text, "Line {number} of invoice {}: {}", stored.id, line.description);
    let _ = writeln!(text, "{}", line.key);
    let _ = writeln!(text);
    text.push_str(&facts(stored, line, rules));
    text.push_str(&arithmetic(line));
    text
}

/// Where the line's price and quantity come from.
fn facts(stored: &StoredInvoice, line: &LineItem, rules: &[String]) -> String {
    let mut facts: Vec<steps::Step> = Vec::new();
    let mut say = |name: &str, text: String| facts.push((name.to_owned(), text));
    let place = line.price_source.as_deref().unwrap_or("the catalog");
    let holder = match line.key.subscription.as_str() {
        "" => "bought once".to_owned(),
        subscription => format!("subscription {subscription}"),
    };
    say("price", format!("{} of {holder}, {place}", line.key.price));
    if !rules.is_empty() {
        say("rules", rules.join(", "));
    }
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
    steps::aligned(&facts, "  ")
}

fn arithmetic(line: &LineItem) -> String {
    let mut text = "\nArithmetic\n".to_owned();
    let unit = line.quantity.as_ref().map_or("", |used| used.unit.as_str());
    text.push_str(&steps::aligned(&steps::of_trail(&line.trail, unit, line.currency), "  "));
    text
}

fn span(stored: &StoredInvoice, line: &LineItem) -> String {
    let (span, period) = (line.key.span, stored.invoice.period.span);
    if line.key.period != stored.invoice.period.name {
        return format!("{} until {}", time(span.start_us), time(span.end_us));
    }
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

/// The tiers and cells that made the line's amount, each with its line in the catalog that it was made with.
fn rules(catalog: &Catalog, stored: &StoredInvoice, line: &LineItem) -> Vec<String> {
    let Some((model, source)) = model_of(catalog, stored, line) else { return Vec::new() };
    let in_line =
        |what: String, place: Option<&Place>| place.map(|place| format!("{what} in line {}", place.line));
    let rule = |part: &Part| match &part.rule {
        Rule::Tier { number, .. } => {
            let place = (*number as usize).checked_sub(1).and_then(|at| source.tiers.get(at));
            in_line(format!("tier {number}"), place)
        }
        Rule::Cell { values } => {
            let PriceModel::Matrix(matrix) = &model else { return None };
            let cell = matrix.cells.iter().position(|cell| cell.values == *values);
            in_line(format!("cell {}", values.join(", ")), cell.and_then(|at| source.cells.get(at)))
        }
        _ => None,
    };
    line.trail.parts.iter().filter_map(rule).collect()
}

/// The model that priced a line, and where its parts stand.
fn model_of(catalog: &Catalog, stored: &StoredInvoice, line: &LineItem) -> Option<(PriceModel, ModelSource)> {
    if line.key.subscription.is_empty() {
        let price = catalog.item(&line.key.price)?.price.as_ref()?;
        return Some((price.terms.model.clone(), price.source.clone()));
    }
    let held = held_by(catalog, stored, line)?;
    let source = held.source().clone();
    Some((held.terms.model, source))
}

fn held_by<'c>(catalog: &'c Catalog, stored: &StoredInvoice, line: &LineItem) -> Option<PriceSpan<'c>> {
    let terms = catalog.tenant_terms(&stored.invoice.tenant)?;
    let mut held = catalog.prices_in_force(terms, line.key.span).into_iter();
    held.find(|held| held.subscription.key == line.key.subscription && held.price.key == line.key.price)
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
        held_by(catalog, stored, line).map(|own| own.price)
    };
    let usage = price.with_context(missing)?.usage.as_ref();
    Ok(usage.map(|usage| usage.only.clone()).unwrap_or_default())
}
