//! Dates, periods and spans as people read them, in the tenant's time zone: `1 – 28 February 2026`.

use jiff::civil::Date;
use jiff::{Timestamp, Zoned};
use rating::period::{Period, Span, TimeZone};

/// `21 November 2026`
pub(super) fn date(date: Date) -> String {
    date.strftime("%-d %B %Y").to_string()
}

/// The first and the last day of a period: its end is the day on which the next one starts.
pub(super) fn period(period: &Period) -> String {
    let days = |name: &str| name.parse::<Date>().ok();
    let first = days(&period.name);
    let last = days(&period.end_date).and_then(|end| end.yesterday().ok());
    match (first, last) {
        (Some(first), Some(last)) => days_between(first, last, "%B"),
        _ => format!("{} – {}", period.name, period.end_date),
    }
}

/// Whole days as days, anything else to the minute or the second. The end itself is not included, so a span that ends
/// at midnight ends with the day before.
pub(super) fn span(span: &Span, zone: &TimeZone) -> String {
    let local = |instant_us: i64| {
        Timestamp::from_microsecond(instant_us).ok().map(|instant| instant.to_zoned(zone.clone()))
    };
    let (Some(start), Some(end)) = (local(span.start_us), local(span.end_us)) else {
        return format!("{} us – {} us", span.start_us, span.end_us);
    };
    let is_day_start = |time: &Zoned| time.start_of_day().is_ok_and(|start| start == *time);
    match end.date().yesterday() {
        Ok(last) if is_day_start(&start) && is_day_start(&end) && start.date() <= last => {
            days_between(start.date(), last, "%b")
        }
        _ => format!("{} – {}", moment(&start), moment(&end)),
    }
}

fn moment(time: &Zoned) -> String {
    let format = match (time.second(), time.subsec_nanosecond()) {
        (0, 0) => "%-d %b %Y %H:%M",
        (_, 0) => "%-d %b %Y %H:%M:%S",
        _ => "%-d %b %Y %H:%M:%S%.f",
    };
    time.strftime(format).to_string()
}

/// Says month and year once where both days share them.
fn days_between(first: Date, last: Date, month: &str) -> String {
    let whole = format!("%-d {month} %Y");
    let start = if first == last {
        return last.strftime(&whole).to_string();
    } else if (first.year(), first.month()) == (last.year(), last.month()) {
        "%-d".to_owned()
    } else if first.year() == last.year() {
        format!("%-d {month}")
    } else {
        whole.clone()
    };
    format!("{} – {}", first.strftime(&start), last.strftime(&whole))
}

#[cfg(test)]
mod tests {
    use rating::period::time_zone;

    use super::*;

    #[test]
    fn periods_end_with_their_last_day() {
        for (start, end, expected) in [
            ("2026-02-01", "2026-03-01", "1 – 28 February 2026"),
            ("2026-01-15", "2026-02-15", "15 January – 14 February 2026"),
            ("2026-12-15", "2027-01-15", "15 December 2026 – 14 January 2027"),
            ("2026-02-01", "2026-02-02", "1 February 2026"),
        ] {
            let whole = Period {
                span: Span { start_us: 0, end_us: 1 },
                name: start.to_owned(),
                end_date: end.to_owned(),
            };
            assert_eq!(period(&whole), expected);
        }
    }

    #[test]
    fn spans_are_told_in_the_tenants_time() {
        let berlin = time_zone("Europe/Berlin").unwrap();
        let instant = |text: &str| text.parse::<Timestamp>().unwrap().as_microsecond();
        for (start, end, expected) in [
            // The clock changes on 29 March.
            ("2026-03-15T23:00:00Z", "2026-03-31T22:00:00Z", "16 – 31 Mar 2026"),
            ("2026-03-15T23:00:00Z", "2026-03-16T23:00:00Z", "16 Mar 2026"),
            ("2026-03-15T23:00:00Z", "2026-03-16T11:30:00Z", "16 Mar 2026 00:00 – 16 Mar 2026 12:30"),
            (
                "2026-03-15T23:00:01Z",
                "2026-03-16T11:30:00.25Z",
                "16 Mar 2026 00:00:01 – 16 Mar 2026 12:30:00.25",
            ),
        ] {
            assert_eq!(span(&Span { start_us: instant(start), end_us: instant(end) }, &berlin), expected);
        }
    }
}
