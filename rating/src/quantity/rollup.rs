//! Roll-ups: what an hour or a day of a meter leaves behind, and how neighbours compose into longer stretches.
//!
//! Owns the composition, so that a period closes from its days without reading their events again. A roll-up holds
//! all that the measures of a longer stretch need: net change, highest and lowest level of the tenant's sum, integral,
//! sums, counts, opening and closing. What does not compose from so little (p95, each resource's own peak, distinct
//! resources) stays with the folds.

use serde::{Deserialize, Serialize};

use super::error::{FoldError, Samples};
use super::wide::WideSum;
use crate::exact::Exact;
use crate::period::{MICROSECONDS_PER_HOUR, Span};

/// Neighbours did not meet, or the sum of them does not fit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RollupError {
    #[error("roll-up ends at {end_us} us, the next starts at {start_us} us")]
    NotNeighbours { end_us: i64, start_us: i64 },
    #[error("roll-up closes at level {closing_nano}, the next opens at {opening_nano} (nano units)")]
    LevelsDiffer { closing_nano: i128, opening_nano: i128 },
    #[error("totals of different kinds of meters at {at_us} us")]
    OtherKind { at_us: i64 },
    #[error(transparent)]
    Fold(#[from] FoldError),
}

fn neighbours(earlier: &Span, later: &Span) -> Result<Span, RollupError> {
    if earlier.end_us != later.start_us {
        return Err(RollupError::NotNeighbours { end_us: earlier.end_us, start_us: later.start_us });
    }
    Ok(Span { start_us: earlier.start_us, end_us: later.end_us })
}

/// A stretch of the sum over a gauge's resources.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GaugeRollup {
    pub span: Span,
    /// The sum just before the stretch: what is carried in.
    pub opening_nano: i128,
    /// The sum at the end of the stretch.
    pub closing_nano: i128,
    /// Highest and lowest sum that held for any time at all; the opening when the stretch is empty.
    pub highest_nano: i128,
    pub lowest_nano: i128,
    /// Nano units times microseconds.
    pub integral: WideSum,
    pub samples: Samples,
    /// Samples with a level below zero.
    pub negative_samples: u64,
}

impl GaugeRollup {
    pub fn net_change_nano(&self) -> Option<i128> {
        self.closing_nano.checked_sub(self.opening_nano)
    }

    /// This stretch and the one after it as one.
    pub fn followed_by(&self, later: &GaugeRollup) -> Result<GaugeRollup, RollupError> {
        let span = neighbours(&self.span, &later.span)?;
        if self.closing_nano != later.opening_nano {
            return Err(RollupError::LevelsDiffer {
                closing_nano: self.closing_nano,
                opening_nano: later.opening_nano,
            });
        }
        let (highest_nano, lowest_nano) = match (self.span.is_empty(), later.span.is_empty()) {
            (true, _) => (later.highest_nano, later.lowest_nano),
            (false, true) => (self.highest_nano, self.lowest_nano),
            (false, false) => {
                (self.highest_nano.max(later.highest_nano), self.lowest_nano.min(later.lowest_nano))
            }
        };
        let mut integral = self.integral.clone();
        integral.add(&later.integral);
        Ok(GaugeRollup {
            span,
            opening_nano: self.opening_nano,
            closing_nano: later.closing_nano,
            highest_nano,
            lowest_nano,
            integral,
            samples: self.samples.followed_by(&later.samples),
            negative_samples: self.negative_samples + later.negative_samples,
        })
    }

    /// The same stretch when a late event changed what is carried into it. It holds as long as the changed resource
    /// has no sample in the stretch (and does not expire in it): then the whole stretch moves up or down.
    pub fn with_opening(&self, opening_nano: i128) -> Result<GaugeRollup, RollupError> {
        let overflow = || FoldError::Overflow { what: "level", at_us: self.span.start_us };
        let shift_nano = opening_nano.checked_sub(self.opening_nano).ok_or_else(overflow)?;
        let shifted = |level_nano: i128| level_nano.checked_add(shift_nano).ok_or_else(overflow);
        let mut integral = self.integral.clone();
        integral.add_product(shift_nano, self.span.length_us());
        Ok(GaugeRollup {
            opening_nano,
            closing_nano: shifted(self.closing_nano)?,
            highest_nano: shifted(self.highest_nano)?,
            lowest_nano: shifted(self.lowest_nano)?,
            integral,
            ..self.clone()
        })
    }

    pub fn peak(&self) -> Exact {
        Exact::from_nano(self.highest_nano)
    }

    pub fn min(&self) -> Exact {
        Exact::from_nano(self.lowest_nano)
    }

    pub fn last(&self) -> Exact {
        Exact::from_nano(self.closing_nano)
    }

    /// The integral divided by the length of the whole period, of which this may be one span.
    pub fn average(&self, period: &Span) -> Exact {
        let length = Exact::from(period.length_us()) * Exact::from(1_000_000_000_i64);
        self.integral.value().checked_div(&length).unwrap_or(Exact::ZERO)
    }

    pub fn unit_hours(&self) -> Exact {
        let hour = Exact::from(i128::from(MICROSECONDS_PER_HOUR) * 1_000_000_000);
        self.integral.value().checked_div(&hour).unwrap_or(Exact::ZERO)
    }
}

/// A stretch of a delta meter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeltaRollup {
    pub span: Span,
    pub sum_nano: i128,
    /// Nothing when there were no events.
    pub max_nano: Option<i128>,
    pub samples: Samples,
    pub hours: HourSums,
}

impl DeltaRollup {
    pub fn followed_by(&self, later: &DeltaRollup) -> Result<DeltaRollup, RollupError> {
        let span = neighbours(&self.span, &later.span)?;
        let overflow = FoldError::Overflow { what: "sum", at_us: later.span.start_us };
        Ok(DeltaRollup {
            span,
            sum_nano: self.sum_nano.checked_add(later.sum_nano).ok_or(overflow)?,
            max_nano: self.max_nano.max(later.max_nano),
            samples: self.samples.followed_by(&later.samples),
            hours: self.hours.followed_by(&later.hours)?,
        })
    }

    pub fn sum(&self) -> Exact {
        Exact::from_nano(self.sum_nano)
    }

    pub fn count(&self) -> Exact {
        Exact::from(self.samples.count)
    }

    /// The highest single value; zero without events.
    pub fn max(&self) -> Exact {
        Exact::from_nano(self.max_nano.unwrap_or(0))
    }

    /// The highest sum of one clock hour (UTC) that has events; zero without events.
    pub fn busiest_hour(&self) -> Exact {
        Exact::from_nano(self.hours.highest_nano().unwrap_or(0))
    }
}

/// Sums per clock hour, reduced to what neighbours need: the first and last hour, which the neighbour may share, and
/// the highest between them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct HourSums {
    first: Option<HourSum>,
    between_nano: Option<i128>,
    /// Nothing while all events lie in the first hour.
    last: Option<HourSum>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct HourSum {
    /// Hours since 1970-01-01T00:00:00Z.
    hour: i64,
    sum_nano: i128,
}

impl HourSum {
    #[inline]
    fn add(&mut self, value_nano: i128) -> Result<(), FoldError> {
        let at_us = self.hour.saturating_mul(MICROSECONDS_PER_HOUR);
        let overflow = FoldError::Overflow { what: "sum of an hour", at_us };
        self.sum_nano = self.sum_nano.checked_add(value_nano).ok_or(overflow)?;
        Ok(())
    }
}

impl HourSums {
    /// What is left of a stretch that shares no hour with its neighbours: its highest hour, named by any of its own.
    pub fn of_highest(hour: i64, sum_nano: i128) -> HourSums {
        HourSums { first: Some(HourSum { hour, sum_nano }), between_nano: None, last: None }
    }

    /// Adds a value; times never go back.
    #[inline]
    pub fn add(&mut self, time_us: i64, value_nano: i128) -> Result<(), FoldError> {
        let hour = time_us.div_euclid(MICROSECONDS_PER_HOUR);
        self.push(HourSum { hour, sum_nano: value_nano })
    }

    /// Adds a value of the same hour as the one before; without any before there is nothing to add to.
    #[inline]
    pub(super) fn add_to_last(&mut self, value_nano: i128) -> Result<(), FoldError> {
        self.last.as_mut().or(self.first.as_mut()).map_or(Ok(()), |hour| hour.add(value_nano))
    }

    pub fn highest_nano(&self) -> Option<i128> {
        let sum_nano = |hour: HourSum| hour.sum_nano;
        self.first.map(sum_nano).max(self.between_nano).max(self.last.map(sum_nano))
    }

    pub fn followed_by(&self, later: &HourSums) -> Result<HourSums, FoldError> {
        let mut joined = *self;
        if let Some(first) = later.first {
            joined.push(first)?;
        }
        if let Some(last) = later.last {
            joined.push(last)?;
            joined.between_nano = joined.between_nano.max(later.between_nano);
        }
        Ok(joined)
    }

    #[inline]
    fn push(&mut self, next: HourSum) -> Result<(), FoldError> {
        let Some(current) = self.last.as_mut().or(self.first.as_mut()) else {
            self.first = Some(next);
            return Ok(());
        };
        if current.hour == next.hour {
            current.add(next.sum_nano)?;
        } else if let Some(done) = self.last.replace(next) {
            self.between_nano = self.between_nano.max(Some(done.sum_nano));
        }
        Ok(())
    }
}

/// A stretch of cumulative counters, resets seen through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct CumulativeRollup {
    pub span: Span,
    pub increase_nano: i128,
    /// The highest growth between two samples, to notice a counter that jumps.
    pub largest_step_nano: i128,
    pub resets: u64,
    /// Samples with a value below zero, which no counter has.
    pub negative_samples: u64,
    pub samples: Samples,
}

impl CumulativeRollup {
    /// Joins stretches of which the later one was folded from the earlier one's closing state.
    pub fn followed_by(&self, later: &CumulativeRollup) -> Result<CumulativeRollup, RollupError> {
        let span = neighbours(&self.span, &later.span)?;
        let overflow = FoldError::Overflow { what: "increase", at_us: later.span.start_us };
        Ok(CumulativeRollup {
            span,
            increase_nano: self.increase_nano.checked_add(later.increase_nano).ok_or(overflow)?,
            largest_step_nano: self.largest_step_nano.max(later.largest_step_nano),
            resets: self.resets + later.resets,
            negative_samples: self.negative_samples + later.negative_samples,
            samples: self.samples.followed_by(&later.samples),
        })
    }

    pub fn increase(&self) -> Exact {
        Exact::from_nano(self.increase_nano)
    }
}
