//! Quotas and retention: how much a tenant may use, and how long what is stored is kept.
//!
//! Owns: the definitions. Does not own: enforcing them or sending alerts (jobs do). A quota never changes what is
//! billed; it names its usage by the same keys as a price, so that both always speak of the same figure.

use rust_decimal::Decimal;

use super::fields::{self, Fields};
use super::mistake::{Mistakes, Place};
use super::number;
use super::price::{self, Context, PricedUsage};
use super::yaml::{Content, Entry, Node};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quota {
    pub key: String,
    pub description: String,
    pub place: Place,
    pub usage: PricedUsage,
    pub limit: Limit,
    pub window: QuotaWindow,
    /// Percentages of the limit at which the tenant is told, rising.
    pub alert_at_percent: Vec<Decimal>,
    pub when_reached: WhenReached,
}

/// How much a quota allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    Unlimited,
    /// In the unit of the quota's usage.
    Of(Decimal),
}

/// Over what time a quota's usage is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum QuotaWindow {
    #[default]
    Period,
    /// The current clock hour: rate limits.
    Hour,
    /// Since the tenant's first event: prepaid amounts that are drawn down.
    Lifetime,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum WhenReached {
    /// Alerts only; usage goes on and is billed.
    #[default]
    Notify,
    /// The platform is told to refuse more.
    Refuse,
}

/// How long something is kept before a clean-up job acts on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retention {
    pub key: String,
    pub description: String,
    pub place: Place,
    pub keep_days: u32,
    pub then: CleanUp,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CleanUp {
    Delete,
    /// Moved to a cheaper storage class.
    Archive,
    Notify,
}

/// Reads the mapping below `quotas:`.
pub(super) fn read_all(node: &Node, context: Context<'_>, mistakes: &mut Mistakes) -> Vec<Quota> {
    entries(node, "`quotas`", mistakes).iter().filter_map(|entry| read(entry, context, mistakes)).collect()
}

fn read(entry: &Entry, context: Context<'_>, mistakes: &mut Mistakes) -> Option<Quota> {
    let what = format!("quota `{}`", entry.key);
    fields::check_name(&entry.key, &what, entry.key_place, mistakes);
    let mut fields = Fields::open(&entry.value, what, entry.key_place, mistakes)?;
    let description = fields.description(mistakes);
    fields.required("meter", mistakes);
    let usage = price::read_usage(&mut fields, context, mistakes);
    let limit = fields.required("limit", mistakes).and_then(|node| read_limit(node, mistakes));
    let windows =
        [("period", QuotaWindow::Period), ("hour", QuotaWindow::Hour), ("lifetime", QuotaWindow::Lifetime)];
    let window =
        fields.optional("window").and_then(|node| fields::word(node, "`window`", &windows, mistakes));
    let alert_at = fields.optional("alert_at").map(|node| read_alerts(node, mistakes)).unwrap_or_default();
    let outcomes = [("notify", WhenReached::Notify), ("refuse", WhenReached::Refuse)];
    let when_reached = fields
        .optional("when_reached")
        .and_then(|node| fields::word(node, "`when_reached`", &outcomes, mistakes));
    fields.close(mistakes);
    Some(Quota {
        key: entry.key.clone(),
        description: description.unwrap_or(&entry.key).to_owned(),
        place: entry.key_place,
        usage: usage?,
        limit: limit?,
        window: window.unwrap_or_default(),
        alert_at_percent: alert_at,
        when_reached: when_reached.unwrap_or_default(),
    })
}

pub(super) fn read_limit(node: &Node, mistakes: &mut Mistakes) -> Option<Limit> {
    if matches!(&node.content, Content::Text { text, .. } if text == "unlimited") {
        return Some(Limit::Unlimited);
    }
    let before = mistakes.count();
    let limit = number::at_least_zero(node, "`limit`", mistakes).map(Limit::Of);
    if mistakes.count() > before {
        mistakes.hint_last("write a number in the quota's unit, or `unlimited`");
    }
    limit
}

fn read_alerts(node: &Node, mistakes: &mut Mistakes) -> Vec<Decimal> {
    let mut alerts: Vec<Decimal> = Vec::new();
    for item in fields::list(node) {
        let Some(percent) = number::above_zero(item, "`alert_at`", mistakes) else {
            continue;
        };
        if alerts.last().is_some_and(|last| *last >= percent) {
            mistakes.report(item.place, "`alert_at`: the percentages must rise");
        }
        alerts.push(percent);
    }
    alerts
}

/// Reads the mapping below `retention:`.
pub(super) fn read_retention(node: &Node, mistakes: &mut Mistakes) -> Vec<Retention> {
    entries(node, "`retention`", mistakes).iter().filter_map(|entry| read_rule(entry, mistakes)).collect()
}

fn read_rule(entry: &Entry, mistakes: &mut Mistakes) -> Option<Retention> {
    let what = format!("retention `{}`", entry.key);
    fields::check_name(&entry.key, &what, entry.key_place, mistakes);
    let mut fields = Fields::open(&entry.value, what, entry.key_place, mistakes)?;
    let description = fields.description(mistakes);
    let keep =
        fields.required("keep_days", mistakes).and_then(|node| read_days(node, "`keep_days`", mistakes));
    let actions = [("delete", CleanUp::Delete), ("archive", CleanUp::Archive), ("notify", CleanUp::Notify)];
    let then =
        fields.required("then", mistakes).and_then(|node| fields::word(node, "`then`", &actions, mistakes));
    fields.close(mistakes);
    Some(Retention {
        key: entry.key.clone(),
        description: description.unwrap_or(&entry.key).to_owned(),
        place: entry.key_place,
        keep_days: keep?,
        then: then?,
    })
}

pub(super) fn read_days(node: &Node, what: &str, mistakes: &mut Mistakes) -> Option<u32> {
    let days = number::whole(node, what, mistakes)?;
    let in_range = u32::try_from(days).ok().filter(|days| (1..=36_525).contains(days));
    if in_range.is_none() {
        mistakes.report(node.place, format!("{what}: expected 1 to 36525 days, found `{days}`"));
    }
    in_range
}

pub(super) fn entries<'n>(node: &'n Node, what: &str, mistakes: &mut Mistakes) -> &'n [Entry] {
    if let Content::Map(entries) = &node.content {
        return entries;
    }
    if node.content != Content::Alias {
        let found = node.found();
        mistakes.report(node.place, format!("{what}: expected a mapping of names, found {found}"));
    }
    &[]
}
