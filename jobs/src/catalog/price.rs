//! `meterhouse catalog price`: what a quantity costs by a plan's price, step by step.

use std::collections::BTreeMap;

use anyhow::{Result, bail};
use jiff::civil::Date;
use rating::catalog::{Catalog, PlanVersion, Price};
use rating::exact::Exact;
use rating::money::Currency;
use rating::period::TimeZone;
use rating::price::{Allowance, PoolBalances, PriceTrail, Usage};

use crate::invoice::steps;
use crate::output::{Format, Rows};

/// A question about a price.
#[derive(Debug, Clone)]
pub struct PriceQuestion<'q> {
    pub plan: &'q str,
    pub price: &'q str,
    /// In the price's own unit.
    pub quantity: Exact,
    pub dimensions: BTreeMap<String, String>,
    /// The plan's version in force on this day; none for the newest.
    pub on: Option<Date>,
}

/// Prints each step with its arithmetic.
pub fn print(catalog: &Catalog, question: &PriceQuestion<'_>, format: Format) -> Result<()> {
    let (price, currency, trail) = answer(catalog, question)?;
    let unit = price.usage.as_ref().map_or("", |usage| usage.measured_unit.name.as_str());
    let mut rows = Rows::new(&["step", "arithmetic"]);
    for (name, text) in steps::of_trail(&trail, unit, currency) {
        rows.push(vec![name.into(), text.into()]);
    }
    rows.print(format)?;
    Ok(())
}

fn answer<'c>(
    catalog: &'c Catalog,
    question: &PriceQuestion<'_>,
) -> Result<(&'c Price, Currency, PriceTrail)> {
    let Some(plan) = catalog.plan(question.plan) else {
        let known: Vec<&str> = catalog.plans.iter().map(|plan| plan.key.as_str()).collect();
        bail!("there is no plan {}; the catalog has {}", question.plan, known.join(", "));
    };
    let version = version(&plan.versions, question)?;
    let Some(price) = version.price(question.price) else {
        let known: Vec<&str> = version.prices.iter().map(|price| price.key.as_str()).collect();
        bail!("plan {} has no price {}; it has {}", plan.key, question.price, known.join(", "));
    };
    let conversion = &price.terms.conversion;
    let metered = (&question.quantity * &Exact::from(conversion.divide_by))
        .checked_div(&Exact::from(conversion.multiply_by))
        .unwrap_or_default();
    let unit = price.usage.as_ref().map_or("", |usage| usage.measured_unit.name.as_str());
    let transactions = [question.quantity.clone()];
    let usage = Usage {
        quantity: &metered,
        unit,
        dimensions: &question.dimensions,
        transactions: Some(&transactions),
        over_time: rating::quantity::OverTime::AddsUp,
        span_share: &Exact::ONE,
        so_far: None,
        commitment: None,
    };
    let mut pools = match &price.terms.allowance {
        Some(Allowance::Pool { .. }) => PoolBalances::open(&version.pools, &Exact::ONE),
        _ => PoolBalances::default(),
    };
    Ok((price, plan.currency, price.terms.rate(&usage, plan.currency, &mut pools)?))
}

fn version<'c>(versions: &'c [PlanVersion], question: &PriceQuestion<'_>) -> Result<&'c PlanVersion> {
    let day_end_us = question.on.and_then(|day| {
        let next = day.tomorrow().ok()?.to_zoned(TimeZone::UTC).ok()?;
        Some(next.timestamp().as_microsecond())
    });
    let in_force = versions
        .iter()
        .rev()
        .find(|version| day_end_us.is_none_or(|day_end_us| version.start_us(&TimeZone::UTC) < day_end_us));
    match in_force {
        Some(version) => Ok(version),
        None => bail!("plan {} has no version that early", question.plan),
    }
}

/// Reads `name=value`.
pub fn dimension(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("expected name=value".to_owned()),
    }
}

/// Reads a quantity: a decimal, or a ratio such as 1/3.
pub fn quantity(text: &str) -> Result<Exact, String> {
    text.parse().map_err(|_| "expected a number such as 12.5".to_owned())
}
