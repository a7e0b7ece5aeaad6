//! The whole way from quantity to line for random terms against a rational oracle: conversion, share of time,
//! allowance, quantity rounding, 28-digit prices, packages, commitment, discounts and the line's rounding.

mod oracle;

use num_rational::BigRational;
use oracle::price::{to_cents, zero};
use oracle::{config, ratio, rational};
use proptest::prelude::*;
use rating::exact::Exact;
use rating::money::{Currency, UnitPrice};
use rating::price::{
    Allowance, Commitment, CommittedUsage, Discount, PackagePrice, PerUnitPrice, PeriodSoFar, PoolBalances,
    PriceError, PriceModel, PriceTerms, PriceTrail, QuantityRounding, RoundingDirection, UnitConversion,
    Usage,
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
    package_size: Option<Scaled>,
    commitment: Option<(Scaled, bool, Scaled, bool)>,
    percent_off: Option<Scaled>,
    amount_off: Option<Scaled>,
    maximum: Option<(Scaled, Scaled)>,
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
    let steps = (proptest::option::of((direction(), scaled(1..500, 0..3))), maybe(1..300));
    let off = (
        maybe(0..100),
        maybe(0..900),
        proptest::option::of((scaled(0..9_000, 2..3), scaled(0..9_000, 2..3))),
    );
    let commitment = (scaled(0..90_000, 2..3), any::<bool>(), scaled(0..400, 2..3), any::<bool>());
    (
        (quantity, share, over_time, divisor, price),
        proptest::option::of((scaled(0..5_000, 0..4), any::<bool>())),
        steps,
        proptest::option::of(commitment),
        off,
    )
        .prop_map(|((quantity, share, over_time, divisor, price), allowance, steps, commitment, off)| {
            Case {
                quantity,
                share,
                over_time,
                divisor,
                allowance,
                step: steps.0,
                price,
                package_size: steps.1,
                commitment,
                percent_off: off.0,
                amount_off: off.1,
                maximum: off.2,
            }
        })
}

fn terms(case: &Case) -> PriceTerms {
    let model = match case.package_size {
        Some(size) => PriceModel::Package(PackagePrice {
            size: decimal(size),
            package_price: decimal(case.price),
            rounding: RoundingDirection::Up,
        }),
        None => {
            PriceModel::PerUnit(PerUnitPrice { unit_price: UnitPrice::new(decimal(case.price)).unwrap() })
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
        commitment: case.commitment.map(|(committed, true_up, factor, prorated)| Commitment {
            committed: CommittedUsage::Amount(decimal(committed)),
            true_up,
            overage_factor: decimal(factor),
            prorated,
        }),
        discounts,
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
    terms(case).rate(&usage, Currency::from_code("USD").unwrap(), &mut PoolBalances::default())
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
    let units = match case.package_size {
        None => quantity,
        Some(_) if weight == zero() => zero(),
        Some(size) => (&quantity / &weight / value(size)).ceil() * &weight,
    };
    let mut amount = units * value(case.price);
    if let Some((committed, true_up, factor, prorated)) = case.commitment {
        let committed = value(committed) * portion(prorated);
        amount = match amount.cmp(&committed) {
            std::cmp::Ordering::Greater => &committed + (amount - &committed) * value(factor),
            _ if true_up => committed,
            _ => amount,
        };
    }
    if amount > zero() {
        amount *= ratio(1, 1) - case.percent_off.map_or(zero(), value) / ratio(100, 1);
        amount = (amount - case.amount_off.map_or(zero(), value) * &share).max(zero());
        if let Some((maximum, before)) = case.maximum {
            amount = amount.min((value(maximum) - value(before)).max(zero()));
        }
    }
    (amount.clone(), to_cents(&amount))
}

proptest! {
    #![proptest_config(config(10))]

    #[test]
    fn lines_equal_the_oracle(case in case()) {
        let (before, line) = oracle_line(&case);
        match rate(&case) {
            Ok(trail) => {
                prop_assert_eq!(rational(&trail.line_rounding.before), before);
                prop_assert_eq!(rational(&Exact::from(trail.amount())), line);
            }
            // More than a decimal of 28 digits holds is an error and nothing else is.
            Err(PriceError::OutOfRange(_)) => {
                let beyond = line * ratio(100, 1);
                prop_assert!(beyond >= ratio(2_i128.pow(96), 1) || beyond <= ratio(-(2_i128.pow(96)), 1));
            }
            Err(error) => prop_assert!(false, "{}", error),
        }
    }
}
