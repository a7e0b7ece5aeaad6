//! Which usage that Stripe was told a document's corrections can still take back there.
//!
//! Owns asking the outbox, and rating the corrected periods again for their new quantities: a correction line itself has
//! only amounts. That is rare, since Stripe takes nothing back after a day. Does not own what is told then
//! (`stripe::plan`).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ::sql::lake::{Lake, Table};
use anyhow::{Context, Result};
use rating::catalog::{Catalog, StripeGranularity, StripeSending};
use rating::line::LineKey;
use rating::period::PeriodChoice;

use super::outbox::usage_of;
use super::{StoredDocument, catalogs};
use crate::book::{Book, BookOutbox};
use crate::rate::again::rate_again;
use crate::rate::tenants::{threads, usage_snapshot};
use crate::stripe::plan::{
    Retold, UsageBySpan as _, UsageInParts, can_cancel, cancel_key, demand_of_lines, instead_key, second_of,
    sending, told_keys,
};
use crate::stripe::{Outbox as _, StripeRecord};

/// What counts as still to be taken back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ToldUntil {
    /// What Stripe would cancel at this instant: the document is about to be issued.
    Now(i64),
    /// What the outbox says was cancelled: the document was issued.
    Issued,
}

pub(super) async fn find(
    lake: &Lake,
    book: &Book,
    document: &StoredDocument,
    catalog: &Catalog,
    until: ToldUntil,
) -> Result<Option<Retold>> {
    let invoice = &document.invoice;
    let terms = catalog.tenant_terms(&invoice.tenant);
    let Some((terms, customer)) = terms.and_then(|terms| Some((terms, terms.stripe.as_ref()?))) else {
        return Ok(None);
    };
    let outbox = BookOutbox::new(book);
    let mut retold = Retold::default();
    let mut lines: BTreeMap<&str, Vec<(&LineKey, StripeGranularity)>> = BTreeMap::new();
    for line in invoice.lines.iter().filter(|line| line.corrects.is_some()) {
        let Ok(Some(sending)) = sending(line, catalog, terms) else { continue };
        let keys = told_keys(line, &sending, customer, &terms.time_zone);
        let StripeSending::MeterEvents { usage, .. } = &sending else { continue };
        if told(&outbox, &keys, document, until, &mut retold).await? {
            lines.entry(&line.key.period).or_default().push((&line.key, usage.granularity));
        }
    }
    if lines.is_empty() {
        return Ok(None);
    }
    lines_now(lake, document, &lines, &mut retold).await?;
    Ok(Some(retold))
}

/// Adds what Stripe was told under these keys; whether any of it can be taken back, or anything was told anew.
async fn told(
    outbox: &BookOutbox,
    keys: &[String],
    document: &StoredDocument,
    until: ToldUntil,
    retold: &mut Retold,
) -> Result<bool> {
    // All of a line was told in one go, so the last of it tells whether it is worth reading the rest.
    let mut last = None;
    for key in keys.iter().rev() {
        last = outbox.find(key).await?;
        if last.is_some() {
            break;
        }
    }
    let Some(last) = last else { return Ok(false) };
    if matches!(until, ToldUntil::Now(now_us) if !can_cancel(&last, now_us)) {
        return Ok(false);
    }
    let group = outbox.group(&last.group).await?;
    let by_key: BTreeMap<&str, &StripeRecord> =
        group.iter().map(|record| (record.key.as_str(), record)).collect();
    let mut is_any = false;
    for key in keys {
        if let Some(record) = by_key.get(key.as_str()) {
            if is_cancellable(record, &by_key, document, until) {
                retold.cancellable.insert(key.clone());
                is_any = true;
            }
            retold.told.insert(key.clone(), (*record).clone());
        } else if let (ToldUntil::Issued, Some(number)) = (until, &document.number) {
            let key = instead_key(key, number);
            if let Some(record) = by_key.get(key.as_str()) {
                retold.added.insert(key, second_of(record));
                is_any = true;
            }
        }
    }
    let seconds = group.iter().filter_map(|record| Some(record.content.usage.as_ref()?.at_s));
    retold.taken.entry(last.group.clone()).or_default().extend(seconds);
    Ok(is_any)
}

fn is_cancellable(
    record: &StripeRecord,
    group: &BTreeMap<&str, &StripeRecord>,
    document: &StoredDocument,
    until: ToldUntil,
) -> bool {
    match (until, &document.number) {
        (ToldUntil::Issued, Some(number)) => group.contains_key(cancel_key(&record.key, number).as_str()),
        (ToldUntil::Issued, None) => false,
        (ToldUntil::Now(now_us), _) => {
            let mut others = group.values();
            let is_taken_back = others.any(|other| other.content.refers_to.as_ref() == Some(&record.key));
            can_cancel(record, now_us) && !is_taken_back
        }
    }
}

/// The corrected lines as they are by what the document pins, and how their quantities came about.
async fn lines_now(
    lake: &Lake,
    document: &StoredDocument,
    meant: &BTreeMap<&str, Vec<(&LineKey, StripeGranularity)>>,
    retold: &mut Retold,
) -> Result<()> {
    let invoice = &document.invoice;
    let snapshot = match u64::try_from(invoice.provenance.table_version) {
        Ok(version) => usage_snapshot(lake, Some(version)).await?,
        Err(_) => None,
    };
    let names = BTreeSet::from([invoice.tenant.clone()]);
    for adjusted in &invoice.inputs.adjusted {
        let Some(meant) = meant.get(adjusted.period.as_str()) else { continue };
        let hash = &adjusted.catalog_hash;
        let catalog = catalogs::load(lake, hash).await?;
        let catalog = Arc::new(catalog.with_context(|| format!("the catalog {hash} is not in the lake"))?);
        let period = &adjusted.period;
        let mut again = rate_again(lake, &catalog, snapshot.as_ref(), period, &names, threads()).await?;
        let rated = again.remove(&invoice.tenant).context("the tenant has no terms any more")?;
        let mut lines = rated.map_err(anyhow::Error::msg)?.lines;
        lines.retain(|line| meant.iter().any(|(key, _)| **key == line.key));
        let terms = catalog.tenant_terms(&invoice.tenant).context("the tenant has no terms any more")?;
        let choice: PeriodChoice = period.parse()?;
        let period = choice.period(&terms.cycle, &terms.time_zone)?;
        let demand = period.and_then(|period| demand_of_lines(&invoice.tenant, &period, &lines, &catalog));
        if let (Some(demand), Some(snapshot)) = (demand, &snapshot) {
            let table = lake.table(Table::UsageEvents);
            let usages = usage_of(table, Arc::clone(snapshot), &catalog, vec![demand]).await?;
            for usage in &usages {
                let usage = UsageInParts { catalog: &catalog, usage };
                let found = lines.iter().filter_map(|line| {
                    let (_, granularity) = meant.iter().find(|(key, _)| **key == line.key)?;
                    Some((line.key.clone(), usage.by_span(line, *granularity)?))
                });
                retold.parts.extend(found);
            }
        }
        retold.now.extend(lines.into_iter().map(|line| (line.key.clone(), line)));
    }
    Ok(())
}
