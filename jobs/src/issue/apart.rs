//! No instant of a tenant is billed by two periods: a draft that another period's invoice overlaps stays a draft.
//!
//! `rate` refuses such periods already; this is for drafts that were made before the other one was issued.

use anyhow::Result;
use rating::line::LineItem;

use super::{HeldBack, IssueReport, StoredDocument};
use crate::book::Book;
use crate::rate::neighbours::Overlaps;

/// `due` stand in the order of their tenants and periods.
pub(super) async fn apart_in_time(
    book: &Book,
    due: Vec<StoredDocument>,
    report: &mut IssueReport,
) -> Result<Vec<StoredDocument>> {
    let periods = due.iter().map(|document| (document.invoice.tenant.as_str(), &document.invoice.period));
    let overlaps = Overlaps::of(book, periods).await?;
    let mut kept: Vec<StoredDocument> = Vec::with_capacity(due.len());
    for document in due {
        let invoice = &document.invoice;
        let why = overlaps.of_lines(&invoice.tenant, &invoice.lines).or_else(|| {
            let before = kept.iter().rev().take_while(|before| before.invoice.tenant == invoice.tenant);
            let crossing = before.into_iter().find(|before| crosses(before, &document))?;
            let period = &crossing.invoice.period.name;
            Some(format!("the draft of period {period} bills a part of the same time: rate both again"))
        });
        let Some(why) = why else {
            kept.push(document);
            continue;
        };
        let (tenant, period) = (invoice.tenant.clone(), invoice.period.name.clone());
        report.held_back.push(HeldBack { tenant, period, why });
    }
    Ok(kept)
}

/// Whether two drafts of different periods bill some time both.
fn crosses(one: &StoredDocument, other: &StoredDocument) -> bool {
    let own = |line: &&LineItem| line.corrects.is_none();
    one.invoice.period.name != other.invoice.period.name
        && one.invoice.lines.iter().filter(own).any(|line| {
            let mut others = other.invoice.lines.iter().filter(own);
            others.any(|other| other.key.span.intersection(&line.key.span).is_some())
        })
}
