//! Amounts and quantities as Stripe takes them: whole numbers.
//!
//! Owns: what Stripe calls an amount's smallest unit, which is not always ISO 4217's; scaled quantities; and how the
//! total of a period spreads over its hours or days. No float is involved, and what does not fit is an error.

use rating::exact::{Exact, Rounding};
use rating::money::{Amount, Currency};

/// Stripe counts these in whole units.
const WHOLE: [&str; 15] =
    ["BIF", "CLP", "DJF", "GNF", "JPY", "KMF", "KRW", "MGA", "PYG", "RWF", "VND", "VUV", "XAF", "XOF", "XPF"];
/// These have no decimals any more, but Stripe still counts in hundredths.
const HUNDREDTHS_OF_WHOLE: [&str; 2] = ["ISK", "UGX"];
/// Of these Stripe takes thousandths that end in a zero.
const THOUSANDTHS_BY_TENS: [&str; 5] = ["BHD", "JOD", "KWD", "OMR", "TND"];
/// A meter event's value has at most 15 significant digits.
const VALUE_MAX: i128 = 999_999_999_999_999;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AmountError {
    #[error("{amount} {currency} cannot be written in stripe's smallest unit of the currency")]
    NotPayable { amount: Amount, currency: Currency },
    #[error("the quantity {quantity} at scale {scale} has more than the 15 digits that stripe keeps")]
    TooLarge { quantity: String, scale: u32 },
}

/// The amount in Stripe's smallest unit.
pub fn minor_units(amount: Amount, currency: Currency) -> Result<i64, AmountError> {
    let (digits, step) = unit(currency);
    let minor = &Exact::from(amount) * &power_of_ten(digits);
    minor
        .to_i128()
        .filter(|_| minor.is_whole())
        .filter(|minor| minor % step == 0)
        .and_then(|minor| i64::try_from(minor).ok())
        .ok_or(AmountError::NotPayable { amount, currency })
}

/// Digits after the point that an amount in the currency may have for Stripe.
pub fn payable_digits(currency: Currency) -> u32 {
    let (digits, step) = unit(currency);
    digits.saturating_sub(match step {
        100 => 2,
        10 => 1,
        _ => 0,
    })
}

/// Digits after the point that Stripe counts, and what its amounts must be multiples of.
fn unit(currency: Currency) -> (u32, i128) {
    let code = currency.code();
    if WHOLE.contains(&code) {
        (0, 1)
    } else if HUNDREDTHS_OF_WHOLE.contains(&code) {
        (2, 100)
    } else if THOUSANDTHS_BY_TENS.contains(&code) {
        (3, 10)
    } else {
        (currency.minor_digits(), 1)
    }
}

/// The quantity times ten to the scale, rounded half away from zero.
pub fn scaled(quantity: &Exact, scale: u32) -> Result<i64, AmountError> {
    let value = (quantity * &power_of_ten(scale)).round(Rounding::HalfAwayFromZero).to_i128();
    value
        .filter(|value| (-VALUE_MAX..=VALUE_MAX).contains(value))
        .and_then(|value| i64::try_from(value).ok())
        .ok_or_else(|| AmountError::TooLarge { quantity: quantity.to_string(), scale })
}

/// The scaled total, spread by weight so that the parts add up to it. What has been given so far is rounded, and not
/// each part, so no part is off by more than one.
pub fn spread(total: &Exact, weights: &[Exact], scale: u32) -> Result<Vec<i64>, AmountError> {
    let sum: Exact = weights.iter().cloned().sum();
    let mut so_far = Exact::ZERO;
    let mut given = 0;
    let whole = scaled(total, scale)?;
    let mut parts = Vec::with_capacity(weights.len());
    for (at, weight) in weights.iter().enumerate() {
        so_far += weight;
        // Without any weight the last part takes it all.
        let share = so_far.checked_div(&sum).unwrap_or(Exact::ZERO);
        let reached = if at + 1 == weights.len() { whole } else { scaled(&(total * &share), scale)? };
        parts.push(reached - given);
        given = reached;
    }
    Ok(parts)
}

fn power_of_ten(digits: u32) -> Exact {
    Exact::from(10_i64.pow(digits))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn amounts_are_in_stripes_smallest_unit() {
        for (amount, currency, minor) in [
            ("10.25", "USD", Some(1025)),
            ("-0.01", "EUR", Some(-1)),
            ("0.001", "USD", None),
            ("500", "JPY", Some(500)),
            ("0.5", "JPY", None),
            ("5", "ISK", Some(500)),
            ("7", "UGX", Some(700)),
            ("5.12", "KWD", Some(5120)),
            ("5.124", "KWD", None),
            ("12.00", "MGA", Some(12)),
            ("12.50", "MGA", None),
            ("10.45", "HUF", Some(1045)),
            ("92233720368547758.08", "USD", None),
        ] {
            let currency = Currency::from_code(currency).unwrap();
            assert_eq!(minor_units(amount.parse().unwrap(), currency).ok(), minor, "{amount} {currency}");
        }
    }

    #[test]
    fn quantities_are_whole_at_their_scale() {
        let third = Exact::ratio(1, 3).unwrap();
        assert_eq!(scaled(&third, 0).unwrap(), 0);
        assert_eq!(scaled(&third, 3).unwrap(), 333);
        assert_eq!(scaled(&Exact::ratio(5, 2).unwrap(), 0).unwrap(), 3);
        assert_eq!(scaled(&Exact::ratio(-5, 2).unwrap(), 0).unwrap(), -3);
        assert_eq!(scaled(&Exact::from(999_999_999_999_999_i64), 0).unwrap(), 999_999_999_999_999);
        assert!(scaled(&Exact::from(999_999_999_999_999_i64), 1).is_err());
    }

    #[test]
    fn a_total_without_weights_goes_to_the_last_part() {
        assert_eq!(spread(&Exact::from(7_i64), &[Exact::ZERO, Exact::ZERO], 0).unwrap(), [0, 7]);
        assert_eq!(spread(&Exact::from(7_i64), &[], 0).unwrap(), [0; 0]);
    }

    proptest! {
        #[test]
        fn parts_add_up_and_none_is_off_by_more_than_one(
            total in 0_i64..1_000_000_000_000,
            weights in proptest::collection::vec(0_i64..1_000_000, 1..40),
            scale in 0_u32..3,
        ) {
            let total = Exact::ratio(total.into(), 1000).unwrap();
            let exact: Vec<Exact> = weights.iter().map(|&weight| Exact::from(weight)).collect();
            let parts = spread(&total, &exact, scale).unwrap();
            prop_assert_eq!(parts.iter().sum::<i64>(), scaled(&total, scale).unwrap());
            let sum: i64 = weights.iter().sum();
            for (part, weight) in parts.iter().zip(&weights) {
                prop_assert!(*part >= 0);
                if sum > 0 {
                    let share = Exact::ratio((*weight).into(), sum.into()).unwrap();
                    let exact = &(&total * &share) * &power_of_ten(scale);
                    let off = (&exact - &Exact::from(*part)).abs();
                    prop_assert!(off <= Exact::ONE, "{} instead of {}", part, exact);
                }
            }
        }
    }
}
