//! How much of its quotas a tenant has used.
//!
//! Owns what has to be known of a tenant's usage for that, and putting it beside the limit, which purchases may have
//! raised. Does not own the definitions (`catalog`) nor telling anybody (jobs do). A quota never changes what is billed.

use std::collections::BTreeSet;

use crate::catalog::{Catalog, Item, Limit, PricedUsage, Quota, QuotaWindow, Tenant, Unit};
use crate::exact::Exact;
use crate::period::{MICROSECONDS_PER_HOUR, Period, Span};
use crate::quantity::{Measure, Measured};
use crate::usage::{DAY_US, Demand, Usage, View, Wanted};

/// A quota beside what was used of it.
#[derive(Debug, Clone, PartialEq)]
pub struct QuotaUse<'c> {
    pub quota: &'c Quota,
    /// In the unit of the quota, purchases included; nothing where there is no limit.
    pub limit: Option<Exact>,
    /// In the unit of the quota.
    pub used: Exact,
}

impl QuotaUse<'_> {
    /// Nothing where a percentage of the limit means nothing.
    pub fn percent(&self) -> Option<Exact> {
        let limit = self.limit.as_ref().filter(|limit| limit.is_positive())?;
        (&self.used * &Exact::from(100_i64)).checked_div(limit)
    }

    /// Whether that many percent of the limit are used. Of a limit of nothing, any usage is all of it.
    pub fn has_reached(&self, percent: &Exact) -> bool {
        match (&self.limit, self.percent()) {
            (None, _) => false,
            (Some(_), Some(own)) => own >= *percent,
            (Some(_), None) => self.used.is_positive(),
        }
    }

    pub fn is_exceeded(&self) -> bool {
        self.limit.as_ref().is_some_and(|limit| self.used > *limit)
    }
}

/// The quotas of a period are those that hold now, or at its end once it is over.
fn instant_us(period: &Period, now_us: i64) -> i64 {
    now_us.clamp(period.span.start_us, (period.span.end_us - 1).max(period.span.start_us))
}

/// What has to be known of the tenant's usage.
pub fn demand(catalog: &Catalog, terms: &Tenant, period: Period, tenant: &str, now_us: i64) -> Demand {
    let mut demand = Demand { tenant: tenant.to_owned(), period, wanted: Vec::new() };
    let period = demand.period.clone();
    for (quota, _) in catalog.quotas_in_force(terms, instant_us(&period, now_us)) {
        ask(&mut demand, catalog, quota);
    }
    demand
}

/// Adds what has to be known for one quota: what was used of it, and what was bought to raise it.
pub fn ask(demand: &mut Demand, catalog: &Catalog, quota: &Quota) {
    let period = demand.period.span;
    demand.ask(wanted(quota, period));
    for (_, usage, span) in raising(catalog, quota, period) {
        demand.ask(question(usage, usage.measure, vec![span]));
    }
}

/// Each quota of the tenant, in the order of its subscriptions and of their plans' quotas.
pub fn uses<'c>(catalog: &'c Catalog, terms: &'c Tenant, usage: &Usage, now_us: i64) -> Vec<QuotaUse<'c>> {
    let period = &usage.demand.period;
    let held = catalog.quotas_in_force(terms, instant_us(period, now_us));
    held.into_iter().map(|(quota, limit)| use_of(catalog, quota, limit, usage)).collect()
}

/// How much of one quota was used, by the answers to what `ask` asked.
pub fn use_of<'c>(catalog: &Catalog, quota: &'c Quota, limit: Limit, usage: &Usage) -> QuotaUse<'c> {
    let asked = wanted(quota, usage.demand.period.span);
    let measure = asked.measures.first().copied().unwrap_or(quota.usage.measure);
    let used = highest(usage, &asked, measure, quota.window);
    let limit = match limit {
        Limit::Unlimited => None,
        Limit::Of(limit) => Some(Exact::from(limit) + raised(catalog, quota, usage)),
    };
    QuotaUse { quota, limit, used: converted(&used, &quota.usage.measured_unit, &quota.usage.unit) }
}

fn wanted(quota: &Quota, period: Span) -> Wanted {
    let usage = &quota.usage;
    match (quota.window, usage.measure) {
        (QuotaWindow::Period, measure) => question(usage, measure, vec![period]),
        (QuotaWindow::Lifetime, measure) => question(usage, measure, vec![until(period.end_us)]),
        // What a clock hour adds up to is a measure of its own, which needs no look at every hour.
        (QuotaWindow::Hour, Measure::Sum) => question(usage, Measure::BusiestHour, vec![period]),
        (QuotaWindow::Hour, measure) => question(usage, measure, hours(period)),
    }
}

fn question(usage: &PricedUsage, measure: Measure, spans: Vec<Span>) -> Wanted {
    let view = View { meter: usage.meter.clone(), only: usage.only.clone(), by: Vec::new() };
    Wanted { view, spans, measures: BTreeSet::from([measure]), transactions: false }
}

/// All time up to an instant.
fn until(end_us: i64) -> Span {
    Span { start_us: 0, end_us: end_us.max(0) }
}

/// The clock hours (UTC) of a span.
fn hours(span: Span) -> Vec<Span> {
    let hour_of = |at_us: i64| at_us.div_euclid(MICROSECONDS_PER_HOUR);
    let starts = hour_of(span.start_us) + 1..=hour_of(span.end_us - 1);
    let cuts: Vec<i64> = starts.map(|hour| hour * MICROSECONDS_PER_HOUR).collect();
    span.split_at(&cuts)
}

fn highest(usage: &Usage, asked: &Wanted, measure: Measure, window: QuotaWindow) -> Exact {
    let series = usage.of(&asked.view, &asked.spans).unwrap_or_default();
    let period = usage.demand.period.span;
    let values = series.iter().filter_map(|series| {
        let whole = if window == QuotaWindow::Period { period } else { series.span };
        series.totals.measure(measure, &whole)
    });
    values.max().unwrap_or_default()
}

/// The items that raise a quota, with the time within which a purchase counts. What is sold elsewhere is not known here.
fn raising<'c>(
    catalog: &'c Catalog,
    quota: &Quota,
    period: Span,
) -> impl Iterator<Item = (&'c Item, &'c PricedUsage, Span)> {
    let raises = |item: &&Item| item.raises.as_ref().is_some_and(|raise| raise.quota == quota.key);
    let items: Vec<&Item> = catalog.items.iter().filter(raises).collect();
    items.into_iter().filter_map(move |item| {
        let usage = item.price.as_ref()?.usage.as_ref()?;
        let whole = until(period.end_us);
        let span = match item.lasts_days {
            None => whole,
            Some(days) => {
                let start_us = period.end_us.saturating_sub(i64::from(days).saturating_mul(DAY_US));
                Span { start_us: start_us.max(whole.start_us), ..whole }
            }
        };
        Some((item, usage, span))
    })
}

/// By how much purchases raised a quota, in its unit.
fn raised(catalog: &Catalog, quota: &Quota, usage: &Usage) -> Exact {
    let raises = raising(catalog, quota, usage.demand.period.span).map(|(item, bought, span)| {
        let asked = question(bought, bought.measure, vec![span]);
        let quantity = highest(usage, &asked, bought.measure, QuotaWindow::Lifetime);
        match item.raises.as_ref().and_then(|raise| raise.by) {
            Some(by) => converted(&quantity, &bought.measured_unit, &bought.unit) * Exact::from(by),
            None => converted(&quantity, &bought.measured_unit, &quota.usage.unit),
        }
    });
    raises.sum()
}

fn converted(value: &Exact, from: &Unit, to: &Unit) -> Exact {
    let size = |unit: &Unit| i128::try_from(unit.size).unwrap_or(i128::MAX);
    let ratio = Exact::ratio(size(from), size(to)).unwrap_or(Exact::ONE);
    value * &ratio
}
