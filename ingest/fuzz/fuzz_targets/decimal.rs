//! Decimals come out as the oracle moves their point; a value that is taken survives being written again.
#![no_main]

use ingest_fuzz::decimal::{DecimalError, parse_decimal};
use ingest_fuzz::oracle::billionths;
use ingest_fuzz::rejected::RejectReason;
use libfuzzer_sys::fuzz_target;
use rating::catalog::ExcessDigits;

fuzz_target!(|text: &str| {
    for (round, excess) in [(false, ExcessDigits::Reject), (true, ExcessDigits::Round)] {
        let parsed = parse_decimal(text, round);
        let reason = |error| match error {
            DecimalError::NotANumber => RejectReason::ValueNotANumber,
            DecimalError::OutOfRange => RejectReason::ValueOutOfRange,
            DecimalError::TooManyDecimals => RejectReason::ValueTooPrecise,
        };
        assert_eq!(parsed.map_err(reason), billionths(text, excess), "round: {round}");
        if let Ok(value) = parsed {
            assert_eq!(parse_decimal(&format!("{value}e-9"), false), Ok(value));
        }
    }
});
