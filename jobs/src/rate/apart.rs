//! Corrections that the tenant's next invoice does not carry: credit notes, and invoices of corrections alone.
//!
//! Owns the choice (DESIGN.md 3.9: an adjustment line on the next invoice, or a credit note) and making the document. What
//! lowers an issued invoice becomes a credit note where the settings say so, where the tenant owes nothing else in the
//! period, and where the invoice would come to less than nothing. Does not own what is corrected (`corrections`).

use std::sync::Arc;

use rating::catalog::Catalog;
use rating::draft::{Charges, CorrectedWith, DraftError};
use rating::exact::Exact;
use rating::invoice::{AdjustedPeriod, Invoice, InvoiceInputs, InvoiceKind, Provenance};
use rating::line::LineItem;
use rating::period::Period;

/// What an issued period of a tenant is corrected by.
#[derive(Debug, Clone)]
pub struct PeriodCorrection {
    pub lines: Vec<LineItem>,
    pub adjusted: AdjustedPeriod,
    /// The one that the period was rated with again.
    pub catalog: Arc<Catalog>,
}

/// How corrections that lower what was billed reach the tenant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CorrectionsBy {
    /// As lines of the next invoice, as long as there is one that they fit on.
    #[default]
    NextInvoice,
    /// Each as a credit note.
    CreditNote,
}

/// The corrections of a tenant by where they go.
#[derive(Debug, Default)]
pub struct Split<'c> {
    /// On the invoice of the period.
    pub carried: Vec<&'c PeriodCorrection>,
    /// Each on a credit note.
    pub credited: Vec<&'c PeriodCorrection>,
}

impl PeriodCorrection {
    fn difference(&self) -> Exact {
        sum(&self.lines)
    }

    fn lowers(&self) -> bool {
        self.difference().is_negative()
    }
}

fn sum(lines: &[LineItem]) -> Exact {
    lines.iter().map(|line| Exact::from(line.amount)).sum()
}

/// `own` are the lines of the period itself.
pub fn split<'c>(corrections: &'c [PeriodCorrection], by: CorrectionsBy, own: &[LineItem]) -> Split<'c> {
    let all: Exact = corrections.iter().map(PeriodCorrection::difference).sum();
    let leave = by == CorrectionsBy::CreditNote || own.is_empty() || (&sum(own) + &all).is_negative();
    let (credited, carried) = corrections.iter().partition(|correction| leave && correction.lowers());
    Split { carried, credited }
}

/// The document of some corrections alone, made with the terms that the newest of them was rated with again: those of a
/// tenant may have left the catalog since. `kind` is a credit note for one that lowers.
pub fn document(
    kind: InvoiceKind,
    tenant: &str,
    period: &Period,
    corrections: &[&PeriodCorrection],
    provenance: &Provenance,
) -> Result<Option<Invoice>, DraftError> {
    let newest = corrections.iter().max_by(|left, right| left.adjusted.period.cmp(&right.adjusted.period));
    let Some(catalog) = newest.map(|newest| &newest.catalog) else { return Ok(None) };
    let Some(terms) = catalog.tenant_terms(tenant) else { return Ok(None) };
    let charges = Charges::new(catalog, terms, period.clone());
    let lines = corrections.iter().flat_map(|correction| correction.lines.iter().cloned()).collect();
    let catalog_hash = catalog.hash.to_hex().to_string();
    let provenance = Provenance { catalog_hash, book_hash: String::new(), ..provenance.clone() };
    let mut invoice = charges.corrections(kind, tenant, lines, provenance, &corrected_with(corrections))?;
    invoice.inputs = InvoiceInputs { adjusted: adjusted(corrections), ..InvoiceInputs::default() };
    Ok(Some(invoice))
}

/// The catalogs whose taxes the corrections have.
pub fn corrected_with<'c>(corrections: &[&'c PeriodCorrection]) -> CorrectedWith<'c> {
    corrections.iter().map(|own| (own.adjusted.period.as_str(), own.catalog.as_ref())).collect()
}

/// What an invoice pins of its corrections, in the order of their periods.
pub fn adjusted(corrections: &[&PeriodCorrection]) -> Vec<AdjustedPeriod> {
    let mut adjusted: Vec<AdjustedPeriod> =
        corrections.iter().map(|correction| correction.adjusted.clone()).collect();
    adjusted.sort_by(|left, right| left.period.cmp(&right.period));
    adjusted
}
