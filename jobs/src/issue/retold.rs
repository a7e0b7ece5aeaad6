//! Which usage that Stripe was told a document's corrections can still take back there.
//!
//! Owns asking the outbox, and rating the corrected periods again for their new quantities: a correction line itself has
//! only amounts. That is rare, since Stripe takes nothing back after a day. Does not own what is told then
//! (`stripe::plan`).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ::sql::lake::Lake;
use anyhow::{Context, Result};
use rating::catalog::Catalog;
use rating::line::{LineItem, LineKey};

use super::{StoredDocument, catalogs};
use crate::book::{Book, BookOutbox};
use crate::rate::again::rate_again;
use crate::rate::tenants::{threads, usage_snapshot};
use crate::stripe::plan::{Retold, can_cancel, cancel_key, sending, told_key};
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
    let mut told = BTreeMap::new();
    let mut periods = BTreeSet::new();
    for line in invoice.lines.iter().filter(|line| line.corrects.is_some()) {
        let Ok(Some(sending)) = sending(line, catalog, terms) else { continue };
        let Some(key) = told_key(line, &sending, customer) else { continue };
        let Some(record) = outbox.find(&key).await? else { continue };
        if is_meant(&outbox, &record, document, until).await? {
            periods.insert(line.key.period.as_str());
            told.insert(key, record);
        }
    }
    if told.is_empty() {
        return Ok(None);
    }
    let now = lines_now(lake, document, &periods).await?;
    Ok(Some(Retold { told, now }))
}

async fn is_meant(
    outbox: &BookOutbox,
    record: &StripeRecord,
    document: &StoredDocument,
    until: ToldUntil,
) -> Result<bool> {
    let cancelled =
        async |number: &str| anyhow::Ok(outbox.find(&cancel_key(&record.key, number)).await?.is_some());
    match (until, &document.number) {
        (ToldUntil::Issued, Some(number)) => cancelled(number).await,
        (ToldUntil::Issued, None) => Ok(false),
        (ToldUntil::Now(now_us), _) => {
            let group = outbox.group(&record.group).await?;
            let is_taken_back =
                group.iter().any(|other| other.content.refers_to.as_ref() == Some(&record.key));
            Ok(can_cancel(record, now_us) && !is_taken_back)
        }
    }
}

/// The lines of corrected periods as they are by what the document pins.
async fn lines_now(
    lake: &Lake,
    document: &StoredDocument,
    periods: &BTreeSet<&str>,
) -> Result<BTreeMap<LineKey, LineItem>> {
    let invoice = &document.invoice;
    let snapshot = match u64::try_from(invoice.provenance.table_version) {
        Ok(version) => usage_snapshot(lake, Some(version)).await?,
        Err(_) => None,
    };
    let names = BTreeSet::from([invoice.tenant.clone()]);
    let mut now = BTreeMap::new();
    for adjusted in invoice.inputs.adjusted.iter().filter(|own| periods.contains(own.period.as_str())) {
        let hash = &adjusted.catalog_hash;
        let catalog = catalogs::load(lake, hash).await?;
        let catalog = Arc::new(catalog.with_context(|| format!("the catalog {hash} is not in the lake"))?);
        let period = &adjusted.period;
        let mut again = rate_again(lake, &catalog, snapshot.as_ref(), period, &names, threads()).await?;
        let rated = again.remove(&invoice.tenant).context("the tenant has no terms any more")?;
        let lines = rated.map_err(anyhow::Error::msg)?.lines;
        now.extend(lines.into_iter().map(|line| (line.key.clone(), line)));
    }
    Ok(now)
}
