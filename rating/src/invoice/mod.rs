//! Invoices: a tenant's lines of one period, what credits pay, taxes, and what is due (DESIGN.md 3.6 to 3.10).
//!
//! Owns the sums and their identities, the corrections between two versions of a line, credit notes, and the canonical
//! text that is digested. Does not own numbers, grace periods or states: the book does.

pub mod adjustment;
pub mod canonical;
mod cause;
pub mod credit;
mod inputs;
mod kind;
mod provenance;
pub mod tax;
mod warning;

use serde::{Deserialize, Serialize};

use crate::exact::{Exact, NotADecimal};
use crate::line::LineItem;
use crate::money::{Amount, Currency};
use crate::period::Period;

use canonical::CanonicalError;
use credit::{Credit, CreditUse};
use tax::{TaxLine, TaxRule};

pub use adjustment::{AdjustedPeriod, Adjustment, Corrects, adjustments};
pub use cause::{Cause, Causes};
pub use inputs::InvoiceInputs;
pub use kind::InvoiceKind;
pub use provenance::Provenance;
pub use warning::Warning;

/// The sums, as errors name them.
const TOTAL: &str = "total of the lines";
const CREDITED: &str = "total of the credits";
const TAXED: &str = "total of the taxes";
const DUE: &str = "amount due";

/// A rated invoice. The same inputs give the same canonical text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Invoice {
    #[serde(default, skip_serializing_if = "InvoiceKind::is_of_period")]
    pub kind: InvoiceKind,
    pub tenant: String,
    pub period: Period,
    pub currency: Currency,
    /// In the order of their keys.
    pub lines: Vec<LineItem>,
    /// The sum of the rounded lines.
    pub total: Amount,
    pub credits: Vec<CreditUse>,
    pub credited: Amount,
    pub taxes: Vec<TaxLine>,
    pub taxed: Amount,
    /// `total - credited + taxed`.
    pub due: Amount,
    pub warnings: Vec<Warning>,
    pub provenance: Provenance,
    /// What it was made from beside events and catalog.
    #[serde(default, skip_serializing_if = "InvoiceInputs::is_empty")]
    pub inputs: InvoiceInputs,
}

/// What an invoice is assembled from.
#[derive(Debug, Clone)]
pub struct InvoiceParts {
    pub kind: InvoiceKind,
    pub tenant: String,
    pub period: Period,
    pub currency: Currency,
    pub lines: Vec<LineItem>,
    pub warnings: Vec<Warning>,
    pub provenance: Provenance,
}

/// The invoice is not sound; that tenant's run fails, not the process.
#[derive(Debug, thiserror::Error)]
pub enum InvoiceError {
    #[error("tenant {tenant}, period {period}: line {line} belongs to another invoice")]
    ForeignLine { tenant: String, period: String, line: String },
    #[error("tenant {tenant}, period {period}: line {line} is in {currency}")]
    CurrencyDiffers { tenant: String, period: String, line: String, currency: Currency },
    #[error("tenant {tenant}, period {period}: line {line} is there twice")]
    LineTwice { tenant: String, period: String, line: String },
    #[error("tenant {tenant}, period {period}: {what} does not add up")]
    BrokenIdentity { tenant: String, period: String, what: &'static str },
    /// The line is the one that is taxed, or the largest of those that are added up.
    #[error("tenant {tenant}, period {period}: {what} is out of range; see {line}")]
    OutOfRange {
        tenant: String,
        period: String,
        what: &'static str,
        line: String,
        #[source]
        source: NotADecimal,
    },
}

impl Invoice {
    /// Sorts the lines, lets the credits pay at the end of the period, asks for taxes, and checks every sum. The
    /// credits' balances are lowered by what they paid.
    pub fn assemble(
        parts: InvoiceParts,
        credits: &mut [Credit],
        tax: &dyn TaxRule,
    ) -> Result<Invoice, InvoiceError> {
        let InvoiceParts { kind, tenant, period, currency, mut lines, warnings, provenance } = parts;
        lines.sort_by(|left, right| left.key.cmp(&right.key));
        let mut invoice = Invoice {
            kind,
            tenant,
            period,
            currency,
            lines,
            total: Amount::ZERO,
            credits: Vec::new(),
            credited: Amount::ZERO,
            taxes: Vec::new(),
            taxed: Amount::ZERO,
            due: Amount::ZERO,
            warnings,
            provenance,
            inputs: InvoiceInputs::default(),
        };
        invoice.check_lines()?;
        invoice.total = invoice.sum(TOTAL, invoice.lines.iter().map(|line| line.amount))?;
        // A credit that expires with the period still pays for it.
        let at_us = invoice.period.span.end_us.saturating_sub(1);
        let amounts: Vec<Amount> = invoice.lines.iter().map(|line| line.amount).collect();
        invoice.credits = credit::pay_lines(&amounts, credits, at_us);
        invoice.credited = invoice.sum(CREDITED, invoice.credits.iter().map(|used| used.amount))?;
        invoice.taxes = invoice.taxes_by(tax)?;
        invoice.taxed = invoice.sum(TAXED, invoice.taxes.iter().map(|tax| tax.amount))?;
        invoice.due = invoice.sum(DUE, [invoice.total, -invoice.credited, invoice.taxed].into_iter())?;
        invoice.check()?;
        Ok(invoice)
    }

    /// Adds everything up anew, in release builds too.
    pub fn check(&self) -> Result<(), InvoiceError> {
        self.check_lines()?;
        let rounded = |amount: Amount| amount.normalize().scale() <= self.currency.minor_digits();
        let lines = self.lines.iter().map(|line| line.amount);
        let credits = self.credits.iter().map(|used| used.amount);
        let taxes = self.taxes.iter().map(|tax| tax.amount);
        for (holds, what) in [
            (self.lines.iter().all(|line| line.trail.check().is_ok()), "a line"),
            (self.lines.iter().all(|line| line.amount == line.trail.amount()), "a line's amount"),
            (self.lines.iter().all(is_difference), "an adjustment"),
            (self.takes_back_or_is_none(), "a credit note"),
            (lines.clone().chain(credits.clone()).chain(taxes.clone()).all(rounded), "minor unit"),
            (self.sum(TOTAL, lines)? == self.total, TOTAL),
            (self.sum(CREDITED, credits)? == self.credited, CREDITED),
            (self.credited <= self.total.max(Amount::ZERO), "credit beyond the total"),
            (self.sum(TAXED, taxes)? == self.taxed, TAXED),
            (self.sum(DUE, [self.total, -self.credited, self.taxed].into_iter())? == self.due, DUE),
        ] {
            if !holds {
                let (tenant, period) = self.name();
                return Err(InvoiceError::BrokenIdentity { tenant, period, what });
            }
        }
        Ok(())
    }

    /// The text that is digested and compared byte for byte.
    pub fn canonical_json(&self) -> Result<String, CanonicalError> {
        canonical::canonical_json(self)
    }

    /// BLAKE3 of the canonical text.
    pub fn digest(&self) -> Result<String, CanonicalError> {
        Ok(canonical::digest(&self.canonical_json()?))
    }

    /// Tells apart the documents of one tenant and period: a credit note by the period that it corrects.
    pub fn occasion(&self) -> &str {
        match self.kind {
            InvoiceKind::OfPeriod => "",
            InvoiceKind::Corrections => "corrections",
            InvoiceKind::CreditNote => self.lines.first().map_or("", |line| &line.key.period),
        }
    }

    /// A credit note takes back of one invoice, and no credit pays for it.
    fn takes_back_or_is_none(&self) -> bool {
        let corrected = |line: &LineItem| line.corrects.as_ref().map(|corrects| corrects.number.clone());
        let first = self.lines.first().and_then(corrected);
        self.kind != InvoiceKind::CreditNote
            || (self.total < Amount::ZERO && self.lines.iter().all(|line| corrected(line) == first))
    }

    fn check_lines(&self) -> Result<(), InvoiceError> {
        let mut before = None;
        for line in &self.lines {
            let (tenant, period) = self.name();
            let key = || line.key.to_string();
            // An adjustment line belongs to an earlier period, and no other does.
            let is_own = (line.key.period == self.period.name) == line.corrects.is_none();
            let is_wanted = self.kind == InvoiceKind::OfPeriod || line.corrects.is_some();
            if line.key.tenant != self.tenant || !is_own || !is_wanted {
                return Err(InvoiceError::ForeignLine { tenant, period, line: key() });
            }
            if line.currency != self.currency {
                let currency = line.currency;
                return Err(InvoiceError::CurrencyDiffers { tenant, period, line: key(), currency });
            }
            if before == Some(&line.key) {
                return Err(InvoiceError::LineTwice { tenant, period, line: key() });
            }
            before = Some(&line.key);
        }
        Ok(())
    }

    fn taxes_by(&self, rule: &dyn TaxRule) -> Result<Vec<TaxLine>, InvoiceError> {
        let mut taxes = Vec::new();
        for (index, line) in self.lines.iter().enumerate() {
            let paid = self.credits.iter().filter(|used| used.line == index).map(|used| -used.amount);
            let taxable = self.sum("a line after credits", std::iter::once(line.amount).chain(paid))?;
            let own = tax::taxes_of(rule, index, line, taxable);
            taxes.extend(own.map_err(|source| self.out_of_range("a tax", Some(line), source))?);
        }
        Ok(taxes)
    }

    /// The exact sum, with the currency's digits written out.
    fn sum(&self, what: &'static str, amounts: impl Iterator<Item = Amount>) -> Result<Amount, InvoiceError> {
        let total: Exact = amounts.map(Exact::from).sum();
        let fits = total.to_decimal().and_then(|_| {
            total.round_to_decimals(crate::exact::Rounding::HalfEven, self.currency.minor_digits())
        });
        let largest = || self.lines.iter().max_by_key(|line| line.amount.abs());
        fits.map_err(|source| self.out_of_range(what, largest(), source))
    }

    fn out_of_range(&self, what: &'static str, line: Option<&LineItem>, source: NotADecimal) -> InvoiceError {
        let (tenant, period) = self.name();
        let named = |line: &LineItem| match &line.quantity {
            Some(quantity) => format!("line {}, meter {}", line.key, quantity.meter),
            None => format!("line {}", line.key),
        };
        let line = line.map_or_else(String::new, named);
        InvoiceError::OutOfRange { tenant, period, what, line, source }
    }

    fn name(&self) -> (String, String) {
        (self.tenant.clone(), self.period.name.clone())
    }
}

/// Whether an adjustment line bills what lies between old and new.
fn is_difference(line: &LineItem) -> bool {
    line.corrects.as_ref().is_none_or(|corrects| {
        &Exact::from(corrects.old) + &Exact::from(line.amount) == Exact::from(corrects.new)
    })
}
