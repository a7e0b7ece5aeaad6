//! What is sold outside of plans: one-off items, credits, and the taxes that lines may carry.
//!
//! Owns: the definitions. Does not own: the ledger, balances, and quotas in force (the book and jobs do).

use std::collections::BTreeMap;

use rust_decimal::Decimal;

use super::fields::{self, Fields};
use super::mistake::{Mistakes, Place};
use super::number;
use super::plan::Plan;
use super::price::{self, Context, Price};
use super::quota;
use super::yaml::{Content, Entry, Node};
use crate::money::Currency;

/// Something bought once, like a space or more storage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    pub key: String,
    pub description: String,
    pub place: Place,
    /// None when it is sold elsewhere and only its effect on a quota counts here. A price with usage bills the
    /// purchases that arrive as events; a flat one is charged by the command that sells it.
    pub price: Option<Price>,
    pub raises: Option<QuotaRaise>,
    /// How long the raise lasts; none is for ever.
    pub lasts_days: Option<u32>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuotaRaise {
    pub quota: String,
    /// In the quota's unit; none raises it by the quantity that was bought.
    pub by: Option<Decimal>,
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Credits {
    /// The least that can be bought at once.
    pub minimum_purchase: Option<Decimal>,
    pub grants: Vec<Grant>,
}

/// Credit that a tenant is given once, with its first subscription.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    pub key: String,
    pub description: String,
    pub place: Place,
    pub amount: Decimal,
    /// Only tenants whose attributes have one of these values.
    pub only: BTreeMap<String, Vec<String>>,
    /// Lower is used up first; then the earlier expiry, then the earlier grant.
    pub priority: u32,
    pub expires_after_days: Option<u32>,
}

/// A rate that the tax step of an invoice applies to its lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tax {
    pub key: String,
    /// As the invoice shows it.
    pub description: String,
    pub place: Place,
    pub percent: Decimal,
}

/// Reads the mapping below `items:`.
pub(super) fn read_all(
    node: &Node,
    plans: &[Plan],
    context: Context<'_>,
    mistakes: &mut Mistakes,
) -> Vec<Item> {
    quota::entries(node, "`items`", mistakes)
        .iter()
        .filter_map(|entry| read(entry, plans, context, mistakes))
        .collect()
}

fn read(entry: &Entry, plans: &[Plan], context: Context<'_>, mistakes: &mut Mistakes) -> Option<Item> {
    let what = format!("item `{}`", entry.key);
    fields::check_name(&entry.key, &what, entry.key_place, mistakes);
    let mut fields = Fields::open(&entry.value, what, entry.key_place, mistakes)?;
    let description = fields.description(mistakes);
    let elsewhere = fields.optional("sold_elsewhere");
    let elsewhere =
        elsewhere.is_some_and(|node| number::boolean(node, "`sold_elsewhere`", mistakes) == Some(true));
    let raises = fields.optional("raises").map(|node| read_raise(node, plans, mistakes));
    let lasts = fields.optional("lasts_days").map(|node| quota::read_days(node, "`lasts_days`", mistakes));
    let price = if elsewhere {
        None
    } else {
        Some(price::read_fields(&entry.key, &mut fields, &[], context, mistakes))
    };
    fields.close(mistakes);
    if elsewhere && raises.is_none() {
        mistakes
            .report(entry.key_place, format!("item `{}` has no effect", entry.key))
            .hint("an item that is sold elsewhere needs `raises: { quota: ... }` to mean something here");
    }
    let mut price = unless_wrong!(price);
    if let Some(price) = price.as_mut().filter(|price| price.usage.is_none()) {
        price.once = true;
        if let crate::price::PriceModel::Flat(flat) = &mut price.terms.model {
            flat.prorated = false;
        }
    }
    if let Some(price) = &price {
        check_currency(price, entry, plans, context, mistakes);
    }
    Some(Item {
        key: entry.key.clone(),
        description: description.unwrap_or(&entry.key).to_owned(),
        place: entry.key_place,
        price,
        raises: unless_wrong!(raises),
        lasts_days: lasts.flatten(),
    })
}

/// Purchases that arrive as events stand on the invoice beside the plan's prices.
fn check_currency(
    price: &Price,
    entry: &Entry,
    plans: &[Plan],
    context: Context<'_>,
    mistakes: &mut Mistakes,
) {
    let Some(currency) = context.currency.filter(|_| price.usage.is_some()) else { return };
    if let Some(plan) = plans.iter().find(|plan| plan.currency != currency) {
        mistakes
            .report(
                entry.key_place,
                format!("item `{}` is in {currency}, but plan `{}` is in {}", entry.key, plan.key, plan.currency),
            )
            .hint(format!(
                "an invoice has one currency, and any tenant may buy the item: move the plan of line {} into a \
                 catalog of its own, or mark the item `sold_elsewhere: true`",
                plan.place.line
            ));
    }
}

fn read_raise(node: &Node, plans: &[Plan], mistakes: &mut Mistakes) -> Option<QuotaRaise> {
    let mut fields = Fields::open(node, "`raises`", node.place, mistakes)?;
    let quota = fields.required("quota", mistakes).and_then(|node| {
        let key = fields::text(node, "`quota`", mistakes)?;
        if !plans.iter().flat_map(Plan::quota_keys).any(|known| known == key) {
            mistakes
                .report(node.place, format!("no plan has a quota `{key}`"))
                .did_you_mean(key, plans.iter().flat_map(Plan::quota_keys));
        }
        Some(key.to_owned())
    });
    let by = fields.required("by", mistakes).and_then(|node| match &node.content {
        Content::Text { text, .. } if text == "quantity" => Some(None),
        _ => number::above_zero(node, "`by`", mistakes).map(Some),
    });
    fields.close(mistakes);
    Some(QuotaRaise { quota: quota?, by: by? })
}

/// Reads the mapping below `credits:`.
pub(super) fn read_credits(node: &Node, currency: Option<Currency>, mistakes: &mut Mistakes) -> Credits {
    let Some(mut fields) = Fields::open(node, "`credits`", node.place, mistakes) else {
        return Credits::default();
    };
    let minimum_purchase = fields
        .optional("minimum_purchase")
        .and_then(|node| number::above_zero(node, "`minimum_purchase`", mistakes));
    let grants =
        fields.optional("grants").map(|node| quota::entries(node, "`grants`", mistakes)).unwrap_or_default();
    let grants = grants.iter().filter_map(|entry| read_grant(entry, currency, mistakes)).collect();
    fields.close(mistakes);
    Credits { minimum_purchase, grants }
}

fn read_grant(entry: &Entry, currency: Option<Currency>, mistakes: &mut Mistakes) -> Option<Grant> {
    let what = format!("grant `{}`", entry.key);
    fields::check_name(&entry.key, &what, entry.key_place, mistakes);
    let mut fields = Fields::open(&entry.value, what, entry.key_place, mistakes)?;
    let description = fields.description(mistakes);
    let amount =
        fields.required("amount", mistakes).and_then(|node| read_grant_amount(node, currency, mistakes));
    let only =
        fields.optional("only").map(|node| quota::entries(node, "`only`", mistakes)).unwrap_or_default();
    let only = only
        .iter()
        .map(|entry| (entry.key.clone(), fields::texts(&entry.value, "`only`", mistakes)))
        .collect();
    let priority = fields.optional("priority").and_then(|node| number::whole(node, "`priority`", mistakes));
    let expires = fields.optional("expires_after_days");
    let expires = expires.and_then(|node| quota::read_days(node, "`expires_after_days`", mistakes));
    fields.close(mistakes);
    Some(Grant {
        key: entry.key.clone(),
        description: description.unwrap_or(&entry.key).to_owned(),
        place: entry.key_place,
        amount: amount?,
        only,
        priority: priority.and_then(|priority| u32::try_from(priority).ok()).unwrap_or(100),
        expires_after_days: expires,
    })
}

/// Credit pays for lines, which are whole minor units.
fn read_grant_amount(node: &Node, currency: Option<Currency>, mistakes: &mut Mistakes) -> Option<Decimal> {
    let amount = number::above_zero(node, "`amount`", mistakes)?.normalize();
    let currency = currency.filter(|currency| amount.scale() > currency.minor_digits());
    if let Some(currency) = currency {
        mistakes
            .report(node.place, format!("`amount`: {amount} is no amount that can be paid in {currency}"))
            .hint(format!("{currency} has {} decimals", currency.minor_digits()));
        return None;
    }
    Some(amount)
}

/// Reads the mapping below `taxes:`.
pub(super) fn read_taxes(node: &Node, mistakes: &mut Mistakes) -> Vec<Tax> {
    quota::entries(node, "`taxes`", mistakes).iter().filter_map(|entry| read_tax(entry, mistakes)).collect()
}

fn read_tax(entry: &Entry, mistakes: &mut Mistakes) -> Option<Tax> {
    let what = format!("tax `{}`", entry.key);
    fields::check_name(&entry.key, &what, entry.key_place, mistakes);
    let mut fields = Fields::open(&entry.value, what, entry.key_place, mistakes)?;
    let description = fields.description(mistakes);
    let percent =
        fields.required("percent", mistakes).and_then(|node| number::percent(node, "`percent`", mistakes));
    fields.close(mistakes);
    Some(Tax {
        key: entry.key.clone(),
        description: description.unwrap_or(&entry.key).to_owned(),
        place: entry.key_place,
        percent: percent?,
    })
}
