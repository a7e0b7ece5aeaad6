//! Changes of what stands beside the plans: items, the vendor's costs, credits and taxes.

use super::{matched, plans, say_if_changed};
use crate::catalog::item::{Grant, Item, Tax};
use crate::catalog::{Catalog, describe};
use crate::money::Currency;

pub(super) fn compare(old: &Catalog, new: &Catalog, sentences: &mut Vec<String>) {
    let taxes = matched(&old.taxes, &new.taxes, |tax| tax.key.clone());
    for tax in taxes.removed {
        sentences.push(format!("Tax `{}` is gone.", tax.key));
    }
    for (before, after) in taxes.kept_or_added {
        let shown = |tax: &Tax| format!("{} % shown as \"{}\"", tax.percent, tax.description);
        match before {
            None => sentences.push(format!("Tax `{}` is new, {}.", after.key, shown(after))),
            Some(before) => {
                let whom = whom_taxed(new, &after.key);
                say_if_changed(
                    &format!("Tax `{}`", after.key),
                    &shown(before),
                    &shown(after),
                    &whom,
                    sentences,
                );
            }
        }
    }
    // Without a currency a catalog has no items, costs and credits.
    let Some(any) = new.currency.or(old.currency) else {
        return;
    };
    let (old_currency, currency) = (old.currency.unwrap_or(any), new.currency.unwrap_or(any));
    compare_items((old, old_currency), (new, currency), sentences);
    compare_costs((old, old_currency), (new, currency), sentences);
    compare_credits((old, old_currency), (new, currency), sentences);
}

fn whom_taxed(catalog: &Catalog, tax: &str) -> String {
    let count = catalog.tenants.iter().filter(|tenant| tenant.tax.as_deref() == Some(tax)).count();
    let others = catalog.other_tenants.as_ref().is_some_and(|tenant| tenant.tax.as_deref() == Some(tax));
    let others = if others { " and every tenant without an entry" } else { "" };
    let named = if count == 1 { "1 tenant".to_owned() } else { format!("{count} tenants") };
    format!(", for {named}{others}")
}

fn compare_items(
    (old, old_currency): (&Catalog, Currency),
    (new, currency): (&Catalog, Currency),
    sentences: &mut Vec<String>,
) {
    let items = matched(&old.items, &new.items, |item| item.key.clone());
    for item in items.removed {
        sentences.push(format!("Item `{}` is no longer sold.", item.key));
    }
    for (before, after) in items.kept_or_added {
        let subject = format!("Item `{}`", after.key);
        let charged = |item: &Item, currency: Currency| {
            item.price
                .as_ref()
                .map_or_else(|| "a price set elsewhere".to_owned(), |price| describe::model(price, currency))
        };
        let Some(before) = before else {
            sentences.push(format!("{subject} is new, {}{}.", charged(after, currency), effect(after)));
            continue;
        };
        let whom = ", for everybody who buys it";
        match (&before.price, &after.price) {
            (Some(old_price), Some(price)) => {
                plans::compare_price((old_price, old_currency), (price, currency), &subject, whom, sentences);
            }
            _ => say_if_changed(
                &subject,
                &charged(before, old_currency),
                &charged(after, currency),
                whom,
                sentences,
            ),
        }
        if effect(before) != effect(after) {
            sentences.push(format!("{subject} has another effect{}{whom}.", effect(after)));
        }
    }
}

fn effect(item: &Item) -> String {
    let lasts = item.lasts_days.map(|days| format!(" for {days} days")).unwrap_or_default();
    match &item.raises {
        None => String::new(),
        Some(raise) => match raise.by {
            Some(by) => format!(", raises quota `{}` by {by}{lasts}", raise.quota),
            None => format!(", raises quota `{}` by the quantity bought{lasts}", raise.quota),
        },
    }
}

fn compare_costs(
    (old, old_currency): (&Catalog, Currency),
    (new, currency): (&Catalog, Currency),
    sentences: &mut Vec<String>,
) {
    let costs = matched(&old.costs, &new.costs, |cost| cost.key.clone());
    for cost in costs.removed {
        sentences.push(format!("The vendor's cost `{}` is gone.", cost.key));
    }
    for (before, after) in costs.kept_or_added {
        match before {
            None => sentences.push(format!(
                "The vendor's cost `{}` is new, {}.",
                after.key,
                describe::model(after, currency)
            )),
            Some(before) => {
                let subject = format!("The vendor's cost `{}`", after.key);
                plans::compare_price(
                    (before, old_currency),
                    (after, currency),
                    &subject,
                    ", in margins only",
                    sentences,
                );
            }
        }
    }
}

fn compare_credits(
    (old, old_currency): (&Catalog, Currency),
    (new, currency): (&Catalog, Currency),
    sentences: &mut Vec<String>,
) {
    let minimum = |catalog: &Catalog, currency: Currency| {
        catalog
            .credits
            .minimum_purchase
            .map_or_else(|| "any amount".to_owned(), |least| format!("{least} {currency}"))
    };
    say_if_changed(
        "The least credit that can be bought",
        &minimum(old, old_currency),
        &minimum(new, currency),
        "",
        sentences,
    );
    let shown = |grant: &Grant, currency: Currency| {
        let expiry = grant.expires_after_days.map(|days| format!(", for {days} days")).unwrap_or_default();
        let (whom, priority) = (describe::values_by_name(&grant.only), grant.priority);
        format!("{} {currency} for {whom} with priority {priority}{expiry}", grant.amount)
    };
    let grants = matched(&old.credits.grants, &new.credits.grants, |grant| grant.key.clone());
    for grant in grants.removed {
        sentences.push(format!("Credit grant `{}` is gone.", grant.key));
    }
    for (before, after) in grants.kept_or_added {
        let subject = format!("Credit grant `{}`", after.key);
        match before {
            None => sentences.push(format!("{subject} is new, {}.", shown(after, currency))),
            Some(before) => {
                say_if_changed(
                    &subject,
                    &shown(before, old_currency),
                    &shown(after, currency),
                    "",
                    sentences,
                );
            }
        }
    }
}
