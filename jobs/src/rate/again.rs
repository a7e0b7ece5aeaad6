//! Rating issued periods again: the difference to what was billed of them, for `rate` with what is known now, and for
//! `verify` with what an invoice pins.
//!
//! Does not own which periods are looked at (`corrections`), nor what document bills the difference (`apart`).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ::sql::lake::{Lake, TableSnapshot};
use anyhow::{Context, Result, anyhow};
use rating::catalog::Catalog;
use rating::draft::{DemandOptions, RatedLines};
use rating::invoice::{AdjustedPeriod, Adjustment, Cause, Causes, Invoice, adjustments};
use rating::line::{LineItem, LineKey};
use rating::period::PeriodChoice;

use super::apart::PeriodCorrection;
use super::drafts::chain;
use super::tenants::RatedTenants;
use crate::issue::{StoredDocument, catalogs, documents_with};

/// The tenants of one period, each rated again or with the reason why not.
pub(super) type RatedAgain = BTreeMap<String, Result<RatedLines, String>>;

/// What the corrections of some issued documents are made from, all read once: documents that were billed before, and the
/// periods rated again. All of the documents pin the same version of usage events.
#[derive(Debug, Default)]
pub struct PinnedCorrections {
    /// By digest.
    billed: BTreeMap<String, StoredDocument>,
    /// By period and hash of the catalog.
    rated: BTreeMap<(String, String), (Arc<Catalog>, RatedAgain)>,
}

impl PinnedCorrections {
    pub async fn read(
        lake: &Lake,
        documents: &[StoredDocument],
        snapshot: Option<&Arc<TableSnapshot>>,
        threads: usize,
    ) -> Result<Self> {
        let mut pinned = Self::default();
        let mut digests = BTreeSet::new();
        let mut groups: BTreeMap<(String, String), BTreeSet<String>> = BTreeMap::new();
        for document in documents {
            for adjusted in &document.invoice.inputs.adjusted {
                digests.extend(adjusted.documents.iter().cloned());
                let group = (adjusted.period.clone(), adjusted.catalog_hash.clone());
                groups.entry(group).or_default().insert(document.invoice.tenant.clone());
            }
        }
        for document in documents_with(lake, &digests).await? {
            pinned.billed.insert(document.digest.clone(), document);
        }
        for ((period, hash), names) in groups {
            // Of a catalog that is gone each document says so.
            let Some(catalog) = catalogs::load(lake, &hash).await? else { continue };
            let catalog = Arc::new(catalog);
            let rated = rate_again(lake, &catalog, snapshot, &period, &names, threads).await?;
            pinned.rated.insert((period, hash), (catalog, rated));
        }
        Ok(pinned)
    }

    /// By what an issued document corrects earlier ones. Only the causes are taken from the document: nobody can tell later in
    /// which order things arrived.
    pub fn of(&self, document: &StoredDocument) -> Result<Vec<PeriodCorrection>> {
        let invoice = &document.invoice;
        let cause_of = |key: &LineKey| {
            let own = invoice.lines.iter().find(|line| line.key == *key);
            let corrects = own.and_then(|line| line.corrects.as_ref());
            corrects.map_or_else(|| Cause::LateEvent.into(), |corrects| corrects.cause.clone())
        };
        let mut corrections = Vec::new();
        for adjusted in &invoice.inputs.adjusted {
            let AdjustedPeriod { period, catalog_hash, documents } = adjusted;
            let missing = || format!("a document that billed period {period} before is not in the lake");
            let billed = documents.iter().map(|digest| self.billed.get(digest).with_context(missing));
            let billed: Vec<&StoredDocument> = billed.collect::<Result<_>>()?;
            // Its own invoice billed nothing of it where it had no usage then.
            let own = number_of(period, &billed).or_else(|| number_on(invoice, period));
            let number = own.with_context(missing)?;
            let (catalog, rated) = self
                .rated
                .get(&(period.clone(), catalog_hash.clone()))
                .with_context(|| format!("the catalog {catalog_hash} is not in the lake"))?;
            let rated = match rated.get(&invoice.tenant) {
                Some(Ok(rated)) => &rated.lines,
                Some(Err(why)) => return Err(anyhow!("{why}").context(format!("period {period}"))),
                None => return Err(anyhow!("period {period}: the tenant has no terms any more")),
            };
            let lines = difference(period, &number, &billed, rated, &cause_of).map_err(anyhow::Error::msg)?;
            let catalog = Arc::clone(catalog);
            corrections.push(PeriodCorrection { lines, adjusted: adjusted.clone(), catalog });
        }
        Ok(corrections)
    }
}

/// The number of a period's own invoice, among the documents that billed something of it.
fn number_of(period: &str, billed: &[&StoredDocument]) -> Option<String> {
    let is_own = |document: &&&StoredDocument| {
        document.invoice.kind.is_of_period() && document.invoice.period.name == period
    };
    billed.iter().find(is_own)?.number.clone()
}

/// The number of a period's own invoice, as one that corrects it says.
fn number_on(invoice: &Invoice, period: &str) -> Option<String> {
    let corrects = |line: &&LineItem| line.key.period == period && line.corrects.is_some();
    invoice.lines.iter().find(corrects)?.corrects.as_ref().map(|corrects| corrects.number.clone())
}

/// Rates a period of some tenants again; each by its name, with the reason where it cannot be.
pub async fn rate_again(
    lake: &Lake,
    catalog: &Arc<Catalog>,
    snapshot: Option<&Arc<TableSnapshot>>,
    period: &str,
    names: &BTreeSet<String>,
    threads: usize,
) -> Result<RatedAgain> {
    let choice: PeriodChoice = period.parse()?;
    let tenants = RatedTenants::new(catalog, choice, Some(names))?;
    let found = tenants.usage(lake, catalog, snapshot, DemandOptions::default(), threads).await?;
    let mut rated = BTreeMap::new();
    for failure in found.failed {
        rated.insert(failure.tenant.clone(), Err(chain(&failure.source)));
    }
    for usage in &found.usages {
        let tenant = &usage.demand.tenant;
        let Some(charges) = tenants.charges(tenant) else { continue };
        if charges.period().name != period {
            let now = &charges.period().name;
            let why = format!("the billing cycle changed, it lies in period {now} now: correct it by hand");
            rated.insert(tenant.clone(), Err(why));
            continue;
        }
        let lines = charges.rate_lines(usage, "").map_err(|error| chain(&error));
        rated.insert(tenant.clone(), lines);
    }
    Ok(rated)
}

/// The lines of a document that bill something of a period.
pub fn lines_of<'d>(document: &'d StoredDocument, period: &str) -> Vec<&'d LineItem> {
    document.invoice.lines.iter().filter(|line| line.key.period == period).collect()
}

/// The lines that bill what lies between the documents that billed a period and its lines as they are now.
pub fn difference(
    period: &str,
    number: &str,
    billed: &[&StoredDocument],
    again: &[LineItem],
    cause_of: &dyn Fn(&LineKey) -> Causes,
) -> Result<Vec<LineItem>, String> {
    let old: Vec<LineItem> = billed.iter().flat_map(|document| lines_of(document, period)).cloned().collect();
    let currencies: BTreeSet<_> = old.iter().chain(again).map(|line| line.currency).collect();
    if currencies.len() > 1 {
        return Err("it was billed in another currency: correct it by hand".to_owned());
    }
    let changes = adjustments(&old, again).map_err(|error| chain(&error))?;
    let described = |key: &LineKey| {
        let own = again.iter().chain(old.iter().filter(|line| line.corrects.is_none()));
        // A line that was only ever on an adjustment says so already.
        own.chain(&old).find(|line| line.key == *key).map(|line| {
            let prefix = format!("Correction of {period}: ");
            (line.description.strip_prefix(&prefix).unwrap_or(&line.description).to_owned(), line.currency)
        })
    };
    let line = |change: Adjustment| {
        let (description, currency) = described(&change.key).expect("a change is one of these lines");
        let cause = cause_of(&change.key);
        change.line(&description, currency, number, cause).map_err(|error| chain(&error))
    };
    changes.into_iter().map(line).collect()
}
