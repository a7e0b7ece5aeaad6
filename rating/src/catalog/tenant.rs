//! Tenants: where they live, when they are billed, what they subscribe to.
//!
//! Owns: reading tenants and finding each subscription's exact span. Does not own: a tenant's special prices
//! (`overrides`) and spans inside a period (`in_force`). Keeps DESIGN.md 3.4: dates are the tenant's own.

use std::collections::BTreeMap;

use super::fields::{self, Fields};
use super::item::Tax;
use super::mistake::{Mistakes, Place};
use super::number;
use super::overrides::{self, Override};
use super::plan::Plan;
use super::price::Context;
use super::quota;
use super::stripe::{self, StripeCustomer};
use super::when::{self, When};
use super::yaml::{Content, Entry, Node};
use crate::period::{BillingCycle, Span, TimeZone, time_zone};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tenant {
    /// As events name it.
    pub key: String,
    pub name: String,
    pub place: Place,
    pub time_zone: TimeZone,
    pub cycle: BillingCycle,
    /// Nothing before this instant is billed by the cycle: an earlier cycle, or another time zone, billed it.
    pub billed_from: Option<When>,
    /// The tax of its invoices; none is untaxed.
    pub tax: Option<String>,
    /// Whom an invoice is made out to, below the name.
    pub address: Vec<String>,
    /// The number under which the tenant pays tax, as its invoices show it.
    pub tax_id: Option<String>,
    /// Where invoices go.
    pub email: Option<String>,
    /// Facts about the tenant that grants and reports look at.
    pub attributes: BTreeMap<String, String>,
    pub subscriptions: Vec<Subscription>,
    pub overrides: Vec<Override>,
    /// Who it is in Stripe; none is not billed there.
    pub stripe: Option<StripeCustomer>,
}

impl Tenant {
    /// The part of a period that is billed: all of it, unless an earlier billing cycle billed its beginning.
    pub fn billed_part(&self, period: Span) -> Option<Span> {
        let from_us = self.billed_from.map_or(i64::MIN, |from| from.instant_us(&self.time_zone));
        period.intersection(&Span { start_us: from_us, end_us: i64::MAX })
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscription {
    /// Unique among the tenant's subscriptions; part of the key of each invoice line.
    pub key: String,
    pub place: Place,
    pub plan: String,
    pub from: When,
    pub until: Option<When>,
    /// From and until as instants; the end of time where it is open.
    pub span: Span,
    /// Keeps the plan's version that was in force then, whatever versions follow.
    pub prices_as_of: Option<When>,
}

/// What a tenant may refer to, and what it has unless it says otherwise.
#[derive(Debug, Clone, Copy)]
pub(super) struct TenantContext<'c> {
    pub plans: &'c [Plan],
    /// Names of all plans in the file, also of those with mistakes of their own.
    pub declared_plans: &'c [String],
    pub taxes: &'c [Tax],
    pub prices: Context<'c>,
    pub defaults: &'c Defaults,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Defaults {
    pub time_zone: TimeZone,
    pub cycle: BillingCycle,
    pub tax: Option<String>,
}

/// Reads the mapping below `tenants:`.
pub(super) fn read_all(node: &Node, context: TenantContext<'_>, mistakes: &mut Mistakes) -> Vec<Tenant> {
    quota::entries(node, "`tenants`", mistakes)
        .iter()
        .filter_map(|entry| {
            if entry.key.is_empty() {
                mistakes.report(entry.key_place, "a tenant's name is empty");
            }
            read(entry, context, mistakes)
        })
        .collect()
}

pub(super) fn read(entry: &Entry, context: TenantContext<'_>, mistakes: &mut Mistakes) -> Option<Tenant> {
    let what = format!("tenant `{}`", entry.key);
    let mut fields = Fields::open(&entry.value, what, entry.key_place, mistakes)?;
    let name = fields.optional("name").and_then(|node| fields::text(node, "`name`", mistakes));
    let zone = fields.optional("time_zone").and_then(|node| read_time_zone(node, mistakes));
    let billing = fields.optional("billing");
    let cycle = billing.and_then(|node| read_cycle(node, mistakes));
    let tax = fields.optional("tax").map(|node| read_tax_choice(node, context.taxes, mistakes));
    let address = fields.optional("address").map(|node| read_address(node, mistakes)).unwrap_or_default();
    let tax_id = fields.optional("tax_id").and_then(|node| read_line(node, "`tax_id`", mistakes));
    let email = fields.optional("email").and_then(|node| read_email(node, mistakes));
    let attributes =
        fields.optional("attributes").map(|node| read_attributes(node, mistakes)).unwrap_or_default();
    let subscriptions = fields.optional("subscriptions");
    let overrides = fields.optional("overrides");
    let sent = fields.optional("stripe");
    let zone = zone.unwrap_or_else(|| context.defaults.time_zone.clone());
    let billed_from =
        billing.and_then(billed_from_node).and_then(|node| read_when(node, "`from`", &zone, mistakes));
    let subscriptions =
        subscriptions.map(|node| read_subscriptions(node, &zone, context, mistakes)).unwrap_or_default();
    let overrides = overrides
        .map(|node| overrides::read_all(node, &fields.what, &zone, &subscriptions, context, mistakes))
        .unwrap_or_default();
    let sent = sent
        .and_then(|node| stripe::read_tenant(node, &fields.what, &subscriptions, context.plans, mistakes));
    fields.close(mistakes);
    Some(Tenant {
        key: entry.key.clone(),
        name: name.unwrap_or(&entry.key).to_owned(),
        place: entry.key_place,
        time_zone: zone,
        cycle: cycle.unwrap_or(context.defaults.cycle),
        billed_from,
        tax: tax.unwrap_or_else(|| context.defaults.tax.clone()),
        address,
        tax_id,
        email,
        attributes,
        subscriptions,
        overrides,
        stripe: sent,
    })
}

pub(super) fn read_time_zone(node: &Node, mistakes: &mut Mistakes) -> Option<TimeZone> {
    let written = fields::text(node, "`time_zone`", mistakes)?;
    let zone = time_zone(written).ok();
    if zone.is_none() {
        mistakes
            .report(node.place, format!("`time_zone`: there is no time zone `{written}`"))
            .hint("write a name of the IANA database, like `Europe/Berlin` or `UTC`");
    }
    zone
}

/// From when on the cycle bills, where `billing` says so. It is an instant of a tenant, whose time zone is known later.
pub(super) fn billed_from_node(billing: &Node) -> Option<&Node> {
    let Content::Map(entries) = &billing.content else { return None };
    entries.iter().find(|entry| entry.key == "from").map(|entry| &entry.value)
}

/// `calendar_month`, or a number of months and the day on which a period starts.
pub(super) fn read_cycle(node: &Node, mistakes: &mut Mistakes) -> Option<BillingCycle> {
    if !matches!(node.content, Content::Map(_)) {
        let before = mistakes.count();
        let words = [("calendar_month", BillingCycle::CALENDAR_MONTH)];
        let cycle = fields::word(node, "`billing`", &words, mistakes);
        if mistakes.count() > before {
            mistakes.hint_last(
                "or the day from which periods are counted, like `{ every_months: 1, anchor: 2026-01-15 }`",
            );
        }
        return cycle;
    }
    let mut fields = Fields::open(node, "`billing`", node.place, mistakes)?;
    let months = fields.optional("every_months").map(|node| {
        let months = number::whole(node, "`every_months`", mistakes)?;
        let in_range = u8::try_from(months).ok().filter(|months| (1..=120).contains(months));
        if in_range.is_none() {
            mistakes.report(node.place, format!("`every_months`: expected 1 to 120, found `{months}`"));
        }
        in_range
    });
    let anchor =
        fields.required("anchor", mistakes).and_then(|node| match when::read(node, "`anchor`", mistakes)? {
            When::Day(date) => Some(date),
            other => {
                mistakes.report(node.place, format!("`anchor`: expected a day, found the time `{other}`"));
                None
            }
        });
    fields.optional("from");
    fields.close(mistakes);
    BillingCycle::from_anchor(months.unwrap_or(Some(1))?, anchor?)
}

pub(super) fn read_tax_choice(node: &Node, taxes: &[Tax], mistakes: &mut Mistakes) -> Option<String> {
    let written = fields::text(node, "`tax`", mistakes)?;
    if written == "none" {
        return None;
    }
    if !taxes.iter().any(|tax| tax.key == written) {
        mistakes
            .report(node.place, format!("there is no tax `{written}`"))
            .hint("name an entry of `taxes:`, or `none`")
            .did_you_mean(written, taxes.iter().map(|tax| tax.key.as_str()));
    }
    Some(written.to_owned())
}

/// A list of lines, or one text whose lines they are.
fn read_address(node: &Node, mistakes: &mut Mistakes) -> Vec<String> {
    let texts = fields::texts(node, "`address`", mistakes);
    let lines = texts.iter().flat_map(|text| text.lines()).map(str::trim);
    lines.filter(|line| !line.is_empty()).map(str::to_owned).collect()
}

fn read_line(node: &Node, what: &str, mistakes: &mut Mistakes) -> Option<String> {
    let written = fields::text(node, what, mistakes)?.trim();
    if written.is_empty() {
        mistakes.report(node.place, format!("{what} is empty")).hint("leave the key out if there is none");
        return None;
    }
    Some(written.to_owned())
}

fn read_email(node: &Node, mistakes: &mut Mistakes) -> Option<String> {
    let written = read_line(node, "`email`", mistakes)?;
    let is_address = written.split_once('@').is_some_and(|(name, host)| !name.is_empty() && !host.is_empty());
    if !is_address || written.contains(char::is_whitespace) {
        mistakes
            .report(node.place, format!("`email`: expected an e-mail address, found `{written}`"))
            .hint("for example `billing@acme.example`");
        return None;
    }
    Some(written)
}

fn read_attributes(node: &Node, mistakes: &mut Mistakes) -> BTreeMap<String, String> {
    quota::entries(node, "`attributes`", mistakes)
        .iter()
        .filter_map(|entry| {
            let text = fields::text(&entry.value, &format!("attribute `{}`", entry.key), mistakes)?;
            Some((entry.key.clone(), text.to_owned()))
        })
        .collect()
}

fn read_subscriptions(
    node: &Node,
    zone: &TimeZone,
    context: TenantContext<'_>,
    mistakes: &mut Mistakes,
) -> Vec<Subscription> {
    let mut subscriptions: Vec<Subscription> = Vec::new();
    for item in fields::list(node) {
        let Some(subscription) = read_subscription(item, zone, context, mistakes) else {
            continue;
        };
        check_among(&subscription, &subscriptions, context, mistakes);
        subscriptions.push(subscription);
    }
    subscriptions
}

fn read_subscription(
    node: &Node,
    zone: &TimeZone,
    context: TenantContext<'_>,
    mistakes: &mut Mistakes,
) -> Option<Subscription> {
    let mut fields = Fields::open(node, "a subscription", node.place, mistakes)?;
    let id = fields.optional("id").and_then(|node| fields::text(node, "`id`", mistakes));
    let plan = fields.required("plan", mistakes);
    let plan = plan.and_then(|node| find_plan(node, context, mistakes).map(|plan| (plan, node.place)));
    let from = fields.required("from", mistakes).and_then(|node| read_when(node, "`from`", zone, mistakes));
    let until_node = fields.optional("until");
    let until = until_node.map(|node| read_when(node, "`until`", zone, mistakes));
    let as_of = fields.optional("prices_as_of").map(|node| read_when(node, "`prices_as_of`", zone, mistakes));
    fields.close(mistakes);
    let (from, until, as_of) = (from?, unless_wrong!(until), unless_wrong!(as_of));
    let span = span_between(Some(from), until, zone, until_node, mistakes)?;
    let (plan, plan_place) = plan?;
    if let Some(plan) = context.plans.iter().find(|known| known.key == plan) {
        check_versions(plan, as_of.unwrap_or(from), zone, plan_place, mistakes);
    }
    Some(Subscription {
        key: id.unwrap_or(&plan).to_owned(),
        place: node.place,
        plan,
        from,
        until,
        span,
        prices_as_of: as_of,
    })
}

pub(super) fn find_plan(node: &Node, context: TenantContext<'_>, mistakes: &mut Mistakes) -> Option<String> {
    let written = fields::text(node, "`plan`", mistakes)?;
    if !context.declared_plans.iter().any(|key| key == written) {
        mistakes
            .report(node.place, format!("there is no plan `{written}`"))
            .hint("name an entry of `plans:`")
            .did_you_mean(written, context.declared_plans.iter().map(String::as_str));
        return None;
    }
    Some(written.to_owned())
}

/// Reads an instant and refuses local times that the tenant's clock skips or shows twice.
pub(super) fn read_when(node: &Node, what: &str, zone: &TimeZone, mistakes: &mut Mistakes) -> Option<When> {
    let when = when::read(node, what, mistakes)?;
    if let Some(problem) = when.problem_in(zone) {
        let zone = zone.iana_name().unwrap_or("the tenant's time zone");
        mistakes
            .report(node.place, format!("{what}: `{when}` is not one instant in {zone}: {problem}"))
            .hint("write the exact time with its offset, like `2026-03-29T01:30:00Z`");
        return None;
    }
    Some(when)
}

/// The span from one instant to another, open where either is not given.
pub(super) fn span_between(
    from: Option<When>,
    until: Option<When>,
    zone: &TimeZone,
    until_node: Option<&Node>,
    mistakes: &mut Mistakes,
) -> Option<Span> {
    let start_us = from.map_or(i64::MIN, |from| from.instant_us(zone));
    let end_us = until.map_or(i64::MAX, |until| until.instant_us(zone));
    if let (Some(from), Some(until), true, Some(node)) = (from, until, start_us >= end_us, until_node) {
        mistakes
            .report(node.place, format!("`until`: {until} is not after `from`, {from}"))
            .hint("the end itself is not included: `until: 2026-02-01` is in force through 31 January");
        return None;
    }
    Some(Span { start_us, end_us })
}

/// A subscription must not begin before its plan has prices.
fn check_versions(plan: &Plan, start: When, zone: &TimeZone, place: Place, mistakes: &mut Mistakes) {
    let Some(first) = plan.versions.first() else {
        return;
    };
    check_order(plan, zone, place, mistakes);
    if let Some(first_from) = first.from.filter(|from| from.instant_us(zone) > start.instant_us(zone)) {
        mistakes
            .report(place, format!("there is a gap: plan `{}` has no prices before {first_from}", plan.key))
            .hint(format!(
                "the subscription needs them from {start} on; its first version stands in line {}",
                first.place.line
            ));
    }
}

/// Versions that follow each other on one clock may not on another: a day begins at other instants in other zones.
fn check_order(plan: &Plan, zone: &TimeZone, place: Place, mistakes: &mut Mistakes) {
    for pair in plan.versions.windows(2) {
        if let (Some(from), Some(next)) = (pair[0].from, pair[1].from)
            && pair[0].start_us(&TimeZone::UTC) < pair[1].start_us(&TimeZone::UTC)
            && pair[0].start_us(zone) >= pair[1].start_us(zone)
        {
            let zone = zone.iana_name().unwrap_or("the tenant's time zone");
            mistakes
                .report(place, format!("in {zone}, the version of `{}` from {from} would never hold", plan.key))
                .hint(format!(
                    "the next one starts at {next}, in line {}: write both as days, or both with their offset",
                    pair[1].place.line
                ));
        }
    }
}

fn check_among(
    subscription: &Subscription,
    others: &[Subscription],
    context: TenantContext<'_>,
    mistakes: &mut Mistakes,
) {
    let overlapping = others.iter().find(|other| {
        other.plan == subscription.plan && other.span.intersection(&subscription.span).is_some()
    });
    if let Some(other) = overlapping {
        mistakes
            .report(
                subscription.place,
                format!("this subscription to `{}` overlaps another one", subscription.plan),
            )
            .hint(format!("the other stands in line {}: end it with `until`", other.place.line));
    } else if let Some(other) = others.iter().find(|other| other.key == subscription.key) {
        mistakes
            .report(subscription.place, format!("two subscriptions are called `{}`", subscription.key))
            .hint(format!(
                "the other stands in line {}: give one of them an `id` of its own",
                other.place.line
            ));
    }
    let currency_of = |key: &str| context.plans.iter().find(|plan| plan.key == key).map(|plan| plan.currency);
    let own = currency_of(&subscription.plan);
    let other =
        others.iter().find(|other| own.is_some() && currency_of(&other.plan).is_some_and(|c| Some(c) != own));
    if let (Some(own), Some(other)) = (own, other) {
        mistakes
            .report(
                subscription.place,
                format!("plan `{}` is in {own}, but another subscription is not", subscription.plan),
            )
            .hint(format!(
                "an invoice has one currency; see the subscription to `{}` in line {}",
                other.plan, other.place.line
            ));
    }
}
