//! What a catalog without mistakes may still lead to that nobody wants: warnings, which stop nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use jiff::Timestamp;

use super::stripe::{StripeAction, StripeSending};
use super::{Catalog, Place, PriceSpan, StripeCustomer, Tenant};
use crate::period::{Period, Span};

/// A warning, and where it comes from.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Advice {
    pub place: Place,
    pub text: String,
}

impl fmt::Display for Advice {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}:{}: {}", self.place.line, self.place.column, self.text)
    }
}

impl Catalog {
    /// In the order of the file.
    pub fn advice(&self) -> Vec<Advice> {
        let mut advice: Vec<Advice> =
            self.tenants.iter().flat_map(|tenant| self.figures_set_twice(tenant)).collect();
        let terms = self.tenants.iter().chain(&self.other_tenants);
        advice.extend(terms.flat_map(|tenant| self.usage_priced_twice(tenant)));
        advice.sort();
        advice
    }

    /// Stripe keeps the last of the figures that are set in one of its periods. Where a price changes within a period, each
    /// stretch is a line of its own and sets its own figure (DESIGN.md 3.8), so all but the last would be lost there.
    fn figures_set_twice(&self, tenant: &Tenant) -> Vec<Advice> {
        let Some(customer) = &tenant.stripe else { return Vec::new() };
        let mut told = BTreeSet::new();
        let mut advice = Vec::new();
        for period in self.periods_with_changes(tenant) {
            let mut spans: BTreeMap<(&str, &str), Vec<PriceSpan<'_>>> = BTreeMap::new();
            for held in self.prices_in_force(tenant, period.span) {
                if let Some(target) = set_figure(&held, customer) {
                    spans.entry((target, held.price.key.as_str())).or_default().push(held);
                }
            }
            for ((target, price), spans) in spans.into_iter().filter(|(_, spans)| spans.len() > 1) {
                let place = spans[1].subscription.place;
                if !told.insert((target.to_owned(), place)) {
                    continue;
                }
                let text = format!(
                    "tenant {}: price `{price}` changes within the period that starts on {}, and each part sets the figure of \
                     {target} in Stripe, which keeps the last one only: use `action: increment`, or let it change where a \
                     period starts",
                    tenant.key, period.name
                );
                advice.push(Advice { place, text });
            }
        }
        advice
    }

    /// Two subscriptions that price the same usage at the same time bill it twice. That may be meant, and more often an earlier
    /// one should have ended.
    fn usage_priced_twice(&self, tenant: &Tenant) -> Vec<Advice> {
        let mut advice = Vec::new();
        for (at, later) in tenant.subscriptions.iter().enumerate() {
            for earlier in &tenant.subscriptions[..at] {
                let Some(both) = earlier.span.intersection(&later.span) else { continue };
                let held = self.prices_in_force(tenant, both);
                let of =
                    |key: &str| held.iter().filter(|held| held.subscription.key == key).collect::<Vec<_>>();
                let (ones, others) = (of(&earlier.key), of(&later.key));
                let pairs = ones.iter().flat_map(|one| others.iter().map(move |other| (one, other)));
                let meters: BTreeSet<&str> =
                    pairs.filter_map(|(one, other)| priced_by_both(one, other)).collect();
                if meters.is_empty() {
                    continue;
                }
                let meters = meters.into_iter().collect::<Vec<_>>().join(", ");
                let text = format!(
                    "tenant {}: the subscriptions `{}` and `{}` both price {meters} {}, so it is billed twice: end one of \
                     them with `until`, unless that is meant",
                    tenant.key,
                    earlier.key,
                    later.key,
                    in_words(both, tenant)
                );
                advice.push(Advice { place: later.place, text });
            }
        }
        advice
    }

    /// Periods inside of which something begins or ends for the tenant.
    fn periods_with_changes(&self, tenant: &Tenant) -> Vec<Period> {
        let zone = &tenant.time_zone;
        let mut changes_us: BTreeSet<i64> = BTreeSet::new();
        for subscription in &tenant.subscriptions {
            changes_us.extend([subscription.span.start_us, subscription.span.end_us]);
            if let Some(plan) = self.plan(&subscription.plan) {
                changes_us.extend(plan.versions.iter().map(|version| version.start_us(zone)));
            }
        }
        changes_us.extend(tenant.overrides.iter().flat_map(|by| [by.span.start_us, by.span.end_us]));
        let mut periods: Vec<Period> = changes_us
            .into_iter()
            .filter_map(|change_us| {
                // The ends of time lie in no period.
                let period = tenant.cycle.period_containing(change_us, zone).ok()?;
                (period.span.start_us != change_us).then_some(period)
            })
            .collect();
        periods.dedup();
        periods
    }
}

/// The meter whose usage both prices bill at some time.
fn priced_by_both<'c>(one: &PriceSpan<'c>, other: &PriceSpan<'c>) -> Option<&'c str> {
    let (own, others) = (one.price.usage.as_ref()?, other.price.usage.as_ref()?);
    let is_apart = own.only.iter().any(|(name, values)| {
        others.only.get(name).is_some_and(|taken| !values.iter().any(|value| taken.contains(value)))
    });
    let is_shared = own.meter == others.meter && !is_apart && one.span.intersection(&other.span).is_some();
    is_shared.then_some(own.meter.as_str())
}

/// A span on the tenant's clock.
fn in_words(span: Span, tenant: &Tenant) -> String {
    let local = |at_us: i64| {
        let at = Timestamp::from_microsecond(at_us).ok()?;
        Some(tenant.time_zone.to_datetime(at).to_string().replace("T00:00:00", ""))
    };
    let from = local(span.start_us).unwrap_or_else(|| "ever".to_owned());
    match (span.end_us != i64::MAX).then(|| local(span.end_us)).flatten() {
        Some(until) => format!("from {from} until {until}"),
        None => format!("from {from} on"),
    }
}

/// The meter or subscription item whose figure the price sets.
fn set_figure<'c>(held: &PriceSpan<'c>, customer: &'c StripeCustomer) -> Option<&'c str> {
    match held.price.stripe.as_ref()? {
        StripeSending::MeterEvents { event_name, usage } if usage.action == StripeAction::Set => {
            Some(event_name)
        }
        StripeSending::UsageRecords { usage, .. } if usage.action == StripeAction::Set => {
            customer.subscription_items.get(&held.price.key).map(String::as_str)
        }
        _ => None,
    }
}
