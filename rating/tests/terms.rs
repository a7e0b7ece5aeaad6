//! The whole way from quantity to line for random terms against a rational oracle: conversion, share of time,
//! allowance, quantity rounding, fees, 28-digit prices, packages and rates, commitments of amounts and quantities, discounts,
//! and the line's rounding in currencies of every number of digits.

mod oracle;

use num_rational::BigRational;
use oracle::price::{to_minor, zero};
use oracle::{config, ratio, rational};
use proptest::prelude::*;
use rating::exact::Exact;
use rating::money::{Currency, MoneyRounding, UnitPrice};
use rating::price::{
    Allowance, Commitment, CommittedUsage, Discount, FlatPrice, PackagePrice, PerUnitPrice, PercentagePrice,
    PeriodSoFar, PoolBalances, PriceError, PriceModel, PriceTerms, PriceTrail, QuantityRounding,
    RoundingDirection, UnitConversion, Usage,
};
use rating::quantity::{Dimensions, OverTime};
use rust_decimal::Decimal;

/// A decimal as mantissa and number of decimals, so that the oracle needs no decimals of its own.
type Scaled = (i128, u32);

fn decimal((mantissa, decimals): Scaled) -> Decimal {
    Decimal::try_from_i128_with_scale(mantissa, decimals).unwrap()
}

fn value((mantissa, decimals): Scaled) -> BigRational {
    ratio(mantissa, 10_i128.pow(decimals))
}

#[derive(Debug, Clone)]
struct Case {
    quantity: (i128, i128),
    share: (i128, i128),
    over_time: OverTime,
    divisor: Scaled,
    allowance: Option<(Scaled, bool)>,
    step: Option<(RoundingDirection, Scaled)>,
    price: Scaled,
    model: Model,
    commitment: Option<Promise>,
    percent_off: Option<Scaled>,
    amount_off: Option<Scaled>,
    maximum: Option<(Scaled, Scaled)>,
    /// A currency with its digits.
    currency: (&'static str, u32),
    half_even: bool,
}

#[derive(Debug, Clone, Copy)]
enum Model {
    PerUnit,
    /// The price is a fee.
    Flat {
        prorated: bool,
    },
    /// The price is a rate in percent.
    Rate,
    Package {
        size: Scaled,
        rounding: RoundingDirection,
    },
}

#[derive(Debug, Clone, Copy)]
struct Promise {
    committed: Scaled,
    of_quantity: bool,
    true_up: bool,
    factor: Scaled,
    prorated: bool,
}

fn model() -> impl Strategy<Value = Model> {
    prop_oneof![
        3 => Just(Model::PerUnit),
        1 => any::<bool>().prop_map(|prorated| Model::Flat { prorated }),
        1 => Just(Model::Rate),
        3 => (scaled(1..300, 0..3), direction()).prop_map(|(size, rounding)| Model::Package { size, rounding }),
    ]
}

fn promise() -> impl Strategy<Value = Promise> {
    let numbers = (scaled(0..90_000, 2..3), scaled(0..400, 2..3));
    (numbers, any::<bool>(), any::<bool>(), any::<bool>()).prop_map(
        |((committed, factor), of_quantity, true_up, prorated)| Promise {
            committed,
            of_quantity,
            true_up,
            factor,
            prorated,
        },
    )
}

fn scaled(range: std::ops::Range<i128>, decimals: std::ops::Range<u32>) -> impl Strategy<Value = Scaled> {
    (range, decimals)
}

fn direction() -> impl Strategy<Value = RoundingDirection> {
    prop_oneof![Just(RoundingDirection::Up), Just(RoundingDirection::Down), Just(RoundingDirection::Nearest)]
}

fn case() -> impl Strategy<Value = Case> {
    let quantity = (prop_oneof![-1_000..5_000_i128, 0..10_i128.pow(30)], 1_i128..10_i128.pow(15));
    let share = (0_i128..40).prop_flat_map(|part| (Just(part), part.max(1)..41));
    let over_time = prop_oneof![Just(OverTime::AddsUp), Just(OverTime::Weighs), Just(OverTime::IsWeighed)];
    let divisor = prop_oneof![Just((1_073_741_824, 0)), Just((1_000_000_000, 0)), scaled(1..50, 0..3),];
    // Up to 28 digits with 12 decimals, and everyday prices.
    let price = prop_oneof![3 => scaled(0..10_000, 0..5), 1 => scaled(-50..10_i128.pow(28), 12..13)];
    let maybe = |range: std::ops::Range<i128>| proptest::option::of(scaled(range, 0..3));
    let step = proptest::option::of((direction(), scaled(1..500, 0..3)));
    let off = (
        maybe(0..100),
        maybe(0..900),
        proptest::option::of((scaled(0..9_000, 2..3), scaled(0..9_000, 2..3))),
    );
    let currency = prop::sample::select(&[("USD", 2), ("JPY", 0), ("KWD", 3), ("CLF", 4)][..]);
    (
        (quantity, share, over_time, divisor, price),
        (model(), currency, any::<bool>()),
        proptest::option::of((scaled(0..5_000, 0..4), any::<bool>())),
        step,
        proptest::option::of(promise()),
        off,
    )
        .prop_map(|(usage, (model, currency, half_even), allowance, step, commitment, off)| {
            let (quantity, share, over_time, divisor, price) = usage;
            Case {
                quantity,
                share,
                over_time,
                divisor,
                allowance,
                step,
                price,
                model,
                commitment,
                percent_off: off.0,
                amount_off: off.1,
                maximum: off.2,
                currency,
                half_even,
            }
        })
}

fn terms(case: &Case) -> PriceTerms {
    let price = decimal(case.price);
    let model = match case.model {
        Model::PerUnit => PriceModel::PerUnit(PerUnitPrice { unit_price: UnitPrice::new(price).unwrap() }),
        Model::Flat { prorated } => PriceModel::Flat(FlatPrice { amount: price, prorated }),
        Model::Rate => PriceModel::Percentage(PercentagePrice::rate(price)),
        Model::Package { size, rounding } => {
            PriceModel::Package(PackagePrice { size: decimal(size), package_price: price, rounding })
        }
    };
    let mut discounts = Vec::new();
    discounts.extend(case.maximum.map(|(maximum, _)| Discount::MaximumSpend(decimal(maximum))));
    discounts.extend(case.amount_off.map(|amount| Discount::Amount(decimal(amount))));
    discounts.extend(case.percent_off.map(|percent| Discount::Percent(decimal(percent))));
    PriceTerms {
        conversion: UnitConversion::divide_by(decimal(case.divisor), "unit"),
        allowance: case
            .allowance
            .map(|(quantity, prorated)| Allowance::Own { quantity: decimal(quantity), prorated }),
        quantity_rounding: case.step.map_or(QuantityRounding::None, |(direction, step)| {
            QuantityRounding::ToStep { direction, step: decimal(step) }
        }),
        commitment: case.commitment.map(|promise| Commitment {
            committed: if promise.of_quantity {
                CommittedUsage::Quantity(decimal(promise.committed))
            } else {
                CommittedUsage::Amount(decimal(promise.committed))
            },
            true_up: promise.true_up,
            overage_factor: decimal(promise.factor),
            prorated: promise.prorated,
        }),
        discounts,
        line_rounding: if case.half_even { MoneyRounding::HalfEven } else { MoneyRounding::HalfAwayFromZero },
        ..PriceTerms::of(model)
    }
}

fn rate(case: &Case) -> Result<PriceTrail, PriceError> {
    let billed = case.maximum.map_or(Decimal::ZERO, |(_, before)| decimal(before));
    let so_far = PeriodSoFar { billed, ..PeriodSoFar::default() };
    let usage = Usage {
        quantity: &Exact::ratio(case.quantity.0, case.quantity.1).unwrap(),
        unit: "byte",
        dimensions: &Dimensions::new(),
        transactions: None,
        over_time: case.over_time,
        span_share: &Exact::ratio(case.share.0, case.share.1).unwrap(),
        so_far: Some(&so_far),
        commitment: None,
    };
    let currency = Currency::from_code(case.currency.0).unwrap();
    terms(case).rate(&usage, currency, &mut PoolBalances::default())
}

fn to_step(quantity: &BigRational, direction: RoundingDirection, step: &BigRational) -> BigRational {
    let steps = quantity / step;
    let whole = match direction {
        RoundingDirection::Up => steps.ceil(),
        RoundingDirection::Down => steps.floor(),
        RoundingDirection::Nearest => steps.round(),
    };
    whole * step
}

/// What the model asks for a quantity, whose sizes weigh as it does.
fn model_amount(
    case: &Case,
    quantity: &BigRational,
    weight: &BigRational,
    share: &BigRational,
) -> BigRational {
    let price = value(case.price);
    match case.model {
        Model::PerUnit => quantity * price,
        Model::Flat { prorated: true } => price * share,
        Model::Flat { prorated: false } => price,
        Model::Rate => quantity * price / ratio(100, 1),
        Model::Package { .. } if *weight == zero() => zero(),
        Model::Package { size, rounding } => {
            to_step(&(quantity / weight / value(size)), rounding, &ratio(1, 1)) * weight * price
        }
    }
}

/// The line's amount before and after rounding, step by step as DESIGN.md 3.6 lists them.
fn oracle_line(case: &Case) -> (BigRational, BigRational) {
    let share = ratio(case.share.0, case.share.1);
    let portion = |prorated: bool| if prorated { share.clone() } else { ratio(1, 1) };
    // Steps and sizes speak of a level and weigh as it does.
    let weight = portion(case.over_time != OverTime::AddsUp);
    let mut quantity = ratio(case.quantity.0, case.quantity.1) * portion(case.over_time == OverTime::Weighs)
        / value(case.divisor);
    if let Some((allowance, prorated)) = case.allowance {
        let left = &quantity - value(allowance) * portion(prorated);
        quantity = if quantity > zero() { left.max(zero()) } else { quantity };
    }
    if let Some((direction, step)) = case.step.filter(|_| weight > zero()) {
        quantity = to_step(&(&quantity / &weight), direction, &value(step)) * &weight;
    }
    let mut amount = model_amount(case, &quantity, &weight, &share);
    if let Some(promise) = case.commitment {
        let whole = if promise.of_quantity {
            model_amount(case, &value(promise.committed), &ratio(1, 1), &ratio(1, 1))
        } else {
            value(promise.committed)
        };
        // What a rebate values below zero promises nothing.
        let committed = (whole * portion(promise.prorated)).max(zero());
        amount = match amount.cmp(&committed) {
            std::cmp::Ordering::Greater => &committed + (amount - &committed) * value(promise.factor),
            _ if promise.true_up => committed,
            _ => amount,
        };
    }
    // A fee that is owed whole has the whole amount off.
    let off_share = if matches!(case.model, Model::Flat { prorated: false }) { ratio(1, 1) } else { share };
    if amount > zero() {
        amount *= ratio(1, 1) - case.percent_off.map_or(zero(), value) / ratio(100, 1);
        amount = (amount - case.amount_off.map_or(zero(), value) * &off_share).max(zero());
        if let Some((maximum, before)) = case.maximum {
            amount = amount.min((value(maximum) - value(before)).max(zero()));
        }
    }
    (amount.clone(), to_minor(&amount, case.currency.1, case.half_even))
}

/// A decimal counts its minor units in 96 bits.
fn fits_a_decimal(line: &BigRational, digits: u32) -> bool {
    let units = line * ratio(10_i128.pow(digits), 1);
    let most = ratio(2_i128.pow(96), 1);
    -&most < units && units < most
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn lines_equal_the_oracle(case in case()) {
        let (before, line) = oracle_line(&case);
        match rate(&case) {
            Ok(trail) => {
                prop_assert_eq!(rational(&trail.line_rounding.before), before);
                prop_assert_eq!(rational(&Exact::from(trail.amount())), line.clone());
                prop_assert!(fits_a_decimal(&line, case.currency.1), "{}", line);
            }
            // More minor units than 96 bits count are an error, and nothing else is.
            Err(PriceError::OutOfRange(_)) => {
                prop_assert!(!fits_a_decimal(&line, case.currency.1), "{}", line);
            }
            Err(error) => prop_assert!(false, "{}", error),
        }
    }
}
