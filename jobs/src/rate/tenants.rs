//! Who is rated in a run: the tenants that the catalog names, and those that events name and `other_tenants` covers.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ::sql::lake::{Lake, LakeError, Table, TableSnapshot};
use ::sql::quantities::{Answers, Narrowed, PeriodScan, Question};
use ::sql::rollups::Source;
use anyhow::{Context, Result};
use rating::catalog::{Catalog, Tenant};
use rating::draft::{Charges, DemandOptions};
use rating::period::{PeriodChoice, PeriodError, PeriodFilter};
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
    filter: PeriodFilter,
    /// Whether this run looks after tenants that are charged nothing any more.
    is_newest: bool,
    /// Whether the catalog covers tenants that it does not name, of whom none has a period here.
    leaves_others_out: bool,
}

impl<'c> RatedTenants<'c> {
    /// `only` are the tenants to rate; none for all.
    pub fn new(
        catalog: &'c Catalog,
        choice: PeriodChoice,
        only: Option<&'c BTreeSet<String>>,
    ) -> Result<Self, PeriodError> {
        Self::of_month(catalog, (choice, PeriodFilter::All, true), only)
    }

    /// The tenants of whose periods in a month the filter holds some; the last part says whether it is the newest month.
    pub fn of_month(
        catalog: &'c Catalog,
        (choice, filter, is_newest): (PeriodChoice, PeriodFilter, bool),
        only: Option<&'c BTreeSet<String>>,
    ) -> Result<Self, PeriodError> {
        let charges = |terms: &'c Tenant| -> Result<Option<Charges<'c>>, PeriodError> {
            let (cycle, zone) = (&terms.cycle, &terms.time_zone);
            match choice.period(cycle, zone)? {
                Some(period) if filter.holds(&period, cycle, zone)? => {
                    Ok(Some(Charges::new(catalog, terms, period)))
                }
                _ => Ok(None),
            }
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
        let leaves_others_out = others.is_none() && catalog.other_tenants.is_some();
        Ok(Self { choice, named, without_period, others, only, filter, is_newest, leaves_others_out })
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
        self.is_newest
            && !self.leaves_others_out
            && self.only.is_none_or(|only| only.contains(tenant))
            && !self.without_period.contains(tenant)
    }

    /// Whether all tenants that the catalog does not name are among them, as far as it covers such.
    pub fn has_all_others(&self) -> bool {
        self.only.is_none() && (self.filter == PeriodFilter::All || !self.leaves_others_out)
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
        let mut answers = scan.run_from(lake, source).await.context("cannot read what was used")?;
        if self.filter != PeriodFilter::All {
            answers.usages.retain(|usage| self.charges(&usage.demand.tenant).is_some());
            answers.failed.retain(|failure| self.charges(&failure.tenant).is_some());
        }
        Ok(answers)
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
