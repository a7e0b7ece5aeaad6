//! Times are what the oracle reads; where `jiff` has the instant too, it is the same one.
#![no_main]

use ingest_fuzz::oracle::rfc3339;
use ingest_fuzz::timestamp::{DAY_US, day_of, parse_time};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let time = parse_time(text);
    assert_eq!(time, rfc3339(text));
    let Some(time_us) = time else { return };
    if let Ok(instant) = text.parse::<jiff::Timestamp>() {
        assert_eq!(i128::from(time_us), instant.as_nanosecond().div_euclid(1000));
    }
    let day_start_us = i64::from(day_of(time_us)) * DAY_US;
    assert!((day_start_us..day_start_us + DAY_US).contains(&time_us));
});
