//! Counters: increase, with resets seen through (DESIGN.md 3.5).
//!
//! Owns the fold of one tenant's counters of one meter and dimension set, one counter per resource, fed in (time,
//! arrival) order. A sample adds its growth since the previous one, or its whole value after a drop; the first ever
//! adds nothing. The previous value is carried over period starts, and an increase belongs to the later sample's time.

use serde::{Deserialize, Serialize};

use super::error::{FoldError, Samples};
use super::rollup::CumulativeRollup;
use crate::period::Span;

/// The last value of each counter: closing state of one stretch, opening state of the next.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct CumulativeState {
    pub counters: Vec<CounterValue>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct CounterValue {
    pub resource: u32,
    pub value_nano: i128,
}

#[derive(Debug, Clone)]
pub struct CumulativeFold {
    previous: Vec<Option<i128>>,
    segment: CumulativeRollup,
    now_us: i64,
}

impl CumulativeFold {
    pub fn new(start_us: i64, opening: &CumulativeState) -> CumulativeFold {
        let mut fold =
            CumulativeFold { previous: Vec::new(), segment: empty_segment(start_us), now_us: start_us };
        for counter in &opening.counters {
            *fold.slot(counter.resource) = Some(counter.value_nano);
        }
        fold
    }

    /// Takes one reading and answers with what it added.
    #[inline]
    pub fn sample(&mut self, time_us: i64, resource: u32, value_nano: i128) -> Result<i128, FoldError> {
        if time_us < self.now_us {
            return Err(FoldError::OutOfOrder { time_us, now_us: self.now_us });
        }
        self.now_us = time_us;
        let overflow = FoldError::Overflow { what: "increase", at_us: time_us };
        let increase_nano = match self.slot(resource).replace(value_nano) {
            None => 0,
            Some(previous) if value_nano < previous => {
                self.segment.resets += 1;
                value_nano
            }
            Some(previous) => value_nano.checked_sub(previous).ok_or(overflow)?,
        };
        let segment = &mut self.segment;
        segment.increase_nano = segment.increase_nano.checked_add(increase_nano).ok_or(overflow)?;
        segment.largest_step_nano = segment.largest_step_nano.max(increase_nano);
        segment.negative_samples += u64::from(value_nano < 0);
        segment.samples.note(time_us);
        Ok(increase_nano)
    }

    /// Ends the current segment (an hour, a day, a span) and starts the next.
    pub fn cut(&mut self, at_us: i64) -> Result<CumulativeRollup, FoldError> {
        if at_us < self.now_us {
            return Err(FoldError::OutOfOrder { time_us: at_us, now_us: self.now_us });
        }
        self.now_us = at_us;
        let mut segment = std::mem::replace(&mut self.segment, empty_segment(at_us));
        segment.span.end_us = at_us;
        Ok(segment)
    }

    /// What the next stretch opens with. Call it right after `cut`.
    pub fn closing(&self) -> CumulativeState {
        let known = |(resource, value): (usize, &Option<i128>)| {
            value.map(|value_nano| CounterValue { resource: resource as u32, value_nano })
        };
        CumulativeState { counters: self.previous.iter().enumerate().filter_map(known).collect() }
    }

    #[inline]
    fn slot(&mut self, resource: u32) -> &mut Option<i128> {
        let index = resource as usize;
        if index >= self.previous.len() {
            self.previous.resize(index + 1, None);
        }
        &mut self.previous[index]
    }
}

fn empty_segment(at_us: i64) -> CumulativeRollup {
    CumulativeRollup {
        span: Span { start_us: at_us, end_us: at_us },
        increase_nano: 0,
        largest_step_nano: 0,
        resets: 0,
        negative_samples: 0,
        samples: Samples::default(),
    }
}
