//! Prices of usage that was billed in part before: what a line adds is the difference of two whole bills, as in an
//! adjustment of an issued one.

use rating::exact::Exact;
use rating::price::{Commitment, CommittedUsage, Discount, PoolBalances, PriceModel, PriceTerms};
use rust_decimal::Decimal;
use serde_json::{Value, json};

use super::case::{
    Case, Found, decimal, maybe_decimal, number, numbers, text, tiers, upper_tier_owns_a, zero_usage,
};
use super::differs;
use super::pricing::{free_units, graduated, packages, per_unit, rate, usd, volume};
use super::rounding::{currency_of, line_amount, round};

pub fn run(case: &Case) -> Option<Found> {
    let input = case.input();
    match case.model().split_once('_')? {
        ("progressive", shape) => progressive(shape, input),
        ("rerate", shape) => rerate(shape, input),
        _ => None,
    }
}

fn model(shape: &str, price: &Value) -> Option<PriceModel> {
    match shape {
        "unit" => Some(per_unit(&price["unit_amount"])),
        "dynamic" => Some(per_unit(&price["multiplier"])),
        "package" => packages(price),
        "graduated" => Some(graduated(tiers(&price["tiers"]), zero_usage(price))),
        "volume" => Some(volume(tiers(&price["tiers"]), zero_usage(price))),
        _ => None,
    }
}

fn terms(model: PriceModel, input: &Value, is_last: bool) -> PriceTerms {
    let percent = maybe_decimal(&input["percentage_discount"]).map(Discount::Percent);
    let maximum = maybe_decimal(&input["max_spend"]).map(Discount::MaximumSpend);
    // What is short of a minimum is owed once, at the end.
    let minimum = maybe_decimal(&input["min_spend"]).filter(|_| is_last);
    let free = maybe_decimal(&input["usage_discount"]).or(maybe_decimal(&input["free_quantity"]));
    PriceTerms {
        allowance: free_units(free),
        discounts: percent.into_iter().chain(maximum).collect(),
        commitment: minimum.map(|minimum| Commitment {
            committed: CommittedUsage::Amount(minimum),
            true_up: true,
            overage_factor: Decimal::ONE,
            prorated: false,
        }),
        ..PriceTerms::of(model)
    }
}

fn progressive(shape: &str, input: &Value) -> Option<Found> {
    let is_mid = input["line_position"] == "mid";
    let terms = terms(model(shape, input)?, input, !is_mid);
    let currency = currency_of(input).unwrap_or_else(usd);
    let rated = |quantity: &Exact| rate(&terms, quantity, currency, &mut PoolBalances::default());
    let before = number(&input["pre_quantity"]);
    let billed = decimal(&input["previously_billed"]);
    let together = &before + &number(&input["quantity"]);
    let all = rated(&together);
    let nothing_before = before.is_zero() && billed.is_zero();
    let amount_before =
        if nothing_before { Decimal::ZERO } else { round(&rated(&before).model_amount, input)? };
    let amount = round(&all.model_amount, input)? - amount_before;
    let commitment = match &all.commitment {
        Some(step) => round(&step.true_up, input)?,
        None => Decimal::ZERO,
    };
    let total = line_amount(&all, input)? - billed;
    let values = json!({
        "amount": text(&amount),
        "discounts": text(&(amount + commitment - total)),
        "commitment": text(&commitment),
        "total": text(&total),
    });
    let differs = if upper_tier_owns_a(&[before, together], input, input) {
        Some(differs::BOUNDS_BELONG_TO_THE_LOWER_TIER)
    } else {
        (shape == "volume" && is_mid).then_some(differs::VOLUME_IS_BILLED_AS_IT_GROWS)
    };
    Found::unless(values, differs)
}

fn rerate(shape: &str, input: &Value) -> Option<Found> {
    let currency = currency_of(input).unwrap_or_else(usd);
    let quantities = numbers(&input["cumulative_quantities"]);
    let mut billed = Decimal::ZERO;
    let mut phase_totals = Vec::new();
    for (at, quantity) in quantities.iter().enumerate() {
        let terms = terms(model(shape, &input["price"])?, input, at + 1 == quantities.len());
        let amount = line_amount(&rate(&terms, quantity, currency, &mut PoolBalances::default()), input)?;
        phase_totals.push(text(&(amount - billed)));
        billed = amount;
    }
    let upper = upper_tier_owns_a(&quantities, &input["price"], input);
    Found::unless(
        json!({"phase_totals": phase_totals}),
        upper.then_some(differs::BOUNDS_BELONG_TO_THE_LOWER_TIER),
    )
}
