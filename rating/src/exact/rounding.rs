//! Rounding of exact numbers: to whole numbers, to a step, and to the decimals of a currency.

use num_bigint::BigInt;
use num_integer::Integer;
use num_traits::{One, Signed, ToPrimitive};
use rust_decimal::Decimal;

use super::{Exact, Repr};

/// Which multiple of the step a number between two of them becomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Rounding {
    /// Towards plus infinity.
    Up,
    /// Towards minus infinity.
    Down,
    /// To the nearest, a half away from zero.
    HalfAwayFromZero,
    /// To the nearest, a half to the even neighbour.
    HalfEven,
}

/// The number has more digits than a decimal of 28 digits holds.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{value} does not fit a decimal of 28 digits")]
pub struct NotADecimal {
    pub value: String,
}

impl Exact {
    pub fn is_whole(&self) -> bool {
        match &self.0 {
            Repr::Small(_, denominator) => *denominator == 1,
            Repr::Big(parts) => parts.1.is_one(),
        }
    }

    /// The whole number that the rule chooses.
    #[must_use]
    pub fn round(&self, rounding: Rounding) -> Exact {
        match &self.0 {
            Repr::Small(_, 1) => self.clone(),
            Repr::Small(numerator, denominator) => {
                let below = numerator.div_floor(denominator);
                let rest = numerator.mod_floor(denominator);
                let above_half = rest.cmp(&(denominator - rest));
                let up = rounds_up(rounding, above_half, *numerator < 0, below.is_odd());
                Exact::from(below + i128::from(up))
            }
            Repr::Big(parts) => {
                let (below, rest) = parts.0.div_mod_floor(&parts.1);
                if rest == BigInt::ZERO {
                    return self.clone();
                }
                let above_half = rest.cmp(&(&parts.1 - &rest));
                let up = rounds_up(rounding, above_half, parts.0.is_negative(), below.is_odd());
                Exact::reduce_big(below + u8::from(up), BigInt::one())
            }
        }
    }

    /// The multiple of `step` that the rule chooses; a step of zero rounds nothing.
    #[must_use]
    pub fn round_to_step(&self, rounding: Rounding, step: &Exact) -> Exact {
        match self.checked_div(step) {
            Some(steps) => &steps.round(rounding) * step,
            None => self.clone(),
        }
    }

    /// The nearest number with that many decimals.
    pub fn round_to_decimals(&self, rounding: Rounding, decimals: u32) -> Result<Decimal, NotADecimal> {
        let scale = Exact::from(10_i128.pow(decimals.min(28)));
        let scaled = (self * &scale).round(rounding);
        scaled
            .to_i128()
            .and_then(|mantissa| Decimal::try_from_i128_with_scale(mantissa, decimals).ok())
            .ok_or_else(|| NotADecimal { value: self.to_string() })
    }

    /// The same number as a decimal, or an error when that would lose a digit.
    pub fn to_decimal(&self) -> Result<Decimal, NotADecimal> {
        let error = || NotADecimal { value: self.to_string() };
        let (mantissa, decimals) = match self.finite_small() {
            SmallDecimal::Finite(mantissa, decimals) => (mantissa, decimals),
            SmallDecimal::Endless => return Err(error()),
            SmallDecimal::TooWide => {
                let (mantissa, decimals) = self.finite().ok_or_else(error)?;
                (mantissa.to_i128().ok_or_else(error)?, decimals)
            }
        };
        Decimal::try_from_i128_with_scale(mantissa, decimals).map_err(|_| error())
    }

    /// The value when it is whole and fits.
    pub fn to_i128(&self) -> Option<i128> {
        match &self.0 {
            Repr::Small(numerator, 1) => Some(*numerator),
            Repr::Small(..) => None,
            Repr::Big(parts) => parts.1.is_one().then(|| parts.0.to_i128()).flatten(),
        }
    }

    /// Mantissa and number of decimals, when the decimal expansion ends.
    pub(super) fn finite(&self) -> Option<(BigInt, u32)> {
        let (numerator, denominator) = self.parts();
        let twos = denominator.trailing_zeros().unwrap_or(0);
        let mut rest = denominator.clone() >> twos;
        let (five, mut fives) = (BigInt::from(5), 0);
        while !rest.is_one() {
            let (quotient, remainder) = rest.div_rem(&five);
            if remainder != BigInt::ZERO {
                return None;
            }
            rest = quotient;
            fives += 1;
        }
        let decimals = u32::try_from(twos.max(fives)).ok()?;
        let mantissa = numerator * BigInt::from(10).pow(decimals) / denominator;
        Some((mantissa, decimals))
    }

    /// The same without big integers: the usual case, and what canonical texts spend their time on.
    pub(super) fn finite_small(&self) -> SmallDecimal {
        let Repr::Small(numerator, denominator) = &self.0 else {
            return SmallDecimal::TooWide;
        };
        let twos = denominator.trailing_zeros();
        let mut rest = denominator >> twos;
        let mut fives = 0;
        while rest % 5 == 0 {
            rest /= 5;
            fives += 1;
        }
        if rest != 1 {
            return SmallDecimal::Endless;
        }
        let decimals = twos.max(fives);
        let power = |base: i128, exponent| base.checked_pow(exponent);
        let mantissa = power(2, decimals - twos)
            .and_then(|twos| power(5, decimals - fives)?.checked_mul(twos))
            .and_then(|factor| factor.checked_mul(*numerator));
        mantissa.map_or(SmallDecimal::TooWide, |mantissa| SmallDecimal::Finite(mantissa, decimals))
    }
}

/// A number in lowest terms as a decimal in 128 bits.
pub(super) enum SmallDecimal {
    /// Mantissa and number of decimals.
    Finite(i128, u32),
    /// The decimal expansion does not end.
    Endless,
    /// Only big integers can say.
    TooWide,
}

/// Whether a number strictly between two whole ones goes to the upper one.
fn rounds_up(
    rounding: Rounding,
    against_half: std::cmp::Ordering,
    negative: bool,
    below_is_odd: bool,
) -> bool {
    match rounding {
        Rounding::Up => true,
        Rounding::Down => false,
        Rounding::HalfAwayFromZero => against_half.is_gt() || (against_half.is_eq() && !negative),
        Rounding::HalfEven => against_half.is_gt() || (against_half.is_eq() && below_is_odd),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_and_signs() {
        // value, up, down, half away, half even
        let cases = [
            ("0.5", "1", "0", "1", "0"),
            ("1.5", "2", "1", "2", "2"),
            ("2.5", "3", "2", "3", "2"),
            ("-0.5", "0", "-1", "-1", "0"),
            ("-1.5", "-1", "-2", "-2", "-2"),
            ("1/3", "1", "0", "0", "0"),
            ("-2/3", "0", "-1", "-1", "-1"),
            ("7", "7", "7", "7", "7"),
            (
                "340282366920938463463374607431768211456.5",
                "340282366920938463463374607431768211457",
                "340282366920938463463374607431768211456",
                "340282366920938463463374607431768211457",
                "340282366920938463463374607431768211456",
            ),
        ];
        for (value, up, down, half_away, half_even) in cases {
            let value: Exact = value.parse().unwrap();
            for (rounding, expected) in [
                (Rounding::Up, up),
                (Rounding::Down, down),
                (Rounding::HalfAwayFromZero, half_away),
                (Rounding::HalfEven, half_even),
            ] {
                assert_eq!(value.round(rounding).to_string(), expected, "{value} {rounding:?}");
            }
        }
    }

    #[test]
    fn a_decimal_that_would_lose_digits_is_refused() {
        for (value, fits) in [
            ("0.1234567890123456789012345678", true),
            ("0.12345678901234567890123456789", false),
            ("1/3", false),
            ("79228162514264337593543950335", true),
            ("79228162514264337593543950336", false),
        ] {
            let value: Exact = value.parse().unwrap();
            assert_eq!(value.to_decimal().is_ok(), fits, "{value}");
        }
    }

    #[test]
    fn rounding_to_minor_units() {
        for (value, decimals, expected) in [
            ("0.005", 2, "0.01"),
            ("-10.125", 2, "-10.13"),
            ("1/3", 2, "0.33"),
            ("1499.5", 0, "1500"),
            ("3", 2, "3.00"),
        ] {
            let value: Exact = value.parse().unwrap();
            let rounded = value.round_to_decimals(Rounding::HalfAwayFromZero, decimals).unwrap();
            assert_eq!(rounded.to_string(), expected);
        }
    }
}
