//! Instants as a catalog writes them: a day, a local time, or an exact time with its offset.
//!
//! Owns: reading them and finding the instant in a tenant's time zone. Does not own: periods (`period`). Keeps
//! DESIGN.md 3.4 and 3.8: a day starts at midnight where the tenant lives, and changes happen at exact instants.

use std::fmt;

use jiff::Timestamp;
use jiff::civil::{Date, DateTime};

use super::fields;
use super::mistake::Mistakes;
use super::yaml::Node;
use crate::period::TimeZone;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum When {
    /// `2026-03-01`: the first instant of that day in the tenant's time zone.
    Day(Date),
    /// `2026-03-01T12:30`: that time on the tenant's clock.
    Local(DateTime),
    /// `2026-03-01T12:30:00Z` or with an offset: the same instant for everybody.
    Exact(Timestamp),
}

impl When {
    /// Microseconds since 1970; a local time that the clock skips or shows twice takes the later reading's offset
    /// rules of the zone (`Catalog::parse` refuses such times where it knows the zone).
    pub fn instant_us(&self, zone: &TimeZone) -> i64 {
        let local = match self {
            Self::Exact(timestamp) => return timestamp.as_microsecond(),
            Self::Day(date) => date.at(0, 0, 0, 0),
            Self::Local(local) => *local,
        };
        let compatible = zone.to_ambiguous_timestamp(local).compatible();
        let limit = if local.year() < 0 { Timestamp::MIN } else { Timestamp::MAX };
        compatible.unwrap_or(limit).as_microsecond()
    }

    /// Why this time of day is not one instant in the zone, if it is not.
    pub(super) fn problem_in(&self, zone: &TimeZone) -> Option<&'static str> {
        let Self::Local(local) = self else {
            return None;
        };
        match zone.to_ambiguous_timestamp(*local).offset() {
            jiff::tz::AmbiguousOffset::Unambiguous { .. } => None,
            jiff::tz::AmbiguousOffset::Gap { .. } => Some("the clock skips this time"),
            jiff::tz::AmbiguousOffset::Fold { .. } => Some("the clock shows this time twice"),
        }
    }
}

impl fmt::Display for When {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Day(date) => date.fmt(out),
            Self::Local(local) => local.fmt(out),
            Self::Exact(timestamp) => timestamp.fmt(out),
        }
    }
}

pub(super) fn read(node: &Node, what: &str, mistakes: &mut Mistakes) -> Option<When> {
    let written = fields::text(node, what, mistakes)?;
    let when = from_written(written);
    if when.is_none() {
        let message = if looks_like_a_date(written) {
            format!("{what}: `{written}` does not exist in the calendar")
        } else {
            format!("{what}: expected a date or a time, found `{written}`")
        };
        mistakes.report(node.place, message).hint(
            "write `2026-03-01`, or a time `2026-03-01T12:30` on the tenant's clock, or an exact `2026-03-01T12:30:00Z`",
        );
    }
    when
}

fn from_written(written: &str) -> Option<When> {
    let bytes = written.as_bytes();
    // Years have four digits here, so that dates compare as they read.
    let has_plain_year = bytes.len() >= 10 && bytes[..4].iter().all(u8::is_ascii_digit) && bytes[4] == b'-';
    if !has_plain_year {
        return None;
    }
    if bytes.len() == 10 {
        return written.parse().ok().map(When::Day);
    }
    if !matches!(bytes[10], b'T' | b' ') || written.contains('[') {
        return None;
    }
    let has_offset = written.ends_with(['Z', 'z']) || written[11..].contains(['+', '-']);
    if has_offset { written.parse().ok().map(When::Exact) } else { written.parse().ok().map(When::Local) }
}

fn looks_like_a_date(written: &str) -> bool {
    let date = written.get(..10).unwrap_or_default();
    date.len() == 10
        && date.bytes().enumerate().all(
            |(at, byte)| {
                if at == 4 || at == 7 { byte == b'-' } else { byte.is_ascii_digit() }
            },
        )
}
