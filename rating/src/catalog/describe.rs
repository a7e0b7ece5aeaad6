//! The catalog's parts in words, for `diff` and for people who do not read YAML.
//!
//! Owns: the wording. One fragment has no subject and no full stop, so that sentences can be built from it.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::meter::Condition;
use super::price::{Price, PricedUsage};
use super::quota::{CleanUp, Limit, Quota, QuotaWindow, WhenReached};
use crate::money::{Currency, MoneyRounding};
use crate::period::BillingCycle;
use crate::price::{
    Allowance, Commitment, CommittedUsage, Discount, MatrixPrice, PercentagePrice, PriceModel,
    QuantityRounding, RoundingDirection, Tier, ZeroUsage,
};

/// `a`, `b` and `c`.
pub(super) fn listed(names: &[String]) -> String {
    match names {
        [] => String::new(),
        [one] => one.clone(),
        [start @ .., last] => format!("{} and {last}", start.join(", ")),
    }
}

pub(super) fn quoted<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    listed(&names.into_iter().map(|name| format!("`{name}`")).collect::<Vec<_>>())
}

impl PriceModel {
    /// What the model charges for a unit of that name, in words.
    pub fn in_words(&self, unit: &str, currency: Currency) -> String {
        charge(self, unit, currency)
    }

    /// The model's name, as the catalog writes it.
    pub fn name(&self) -> &'static str {
        match self {
            PriceModel::Flat(_) => "flat",
            PriceModel::PerUnit(_) => "per_unit",
            PriceModel::Package(_) => "package",
            PriceModel::Graduated(_) => "graduated",
            PriceModel::Volume(_) => "volume",
            PriceModel::Matrix(_) => "matrix",
            PriceModel::Percentage(_) => "percentage",
        }
    }
}

impl BillingCycle {
    /// `calendar months`, or how many months and from which day.
    pub fn in_words(self) -> String {
        cycle(self)
    }
}

/// What a price charges: its model with the unit it counts in.
pub(super) fn model(price: &Price, currency: Currency) -> String {
    let unit = price.usage.as_ref().map_or("unit", |usage| usage.unit.name.as_str());
    if let (PriceModel::Flat(flat), true) = (&price.terms.model, price.once) {
        return format!("{} {currency} once", flat.amount);
    }
    charge(&price.terms.model, unit, currency)
}

pub(super) fn charge(model: &PriceModel, unit: &str, currency: Currency) -> String {
    match model {
        PriceModel::Flat(flat) => {
            let share = if flat.prorated { "" } else { ", whole even for a part of it" };
            format!("{} {currency} per period{share}", flat.amount)
        }
        PriceModel::PerUnit(price) => format!("{} {currency} per {unit}", price.unit_price),
        PriceModel::Package(package) => {
            let counted = match package.rounding {
                RoundingDirection::Up => "started",
                RoundingDirection::Down => "full",
                RoundingDirection::Nearest => "nearest",
            };
            format!(
                "{} {currency} for each {counted} package of {} {unit}",
                package.package_price, package.size
            )
        }
        PriceModel::Graduated(price) => {
            format!("by graduated tiers {}", tiers(&price.tiers, price.zero_usage, unit, currency))
        }
        PriceModel::Volume(price) => {
            format!(
                "by the tier of the whole volume {}",
                tiers(&price.tiers, price.zero_usage, unit, currency)
            )
        }
        PriceModel::Matrix(matrix) => matrix_charge(matrix, unit, currency),
        PriceModel::Percentage(price) => percentage(price),
    }
}

fn matrix_charge(matrix: &MatrixPrice, unit: &str, currency: Currency) -> String {
    let cells = matrix.cells.iter().map(|cell| {
        let charged = charge(&cell.price, unit, currency);
        format!("{charged} for {}", cell.values.join(" x "))
    });
    let otherwise =
        matrix.otherwise.iter().map(|price| format!("{} otherwise", charge(price, unit, currency)));
    let prices = cells.chain(otherwise).collect::<Vec<_>>().join(", ");
    format!("by {}: {prices}", matrix.dimensions.join(" x "))
}

fn percentage(price: &PercentagePrice) -> String {
    let fee = Some(price.fee_per_transaction).filter(|fee| !fee.is_zero());
    let settings = [
        fee.map(|fee| format!("plus {fee} per transaction")),
        price.free_transactions.map(|count| format!("the first {count} transactions free")),
        price.free_amount.map(|amount| format!("free up to {amount}")),
        price.minimum_per_transaction.map(|least| format!("at least {least} per transaction")),
        price.maximum_per_transaction.map(|most| format!("at most {most} per transaction")),
    ];
    let rate = format!("{} % of the amount", price.rate_percent);
    [Some(rate)].into_iter().chain(settings).flatten().collect::<Vec<_>>().join(", ")
}

fn tiers(tiers: &[Tier], zero_usage: ZeroUsage, unit: &str, currency: Currency) -> String {
    let mut words = tiers
        .iter()
        .map(|tier| {
            let mut charged = format!("{} {currency} per {unit}", tier.unit_price);
            if let Some(size) = tier.block_size {
                charged = format!("{} {currency} per block of {size} {unit}", tier.unit_price);
            }
            if !tier.flat_fee.is_zero() {
                let _ = write!(charged, " plus {} {currency}", tier.flat_fee);
            }
            if let Some(maximum) = tier.maximum {
                let _ = write!(charged, ", at most {maximum} {currency}");
            }
            match tier.up_to {
                Some(up_to) => format!("up to {up_to}: {charged}"),
                None => format!("beyond: {charged}"),
            }
        })
        .collect::<Vec<_>>()
        .join("; ");
    if zero_usage == ZeroUsage::OwesNothing {
        words.push_str("; nothing without usage");
    }
    format!("({words})")
}

pub(super) fn usage(usage: &PricedUsage) -> String {
    let mut words = format!("the {} of `{}` in {}", usage.measure, usage.meter, usage.unit);
    for (dimension, values) in &usage.only {
        let _ = write!(words, ", only {dimension} {}", values.join(" or "));
    }
    if !usage.split_by.is_empty() {
        let _ = write!(words, ", split by {}", listed(&usage.split_by));
    }
    words
}

pub(super) fn optional_usage(read: Option<&PricedUsage>) -> String {
    read.map_or_else(|| "no usage".to_owned(), usage)
}

pub(super) fn allowance(allowance: Option<&Allowance>, unit: &str) -> String {
    match allowance {
        None => "nothing included".to_owned(),
        Some(Allowance::Own { quantity, prorated }) => {
            let share = if *prorated { "" } else { ", whole even for a part of the period" };
            format!("{quantity} {unit} included{share}")
        }
        Some(Allowance::Pool { pool }) => format!("included usage from the pool `{pool}`"),
    }
}

pub(super) fn rounding(rounding: &QuantityRounding, unit: &str) -> String {
    match rounding {
        QuantityRounding::None => "no rounding of the quantity".to_owned(),
        QuantityRounding::ToStep { direction, step } => {
            let direction = match direction {
                RoundingDirection::Up => "rounded up",
                RoundingDirection::Down => "rounded down",
                RoundingDirection::Nearest => "rounded",
            };
            format!("a quantity {direction} to multiples of {step} {unit}")
        }
    }
}

pub(super) fn commitment(commitment: Option<&Commitment>, unit: &str, currency: Currency) -> String {
    let Some(commitment) = commitment else {
        return "no commitment".to_owned();
    };
    let mut words = match commitment.committed {
        CommittedUsage::Amount(amount) => format!("a commitment of {amount} {currency} per period"),
        CommittedUsage::Quantity(quantity) => {
            format!("a commitment of {quantity} {unit} per period")
        }
    };
    if !commitment.true_up {
        words.push_str(" without true-up");
    }
    if commitment.overage_factor != rust_decimal::Decimal::ONE {
        let _ = write!(words, ", {} times the price beyond it", commitment.overage_factor);
    }
    if !commitment.prorated {
        words.push_str(", whole even for a part of the period");
    }
    words
}

pub(super) fn discounts(discounts: &[Discount], currency: Currency) -> String {
    if discounts.is_empty() {
        return "no discount".to_owned();
    }
    let words: Vec<String> = discounts
        .iter()
        .map(|discount| match discount {
            Discount::Percent(percent) => format!("{percent} % off"),
            Discount::Amount(amount) => format!("{amount} {currency} off"),
            Discount::MaximumSpend(maximum) => format!("never more than {maximum} {currency}"),
        })
        .collect();
    listed(&words)
}

pub(super) fn line_rounding(rounding: MoneyRounding) -> &'static str {
    match rounding {
        MoneyRounding::HalfAwayFromZero => "half away from zero",
        MoneyRounding::HalfEven => "half to even",
    }
}

pub(super) fn limit(limit: Limit, unit: &str) -> String {
    match limit {
        Limit::Unlimited => "no limit".to_owned(),
        Limit::Of(limit) => format!("a limit of {limit} {unit}"),
    }
}

pub(super) fn quota(quota: &Quota) -> String {
    let mut words = format!("{} for {}", limit(quota.limit, &quota.usage.unit.name), usage(&quota.usage));
    words.push_str(match quota.window {
        QuotaWindow::Period => " of the period",
        QuotaWindow::Hour => " of the hour",
        QuotaWindow::Lifetime => " since ever",
    });
    if !quota.alert_at_percent.is_empty() {
        let percentages: Vec<String> = quota.alert_at_percent.iter().map(|at| format!("{at} %")).collect();
        let _ = write!(words, ", alerts at {}", listed(&percentages));
    }
    if quota.when_reached == WhenReached::Refuse {
        words.push_str(", more is refused");
    }
    words
}

pub(super) fn clean_up(then: CleanUp) -> &'static str {
    match then {
        CleanUp::Delete => "deleted",
        CleanUp::Archive => "archived",
        CleanUp::Notify => "notified about",
    }
}

pub(super) fn cycle(cycle: BillingCycle) -> String {
    let BillingCycle { months, anchor_day: day, .. } = cycle;
    match (months, cycle.first_month(), cycle.month_since_2000()) {
        (1, ..) => format!("monthly from day {day}"),
        (_, Some(month), _) => format!("every {months} months from day {day} of month {month}"),
        (_, None, Some(first)) => {
            format!("every {months} months from day {day}, as in {:04}-{:02}", first.year(), first.month())
        }
        _ => format!("every {months} months from day {day}"),
    }
}

pub(super) fn conditions(conditions: &[Condition]) -> String {
    if conditions.is_empty() {
        return "every event of its type".to_owned();
    }
    let words: Vec<String> = conditions
        .iter()
        .map(|condition| {
            let verb = if condition.negate { "is not" } else { "is" };
            format!("`{}` {verb} {}", condition.path, condition.any_of.join(" or "))
        })
        .collect();
    format!("events where {}", listed(&words))
}

pub(super) fn values_by_name(values: &BTreeMap<String, Vec<String>>) -> String {
    if values.is_empty() {
        return "everybody".to_owned();
    }
    let words: Vec<String> =
        values.iter().map(|(name, values)| format!("{name} {}", values.join(" or "))).collect();
    listed(&words)
}
