//! Which period people mean: `2026-01` or `2026-01-15`, in each tenant's own calendar.
//!
//! Owns: reading it and finding the tenant's period (DESIGN.md 3.4). A month names the period that starts in it, a day
//! the period that it lies in. A cycle longer than a month has no period in months in which none starts.

use std::fmt;
use std::str::FromStr;

use jiff::civil::Date;

use super::{BillingCycle, Period, PeriodError, TimeZone};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum PeriodChoice {
    /// The first day of the month in which the period starts.
    Month(Date),
    Day(Date),
}

/// Which of the periods that start in a month are meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PeriodFilter {
    #[default]
    All,
    /// Those in which a day of the tenant's calendar lies.
    OfDay(Date),
    /// Those that ended last by an instant.
    LastEnded { by_us: i64 },
}

impl PeriodFilter {
    /// The only period of a cycle that is meant, whichever month it starts in; none where all are.
    pub fn period(self, cycle: &BillingCycle, zone: &TimeZone) -> Result<Option<Period>, PeriodError> {
        match self {
            Self::All => Ok(None),
            Self::OfDay(day) => cycle.period_of_day(day, zone).map(Some),
            Self::LastEnded { by_us } => cycle.last_ended(by_us, zone).map(Some),
        }
    }

    pub fn holds(self, period: &Period, cycle: &BillingCycle, zone: &TimeZone) -> Result<bool, PeriodError> {
        Ok(self.period(cycle, zone)?.is_none_or(|meant| meant == *period))
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{text:?} is no period: write a month like 2026-01, or a day like 2026-01-15 for the period that it lies in"
)]
pub struct UnknownPeriod {
    pub text: String,
}

impl PeriodChoice {
    pub fn period(&self, cycle: &BillingCycle, zone: &TimeZone) -> Result<Option<Period>, PeriodError> {
        match self {
            Self::Month(first) => cycle.period_starting_in(*first, zone),
            Self::Day(day) => cycle.period_of_day(*day, zone).map(Some),
        }
    }

    /// The month in which a period starts.
    pub fn month_of(period: &Period) -> Self {
        let start: Date = period.name.parse().expect("a period's name is its first day");
        Self::Month(start.first_of_month())
    }

    /// The months from one to another, both included; nothing where they are no months in order.
    pub fn months_until(&self, last: &PeriodChoice) -> Option<Vec<PeriodChoice>> {
        let (Self::Month(first), Self::Month(last)) = (self, last) else { return None };
        let mut months = Vec::new();
        let mut month = *first;
        while month <= *last {
            months.push(Self::Month(month));
            month = month.checked_add(jiff::Span::new().months(1)).ok()?;
        }
        (!months.is_empty()).then_some(months)
    }
}

impl FromStr for PeriodChoice {
    type Err = UnknownPeriod;

    fn from_str(text: &str) -> Result<Self, UnknownPeriod> {
        let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-');
        let date = |text: &str| text.parse::<Date>().ok();
        let choice = match text.len() {
            7 => date(&format!("{text}-01")).map(Self::Month),
            10 => date(text).map(Self::Day),
            _ => None,
        };
        choice.filter(|_| digits(text)).ok_or_else(|| UnknownPeriod { text: text.to_owned() })
    }
}

impl fmt::Display for PeriodChoice {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Month(first) => write!(out, "{:04}-{:02}", first.year(), first.month()),
            Self::Day(day) => day.fmt(out),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::period::time_zone;

    #[test]
    #[rustfmt::skip]
    fn months_and_days_mean_the_tenants_own_period() {
        let monthly = BillingCycle::CALENDAR_MONTH;
        let from_15 = BillingCycle::anniversary(15);
        let from_31 = BillingCycle::anniversary(31);
        let quarterly = BillingCycle { months: 3, phase: 1, anchor_day: 10 };
        let cases = [
            ("2026-01", monthly, "UTC", Some(("2026-01-01", "2026-02-01"))),
            ("2026-01-31", monthly, "Asia/Kathmandu", Some(("2026-01-01", "2026-02-01"))),
            ("2026-01", from_15, "America/New_York", Some(("2026-01-15", "2026-02-15"))),
            ("2026-01-14", from_15, "America/New_York", Some(("2025-12-15", "2026-01-15"))),
            ("2026-01-15", from_15, "America/New_York", Some(("2026-01-15", "2026-02-15"))),
            ("2026-02", from_31, "UTC", Some(("2026-02-28", "2026-03-31"))),
            ("2026-01", quarterly, "UTC", None),
            ("2026-02", quarterly, "UTC", Some(("2026-02-10", "2026-05-10"))),
            ("2026-01-15", quarterly, "UTC", Some(("2025-11-10", "2026-02-10"))),
            ("2026-12", quarterly, "UTC", None),
            // Midnight of 30 March 2025 does not exist in Beirut.
            ("2025-03-30", BillingCycle::anniversary(30), "Asia/Beirut", Some(("2025-03-30", "2025-04-30"))),
        ];
        for (text, cycle, zone, expected) in cases {
            let choice: PeriodChoice = text.parse().unwrap();
            assert_eq!(choice.to_string(), text);
            let period = choice.period(&cycle, &time_zone(zone).unwrap()).unwrap();
            let named = period.as_ref().map(|period| (period.name.as_str(), period.end_date.as_str()));
            assert_eq!(named, expected, "{text} {cycle:?} {zone}");
        }
    }

    #[test]
    #[rustfmt::skip]
    fn the_period_that_ended_last_is_the_tenants_own() {
        let monthly = BillingCycle::CALENDAR_MONTH;
        let quarterly = BillingCycle { months: 3, phase: 1, anchor_day: 10 };
        let cases = [
            ("2026-02-10T12:00:00Z", monthly, "UTC", ("2026-01-01", "2026-02-01")),
            ("2026-01-31T23:59:59Z", monthly, "UTC", ("2025-12-01", "2026-01-01")),
            // An end belongs to the next period.
            ("2026-02-01T00:00:00Z", monthly, "UTC", ("2026-01-01", "2026-02-01")),
            ("2026-02-01T00:00:00Z", monthly, "America/New_York", ("2025-12-01", "2026-01-01")),
            ("2026-01-31T18:15:00Z", monthly, "Asia/Kathmandu", ("2026-01-01", "2026-02-01")),
            ("2026-02-10T12:00:00Z", BillingCycle::anniversary(15), "UTC", ("2025-12-15", "2026-01-15")),
            ("2026-02-15T00:00:00Z", BillingCycle::anniversary(15), "UTC", ("2026-01-15", "2026-02-15")),
            ("2026-03-01T00:00:00Z", BillingCycle::anniversary(31), "UTC", ("2026-01-31", "2026-02-28")),
            ("2026-03-01T00:00:00Z", quarterly, "UTC", ("2025-11-10", "2026-02-10")),
        ];
        for (instant, cycle, zone, expected) in cases {
            let by_us = instant.parse::<jiff::Timestamp>().unwrap().as_microsecond();
            let (zone, last) = (time_zone(zone).unwrap(), PeriodFilter::LastEnded { by_us });
            let period = last.period(&cycle, &zone).unwrap().unwrap();
            assert_eq!((period.name.as_str(), period.end_date.as_str()), expected, "{instant} {cycle:?}");
            assert!(period.span.end_us <= by_us);
            assert!(last.holds(&period, &cycle, &zone).unwrap());
            let next = cycle.period_after(&period, &zone).unwrap();
            assert!(!last.holds(&next, &cycle, &zone).unwrap() && next.span.end_us > by_us);
        }
    }

    #[test]
    fn other_texts_are_no_periods() {
        for text in ["", "2026", "2026-13", "2026-02-30", "2026-1", "26-01-01", "2026/01", "2026-01-01T0"] {
            assert!(text.parse::<PeriodChoice>().is_err(), "{text}");
        }
    }

    #[test]
    fn months_follow_each_other() {
        let month = |text: &str| text.parse::<PeriodChoice>().unwrap();
        let months = month("2025-11").months_until(&month("2026-02")).unwrap();
        let texts: Vec<String> = months.iter().map(ToString::to_string).collect();
        assert_eq!(texts, ["2025-11", "2025-12", "2026-01", "2026-02"]);
        assert_eq!(month("2026-02").months_until(&month("2026-01")), None);
        assert_eq!(month("2026-02").months_until(&month("2026-03-01")), None);
    }
}
