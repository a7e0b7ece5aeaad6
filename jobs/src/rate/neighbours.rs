//! Issued periods that do not lie edge to edge with the one that is rated, because the tenant's billing cycle or time zone
//! changed since (DESIGN.md 3.4, 3.9).
//!
//! Owns that no instant of a tenant is billed by two periods, and that one between two periods is told. Does not own what
//! mends it: the `from` of the tenant's `billing` in the catalog, by which a period bills only what is left of it.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;
use jiff::Timestamp;
use rating::line::LineItem;
use rating::period::{Period, PeriodChoice, Span};

use super::drafts::{Problem, ProblemKind};
use super::tenants::RatedTenants;
use super::unbilled::close_command;
use crate::book::{Book, DocumentKind, IssuedDocument, NewDocument};

/// What was billed of tenants in other periods that share some time with theirs.
#[derive(Debug, Clone, Default)]
pub struct Overlaps {
    by_tenant: BTreeMap<String, Vec<Billed>>,
}

#[derive(Debug, Clone)]
struct Billed {
    number: String,
    span: Span,
    /// Of its lines: a period may be billed in part.
    lines: BTreeSet<Span>,
}

impl Overlaps {
    /// For these tenants and periods.
    pub async fn of(book: &Book, meant: impl Iterator<Item = (&str, &Period)>) -> Result<Self> {
        Self::of_named(book, meant.map(|(tenant, period)| (tenant, period.name.as_str(), period.span))).await
    }

    /// The same for periods of which only the name and the span are known.
    pub async fn of_named(book: &Book, meant: impl Iterator<Item = (&str, &str, Span)>) -> Result<Self> {
        let mut periods: BTreeMap<&str, Vec<(&str, Span)>> = BTreeMap::new();
        for (tenant, name, span) in meant {
            periods.entry(tenant).or_default().push((name, span));
        }
        let spans = || periods.values().flatten().map(|(_, span)| span);
        let start_us = spans().map(|span| span.start_us).min();
        let end_us = spans().map(|span| span.end_us).max();
        let Some((start_us, end_us)) = start_us.zip(end_us) else { return Ok(Self::default()) };
        let mut by_tenant: BTreeMap<String, Vec<Billed>> = BTreeMap::new();
        for billed in book.periods_billed(Span { start_us, end_us }).await? {
            let own = periods.get(billed.tenant.as_str()).into_iter().flatten();
            let mut others = own.filter(|(name, _)| *name != billed.period);
            if !others.any(|(_, span)| span.intersection(&billed.span).is_some()) {
                continue;
            }
            let lines = book.lines_issued(&billed.tenant, &billed.period).await?;
            let lines = lines.into_iter().map(|line| line.key.span).collect();
            let (number, span) = (billed.printed_number, billed.span);
            by_tenant.entry(billed.tenant).or_default().push(Billed { number, span, lines });
        }
        Ok(Self { by_tenant })
    }

    /// Why these lines of a period must not be billed; nothing where they share no time with what was.
    pub fn of_lines<'l>(
        &self,
        tenant: &str,
        lines: impl IntoIterator<Item = &'l LineItem>,
    ) -> Option<String> {
        let lines = lines.into_iter().filter(|line| line.corrects.is_none());
        let own: Vec<Span> = lines.map(|line| line.key.span).collect();
        let is_shared = |billed: &&Billed| {
            own.iter().any(|own| billed.lines.iter().any(|line| line.intersection(own).is_some()))
        };
        let billed = self.by_tenant.get(tenant)?.iter().find(is_shared)?;
        let (start, end) = (shown(billed.span.start_us), shown(billed.span.end_us));
        Some(format!(
            "invoice {} has billed a part of it, from {start} until {end}: the billing cycle or the time zone changed since. \
             Write `from: {end}` into the tenant's `billing` in the catalog, and only what is left is billed",
            billed.number
        ))
    }
}

/// Stretches between an issued period and the next one of the tenant that lie on no invoice, because a cycle that changed
/// has no boundary where the issued period ends.
pub fn gaps<'r>(
    documents: &[IssuedDocument],
    tenants: &RatedTenants<'_>,
    rated: impl Iterator<Item = (&'r str, &'r Period)>,
) -> Vec<Problem> {
    let mut billed: BTreeMap<&str, Vec<&NewDocument>> = BTreeMap::new();
    for IssuedDocument { document, .. } in documents {
        if document.kind == DocumentKind::Invoice && document.occasion.is_empty() {
            billed.entry(&document.tenant).or_default().push(document);
        }
    }
    let mut problems = Vec::new();
    for (tenant, period) in rated {
        let Some(own) = billed.get(tenant) else { continue };
        problems.extend(own.iter().filter_map(|before| {
            let text = gap_after(before, own, tenants, tenant, period)?;
            let (tenant, period) = (tenant.to_owned(), before.period.clone());
            Some(Problem { tenant, period, kind: ProblemKind::Unbilled, text })
        }));
    }
    problems
}

/// `rated` is the period that this run rates, `own` are all of the tenant.
fn gap_after(
    before: &NewDocument,
    own: &[&NewDocument],
    tenants: &RatedTenants<'_>,
    tenant: &str,
    rated: &Period,
) -> Option<String> {
    let terms = tenants.charges(tenant)?.terms();
    let end_us = before.span.end_us;
    let rated_from_us = terms.billed_part(rated.span)?.start_us;
    let is_billed = own.iter().any(|other| other.span.contains(end_us));
    if is_billed || end_us >= rated_from_us {
        return None;
    }
    let between = terms.cycle.period_containing(end_us, &terms.time_zone).ok()?;
    let is_edge = between.span.start_us == end_us && between.name != rated.name;
    let next_us = own.iter().map(|other| other.span.start_us).filter(|start_us| *start_us > end_us).min();
    let until_us = between.span.end_us.min(rated_from_us).min(next_us.unwrap_or(i64::MAX));
    let gap = Span { start_us: end_us, end_us: until_us };
    let has_terms = terms.subscriptions.iter().any(|own| own.span.intersection(&gap).is_some());
    // From edge to edge it is a period of its own, which `unbilled` looks after.
    if is_edge || !has_terms {
        return None;
    }
    let (from, until) = (shown(end_us), shown(until_us));
    let day = between.name.parse().ok()?;
    let is_cut = terms.billed_part(between.span).is_some_and(|part| part.start_us == end_us);
    let what_to_do = if own.iter().any(|other| other.period == between.name) || between.name == rated.name {
        "bill it by hand".to_owned()
    } else if is_cut {
        close_command(PeriodChoice::Day(day), tenant)
    } else {
        let close = close_command(PeriodChoice::Day(day), tenant);
        format!("write `from: {from}` into the tenant's `billing` in the catalog, then {close}")
    };
    Some(format!(
        "from {from} until {until} the tenant is on no invoice, since the billing cycle or the time zone changed after \
         invoice {}: {what_to_do}",
        before.printed_number
    ))
}

fn shown(at_us: i64) -> String {
    Timestamp::from_microsecond(at_us).map_or_else(|_| "ever".to_owned(), |at| at.to_string())
}
