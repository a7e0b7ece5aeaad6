//! What a paper is made from: the rated invoice, and what only the issuer knows about it.
//!
//! Owns the checks that a paper is complete and adds up before anybody sees it.

use jiff::civil::Date;
use rating::catalog::Tenant;
use rating::exact::Exact;
use rating::invoice::canonical::CanonicalError;
use rating::invoice::{Invoice, InvoiceError};
use rating::money::Amount;
use rating::period::TimeZone;

use super::logo::Logo;

/// An invoice or credit note with everything that stands on its paper.
#[derive(Debug, Clone)]
pub struct PaperInvoice {
    pub kind: PaperKind,
    /// Without one it is a draft, and says so on every page.
    pub number: Option<String>,
    /// The day of issue; every issued paper has one.
    pub issue_date: Option<Date>,
    pub due_date: Option<Date>,
    /// Like `Payable within 14 days without deduction`.
    pub payment_terms: Option<String>,
    /// The zone in which the period's days begin.
    pub time_zone: TimeZone,
    pub seller: Seller,
    pub buyer: Party,
    pub invoice: Invoice,
    /// Which lines correct an earlier invoice; a credit note has one for each of its lines.
    pub corrections: Vec<Correction>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PaperKind {
    Invoice,
    CreditNote,
}

/// Somebody with an address.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Party {
    pub name: String,
    pub address: Vec<String>,
    pub tax_id: Option<String>,
    pub email: Option<String>,
}

/// Who is owed the money.
#[derive(Debug, Clone, Default)]
pub struct Seller {
    pub party: Party,
    /// Where to pay, line by line: bank, IBAN, BIC.
    pub bank: Vec<String>,
    pub logo: Option<Logo>,
}

/// What one line corrects (DESIGN.md 3.9): `old` was invoiced, `new` is right, the line's amount is their difference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Correction {
    /// The line's place in the invoice.
    pub line: usize,
    /// Number of the invoice that is corrected.
    pub number: String,
    pub old: Amount,
    pub new: Amount,
    /// For people: `late event`, `amended event`, `catalog change`.
    pub cause: String,
}

/// The paper would be wrong, so there is none.
#[derive(Debug, thiserror::Error)]
pub enum PaperError {
    #[error("tenant {tenant}, period {period}: {what}")]
    Incomplete { tenant: String, period: String, what: String },
    #[error(transparent)]
    Unsound(#[from] InvoiceError),
    #[error("tenant {tenant}, period {period}: no canonical text")]
    NotCanonical {
        tenant: String,
        period: String,
        #[source]
        source: CanonicalError,
    },
    #[error("tenant {tenant}, period {period}: the page cannot be set: {message}")]
    NotTypeset { tenant: String, period: String, message: String },
    #[error("cannot write {path}")]
    NotWritten {
        path: String,
        #[source]
        source: std::io::Error,
    },
}

impl Party {
    /// The buyer that a tenant's entry in the catalog names.
    pub fn of_tenant(tenant: &Tenant) -> Party {
        Party {
            name: tenant.name.clone(),
            address: tenant.address.clone(),
            tax_id: tenant.tax_id.clone(),
            email: tenant.email.clone(),
        }
    }
}

impl PaperInvoice {
    /// Refuses what must not be printed: sums that do not add up, and issued papers that say too little.
    pub fn check(&self) -> Result<(), PaperError> {
        self.invoice.check()?;
        if self.number.is_some() {
            if self.issue_date.is_none() {
                return Err(self.incomplete("an issued paper needs its date of issue"));
            }
            if self.seller.party.name.trim().is_empty() {
                return Err(self.incomplete("who issues it is not set: name the seller as `issuer.name`"));
            }
        }
        for correction in &self.corrections {
            let Some(line) = self.invoice.lines.get(correction.line) else {
                let what = format!("a correction names line {}, which is not there", correction.line);
                return Err(self.incomplete(what));
            };
            let corrected = &Exact::from(correction.old) + &Exact::from(line.amount);
            if corrected != Exact::from(correction.new) {
                return Err(self.incomplete(format!("the correction of {} does not add up", line.key)));
            }
        }
        let lines = self.invoice.lines.len();
        let is_corrected = |line: usize| self.corrections.iter().any(|correction| correction.line == line);
        if self.kind == PaperKind::CreditNote && !(0..lines).all(is_corrected) {
            return Err(self.incomplete("a line of a credit note does not say what it corrects"));
        }
        Ok(())
    }

    /// Numbers of the invoices that this paper corrects, each once, in order.
    pub fn corrected_numbers(&self) -> Vec<&str> {
        let mut numbers: Vec<&str> =
            self.corrections.iter().map(|correction| correction.number.as_str()).collect();
        numbers.sort_unstable();
        numbers.dedup();
        numbers
    }

    fn incomplete(&self, what: impl Into<String>) -> PaperError {
        let Invoice { tenant, period, .. } = &self.invoice;
        PaperError::Incomplete { tenant: tenant.clone(), period: period.name.clone(), what: what.into() }
    }
}
