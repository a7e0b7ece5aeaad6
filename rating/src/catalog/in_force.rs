//! Which price a tenant has at which instant.
//!
//! Owns: cutting a period where a subscription starts or ends, a plan's version changes, or an override starts or
//! ends (DESIGN.md 3.8). Does not own: quantities and amounts of the spans. Where nothing changes for a price at a
//! cut, its spans are joined again, so that a line never splits for somebody else's reason.

use super::mistake::Place;
use super::model::ModelSource;
use super::overrides::{Override, OverrideTarget};
use super::plan::{Plan, PlanVersion};
use super::price::Price;
use super::tenant::{Subscription, Tenant};
use super::{Catalog, Limit, Quota};
use crate::period::{Span, TimeZone};
use crate::price::{Allowance, Pool, PriceModel, PriceTerms};

/// One price of one subscription during one span, with the terms that hold for this tenant.
#[derive(Debug, Clone, PartialEq)]
pub struct PriceSpan<'c> {
    pub span: Span,
    pub subscription: &'c Subscription,
    pub plan: &'c Plan,
    pub version: &'c PlanVersion,
    pub price: &'c Price,
    /// The price's terms, with the tenant's override applied.
    pub terms: PriceTerms,
    pub overridden_by: Option<&'c Override>,
}

impl PriceSpan<'_> {
    /// The line of the catalog that says what is charged.
    pub fn place(&self) -> Place {
        match self.model_override() {
            Some((place, _)) => place,
            None => self.price.place,
        }
    }

    /// Where the tiers or cells of the price stand.
    pub fn source(&self) -> &ModelSource {
        match self.model_override() {
            Some((_, source)) => source,
            None => &self.price.source,
        }
    }

    /// The dimensions whose values each get a line of their own: those of a matrix, and those that the price is
    /// split by. Usage is added up over all others.
    pub fn line_dimensions(&self) -> Vec<&str> {
        let matrix: &[String] = match &self.terms.model {
            PriceModel::Matrix(matrix) => &matrix.dimensions,
            _ => &[],
        };
        let split: &[String] = self.price.usage.as_ref().map_or(&[], |usage| usage.split_by.as_slice());
        let mut dimensions: Vec<&str> = matrix.iter().chain(split).map(String::as_str).collect();
        dimensions.sort_unstable();
        dimensions.dedup();
        dimensions
    }

    /// The pool that the price draws from, if it does.
    pub fn pool(&self) -> Option<&Pool> {
        let Some(Allowance::Pool { pool }) = &self.terms.allowance else {
            return None;
        };
        self.version.pools.iter().find(|known| known.name == *pool)
    }

    fn model_override(&self) -> Option<(Place, &ModelSource)> {
        let by = self.overridden_by?;
        match &by.target {
            OverrideTarget::Price { change, .. } if change.model.is_some() => {
                Some((by.place, &change.source))
            }
            _ => None,
        }
    }

    fn continues(&self, earlier: &Self) -> bool {
        earlier.span.end_us == self.span.start_us
            && earlier.terms == self.terms
            && earlier.price.usage == self.price.usage
            && earlier.price.once == self.price.once
            && earlier.pool() == self.pool()
    }
}

impl Subscription {
    /// The versions of the plan that hold within a span of this subscription, in order.
    pub fn versions<'p>(
        &self,
        plan: &'p Plan,
        zone: &TimeZone,
        span: Span,
    ) -> impl Iterator<Item = (&'p PlanVersion, Span)> {
        let pinned_us = self.prices_as_of.map(|as_of| as_of.instant_us(zone));
        let starts: Vec<i64> = plan.versions.iter().map(|version| version.start_us(zone)).collect();
        let own_span = self.span;
        plan.versions.iter().enumerate().filter_map(move |(at, version)| {
            let until_us = starts.get(at + 1).copied().unwrap_or(i64::MAX);
            let in_force = Span::new(starts[at], until_us)?;
            let held = match pinned_us {
                Some(pinned_us) if in_force.contains(pinned_us) => own_span,
                Some(_) => return None,
                None => in_force.intersection(&own_span)?,
            };
            Some((version, held.intersection(&span)?))
        })
    }
}

impl Catalog {
    /// Every price that the tenant has during the period, in the order of its subscriptions and of their plans'
    /// prices; a price that changes has several spans.
    pub fn prices_in_force<'c>(&'c self, tenant: &'c Tenant, period: Span) -> Vec<PriceSpan<'c>> {
        let mut all = Vec::new();
        for subscription in &tenant.subscriptions {
            let Some(plan) = self.plan(&subscription.plan) else {
                continue;
            };
            let mut spans: Vec<PriceSpan<'c>> = Vec::new();
            let mut order: Vec<&str> = Vec::new();
            for (version, span) in subscription.versions(plan, &tenant.time_zone, period) {
                for price in &version.prices {
                    if !order.contains(&price.key.as_str()) {
                        order.push(&price.key);
                    }
                    spans.extend(price_spans(tenant, subscription, plan, version, price, span));
                }
            }
            for key in order {
                join(spans.iter().filter(|span| span.price.key == key), &mut all);
            }
        }
        all
    }

    /// The tenant's quota at an instant with its limit, overrides applied.
    pub fn quotas_in_force<'c>(&'c self, tenant: &'c Tenant, instant_us: i64) -> Vec<(&'c Quota, Limit)> {
        let instant = Span { start_us: instant_us, end_us: instant_us.saturating_add(1) };
        let mut quotas = Vec::new();
        for subscription in &tenant.subscriptions {
            let Some(plan) = self.plan(&subscription.plan) else {
                continue;
            };
            for (version, _) in subscription.versions(plan, &tenant.time_zone, instant) {
                for quota in &version.quotas {
                    let own = tenant.overrides.iter().find_map(|by| match &by.target {
                        OverrideTarget::Quota { limit, .. }
                            if by.is_of_quota(&plan.key, &quota.key) && by.span.contains(instant_us) =>
                        {
                            Some(*limit)
                        }
                        _ => None,
                    });
                    quotas.push((quota, own.unwrap_or(quota.limit)));
                }
            }
        }
        quotas
    }
}

/// The price within the version's span, cut where overrides start and end.
fn price_spans<'c>(
    tenant: &'c Tenant,
    subscription: &'c Subscription,
    plan: &'c Plan,
    version: &'c PlanVersion,
    price: &'c Price,
    span: Span,
) -> Vec<PriceSpan<'c>> {
    let own: Vec<&Override> =
        tenant.overrides.iter().filter(|by| by.is_of_price(&plan.key, &price.key)).collect();
    let cuts: Vec<i64> = own.iter().flat_map(|by| [by.span.start_us, by.span.end_us]).collect();
    span.split_at(&cuts)
        .into_iter()
        .map(|span| {
            let by = own.iter().copied().find(|by| by.span.contains(span.start_us));
            let terms = match by.map(|by| &by.target) {
                Some(OverrideTarget::Price { change, .. }) => change.applied_to(&price.terms),
                _ => price.terms.clone(),
            };
            PriceSpan { span, subscription, plan, version, price, terms, overridden_by: by }
        })
        .collect()
}

fn join<'s, 'c: 's>(spans: impl Iterator<Item = &'s PriceSpan<'c>>, joined: &mut Vec<PriceSpan<'c>>) {
    let first = joined.len();
    for span in spans {
        match joined[first..].last_mut() {
            Some(last) if span.continues(last) => last.span.end_us = span.span.end_us,
            _ => joined.push(span.clone()),
        }
    }
}
