//! Instants as RFC 3339 text, fast: the date is only worked out when the day changes.

use jiff::Timestamp;

const DAY_US: i64 = 86_400_000_000;

#[derive(Debug, Default)]
pub(super) struct TimeText {
    day: i64,
    /// `2026-05-01T` of that day; empty before the first.
    date: Vec<u8>,
}

impl TimeText {
    /// Appends the instant with microseconds, in UTC.
    pub fn push(&mut self, out: &mut Vec<u8>, time_us: i64) {
        let (day, in_day_us) = (time_us.div_euclid(DAY_US), time_us.rem_euclid(DAY_US));
        if day != self.day || self.date.is_empty() {
            self.day = day;
            let midnight =
                Timestamp::from_microsecond(day * DAY_US).expect("a time that was in range before");
            self.date = midnight.to_string().as_bytes()[..11].to_vec();
        }
        out.extend_from_slice(&self.date);
        let seconds = (in_day_us / 1_000_000) as u32;
        let mut text = *b"00:00:00.000000Z";
        for (at, number) in [(0, seconds / 3600), (3, seconds / 60 % 60), (6, seconds % 60)] {
            text[at] += (number / 10) as u8;
            text[at + 1] += (number % 10) as u8;
        }
        let mut micros = (in_day_us % 1_000_000) as u32;
        for digit in (9..15).rev() {
            text[digit] += (micros % 10) as u8;
            micros /= 10;
        }
        out.extend_from_slice(&text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_the_instants() {
        let mut text = TimeText::default();
        for instant in [
            "2026-05-01T00:00:00.000000Z",
            "2026-05-01T23:59:59.999999Z",
            "2024-02-29T12:34:56.000789Z",
            "1969-12-31T23:59:59.500000Z",
            "1970-01-01T00:00:00.000001Z",
        ] {
            let time_us = instant.parse::<Timestamp>().unwrap().as_microsecond();
            let mut out = Vec::new();
            text.push(&mut out, time_us);
            assert_eq!(String::from_utf8(out).unwrap(), instant);
        }
    }
}
