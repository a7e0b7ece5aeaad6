//! What is charged: each price with the spans in which it holds, and the question that it asks.
//!
//! Owns which spans of a price become lines: one-off charges only where their subscription starts, and fees that are not
//! prorated once in a period, however often the price changes in it.

use std::collections::BTreeSet;

use crate::catalog::{Catalog, Place, Price, PriceSpan, PricedUsage, Tenant};
use crate::money::Currency;
use crate::period::Span;
use crate::price::{Pool, PriceModel, PriceTerms};
use crate::usage::{View, Wanted};

use super::NO_SUBSCRIPTION;

/// One price of one subscription (or one item, or one cost), looked at in one way.
#[derive(Debug, Clone)]
pub(super) struct Charge<'c> {
    pub subscription: &'c str,
    pub price: &'c str,
    /// Nothing for base fees and one-off charges.
    pub wanted: Option<Wanted>,
    pub spans: Vec<ChargeSpan<'c>>,
    /// Whether the price stands on the invoice though nothing was used.
    pub stands_without_usage: bool,
    /// Whether the price has other spans in the period, whose lines share what is counted once in it.
    pub has_several_spans: bool,
}

/// A stretch in which a price does not change.
#[derive(Debug, Clone)]
pub(super) struct ChargeSpan<'c> {
    pub span: Span,
    pub price: &'c Price,
    pub terms: PriceTerms,
    pub place: Place,
    pub currency: Option<Currency>,
    /// The place of its pool among the pools of all subscriptions.
    pub pool: Option<usize>,
}

/// A pool as long as it does not change.
#[derive(Debug, Clone)]
pub(super) struct PoolSpan<'c> {
    subscription: &'c str,
    pub pool: &'c Pool,
    pub span: Span,
}

pub(super) fn pools<'c>(catalog: &'c Catalog, terms: &'c Tenant, period: Span) -> Vec<PoolSpan<'c>> {
    let mut pools: Vec<PoolSpan<'c>> = Vec::new();
    for subscription in &terms.subscriptions {
        let Some(plan) = catalog.plan(&subscription.plan) else { continue };
        for (version, span) in subscription.versions(plan, &terms.time_zone, period) {
            for pool in &version.pools {
                let goes_on = pools.iter_mut().find(|known| {
                    known.subscription == subscription.key
                        && known.pool == pool
                        && known.span.end_us == span.start_us
                });
                match goes_on {
                    Some(known) => known.span.end_us = span.end_us,
                    None => pools.push(PoolSpan { subscription: &subscription.key, pool, span }),
                }
            }
        }
    }
    pools
}

pub(super) fn of_subscriptions<'c>(
    catalog: &'c Catalog,
    terms: &'c Tenant,
    period: Span,
    pools: &[PoolSpan<'c>],
) -> Vec<Charge<'c>> {
    let mut charges: Vec<Charge<'c>> = Vec::new();
    for held in catalog.prices_in_force(terms, period) {
        let view = held.price.usage.as_ref().map(|usage| view(usage, &held.line_dimensions()));
        let (subscription, price) = (held.subscription.key.as_str(), held.price.key.as_str());
        let is_same = |charge: &Charge| charge.subscription == subscription && charge.price == price;
        let earlier = charges.iter().filter(|charge| is_same(charge)).flat_map(|charge| &charge.spans);
        if !is_charged(&held, earlier) {
            continue;
        }
        let pool = held.pool().and_then(|pool| {
            pools.iter().position(|known| {
                known.subscription == subscription
                    && known.pool == pool
                    && known.span.contains(held.span.start_us)
            })
        });
        let span = ChargeSpan {
            span: held.span,
            price: held.price,
            place: held.place(),
            currency: Some(held.plan.currency),
            terms: held.terms,
            pool,
        };
        let same_view = |charge: &&mut Charge| is_same(charge) && view_of(charge) == view.as_ref();
        match charges.iter_mut().find(same_view) {
            Some(charge) => charge.push(span),
            None => charges.push(Charge::new(subscription, span, view, true)),
        }
    }
    for at in 0..charges.len() {
        let same_price = charges.iter().filter(|charge| charge.is_of_price(&charges[at]));
        let spans = same_price.map(|charge| charge.spans.len()).sum::<usize>();
        charges[at].has_several_spans = spans > 1;
    }
    charges
}

/// One-off purchases that arrive as events; a flat item is charged by whoever sells it.
pub(super) fn of_items(catalog: &Catalog, period: Span) -> Vec<Charge<'_>> {
    let prices = catalog.items.iter().filter_map(|item| item.price.as_ref());
    prices.filter_map(|price| over_period(catalog, price, period)).collect()
}

pub(super) fn of_costs(catalog: &Catalog, period: Span) -> Vec<Charge<'_>> {
    catalog.costs.iter().filter_map(|price| over_period(catalog, price, period)).collect()
}

/// A price of usage that no plan holds: it stands where something was used.
fn over_period<'c>(catalog: &'c Catalog, price: &'c Price, period: Span) -> Option<Charge<'c>> {
    let usage = price.usage.as_ref()?;
    let matrix: &[String] = match &price.terms.model {
        PriceModel::Matrix(matrix) => &matrix.dimensions,
        _ => &[],
    };
    let dimensions: BTreeSet<&str> = matrix.iter().chain(&usage.split_by).map(String::as_str).collect();
    let view = view(usage, &dimensions.into_iter().collect::<Vec<_>>());
    let span = ChargeSpan {
        span: period,
        price,
        terms: price.terms.clone(),
        place: price.place,
        currency: catalog.currency,
        pool: None,
    };
    Some(Charge::new(NO_SUBSCRIPTION, span, Some(view), false))
}

fn view(usage: &PricedUsage, line_dimensions: &[&str]) -> View {
    View {
        meter: usage.meter.clone(),
        only: usage.only.clone(),
        by: line_dimensions.iter().map(|name| (*name).to_owned()).collect(),
    }
}

fn view_of<'a>(charge: &'a Charge<'_>) -> Option<&'a View> {
    charge.wanted.as_ref().map(|wanted| &wanted.view)
}

/// A charge that is not prorated is owed once: a price that changes within the period holds for the next one.
fn is_charged<'a, 'c: 'a>(
    held: &PriceSpan<'c>,
    mut earlier: impl Iterator<Item = &'a ChargeSpan<'c>>,
) -> bool {
    if held.price.once && !held.span.contains(held.subscription.span.start_us) {
        return false;
    }
    !held.terms.model.is_whole_fee() || !earlier.any(|earlier| earlier.terms.model.is_whole_fee())
}

impl<'c> Charge<'c> {
    fn new(
        subscription: &'c str,
        span: ChargeSpan<'c>,
        view: Option<View>,
        stands_without_usage: bool,
    ) -> Charge<'c> {
        let wanted = view.map(|view| Wanted {
            view,
            spans: Vec::new(),
            measures: BTreeSet::new(),
            transactions: false,
        });
        let mut charge = Charge {
            subscription,
            price: &span.price.key,
            wanted,
            spans: Vec::new(),
            stands_without_usage,
            has_several_spans: false,
        };
        charge.push(span);
        charge
    }

    /// Whether both are of the same price of a subscription, be it looked at in other ways.
    pub fn is_of_price(&self, other: &Charge<'_>) -> bool {
        self.subscription == other.subscription && self.price == other.price
    }

    fn push(&mut self, span: ChargeSpan<'c>) {
        if let (Some(wanted), Some(usage)) = (&mut self.wanted, &span.price.usage) {
            wanted.spans.push(span.span);
            wanted.measures.insert(usage.measure);
            wanted.transactions |= span.terms.model.needs_transactions();
        }
        self.spans.push(span);
    }
}
