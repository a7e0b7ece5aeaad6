//! RFC 3339 times as microseconds since 1970 UTC.
//!
//! The common form ends in `Z` and is read digit by digit; every other form goes to `jiff`, which is
//! also the oracle of the tests. Digits past the microsecond are cut off.

/// Microseconds in a day.
pub const DAY_US: i64 = 86_400_000_000;

/// The day (since 1970-01-01, UTC) in which an instant lies.
pub fn day_of(time_us: i64) -> i32 {
    time_us.div_euclid(DAY_US) as i32
}

/// Reads an RFC 3339 time; none if it is not one.
pub fn parse_time(text: &str) -> Option<i64> {
    parse_utc(text.as_bytes()).or_else(|| {
        // jiff reads more than RFC 3339: dates without a time or with a zone name in brackets.
        let with_offset = text.len() >= 20 && !text.contains('[');
        let instant: jiff::Timestamp = with_offset.then(|| text.parse().ok()).flatten()?;
        Some(instant.as_nanosecond().div_euclid(1000) as i64)
    })
}

/// `YYYY-MM-DDTHH:MM:SS[.digits]Z`, everything else is left to the slow path.
fn parse_utc(text: &[u8]) -> Option<i64> {
    if text.len() < 20 || text.last() != Some(&b'Z') {
        return None;
    }
    let shape =
        text[4] == b'-' && text[7] == b'-' && text[10] == b'T' && text[13] == b':' && text[16] == b':';
    if !shape {
        return None;
    }
    let two = |at: usize| -> Option<i64> {
        let (tens, ones) = (text[at].wrapping_sub(b'0'), text[at + 1].wrapping_sub(b'0'));
        (tens < 10 && ones < 10).then(|| i64::from(tens) * 10 + i64::from(ones))
    };
    let year = two(0)? * 100 + two(2)?;
    let (month, day, hour, minute, second) = (two(5)?, two(8)?, two(11)?, two(14)?, two(17)?);
    let valid = (1..=12).contains(&month) && day >= 1 && hour < 24 && minute < 60 && second < 60;
    if !valid || day > days_in_month(year, month) {
        return None;
    }
    let micros = match &text[19..text.len() - 1] {
        [] => 0,
        [b'.', digits @ ..] if (1..=9).contains(&digits.len()) => fraction_us(digits)?,
        _ => return None,
    };
    let seconds = days_from_civil(year, month, day) * 86_400 + hour * 3_600 + minute * 60 + second;
    Some(seconds * 1_000_000 + micros)
}

fn fraction_us(digits: &[u8]) -> Option<i64> {
    let mut micros = 0;
    for position in 0..6.max(digits.len()) {
        let digit = digits.get(position).map_or(0, |byte| byte.wrapping_sub(b'0'));
        if digit > 9 {
            return None;
        }
        if position < 6 {
            micros = micros * 10 + i64::from(digit);
        }
    }
    Some(micros)
}

fn days_in_month(year: i64, month: i64) -> i64 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        _ => 31,
    }
}

/// Days since 1970-01-01 of a proleptic Gregorian date, counting years from March so that leap days come last.
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let leap_days = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    year * 365 + leap_days + (153 * month + 2) / 5 + day - 1 - 719_468
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn times_are_read_to_the_microsecond() {
        for (text, expected) in [
            ("1970-01-01T00:00:00Z", Some(0)),
            ("2026-05-01T12:34:56.789Z", Some(1_777_638_896_789_000)),
            ("2026-05-01T14:34:56.789+02:00", Some(1_777_638_896_789_000)),
            ("2026-05-01t12:34:56.789z", Some(1_777_638_896_789_000)),
            ("2026-05-01T12:34:56.1234567899Z", None),
            ("2026-05-01T12:34:56.123456999Z", Some(1_777_638_896_123_456)),
            ("2024-02-29T00:00:00Z", Some(1_709_164_800_000_000)),
            ("2023-02-29T00:00:00Z", None),
            ("2026-05-01T24:00:00Z", None),
            ("2026-05-01", None),
            ("2026-05-01T12:34:56", None),
            ("yesterday", None),
            ("9999-12-30T23:59:59Z", Some(253_402_214_399_000_000)),
            ("0001-01-01T00:00:00Z", Some(-62_135_596_800_000_000)),
        ] {
            assert_eq!(parse_time(text), expected, "{text}");
        }
    }

    proptest! {
        #[test]
        fn fast_path_agrees_with_jiff(micros in -62_135_596_800_000_000i64..253_402_207_200_000_000) {
            let text = jiff::Timestamp::from_microsecond(micros).unwrap().to_string();
            prop_assert_eq!(parse_utc(text.as_bytes()), Some(micros));
            prop_assert_eq!(parse_time(&text), Some(micros));
        }

        #[test]
        fn no_text_panics(text in "\\PC{0,40}|[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\\.[0-9]{0,12})?Z") {
            if let Some(fast) = parse_utc(text.as_bytes()) {
                prop_assert_eq!(Ok(fast), text.parse::<jiff::Timestamp>().map(|at| at.as_nanosecond().div_euclid(1000) as i64).map_err(|_| ()));
            }
        }
    }
}
