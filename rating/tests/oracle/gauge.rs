//! A gauge by brute force: the level of every resource is looked up anew for every stretch between two instants.

use num_rational::BigRational;

use super::{ratio, whole};

#[derive(Debug, Clone, Copy)]
pub struct Sample {
    pub time_us: i64,
    pub resource: u32,
    pub level_nano: i128,
}

pub struct Gauge<'a> {
    /// In order of arrival within one instant; times need not be in order.
    pub samples: &'a [Sample],
    pub expires_after_us: Option<i64>,
    pub resources: u32,
}

const BUCKET_US: i64 = 300_000_000;

impl Gauge<'_> {
    /// The level of one resource during the microsecond after the instant.
    fn level(&self, resource: u32, at_us: i64) -> i128 {
        let mut latest: Option<&Sample> = None;
        for sample in self.samples {
            if sample.resource == resource
                && sample.time_us <= at_us
                && latest.is_none_or(|latest| latest.time_us <= sample.time_us)
            {
                latest = Some(sample);
            }
        }
        match (latest, self.expires_after_us) {
            (None, _) => 0,
            (Some(sample), Some(after_us)) if at_us - sample.time_us >= after_us => 0,
            (Some(sample), _) => sample.level_nano,
        }
    }

    pub fn sum(&self, at_us: i64) -> i128 {
        (0..self.resources).map(|resource| self.level(resource, at_us)).sum()
    }

    /// Every instant in the span at which anything could change.
    fn instants(&self, start_us: i64, end_us: i64) -> Vec<i64> {
        let mut instants = vec![start_us, end_us];
        for sample in self.samples {
            instants.push(sample.time_us);
            instants.extend(self.expires_after_us.map(|after_us| sample.time_us + after_us));
        }
        let mut bucket_us = start_us.div_euclid(BUCKET_US) * BUCKET_US;
        while bucket_us < end_us {
            instants.push(bucket_us);
            bucket_us += BUCKET_US;
        }
        instants.retain(|&instant_us| start_us <= instant_us && instant_us <= end_us);
        instants.sort_unstable();
        instants.dedup();
        instants
    }

    pub fn peak(&self, start_us: i64, end_us: i64) -> Option<i128> {
        let instants = self.instants(start_us, end_us);
        instants.windows(2).map(|pair| self.sum(pair[0])).max()
    }

    pub fn min(&self, start_us: i64, end_us: i64) -> Option<i128> {
        let instants = self.instants(start_us, end_us);
        instants.windows(2).map(|pair| self.sum(pair[0])).min()
    }

    pub fn integral(&self, start_us: i64, end_us: i64) -> BigRational {
        let instants = self.instants(start_us, end_us);
        instants.windows(2).map(|pair| whole(self.sum(pair[0])) * whole((pair[1] - pair[0]).into())).sum()
    }

    pub fn sum_of_peaks(&self, start_us: i64, end_us: i64) -> i128 {
        let instants = self.instants(start_us, end_us);
        let peak = |resource| {
            let levels = instants.windows(2).map(|pair| self.level(resource, pair[0]));
            levels.max().unwrap_or(0)
        };
        (0..self.resources).map(peak).sum()
    }

    pub fn p95(&self, start_us: i64, end_us: i64) -> BigRational {
        let mut averages = Vec::new();
        let mut bucket_us = start_us;
        while bucket_us < end_us {
            let next_us = ((bucket_us.div_euclid(BUCKET_US) + 1) * BUCKET_US).min(end_us);
            averages.push(self.integral(bucket_us, next_us) / whole((next_us - bucket_us).into()));
            bucket_us = next_us;
        }
        averages.sort();
        let keep = averages.len() - averages.len() * 5 / 100;
        averages.into_iter().take(keep).next_back().unwrap_or(ratio(0, 1)) / whole(1_000_000_000)
    }
}
