//! RFC 3339 times as microseconds since 1970 UTC.
//!
//! Read digit by digit, and nothing but RFC 3339: general parsers also take dates of other standards,
//! in which two producers may not mean the same. Digits past the microsecond are cut off. `jiff` is the
//! oracle of the tests.

/// Microseconds in a day.
pub const DAY_US: i64 = 86_400_000_000;

/// The day (since 1970-01-01, UTC) in which an instant lies.
#[inline]
pub fn day_of(time_us: i64) -> i32 {
    time_us.div_euclid(DAY_US) as i32
}

/// Reads an RFC 3339 time; none if it is not one.
///
/// A leap second, which no clock of ours can show, is taken for the second before it.
pub fn parse_time(text: &str) -> Option<i64> {
    let text = text.as_bytes();
    if text.len() < 20 {
        return None;
    }
    let shape = text[4] == b'-'
        && text[7] == b'-'
        && matches!(text[10], b'T' | b't' | b' ')
        && text[13] == b':'
        && text[16] == b':';
    if !shape {
        return None;
    }
    let two = |at: usize| two_digits(text[at], text[at + 1]);
    let year = two(0)? * 100 + two(2)?;
    let (month, day, hour, minute, second) = (two(5)?, two(8)?, two(11)?, two(14)?, two(17)?);
    let valid = (1..=12).contains(&month) && day >= 1 && hour < 24 && minute < 60 && second <= 60;
    if !valid || day > days_in_month(year, month) {
        return None;
    }
    let (micros, zone) = fraction_us(&text[19..])?;
    let offset = offset_seconds(zone)?;
    let seconds = days_from_civil(year, month, day) * 86_400 + hour * 3_600 + minute * 60 + second.min(59);
    Some((seconds - offset) * 1_000_000 + micros)
}

#[inline]
fn two_digits(tens: u8, ones: u8) -> Option<i64> {
    let (tens, ones) = (tens.wrapping_sub(b'0'), ones.wrapping_sub(b'0'));
    (tens < 10 && ones < 10).then(|| i64::from(tens) * 10 + i64::from(ones))
}

/// The microseconds of a fraction of one to nine digits, if there is one, and what stands behind it.
#[inline]
fn fraction_us(text: &[u8]) -> Option<(i64, &[u8])> {
    let [b'.', text @ ..] = text else { return Some((0, text)) };
    let length = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    if !(1..=9).contains(&length) {
        return None;
    }
    let (digits, rest) = text.split_at(length);
    let digit = |position: usize| digits.get(position).map_or(0, |byte| i64::from(byte - b'0'));
    Some(((0..6).fold(0, |micros, position| micros * 10 + digit(position)), rest))
}

/// How far ahead of UTC a time with this ending is: `Z` or `+hh:mm`.
#[inline]
fn offset_seconds(zone: &[u8]) -> Option<i64> {
    let (sign, hour, minute) = match *zone {
        [b'Z' | b'z'] => return Some(0),
        [b'+', h1, h2, b':', m1, m2] => (1, two_digits(h1, h2)?, two_digits(m1, m2)?),
        [b'-', h1, h2, b':', m1, m2] => (-1, two_digits(h1, h2)?, two_digits(m1, m2)?),
        _ => return None,
    };
    (hour < 24 && minute < 60).then_some(sign * (hour * 3_600 + minute * 60))
}

#[inline]
fn days_in_month(year: i64, month: i64) -> i64 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        _ => 31,
    }
}

/// Days since 1970-01-01 of a proleptic Gregorian date, counting years from March so that leap days come last.
#[inline]
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
            ("2026-05-01 12:34:56Z", Some(1_777_638_896_000_000)),
            ("2016-12-31T23:59:60Z", Some(1_483_228_799_000_000)),
            // Other standards, which general parsers take as well.
            ("20260501T123456.789Z", None),
            ("20260501T123456+0200", None),
            ("2026-05-01T12:34:56+02", None),
            ("2026-05-01T12:34:56+0200", None),
            ("2026-05-01T12:34:56+02:00:30", None),
            ("2026-05-01T12:34:56+24:00", None),
            ("2026-05-01T12:34:56,789Z", None),
            ("2026-05-01T12:34:56.Z", None),
            ("+002026-05-01T12:34:56Z", None),
            ("2026-05-01T12:34:56Z[UTC]", None),
            // The last and the first year, with offsets that reach beyond them.
            ("9999-12-31T23:59:59.999999-23:59", Some(253_402_387_139_999_999)),
            ("0000-01-01T00:00:00+23:59", Some(-62_167_305_540_000_000)),
            ("9999-12-30T23:59:59Z", Some(253_402_214_399_000_000)),
            ("0001-01-01T00:00:00Z", Some(-62_135_596_800_000_000)),
        ] {
            assert_eq!(parse_time(text), expected, "{text}");
        }
    }

    fn oracle(text: &str) -> Option<i64> {
        let instant: jiff::Timestamp = text.parse().ok()?;
        Some(instant.as_nanosecond().div_euclid(1000) as i64)
    }

    proptest! {
        #[test]
        fn agrees_with_jiff(
            micros in -62_135_596_800_000_000i64..253_402_207_200_000_000,
            offset_minutes in -23 * 60..23 * 60i32,
        ) {
            let instant = jiff::Timestamp::from_microsecond(micros).unwrap();
            prop_assert_eq!(parse_time(&instant.to_string()), Some(micros));
            let offset = jiff::tz::Offset::from_seconds(offset_minutes * 60).unwrap();
            let text = instant.display_with_offset(offset).to_string();
            // The year before the first has a sign, which is not RFC 3339.
            let expected = Some(micros).filter(|_| !text.starts_with('-'));
            prop_assert_eq!(parse_time(&text), expected, "{}", text);
        }

        #[test]
        fn what_is_taken_is_what_jiff_takes(
            text in "\\PC{0,40}|[0-9]{4}-[01][0-9]-[0-3][0-9][Tt ][0-2][0-9]:[0-6][0-9]:[0-6][0-9](\\.[0-9]{0,12})?(Z|[+-][0-2][0-9]:[0-6][0-9])",
        ) {
            // jiff's last instant is a day earlier, so that it has every offset.
            if let (Some(taken), false) = (parse_time(&text), text.starts_with("9999-12-3")) {
                prop_assert_eq!(Some(taken), oracle(&text));
            }
        }
    }
}
