//! Who is rated in a run: the tenants that the catalog names, and those that events name and `other_tenants` covers.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ::sql::lake::{Lake, LakeError, Table, TableSnapshot};
use ::sql::quantities::{Answers, Narrowed, PeriodScan, Question};
use ::sql::rollups::Source;
use anyhow::{Context, Result};
use rating::catalog::{Catalog, Tenant};
use rating::draft::{Charges, DemandOptions};
use rating::period::{PeriodChoice, PeriodError};
use rating::usage::Usage;

pub use crate::threads::threads;

/// What each tenant of a run is charged for, in its own period.
#[derive(Debug)]
pub struct RatedTenants<'c> {
    choice: PeriodChoice,
    named: BTreeMap<&'c str, Charges<'c>>,
    /// Tenants of the catalog of which no period starts then.
    without_period: BTreeSet<&'c str>,
    others: Option<Charges<'c>>,
    only: Option<&'c BTreeSet<String>>,
}

impl<'c> RatedTenants<'c> {
    /// `only` are the tenants to rate; none for all.
    pub fn new(
        catalog: &'c Catalog,
        choice: PeriodChoice,
        only: Option<&'c BTreeSet<String>>,
    ) -> Result<Self, PeriodError> {
        let charges = |terms: &'c Tenant| -> Result<Option<Charges<'c>>, PeriodError> {
            let period = choice.period(&terms.cycle, &terms.time_zone)?;
            Ok(period.map(|period| Charges::new(catalog, terms, period)))
        };
        let (mut named, mut without_period) = (BTreeMap::new(), BTreeSet::new());
        let is_asked = |terms: &&Tenant| only.is_none_or(|only| only.contains(&terms.key));
        for terms in catalog.tenants.iter().filter(is_asked) {
            match charges(terms)? {
                Some(charges) => drop(named.insert(terms.key.as_str(), charges)),
                None => drop(without_period.insert(terms.key.as_str())),
            }
        }
        let others = catalog.other_tenants.as_ref().map(charges).transpose()?.flatten();
        Ok(Self { choice, named, without_period, others, only })
    }

    /// What a tenant is charged for; nothing if it is not set up, or no period of its own starts then.
    pub fn charges(&self, tenant: &str) -> Option<&Charges<'c>> {
        match self.named.get(tenant) {
            Some(charges) => Some(charges),
            None if self.without_period.contains(tenant) => None,
            None => self.others.as_ref(),
        }
    }

    /// Whether a tenant that nothing is asked of may still have corrections: it is in this run, and no later one is due to
    /// carry them because its period starts in another month.
    pub fn may_have_left(&self, tenant: &str) -> bool {
        self.only.is_none_or(|only| only.contains(tenant)) && !self.without_period.contains(tenant)
    }

    /// Whether both ask the same of the same tenants.
    pub fn asks_like(&self, other: &RatedTenants<'_>, options: DemandOptions) -> bool {
        self.named.keys().eq(other.named.keys())
            && self.without_period == other.without_period
            && self.others.is_some() == other.others.is_some()
            && self
                .all_charges()
                .zip(other.all_charges())
                .all(|(own, other)| own.demand("", options) == other.demand("", options))
    }

    /// Every period that somebody has in this run.
    pub fn all_charges(&self) -> impl Iterator<Item = &Charges<'c>> {
        self.named.values().chain(&self.others)
    }

    /// Asks the events of the lake what all of them used.
    pub async fn usage(
        &self,
        lake: &Lake,
        catalog: &Arc<Catalog>,
        snapshot: Option<&Arc<TableSnapshot>>,
        options: DemandOptions,
        threads: usize,
    ) -> Result<Answers> {
        self.usage_from(Source::Events, lake, catalog, snapshot, options, threads).await
    }

    /// The same from roll-ups, as far as the source says so.
    pub async fn usage_from(
        &self,
        source: Source,
        lake: &Lake,
        catalog: &Arc<Catalog>,
        snapshot: Option<&Arc<TableSnapshot>>,
        options: DemandOptions,
        threads: usize,
    ) -> Result<Answers> {
        let Some(snapshot) = snapshot else { return Ok(self.unused(options)) };
        let scan = PeriodScan {
            table: lake.table(Table::UsageEvents),
            snapshot: Arc::clone(snapshot),
            catalog: Arc::clone(catalog),
            period: self.choice,
            question: Question::Prices(options),
            tenants: self.only.cloned(),
            narrowed: Narrowed::default(),
            threads,
        };
        scan.run_from(lake, source).await.context("cannot read what was used")
    }

    /// Before the first event: the tenants of the catalog have their fees all the same.
    fn unused(&self, options: DemandOptions) -> Answers {
        let usages =
            self.named.iter().map(|(tenant, charges)| Usage::unused(charges.demand(tenant, options)));
        Answers { usages: usages.collect(), ..Answers::default() }
    }
}

/// The usage events at a version, or at the newest; nothing where there are none yet.
pub async fn usage_snapshot(lake: &Lake, version: Option<u64>) -> Result<Option<Arc<TableSnapshot>>> {
    match lake.table(Table::UsageEvents).snapshot(version).await {
        Ok(snapshot) => Ok(Some(Arc::new(snapshot))),
        Err(LakeError::Missing(_)) if version.is_none() => Ok(None),
        Err(error) => Err(error.into()),
    }
}
