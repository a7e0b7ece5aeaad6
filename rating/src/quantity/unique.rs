//! Distinct resources and distinct resource-hours (DESIGN.md 3.5).
//!
//! Owns the fold of one tenant's sightings of one meter and dimension set, fed in time order. An hour is a clock hour
//! in UTC. Nothing is carried over from span to span: a resource counts in each in which it is seen. Within a span the
//! state resumes, so that its days can be folded one after the other.

use serde::{Deserialize, Serialize};

use super::error::{FoldError, Samples};
use crate::exact::Exact;
use crate::period::{MICROSECONDS_PER_HOUR, Span};

/// What was seen in one span.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
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

/// What a span has seen so far: closing state of one of its days, opening state of the next.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UniqueState {
    /// The totals so far, from the span's start.
    pub totals: UniqueTotals,
    /// Each resource with the last hour in which it was seen, in ascending order.
    pub last_hours: Vec<(u32, i64)>,
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

    /// Goes on with a span whose earlier days are folded.
    pub fn resume(state: &UniqueState) -> UniqueFold {
        let mut fold = UniqueFold::new(state.totals.span.start_us);
        for &(resource, hour) in &state.last_hours {
            *fold.slot(resource) = Some(hour);
        }
        fold.now_us = state.totals.span.end_us;
        fold.totals = state.totals;
        fold
    }

    /// What the span has seen until then, to go on with later.
    pub fn closing(&self, at_us: i64) -> UniqueState {
        let seen = |(resource, hour): (usize, &Option<i64>)| hour.map(|hour| (resource as u32, hour));
        let span = Span { end_us: at_us, ..self.totals.span };
        UniqueState {
            totals: UniqueTotals { span, ..self.totals },
            last_hours: self.last_hour.iter().enumerate().filter_map(seen).collect(),
        }
    }

    #[inline]
    pub fn seen(&mut self, time_us: i64, resource: u32) -> Result<(), FoldError> {
        if time_us < self.now_us {
            return Err(FoldError::OutOfOrder { time_us, now_us: self.now_us });
        }
        self.now_us = time_us;
        let hour = time_us.div_euclid(MICROSECONDS_PER_HOUR);
        let last_hour = self.slot(resource).replace(hour);
        self.totals.resources += u64::from(last_hour.is_none());
        self.totals.resource_hours += u64::from(last_hour != Some(hour));
        self.totals.samples.note(time_us);
        Ok(())
    }

    #[inline]
    fn slot(&mut self, resource: u32) -> &mut Option<i64> {
        let index = resource as usize;
        if index >= self.last_hour.len() {
            self.last_hour.resize(index + 1, None);
        }
        &mut self.last_hour[index]
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
