//! Slow and obvious second opinions for the property tests: rationals, and every instant looked at anew.
#![allow(dead_code, reason = "each test file uses its own part")]

pub mod gauge;
pub mod price;
pub mod session;

use num_rational::BigRational;
use rating::exact::Exact;

/// How many cases a property tries: its share of METERHOUSE_CASES, 10,000 over all properties by default.
pub fn cases(share_percent: u32) -> u32 {
    let overall: u64 =
        std::env::var("METERHOUSE_CASES").ok().and_then(|text| text.parse().ok()).unwrap_or(10_000);
    u32::try_from((overall * u64::from(share_percent) / 100).max(1)).unwrap_or(u32::MAX)
}

/// The settings of every property: seeds are printed by proptest when a case fails.
pub fn config(share_percent: u32) -> proptest::test_runner::Config {
    proptest::test_runner::Config {
        cases: cases(share_percent),
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
