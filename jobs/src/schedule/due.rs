//! When an entry of the schedule is due.
//!
//! Pure: the time comes in. Owns the meaning of a cron expression with its time zone, and that an entry which missed several
//! of its times is due once.

use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};
use jiff::{Timestamp, Zoned};
use rating::period::{TimeZone, time_zone};

/// A cron expression in a time zone.
#[derive(Debug, Clone)]
pub struct Due {
    cron: Cron,
    zone: TimeZone,
}

/// What is to be done with an entry at an instant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The latest time at which it was due and was not taken yet.
    pub due_at_us: Option<i64>,
    /// How many times before that one were missed too.
    pub missed: u64,
    /// When it is due next; none if never again.
    pub next_at_us: Option<i64>,
}

/// Missed times are not counted beyond this many.
const MISSED_MAX: u64 = 1000;

impl Due {
    /// Five cron fields, and a time zone if it is not the usual one.
    pub fn parse(text: &str, usual_zone: &str) -> Result<Self, String> {
        let words: Vec<&str> = text.split_whitespace().collect();
        let (fields, zone) = match words.as_slice() {
            [fields @ .., zone] if fields.len() == 5 => (fields, *zone),
            fields if fields.len() == 5 => (fields, usual_zone),
            _ => {
                return Err(format!(
                    "`{text}` has {} words, expected five and perhaps a time zone",
                    words.len()
                ));
            }
        };
        let parser = CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed).build();
        let cron = parser.parse(&fields.join(" ")).map_err(|error| format!("`{text}`: {error}"))?;
        let zone = time_zone(zone).map_err(|error| error.to_string())?;
        Ok(Self { cron, zone })
    }

    /// What is due now, if `last_at_us` was the last time that somebody took.
    pub fn plan(&self, last_at_us: i64, now_us: i64) -> Plan {
        let now = self.zoned(now_us);
        let next = self.cron.find_next_occurrence(&now, false).ok();
        let next_at_us = next.map(|next| next.timestamp().as_microsecond());
        let latest = self.cron.find_previous_occurrence(&now, true).ok();
        let latest_us = latest.as_ref().map(|latest| latest.timestamp().as_microsecond());
        let due_at_us = latest_us.filter(|latest_us| *latest_us > last_at_us);
        let missed = match (due_at_us, latest) {
            (Some(_), Some(latest)) => self.count_between(last_at_us, &latest),
            _ => 0,
        };
        Plan { due_at_us, missed, next_at_us }
    }

    fn count_between(&self, last_at_us: i64, latest: &Zoned) -> u64 {
        let (mut count, mut at) = (0, latest.clone());
        while count < MISSED_MAX {
            match self.cron.find_previous_occurrence(&at, false) {
                Ok(earlier) if earlier.timestamp().as_microsecond() > last_at_us => at = earlier,
                _ => break,
            }
            count += 1;
        }
        count
    }

    fn zoned(&self, at_us: i64) -> Zoned {
        let at = Timestamp::from_microsecond(at_us).unwrap_or(Timestamp::UNIX_EPOCH);
        at.to_zoned(self.zone.clone())
    }
}

/// How much later an entry starts: the same for the same entry, time and book, so that it can be foretold, and other for
/// others.
pub fn jitter_us(book: &str, entry: &str, due_at_us: i64, jitter_max_us: i64) -> i64 {
    let digest = blake3::hash(format!("{book}\n{entry}\n{due_at_us}").as_bytes());
    let first: [u8; 8] = digest.as_bytes()[..8].try_into().expect("a digest has 32 bytes");
    let share = u128::from(u64::from_le_bytes(first)) * u128::from(jitter_max_us.unsigned_abs() + 1);
    // Below the maximum plus one, so it fits.
    (share >> 64) as i64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn us(text: &str) -> i64 {
        text.parse::<Timestamp>().unwrap().as_microsecond()
    }

    fn shown(at_us: Option<i64>) -> String {
        at_us.map_or("-".to_owned(), |at_us| Timestamp::from_microsecond(at_us).unwrap().to_string())
    }

    #[test]
    fn what_is_due_and_what_was_missed() {
        for (name, due, last, now, expected, missed, next) in [
            (
                "not yet",
                "0 6 * * *",
                "2026-05-01T06:00:00Z",
                "2026-05-02T05:59:59Z",
                "-",
                0,
                "2026-05-02T06:00:00Z",
            ),
            (
                "on the second",
                "0 6 * * *",
                "2026-05-01T06:00:00Z",
                "2026-05-02T06:00:00Z",
                "2026-05-02T06:00:00Z",
                0,
                "2026-05-03T06:00:00Z",
            ),
            (
                "a week missed is due once",
                "0 6 * * *",
                "2026-05-01T06:00:00Z",
                "2026-05-08T07:00:00Z",
                "2026-05-08T06:00:00Z",
                6,
                "2026-05-09T06:00:00Z",
            ),
            (
                "taken",
                "0 6 * * *",
                "2026-05-08T06:00:00Z",
                "2026-05-08T07:00:00Z",
                "-",
                0,
                "2026-05-09T06:00:00Z",
            ),
            (
                "a zone of its own",
                "30 6 1 * * Europe/Berlin",
                "2026-03-01T05:30:00Z",
                "2026-04-01T04:30:00Z",
                "2026-04-01T04:30:00Z",
                0,
                "2026-05-01T04:30:00Z",
            ),
            (
                "the 31st where there is one",
                "0 0 31 * *",
                "2026-01-31T00:00:00Z",
                "2026-02-28T12:00:00Z",
                "-",
                0,
                "2026-03-31T00:00:00Z",
            ),
            (
                "names of days",
                "0 0 * * SUN",
                "2026-05-03T00:00:00Z",
                "2026-05-09T00:00:00Z",
                "-",
                0,
                "2026-05-10T00:00:00Z",
            ),
        ] {
            let plan = Due::parse(due, "UTC").unwrap().plan(us(last), us(now));
            assert_eq!(shown(plan.due_at_us), expected, "{name}");
            assert_eq!(plan.missed, missed, "{name}");
            assert_eq!(shown(plan.next_at_us), next, "{name}");
        }
    }

    /// In Berlin the clock skips 02:30 on 29 March and shows it twice on 25 October.
    #[test]
    fn each_day_has_its_run_when_clocks_change() {
        let due = Due::parse("30 2 * * *", "Europe/Berlin").unwrap();
        for (from, to) in [
            ("2026-03-26T12:00:00Z", "2026-04-01T12:00:00Z"),
            ("2026-10-22T12:00:00Z", "2026-10-28T12:00:00Z"),
        ] {
            let (mut at_us, mut runs) = (us(from), Vec::new());
            while let Some(next_us) = due.plan(at_us, at_us).next_at_us.filter(|next_us| *next_us < us(to)) {
                runs.push(shown(Some(next_us)));
                at_us = next_us;
            }
            assert_eq!(runs.len(), 6, "{runs:?}");
            let mut days: Vec<&str> = runs.iter().map(|run| &run[..10]).collect();
            days.dedup();
            assert_eq!(days.len(), 6, "{runs:?}");
        }
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for text in [
            "",
            "* * * *",
            "60 * * * *",
            "* * * * * *",
            "0 6 1 * * Europe/Atlantis",
            "0 6 1 * * * UTC",
            "@daily",
        ] {
            assert!(Due::parse(text, "UTC").is_err(), "{text}");
        }
        // Never: planned without end is planned as never.
        let never = Due::parse("0 0 30 2 *", "UTC").unwrap().plan(0, us("2026-05-01T00:00:00Z"));
        assert_eq!(never, Plan { due_at_us: None, missed: 0, next_at_us: None });
    }

    #[test]
    fn jitter_stays_below_its_maximum_and_differs() {
        let jitters: Vec<i64> = (0..1000).map(|due| jitter_us("book", "compact", due, 9)).collect();
        assert!((0..=9).all(|wanted| jitters.contains(&wanted)));
        assert!(jitters.iter().all(|jitter| (0..=9).contains(jitter)));
        assert_eq!(jitter_us("book", "compact", 1, 9), jitter_us("book", "compact", 1, 9));
        assert_eq!(jitter_us("book", "compact", 1, 0), 0);
    }
}
