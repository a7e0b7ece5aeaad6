//! Changes of single tenants: where they live, what they subscribe to, what they have instead of a plan's price.

use super::{matched, say_if_changed};
use crate::catalog::overrides::{Override, OverrideTarget};
use crate::catalog::tenant::{Subscription, Tenant};
use crate::catalog::when::When;
use crate::catalog::{Catalog, describe};

pub(super) fn compare(old: &Catalog, new: &Catalog, sentences: &mut Vec<String>) {
    let tenants = matched(&old.tenants, &new.tenants, |tenant| tenant.key.clone());
    for tenant in tenants.removed {
        sentences.push(format!("Tenant `{}` has no entry any more.", tenant.key));
    }
    for (before, after) in tenants.kept_or_added {
        match before {
            None => {
                let plans = after.subscriptions.iter().map(|subscription| subscription.plan.as_str());
                let plans = if after.subscriptions.is_empty() {
                    "without a subscription".to_owned()
                } else {
                    format!("subscribed to {}", describe::quoted(plans))
                };
                sentences.push(format!("Tenant `{}` is new, {plans}.", after.key));
            }
            Some(before) => {
                let subject = format!("Tenant `{}`", after.key);
                compare_one((old, before), (new, after), &subject, sentences);
            }
        }
    }
    match (&old.other_tenants, &new.other_tenants) {
        (None, Some(_)) => sentences.push("Tenants without an entry have terms now.".to_owned()),
        (Some(_), None) => {
            sentences.push("Tenants without an entry have no terms any more.".to_owned());
        }
        (Some(before), Some(after)) => {
            compare_one((old, before), (new, after), "Every tenant without an entry", sentences);
        }
        (None, None) => {}
    }
}

fn compare_one(
    (old, before): (&Catalog, &Tenant),
    (new, after): (&Catalog, &Tenant),
    subject: &str,
    sentences: &mut Vec<String>,
) {
    let mut say = |what: &str, of: &dyn Fn(&Tenant) -> String| {
        say_if_changed(&format!("{subject}, {what}"), &of(before), &of(after), "", sentences);
    };
    say("name", &|tenant| format!("\"{}\"", tenant.name));
    say("time zone", &|tenant| tenant.time_zone.iana_name().unwrap_or("UTC").to_owned());
    say("billing", &|tenant| {
        let from = tenant.billed_from.map_or_else(String::new, |from| format!(", billed from {from} on"));
        format!("{}{from}", describe::cycle(tenant.cycle))
    });
    say("tax", &|tenant| tenant.tax.clone().unwrap_or_else(|| "none".to_owned()));
    let or_none = |text: Option<&String>| text.cloned().unwrap_or_else(|| "none".to_owned());
    say("address", &|tenant| {
        if tenant.address.is_empty() {
            "none".to_owned()
        } else {
            format!("\"{}\"", tenant.address.join(", "))
        }
    });
    say("tax id", &|tenant| or_none(tenant.tax_id.as_ref()));
    say("e-mail", &|tenant| or_none(tenant.email.as_ref()));
    say("attributes", &|tenant| {
        let words: Vec<String> =
            tenant.attributes.iter().map(|(name, value)| format!("{name} {value}")).collect();
        if words.is_empty() { "none".to_owned() } else { describe::listed(&words) }
    });
    say("Stripe", &|tenant| match &tenant.stripe {
        None => "none".to_owned(),
        Some(stripe) => {
            let items =
                stripe.subscription_items.iter().map(|(price, item)| format!(", {item} for `{price}`"));
            format!("{}{}", stripe.customer, items.collect::<String>())
        }
    });
    compare_subscriptions(before, after, subject, sentences);
    compare_overrides((old, before), (new, after), subject, sentences);
}

fn compare_subscriptions(before: &Tenant, after: &Tenant, subject: &str, sentences: &mut Vec<String>) {
    let subscriptions =
        matched(&before.subscriptions, &after.subscriptions, |subscription| subscription.key.clone());
    for subscription in subscriptions.removed {
        sentences.push(format!("{subject} no longer subscribes to `{}`.", subscription.plan));
    }
    for (old_subscription, subscription) in subscriptions.kept_or_added {
        match old_subscription {
            None => sentences.push(format!("{subject} subscribes to {}.", subscribed(subscription))),
            Some(old_subscription) => {
                let words = format!("{subject}, subscription `{}`", subscription.key);
                say_if_changed(
                    &words,
                    &subscribed(old_subscription),
                    &subscribed(subscription),
                    "",
                    sentences,
                );
            }
        }
    }
}

fn compare_overrides(
    (old, before): (&Catalog, &Tenant),
    (new, after): (&Catalog, &Tenant),
    subject: &str,
    sentences: &mut Vec<String>,
) {
    let overrides =
        matched(&before.overrides, &after.overrides, |by| (by.plan.clone(), by.target_name(), by.from));
    for by in overrides.removed {
        sentences.push(format!(
            "{subject} loses its own {} of `{}`{}.",
            by.target_name(),
            by.plan,
            when(by.from, by.until)
        ));
    }
    for (old_by, by) in overrides.kept_or_added {
        let words = format!("{subject}, own {} of `{}`", by.target_name(), by.plan);
        match old_by {
            None => sentences.push(format!("{words}: {} in place of the plan's.", changed(new, by))),
            Some(old_by) => say_if_changed(&words, &changed(old, old_by), &changed(new, by), "", sentences),
        }
    }
}

fn when(from: Option<When>, until: Option<When>) -> String {
    let from = from.map(|from| format!(" from {from}")).unwrap_or_default();
    let until = until.map(|until| format!(" until {until}")).unwrap_or_default();
    format!("{from}{until}")
}

fn subscribed(subscription: &Subscription) -> String {
    let pinned =
        subscription.prices_as_of.map(|as_of| format!(" at the prices of {as_of}")).unwrap_or_default();
    format!("`{}`{}{pinned}", subscription.plan, when(Some(subscription.from), subscription.until))
}

/// What an override says, in words that need the unit and currency of what it overrides.
fn changed(catalog: &Catalog, by: &Override) -> String {
    let Some(plan) = catalog.plan(&by.plan) else {
        return String::new(); // A parsed catalog overrides only plans that it has.
    };
    let currency = plan.currency;
    let mut words: Vec<String> = Vec::new();
    match &by.target {
        OverrideTarget::Quota { quota, limit } => {
            let found = plan.versions.iter().find_map(|version| version.quota(quota));
            let unit = found.map_or("unit", |quota| quota.usage.unit.name.as_str());
            words.push(describe::limit(*limit, unit));
        }
        OverrideTarget::Price { price, change } => {
            let found = plan.versions.iter().find_map(|version| version.price(price));
            let unit =
                found.and_then(|price| price.usage.as_ref()).map_or("unit", |usage| usage.unit.name.as_str());
            words.extend(change.model.iter().map(|model| describe::charge(model, unit, currency)));
            words.extend(change.allowance.iter().map(|allowance| describe::allowance(Some(allowance), unit)));
            words.extend(change.quantity_rounding.iter().map(|rounding| describe::rounding(rounding, unit)));
            words.extend(
                change.commitment.iter().map(|promise| describe::commitment(Some(promise), unit, currency)),
            );
            words.extend(change.discounts.iter().map(|discounts| describe::discounts(discounts, currency)));
        }
    }
    format!("{}{}", describe::listed(&words), when(by.from, by.until))
}
