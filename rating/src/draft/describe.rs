//! What a line's reader sees: the price's own description, the values it stands for, and its days if it is a part of
//! the period.

use std::fmt::Write as _;

use jiff::Timestamp;
use jiff::civil::Time;

use crate::period::TimeZone;
use crate::quantity::Dimensions;

use super::Charges;
use super::charge::ChargeSpan;

pub(super) fn line(charges: &Charges<'_>, span: &ChargeSpan<'_>, dimensions: &Dimensions) -> String {
    let mut text = span.price.description.clone();
    for (at, value) in dimensions.values().enumerate() {
        text.push_str(if at == 0 { ": " } else { ", " });
        text.push_str(value);
    }
    let period = charges.period.span;
    if span.span != period && !span.price.once {
        let zone = &charges.terms.time_zone;
        let from = local(span.span.start_us, zone);
        let until = local(span.span.end_us, zone);
        let written = match (from, until) {
            (Some(from), Some(until)) if span.span.start_us == period.start_us => {
                write!(text, " (from {from}, until {until})")
            }
            (Some(from), _) if span.span.end_us == period.end_us => write!(text, " (from {from})"),
            (Some(from), Some(until)) => write!(text, " (from {from}, until {until})"),
            _ => Ok(()),
        };
        // Writing to a string cannot fail.
        debug_assert!(written.is_ok());
    }
    text
}

/// The local day, with its time where it is not midnight.
fn local(instant_us: i64, zone: &TimeZone) -> Option<String> {
    let local = zone.to_datetime(Timestamp::from_microsecond(instant_us).ok()?);
    let is_midnight = local.time() == Time::midnight();
    Some(if is_midnight { local.date().to_string() } else { local.to_string() })
}
