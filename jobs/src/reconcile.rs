//! `meterhouse reconcile`: lake, invoices, outbox and Stripe side by side, with every difference.
//!
//! Owns: the comparisons and their words. Does not own: where invoices come from (`Issued`, which the book and the lake
//! implement) and how Stripe is asked (`stripe::reading`). It changes nothing, neither here nor there. Each
//! comparison names both figures, so that a difference can be followed without running anything else.

mod compare;
mod in_stripe;

use std::sync::Arc;

use anyhow::Result;
use clap::Args;
use rating::money::{Amount, Currency};

use crate::cli::Exit;
use crate::config::StripeConfig;
use crate::output::{Format, Rows};
use crate::push;
use crate::stripe::{Outbox, Reading, StripeRecord, SystemClock};

pub use compare::compare_ours;
pub use in_stripe::compare_stripe;

/// Compare lake, invoices, outbox and Stripe, and list every difference
#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Examples:
  meterhouse reconcile
  meterhouse reconcile --period 2026-05-01 --format csv
  meterhouse reconcile --offline              without asking Stripe; no key needed

The exit code is 0 when everything agrees and 4 when anything differs. What was sent within the last day may not be in \
Stripe's sums yet.")]
pub struct ReconcileArgs {
    /// Only invoices of periods of this name, the local date on which they start
    #[arg(long, value_name = "DATE")]
    pub period: Option<String>,
    /// Compare what is ours and ask Stripe nothing
    #[arg(long)]
    pub offline: bool,
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

/// Where issued invoices are known.
pub trait Issued: Send + Sync {
    /// Invoices of one period or of all, in the order of their numbers.
    fn invoices(
        &self,
        period: Option<&str>,
    ) -> impl std::future::Future<Output = Result<Vec<IssuedSides>>> + Send;
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

/// Runs the command.
pub async fn reconcile<I: Issued, O: Outbox>(
    args: &ReconcileArgs,
    config: &StripeConfig,
    issued: &I,
    outbox: &O,
) -> Result<Exit> {
    let period = args.period.as_deref();
    let invoices = issued.invoices(period).await?;
    let mut records = outbox.list(None).await?;
    records.retain(|record| period.is_none_or(|period| record.content.period == period));
    let mut differences = compare_ours(&invoices, &records);
    if !args.offline {
        let client = push::client(config, Arc::new(SystemClock))?;
        differences.extend(compare_stripe(&Reading::new(client), &records).await?);
    }
    differences.sort();
    let mut rows = Rows::new(&["tenant", "period", "invoice", "compared", "ours", "theirs"]);
    for difference in &differences {
        let Difference { tenant, period, invoice, what, ours, theirs } = difference.clone();
        rows.push([tenant, period, invoice, what, ours, theirs].map(Into::into).into());
    }
    rows.print(args.format)?;
    eprintln!(
        "{} invoices and {} records compared, {} differences",
        invoices.len(),
        records.len(),
        differences.len()
    );
    Ok(if differences.is_empty() { Exit::Done } else { Exit::ReconciliationMismatch })
}
