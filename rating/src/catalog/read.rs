//! The top level of the file: one key for each part, read in the order in which they refer to each other.

use super::Catalog;
use super::canonical;
use super::fields::{self, Fields};
use super::item;
use super::meter;
use super::mistake::{Mistakes, Place};
use super::path::{self, Path};
use super::plan;
use super::price::{self, Context, Price};
use super::quota;
use super::stripe;
use super::tenant::{self, Defaults, Tenant, TenantContext};
use super::yaml::{Content, Entry, Node};
use crate::money::MoneyRounding;
use crate::period::{BillingCycle, TimeZone};

const LINE_ROUNDINGS: [(&str, MoneyRounding); 2] =
    [("half_away_from_zero", MoneyRounding::HalfAwayFromZero), ("half_even", MoneyRounding::HalfEven)];

pub(super) fn catalog(node: &Node, mistakes: &mut Mistakes) -> Option<Catalog> {
    let mut fields = Fields::open(node, "the catalog", Place::START, mistakes)?;
    let name = read_name(&mut fields, mistakes);
    let tenant_path = fields.optional("tenant").and_then(|node| path::read(node, "`tenant`", mistakes));
    let currency = fields.optional("currency").map(|node| plan::read_currency(node, mistakes));
    let line_rounding = fields
        .optional("line_rounding")
        .and_then(|node| fields::word(node, "`line_rounding`", &LINE_ROUNDINGS, mistakes))
        .unwrap_or_default();
    let (sent, stripe_invoices) =
        fields.optional("stripe").and_then(|node| stripe::read_top(node, mistakes)).unwrap_or_default();
    let meters_node = fields.required("meters", mistakes);
    let meters = meters_node.map(|node| meter::read_all(node, mistakes)).unwrap_or_default();
    let declared = keys(meters_node);
    let context = Context {
        meters: &meters,
        declared: &declared,
        line_rounding,
        currency: currency.flatten(),
        names_currency: currency.is_some(),
        stripe: Some(&sent),
    };

    let plans_node = fields.optional("plans");
    let plans = plans_node.map(|node| plan::read_all(node, context, mistakes)).unwrap_or_default();
    check_currency(currency.is_some(), &mut fields, mistakes);
    let items = fields.optional("items").map(|node| item::read_all(node, &plans, context, mistakes));
    let costs = fields.optional("costs").map(|node| read_costs(node, context, mistakes));
    let credits =
        fields.optional("credits").map(|node| item::read_credits(node, currency.flatten(), mistakes));
    let taxes = fields.optional("taxes").map(|node| item::read_taxes(node, mistakes)).unwrap_or_default();
    let declared_plans = keys(plans_node);
    let tenants = TenantContext {
        plans: &plans,
        declared_plans: &declared_plans,
        taxes: &taxes,
        prices: context,
        defaults: &read_defaults(&mut fields, &taxes, mistakes),
    };
    let (tenants, other_tenants) = read_tenants(&mut fields, tenants, mistakes);
    fields.close(mistakes);
    Some(Catalog {
        name: name?,
        tenant: tenant_path.unwrap_or_else(|| Path::Attribute("subject".to_owned())),
        meters,
        currency: currency.flatten(),
        line_rounding,
        plans,
        items: items.unwrap_or_default(),
        costs: costs.unwrap_or_default(),
        credits: credits.unwrap_or_default(),
        taxes,
        stripe_invoices,
        tenants,
        other_tenants,
        hash: canonical::hash(node),
    })
}

fn read_name(fields: &mut Fields<'_>, mistakes: &mut Mistakes) -> Option<String> {
    let node = fields.required("catalog", mistakes)?;
    let name = fields::text(node, "`catalog`", mistakes)?;
    fields::check_name(name, "`catalog`", node.place, mistakes);
    Some(name.to_owned())
}

/// Parts that hold amounts of money and name no currency of their own.
fn check_currency(is_named: bool, fields: &mut Fields<'_>, mistakes: &mut Mistakes) {
    for key in ["items", "costs", "credits"] {
        if let Some(node) = fields.optional(key).filter(|_| !is_named) {
            mistakes
                .report(node.place, format!("`{key}` needs the catalog's `currency`"))
                .hint("add `currency: USD` at the top of the catalog");
        }
    }
}

fn keys(node: Option<&Node>) -> Vec<String> {
    match node.map(|node| &node.content) {
        Some(Content::Map(entries)) => entries.iter().map(|entry| entry.key.clone()).collect(),
        _ => Vec::new(),
    }
}

fn read_costs(node: &Node, context: Context<'_>, mistakes: &mut Mistakes) -> Vec<Price> {
    // What the vendor pays is nobody's invoice.
    let context = Context { stripe: None, ..context };
    quota::entries(node, "`costs`", mistakes)
        .iter()
        .filter_map(|entry| price::read(entry, "cost", &[], context, mistakes))
        .collect()
}

fn read_defaults(fields: &mut Fields<'_>, taxes: &[item::Tax], mistakes: &mut Mistakes) -> Defaults {
    let zone = fields.optional("time_zone").and_then(|node| tenant::read_time_zone(node, mistakes));
    let billing = fields.optional("billing");
    let cycle = billing.and_then(|node| tenant::read_cycle(node, mistakes));
    if let Some(from) = billing.and_then(tenant::billed_from_node) {
        mistakes
            .report(from.place, "`from`: only the `billing` of a tenant has one")
            .hint("write it at each tenant whose earlier periods were billed by another cycle");
    }
    let tax = fields.optional("tax").and_then(|node| tenant::read_tax_choice(node, taxes, mistakes));
    Defaults {
        time_zone: zone.unwrap_or(TimeZone::UTC),
        cycle: cycle.unwrap_or(BillingCycle::CALENDAR_MONTH),
        tax,
    }
}

fn read_tenants(
    fields: &mut Fields<'_>,
    context: TenantContext<'_>,
    mistakes: &mut Mistakes,
) -> (Vec<Tenant>, Option<Tenant>) {
    let tenants = fields.optional("tenants");
    let tenants = tenants.map(|node| tenant::read_all(node, context, mistakes)).unwrap_or_default();
    let others = fields.optional("other_tenants").and_then(|node| {
        let key_place = node.place;
        let entry = Entry { key: "all others".to_owned(), key_place, value: node.clone() };
        let others = tenant::read(&entry, context, mistakes)?;
        if let Some(stripe) = &others.stripe {
            mistakes
                .report(stripe.place, "`other_tenants` cannot share one customer of Stripe")
                .hint("name the tenant under `tenants:` with its `stripe: { customer: cus_... }`");
        }
        Some(others)
    });
    (tenants, others)
}
