//! Exact numbers: rationals that never lose a digit and never overflow.
//!
//! Owns the arithmetic between the named rounding points of DESIGN.md 3.6. A quantity such as the average of 31
//! days is rarely a finite decimal, and no fixed width holds every product of integral, factor and price, so the
//! usual case stays in two `i128` and the rare one moves to big integers; which of both is used is not visible.

mod rounding;
mod text;

use std::cmp::Ordering;
use std::ops::{Add, AddAssign, Mul, Neg, Sub, SubAssign};

use num_bigint::BigInt;
use num_integer::Integer;
use num_traits::{Signed, ToPrimitive};
use rust_decimal::Decimal;

pub use rounding::{NotADecimal, Rounding};
pub use text::NotANumber;

/// A rational number in lowest terms. Equal values have equal representations.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Exact(Repr);

/// `Small` whenever both parts fit; its numerator is never `i128::MIN`, so that it can be negated. The
/// denominator is above zero.
#[derive(Clone, PartialEq, Eq, Hash)]
enum Repr {
    Small(i128, i128),
    Big(Box<(BigInt, BigInt)>),
}

impl Exact {
    pub const ZERO: Exact = Exact(Repr::Small(0, 1));
    pub const ONE: Exact = Exact(Repr::Small(1, 1));

    /// `numerator / denominator`, or nothing when the denominator is zero.
    pub fn ratio(numerator: i128, denominator: i128) -> Option<Exact> {
        match denominator {
            0 => None,
            _ => Some(Exact::reduce(numerator, denominator)),
        }
    }

    /// The value of a number scaled by 1e9, the unit in which events carry values.
    pub fn from_nano(nano: i128) -> Exact {
        Exact::reduce(nano, 1_000_000_000)
    }

    fn reduce(numerator: i128, denominator: i128) -> Exact {
        if numerator == i128::MIN || denominator == i128::MIN {
            return Exact::reduce_big(numerator.into(), denominator.into());
        }
        let divisor = gcd(numerator.unsigned_abs(), denominator.unsigned_abs()) as i128;
        let sign = denominator.signum();
        Exact(Repr::Small(sign * (numerator / divisor), sign * (denominator / divisor)))
    }

    fn reduce_big(numerator: BigInt, denominator: BigInt) -> Exact {
        let divisor = numerator.gcd(&denominator);
        let divisor = if denominator.is_negative() { -divisor } else { divisor };
        let (numerator, denominator) = (numerator / &divisor, denominator / &divisor);
        match (numerator.to_i128(), denominator.to_i128()) {
            (Some(small), Some(below)) if small != i128::MIN => Exact(Repr::Small(small, below)),
            _ => Exact(Repr::Big(Box::new((numerator, denominator)))),
        }
    }

    fn parts(&self) -> (BigInt, BigInt) {
        match &self.0 {
            Repr::Small(numerator, denominator) => ((*numerator).into(), (*denominator).into()),
            Repr::Big(parts) => (**parts).clone(),
        }
    }

    /// The numerator in lowest terms, in decimal digits.
    pub fn numerator(&self) -> String {
        match &self.0 {
            Repr::Small(numerator, _) => numerator.to_string(),
            Repr::Big(parts) => parts.0.to_string(),
        }
    }

    /// The denominator in lowest terms, in decimal digits; above zero.
    pub fn denominator(&self) -> String {
        match &self.0 {
            Repr::Small(_, denominator) => denominator.to_string(),
            Repr::Big(parts) => parts.1.to_string(),
        }
    }

    pub fn is_zero(&self) -> bool {
        matches!(self.0, Repr::Small(0, _))
    }

    pub fn is_negative(&self) -> bool {
        match &self.0 {
            Repr::Small(numerator, _) => *numerator < 0,
            Repr::Big(parts) => parts.0.is_negative(),
        }
    }

    pub fn is_positive(&self) -> bool {
        !self.is_zero() && !self.is_negative()
    }

    #[must_use]
    pub fn abs(&self) -> Exact {
        if self.is_negative() { -self } else { self.clone() }
    }

    /// The quotient, or nothing when the divisor is zero.
    pub fn checked_div(&self, divisor: &Exact) -> Option<Exact> {
        if divisor.is_zero() {
            return None;
        }
        let inverse = match &divisor.0 {
            Repr::Small(numerator, denominator) => {
                Exact(Repr::Small(numerator.signum() * denominator, numerator.abs()))
            }
            Repr::Big(parts) => Exact::reduce_big(parts.1.clone(), parts.0.clone()),
        };
        Some(self * &inverse)
    }

    fn add_small(left: (i128, i128), right: (i128, i128)) -> Option<Exact> {
        let divisor = gcd(left.1.unsigned_abs(), right.1.unsigned_abs()) as i128;
        let numerator =
            left.0.checked_mul(right.1 / divisor)?.checked_add(right.0.checked_mul(left.1 / divisor)?)?;
        Some(Exact::reduce(numerator, left.1.checked_mul(right.1 / divisor)?))
    }

    fn mul_small(left: (i128, i128), right: (i128, i128)) -> Option<Exact> {
        let first = gcd(left.0.unsigned_abs(), right.1.unsigned_abs()) as i128;
        let second = gcd(right.0.unsigned_abs(), left.1.unsigned_abs()) as i128;
        let numerator = (left.0 / first).checked_mul(right.0 / second)?;
        let denominator = (left.1 / second).checked_mul(right.1 / first)?;
        (numerator != i128::MIN).then_some(Exact(Repr::Small(numerator, denominator)))
    }
}

impl From<i128> for Exact {
    fn from(value: i128) -> Exact {
        Exact::reduce(value, 1)
    }
}

impl From<i64> for Exact {
    fn from(value: i64) -> Exact {
        Exact(Repr::Small(value.into(), 1))
    }
}

impl From<u64> for Exact {
    fn from(value: u64) -> Exact {
        Exact(Repr::Small(value.into(), 1))
    }
}

impl From<Decimal> for Exact {
    fn from(value: Decimal) -> Exact {
        Exact::reduce(value.mantissa(), 10_i128.pow(value.scale()))
    }
}

impl Add for &Exact {
    type Output = Exact;

    fn add(self, other: &Exact) -> Exact {
        if let (Repr::Small(a, b), Repr::Small(c, d)) = (&self.0, &other.0)
            && let Some(sum) = Exact::add_small((*a, *b), (*c, *d))
        {
            return sum;
        }
        let ((a, b), (c, d)) = (self.parts(), other.parts());
        Exact::reduce_big(a * &d + c * &b, b * d)
    }
}

impl Sub for &Exact {
    type Output = Exact;

    fn sub(self, other: &Exact) -> Exact {
        self + &-other
    }
}

impl Mul for &Exact {
    type Output = Exact;

    fn mul(self, other: &Exact) -> Exact {
        if let (Repr::Small(a, b), Repr::Small(c, d)) = (&self.0, &other.0)
            && let Some(product) = Exact::mul_small((*a, *b), (*c, *d))
        {
            return product;
        }
        let ((a, b), (c, d)) = (self.parts(), other.parts());
        Exact::reduce_big(a * c, b * d)
    }
}

impl Neg for &Exact {
    type Output = Exact;

    fn neg(self) -> Exact {
        match &self.0 {
            Repr::Small(numerator, denominator) => Exact(Repr::Small(-numerator, *denominator)),
            Repr::Big(parts) => Exact::reduce_big(-parts.0.clone(), parts.1.clone()),
        }
    }
}

impl Add for Exact {
    type Output = Exact;

    fn add(self, other: Exact) -> Exact {
        &self + &other
    }
}

impl Sub for Exact {
    type Output = Exact;

    fn sub(self, other: Exact) -> Exact {
        &self - &other
    }
}

impl Mul for Exact {
    type Output = Exact;

    fn mul(self, other: Exact) -> Exact {
        &self * &other
    }
}

impl Neg for Exact {
    type Output = Exact;

    fn neg(self) -> Exact {
        -&self
    }
}

impl AddAssign<&Exact> for Exact {
    fn add_assign(&mut self, other: &Exact) {
        *self = &*self + other;
    }
}

impl SubAssign<&Exact> for Exact {
    fn sub_assign(&mut self, other: &Exact) {
        *self = &*self - other;
    }
}

impl std::iter::Sum for Exact {
    fn sum<I: Iterator<Item = Exact>>(values: I) -> Exact {
        values.fold(Exact::ZERO, |total, value| total + value)
    }
}

impl Default for Exact {
    fn default() -> Exact {
        Exact::ZERO
    }
}

impl Ord for Exact {
    fn cmp(&self, other: &Exact) -> Ordering {
        if let (Repr::Small(a, b), Repr::Small(c, d)) = (&self.0, &other.0)
            && let (Some(left), Some(right)) = (a.checked_mul(*d), c.checked_mul(*b))
        {
            return left.cmp(&right);
        }
        let ((a, b), (c, d)) = (self.parts(), other.parts());
        (a * d).cmp(&(c * b))
    }
}

impl PartialOrd for Exact {
    fn partial_cmp(&self, other: &Exact) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// The usual case fits 64 bits, where it is many times faster. Never zero.
fn gcd(left: u128, right: u128) -> u128 {
    if left == 1 || right == 1 {
        return 1;
    }
    if let (Ok(left), Ok(right)) = (u64::try_from(left), u64::try_from(right)) {
        return left.gcd(&right).max(1).into();
    }
    left.gcd(&right).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(text: &str) -> Exact {
        text.parse().unwrap()
    }

    #[test]
    fn sums_and_products_are_exact_beyond_128_bits() {
        let huge = number("170141183460469231731687303715884105727");
        let cases = [
            (&huge + &Exact::ONE, "170141183460469231731687303715884105728"),
            (&huge * &huge, "28948022309329048855892746252171976962977213799489202546401021394546514198529"),
            (&(&huge * &huge) - &(&huge * &huge), "0"),
            ((&huge * &huge).checked_div(&huge).unwrap(), "170141183460469231731687303715884105727"),
            (number("1/3") + number("1/6"), "0.5"),
            (number("-1/3") * number("3"), "-1"),
            (Exact::from(i128::MIN), "-170141183460469231731687303715884105728"),
            (-Exact::from(i128::MIN), "170141183460469231731687303715884105728"),
            (Exact::from_nano(i128::MIN), "-170141183460469231731687303715.884105728"),
        ];
        for (value, expected) in cases {
            assert_eq!(value, number(expected));
            assert_eq!(value.to_string(), expected);
        }
    }

    #[test]
    fn order_holds_across_representations() {
        let huge = number("340282366920938463463374607431768211456");
        let ascending = [-huge.clone(), number("-1/3"), Exact::ZERO, number("0.333"), number("1/3"), huge];
        for pair in ascending.windows(2) {
            assert!(pair[0] < pair[1], "{} < {}", pair[0], pair[1]);
        }
    }

    #[test]
    fn nothing_is_divided_by_zero() {
        assert_eq!(Exact::ONE.checked_div(&Exact::ZERO), None);
        assert_eq!(Exact::ratio(1, 0), None);
    }
}
