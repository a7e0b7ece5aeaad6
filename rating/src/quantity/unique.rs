//! Distinct resources and distinct resource-hours (DESIGN.md 3.5).
//!
//! Owns the fold of one tenant's sightings of one meter and dimension set, fed in time order. An hour is a clock hour
//! in UTC. Nothing is carried over: a resource counts in each span in which it is seen.

use super::error::{FoldError, Samples};
use crate::exact::Exact;
use crate::period::{MICROSECONDS_PER_HOUR, Span};

/// What was seen in one span.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UniqueTotals {
    pub span: Span,
    pub resources: u64,
    pub resource_hours: u64,
    pub samples: Samples,
}

impl UniqueTotals {
    pub fn unique_resources(&self) -> Exact {
        Exact::from(self.resources)
    }

    pub fn resource_hours(&self) -> Exact {
        Exact::from(self.resource_hours)
    }
}

#[derive(Debug, Clone)]
pub struct UniqueFold {
    /// The last hour of this span in which each resource was seen.
    last_hour: Vec<Option<i64>>,
    totals: UniqueTotals,
    now_us: i64,
}

impl UniqueFold {
    pub fn new(start_us: i64) -> UniqueFold {
        UniqueFold { last_hour: Vec::new(), totals: nothing_seen(start_us), now_us: start_us }
    }

    #[inline]
    pub fn seen(&mut self, time_us: i64, resource: u32) -> Result<(), FoldError> {
        if time_us < self.now_us {
            return Err(FoldError::OutOfOrder { time_us, now_us: self.now_us });
        }
        self.now_us = time_us;
        let index = resource as usize;
        if index >= self.last_hour.len() {
            self.last_hour.resize(index + 1, None);
        }
        let hour = time_us.div_euclid(MICROSECONDS_PER_HOUR);
        let last_hour = self.last_hour[index].replace(hour);
        self.totals.resources += u64::from(last_hour.is_none());
        self.totals.resource_hours += u64::from(last_hour != Some(hour));
        self.totals.samples.note(time_us);
        Ok(())
    }

    /// The resources seen in this span so far, in ascending order: what a day's roll-up keeps.
    pub fn resources_seen(&self) -> impl Iterator<Item = u32> {
        let seen = |(resource, hour): (usize, &Option<i64>)| hour.map(|_| resource as u32);
        self.last_hour.iter().enumerate().filter_map(seen)
    }

    /// Ends the span and starts the next, in which nothing has been seen yet.
    pub fn finish_span(&mut self, at_us: i64) -> Result<UniqueTotals, FoldError> {
        if at_us < self.now_us {
            return Err(FoldError::OutOfOrder { time_us: at_us, now_us: self.now_us });
        }
        self.now_us = at_us;
        self.last_hour.fill(None);
        let mut totals = std::mem::replace(&mut self.totals, nothing_seen(at_us));
        totals.span.end_us = at_us;
        Ok(totals)
    }
}

fn nothing_seen(at_us: i64) -> UniqueTotals {
    UniqueTotals {
        span: Span { start_us: at_us, end_us: at_us },
        resources: 0,
        resource_hours: 0,
        samples: Samples::default(),
    }
}
