//! Issuing some drafts: numbers, index, lines, outbox and used credits in one transaction of the book.
//!
//! Owns what an issued document is in the book, and the two series of numbers of an issuer: invoices, and credit notes. All
//! documents of a tenant are issued together, so that none of them is left behind and rated anew.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use ingest::crash_point::crash_point;
use rating::invoice::InvoiceKind;

use super::outbox::StripePlans;
use super::{IssueReport, StoredDocument, fresh};
use crate::book::{Book, DocumentKind, IssuedLine, NewDocument, Writing};
use crate::config::IssuerConfig;
use crate::run::RunContext;

/// Documents that get their numbers in one transaction, but for the rest of a tenant's.
const PORTION: usize = 1000;

/// Drafts in portions; those of one tenant, which stand side by side, are never parted.
pub(super) fn portions(due: &[StoredDocument]) -> Vec<&[StoredDocument]> {
    let mut portions = Vec::new();
    let mut rest = due;
    while !rest.is_empty() {
        let mut length = rest.len().min(PORTION);
        while length < rest.len() && rest[length].invoice.tenant == rest[length - 1].invoice.tenant {
            length += 1;
        }
        let (portion, later) = rest.split_at(length);
        portions.push(portion);
        rest = later;
    }
    portions
}

/// Who issues, and what credit notes name.
#[derive(Debug)]
pub(super) struct Numbering<'i> {
    issuer: &'i IssuerConfig,
    run_id: String,
    /// By printed number: the number of each invoice that a credit note takes back from.
    corrected: BTreeMap<String, i64>,
}

impl<'i> Numbering<'i> {
    pub(super) async fn prepare(
        issuer: &'i IssuerConfig,
        book: &Book,
        run_id: &str,
        due: &[StoredDocument],
    ) -> Result<Self> {
        let mut numbering = Self { issuer, run_id: run_id.to_owned(), corrected: BTreeMap::new() };
        for printed in due.iter().filter_map(corrected_number) {
            if !numbering.corrected.contains_key(printed) {
                let found = book.document(printed).await?;
                let found = found.with_context(|| format!("the book does not know invoice {printed}"))?;
                numbering.corrected.insert(printed.to_owned(), found.document.number);
            }
        }
        Ok(numbering)
    }

    /// The document under this number of its series.
    pub(super) fn document(&self, draft: &StoredDocument, number: i64) -> NewDocument {
        let invoice = &draft.invoice;
        let kind = kind_of(draft);
        let prefix = match kind {
            DocumentKind::Invoice => &self.issuer.number_prefix,
            DocumentKind::CreditNote => &self.issuer.credit_note_prefix,
        };
        let line = |line: &rating::line::LineItem| IssuedLine {
            key: line.key.clone(),
            amount: line.amount,
            cause: line.corrects.as_ref().map(|corrects| corrects.cause.name()),
        };
        NewDocument {
            issuer: Book::series(&self.issuer.key, kind),
            number,
            printed_number: format!("{prefix}{number:06}"),
            kind,
            tenant: invoice.tenant.clone(),
            period: invoice.period.name.clone(),
            occasion: invoice.occasion().to_owned(),
            span: invoice.period.span,
            currency: invoice.currency.code().to_owned(),
            total: invoice.total,
            credited: invoice.credited,
            taxed: invoice.taxed,
            due: invoice.due,
            provenance: invoice.provenance.clone(),
            digest: draft.digest.clone(),
            corrects_number: corrected_number(draft).and_then(|printed| self.corrected.get(printed)).copied(),
            run_id: self.run_id.clone(),
            lines: invoice.lines.iter().map(line).collect(),
        }
    }

    /// Takes the next numbers of each series for these drafts.
    async fn number(&self, writing: &Writing, drafts: &[&StoredDocument]) -> Result<Vec<NewDocument>> {
        let mut next = BTreeMap::new();
        for kind in [DocumentKind::Invoice, DocumentKind::CreditNote] {
            let count = drafts.iter().filter(|draft| kind_of(draft) == kind).count();
            if count > 0 {
                let series = Book::series(&self.issuer.key, kind);
                next.insert(kind, writing.next_numbers(&series, count as i64).await?);
            }
        }
        let mut number = |kind: DocumentKind| {
            let next = next.get_mut(&kind).expect("numbers were taken for each kind");
            *next += 1;
            *next - 1
        };
        Ok(drafts.iter().map(|draft| self.document(draft, number(kind_of(draft)))).collect())
    }
}

/// The number of the invoice that a credit note takes back from.
fn corrected_number(draft: &StoredDocument) -> Option<&str> {
    let line = draft.invoice.lines.first().filter(|_| kind_of(draft) == DocumentKind::CreditNote)?;
    line.corrects.as_ref().map(|corrects| corrects.number.as_str())
}

fn kind_of(draft: &StoredDocument) -> DocumentKind {
    match draft.invoice.kind {
        InvoiceKind::OfPeriod | InvoiceKind::Corrections => DocumentKind::Invoice,
        InvoiceKind::CreditNote => DocumentKind::CreditNote,
    }
}

/// Issues a portion, but for the drafts that are out of date.
pub(super) async fn issue(
    run: &RunContext,
    numbering: &Numbering<'_>,
    plans: &StripePlans,
    portion: &[StoredDocument],
    with_papers: bool,
    report: &mut IssueReport,
) -> Result<()> {
    let writing = run.begin().await?;
    let (portion, stale) = fresh::split(&writing, portion).await?;
    report.stale.extend(stale.iter().map(|document| document.invoice.tenant.clone()));
    if portion.is_empty() {
        return Ok(());
    }
    let documents = numbering.number(&writing, &portion).await?;
    writing.record_issued(&documents).await?;
    let mut records = Vec::new();
    for (issued, draft) in documents.iter().zip(&portion) {
        records.extend(plans.records(&issued.printed_number, draft)?);
    }
    writing.put_into_outbox(&records).await?;
    let used = documents.iter().zip(&portion);
    let used = used.flat_map(|(issued, draft)| fresh::used_credits(draft, &issued.issuer, issued.number));
    let used: Vec<_> = used.collect();
    if !used.is_empty() {
        writing.enter_credits(&used).await?;
    }
    let periods = documents.iter().map(|issued| issued.period.as_str()).collect();
    writing.note_unfinished(&periods, with_papers).await?;
    crash_point("before_issue");
    writing.commit().await?;
    crash_point("after_issue");
    report.issued.extend(documents);
    Ok(())
}
