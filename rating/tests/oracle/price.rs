//! Prices by brute force over rationals, written from DESIGN.md 3.6 and 3.7 and sharing nothing with the crate.

use num_rational::BigRational;

use super::ratio;

/// Bound, unit price, flat fee; numbers in thousandths.
pub type Tier = (Option<i128>, i128, i128);

fn milli(value: i128) -> BigRational {
    ratio(value, 1_000)
}

pub fn zero() -> BigRational {
    ratio(0, 1)
}

/// Adds up the price of each unit slice between bounds.
pub fn graduated(tiers: &[Tier], quantity: &BigRational, owes_first_fee: bool) -> BigRational {
    if *quantity == zero() {
        return if owes_first_fee { milli(tiers[0].2) } else { zero() };
    }
    let mut total = zero();
    let mut below = zero();
    for &(up_to, unit_price, fee) in tiers {
        let upper = up_to.map_or(quantity.clone(), |bound| milli(bound).min(quantity.clone()));
        if upper > below {
            total += (&upper - &below) * milli(unit_price) + milli(fee);
            below = upper;
        }
    }
    total
}

pub fn volume(tiers: &[Tier], quantity: &BigRational, owes_first_fee: bool) -> BigRational {
    if *quantity == zero() {
        return if owes_first_fee { milli(tiers[0].2) } else { zero() };
    }
    for &(up_to, unit_price, fee) in tiers {
        if up_to.is_none_or(|bound| *quantity <= milli(bound)) {
            return quantity * milli(unit_price) + milli(fee);
        }
    }
    unreachable!("the last tier has no bound")
}

/// Half away from zero, by looking at both neighbours.
pub fn to_cents(amount: &BigRational) -> BigRational {
    let hundredfold = amount * ratio(100, 1);
    let (low, high) = (hundredfold.floor(), hundredfold.ceil());
    let (down, up) = (&hundredfold - &low, &high - &hundredfold);
    let away = if *amount < zero() { low.clone() } else { high.clone() };
    let nearest = match down.cmp(&up) {
        std::cmp::Ordering::Less => low,
        std::cmp::Ordering::Greater => high,
        std::cmp::Ordering::Equal => away,
    };
    nearest / ratio(100, 1)
}
