//! Prices of one quantity.

use rating::exact::Exact;
use rating::money::Currency;
use rating::price::{
    Allowance, Commitment, CommittedUsage, Discount, FlatPrice, GraduatedPrice, PackagePrice, PerUnitPrice,
    PercentagePrice, PeriodSoFar, PoolBalances, PriceModel, PriceTerms, PriceTrail, Rule, Tier, Usage,
    VolumePrice, ZeroUsage,
};
use rating::quantity::{Dimensions, OverTime};
use rust_decimal::Decimal;
use serde_json::{Value, json};

use super::case::{
    Case, Found, bound_of_the_last, conversion, decimal, direction, items, maybe_decimal, maybe_number,
    number, numbers, refused, text, tiers, unit_price, unless_half_even, upper_tier_owns_a, whole_units,
    zero_usage,
};
use super::differs;

pub fn run(case: &Case) -> Option<Found> {
    let input = case.input();
    match case.model() {
        "unit" => unit(input),
        "graduated" | "volume" | "graduated_percentage" => tiered(case.model(), input),
        "package" => package(input),
        "percentage" => percentage(input),
        "block_tiers" | "block_tiers_incremental" => block_tiers(input),
        "bucketed_graduated" | "bucketed_volume" | "bucketed_package" => bucketed(case.model(), input),
        "commitment_windowed" => commitment_windowed(input),
        "converted_graduated" | "converted_unit" => converted(case.model(), input),
        "coupons" => coupons(input),
        "dynamic_event_amounts" => dynamic_event_amounts(input),
        "graduated_percentage_sequence" => graduated_percentage_sequence(input),
        "max_spend_discount" => max_spend_discount(input),
        "usage_discount" => usage_discount(input),
        "capacity_tiers" => Found::unless(Value::Null, Some(differs::A_PRICE_READS_ONE_METER)),
        "graduated_dimensional_sequence" => {
            Found::unless(Value::Null, Some(differs::TIERS_BELONG_TO_ONE_DIMENSION_SET))
        }
        _ => None,
    }
}

pub fn usd() -> Currency {
    Currency::from_code("USD").unwrap()
}

pub fn rate(
    terms: &PriceTerms,
    quantity: &Exact,
    currency: Currency,
    pools: &mut PoolBalances,
) -> PriceTrail {
    rate_usage(terms, quantity, currency, pools, None, None)
}

pub fn rate_usage(
    terms: &PriceTerms,
    quantity: &Exact,
    currency: Currency,
    pools: &mut PoolBalances,
    transactions: Option<&[Exact]>,
    so_far: Option<&PeriodSoFar>,
) -> PriceTrail {
    let usage = Usage {
        quantity,
        unit: "unit",
        dimensions: &Dimensions::new(),
        transactions,
        over_time: OverTime::AddsUp,
        span_share: &Exact::ONE,
        so_far,
        commitment: None,
    };
    terms.rate(&usage, currency, pools).unwrap_or_else(refused)
}

fn amount_of(model: PriceModel, quantity: &Exact) -> Exact {
    rate(&PriceTerms::of(model), quantity, usd(), &mut PoolBalances::default()).model_amount
}

pub fn per_unit(price: &Value) -> PriceModel {
    PriceModel::PerUnit(PerUnitPrice { unit_price: unit_price(&number(price)) })
}

pub fn graduated(tiers: Vec<Tier>, zero_usage: ZeroUsage) -> PriceModel {
    PriceModel::Graduated(GraduatedPrice { tiers, zero_usage })
}

pub fn volume(tiers: Vec<Tier>, zero_usage: ZeroUsage) -> PriceModel {
    PriceModel::Volume(VolumePrice { tiers, zero_usage })
}

pub fn packages(input: &Value) -> Option<PriceModel> {
    let (size, package_price) = (decimal(&input["package_size"]), decimal(&input["package_amount"]));
    let rounding = match &input["rounding"] {
        Value::Null => rating::price::RoundingDirection::Up,
        mode => direction(mode)?,
    };
    Some(PriceModel::Package(PackagePrice { size, package_price, rounding }))
}

fn unit(input: &Value) -> Option<Found> {
    let quantity = number(&input["quantity"]);
    let amount = amount_of(per_unit(&input["unit_amount"]), &quantity);
    let effective = amount.checked_div(&quantity).unwrap_or_default();
    Found::exactly(json!({"amount": text(&amount), "effective_unit_amount": text(&effective)}))
}

fn tiered(model: &str, input: &Value) -> Option<Found> {
    let quantity = number(&input["quantity"]);
    let rows = tiers(&input["tiers"]);
    let on_a_bound = rows.iter().any(|tier| tier.up_to.map(Exact::from).as_ref() == Some(&quantity));
    let upper_tier_has_it = input["tier_bounds"] == "[from,to)" && on_a_bound;
    let is_beyond = bound_of_the_last(&input["tiers"]).is_some_and(|bound| quantity > bound);
    let model = match model {
        "volume" => volume(rows, zero_usage(input)),
        _ => graduated(rows, zero_usage(input)),
    };
    Found::unless(
        json!({"amount": text(&amount_of(model, &quantity))}),
        upper_tier_has_it
            .then_some(differs::BOUNDS_BELONG_TO_THE_LOWER_TIER)
            .or(is_beyond.then_some(differs::TIERS_REACH_ALL_QUANTITIES)),
    )
}

pub fn free_units(quantity: Option<Decimal>) -> Option<Allowance> {
    quantity.map(|quantity| Allowance::Own { quantity, prorated: false })
}

fn package(input: &Value) -> Option<Found> {
    let terms = PriceTerms {
        allowance: free_units(maybe_decimal(&input["free_units"])),
        ..PriceTerms::of(packages(input)?)
    };
    let trail = rate(&terms, &number(&input["quantity"]), usd(), &mut PoolBalances::default());
    let packages = text(&trail.parts[0].quantity);
    Found::exactly(json!({"amount": text(&trail.model_amount), "packages": packages}))
}

fn percentage(input: &Value) -> Option<Found> {
    let model = PriceModel::Percentage(PercentagePrice {
        fee_per_transaction: maybe_decimal(&input["fixed_per_event"]).unwrap_or_default(),
        free_transactions: input["free_events"].as_u64(),
        // Zero stands for unset there.
        free_amount: maybe_decimal(&input["free_amount"]).filter(|free| !free.is_zero()),
        minimum_per_transaction: maybe_decimal(&input["per_transaction_min"]),
        maximum_per_transaction: maybe_decimal(&input["per_transaction_max"]),
        ..PercentagePrice::rate(decimal(&input["rate_percent"]))
    });
    let values = numbers(&input["event_values"]);
    let sum: Exact = values.iter().cloned().sum();
    let pools = &mut PoolBalances::default();
    let trail = rate_usage(&PriceTerms::of(model), &sum, usd(), pools, Some(&values), None);
    Found::exactly(json!({"amount": text(&trail.model_amount)}))
}

/// Blocks of units: so many of a size in each tier, the last without end.
fn block_tiers(input: &Value) -> Option<Found> {
    let rows = items(&input["tiers"]);
    let mut bound = Decimal::ZERO;
    let mut blocks = Vec::new();
    for (index, row) in rows.iter().enumerate() {
        let size = decimal(&row["block_size"]);
        bound += size * maybe_decimal(&row["max_blocks"]).unwrap_or_default();
        let price = unit_price(&number(&row["block_price"]));
        let up_to = (index + 1 < rows.len()).then_some(bound);
        blocks.push(Tier { block_size: Some(size), ..Tier::new(up_to, price, Decimal::ZERO) });
    }
    let model = match input["policy"].as_str() {
        Some("top_tier") => volume(blocks, ZeroUsage::OwesNothing),
        Some("all_tiers") => graduated(blocks, ZeroUsage::OwesNothing),
        _ => return None,
    };
    let per_tier = |quantity: &Exact| {
        let trail = rate(&PriceTerms::of(model.clone()), quantity, usd(), &mut PoolBalances::default());
        let mut amounts = vec![Exact::ZERO; rows.len()];
        for part in trail.parts {
            if let Rule::Tier { number, .. } = part.rule {
                amounts[number as usize - 1] += &part.amount;
            }
        }
        amounts
    };
    let billed = maybe_number(&input["already_billed_quantity"]).map(|quantity| per_tier(&quantity));
    let mut amounts = per_tier(&number(&input["quantity"]));
    for (amount, billed) in amounts.iter_mut().zip(billed.unwrap_or_default()) {
        *amount -= &billed;
    }
    let total: Exact = amounts.iter().cloned().sum();
    let amounts: Vec<Value> = amounts.iter().map(text).collect();
    Found::exactly(json!({"amount": text(&total), "tier_amounts": amounts}))
}

fn bucketed(model: &str, input: &Value) -> Option<Found> {
    let model = match model {
        "bucketed_graduated" => graduated(tiers(&input["tiers"]), zero_usage(input)),
        "bucketed_volume" => volume(tiers(&input["tiers"]), zero_usage(input)),
        _ => packages(input)?,
    };
    let buckets = numbers(&input["bucket_quantities"]);
    let amount: Exact = buckets.iter().map(|quantity| amount_of(model.clone(), quantity)).sum();
    let on_a_bound = |tier: &Tier| tier.up_to.is_some_and(|up_to| buckets.contains(&up_to.into()));
    let upper = input["tier_bounds"] == "[from,to)" && tiers(&input["tiers"]).iter().any(on_a_bound);
    Found::unless(json!({"amount": text(&amount)}), upper.then_some(differs::BOUNDS_BELONG_TO_THE_LOWER_TIER))
}

fn commitment_windowed(input: &Value) -> Option<Found> {
    let mut totals = [Exact::ZERO, Exact::ZERO, Exact::ZERO, Exact::ZERO];
    for window in items(&input["windows"]) {
        let committed = |amount: Decimal| match window["commitment_type"].as_str() {
            Some("quantity") => CommittedUsage::Quantity(amount),
            _ => CommittedUsage::Amount(amount),
        };
        let commitment = maybe_decimal(&window["commitment"]).map(|amount| Commitment {
            committed: committed(amount),
            true_up: window["true_up"] == true,
            overage_factor: maybe_decimal(&window["overage_factor"]).unwrap_or(Decimal::ONE),
            prorated: false,
        });
        let terms = PriceTerms { commitment, ..PriceTerms::of(per_unit(&window["unit_amount"])) };
        let trail = rate(&terms, &number(&window["quantity"]), usd(), &mut PoolBalances::default());
        let parts = match trail.commitment {
            Some(step) => [step.amount, step.within, step.overage, step.true_up],
            None => [trail.model_amount.clone(), trail.model_amount, Exact::ZERO, Exact::ZERO],
        };
        for (total, part) in totals.iter_mut().zip(parts) {
            *total += &part;
        }
    }
    let [amount, utilized, overage, true_up] = totals.map(|total| text(&total));
    let values = json!({"amount": amount, "utilized": utilized, "overage": overage, "true_up": true_up});
    Found::exactly(values)
}

fn converted(model: &str, input: &Value) -> Option<Found> {
    let model = match model {
        "converted_graduated" => graduated(tiers(&input["tiers"]), zero_usage(input)),
        _ => per_unit(&input["unit_amount"]),
    };
    let terms = PriceTerms {
        conversion: conversion(input)?,
        allowance: free_units(maybe_decimal(&input["usage_discount"])),
        quantity_rounding: whole_units(&input["rounding"])?,
        ..PriceTerms::of(model)
    };
    let trail = rate(&terms, &number(&input["raw_quantity"]), usd(), &mut PoolBalances::default());
    let discounted = maybe_number(&input["usage_discount"]).is_some_and(|free| !free.is_zero());
    let rounds = terms.quantity_rounding != rating::price::QuantityRounding::None;
    let differs = if discounted && rounds {
        Some(differs::ALLOWANCES_COME_BEFORE_ROUNDING)
    } else if upper_tier_owns_a(std::slice::from_ref(&trail.billable), input, input) {
        Some(differs::BOUNDS_BELONG_TO_THE_LOWER_TIER)
    } else {
        unless_half_even(&input["rounding"])
    };
    let values = json!({"billed_quantity": text(&trail.billable), "amount": text(&trail.model_amount)});
    Found::unless(values, differs)
}

fn coupons(input: &Value) -> Option<Found> {
    let hundred = Decimal::ONE_HUNDRED;
    let discounts = items(&input["coupons"])
        .iter()
        .map(|coupon| match coupon["type"].as_str() {
            Some("percent") => Discount::Percent(decimal(&coupon["value"])),
            _ => Discount::Amount(decimal(&coupon["value"]) / hundred),
        })
        .collect();
    let amount = decimal(&input["subtotal_minor"]) / hundred;
    let flat = PriceModel::Flat(FlatPrice { amount, prorated: false });
    let terms = PriceTerms { discounts, ..PriceTerms::of(flat) };
    let trail = rate(&terms, &Exact::ONE, usd(), &mut PoolBalances::default());
    let other = input["order"].as_str().is_some_and(|order| order != "percent_then_fixed");
    Found::unless(
        json!({"discount_minor": text(&((amount - trail.amount()) * hundred))}),
        other.then_some(differs::PERCENTAGES_COME_BEFORE_AMOUNTS),
    )
}

/// Each event carries its own price: all of the amount, whatever the units.
fn dynamic_event_amounts(input: &Value) -> Option<Found> {
    let minor = number(&input["event_amount_minor_total"]);
    let amount = minor.checked_div(&number(&input["minor_per_major"]))?;
    let all = PriceModel::Percentage(PercentagePrice::rate(Decimal::ONE_HUNDRED));
    let values = json!({"amount": text(&amount_of(all, &amount))});
    let no_units = number(&input["quantity"]).is_zero();
    Found::unless(values, no_units.then_some(differs::AMOUNTS_OF_EVENTS_COUNT_WITHOUT_UNITS))
}

/// What each transaction adds to the bill of all before it.
fn graduated_percentage_sequence(input: &Value) -> Option<Found> {
    let mut sum = Exact::ZERO;
    let mut billed = Exact::ZERO;
    let mut amounts = Vec::new();
    for value in numbers(&input["event_values"]) {
        sum += &value;
        let total = amount_of(graduated(tiers(&input["tiers"]), zero_usage(input)), &sum);
        amounts.push(text(&(&total - &billed)));
        billed = total;
    }
    Found::exactly(json!({"amounts": amounts}))
}

fn max_spend_discount(input: &Value) -> Option<Found> {
    let flat = FlatPrice { amount: decimal(&input["line_amount"]), prorated: false };
    let discounts = vec![Discount::MaximumSpend(decimal(&input["max_spend"]))];
    let terms = PriceTerms { discounts, ..PriceTerms::of(PriceModel::Flat(flat)) };
    let before = PeriodSoFar { billed: decimal(&input["billed_before"]), ..PeriodSoFar::default() };
    let trail = rate_usage(&terms, &Exact::ONE, usd(), &mut PoolBalances::default(), None, Some(&before));
    Found::exactly(json!({"discount": text(&trail.discounts[0].taken)}))
}

/// Free units over the whole period: what they are worth to this line is what it adds to the lines before.
fn usage_discount(input: &Value) -> Option<Found> {
    let terms = PriceTerms {
        allowance: free_units(maybe_decimal(&input["free_quantity"])),
        ..PriceTerms::of(per_unit(&json!("1")))
    };
    let rated = |quantity: &Exact| rate(&terms, quantity, usd(), &mut PoolBalances::default());
    let before = number(&input["pre_quantity"]);
    let all = rated(&(&before + &number(&input["quantity"])));
    let before = rated(&before);
    let drawn = |trail: &PriceTrail| trail.allowance.as_ref().unwrap().drawn.clone();
    Found::exactly(json!({
        "quantity": text(&(&all.billable - &before.billable)),
        "pre_quantity": text(&before.billable),
        "discounted_in_line": text(&(drawn(&all) - drawn(&before))),
    }))
}
