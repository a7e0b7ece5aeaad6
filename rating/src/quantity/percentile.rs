//! The 95th percentile of a level: averages of 5-minute buckets, the top 5 % dropped, the highest left (DESIGN.md 3.5).
//!
//! Buckets lie on the clock's grid of five minutes, which every time zone's midnight is on. A span that starts or ends
//! inside one counts the part that it covers as a bucket of its own.
//!
//! Only the highest twentieth of the buckets and one more can be the answer. Where the span's end is known beforehand no
//! more are kept, which is 447 of a month's 8,928. Equal neighbours are kept as one run, so that memory never follows the
//! length of the span where nothing happens.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use serde::{Deserialize, Serialize};

use crate::exact::Exact;

pub const BUCKET_US: i64 = 5 * 60 * 1_000_000;

/// The buckets of one span so far.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Buckets {
    /// The highest full buckets, the lowest of them on top.
    highest: BinaryHeap<Reverse<Run>>,
    /// How many buckets these are.
    kept: u64,
    kept_max: u64,
    /// The full buckets at the end, as long as each is like the one before.
    last: Run,
    /// All full buckets, kept or not.
    full: u64,
    /// Integral and length; at most two: the parts at the span's edges.
    partial: Vec<(i128, i64)>,
    /// Integral and length of the bucket that time is in.
    open_integral: i128,
    open_length_us: i64,
    /// The end of the span if it is known, after which nothing can be held.
    until_us: i64,
    /// Whether a bucket was beyond what can be added up exactly: then nobody knows the percentile, and whoever does not ask for
    /// it needs not fail.
    #[serde(default)]
    is_out_of_range: bool,
}

/// A level times the length of a bucket is beyond `i128`.
struct OutOfRange;

/// Full buckets that are the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
struct Run {
    /// Nano units times microseconds over one bucket.
    integral: i128,
    buckets: u64,
}

impl Default for Buckets {
    /// Of a span whose end is not known.
    fn default() -> Self {
        Self {
            highest: BinaryHeap::new(),
            kept: 0,
            kept_max: u64::MAX,
            last: Run::default(),
            full: 0,
            partial: Vec::new(),
            open_integral: 0,
            open_length_us: 0,
            until_us: i64::MAX,
            is_out_of_range: false,
        }
    }
}

impl Buckets {
    /// Of a span whose end is known.
    pub fn of_span(start_us: i64, end_us: i64) -> Self {
        let first = i128::from(start_us.div_euclid(BUCKET_US));
        let after = i128::from(end_us.div_euclid(BUCKET_US)) + i128::from(end_us.rem_euclid(BUCKET_US) > 0);
        let buckets = (after - first).max(0) as u64;
        Self { kept_max: buckets / 20 + 1, until_us: end_us, ..Self::default() }
    }

    /// The level held from `now_us` to `to_us`.
    #[inline]
    pub fn hold(&mut self, level_nano: i128, now_us: i64, to_us: i64) {
        assert!(to_us <= self.until_us, "a level is held after the end that the span was said to have");
        let into_bucket_us = now_us.rem_euclid(BUCKET_US);
        let held = match to_us.checked_sub(now_us) {
            Some(length_us) if length_us < BUCKET_US - into_bucket_us => self.add_open(level_nano, length_us),
            _ => self.hold_over_buckets(level_nano, now_us, to_us),
        };
        self.is_out_of_range |= held.is_err();
    }

    fn hold_over_buckets(&mut self, level_nano: i128, mut now_us: i64, to_us: i64) -> Result<(), OutOfRange> {
        while now_us < to_us {
            let into_bucket_us = now_us.rem_euclid(BUCKET_US);
            let whole_buckets = to_us.saturating_sub(now_us) / BUCKET_US;
            if into_bucket_us == 0 && self.open_length_us == 0 && whole_buckets > 0 {
                let integral = level_nano.checked_mul(BUCKET_US.into()).ok_or(OutOfRange)?;
                self.push(integral, whole_buckets.unsigned_abs());
                now_us += whole_buckets * BUCKET_US;
                continue;
            }
            let length_us = (BUCKET_US - into_bucket_us).min(to_us.saturating_sub(now_us));
            self.add_open(level_nano, length_us)?;
            now_us += length_us;
            if now_us.rem_euclid(BUCKET_US) == 0 {
                self.close_bucket();
            }
        }
        Ok(())
    }

    #[inline]
    fn add_open(&mut self, level_nano: i128, length_us: i64) -> Result<(), OutOfRange> {
        let added = level_nano.checked_mul(length_us.into()).ok_or(OutOfRange)?;
        self.open_integral = self.open_integral.checked_add(added).ok_or(OutOfRange)?;
        self.open_length_us += length_us;
        Ok(())
    }

    fn close_bucket(&mut self) {
        let (integral, length_us) = (self.open_integral, self.open_length_us);
        (self.open_integral, self.open_length_us) = (0, 0);
        match length_us {
            0 => {}
            BUCKET_US => self.push(integral, 1),
            _ => self.partial.push((integral, length_us)),
        }
    }

    fn push(&mut self, integral: i128, buckets: u64) {
        self.full += buckets;
        if self.last.integral == integral {
            self.last.buckets += buckets;
        } else {
            let done = std::mem::replace(&mut self.last, Run { integral, buckets });
            self.keep(done);
        }
    }

    /// Keeps a run, and no lower ones than can still matter.
    fn keep(&mut self, run: Run) {
        let is_full = self.kept >= self.kept_max;
        let is_lowest = || self.highest.peek().is_some_and(|lowest| run.integral <= lowest.0.integral);
        if run.buckets == 0 || is_full && is_lowest() {
            return;
        }
        self.highest.push(Reverse(run));
        self.kept += run.buckets;
        while let Some(Reverse(lowest)) = self.highest.peek()
            && self.kept - lowest.buckets >= self.kept_max
        {
            self.kept -= lowest.buckets;
            self.highest.pop();
        }
    }

    /// The value at rank `n - floor(n / 20)` of the ascending averages; zero when the span is empty, and nothing where a level
    /// was out of range.
    pub fn p95(self) -> Option<Exact> {
        (!self.is_out_of_range).then(|| self.ranked())
    }

    fn ranked(mut self) -> Exact {
        self.close_bucket();
        self.keep(self.last);
        let dropped = (self.full + self.partial.len() as u64) / 20;
        // From the highest to the lowest.
        let runs = self.highest.into_sorted_vec();
        self.partial.sort_by_key(|(integral, length_us)| Reverse(average(*integral, *length_us)));
        let mut partial = self.partial.into_iter().peekable();
        let mut passed = 0;
        for Reverse(run) in runs {
            while let Some((integral, length_us)) = partial.next_if(|part| is_above(*part, run.integral)) {
                passed += 1;
                if passed > dropped {
                    return average(integral, length_us);
                }
            }
            passed += run.buckets;
            if passed > dropped {
                return average(run.integral, BUCKET_US);
            }
        }
        let lowest = partial.nth((dropped - passed) as usize);
        lowest.map_or(Exact::ZERO, |(integral, length_us)| average(integral, length_us))
    }
}

fn average(integral: i128, length_us: i64) -> Exact {
    Exact::from_nano(integral).checked_div(&Exact::from(length_us)).unwrap_or(Exact::ZERO)
}

/// Whether a part of a bucket has a higher average than a full bucket.
fn is_above((integral, length_us): (i128, i64), full_integral: i128) -> bool {
    match (integral.checked_mul(BUCKET_US.into()), full_integral.checked_mul(length_us.into())) {
        (Some(part), Some(full)) => part > full,
        _ => average(integral, length_us) > average(full_integral, BUCKET_US),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nearest_rank_after_dropping_the_top_twentieth() {
        // number of buckets 1, 2, … n; the value that is left on top
        for (buckets, expected) in [(0_i64, 0_i64), (1, 1), (19, 19), (20, 19), (39, 38), (40, 38), (100, 95)]
        {
            let mut state = Buckets::default();
            for bucket in 0..buckets {
                let level_nano = i128::from(bucket + 1) * 1_000_000_000;
                state.hold(level_nano, bucket * BUCKET_US, (bucket + 1) * BUCKET_US);
            }
            assert_eq!(state.p95(), Some(Exact::from(expected)), "{buckets} buckets");
        }
    }

    #[test]
    fn a_known_end_changes_nothing_but_what_is_kept() {
        let mut random = 7_u64;
        for buckets in [1_i64, 19, 20, 41, 400, 2_000] {
            for (into_us, over_us) in [(0, 0), (60_000_000, 0), (0, 1), (BUCKET_US - 1, 7)] {
                let (start_us, end_us) = (into_us - BUCKET_US, buckets * BUCKET_US + over_us);
                let mut known = Buckets::of_span(start_us, end_us);
                let mut unknown = Buckets::default();
                let mut now_us = start_us;
                while now_us < end_us {
                    random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    let level_nano = i128::from((random >> 33) % 50) - 10;
                    let to_us = end_us.min(now_us + 1 + (random >> 40) as i64 % (2 * BUCKET_US));
                    known.hold(level_nano, now_us, to_us);
                    unknown.hold(level_nano, now_us, to_us);
                    now_us = to_us;
                }
                assert!(known.highest.len() as i64 <= buckets / 20 + 2, "{} runs", known.highest.len());
                assert_eq!(known.p95(), unknown.p95(), "{buckets} buckets from {into_us} us");
            }
        }
    }

    #[test]
    fn edges_count_the_part_that_they_cover() {
        let mut state = Buckets::default();
        state.hold(4_000_000_000, 60_000_000, BUCKET_US);
        state.hold(2_000_000_000, BUCKET_US, 3 * BUCKET_US + 1);
        assert_eq!(state.p95(), Some(Exact::from(4_i64)));
    }

    #[test]
    fn a_level_out_of_range_leaves_only_the_percentile_unknown() {
        let mut state = Buckets::default();
        state.hold(i128::MAX / 2, 0, 1);
        assert_eq!(state.clone().p95(), Some(Exact::from_nano(i128::MAX / 2)));
        state.hold(i128::MAX / 2, 1, BUCKET_US);
        assert_eq!(state.p95(), None);
    }
}
