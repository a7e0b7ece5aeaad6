//! Changes of plans and their versions, with the tenants whom each concerns.

use super::{matched, say_if_changed};
use crate::catalog::overrides::OverrideTarget;
use crate::catalog::plan::{Plan, PlanVersion};
use crate::catalog::price::Price;
use crate::catalog::quota::{Quota, Retention};
use crate::catalog::stripe;
use crate::catalog::tenant::Tenant;
use crate::catalog::{Catalog, describe};
use crate::money::Currency;
use crate::period::Span;
use crate::price::{MatrixPrice, PriceModel};

/// More tenants than this are counted instead of named.
const TENANTS_NAMED_MAX: usize = 5;

pub(super) fn compare(old: &Catalog, new: &Catalog, sentences: &mut Vec<String>) {
    let plans = matched(&old.plans, &new.plans, |plan| plan.key.clone());
    for plan in plans.removed {
        sentences.push(format!("Plan `{}` is gone{}.", plan.key, whom(old, &plan.key, None)));
    }
    for (before, after) in plans.kept_or_added {
        match before {
            Some(before) => compare_plan(before, after, new, sentences),
            None => sentences.push(format!("Plan `{}` is new{}.", after.key, whom(new, &after.key, None))),
        }
    }
}

fn compare_plan(before: &Plan, after: &Plan, new: &Catalog, sentences: &mut Vec<String>) {
    let subject = format!("Plan `{}`", after.key);
    let whom = whom(new, &after.key, None);
    say_if_changed(
        &format!("{subject}, description"),
        &format!("\"{}\"", before.description),
        &format!("\"{}\"", after.description),
        "",
        sentences,
    );
    let [old_code, new_code] = [before, after].map(|plan| plan.currency.code());
    say_if_changed(&format!("{subject}, currency"), old_code, new_code, &whom, sentences);
    let versions = matched(&before.versions, &after.versions, |version| version.from);
    for version in versions.removed {
        sentences.push(format!("{subject}: the version{} is gone{whom}.", since(version)));
    }
    for (at, (old_version, version)) in versions.kept_or_added.into_iter().enumerate() {
        // A new version is told by what it changes against the one that it follows.
        let followed = at.checked_sub(1).and_then(|at| after.versions.get(at));
        let Some((base, base_currency)) = old_version
            .map(|old| (old, before.currency))
            .or(followed.map(|version| (version, after.currency)))
        else {
            sentences.push(format!("{subject}: a version{} is new{whom}.", since(version)));
            continue;
        };
        let subject = match (after.versions.len(), &version.from) {
            (2.., Some(from)) => format!("{subject} from {from} on"),
            _ => subject.clone(),
        };
        if old_version.is_none() {
            sentences.push(format!("{subject}: a new version{whom}."));
        }
        let names = Names { subject: &subject, plan: &after.key, catalog: new };
        compare_version((base, base_currency), (version, after.currency), names, sentences);
    }
}

fn since(version: &PlanVersion) -> String {
    version.from.map_or_else(|| " since ever".to_owned(), |from| format!(" from {from}"))
}

#[derive(Clone, Copy)]
struct Names<'c> {
    subject: &'c str,
    plan: &'c str,
    catalog: &'c Catalog,
}

impl Names<'_> {
    fn whom(self, price: Option<&str>) -> String {
        whom(self.catalog, self.plan, price)
    }
}

fn compare_version(
    (before, old_currency): (&PlanVersion, Currency),
    (after, currency): (&PlanVersion, Currency),
    names: Names<'_>,
    sentences: &mut Vec<String>,
) {
    let subject = names.subject;
    compare_pools(before, after, names, sentences);
    let prices = matched(&before.prices, &after.prices, |price| price.key.clone());
    for price in prices.removed {
        sentences.push(format!("{subject}: price `{}` is gone{}.", price.key, names.whom(Some(&price.key))));
    }
    for (old_price, price) in prices.kept_or_added {
        let whom = names.whom(Some(&price.key));
        if let Some(old_price) = old_price {
            let subject = format!("{subject}, price `{}`", price.key);
            compare_price((old_price, old_currency), (price, currency), &subject, &whom, sentences);
        } else {
            let charged = describe::model(price, currency);
            sentences.push(format!("{subject}: price `{}` is new, {charged}{whom}.", price.key));
        }
    }
    let order =
        |version: &PlanVersion| version.prices.iter().map(|price| price.key.clone()).collect::<Vec<_>>();
    let (old_order, new_order) = (order(before), order(after));
    let only_moved = old_order != new_order
        && old_order.iter().all(|key| new_order.contains(key))
        && old_order.len() == new_order.len();
    if only_moved && !after.pools.is_empty() {
        sentences.push(format!(
            "{subject}: prices draw from pools in the order {}{}.",
            new_order.join(", "),
            names.whom(None)
        ));
    }
    compare_quotas(&before.quotas, &after.quotas, names, sentences);
    compare_retention(&before.retention, &after.retention, names, sentences);
}

fn compare_pools(before: &PlanVersion, after: &PlanVersion, names: Names<'_>, sentences: &mut Vec<String>) {
    let subject = names.subject;
    let whom = names.whom(None);
    let pools = matched(&before.pools, &after.pools, |pool| pool.name.clone());
    for pool in pools.removed {
        sentences.push(format!("{subject}: pool `{}` is gone{whom}.", pool.name));
    }
    for (old_pool, pool) in pools.kept_or_added {
        let shown = |pool: &crate::price::Pool| {
            let share = if pool.prorated { "" } else { ", whole even for a part of the period" };
            format!("{} {}{share}", pool.quantity, pool.unit)
        };
        match old_pool {
            None => sentences.push(format!("{subject}: pool `{}` is new, {}{whom}.", pool.name, shown(pool))),
            Some(old_pool) => {
                let subject = format!("{subject}, pool `{}`", pool.name);
                say_if_changed(&subject, &shown(old_pool), &shown(pool), &whom, sentences);
            }
        }
    }
}

pub(super) fn compare_price(
    (before, old_currency): (&Price, Currency),
    (after, currency): (&Price, Currency),
    subject: &str,
    whom: &str,
    sentences: &mut Vec<String>,
) {
    let unit_of =
        |price: &Price| price.usage.as_ref().map_or("unit".to_owned(), |usage| usage.unit.name.clone());
    let (old_unit, unit) = (unit_of(before), unit_of(after));
    say_if_changed(
        &format!("{subject}, description"),
        &format!("\"{}\"", before.description),
        &format!("\"{}\"", after.description),
        whom,
        sentences,
    );
    let usage_of = |price: &Price| describe::optional_usage(price.usage.as_ref());
    say_if_changed(&format!("{subject}, usage"), &usage_of(before), &usage_of(after), whom, sentences);
    if let (PriceModel::Matrix(old), PriceModel::Matrix(new)) = (&before.terms.model, &after.terms.model)
        && old.dimensions == new.dimensions
    {
        let (old, new) = ((old, old_unit.as_str(), old_currency), (new, unit.as_str(), currency));
        compare_matrices(old, new, subject, whom, sentences);
    } else {
        let old_model = describe::model(before, old_currency);
        say_if_changed(subject, &old_model, &describe::model(after, currency), whom, sentences);
    }
    let sent = |price: &Price| stripe::describe(price.stripe.as_ref());
    say_if_changed(&format!("{subject}, sent to Stripe"), &sent(before), &sent(after), whom, sentences);
    let (old_terms, terms) = (&before.terms, &after.terms);
    for (old_words, words) in [
        (
            describe::allowance(old_terms.allowance.as_ref(), &old_unit),
            describe::allowance(terms.allowance.as_ref(), &unit),
        ),
        (
            describe::rounding(&old_terms.quantity_rounding, &old_unit),
            describe::rounding(&terms.quantity_rounding, &unit),
        ),
        (
            describe::commitment(old_terms.commitment.as_ref(), &old_unit, old_currency),
            describe::commitment(terms.commitment.as_ref(), &unit, currency),
        ),
        (
            describe::discounts(&old_terms.discounts, old_currency),
            describe::discounts(&terms.discounts, currency),
        ),
    ] {
        say_if_changed(subject, &old_words, &words, whom, sentences);
    }
}

fn compare_matrices(
    (before, old_unit, old_currency): (&MatrixPrice, &str, Currency),
    (after, unit, currency): (&MatrixPrice, &str, Currency),
    subject: &str,
    whom: &str,
    sentences: &mut Vec<String>,
) {
    let cells = matched(&before.cells, &after.cells, |cell| cell.values.clone());
    for cell in cells.removed {
        sentences
            .push(format!("{subject}, {}: no price of its own any more{whom}.", cell.values.join(" x ")));
    }
    for (old_cell, cell) in cells.kept_or_added {
        let subject = format!("{subject}, {}", cell.values.join(" x "));
        let charged = describe::charge(&cell.price, unit, currency);
        match old_cell {
            None => sentences.push(format!("{subject}: new, {charged}{whom}.")),
            Some(old_cell) => {
                let before = describe::charge(&old_cell.price, old_unit, old_currency);
                say_if_changed(&subject, &before, &charged, whom, sentences);
            }
        }
    }
    let otherwise = |matrix: &MatrixPrice, unit: &str, currency: Currency| {
        matrix
            .otherwise
            .as_ref()
            .map_or_else(|| "no price".to_owned(), |price| describe::charge(price, unit, currency))
    };
    say_if_changed(
        &format!("{subject}, all other values"),
        &otherwise(before, old_unit, old_currency),
        &otherwise(after, unit, currency),
        whom,
        sentences,
    );
}

fn compare_quotas(before: &[Quota], after: &[Quota], names: Names<'_>, sentences: &mut Vec<String>) {
    let (subject, whom) = (names.subject, names.whom(None));
    let quotas = matched(before, after, |quota| quota.key.clone());
    for quota in quotas.removed {
        sentences.push(format!("{subject}: quota `{}` is gone{whom}.", quota.key));
    }
    for (old_quota, quota) in quotas.kept_or_added {
        match old_quota {
            None => sentences.push(format!(
                "{subject}: quota `{}` is new, {}{whom}.",
                quota.key,
                describe::quota(quota)
            )),
            Some(old_quota) => {
                let subject = format!("{subject}, quota `{}`", quota.key);
                say_if_changed(
                    &subject,
                    &describe::quota(old_quota),
                    &describe::quota(quota),
                    &whom,
                    sentences,
                );
            }
        }
    }
}

fn compare_retention(
    before: &[Retention],
    after: &[Retention],
    names: Names<'_>,
    sentences: &mut Vec<String>,
) {
    let (subject, whom) = (names.subject, names.whom(None));
    let shown = |rule: &Retention| format!("{} after {} days", describe::clean_up(rule.then), rule.keep_days);
    let rules = matched(before, after, |rule| rule.key.clone());
    for rule in rules.removed {
        sentences.push(format!("{subject}: retention `{}` is gone{whom}.", rule.key));
    }
    for (old_rule, rule) in rules.kept_or_added {
        match old_rule {
            None => {
                sentences.push(format!("{subject}: retention `{}` is new, {}{whom}.", rule.key, shown(rule)));
            }
            Some(old_rule) => {
                let subject = format!("{subject}, retention `{}`", rule.key);
                say_if_changed(&subject, &shown(old_rule), &shown(rule), &whom, sentences);
            }
        }
    }
}

/// The end of a sentence: whom a change of the plan, or of one of its prices, concerns.
fn whom(catalog: &Catalog, plan: &str, price: Option<&str>) -> String {
    let subscribers = || catalog.tenants.iter().filter(|tenant| subscribes(tenant, plan));
    let shielded = |tenant: &&Tenant| price.is_some_and(|price| is_shielded(tenant, plan, price));
    let mut names: Vec<String> =
        subscribers().filter(|tenant| !shielded(tenant)).map(|tenant| format!("`{}`", tenant.key)).collect();
    if names.len() > TENANTS_NAMED_MAX {
        names = vec![format!("{} tenants", names.len())];
    }
    if catalog.other_tenants.as_ref().is_some_and(|tenant| subscribes(tenant, plan)) {
        names.push("every tenant without an entry".to_owned());
    }
    let spared: Vec<&str> = subscribers().filter(shielded).map(|tenant| tenant.key.as_str()).collect();
    let for_whom = if names.is_empty() { "nobody yet".to_owned() } else { describe::listed(&names) };
    let except = match spared.len() {
        0 => String::new(),
        1..=TENANTS_NAMED_MAX => format!(" (not {}, who overrides it)", describe::quoted(spared)),
        count => format!(" (not {count} tenants who override it)"),
    };
    format!(", for {for_whom}{except}")
}

fn subscribes(tenant: &Tenant, plan: &str) -> bool {
    tenant.subscriptions.iter().any(|subscription| subscription.plan == plan)
}

/// Whether the tenant's own price stands in place of the plan's for as long as it has the plan.
fn is_shielded(tenant: &Tenant, plan: &str, price: &str) -> bool {
    let covers = |span: Span| {
        tenant.overrides.iter().any(|by| {
            by.is_of_price(plan, price)
                && matches!(&by.target, OverrideTarget::Price { change, .. } if change.model.is_some())
                && by.span.start_us <= span.start_us
                && by.span.end_us >= span.end_us
        })
    };
    tenant
        .subscriptions
        .iter()
        .filter(|subscription| subscription.plan == plan)
        .all(|subscription| covers(subscription.span))
}
