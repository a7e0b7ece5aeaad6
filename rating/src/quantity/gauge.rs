//! Gauges: the level of a resource holds from its sample until the next (DESIGN.md 3.5).
//!
//! Owns the fold of one tenant's samples of one meter and dimension set, over all its resources: feed it in (time,
//! arrival) order. A resource's level is zero before its first sample ever, is carried over period starts, and may
//! expire. Of several samples at one instant only the last to arrive has held for any time, so only it counts; and
//! what several resources do at one instant counts together.
//!
//! Time only moves in `advance`, and a level counts when it has held for at least a microsecond. That one rule gives
//! both, and makes hours and days compose.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::error::{FoldError, Samples};
use super::percentile::Buckets;
use super::rollup::GaugeRollup;
use super::wide::WideSum;
use crate::exact::Exact;
use crate::period::Span;

/// The state of a gauge between two stretches of time: closing state of one, opening state of the next.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct GaugeState {
    /// Resources with their current level, in ascending order. Zero levels may be left out.
    pub levels: Vec<ResourceLevel>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResourceLevel {
    pub resource: u32,
    pub level_nano: i128,
    /// When the sample was taken: the level's expiry counts from here.
    pub since_us: i64,
}

/// What costs memory or time beyond the roll-up, and is kept only when a catalog asks for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct GaugeExtras {
    pub p95: bool,
    pub sum_of_peaks: bool,
}

/// A resource's level from an instant on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GaugeSample {
    pub time_us: i64,
    pub resource: u32,
    pub level_nano: i128,
}

/// Everything that can be measured of a gauge in one span.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GaugeTotals {
    pub rollup: GaugeRollup,
    /// Present when asked for in `GaugeExtras`.
    pub p95: Option<Exact>,
    pub sum_of_peaks: Option<Exact>,
}

/// The fold. Resources are small dense numbers: memory is one entry for each up to the highest. Levels alone carry a fold
/// over a span's start; to stop inside a span that wants p95 or the sum of peaks, keep the fold itself.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct GaugeFold {
    expires_after_us: Option<i64>,
    levels: Vec<Level>,
    /// When levels run out, in the order of time; entries that a newer sample has overtaken are skipped.
    expiries: VecDeque<(i64, u32)>,
    sum_nano: i128,
    now_us: i64,
    segment: GaugeRollup,
    /// What the span gathered before the current segment.
    span_before: Option<GaugeRollup>,
    buckets: Option<Buckets>,
    /// Each resource's highest level in this span, when asked for.
    peaks: Option<Vec<Peak>>,
    span_start_us: i64,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Level {
    nano: i128,
    since_us: i64,
}

impl Level {
    /// A resource that nobody has heard of has had the level zero all along.
    const BEFORE_THE_FIRST: Level = Level { nano: 0, since_us: i64::MIN };
}

/// Nothing until the resource has held a level in the span for any time.
type Peak = Option<i128>;

impl GaugeFold {
    /// Starts at an instant with what earlier samples left behind.
    pub fn new(
        expires_after_us: Option<i64>,
        extras: GaugeExtras,
        start_us: i64,
        opening: &GaugeState,
    ) -> Result<GaugeFold, FoldError> {
        let mut fold = GaugeFold {
            expires_after_us,
            levels: Vec::new(),
            expiries: VecDeque::new(),
            sum_nano: 0,
            now_us: start_us,
            segment: empty_segment(start_us, 0),
            span_before: None,
            buckets: extras.p95.then(Buckets::default),
            peaks: extras.sum_of_peaks.then(Vec::new),
            span_start_us: start_us,
        };
        let mut levels = opening.levels.clone();
        levels.sort_by_key(|level| level.since_us);
        for level in levels {
            fold.set_level(level.resource, level.level_nano, level.since_us)?;
        }
        fold.expire_before(start_us)?;
        fold.segment = empty_segment(start_us, fold.sum_nano);
        if let Some(peaks) = &mut fold.peaks {
            peaks.clear();
        }
        Ok(fold)
    }

    /// Says when the span ends that has just begun, so that p95 keeps no more than it needs. Nothing may be held after it.
    pub fn expect_end(&mut self, end_us: i64) {
        if let Some(buckets) = &mut self.buckets {
            *buckets = Buckets::of_span(self.span_start_us, end_us);
        }
    }

    /// Takes one sample. Times never go back; at one instant the order is that of arrival.
    #[inline]
    pub fn sample(&mut self, time_us: i64, resource: u32, level_nano: i128) -> Result<(), FoldError> {
        self.advance(time_us)?;
        self.segment.samples.note(time_us);
        self.segment.negative_samples += u64::from(level_nano < 0);
        self.note_peak(resource, time_us);
        self.set_level(resource, level_nano, time_us)
    }

    /// Takes some samples, each with its place among others; an error comes with the place of the sample that could not be
    /// taken.
    pub fn samples(
        &mut self,
        samples: impl Iterator<Item = (usize, GaugeSample)>,
    ) -> Result<(), (usize, FoldError)> {
        if self.expires_after_us.is_none() && self.buckets.is_none() && self.peaks.is_none() {
            return self.plain_samples(samples);
        }
        for (at, GaugeSample { time_us, resource, level_nano }) in samples {
            self.sample(time_us, resource, level_nano).map_err(|error| (at, error))?;
        }
        Ok(())
    }

    /// The same as one sample after the other, where only the sum over the resources is asked for: what changes with every
    /// sample is kept in registers.
    fn plain_samples(
        &mut self,
        samples: impl Iterator<Item = (usize, GaugeSample)>,
    ) -> Result<(), (usize, FoldError)> {
        let segment = &mut self.segment;
        let (mut now_us, mut sum_nano) = (self.now_us, self.sum_nano);
        let (mut highest_nano, mut lowest_nano) = if segment.span.is_empty() {
            (i128::MIN, i128::MAX)
        } else {
            (segment.highest_nano, segment.lowest_nano)
        };
        let mut integral: i128 = 0;
        let mut result = Ok(());
        for (at, GaugeSample { time_us, resource, level_nano }) in samples {
            if time_us < now_us {
                result = Err((at, FoldError::OutOfOrder { time_us, now_us }));
                break;
            }
            if time_us > now_us {
                match narrow_product(sum_nano, now_us, time_us).and_then(|area| integral.checked_add(area)) {
                    Some(more) => integral = more,
                    None => {
                        segment.integral.add_product(sum_nano, i128::from(time_us) - i128::from(now_us));
                    }
                }
                highest_nano = highest_nano.max(sum_nano);
                lowest_nano = lowest_nano.min(sum_nano);
                now_us = time_us;
            }
            segment.samples.note(time_us);
            segment.negative_samples += u64::from(level_nano < 0);
            let index = resource as usize;
            if index >= self.levels.len() {
                self.levels.resize(index + 1, Level::BEFORE_THE_FIRST);
            }
            let level = &mut self.levels[index];
            let before_nano = std::mem::replace(level, Level { nano: level_nano, since_us: time_us }).nano;
            match sum_nano.checked_sub(before_nano).and_then(|rest| rest.checked_add(level_nano)) {
                Some(sum) => sum_nano = sum,
                None => {
                    let what = "sum over the resources";
                    result = Err((at, FoldError::Overflow { what, at_us: time_us }));
                    break;
                }
            }
        }
        segment.integral.add(&WideSum::from(integral));
        if now_us > segment.span.end_us {
            segment.span.end_us = now_us;
            (segment.highest_nano, segment.lowest_nano) = (highest_nano, lowest_nano);
        }
        (self.now_us, self.sum_nano) = (now_us, sum_nano);
        result
    }

    /// Ends the current segment (an hour, a day) and starts the next; the span goes on.
    pub fn cut(&mut self, at_us: i64) -> Result<GaugeRollup, FoldError> {
        self.advance(at_us)?;
        let mut segment = std::mem::replace(&mut self.segment, empty_segment(at_us, self.sum_nano));
        segment.span.end_us = at_us;
        segment.closing_nano = self.sum_nano;
        let joined = match &self.span_before {
            None => segment.clone(),
            Some(before) => before.followed_by(&segment).map_err(|_| FoldError::OutOfOrder {
                time_us: segment.span.start_us,
                now_us: before.span.end_us,
            })?,
        };
        self.span_before = Some(joined);
        Ok(segment)
    }

    /// Ends the span and starts the next one, into which the levels are carried.
    pub fn finish_span(&mut self, at_us: i64) -> Result<GaugeTotals, FoldError> {
        let last = self.cut(at_us)?;
        let rollup = self.span_before.take().unwrap_or(last);
        let p95 = self.buckets.as_mut().and_then(|buckets| std::mem::take(buckets).p95());
        let sum_of_peaks = self.sum_of_peaks(at_us);
        self.span_start_us = at_us;
        Ok(GaugeTotals { rollup, p95, sum_of_peaks })
    }

    /// What the next stretch opens with. Call it right after `cut` or `finish_span`.
    pub fn closing(&self) -> GaugeState {
        let held = |(resource, level): (usize, &Level)| {
            (level.nano != 0).then_some(ResourceLevel {
                resource: resource as u32,
                level_nano: level.nano,
                since_us: level.since_us,
            })
        };
        GaugeState { levels: self.levels.iter().enumerate().filter_map(held).collect() }
    }

    /// The sum over the resources now: the current level for dashboards.
    pub fn sum_nano(&self) -> i128 {
        self.sum_nano
    }

    #[inline]
    fn advance(&mut self, to_us: i64) -> Result<(), FoldError> {
        if to_us < self.now_us {
            return Err(FoldError::OutOfOrder { time_us: to_us, now_us: self.now_us });
        }
        if !self.expiries.is_empty() {
            self.expire_before(to_us)?;
        }
        self.hold_until(to_us);
        Ok(())
    }

    /// The sum held from now to then: the only place where anything is measured.
    #[inline]
    fn hold_until(&mut self, to_us: i64) {
        if to_us <= self.now_us {
            return;
        }
        let duration_us = i128::from(to_us) - i128::from(self.now_us);
        let segment = &mut self.segment;
        segment.integral.add_product(self.sum_nano, duration_us);
        if segment.span.end_us == segment.span.start_us {
            (segment.highest_nano, segment.lowest_nano) = (self.sum_nano, self.sum_nano);
        } else {
            segment.highest_nano = segment.highest_nano.max(self.sum_nano);
            segment.lowest_nano = segment.lowest_nano.min(self.sum_nano);
        }
        segment.span.end_us = to_us;
        if let Some(buckets) = &mut self.buckets {
            buckets.hold(self.sum_nano, self.now_us, to_us);
        }
        self.now_us = to_us;
    }

    /// Drops the levels that run out before the instant; one that runs out at it belongs to what follows.
    fn expire_before(&mut self, to_us: i64) -> Result<(), FoldError> {
        while let Some(&(expiry_us, resource)) = self.expiries.front() {
            if expiry_us >= to_us {
                break;
            }
            self.expiries.pop_front();
            let level = self.levels[resource as usize];
            let current = self.expiry_us(level.since_us) == Some(expiry_us);
            if current && level.nano != 0 {
                self.hold_until(expiry_us);
                self.note_peak(resource, expiry_us);
                self.change_sum(level.nano, 0, expiry_us)?;
                self.levels[resource as usize] = Level { nano: 0, since_us: expiry_us };
            }
        }
        Ok(())
    }

    fn expiry_us(&self, since_us: i64) -> Option<i64> {
        self.expires_after_us.and_then(|after_us| since_us.checked_add(after_us))
    }

    #[inline]
    fn set_level(&mut self, resource: u32, level_nano: i128, time_us: i64) -> Result<(), FoldError> {
        let index = resource as usize;
        if index >= self.levels.len() {
            self.levels.resize(index + 1, Level::BEFORE_THE_FIRST);
        }
        let before =
            std::mem::replace(&mut self.levels[index], Level { nano: level_nano, since_us: time_us });
        if let Some(expiry_us) = self.expiry_us(time_us) {
            self.expiries.push_back((expiry_us, resource));
        }
        self.change_sum(before.nano, level_nano, time_us)
    }

    #[inline]
    fn change_sum(&mut self, before_nano: i128, after_nano: i128, at_us: i64) -> Result<(), FoldError> {
        let sum = self.sum_nano.checked_sub(before_nano).and_then(|rest| rest.checked_add(after_nano));
        self.sum_nano = sum.ok_or(FoldError::Overflow { what: "sum over the resources", at_us })?;
        Ok(())
    }

    /// Counts the level that a resource has held until now, before it changes.
    #[inline]
    fn note_peak(&mut self, resource: u32, now_us: i64) {
        let Some(peaks) = &mut self.peaks else { return };
        let index = resource as usize;
        if index >= peaks.len() {
            peaks.resize(index + 1, None);
        }
        let level = self.levels.get(index).copied().unwrap_or(Level::BEFORE_THE_FIRST);
        if level.since_us.max(self.span_start_us) < now_us {
            peaks[index] = peaks[index].max(Some(level.nano));
        }
    }

    fn sum_of_peaks(&mut self, at_us: i64) -> Option<Exact> {
        self.peaks.as_ref()?;
        for resource in 0..self.levels.len() {
            self.note_peak(resource as u32, at_us);
        }
        let peaks = self.peaks.as_mut()?;
        let total = peaks.iter().flatten().map(|&peak| Exact::from_nano(peak)).sum();
        peaks.clear();
        Some(total)
    }
}

/// A level times how long it was held, where both are of 64 bits.
#[inline]
fn narrow_product(level_nano: i128, from_us: i64, until_us: i64) -> Option<i128> {
    let level_nano = i64::try_from(level_nano).ok()?;
    let duration_us = until_us.checked_sub(from_us)?;
    Some(i128::from(level_nano) * i128::from(duration_us))
}

fn empty_segment(at_us: i64, opening_nano: i128) -> GaugeRollup {
    GaugeRollup {
        span: Span { start_us: at_us, end_us: at_us },
        opening_nano,
        closing_nano: opening_nano,
        highest_nano: opening_nano,
        lowest_nano: opening_nano,
        integral: WideSum::default(),
        samples: Samples::default(),
        negative_samples: 0,
    }
}
