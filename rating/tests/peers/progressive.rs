//! Prices of usage that was billed in part before: what a line adds is the difference of two whole bills, as in an
//! adjustment of an issued one.

use rating::exact::Exact;
use rating::price::{
    Commitment, CommittedUsage, Discount, PoolBalances, PriceModel, PriceTerms, PriceTrail, ZeroUsage,
};
use rust_decimal::Decimal;
use serde_json::{Value, json};

use super::case::{Case, Found, decimal, maybe_decimal, number, numbers, text, tiers};
use super::pricing::{graduated, packages, per_unit, rate, volume};
use super::rounding::currency_of;

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
        "package" => Some(packages(price)),
        "graduated" => Some(graduated(tiers(&price["tiers"]), ZeroUsage::OwesFirstFlatFee)),
        "volume" => Some(volume(tiers(&price["tiers"]), ZeroUsage::OwesFirstFlatFee)),
        _ => None,
    }
}

fn terms(model: PriceModel, input: &Value) -> PriceTerms {
    let percent = maybe_decimal(&input["percentage_discount"]).map(Discount::Percent);
    let maximum = maybe_decimal(&input["max_spend"]).map(Discount::MaximumSpend);
    let last = input["line_position"].is_null() || input["line_position"] == "last";
    let minimum = maybe_decimal(&input["min_spend"]).filter(|_| last);
    PriceTerms {
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
    let currency = currency_of(input)?;
    let terms = terms(model(shape, input)?, input);
    let rated = |quantity: &Exact| rate(&terms, quantity, currency, &mut PoolBalances::default());
    let before = number(&input["pre_quantity"]);
    let billed = decimal(&input["previously_billed"]);
    let all = rated(&(&before + &number(&input["quantity"])));
    let rounded = |amount: &Exact| currency.round(amount, terms.line_rounding).unwrap();
    let nothing_before = before.is_zero() && billed.is_zero();
    let amount_before = if nothing_before { Decimal::ZERO } else { rounded(&rated(&before).model_amount) };
    let amount = rounded(&all.model_amount) - amount_before;
    let true_up =
        |trail: &PriceTrail| trail.commitment.as_ref().map_or(Decimal::ZERO, |step| rounded(&step.true_up));
    let commitment = true_up(&all);
    let total = all.amount() - billed;
    Found::exactly(json!({
        "amount": text(&amount),
        "discounts": text(&(amount + commitment - total)),
        "commitment": text(&commitment),
        "total": text(&total),
    }))
}

fn rerate(shape: &str, input: &Value) -> Option<Found> {
    let currency = currency_of(input)?;
    let terms = terms(model(shape, &input["price"])?, input);
    let mut billed = Decimal::ZERO;
    let mut phase_totals = Vec::new();
    for quantity in numbers(&input["cumulative_quantities"]) {
        let amount = rate(&terms, &quantity, currency, &mut PoolBalances::default()).amount();
        phase_totals.push(text(&(amount - billed)));
        billed = amount;
    }
    Found::exactly(json!({"phase_totals": phase_totals}))
}
