//! Corrections of issued invoices: what an earlier period comes to now, less what was billed of it (DESIGN.md 3.9).
//!
//! Owns which earlier periods of a tenant are rated again, and that their difference is billed once. A period is rated
//! again if an event of the tenant arrived since that could count in it (`changes`), if one was voided or amended, or if
//! a catalog was applied since, with a date of its own, that holds for it. What was billed so far is the sum over all issued
//! documents with lines of the period; the invoice names them, and `issue` refuses a draft that does not know all of
//! them. A corrected invoice keeps its catalog, unless the correction is one of the catalog.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ::sql::lake::{Lake, TableSnapshot};
use anyhow::{Context, Result};
use rating::catalog::Catalog;
use rating::draft::{DemandOptions, RatedLines};
use rating::invoice::{AdjustedPeriod, Cause, adjustments};
use rating::line::{LineItem, LineKey};
use rating::period::{Period, PeriodChoice};

use super::changes::Changes;
use super::drafts::chain;
use super::tenants::RatedTenants;
use crate::book::{Book, DocumentKind, IssuedDocument};
use crate::catalog::chosen::deciding_instant_us;
use crate::issue::{StoredDocument, catalogs, documents_with};

/// What is corrected on one tenant's invoice.
#[derive(Debug, Clone, Default)]
pub struct TenantCorrections {
    pub lines: Vec<LineItem>,
    pub adjusted: Vec<AdjustedPeriod>,
    /// Periods that cannot be corrected, with the reason.
    pub problems: Vec<String>,
}

/// An issued period that may have to be corrected.
#[derive(Debug, Clone)]
struct Suspect {
    tenant: String,
    /// The period's name and the number of its invoice.
    period: String,
    start_us: i64,
    number: String,
    cause: Cause,
    catalog_hash: String,
}

/// What a run looks for corrections with.
#[derive(Debug)]
pub struct CorrectionSearch<'s> {
    pub lake: &'s Lake,
    pub book: &'s Book,
    pub snapshot: Option<&'s Arc<TableSnapshot>>,
    /// So many periods before the one that is rated are looked at.
    pub look_back: u32,
    pub threads: usize,
}

impl CorrectionSearch<'_> {
    /// Corrections on the invoices of these tenants, each in its own period.
    pub async fn find(
        &self,
        catalog: &Arc<Catalog>,
        tenants: &RatedTenants<'_>,
        rated: impl Iterator<Item = (&str, &Period)>,
    ) -> Result<BTreeMap<String, TenantCorrections>> {
        let mut windows: BTreeMap<&str, (i64, i64)> = BTreeMap::new();
        for (tenant, period) in rated {
            let Some(charges) = tenants.charges(tenant) else { continue };
            let (cycle, zone) = (&charges.terms().cycle, &charges.terms().time_zone);
            let mut oldest = period.clone();
            for _ in 0..self.look_back {
                let Ok(before) = cycle.period_before(&oldest, zone) else { break };
                oldest = before;
            }
            windows.insert(tenant, (oldest.span.start_us, period.span.start_us));
        }
        let from_us = windows.values().map(|(from_us, _)| *from_us).min().unwrap_or(i64::MAX);
        let documents = self.book.documents_since(from_us).await?;
        let suspects = self.suspects(catalog, &windows, &documents).await?;
        if suspects.is_empty() {
            return Ok(BTreeMap::new());
        }
        self.correct(suspects, &documents).await
    }

    async fn suspects(
        &self,
        catalog: &Catalog,
        windows: &BTreeMap<&str, (i64, i64)>,
        documents: &[IssuedDocument],
    ) -> Result<Vec<Suspect>> {
        let newest_us = windows.values().map(|(_, until_us)| *until_us).max().unwrap_or(i64::MIN);
        let spans = documents.iter().map(|issued| issued.document.span);
        let ends = spans.filter(|span| span.start_us < newest_us).map(|span| span.end_us);
        let until_us = ends.max().unwrap_or(i64::MIN);
        let mut changes = Changes::new(self.lake, self.snapshot.map(Arc::as_ref), catalog, until_us);
        let mut in_force: BTreeMap<String, Option<InForce>> = BTreeMap::new();
        let mut suspects = Vec::new();
        for IssuedDocument { document, issued_at_us } in documents {
            let Some((from_us, until_us)) = windows.get(document.tenant.as_str()) else { continue };
            let is_earlier = (*from_us..*until_us).contains(&document.span.start_us);
            if document.kind != DocumentKind::Invoice || !is_earlier {
                continue;
            }
            if !in_force.contains_key(&document.period) {
                let found = self.in_force(&document.period).await?;
                in_force.insert(document.period.clone(), found);
            }
            let pinned = &document.provenance.catalog_hash;
            let new_catalog = in_force[&document.period]
                .as_ref()
                .filter(|found| found.applied_at_us > *issued_at_us && found.catalog_hash != *pinned);
            let since = changes.since(document.provenance.table_version).await?;
            let cause = match (new_catalog, since) {
                (Some(_), _) => Cause::CatalogChange,
                (None, since) if since.is_amended(&document.tenant) => Cause::AmendedEvent,
                (None, since) if since.may_count(&document.tenant, document.span) => Cause::LateEvent,
                _ => continue,
            };
            suspects.push(Suspect {
                tenant: document.tenant.clone(),
                period: document.period.clone(),
                start_us: document.span.start_us,
                number: document.printed_number.clone(),
                cause,
                catalog_hash: new_catalog.map_or(pinned, |found| &found.catalog_hash).clone(),
            });
        }
        Ok(suspects)
    }

    /// The catalog that was applied for a period. What holds from always on was there before any invoice and changes none.
    async fn in_force(&self, period: &str) -> Result<Option<InForce>> {
        let choice: PeriodChoice = period.parse()?;
        let found = self.book.catalog_version_in_force(deciding_instant_us(choice)).await?;
        Ok(found.filter(|applied| applied.effective_from_us > 0).map(|applied| InForce {
            catalog_hash: applied.catalog_hash,
            applied_at_us: applied.applied_at_us,
        }))
    }

    async fn correct(
        &self,
        suspects: Vec<Suspect>,
        documents: &[IssuedDocument],
    ) -> Result<BTreeMap<String, TenantCorrections>> {
        let stored = self.billing_documents(&suspects, documents).await?;
        let mut groups: BTreeMap<(String, String), Vec<Suspect>> = BTreeMap::new();
        for suspect in suspects {
            groups.entry((suspect.period.clone(), suspect.catalog_hash.clone())).or_default().push(suspect);
        }
        let mut found: BTreeMap<String, TenantCorrections> = BTreeMap::new();
        for ((period, hash), suspects) in groups {
            let names: BTreeSet<String> = suspects.iter().map(|suspect| suspect.tenant.clone()).collect();
            let catalog = Arc::new(self.catalog(&hash).await?);
            let mut again =
                rate_again(self.lake, &catalog, self.snapshot, &period, &names, self.threads).await?;
            for suspect in suspects {
                let own = found.entry(suspect.tenant.clone()).or_default();
                let billed = stored.get(suspect.tenant.as_str()).map_or(&[][..], Vec::as_slice);
                let result = match again.remove(&suspect.tenant) {
                    Some(Ok(rated)) => own.add(&suspect, &rated.lines, billed),
                    Some(Err(why)) => Err(why),
                    None => Err("the tenant is not set up in the catalog any more".to_owned()),
                };
                if let Err(why) = result {
                    let number = &suspect.number;
                    own.problems.push(format!("invoice {number} of {period} is not corrected: {why}"));
                }
            }
        }
        for own in found.values_mut() {
            own.adjusted.sort_by(|left, right| left.period.cmp(&right.period));
        }
        Ok(found)
    }

    /// By tenant: the issued documents that may have billed something of the suspects' periods.
    async fn billing_documents(
        &self,
        suspects: &[Suspect],
        documents: &[IssuedDocument],
    ) -> Result<BTreeMap<String, Vec<StoredDocument>>> {
        let mut from: BTreeMap<&str, i64> = BTreeMap::new();
        for suspect in suspects {
            let start_us = from.entry(&suspect.tenant).or_insert(suspect.start_us);
            *start_us = suspect.start_us.min(*start_us);
        }
        let is_meant = |document: &&IssuedDocument| {
            let own = &document.document;
            from.get(own.tenant.as_str()).is_some_and(|start_us| own.span.start_us >= *start_us)
        };
        let digests: BTreeSet<String> =
            documents.iter().filter(is_meant).map(|document| document.document.digest.clone()).collect();
        let mut by_tenant: BTreeMap<String, Vec<StoredDocument>> = BTreeMap::new();
        for document in documents_with(self.lake, &digests).await? {
            by_tenant.entry(document.invoice.tenant.clone()).or_default().push(document);
        }
        Ok(by_tenant)
    }

    async fn catalog(&self, hash: &str) -> Result<Catalog> {
        if let Some(catalog) = catalogs::load(self.lake, hash).await? {
            return Ok(catalog);
        }
        let content = self.book.catalog_content(hash).await?;
        Ok(Catalog::parse(&content, &format!("catalog {hash}"))?)
    }
}

/// The version of the catalog that holds for a period.
#[derive(Debug)]
struct InForce {
    catalog_hash: String,
    applied_at_us: i64,
}

impl TenantCorrections {
    fn add(
        &mut self,
        suspect: &Suspect,
        again: &[LineItem],
        billed: &[StoredDocument],
    ) -> Result<(), String> {
        let billing: Vec<&StoredDocument> =
            billed.iter().filter(|document| !lines_of(document, &suspect.period).is_empty()).collect();
        let causes = |_: &LineKey| suspect.cause;
        let lines = difference(&suspect.period, &suspect.number, &billing, again, &causes)?;
        if lines.is_empty() {
            return Ok(());
        }
        self.lines.extend(lines);
        let mut documents: Vec<String> = billing.iter().map(|document| document.digest.clone()).collect();
        documents.sort_unstable();
        self.adjusted.push(AdjustedPeriod {
            period: suspect.period.clone(),
            catalog_hash: suspect.catalog_hash.clone(),
            documents,
        });
        Ok(())
    }
}

/// The lines by which an issued invoice corrects earlier ones, made again from what it pins. Only the cause is taken from the
/// invoice: nobody can tell later in which order things arrived.
pub async fn again(
    lake: &Lake,
    issued: &StoredDocument,
    snapshot: Option<&Arc<TableSnapshot>>,
    threads: usize,
) -> Result<TenantCorrections> {
    let invoice = &issued.invoice;
    let names = BTreeSet::from([invoice.tenant.clone()]);
    let mut made = TenantCorrections { adjusted: invoice.inputs.adjusted.clone(), ..Default::default() };
    for AdjustedPeriod { period, catalog_hash, documents } in &invoice.inputs.adjusted {
        let catalog = catalogs::load(lake, catalog_hash).await?;
        let catalog = catalog.with_context(|| format!("the catalog {catalog_hash} is not in the lake"))?;
        let billed = documents_with(lake, &documents.iter().cloned().collect()).await?;
        let missing = || format!("a document that billed period {period} before is not in the lake");
        anyhow::ensure!(billed.len() == documents.len(), missing());
        let original = billed.iter().find(|document| document.invoice.period.name == *period);
        let number = original.and_then(|document| document.number.clone()).with_context(missing)?;
        let mut rated = rate_again(lake, &Arc::new(catalog), snapshot, period, &names, threads).await?;
        let rated =
            rated.remove(&invoice.tenant).unwrap_or_else(|| Err("it has no terms any more".to_owned()));
        let rated = rated.map_err(anyhow::Error::msg).with_context(|| format!("period {period}"))?;
        let cause_of = |key: &LineKey| {
            let own = invoice.lines.iter().find(|line| line.key == *key);
            own.and_then(|line| line.corrects.as_ref()).map_or(Cause::LateEvent, |corrects| corrects.cause)
        };
        let billed: Vec<&StoredDocument> = billed.iter().collect();
        let lines = difference(period, &number, &billed, &rated.lines, &cause_of);
        made.lines.extend(lines.map_err(anyhow::Error::msg)?);
    }
    Ok(made)
}

/// Rates a period of some tenants again; each by its name, with the reason where it cannot be.
pub async fn rate_again(
    lake: &Lake,
    catalog: &Arc<Catalog>,
    snapshot: Option<&Arc<TableSnapshot>>,
    period: &str,
    names: &BTreeSet<String>,
    threads: usize,
) -> Result<BTreeMap<String, Result<RatedLines, String>>> {
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
        let lines = charges.rate_lines(usage, "").map_err(|error| chain(&error));
        rated.insert(tenant.clone(), lines);
    }
    Ok(rated)
}

/// The lines of a document that bill something of a period.
fn lines_of<'d>(document: &'d StoredDocument, period: &str) -> Vec<&'d LineItem> {
    document.invoice.lines.iter().filter(|line| line.key.period == period).collect()
}

fn difference(
    period: &str,
    number: &str,
    billed: &[&StoredDocument],
    again: &[LineItem],
    cause_of: &dyn Fn(&LineKey) -> Cause,
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
    let line = |change: rating::invoice::Adjustment| {
        let (description, currency) = described(&change.key).expect("a change is one of these lines");
        let cause = cause_of(&change.key);
        change.line(&description, currency, number, cause).map_err(|error| chain(&error))
    };
    changes.into_iter().map(line).collect()
}
