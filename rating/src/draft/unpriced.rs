//! Usage that no price of the tenant covers: outside of every subscription, of a meter that its plan does not name, or
//! with dimension values that no price takes.
//!
//! Owns finding where that can happen, so that most tenants ask nothing, and the warnings with exact quantities. Only
//! meters that somebody is charged for count: others are measured on purpose.

use std::collections::{BTreeMap, BTreeSet};

use crate::catalog::{Catalog, PricedUsage, Tenant};
use crate::exact::Exact;
use crate::invoice::Warning;
use crate::period::Span;
use crate::quantity::{Dimensions, Measure};
use crate::usage::{Usage, View, Wanted};

use super::DraftError;
use super::charge::Charge;

type Only = BTreeMap<String, Vec<String>>;

/// A question about usage that may have no price.
#[derive(Debug, Clone)]
pub(super) struct Unpriced<'c> {
    pub wanted: Wanted,
    measure: Measure,
    why: Why<'c>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Why<'c> {
    NoSubscription,
    /// What these take has a price; nothing has one if there are none.
    OnlyPriced(Vec<&'c Only>),
}

/// A price's claim on a meter: what it takes, and when.
#[derive(Debug)]
struct Claim<'c> {
    span: Span,
    only: &'c Only,
}

pub(super) fn find<'c>(
    catalog: &'c Catalog,
    terms: &Tenant,
    period: Span,
    charges: &[Charge<'c>],
) -> Vec<Unpriced<'c>> {
    let measures = priced_measures(catalog);
    let mut found = Vec::new();
    for meter in &catalog.meters {
        let Some(&measure) = measures.get(meter.key.as_str()) else { continue };
        let claims = claims(&meter.key, charges);
        let covers_all = |claim: &Claim| claim.only.is_empty() && claim.span == period;
        if claims.iter().any(covers_all) {
            continue;
        }
        for (why, spans) in open_stretches(terms, period, &claims) {
            let by: BTreeSet<String> = match &why {
                Why::NoSubscription => BTreeSet::new(),
                Why::OnlyPriced(taken) => taken.iter().flat_map(|only| only.keys().cloned()).collect(),
            };
            let view = View { meter: meter.key.clone(), only: BTreeMap::new(), by: by.into_iter().collect() };
            let wanted = Wanted { view, spans, measures: BTreeSet::from([measure]), transactions: false };
            found.push(Unpriced { wanted, measure, why });
        }
    }
    found
}

/// The meters that anybody is charged for, each by the measure that the catalog charges first.
fn priced_measures(catalog: &Catalog) -> BTreeMap<&str, Measure> {
    let mut measures = BTreeMap::new();
    let plans = catalog.plans.iter().flat_map(|plan| &plan.versions).flat_map(|version| &version.prices);
    let items = catalog.items.iter().filter_map(|item| item.price.as_ref());
    for PricedUsage { meter, measure, .. } in plans.chain(items).filter_map(|price| price.usage.as_ref()) {
        measures.entry(meter.as_str()).or_insert(*measure);
    }
    measures
}

fn claims<'c>(meter: &str, charges: &[Charge<'c>]) -> Vec<Claim<'c>> {
    let spans = charges.iter().flat_map(|charge| &charge.spans);
    let claims = spans.filter_map(|span| {
        let usage = span.price.usage.as_ref().filter(|usage| usage.meter == meter)?;
        Some(Claim { span: span.span, only: &usage.only })
    });
    claims.collect()
}

/// The stretches of the period in which some of the meter's usage has no price, by the reason.
fn open_stretches<'c>(terms: &Tenant, period: Span, claims: &[Claim<'c>]) -> Vec<(Why<'c>, Vec<Span>)> {
    let subscribed = terms.subscriptions.iter().map(|subscription| subscription.span);
    let edges = subscribed.clone().chain(claims.iter().map(|claim| claim.span));
    let cuts: Vec<i64> = edges.flat_map(|span| [span.start_us, span.end_us]).collect();
    let mut open: Vec<(Why<'c>, Vec<Span>)> = Vec::new();
    for stretch in period.split_at(&cuts) {
        let holds = |span: &Span| span.contains(stretch.start_us);
        let mut taken: Vec<&Only> =
            claims.iter().filter(|claim| holds(&claim.span)).map(|claim| claim.only).collect();
        if taken.iter().any(|only| only.is_empty()) {
            continue;
        }
        taken.sort();
        taken.dedup();
        let why = if taken.is_empty() && !subscribed.clone().any(|span| holds(&span)) {
            Why::NoSubscription
        } else {
            Why::OnlyPriced(taken)
        };
        match open.iter_mut().find(|(known, _)| *known == why) {
            None => open.push((why, vec![stretch])),
            Some((_, spans)) => match spans.last_mut() {
                Some(last) if last.end_us == stretch.start_us => last.end_us = stretch.end_us,
                _ => spans.push(stretch),
            },
        }
    }
    open
}

impl Unpriced<'_> {
    /// A warning for each set of values that was used and has no price.
    pub fn warnings(&self, usage: &Usage) -> Result<Vec<Warning>, DraftError> {
        let view = &self.wanted.view;
        let meter = || view.meter.clone();
        let answers =
            usage.of(view, &self.wanted.spans).ok_or_else(|| DraftError::NotAsked { meter: meter() })?;
        let mut used: BTreeMap<&Dimensions, Exact> = BTreeMap::new();
        for series in answers.iter().filter(|series| !self.has_price(&series.dimensions)) {
            let quantity = usage
                .quantity(view, series, self.measure, "")
                .ok_or_else(|| DraftError::NotMeasured { meter: meter(), measure: self.measure })?;
            let total = used.entry(&series.dimensions).or_insert(Exact::ZERO);
            *total = self.together(total, quantity.value);
        }
        let used = used.into_iter().filter(|(_, quantity)| !quantity.is_zero());
        let warnings = used.map(|(dimensions, quantity)| match self.why {
            Why::NoSubscription => Warning::UsageWithoutSubscription { meter: meter(), quantity },
            Why::OnlyPriced(_) => {
                Warning::UsageWithoutPrice { meter: meter(), dimensions: dimensions.clone(), quantity }
            }
        });
        Ok(warnings.collect())
    }

    fn has_price(&self, dimensions: &Dimensions) -> bool {
        let takes = |only: &&Only| {
            only.iter().all(|(name, values)| dimensions.get(name).is_some_and(|value| values.contains(value)))
        };
        match &self.why {
            Why::NoSubscription => false,
            Why::OnlyPriced(taken) => taken.iter().any(takes),
        }
    }

    /// What adds up over time adds up over stretches; of the rest the highest counts.
    fn together(&self, left: &Exact, right: Exact) -> Exact {
        if self.measure.weighs_by_time() { left.clone().max(right) } else { left + &right }
    }
}
