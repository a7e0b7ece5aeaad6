//! The usage of all tenants in the period that each of them has.
//!
//! Owns: which tenants and spans a period means, and that a tenant of the catalog has an answer even without any event.
//! Does not own: what a price asks (`rating::draft`).

use std::collections::BTreeSet;
use std::sync::Arc;

use rating::catalog::{Catalog, Tenant};
use rating::draft::{Charges, DemandOptions};
use rating::period::{Period, PeriodChoice, PeriodError};
use rating::quota;
use rating::usage::{Demand, Usage, View, Wanted};

use super::charges::{self, ChargeKinds};
use super::shares::TenantShare;
use super::so_far;
use super::{Answers, Asked, HELD_BYTES_MAX, QuantitiesError, READ_BYTES_MAX, UsageScan};
use crate::lake::{Lake, TableHandle, TableSnapshot};
use crate::rollups::{RollUps, Source};
use crate::tenant_terms::TenantTerms;

/// What is asked about a period.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Question {
    /// What the prices need.
    Prices(DemandOptions),
    /// What these rows of charges are made from.
    Charges(ChargeKinds),
    /// What prices and costs need, and every meter by all of its dimensions and measures.
    Everything,
    /// What the quotas need that hold at this instant, or at the end of a period that is over.
    Quotas { now_us: i64 },
}

/// A pass over one period.
#[derive(Debug, Clone)]
pub struct PeriodScan {
    pub table: TableHandle,
    pub snapshot: Arc<TableSnapshot>,
    pub catalog: Arc<Catalog>,
    pub period: PeriodChoice,
    pub question: Question,
    /// Only these tenants; none for all.
    pub tenants: Option<BTreeSet<String>>,
    pub narrowed: Narrowed,
    pub threads: usize,
}

/// What of a period is left out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Narrowed {
    /// All periods but those that start on the day that is named. Else a day means the period that it lies in.
    pub starts_then: bool,
    /// Of sessions, all that lies after this instant: one that still runs has not been used beyond it.
    pub sessions_until_us: Option<i64>,
}

impl PeriodScan {
    pub async fn run(&self) -> Result<Answers, QuantitiesError> {
        self.complete(self.usage_scan()?.run().await?)
    }

    /// The same from the lake's roll-ups, as far as the source says so.
    pub async fn run_from(&self, lake: &Lake, source: Source) -> Result<Answers, QuantitiesError> {
        let roll_ups = if source == Source::Events { None } else { RollUps::open(lake).await? };
        let found = RollUps::answer(roll_ups.as_ref(), &self.usage_scan()?, source).await?;
        self.complete(found.answers)
    }

    pub fn usage_scan(&self) -> Result<UsageScan, QuantitiesError> {
        let terms = self.catalog.tenants.iter().chain(&self.catalog.other_tenants);
        let ends = terms.map(|terms| Ok(self.period_of(terms)?.map(|period| period.span.end_us)));
        let ends: Vec<Option<i64>> = ends.collect::<Result<_, PeriodError>>()?;
        // All tenants that the catalog does not name have the same demand but for their name.
        let others = match &self.catalog.other_tenants {
            Some(terms) => self.demand(terms, "")?,
            None => None,
        };
        let scan = self.clone();
        let all_terms = TenantTerms::new(&self.catalog);
        let demand_of = move |tenant: &str| {
            let demand = match all_terms.named(tenant) {
                // The calendar was tried above.
                Some(terms) => scan.demand(terms, tenant).ok().flatten(),
                None if scan.catalog.other_tenants.is_none() => return Asked::NotSetUp,
                None => others.clone().map(|demand| Demand { tenant: tenant.to_owned(), ..demand }),
            };
            demand.map_or(Asked::Nothing, Asked::Demand)
        };
        Ok(UsageScan {
            table: self.table.clone(),
            snapshot: Arc::clone(&self.snapshot),
            catalog: Arc::clone(&self.catalog),
            demand_of: Arc::new(demand_of),
            tenants: self.tenants.clone(),
            share: TenantShare::default(),
            until_us: ends.into_iter().flatten().max().unwrap_or(i64::MIN),
            threads: self.threads,
            memory: None,
            held_bytes_max: HELD_BYTES_MAX,
            read_bytes_max: READ_BYTES_MAX,
        })
    }

    fn period_of(&self, terms: &Tenant) -> Result<Option<Period>, PeriodError> {
        let period = self.period.period(&terms.cycle, &terms.time_zone)?;
        Ok(period.filter(|period| !self.narrowed.starts_then || period.name == self.period.to_string()))
    }

    /// What is asked of the lake; nothing for a tenant that has no such period.
    fn demand(&self, terms: &Tenant, tenant: &str) -> Result<Option<Demand>, PeriodError> {
        let whole = self.whole_demand(terms, tenant)?;
        Ok(whole.map(|demand| match self.narrowed.sessions_until_us {
            Some(until_us) => so_far::narrow(&self.catalog, demand, until_us),
            None => demand,
        }))
    }

    fn whole_demand(&self, terms: &Tenant, tenant: &str) -> Result<Option<Demand>, PeriodError> {
        let Some(period) = self.period_of(terms)? else { return Ok(None) };
        Ok(Some(demand_of_terms(&self.catalog, terms, period, tenant, self.question)))
    }

    /// Adds the tenants without any event.
    pub fn complete(&self, answers: Answers) -> Result<Answers, QuantitiesError> {
        self.complete_share(answers, &TenantShare::default())
    }

    /// Adds those of a share.
    pub(super) fn complete_share(
        &self,
        mut answers: Answers,
        share: &TenantShare,
    ) -> Result<Answers, QuantitiesError> {
        let usages = answers.usages.iter().map(|usage| &usage.demand.tenant);
        let known: BTreeSet<String> =
            usages.chain(answers.failed.iter().map(|failure| &failure.tenant)).cloned().collect();
        let is_asked =
            |key: &str| share.holds(key) && self.tenants.as_ref().is_none_or(|tenants| tenants.contains(key));
        for terms in self.catalog.tenants.iter().filter(|terms| is_asked(&terms.key)) {
            if !known.contains(&terms.key)
                && let Some(demand) = self.demand(terms, &terms.key)?
            {
                answers.usages.push(Usage::unused(demand));
            }
        }
        if let Some(until_us) = self.narrowed.sessions_until_us {
            let terms = TenantTerms::new(&self.catalog);
            for usage in &mut answers.usages {
                let tenant = &usage.demand.tenant;
                let whole = terms.of(tenant).map(|terms| self.whole_demand(terms, tenant)).transpose()?;
                if let Some(whole) = whole.flatten() {
                    *usage = so_far::widen(&self.catalog, usage, whole, until_us);
                }
            }
        }
        answers.sort();
        Ok(answers)
    }
}

/// What is asked about one period of a tenant.
pub(crate) fn demand_of_terms(
    catalog: &Catalog,
    terms: &Tenant,
    period: Period,
    tenant: &str,
    question: Question,
) -> Demand {
    let span = period.span;
    let options = match question {
        Question::Prices(options) => options,
        Question::Quotas { now_us } => return quota::demand(catalog, terms, period, tenant, now_us),
        Question::Charges(kinds) => return charges::demand(catalog, terms, period, tenant, kinds),
        Question::Everything => DemandOptions { unpriced_usage: false, costs: true },
    };
    let mut demand = Charges::new(catalog, terms, period).demand(tenant, options);
    if question == Question::Everything {
        for meter in &catalog.meters {
            let by = meter.dimensions.keys().cloned().collect();
            demand.ask(Wanted {
                view: View { meter: meter.key.clone(), only: std::collections::BTreeMap::new(), by },
                spans: vec![span],
                measures: meter.kind.rules().measures().collect(),
                transactions: false,
            });
        }
    }
    demand
}
