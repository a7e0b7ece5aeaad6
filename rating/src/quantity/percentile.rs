//! The 95th percentile of a level: averages of 5-minute buckets, the top 5 % dropped, the highest left (DESIGN.md 3.5).
//!
//! Buckets lie on the clock's grid of five minutes, which every time zone's midnight is on. A span that starts or ends
//! inside one counts the part that it covers as a bucket of its own. Equal neighbours are kept as one run, so that
//! memory follows the number of samples and not the length of the period.

use serde::{Deserialize, Serialize};

use super::error::FoldError;
use crate::exact::Exact;

pub const BUCKET_US: i64 = 5 * 60 * 1_000_000;

/// The buckets of one span so far.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Buckets {
    runs: Vec<Run>,
    /// At most two: the parts at the span's edges.
    partial: Vec<Exact>,
    /// Integral and length of the bucket that time is in.
    open_integral: i128,
    open_length_us: i64,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Run {
    /// Nano units times microseconds over one full bucket.
    integral: i128,
    buckets: u64,
}

impl Buckets {
    /// The level held from `now_us` to `to_us`.
    pub fn hold(&mut self, level_nano: i128, mut now_us: i64, to_us: i64) -> Result<(), FoldError> {
        let overflow = |at_us| FoldError::Overflow { what: "integral of a 5-minute bucket", at_us };
        while now_us < to_us {
            let into_bucket_us = now_us.rem_euclid(BUCKET_US);
            let whole_buckets = to_us.saturating_sub(now_us) / BUCKET_US;
            if into_bucket_us == 0 && self.open_length_us == 0 && whole_buckets > 0 {
                let integral = level_nano.checked_mul(BUCKET_US.into()).ok_or(overflow(now_us))?;
                self.push(integral, whole_buckets.unsigned_abs());
                now_us += whole_buckets * BUCKET_US;
                continue;
            }
            let length_us = (BUCKET_US - into_bucket_us).min(to_us.saturating_sub(now_us));
            let added = level_nano.checked_mul(length_us.into()).ok_or(overflow(now_us))?;
            self.open_integral = self.open_integral.checked_add(added).ok_or(overflow(now_us))?;
            self.open_length_us += length_us;
            now_us += length_us;
            if now_us.rem_euclid(BUCKET_US) == 0 {
                self.close_bucket();
            }
        }
        Ok(())
    }

    fn close_bucket(&mut self) {
        let (integral, length_us) = (self.open_integral, self.open_length_us);
        (self.open_integral, self.open_length_us) = (0, 0);
        match length_us {
            0 => {}
            BUCKET_US => self.push(integral, 1),
            _ => self.partial.extend(average(integral, length_us)),
        }
    }

    fn push(&mut self, integral: i128, buckets: u64) {
        match self.runs.last_mut() {
            Some(run) if run.integral == integral => run.buckets += buckets,
            _ => self.runs.push(Run { integral, buckets }),
        }
    }

    /// The value at rank `n - floor(n / 20)` of the ascending averages; zero when the span is empty.
    pub fn p95(mut self) -> Exact {
        self.close_bucket();
        let full: u64 = self.runs.iter().map(|run| run.buckets).sum();
        let count = full + self.partial.len() as u64;
        let rank = count - count / 20;
        self.runs.sort_unstable_by_key(|run| run.integral);
        self.partial.sort_unstable();
        let mut partial = self.partial.into_iter().peekable();
        let mut passed = 0;
        let mut reached = Exact::ZERO;
        for run in self.runs {
            let Some(value) = average(run.integral, BUCKET_US) else {
                break;
            };
            while let Some(lower) = partial.next_if(|partial| *partial <= value) {
                passed += 1;
                if passed == rank {
                    return lower;
                }
            }
            passed += run.buckets;
            if passed >= rank {
                return value;
            }
        }
        for higher in partial {
            passed += 1;
            reached = higher;
            if passed == rank {
                break;
            }
        }
        reached
    }
}

fn average(integral: i128, length_us: i64) -> Option<Exact> {
    Exact::from_nano(integral).checked_div(&Exact::from(length_us))
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
                state.hold(level_nano, bucket * BUCKET_US, (bucket + 1) * BUCKET_US).unwrap();
            }
            assert_eq!(state.p95(), Exact::from(expected), "{buckets} buckets");
        }
    }

    #[test]
    fn edges_count_the_part_that_they_cover() {
        let mut state = Buckets::default();
        state.hold(4_000_000_000, 60_000_000, BUCKET_US).unwrap();
        state.hold(2_000_000_000, BUCKET_US, 3 * BUCKET_US + 1).unwrap();
        assert_eq!(state.p95(), Exact::from(4_i64));
    }
}
