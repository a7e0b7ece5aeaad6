//! Why each line of an issued period comes to something else now (DESIGN.md 3.9).
//!
//! Owns telling causes apart, line by line. What may have changed since the period was billed last is known of the tenant:
//! events that came late, voids and amendments, another catalog. If it is one of them, that is the cause. If it is several, the
//! period is rated in steps from what was billed to what holds now: with the late events, then with the voids and amendments,
//! then with the new catalog. Each step that changes a line is a cause of its difference. So a line that comes to another
//! amount by the same events names the catalog, and one that both changed names both, whatever pools, minimums or shared
//! tiers lie between an event and a line.

use std::collections::BTreeSet;
use std::sync::Arc;

use ::sql::lake::{DataFile, Lake, Table, TableSnapshot};
use anyhow::Result;
use rating::catalog::Catalog;
use rating::exact::Exact;
use rating::invoice::{Cause, Causes, Corrects};
use rating::line::LineKey;
use rating::period::Span;

use super::again::{RatedAgain, rate_again};
use super::changes::Changes;
use crate::issue::StoredDocument;

/// How a period of a tenant was billed last, and what may have changed since.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct BilledLast {
    pub period: String,
    /// Of usage events.
    version: i64,
    catalog_hash: String,
    /// In the order of `Cause::ALL`; at least one.
    possible: Vec<Cause>,
}

impl BilledLast {
    /// `billing` are the documents that billed something of the period; `now_hash` is the catalog that holds for it now.
    pub async fn find(
        changes: &mut Changes<'_>,
        (tenant, period, span): (&str, &str, Span),
        now_hash: &str,
        billing: &[&StoredDocument],
    ) -> Result<Self> {
        let newest = billing
            .iter()
            .map(|document| &document.invoice)
            .max_by_key(|invoice| (invoice.provenance.table_version, invoice.period.span.start_us));
        let adjusted = newest
            .and_then(|newest| newest.inputs.adjusted.iter().find(|adjusted| adjusted.period == period));
        let billed_with = adjusted.map(|adjusted| &adjusted.catalog_hash);
        let billed_with = billed_with.or_else(|| newest.map(|newest| &newest.provenance.catalog_hash));
        let version = newest.map_or(-1, |newest| newest.provenance.table_version);
        let since = changes.since(version).await?;
        let is_possible = |cause: &Cause| match cause {
            Cause::LateEvent => since.has_new_rows(tenant, span),
            Cause::AmendedEvent => since.is_amended(tenant),
            Cause::CatalogChange => billed_with.is_some_and(|hash| hash != now_hash),
        };
        let mut possible: Vec<Cause> = Cause::ALL.into_iter().filter(is_possible).collect();
        if possible.is_empty() {
            possible.push(Cause::LateEvent);
        }
        let catalog_hash = billed_with.map_or_else(|| now_hash.to_owned(), String::clone);
        Ok(Self { period: period.to_owned(), version, catalog_hash, possible })
    }

    pub fn possible(&self) -> Causes {
        Causes::of(self.possible.iter().copied()).expect("there is at least one")
    }

    pub fn is_clear(&self) -> bool {
        self.possible.len() == 1
    }

    pub fn catalog_hash(&self) -> &str {
        &self.catalog_hash
    }

    /// Rates the period of these tenants after each step but the last, which ends in what holds now. `then` is the catalog by
    /// which they were billed, `now` the one that holds.
    pub async fn steps(
        &self,
        lake: &Lake,
        (then, now): (&Arc<Catalog>, &Arc<Catalog>),
        snapshot: Option<&Arc<TableSnapshot>>,
        names: &BTreeSet<String>,
        threads: usize,
    ) -> Result<Steps> {
        let catalog = if self.possible.contains(&Cause::CatalogChange) { then } else { now };
        let (last, earlier) = self.possible.split_last().expect("there is at least one");
        let mut after = Vec::new();
        for cause in earlier {
            let without = match (cause, snapshot) {
                (Cause::LateEvent, Some(snapshot)) if self.possible.contains(&Cause::AmendedEvent) => {
                    Some(self.without_later_corrections(lake, snapshot).await?)
                }
                _ => snapshot.cloned(),
            };
            let rated = rate_again(lake, catalog, without.as_ref(), &self.period, names, threads).await?;
            after.push((*cause, rated));
        }
        Ok(Steps { after, last: *last })
    }

    /// The events of now with the voids and amendments of then; these lie in files of their own, which are never rewritten.
    async fn without_later_corrections(
        &self,
        lake: &Lake,
        now: &Arc<TableSnapshot>,
    ) -> Result<Arc<TableSnapshot>> {
        let mut known = BTreeSet::new();
        // Before the first event there was no version.
        if let Ok(version) = u64::try_from(self.version) {
            let then = lake.table(Table::UsageEvents).snapshot(Some(version)).await?;
            known.extend(then.files.into_iter().filter(DataFile::is_correction).map(|file| file.path));
        }
        let mut events = TableSnapshot::clone(now);
        events.files.retain(|file| !file.is_correction() || known.contains(&file.path));
        Ok(Arc::new(events))
    }
}

/// What a period of some tenants comes to after each change but the last.
#[derive(Debug)]
pub(super) struct Steps {
    after: Vec<(Cause, RatedAgain)>,
    last: Cause,
}

impl Steps {
    /// The causes by which a line of a tenant changed. None where that cannot be told, because a step cannot be rated.
    pub fn causes(&self, key: &LineKey, corrects: &Corrects) -> Option<Causes> {
        let mut before = Exact::from(corrects.old);
        let mut causes = Vec::new();
        for (cause, rated) in &self.after {
            let Ok(rated) = rated.get(&key.tenant)? else { return None };
            let own = rated.lines.iter().filter(|line| line.key == *key);
            let after: Exact = own.map(|line| Exact::from(line.amount)).sum();
            if after != before {
                causes.push(*cause);
            }
            before = after;
        }
        if before != Exact::from(corrects.new) {
            causes.push(self.last);
        }
        Causes::of(causes)
    }
}
