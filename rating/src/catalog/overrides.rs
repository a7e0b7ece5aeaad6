//! Overrides: what one tenant has instead of its plan's price or quota, and from when to when.
//!
//! Owns: reading them and finding those that can never take effect. Does not own: applying them at an instant
//! (`in_force`). Keeps DESIGN.md 3.7 (per-tenant overrides) and the rule that a catalog holds nothing without
//! effect: an override that nobody reaches is a discount somebody believes they gave.

use super::fields::{self, Fields};
use super::mistake::{Mistakes, Place};
use super::plan::{Plan, PlanVersion};
use super::pool;
use super::price;
use super::quota::{self, Limit};
use super::tenant::{self, Subscription, TenantContext};
use super::terms::{self, TermsChange};
use super::when::When;
use super::yaml::Node;
use crate::period::{Span, TimeZone};
use crate::price::Allowance;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Override {
    pub place: Place,
    pub plan: String,
    pub target: OverrideTarget,
    pub from: Option<When>,
    pub until: Option<When>,
    /// From and until as instants; the ends of time where they are open.
    pub span: Span,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OverrideTarget {
    Price { price: String, change: Box<TermsChange> },
    Quota { quota: String, limit: Limit },
}

impl Override {
    pub fn is_of_price(&self, plan: &str, key: &str) -> bool {
        self.plan == plan && matches!(&self.target, OverrideTarget::Price { price, .. } if price == key)
    }

    pub fn is_of_quota(&self, plan: &str, key: &str) -> bool {
        self.plan == plan && matches!(&self.target, OverrideTarget::Quota { quota, .. } if quota == key)
    }

    /// The name of what it overrides, for sentences.
    pub fn target_name(&self) -> String {
        match &self.target {
            OverrideTarget::Price { price, .. } => format!("price `{price}`"),
            OverrideTarget::Quota { quota, .. } => format!("quota `{quota}`"),
        }
    }

    fn exists_in(&self, version: &PlanVersion) -> bool {
        match &self.target {
            OverrideTarget::Price { price, .. } => version.price(price).is_some(),
            OverrideTarget::Quota { quota, .. } => version.quota(quota).is_some(),
        }
    }

    fn same_target(&self, other: &Self) -> bool {
        match &self.target {
            OverrideTarget::Price { price, .. } => other.is_of_price(&self.plan, price),
            OverrideTarget::Quota { quota, .. } => other.is_of_quota(&self.plan, quota),
        }
    }
}

/// Reads the list below a tenant's `overrides:`.
pub(super) fn read_all(
    node: &Node,
    tenant: &str,
    zone: &TimeZone,
    subscriptions: &[Subscription],
    context: TenantContext<'_>,
    mistakes: &mut Mistakes,
) -> Vec<Override> {
    let mut overrides: Vec<Override> = Vec::new();
    for item in fields::list(node) {
        let Some((read, pool_place)) = read(item, zone, context, mistakes) else {
            continue;
        };
        if !check_reachable(&read, tenant, zone, subscriptions, context, mistakes) {
            continue;
        }
        let plan = context.plans.iter().find(|plan| plan.key == read.plan);
        if let (Some(plan), Some(place)) = (plan, pool_place) {
            check_pool(&read, place, zone, subscriptions, plan, mistakes);
        }
        let rival = overrides
            .iter()
            .find(|other| other.same_target(&read) && other.span.intersection(&read.span).is_some());
        if let Some(rival) = rival {
            mistakes
                .report(read.place, format!("this override of {} overlaps another one", read.target_name()))
                .hint(format!("the other stands in line {}: end it with `until`", rival.place.line));
        }
        overrides.push(read);
    }
    overrides
}

/// The override, and where its allowance stands.
fn read(
    node: &Node,
    zone: &TimeZone,
    context: TenantContext<'_>,
    mistakes: &mut Mistakes,
) -> Option<(Override, Option<Place>)> {
    let mut fields = Fields::open(node, "an override", node.place, mistakes)?;
    let plan = fields.required("plan", mistakes).and_then(|node| tenant::find_plan(node, context, mistakes));
    let from = fields.optional("from").map(|node| tenant::read_when(node, "`from`", zone, mistakes));
    let until_node = fields.optional("until");
    let until = until_node.map(|node| tenant::read_when(node, "`until`", zone, mistakes));
    let price_node = fields.optional("price");
    let quota_node = fields.optional("quota");
    let found_plan = plan.as_ref().and_then(|key| context.plans.iter().find(|plan| plan.key == *key));
    let target = match (price_node, quota_node) {
        (Some(node), None) => read_price_target(node, found_plan, &mut fields, context, mistakes),
        (None, Some(node)) => {
            read_quota_target(node, found_plan, &mut fields, mistakes).map(|target| (target, None))
        }
        _ => {
            mistakes
                .report(node.place, "an override needs either `price` or `quota`")
                .hint("it names what it replaces, like `price: storage`");
            return None;
        }
    };
    fields.close(mistakes);
    let (from, until) = (unless_wrong!(from), unless_wrong!(until));
    let span = tenant::span_between(from, until, zone, until_node, mistakes)?;
    let (target, pool_place) = target?;
    Some((Override { place: node.place, plan: plan?, target, from, until, span }, pool_place))
}

fn read_price_target(
    node: &Node,
    plan: Option<&Plan>,
    fields: &mut Fields<'_>,
    context: TenantContext<'_>,
    mistakes: &mut Mistakes,
) -> Option<(OverrideTarget, Option<Place>)> {
    let key = fields::text(node, "`price`", mistakes)?;
    let before = mistakes.count();
    let read = terms::read(fields, false, mistakes);
    if read.change.is_empty() && mistakes.count() == before {
        mistakes
            .report(node.place, "this override changes nothing")
            .hint("say what the tenant has instead, like `per_unit: 0.05`, `included: 20` or `discounts: [{ percent: 10 }]`");
    }
    if let Some(plan) = plan {
        if !plan.price_keys().any(|known| known == key) {
            report_unknown(node, "price", key, plan, plan.price_keys(), mistakes);
            return None;
        }
        for price in plan.versions.iter().filter_map(|version| version.price(key)) {
            match &price.usage {
                Some(usage) => {
                    price::check_against_usage(&read, usage, context.prices, mistakes);
                    price::check_commitment(&read, Some(&price.terms), usage, mistakes);
                    price::check_percentage(&read, Some(&price.terms), usage, mistakes);
                }
                None => price::check_without_usage(&read, &format!("price `{key}`"), mistakes),
            }
        }
    }
    let pool_place = read.allowance_place;
    let target = OverrideTarget::Price { price: key.to_owned(), change: Box::new(read.change) };
    Some((target, pool_place))
}

/// The pool that an override names must exist in every version of the plan that it meets.
fn check_pool(
    read: &Override,
    place: Place,
    zone: &TimeZone,
    subscriptions: &[Subscription],
    plan: &Plan,
    mistakes: &mut Mistakes,
) {
    let OverrideTarget::Price { price, change } = &read.target else { return };
    let Some(Allowance::Pool { pool }) = &change.allowance else { return };
    let of_plan = subscriptions.iter().filter(|subscription| subscription.plan == read.plan);
    let met = of_plan.flat_map(|subscription| subscription.versions(plan, zone, read.span));
    for (version, _) in met {
        if let Some(price) = version.price(price) {
            let before = mistakes.count();
            pool::check_reference(pool, price.usage.as_ref(), &version.pools, place, mistakes);
            if mistakes.count() > before && plan.versions.len() > 1 {
                mistakes.hint_last(&format!(
                    "it holds with the version of `{}` in line {} too: end the override with `until`, or declare the pool there",
                    plan.key, version.place.line
                ));
            }
        }
    }
}

fn read_quota_target(
    node: &Node,
    plan: Option<&Plan>,
    fields: &mut Fields<'_>,
    mistakes: &mut Mistakes,
) -> Option<OverrideTarget> {
    let key = fields::text(node, "`quota`", mistakes)?;
    let limit = fields.required("limit", mistakes).and_then(|node| quota::read_limit(node, mistakes));
    if let Some(plan) = plan.filter(|plan| !plan.quota_keys().any(|known| known == key)) {
        report_unknown(node, "quota", key, plan, plan.quota_keys(), mistakes);
        return None;
    }
    Some(OverrideTarget::Quota { quota: key.to_owned(), limit: limit? })
}

fn report_unknown<'a>(
    node: &Node,
    kind: &str,
    key: &str,
    plan: &Plan,
    known: impl Iterator<Item = &'a str>,
    mistakes: &mut Mistakes,
) {
    mistakes
        .report(
            node.place,
            format!("this override is unreachable: plan `{}` has no {kind} `{key}`", plan.key),
        )
        .did_you_mean(key, known);
}

/// Whether it does: an override must meet, at some instant, a subscription to its plan with a version that has its target.
fn check_reachable(
    read: &Override,
    tenant: &str,
    zone: &TimeZone,
    subscriptions: &[Subscription],
    context: TenantContext<'_>,
    mistakes: &mut Mistakes,
) -> bool {
    let Some(plan) = context.plans.iter().find(|plan| plan.key == read.plan) else {
        return true; // The plan has mistakes of its own.
    };
    let of_plan: Vec<&Subscription> =
        subscriptions.iter().filter(|subscription| subscription.plan == read.plan).collect();
    if of_plan.is_empty() {
        mistakes
            .report(
                read.place,
                format!("this override is unreachable: {tenant} never subscribes to `{}`", read.plan),
            )
            .hint("override a plan that the tenant has, or add the subscription");
        return false;
    }
    let shared: Vec<(&Subscription, Span)> = of_plan
        .iter()
        .filter_map(|subscription| Some((*subscription, subscription.span.intersection(&read.span)?)))
        .collect();
    if shared.is_empty() {
        mistakes
            .report(
                read.place,
                format!("this override is unreachable: {tenant} has `{}` only at other times", read.plan),
            )
            .hint(format!("the subscription stands in line {}", of_plan[0].place.line));
        return false;
    }
    let meets = shared.iter().any(|(subscription, span)| {
        subscription.versions(plan, zone, *span).any(|(version, _)| read.exists_in(version))
    });
    if !meets {
        mistakes
            .report(
                read.place,
                format!(
                    "this override is unreachable: no version of `{}` in force then has its {}",
                    read.plan,
                    read.target_name()
                ),
            )
            .hint("compare its `from` and `until` with those of the plan's versions");
    }
    meets
}
