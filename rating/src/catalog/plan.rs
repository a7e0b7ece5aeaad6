//! Plans and their versions: which prices, pools, quotas and retention a subscriber has, and from when.
//!
//! Owns: reading plans. Does not own: which version a tenant has at an instant (`in_force`). A version states all
//! of its prices and inherits none, so that each figure that is in force has one line in the file (DESIGN.md 3.8).

use super::fields::{self, Fields};
use super::mistake::{Mistakes, Place};
use super::pool;
use super::price::{self, Context, Price};
use super::quota::{self, Quota, Retention};
use super::stripe;
use super::when::{self, When};
use super::yaml::{Content, Entry, Node};
use crate::money::Currency;
use crate::period::TimeZone;
use crate::price::Pool;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    pub key: String,
    pub description: String,
    pub place: Place,
    pub currency: Currency,
    /// In order of time; each is in force until the next one starts.
    pub versions: Vec<PlanVersion>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlanVersion {
    pub place: Place,
    /// None: since ever. Only the first version may leave it out.
    pub from: Option<When>,
    pub pools: Vec<Pool>,
    /// In the order in which they draw from pools and stand on the invoice.
    pub prices: Vec<Price>,
    pub quotas: Vec<Quota>,
    pub retention: Vec<Retention>,
}

impl Plan {
    pub fn price_keys(&self) -> impl Iterator<Item = &str> {
        self.versions.iter().flat_map(|version| version.prices.iter().map(|price| price.key.as_str()))
    }

    pub fn quota_keys(&self) -> impl Iterator<Item = &str> {
        self.versions.iter().flat_map(|version| version.quotas.iter().map(|quota| quota.key.as_str()))
    }
}

impl PlanVersion {
    pub fn price(&self, key: &str) -> Option<&Price> {
        self.prices.iter().find(|price| price.key == key)
    }

    pub fn quota(&self, key: &str) -> Option<&Quota> {
        self.quotas.iter().find(|quota| quota.key == key)
    }

    pub fn start_us(&self, zone: &TimeZone) -> i64 {
        self.from.map_or(i64::MIN, |from| from.instant_us(zone))
    }
}

/// Reads the mapping below `plans:`.
pub(super) fn read_all(node: &Node, context: Context<'_>, mistakes: &mut Mistakes) -> Vec<Plan> {
    quota::entries(node, "`plans`", mistakes)
        .iter()
        .filter_map(|entry| read(entry, context, mistakes))
        .collect()
}

fn read(entry: &Entry, context: Context<'_>, mistakes: &mut Mistakes) -> Option<Plan> {
    let what = format!("plan `{}`", entry.key);
    fields::check_name(&entry.key, &what, entry.key_place, mistakes);
    let mut fields = Fields::open(&entry.value, what, entry.key_place, mistakes)?;
    let description = fields.description(mistakes);
    let own_currency = fields.optional("currency").map(|node| read_currency(node, mistakes));
    if own_currency.is_none() && !context.names_currency {
        mistakes
            .report(
                entry.key_place,
                format!("{} has no `currency`, and neither has the catalog", fields.what),
            )
            .hint("add `currency: USD` at the top of the catalog");
    }
    let sent = stripe::read_plan(&mut fields, context.stripe, mistakes);
    let context = Context { stripe: sent.as_ref(), ..context };
    let versions = if let Some(list) = fields.optional("versions") {
        let versions = read_versions(list, entry, context, mistakes);
        fields.close(mistakes);
        versions
    } else {
        let version = read_version(&mut fields, entry.key_place, context, mistakes);
        fields.close(mistakes);
        vec![version]
    };
    Some(Plan {
        key: entry.key.clone(),
        description: description.unwrap_or(&entry.key).to_owned(),
        place: entry.key_place,
        currency: own_currency.unwrap_or(context.currency)?,
        versions,
    })
}

pub(super) fn read_currency(node: &Node, mistakes: &mut Mistakes) -> Option<Currency> {
    let written = fields::text(node, "`currency`", mistakes)?;
    let currency = Currency::from_code(written).ok().filter(|currency| currency.code() == written);
    if currency.is_none() {
        mistakes
            .report(node.place, format!("`currency`: `{written}` is no currency of ISO 4217"))
            .hint("write its three capital letters, like `USD` or `EUR`");
    }
    currency
}

fn read_versions(
    node: &Node,
    plan: &Entry,
    context: Context<'_>,
    mistakes: &mut Mistakes,
) -> Vec<PlanVersion> {
    let items = match &node.content {
        Content::List(items) if items.is_empty() => {
            mistakes.report(node.place, "`versions`: the list is empty");
            return Vec::new();
        }
        Content::List(items) => items,
        _ => {
            mistakes
                .report(
                    node.place,
                    format!("`versions`: expected a list of versions, found {}", node.found()),
                )
                .hint("write `- from: 2026-01-01` with the version's `prices:` below it");
            return Vec::new();
        }
    };
    let mut versions: Vec<PlanVersion> = Vec::new();
    for (at, item) in items.iter().enumerate() {
        let what = format!("version {} of plan `{}`", at + 1, plan.key);
        let Some(mut fields) = Fields::open(item, what, item.place, mistakes) else {
            continue;
        };
        let version = read_version(&mut fields, item.place, context, mistakes);
        if let Some(previous) = versions.last() {
            check_order(&version, previous, &mut fields, mistakes);
        }
        fields.close(mistakes);
        versions.push(version);
    }
    versions
}

fn check_order(
    version: &PlanVersion,
    previous: &PlanVersion,
    fields: &mut Fields<'_>,
    mistakes: &mut Mistakes,
) {
    let line = previous.place.line;
    match version.from {
        None if fields.optional("from").is_none() => {
            mistakes
                .report(fields.place, format!("{} has no `from`", fields.what))
                .hint("only the first version may be in force since ever");
        }
        Some(from) if version.start_us(&TimeZone::UTC) <= previous.start_us(&TimeZone::UTC) => {
            mistakes
                .report(
                    fields.place,
                    format!("{} starts at {from}, not after the version before", fields.what),
                )
                .hint(format!("the version in line {line} would never end: versions stand in order of time"));
        }
        _ => {}
    }
}

fn read_version(
    fields: &mut Fields<'_>,
    place: Place,
    context: Context<'_>,
    mistakes: &mut Mistakes,
) -> PlanVersion {
    let from = fields.optional("from").and_then(|node| when::read(node, "`from`", mistakes));
    let pools = fields.optional("pools").map(|node| pool::read_all(node, mistakes)).unwrap_or_default();
    let prices = fields.required("prices", mistakes);
    let prices: Vec<Price> = prices
        .map(|node| quota::entries(node, "`prices`", mistakes))
        .unwrap_or_default()
        .iter()
        .filter_map(|entry| price::read(entry, "price", &pools, context, mistakes))
        .collect();
    stripe::check_event_names(&prices, mistakes);
    let quotas =
        fields.optional("quotas").map(|node| quota::read_all(node, context, mistakes)).unwrap_or_default();
    let retention =
        fields.optional("retention").map(|node| quota::read_retention(node, mistakes)).unwrap_or_default();
    PlanVersion { place, from, pools, prices, quotas, retention }
}
