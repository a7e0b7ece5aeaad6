//! From an issued invoice to what Stripe must be told of it. Pure: the same invoice and catalog give the same records.
//!
//! Owns: which of the three ways each line goes, keys, and that nothing of the invoice is left out. Does not own: the
//! requests' parameters (`request`) and sending. Lines that go as usage are priced by Stripe; what of them Stripe cannot
//! know, the credits that paid for them, follows as an invoice item. Taxes on them are Stripe's own tax rates.

mod correction;
mod invoice;
mod parts;
#[cfg(test)]
mod tests;
mod usage;

use rating::catalog::{Catalog, StripeCustomer, StripeGranularity, StripeSending, Tenant};
use rating::exact::{Exact, NotADecimal};
use rating::invoice::{Invoice, InvoiceKind};
use rating::line::LineItem;
use rating::money::{Amount, Currency};
use rating::period::Span;

use super::amount::{self, AmountError};
use super::record::{RecordContent, RecordKind, StripeRecord, bounded};
use super::request::{self, ItemParts};

pub use correction::{Correction, Retold, can_cancel, cancel_key, correct, instead_key, told_keys};
pub use parts::{UsageInParts, demand, demand_of_lines};
pub use usage::second_of;

/// An invoice that was issued, as far as Stripe is concerned.
#[derive(Debug, Clone, Copy)]
pub struct IssuedInvoice<'a> {
    /// With its issuer's prefix, as people read it.
    pub number: &'a str,
    pub invoice: &'a Invoice,
    /// Where the customer finds our PDF.
    pub pdf_link: Option<&'a str>,
}

/// How a line's quantity came about over time, for what is sent by the hour or day.
pub trait UsageBySpan {
    /// Spans that make up the line's own, each with its part of the measured quantity; nothing if that is not known.
    fn by_span(&self, line: &LineItem, granularity: StripeGranularity) -> Option<Vec<(Span, Exact)>>;
}

/// Nobody knows more than the period.
#[derive(Debug, Clone, Copy, Default)]
pub struct OnlyPeriods;

impl UsageBySpan for OnlyPeriods {
    fn by_span(&self, _: &LineItem, _: StripeGranularity) -> Option<Vec<(Span, Exact)>> {
        None
    }
}

/// The invoice cannot be told to Stripe; that tenant's run fails, not the process.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    #[error("invoice {number}, line {line}: the catalog has no such price")]
    UnknownPrice { number: String, line: String },
    #[error("invoice {number}, line {line}: its usage by {granularity} is not known")]
    NoSpans { number: String, line: String, granularity: &'static str },
    #[error("invoice {number}, line {line}: tenant has no subscription item for the price {price}")]
    NoSubscriptionItem { number: String, line: String, price: String },
    #[error("invoice {number}: {what}")]
    Amount {
        number: String,
        what: String,
        #[source]
        source: AmountError,
    },
    #[error("invoice {number}: an amount is out of range")]
    OutOfRange {
        number: String,
        #[source]
        source: NotADecimal,
    },
    #[error("invoice {number}: what goes to stripe adds up to {sent}, the invoice to {due}")]
    Total { number: String, sent: i64, due: i64 },
    #[error("invoice {number}: the link to the PDF has {characters} characters, and stripe keeps 500")]
    PdfLink { number: String, characters: usize },
}

/// Everything that Stripe must be told of an invoice, in the order in which it is told. Nothing if the tenant is no
/// customer there.
pub fn plan(
    issued: &IssuedInvoice<'_>,
    catalog: &Catalog,
    usage: &dyn UsageBySpan,
) -> Result<Vec<StripeRecord>, PlanError> {
    plan_with(issued, catalog, usage, &Retold::default())
}

/// The same, with what its corrections may take back.
pub fn plan_with(
    issued: &IssuedInvoice<'_>,
    catalog: &Catalog,
    usage: &dyn UsageBySpan,
    retold: &Retold,
) -> Result<Vec<StripeRecord>, PlanError> {
    let Some(tenant) = catalog.tenant_terms(&issued.invoice.tenant) else { return Ok(Vec::new()) };
    let Some(customer) = &tenant.stripe else { return Ok(Vec::new()) };
    let plan = Plan { issued, catalog, tenant, customer, usage };
    let mut records = Vec::new();
    let mut on_invoice = Vec::new();
    let mut slots = usage::Slots::default();
    let by_invoice = |line: &LineItem| matches!(plan.sending(line), Ok(Some(StripeSending::Invoices)));
    let has_invoice = issued.invoice.lines.iter().any(by_invoice);
    for (index, line) in issued.invoice.lines.iter().enumerate() {
        let sending = match plan.sending(line) {
            // A price that the catalog no longer has: what is corrected of it goes as money.
            Err(_) if line.corrects.is_some() && has_invoice => Some(StripeSending::Invoices),
            Err(_) if line.corrects.is_some() => {
                records.extend(plan.amount_of_usage(index, line)?);
                records.extend(plan.credit_of_usage(index, line)?);
                continue;
            }
            found => found?,
        };
        match sending {
            None => {}
            // Stripe makes no invoice of less than nothing.
            Some(StripeSending::Invoices) if issued.invoice.kind == InvoiceKind::CreditNote => {
                records.extend(plan.amount_with_taxes(index, line)?);
            }
            Some(StripeSending::Invoices) => on_invoice.push(index),
            // Money that no usage stands for: what has no quantity, and what an earlier period comes to more or less
            // than Stripe was told then.
            Some(sending) if line.quantity.is_none() || line.corrects.is_some() => {
                match plan.retold(line, &sending, retold, &mut slots)? {
                    Some(anew) => records.extend(anew),
                    None => records.extend(plan.amount_of_usage(index, line)?),
                }
                records.extend(plan.credit_of_usage(index, line)?);
            }
            Some(sending) => {
                records.extend(plan.usage_records(line, &sending, &mut slots)?);
                records.extend(plan.credit_of_usage(index, line)?);
            }
        }
    }
    records.extend(plan.invoice_records(&on_invoice)?);
    Ok(records)
}

/// How the line's price is sent, by the catalog that was in force where the line begins. The error is the line without a
/// price.
pub fn sending(line: &LineItem, catalog: &Catalog, tenant: &Tenant) -> Result<Option<StripeSending>, String> {
    let key = &line.key;
    let unknown = || key.to_string();
    if !tenant.subscriptions.iter().any(|subscription| subscription.key == key.subscription) {
        // What is bought once belongs to no subscription.
        let item = catalog.item(&key.price).and_then(|item| item.price.as_ref());
        return item.map(|price| price.stripe.clone()).ok_or_else(unknown);
    }
    let in_force = catalog.prices_in_force(tenant, key.span);
    in_force
        .iter()
        .find(|span| span.subscription.key == key.subscription && span.price.key == key.price)
        .map(|span| span.price.stripe.clone())
        .ok_or_else(unknown)
}

/// What every step needs.
struct Plan<'a> {
    issued: &'a IssuedInvoice<'a>,
    catalog: &'a Catalog,
    tenant: &'a Tenant,
    customer: &'a StripeCustomer,
    usage: &'a dyn UsageBySpan,
}

impl Plan<'_> {
    fn sending(&self, line: &LineItem) -> Result<Option<StripeSending>, PlanError> {
        sending(line, self.catalog, self.tenant)
            .map_err(|line| PlanError::UnknownPrice { number: self.number(), line })
    }

    fn number(&self) -> String {
        self.issued.number.to_owned()
    }

    fn currency(&self) -> Currency {
        self.issued.invoice.currency
    }

    fn minor_units(&self, amount: Amount, what: &str) -> Result<i64, PlanError> {
        amount::minor_units(amount, self.currency()).map_err(|source| self.amount_error(what, source))
    }

    fn amount_error(&self, what: &str, source: AmountError) -> PlanError {
        PlanError::Amount { number: self.number(), what: what.to_owned(), source }
    }

    /// The parts that are alike in all records of the invoice.
    fn content(&self, kind: RecordKind, request: super::StripeRequest, description: String) -> RecordContent {
        RecordContent {
            kind,
            tenant: self.issued.invoice.tenant.clone(),
            customer: self.customer.customer.clone(),
            meter: None,
            period: self.issued.invoice.period.name.clone(),
            invoice_number: self.number(),
            description,
            usage: None,
            amount_minor: None,
            currency: self.currency().code().to_owned(),
            after: None,
            refers_to: None,
            request,
        }
    }

    /// An amount on the customer's next invoice in Stripe.
    fn pending_item(&self, text: &str, amount_minor: i64, description: String) -> StripeRecord {
        let key = bounded(text);
        let request = request::invoice_item(&ItemParts {
            key: &key,
            customer: &self.customer.customer,
            currency: self.currency().code(),
            amount_minor,
            description: &description,
            on_our_invoice: false,
        });
        let content = self.content(RecordKind::InvoiceItem, request, description);
        let content = RecordContent { amount_minor: Some(amount_minor), ..content };
        StripeRecord::new(key.clone(), format!("{}/items", self.customer.customer), 0, content)
    }

    /// A line about usage that has an amount and no quantity, as the adjustment of an earlier period: the amount is added to
    /// or taken from the customer's next invoice.
    fn amount_of_usage(&self, index: usize, line: &LineItem) -> Result<Option<StripeRecord>, PlanError> {
        let amount_minor = self.minor_units(line.amount, &line.key.to_string())?;
        if amount_minor == 0 {
            return Ok(None);
        }
        let text = format!("{}/{}/amount/{index}", self.customer.customer, self.issued.number);
        let description = format!("{} (invoice {})", line.description, self.issued.number);
        Ok(Some(self.pending_item(&text, amount_minor, description)))
    }

    /// A line of a credit note whose price Stripe does not know: with our taxes on it, as they stood on the invoice there.
    fn amount_with_taxes(&self, index: usize, line: &LineItem) -> Result<Option<StripeRecord>, PlanError> {
        let mut amount_minor = self.minor_units(line.amount, &line.key.to_string())?;
        for tax in self.issued.invoice.taxes.iter().filter(|tax| tax.line == index) {
            amount_minor += self.minor_units(tax.amount, "a tax")?;
        }
        if amount_minor == 0 {
            return Ok(None);
        }
        let text = format!("{}/{}/amount/{index}", self.customer.customer, self.issued.number);
        let description = format!("{} (credit note {})", line.description, self.issued.number);
        Ok(Some(self.pending_item(&text, amount_minor, description)))
    }

    /// Stripe knows nothing of our credits: what they paid of usage that it prices is given back.
    fn credit_of_usage(&self, index: usize, line: &LineItem) -> Result<Option<StripeRecord>, PlanError> {
        let mut paid = 0;
        for used in self.issued.invoice.credits.iter().filter(|used| used.line == index) {
            paid += self.minor_units(used.amount, "a credit")?;
        }
        if paid == 0 {
            return Ok(None);
        }
        let text = format!("{}/{}/credit/{index}", self.customer.customer, self.issued.number);
        let description = format!("Credit: {} (invoice {})", line.description, self.issued.number);
        Ok(Some(self.pending_item(&text, -paid, description)))
    }
}
