//! Rounding and splitting of amounts and quantities.

use rating::exact::Exact;
use rating::money::{Amount, Currency, UnitPrice, allocate};
use rating::price::{
    Commitment, CommittedUsage, PerUnitPrice, PoolBalances, PriceModel, PriceTerms, PriceTrail,
    QuantityRounding,
};
use rust_decimal::Decimal;
use serde_json::{Map, Value, json};

use super::case::{
    Case, Found, conversion, decimal, direction, exact_rounding, items, maybe_number, money_rounding, number,
    numbers, refused, text, unless_half_even, whole_units,
};
use super::differs::{self, cannot};
use super::pricing::{rate, usd};

pub fn run(case: &Case) -> Option<Found> {
    let input = case.input();
    match case.model() {
        "currency" => currency(input),
        "sum_of_rounded_lines" => sum_of_rounded_lines(input),
        "commitment_true_up" => commitment_true_up(input),
        "allocate" => allocation(input),
        "distribute_discount" => distribute_discount(input),
        "unit_conversion" => unit_conversion(input),
        "units" => units(input),
        _ => None,
    }
}

/// Decimals of the case's amounts.
fn scale_of(input: &Value) -> u64 {
    input["scale"].as_u64().or(input["currency_scale"].as_u64()).unwrap_or(2)
}

/// The case's currency, or one with as many minor digits; no currency has one digit, or more than four.
pub fn currency_of(input: &Value) -> Option<Currency> {
    let scale = scale_of(input);
    let any = ["JPY", "", "USD", "KWD", "CLF"];
    let named = input["currency"].as_str().and_then(|code| Currency::from_code(code).ok());
    let by_scale = || Currency::from_code(any[usize::try_from(scale).ok()?.min(4)]).ok();
    named.or_else(by_scale).filter(|currency| u64::from(currency.minor_digits()) == scale)
}

/// An amount in the case's digits, by its currency where one has as many.
pub fn round(amount: &Exact, input: &Value) -> Option<Amount> {
    let (exact, money) = (exact_rounding(&input["mode"])?, money_rounding(&input["mode"])?);
    match currency_of(input) {
        Some(currency) if exact == money.into() => {
            let rounded = currency.round(amount, money);
            Some(rounded.unwrap_or_else(|_| cannot(differs::AMOUNTS_HAVE_28_DIGITS)))
        }
        _ => amount.round_to_decimals(exact, u32::try_from(scale_of(input)).ok()?).ok(),
    }
}

/// A line's amount in the case's digits.
pub fn line_amount(trail: &PriceTrail, input: &Value) -> Option<Amount> {
    match currency_of(input) {
        Some(_) => Some(trail.amount()),
        None => round(&trail.line_rounding.before, input),
    }
}

fn currency(input: &Value) -> Option<Found> {
    Found::exactly(json!({"amount": text(&round(&number(&input["amount"]), input)?)}))
}

fn sum_of_rounded_lines(input: &Value) -> Option<Found> {
    let mut subtotal = Exact::ZERO;
    for line in numbers(&input["amounts"]) {
        subtotal += &round(&line, input)?.into();
    }
    Found::exactly(json!({"subtotal": text(&subtotal)}))
}

/// What the line grows by when the commitment is added to it.
fn commitment_true_up(input: &Value) -> Option<Found> {
    let currency = currency_of(input).unwrap_or_else(usd);
    let plain = PriceTerms {
        line_rounding: money_rounding(&input["mode"])?,
        ..PriceTerms::of(PriceModel::PerUnit(PerUnitPrice {
            unit_price: UnitPrice::new(Decimal::ONE).unwrap(),
        }))
    };
    let commitment = Commitment {
        committed: CommittedUsage::Amount(decimal(&input["commitment"])),
        true_up: true,
        overage_factor: Decimal::ONE,
        prorated: true,
    };
    let committed = PriceTerms { commitment: Some(commitment), ..plain.clone() };
    let line = |terms: &PriceTerms| {
        line_amount(&rate(terms, &number(&input["used"]), currency, &mut PoolBalances::default()), input)
    };
    Found::exactly(json!({"true_up": text(&(line(&committed)? - line(&plain)?))}))
}

fn allocation(input: &Value) -> Option<Found> {
    let weights: Vec<Exact> = items(&input["weights"]).iter().map(|each| number(&each["weight"])).collect();
    let scale = u32::try_from(input["scale"].as_u64()?).ok()?;
    let parts = allocate(decimal(&input["amount"]), &weights, scale).unwrap();
    let allocations: Map<String, Value> = items(&input["weights"])
        .iter()
        .zip(parts)
        .filter(|(_, part)| !part.is_zero())
        .map(|(each, part)| (each["key"].as_str().unwrap_or_default().to_owned(), text(&part)))
        .collect();
    let ours = input["method"] == "largest_remainder"
        && (input["tie_break"] == "input_order" || input["tie_break"].is_null());
    Found::unless(
        json!({"allocations": allocations}),
        (!ours).then_some(differs::SHARES_GO_BY_LARGEST_REMAINDER_IN_ORDER),
    )
}

fn distribute_discount(input: &Value) -> Option<Found> {
    let lines = numbers(&input["lines_minor"]);
    // No more is taken off than there is.
    let most: Exact = lines.iter().cloned().sum();
    let discount = number(&input["discount_minor"]).min(most).to_decimal().unwrap();
    let parts = allocate(discount, &lines, 0).unwrap();
    let after: Vec<Value> =
        lines.iter().zip(parts).map(|(line, part)| text(&(line - &Exact::from(part)))).collect();
    Found::exactly(json!({"lines_after_minor": after}))
}

fn unit_conversion(input: &Value) -> Option<Found> {
    let converted = conversion(input)?.convert(&number(&input["quantity"])).unwrap_or_else(refused);
    let rounded = whole_units(&input["rounding"])?.round(&converted, &Exact::ONE).unwrap();
    Found::unless(json!({"quantity": text(&rounded)}), unless_half_even(&input["rounding"]))
}

fn units(input: &Value) -> Option<Found> {
    let precision = maybe_number(&input["precision"]).map_or(Some(0), |number| number.to_i128())?;
    let decimals = u32::try_from(precision.unsigned_abs()).ok().filter(|decimals| *decimals <= 28);
    let decimals = decimals.unwrap_or_else(|| cannot(differs::AMOUNTS_HAVE_28_DIGITS));
    let step = if precision < 0 {
        Decimal::from_i128_with_scale(10_i128.pow(decimals), 0)
    } else {
        Decimal::new(1, decimals)
    };
    let rounding = match &input["function"] {
        Value::Null => QuantityRounding::None,
        function => QuantityRounding::ToStep { direction: direction(function)?, step },
    };
    let value = rounding.round(&number(&input["value"]), &Exact::ONE).unwrap_or_else(refused);
    Found::unless(json!({"value": text(&value)}), unless_half_even(&input["function"]))
}
