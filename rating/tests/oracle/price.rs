//! Prices by brute force over rationals, written from DESIGN.md 3.6 and 3.7 and sharing nothing with the crate.

use num_rational::BigRational;

use super::{ratio, whole};

/// One tier; numbers in thousandths.
#[derive(Debug, Clone)]
pub struct Tier {
    pub bound: Option<i128>,
    pub unit_price: i128,
    pub fee: i128,
    pub block: Option<i128>,
    pub maximum: Option<i128>,
    /// What earlier spans of the period took of its maximum.
    pub billed_before: i128,
}

/// What tiers speak of: a level weighs by a share of the period, and so do they; fees go by the span's share.
#[derive(Debug, Clone)]
pub struct Weights {
    pub weight: BigRational,
    pub share: BigRational,
}

pub fn milli(value: i128) -> BigRational {
    ratio(value, 1_000)
}

pub fn zero() -> BigRational {
    ratio(0, 1)
}

impl Tier {
    /// What it owes for some units, whose last block may be a part.
    fn owed(&self, units: &BigRational, with_fee: bool, weights: &Weights) -> BigRational {
        let Weights { weight, share } = weights;
        let sold = match self.block {
            Some(size) if *weight > zero() => (units / (milli(size) * weight)).ceil() * weight,
            Some(_) => zero(),
            None => units.clone(),
        };
        let fee = if with_fee { milli(self.fee) * share } else { zero() };
        let owed = sold * milli(self.unit_price) + fee;
        let before = if *weight == whole(1) { milli(self.billed_before) } else { zero() };
        match self.maximum {
            Some(maximum) => owed.min((milli(maximum) * weight - before).max(zero())),
            None => owed,
        }
    }
}

/// Adds up the price of each slice of units between bounds.
pub fn graduated(
    tiers: &[Tier],
    quantity: &BigRational,
    owes_first_fee: bool,
    weights: &Weights,
) -> BigRational {
    if *quantity <= zero() {
        return tiers[0].owed(quantity, *quantity == zero() && owes_first_fee, weights);
    }
    let mut total = zero();
    let mut below = zero();
    for tier in tiers {
        let bound = tier.bound.map(|bound| milli(bound) * &weights.weight);
        let upper = bound.map_or(quantity.clone(), |bound| bound.min(quantity.clone()));
        if below < *quantity {
            total += tier.owed(&(&upper - &below), true, weights);
            below = upper;
        }
    }
    total
}

pub fn volume(
    tiers: &[Tier],
    quantity: &BigRational,
    owes_first_fee: bool,
    weights: &Weights,
) -> BigRational {
    if *quantity <= zero() {
        return tiers[0].owed(quantity, *quantity == zero() && owes_first_fee, weights);
    }
    for tier in tiers {
        if tier.bound.is_none_or(|bound| *quantity <= milli(bound) * &weights.weight) {
            return tier.owed(quantity, true, weights);
        }
    }
    unreachable!("the last tier has no bound")
}

/// To whole minor units, by looking at both neighbours; a half goes away from zero, or to the even one.
pub fn to_minor(amount: &BigRational, digits: u32, half_even: bool) -> BigRational {
    let units = whole(10_i128.pow(digits));
    let scaled = amount * &units;
    let (low, high) = (scaled.floor(), scaled.ceil());
    let (down, up) = (&scaled - &low, &high - &scaled);
    let is_even = |number: &BigRational| (number / whole(2)).is_integer();
    let low_has_the_half = if half_even { is_even(&low) } else { *amount < zero() };
    let nearest = match down.cmp(&up) {
        std::cmp::Ordering::Less => low,
        std::cmp::Ordering::Equal if low_has_the_half => low,
        std::cmp::Ordering::Greater | std::cmp::Ordering::Equal => high,
    };
    nearest / units
}

pub fn to_cents(amount: &BigRational) -> BigRational {
    to_minor(amount, 2, false)
}
