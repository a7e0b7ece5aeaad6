//! The texts of a paper, in reading order: what PDF and HTML both show.
//!
//! Owns what is said and in which words, not how it looks. Everything is text by now, so that neither the page setter
//! nor the browser can round or reformat a figure.

use rating::exact::Exact;
use rating::invoice::tax::TaxLine;
use rating::money::Amount;
use serde::Serialize;

use super::input::{PaperInvoice, PaperKind, Party};
use super::line_rows::{self, LineRows};
use super::{amount_text, date_text};

/// Hashes are shown by their first digits.
const HASH_DIGITS: usize = 12;

#[derive(Debug, Clone, Serialize)]
pub(super) struct Page {
    /// `Invoice R-2026-0007`, for the window's title.
    pub title: String,
    /// `Invoice` or `Credit note`.
    pub kind: &'static str,
    pub is_draft: bool,
    pub seller: PartyText,
    pub buyer: PartyText,
    /// Number, dates and period.
    pub facts: Vec<Fact>,
    pub currency: &'static str,
    /// By subscription; untitled when there is only one.
    pub groups: Vec<Group>,
    pub totals: Vec<TotalRow>,
    pub due: Fact,
    /// Terms and where to pay; empty when there is nothing to pay.
    pub payment: Vec<Fact>,
    /// What the issuer must know before this becomes an invoice; on drafts only.
    pub warnings: Vec<String>,
    pub provenance: String,
    /// Set by the page setter when its fonts lack characters.
    pub missing_characters: Option<String>,
    pub logo: Option<&'static str>,
}

#[derive(Debug, Clone, Serialize)]
pub(super) struct PartyText {
    pub name: String,
    pub lines: Vec<String>,
}

#[derive(Debug, Clone, Serialize)]
pub(super) struct Fact {
    pub label: String,
    pub value: String,
}

#[derive(Debug, Clone, Serialize)]
pub(super) struct Group {
    pub title: Option<String>,
    pub lines: Vec<LineRows>,
}

#[derive(Debug, Clone, Serialize)]
pub(super) struct TotalRow {
    pub label: String,
    /// Like the amount that a tax was taken of.
    pub note: Option<String>,
    pub amount: String,
}

fn fact(label: &str, value: impl Into<String>) -> Fact {
    Fact { label: label.to_owned(), value: value.into() }
}

/// The paper's texts; `digest` is that of the invoice's canonical JSON.
pub(super) fn page(paper: &PaperInvoice, digest: &str) -> Page {
    let invoice = &paper.invoice;
    let kind = match paper.kind {
        PaperKind::Invoice => "Invoice",
        PaperKind::CreditNote => "Credit note",
    };
    let is_draft = paper.number.is_none();
    let title = match &paper.number {
        Some(number) => format!("{kind} {number}"),
        None => format!("{kind} (draft) {} {}", invoice.tenant, invoice.period.name),
    };
    let warnings = invoice.warnings.iter().filter(|_| is_draft);
    Page {
        title,
        kind,
        is_draft,
        seller: party(&paper.seller.party),
        buyer: party(&paper.buyer),
        facts: facts(paper, kind),
        currency: invoice.currency.code(),
        groups: groups(paper),
        totals: totals(paper),
        due: due(paper),
        payment: payment(paper),
        warnings: warnings.map(ToString::to_string).collect(),
        provenance: provenance(paper, digest),
        missing_characters: None,
        logo: paper.seller.logo.as_ref().map(super::Logo::file_name),
    }
}

fn party(party: &Party) -> PartyText {
    let tax_id = party.tax_id.iter().map(|id| format!("Tax ID {id}"));
    let lines = party.address.iter().cloned().chain(tax_id).chain(party.email.clone()).collect();
    PartyText { name: party.name.clone(), lines }
}

fn facts(paper: &PaperInvoice, kind: &str) -> Vec<Fact> {
    let invoice = &paper.invoice;
    let mut facts = vec![fact(&format!("{kind} number"), paper.number.as_deref().unwrap_or("Draft"))];
    let corrected = paper.corrected_numbers();
    if paper.kind == PaperKind::CreditNote && !corrected.is_empty() {
        facts.push(fact("Corrects invoice", corrected.join(", ")));
    }
    facts.extend(paper.issue_date.map(|date| fact("Date of issue", date_text::date(date))));
    facts.extend(paper.due_date.map(|date| fact("Due", date_text::date(date))));
    facts.push(fact("Billing period", date_text::period(&invoice.period)));
    facts.push(fact("Time zone", paper.time_zone.iana_name().unwrap_or("UTC")));
    facts.push(fact("Customer number", invoice.tenant.clone()));
    facts
}

fn groups(paper: &PaperInvoice) -> Vec<Group> {
    let lines = &paper.invoice.lines;
    let first = lines.first().map(|line| &line.key.subscription);
    let is_one = lines.iter().all(|line| Some(&line.key.subscription) == first);
    let mut groups: Vec<(&str, Group)> = Vec::new();
    for (index, line) in lines.iter().enumerate() {
        let subscription = line.key.subscription.as_str();
        if groups.last().is_none_or(|(last, _)| *last != subscription) {
            let title = (!is_one).then(|| subscription.to_owned());
            groups.push((subscription, Group { title, lines: Vec::new() }));
        }
        let rows = line_rows::rows(paper, index, line);
        groups.last_mut().expect("a group was just made").1.lines.push(rows);
    }
    groups.into_iter().map(|(_, group)| group).collect()
}

fn totals(paper: &PaperInvoice) -> Vec<TotalRow> {
    let invoice = &paper.invoice;
    let shown = |amount: Amount| amount_text::amount(amount, invoice.currency);
    let total = |label: String, note: Option<String>, amount| TotalRow { label, note, amount: shown(amount) };
    let mut rows = vec![total("Subtotal".to_owned(), None, invoice.total)];
    for (credit, amount) in credits(paper) {
        rows.push(total(format!("Credit {credit}"), None, -amount));
    }
    if !invoice.credits.is_empty() && !invoice.taxes.is_empty() {
        rows.push(total("After credits".to_owned(), None, invoice.total - invoice.credited));
    }
    for (first, taxable, amount) in taxes(paper) {
        rows.push(total(tax_label(first), Some(format!("on {}", shown(taxable))), amount));
    }
    rows
}

/// What each credit paid over all lines, in the order in which they were drawn.
fn credits(paper: &PaperInvoice) -> Vec<(&str, Amount)> {
    let mut credits: Vec<(&str, Amount)> = Vec::new();
    for used in &paper.invoice.credits {
        match credits.iter_mut().find(|(credit, _)| *credit == used.credit) {
            Some((_, amount)) => *amount += used.amount,
            None => credits.push((&used.credit, used.amount)),
        }
    }
    credits
}

/// Taxable amount and tax of each name and rate: sums of what was rounded line by line.
fn taxes(paper: &PaperInvoice) -> Vec<(&TaxLine, Amount, Amount)> {
    let mut taxes: Vec<(&TaxLine, Amount, Amount)> = Vec::new();
    for tax in &paper.invoice.taxes {
        let same = |first: &TaxLine| first.name == tax.name && first.rate_percent == tax.rate_percent;
        match taxes.iter_mut().find(|(first, ..)| same(first)) {
            Some((_, taxable, amount)) => {
                *taxable += tax.taxable;
                *amount += tax.amount;
            }
            None => taxes.push((tax, tax.taxable, tax.amount)),
        }
    }
    taxes
}

/// Names often carry their rate already, like `VAT 19 %`.
fn tax_label(tax: &TaxLine) -> String {
    if tax.name.contains('%') {
        return tax.name.clone();
    }
    format!("{} {} %", tax.name, amount_text::quantity(&Exact::from(tax.rate_percent)))
}

fn due(paper: &PaperInvoice) -> Fact {
    let label = match paper.kind {
        PaperKind::Invoice => "Total due",
        PaperKind::CreditNote => "Total credited",
    };
    fact(label, amount_text::amount(paper.invoice.due, paper.invoice.currency))
}

fn payment(paper: &PaperInvoice) -> Vec<Fact> {
    let is_payable = paper.kind == PaperKind::Invoice && paper.invoice.due > Amount::ZERO;
    let Some(number) = paper.number.as_ref().filter(|_| is_payable) else {
        return Vec::new();
    };
    let mut facts = Vec::new();
    facts.extend(paper.payment_terms.as_ref().map(|terms| fact("Terms", terms.clone())));
    if !paper.seller.bank.is_empty() {
        facts.push(fact("Pay to", paper.seller.bank.join("\n")));
        facts.push(fact("Reference", number.clone()));
    }
    facts
}

fn provenance(paper: &PaperInvoice, digest: &str) -> String {
    let provenance = &paper.invoice.provenance;
    let short = |hash: &str| hash.chars().take(HASH_DIGITS).collect::<String>();
    let mut parts = Vec::new();
    if !provenance.table_id.is_empty() {
        parts.push(format!(
            "usage table {} version {}",
            short(&provenance.table_id),
            provenance.table_version
        ));
    }
    for (name, hash) in [("catalog", &provenance.catalog_hash), ("book", &provenance.book_hash)] {
        if !hash.is_empty() {
            parts.push(format!("{name} {}", short(hash)));
        }
    }
    parts.push(format!("invoice digest {}", short(digest)));
    if !provenance.program_version.is_empty() {
        parts.push(format!("meterhouse {}", provenance.program_version));
    }
    parts.join(" · ")
}
