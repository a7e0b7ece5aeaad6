//! Where billing periods start: on a calendar day that recurs every month, or every few months.
//!
//! A period starts at the first instant of its day in the tenant's zone. A month that is too short for the anchor day
//! starts on its last day, and the next one recovers: 31 January, 29 February, 31 March.

use jiff::Timestamp;
use jiff::civil::Date;
use serde::{Deserialize, Serialize};

use super::{Span, TimeZone};

/// The rule by which a tenant's periods follow each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct BillingCycle {
    /// Length of a period: 1 for monthly, 3 for quarterly, 12 for yearly.
    pub months: u8,
    /// In which months one starts: counted from January of year 0, their number leaves this remainder when it is divided
    /// by `months`. The month of the year alone would not do where `months` does not divide 12.
    pub phase: u8,
    /// The day on which a period starts, 1 to 31.
    pub anchor_day: u8,
}

/// One billing period.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Period {
    pub span: Span,
    /// The local date on which it starts, `2026-02-01`: its stable name in line keys.
    pub name: String,
    /// The local date on which the next one starts.
    pub end_date: String,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PeriodError {
    #[error(
        "billing cycle of {months} months, the first after {phase}, from day {anchor_day} does not exist"
    )]
    ImpossibleCycle { months: u8, phase: u8, anchor_day: u8 },
    #[error("instant {instant_us} us is outside the calendar")]
    OutsideCalendar { instant_us: i64 },
}

impl BillingCycle {
    /// From the first of each month to the first of the next.
    pub const CALENDAR_MONTH: BillingCycle = BillingCycle { months: 1, phase: 0, anchor_day: 1 };

    /// Monthly from the given day of the month.
    pub fn anniversary(anchor_day: u8) -> BillingCycle {
        BillingCycle { months: 1, phase: 0, anchor_day }
    }

    /// Periods of so many months (none for zero), one of which starts on this date.
    pub fn from_anchor(months: u8, anchor: Date) -> Option<BillingCycle> {
        let phase = month_number(anchor).checked_rem_euclid(i32::from(months))?;
        Some(BillingCycle {
            months,
            phase: u8::try_from(phase).ok()?,
            anchor_day: anchor.day().unsigned_abs(),
        })
    }

    /// The first month of a year in which a period starts, 1 to 12, where every year has the same.
    pub fn first_month(&self) -> Option<u8> {
        (self.months > 0 && 12 % self.months == 0).then_some(self.phase + 1)
    }

    /// The first month from 2000 on in which a period starts.
    pub fn month_since_2000(&self) -> Option<Date> {
        let months = i32::from(self.months.max(1));
        let first = 2_000 * 12;
        date_of(first + (i32::from(self.phase) - first).rem_euclid(months))
    }

    /// The period in which the instant lies.
    pub fn period_containing(&self, instant_us: i64, zone: &TimeZone) -> Result<Period, PeriodError> {
        self.validate()?;
        let outside = PeriodError::OutsideCalendar { instant_us };
        let timestamp = Timestamp::from_microsecond(instant_us).map_err(|_| outside.clone())?;
        let local = zone.to_datetime(timestamp);
        let months = i32::from(self.months);
        let month = month_number(local.date());
        let phase = i32::from(self.phase);
        let mut first_month = month - (month - phase).rem_euclid(months);
        loop {
            let start_us = self.boundary(first_month, zone).ok_or(outside.clone())?.1;
            if instant_us < start_us {
                first_month -= months;
                continue;
            }
            let end_us = self.boundary(first_month + months, zone).ok_or(outside.clone())?.1;
            if instant_us < end_us {
                return self.period(first_month, zone).ok_or(outside);
            }
            first_month += months;
        }
    }

    /// The period that starts within a month of the tenant's calendar; nothing if none does, since a cycle is longer
    /// than a month.
    pub fn period_starting_in(&self, month: Date, zone: &TimeZone) -> Result<Option<Period>, PeriodError> {
        self.validate()?;
        let number = month_number(month);
        if number.rem_euclid(i32::from(self.months)) != i32::from(self.phase) {
            return Ok(None);
        }
        let instant_us = start_of_day_us(month, zone).unwrap_or(i64::MAX);
        self.period(number, zone).map(Some).ok_or(PeriodError::OutsideCalendar { instant_us })
    }

    /// The period in which a day of the tenant's calendar lies.
    pub fn period_of_day(&self, day: Date, zone: &TimeZone) -> Result<Period, PeriodError> {
        self.period_containing(start_of_day_us(day, zone).unwrap_or(i64::MAX), zone)
    }

    /// The period after the given one.
    pub fn period_after(&self, period: &Period, zone: &TimeZone) -> Result<Period, PeriodError> {
        self.period_containing(period.span.end_us, zone)
    }

    /// The period before the given one.
    pub fn period_before(&self, period: &Period, zone: &TimeZone) -> Result<Period, PeriodError> {
        let instant_us = period.span.start_us;
        let last_us = instant_us.checked_sub(1).ok_or(PeriodError::OutsideCalendar { instant_us })?;
        self.period_containing(last_us, zone)
    }

    /// The period that ended last by an instant.
    pub fn last_ended(&self, by_us: i64, zone: &TimeZone) -> Result<Period, PeriodError> {
        self.period_before(&self.period_containing(by_us, zone)?, zone)
    }

    pub fn validate(&self) -> Result<(), PeriodError> {
        let possible = (1..=120).contains(&self.months)
            && self.phase < self.months
            && (1..=31).contains(&self.anchor_day);
        possible.then_some(()).ok_or(PeriodError::ImpossibleCycle {
            months: self.months,
            phase: self.phase,
            anchor_day: self.anchor_day,
        })
    }

    fn period(self, first_month: i32, zone: &TimeZone) -> Option<Period> {
        let (start_date, start_us) = self.boundary(first_month, zone)?;
        let (end_date, end_us) = self.boundary(first_month + i32::from(self.months), zone)?;
        Some(Period {
            span: Span { start_us, end_us },
            name: start_date.to_string(),
            end_date: end_date.to_string(),
        })
    }

    /// The anchor day of a month counted from year 0, and the first instant of that day.
    fn boundary(self, month: i32, zone: &TimeZone) -> Option<(Date, i64)> {
        let first = date_of(month)?;
        let day = first.days_in_month().min(self.anchor_day as i8);
        let date = Date::new(first.year(), first.month(), day).ok()?;
        Some((date, start_of_day_us(date, zone)?))
    }
}

/// Months since January of year 0.
fn month_number(date: Date) -> i32 {
    i32::from(date.year()) * 12 + i32::from(date.month()) - 1
}

/// The first day of a month counted from January of year 0.
fn date_of(month: i32) -> Option<Date> {
    let year = i16::try_from(month.div_euclid(12)).ok()?;
    Date::new(year, (month.rem_euclid(12) + 1) as i8, 1).ok()
}

/// The first instant of a local day; where midnight is skipped by a clock change, the first instant after the gap.
pub(crate) fn start_of_day_us(date: Date, zone: &TimeZone) -> Option<i64> {
    let midnight = date.at(0, 0, 0, 0);
    let timestamp = zone.to_ambiguous_timestamp(midnight).compatible().ok()?;
    Some(timestamp.as_microsecond())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::period::{MICROSECONDS_PER_HOUR, time_zone};

    fn instant_us(text: &str) -> i64 {
        text.parse::<Timestamp>().unwrap().as_microsecond()
    }

    fn shown(instant_us: i64) -> String {
        Timestamp::from_microsecond(instant_us).unwrap().to_string()
    }

    #[test]
    #[rustfmt::skip]
    fn periods_start_at_local_midnight() {
        // zone, anchor day, an instant in the period, start, end, hours
        let cases = [
            ("UTC", 1, "2024-02-15T00:00:00Z", "2024-02-01T00:00:00Z", "2024-03-01T00:00:00Z", 29 * 24),
            ("UTC", 1, "2023-02-01T00:00:00Z", "2023-02-01T00:00:00Z", "2023-03-01T00:00:00Z", 28 * 24),
            ("America/New_York", 1, "2026-03-20T00:00:00Z", "2026-03-01T05:00:00Z", "2026-04-01T04:00:00Z", 743),
            ("America/New_York", 1, "2026-11-20T00:00:00Z", "2026-11-01T04:00:00Z", "2026-12-01T05:00:00Z", 721),
            ("Europe/Berlin", 1, "2026-10-31T22:59:59.999999Z", "2026-09-30T22:00:00Z", "2026-10-31T23:00:00Z", 745),
            ("Asia/Kathmandu", 1, "2026-01-10T00:00:00Z", "2025-12-31T18:15:00Z", "2026-01-31T18:15:00Z", 744),
            ("UTC", 31, "2024-02-29T00:00:00Z", "2024-02-29T00:00:00Z", "2024-03-31T00:00:00Z", 31 * 24),
            ("UTC", 31, "2023-02-27T23:59:59Z", "2023-01-31T00:00:00Z", "2023-02-28T00:00:00Z", 28 * 24),
            ("UTC", 30, "2023-03-29T00:00:00Z", "2023-02-28T00:00:00Z", "2023-03-30T00:00:00Z", 30 * 24),
            ("UTC", 29, "2023-02-28T00:00:00Z", "2023-02-28T00:00:00Z", "2023-03-29T00:00:00Z", 29 * 24),
            // Midnight of the anchor day does not exist: Beirut skipped it on 30 March 2025.
            ("Asia/Beirut", 30, "2025-04-01T00:00:00Z", "2025-03-29T22:00:00Z", "2025-04-29T21:00:00Z", 743),
        ];
        for (zone, day, instant, start, end, hours) in cases {
            let period = BillingCycle::anniversary(day)
                .period_containing(instant_us(instant), &time_zone(zone).unwrap())
                .unwrap();
            assert_eq!(
                (
                    shown(period.span.start_us).as_str(),
                    shown(period.span.end_us).as_str()
                ),
                (start, end)
            );
            assert_eq!(
                period.span.length_us(),
                i128::from(MICROSECONDS_PER_HOUR) * hours,
                "{zone} {instant}"
            );
        }
    }

    #[test]
    fn lord_howe_changes_by_half_an_hour() {
        let zone = time_zone("Australia/Lord_Howe").unwrap();
        let cycle = BillingCycle::CALENDAR_MONTH;
        let april = cycle.period_containing(instant_us("2026-04-20T00:00:00Z"), &zone).unwrap();
        let october = cycle.period_containing(instant_us("2026-10-20T00:00:00Z"), &zone).unwrap();
        let half_hours = |period: &Period| period.span.length_us() * 2 / i128::from(MICROSECONDS_PER_HOUR);
        assert_eq!(half_hours(&april), 30 * 48 + 1);
        assert_eq!(half_hours(&october), 31 * 48 - 1);
    }

    #[test]
    fn periods_follow_each_other_without_gap() {
        for zone in ["UTC", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu", "Pacific/Apia"] {
            let zone = time_zone(zone).unwrap();
            for cycle in [
                BillingCycle::CALENDAR_MONTH,
                BillingCycle::anniversary(29),
                BillingCycle::anniversary(30),
                BillingCycle::anniversary(31),
                BillingCycle { months: 3, phase: 1, anchor_day: 31 },
                BillingCycle { months: 12, phase: 1, anchor_day: 29 },
                BillingCycle { months: 7, phase: 6, anchor_day: 30 },
            ] {
                let mut period = cycle.period_containing(instant_us("2011-06-30T00:00:00Z"), &zone).unwrap();
                for _ in 0..60 {
                    let next = cycle.period_after(&period, &zone).unwrap();
                    assert_eq!(next.span.start_us, period.span.end_us);
                    assert_eq!(next.name, period.end_date);
                    assert_eq!(cycle.period_before(&next, &zone).unwrap(), period);
                    period = next;
                }
            }
        }
    }

    #[test]
    #[rustfmt::skip]
    fn the_anchors_year_counts_where_the_months_do_not_divide_it() {
        let cases = [
            (24, "2025-01-15", "2025-06-01", "2025-01-15", "2027-01-15"),
            (24, "2025-01-15", "2025-01-14", "2023-01-15", "2025-01-15"),
            (5, "2026-01-15", "2026-01-15", "2026-01-15", "2026-06-15"),
            (5, "2026-01-15", "2025-12-31", "2025-08-15", "2026-01-15"),
            (18, "2026-04-30", "2029-04-29", "2027-10-30", "2029-04-30"),
            (7, "2026-07-31", "2027-02-28", "2027-02-28", "2027-09-30"),
            (3, "2026-11-10", "2026-01-15", "2025-11-10", "2026-02-10"),
        ];
        let utc = time_zone("UTC").unwrap();
        let date = |text: &str| text.parse::<Date>().unwrap();
        for (months, anchor, day, start, end) in cases {
            let cycle = BillingCycle::from_anchor(months, date(anchor)).unwrap();
            let period = cycle.period_of_day(date(day), &utc).unwrap();
            assert_eq!((period.name.as_str(), period.end_date.as_str()), (start, end), "{months} {anchor}");
            let starting = cycle.period_starting_in(date(start).first_of_month(), &utc).unwrap();
            assert_eq!(starting, Some(period));
        }
        assert_eq!(BillingCycle::from_anchor(0, date("2026-01-15")), None);
        let words = |months, anchor| BillingCycle::from_anchor(months, date(anchor)).unwrap().in_words();
        assert_eq!(words(3, "2026-11-10"), "every 3 months from day 10 of month 2");
        assert_eq!(words(24, "2025-01-15"), "every 24 months from day 15, as in 2001-01");
    }

    #[test]
    fn impossible_cycles_and_instants_are_refused() {
        let utc = time_zone("UTC").unwrap();
        for day in [0, 32] {
            assert!(BillingCycle::anniversary(day).period_containing(0, &utc).is_err());
        }
        let late = BillingCycle { months: 3, phase: 3, anchor_day: 1 };
        assert!(late.period_containing(0, &utc).is_err());
        for instant_us in [i64::MIN, i64::MAX] {
            assert!(BillingCycle::CALENDAR_MONTH.period_containing(instant_us, &utc).is_err());
        }
    }
}
