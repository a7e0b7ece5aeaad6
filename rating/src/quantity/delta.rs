//! Deltas: each event adds its value; sum, count, max and busiest hour (DESIGN.md 3.5).
//!
//! Owns the fold of one tenant's events of one meter and dimension set, fed in time order. Nothing is carried over.

use super::error::{FoldError, Samples};
use super::rollup::{DeltaRollup, HourSums};
use crate::period::{MICROSECONDS_PER_HOUR, Span};

#[derive(Debug, Clone)]
pub struct DeltaFold {
    segment: DeltaRollup,
    /// Until then time is in the hour of the last event.
    hour_end_us: i64,
}

impl DeltaFold {
    pub fn new(start_us: i64) -> DeltaFold {
        DeltaFold { segment: empty_segment(start_us), hour_end_us: i64::MIN }
    }

    #[inline]
    pub fn event(&mut self, time_us: i64, value_nano: i128) -> Result<(), FoldError> {
        let segment = &mut self.segment;
        let now_us = segment.samples.last_us.unwrap_or(segment.span.start_us);
        if time_us < now_us {
            return Err(FoldError::OutOfOrder { time_us, now_us });
        }
        let sum = segment.sum_nano.checked_add(value_nano);
        segment.sum_nano = sum.ok_or(FoldError::Overflow { what: "sum", at_us: time_us })?;
        segment.max_nano = segment.max_nano.max(Some(value_nano));
        segment.samples.note(time_us);
        if time_us < self.hour_end_us {
            return segment.hours.add_to_last(value_nano);
        }
        self.hour_end_us =
            time_us.div_euclid(MICROSECONDS_PER_HOUR).saturating_add(1).saturating_mul(MICROSECONDS_PER_HOUR);
        segment.hours.add(time_us, value_nano)
    }

    /// Ends the current segment (an hour, a day, a span) and starts the next.
    pub fn cut(&mut self, at_us: i64) -> Result<DeltaRollup, FoldError> {
        let now_us = self.segment.samples.last_us.unwrap_or(self.segment.span.start_us);
        if at_us < now_us {
            return Err(FoldError::OutOfOrder { time_us: at_us, now_us });
        }
        self.hour_end_us = i64::MIN;
        let mut segment = std::mem::replace(&mut self.segment, empty_segment(at_us));
        segment.span.end_us = at_us;
        Ok(segment)
    }
}

fn empty_segment(at_us: i64) -> DeltaRollup {
    DeltaRollup {
        span: Span { start_us: at_us, end_us: at_us },
        sum_nano: 0,
        max_nano: None,
        samples: Samples::default(),
        hours: HourSums::default(),
    }
}
