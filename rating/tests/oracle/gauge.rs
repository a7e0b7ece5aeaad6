//! A gauge by brute force: the level of every resource is looked up anew for every stretch between two instants.

use std::collections::BTreeMap;

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

/// A stretch in which nothing changes, and the sum over the resources.
pub struct Stretch {
    pub from_us: i128,
    pub until_us: i128,
    pub sum: BigRational,
}

const BUCKET_US: i128 = 300_000_000;

impl Stretch {
    fn length(&self) -> BigRational {
        whole(self.until_us - self.from_us)
    }
}

impl Gauge<'_> {
    /// The level of one resource during the microsecond after the instant.
    fn level(&self, resource: u32, at_us: i128) -> i128 {
        let mut latest: Option<&Sample> = None;
        for sample in self.samples {
            if sample.resource == resource
                && i128::from(sample.time_us) <= at_us
                && latest.is_none_or(|latest| latest.time_us <= sample.time_us)
            {
                latest = Some(sample);
            }
        }
        match (latest, self.expires_after_us) {
            (None, _) => 0,
            (Some(sample), Some(after_us)) if at_us - i128::from(sample.time_us) >= after_us.into() => 0,
            (Some(sample), _) => sample.level_nano,
        }
    }

    pub fn sum(&self, at_us: i128) -> BigRational {
        (0..self.resources).map(|resource| whole(self.level(resource, at_us))).sum()
    }

    /// The span between all instants at which a level changes.
    pub fn stretches(&self, start_us: i64, end_us: i64) -> Vec<Stretch> {
        let (start_us, end_us) = (i128::from(start_us), i128::from(end_us));
        let mut instants = vec![start_us, end_us];
        for sample in self.samples {
            let time_us = i128::from(sample.time_us);
            instants.push(time_us);
            instants.extend(self.expires_after_us.map(|after_us| time_us + i128::from(after_us)));
        }
        instants.retain(|&instant_us| start_us <= instant_us && instant_us <= end_us);
        instants.sort_unstable();
        instants.dedup();
        let stretch = |pair: &[i128]| Stretch { from_us: pair[0], until_us: pair[1], sum: self.sum(pair[0]) };
        instants.windows(2).map(stretch).collect()
    }

    pub fn sum_of_peaks(&self, stretches: &[Stretch]) -> BigRational {
        let peak = |resource| {
            let levels = stretches.iter().map(|stretch| self.level(resource, stretch.from_us));
            whole(levels.max().unwrap_or(0))
        };
        (0..self.resources).map(peak).sum()
    }
}

pub fn integral(stretches: &[Stretch]) -> BigRational {
    stretches.iter().map(|stretch| &stretch.sum * stretch.length()).sum()
}

/// The averages of 5-minute buckets in ascending order, the top twentieth dropped, the highest left. Buckets in which nothing
/// changes are counted together; the others are added up part by part.
pub fn p95(stretches: &[Stretch]) -> BigRational {
    let mut parts: BTreeMap<i128, (BigRational, i128)> = BTreeMap::new();
    let mut averages: Vec<(BigRational, i128)> = Vec::new();
    let mut add = |from_us: i128, until_us: i128, sum: &BigRational| {
        if from_us < until_us {
            let part = parts.entry(from_us.div_euclid(BUCKET_US)).or_insert((ratio(0, 1), 0));
            part.0 += sum * whole(until_us - from_us);
            part.1 += until_us - from_us;
        }
    };
    for Stretch { from_us, until_us, sum } in stretches {
        let first_us = -(-from_us).div_euclid(BUCKET_US) * BUCKET_US;
        let last_us = until_us.div_euclid(BUCKET_US) * BUCKET_US;
        if first_us <= last_us {
            add(*from_us, first_us, sum);
            averages.push((sum.clone(), (last_us - first_us) / BUCKET_US));
            add(last_us, *until_us, sum);
        } else {
            add(*from_us, *until_us, sum);
        }
    }
    averages.extend(parts.into_values().map(|(integral, length_us)| (integral / whole(length_us), 1)));
    averages.sort();
    let buckets: i128 = averages.iter().map(|(_, count)| count).sum();
    let mut left = buckets * 5 / 100;
    for (average, count) in averages.into_iter().rev() {
        if left < count {
            return average / whole(1_000_000_000);
        }
        left -= count;
    }
    ratio(0, 1)
}
