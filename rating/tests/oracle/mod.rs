//! Slow and obvious second opinions for the property tests: rationals, and every instant looked at anew.
#![allow(dead_code, reason = "each test file uses its own part")]

pub mod gauge;
pub mod months;
pub mod price;
pub mod session;

use num_rational::BigRational;
use rating::exact::Exact;

/// How many cases each property tries: METERHOUSE_CASES, 10,000 by default.
pub fn cases() -> u32 {
    std::env::var("METERHOUSE_CASES").ok().and_then(|text| text.parse().ok()).unwrap_or(10_000)
}

/// The settings of every property: seeds are printed by proptest when a case fails.
pub fn config() -> proptest::test_runner::Config {
    proptest::test_runner::Config {
        cases: cases(),
        max_global_rejects: u32::MAX,
        failure_persistence: None,
        ..proptest::test_runner::Config::default()
    }
}

pub fn rational(exact: &Exact) -> BigRational {
    BigRational::new(exact.numerator().parse().unwrap(), exact.denominator().parse().unwrap())
}

pub fn whole(value: i128) -> BigRational {
    BigRational::from_integer(value.into())
}

pub fn ratio(above: i128, below: i128) -> BigRational {
    BigRational::new(above.into(), below.into())
}

/// Whether a whole number is one of 128 bits.
pub fn fits(value: &BigRational) -> bool {
    whole(i128::MIN) <= *value && *value <= whole(i128::MAX)
}
