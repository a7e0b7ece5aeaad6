//! `meterhouse reconcile`: lake, invoices, outbox and Stripe side by side, with every difference.
//!
//! Owns: the comparisons and their words. Does not own: what an invoice has to tell Stripe (`issue::outbox`) and how Stripe
//! is asked (`stripe::reading`). It changes nothing, neither here nor there. Each
//! comparison names both figures, so that a difference can be followed without running anything else.

mod compare;
mod in_stripe;
mod issued;

use std::collections::{BTreeMap, BTreeSet};
use std::io::IsTerminal as _;
use std::sync::Arc;

use ::sql::lake::{Lake, Table};
use anyhow::Result;
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use rating::money::{Amount, Currency};

use crate::book::{Book, BookOutbox};
use crate::cli::{Exit, Globals, runtime};
use crate::config::Config;
use crate::output::{Format, Rows};
use crate::periods::PeriodArg;
use crate::push;
use crate::run::{RunSpec, with_run};
use crate::stripe::clock::Dice;
use crate::stripe::late;
use crate::stripe::{Clock as _, Outbox as _, Reading, RecordState, StripeRecord, SystemClock};

pub use compare::compare_ours;
pub use in_stripe::compare_stripe;

/// Compare lake, invoices, outbox and Stripe, and list every difference
#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Examples:
  meterhouse reconcile
  meterhouse reconcile --period 2026-05 --format csv
  meterhouse reconcile --period last
  meterhouse reconcile --offline              without asking Stripe; no key needed
  meterhouse reconcile --settled              right after a push

The exit code is 0 when everything agrees and 4 when anything differs. What was sent within the last day may not be in \
Stripe's sums yet; --settled leaves such meters out until `meterhouse push` has seen them there.")]
pub struct ReconcileArgs {
    /// Only invoices of a period, as a month (2026-05), a day in it (2026-05-15), or `last`: each tenant's own of which the
    /// grace period ended last
    #[arg(long, value_name = "PERIOD")]
    pub period: Option<PeriodArg>,
    /// Compare what is ours and ask Stripe nothing
    #[arg(long)]
    pub offline: bool,
    /// Leave out usage of meters that Stripe took and has not counted yet
    #[arg(long, conflicts_with = "offline")]
    pub settled: bool,
    /// Record no run in the book; nothing else is ever changed
    #[arg(long)]
    pub dry_run: bool,
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
}

/// An issued invoice as the book, the lake and the catalog have it.
#[derive(Debug, Clone)]
pub struct IssuedSides {
    pub number: String,
    pub tenant: String,
    pub period: String,
    pub currency: Currency,
    pub book: SideOfInvoice,
    /// As it lies in the lake; none if it does not.
    pub lake: Option<SideOfInvoice>,
    /// What `stripe::plan` makes of the lake's invoice.
    pub records: Vec<StripeRecord>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SideOfInvoice {
    pub due: Amount,
    /// Of the canonical text.
    pub digest: String,
}

/// Two sides that do not agree.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Difference {
    pub tenant: String,
    pub period: String,
    pub invoice: String,
    /// What was compared, such as `book and lake: amount due`.
    pub what: String,
    pub ours: String,
    pub theirs: String,
}

/// What was compared, and where it differs.
#[derive(Debug, Default)]
pub struct Reconciled {
    pub invoices: usize,
    pub records: usize,
    /// Taken by Stripe, and not seen in its sums by `push` yet.
    pub unconfirmed: usize,
    /// Usage that Stripe was told when it had closed the invoice: counted there, and charged to nobody.
    pub too_late: usize,
    /// In the order of tenants and periods.
    pub differences: Vec<Difference>,
}

pub fn run(args: &ReconcileArgs, globals: &Globals) -> Result<Exit> {
    let config = globals.load_config()?;
    let lake = Lake::open(&config.lake)?;
    let found = runtime()?.block_on(async {
        if args.dry_run {
            return match Book::existing_of(&config).await? {
                Some(book) => compare(args, &config, &lake, &book).await,
                None => Ok(Reconciled::default()),
            };
        }
        reconcile_as_run(&Book::of(&config).await?, &lake, &config, args).await
    })?;
    found.print(args.format)?;
    Ok(if found.differences.is_empty() { Exit::Done } else { Exit::ReconciliationMismatch })
}

/// Compares within a run of the book.
pub async fn reconcile_as_run(
    book: &Book,
    lake: &Lake,
    config: &Config,
    args: &ReconcileArgs,
) -> Result<Reconciled> {
    let period = args.period.map(|period| period.to_string()).unwrap_or_default();
    with_run(book, RunSpec::of_job("reconcile", config).with_period(&period), async |run| {
        run.note_version(lake, Table::Invoices).await?;
        let found = compare(args, config, lake, book).await?;
        run.count("invoices", found.invoices);
        run.count("records", found.records);
        run.count("differences", found.differences.len());
        if !found.differences.is_empty() {
            run.has_rejects();
        }
        Ok(found)
    })
    .await
}

/// Records without those of a customer's meter of which Stripe took something, of whatever period, and has not counted it yet.
fn settled(records: &[StripeRecord], all: &[StripeRecord]) -> Vec<StripeRecord> {
    let by_key: BTreeMap<&str, &StripeRecord> =
        all.iter().map(|record| (record.key.as_str(), record)).collect();
    let lane = |record: &StripeRecord| {
        let told = record.content.refers_to.as_deref().and_then(|key| by_key.get(key));
        let meter = record.content.meter.clone().or_else(|| told?.content.meter.clone())?;
        Some((record.content.customer.clone(), meter))
    };
    let is_open = |record: &&StripeRecord| record.state == RecordState::Sent;
    let open: BTreeSet<(String, String)> = all.iter().filter(is_open).filter_map(lane).collect();
    records.iter().filter(|record| lane(record).is_none_or(|lane| !open.contains(&lane))).cloned().collect()
}

async fn compare(args: &ReconcileArgs, config: &Config, lake: &Lake, book: &Book) -> Result<Reconciled> {
    let bar = progress_bar();
    bar.set_message("book and lake");
    let meant = issued::Meant::find(args.period, config, book).await?;
    let invoices = issued::invoices(lake, book, config, &meant).await?;
    let outbox = BookOutbox::new(book);
    let numbers: BTreeSet<&str> = invoices.iter().map(|invoice| invoice.number.as_str()).collect();
    let all = outbox.list(None).await?;
    let mut records = all.clone();
    let is_named = meant.names();
    records.retain(|record| {
        let content = &record.content;
        numbers.contains(content.invoice_number.as_str()) || is_named(&content.tenant, &content.period)
    });
    let mut differences = compare_ours(&invoices, &records);
    if !args.offline && !records.is_empty() {
        bar.set_message("outbox and Stripe");
        let client = push::client(&config.stripe, Arc::new(SystemClock))?;
        let dice = Dice::new(SystemClock.now_us().unsigned_abs() ^ u64::from(std::process::id()));
        let compared = if args.settled { settled(&records, &all) } else { records.clone() };
        differences.extend(compare_stripe(&Reading::patient(client, dice), &compared, &all).await?);
    }
    bar.finish_and_clear();
    differences.sort();
    let unconfirmed = records.iter().filter(|record| record.state == RecordState::Sent).count();
    let told = records.iter().filter(|record| record.is_told());
    let too_late = late::too_late(told, |record| record.first_sent_us).map_or(0, |(count, _)| count);
    Ok(Reconciled { invoices: invoices.len(), records: records.len(), unconfirmed, too_late, differences })
}

impl Reconciled {
    /// Whether anything differs beyond what Stripe was not told.
    pub fn has_mismatch(&self) -> bool {
        self.differences.iter().any(|difference| !difference.what.starts_with(compare::UNTOLD))
    }

    pub fn print(&self, format: Format) -> Result<()> {
        let mut rows = Rows::new(&["tenant", "period", "invoice", "compared", "ours", "theirs"]);
        for difference in &self.differences {
            let Difference { tenant, period, invoice, what, ours, theirs } = difference.clone();
            rows.push([tenant, period, invoice, what, ours, theirs].map(Into::into).into());
        }
        rows.print(format)?;
        self.say();
        Ok(())
    }

    /// On stderr: how much was compared.
    pub fn say(&self) {
        let (invoices, records, count) = (self.invoices, self.records, self.differences.len());
        eprintln!("{invoices} invoices and {records} records for stripe compared, {count} differences");
        if self.unconfirmed > 0 {
            eprintln!(
                "{} of the records are sent and not confirmed yet: `meterhouse push` asks",
                self.unconfirmed
            );
        }
        if self.too_late > 0 {
            eprintln!(
                "warning: {} figures of usage were told later than {} h after their period's end: Stripe counts them, and \
                 they are on no invoice there",
                self.too_late,
                late::FINALIZED_AFTER_HOURS_MAX
            );
        }
    }
}

fn progress_bar() -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new_spinner();
    let style = ProgressStyle::with_template("{spinner} comparing {msg} {elapsed}");
    let bar = style.map(|style| bar.clone().with_style(style)).unwrap_or(bar);
    bar.enable_steady_tick(std::time::Duration::from_millis(200));
    bar
}
