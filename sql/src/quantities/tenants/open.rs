//! A tenant's meter that takes rows: what a row says to its fold, and what goes wrong with it.

use std::ops::Range;

use rating::quantity::session::SessionEvent;
use rating::quantity::{FoldError, MeterKind as FoldKind};
use rating::usage::{Reading, Sample};

use super::{Figures, LastSlot, MeterRules, OwnFold, QuantitiesError, SignalWord, TenantProblem};

/// A tenant's meter that takes rows.
pub(in crate::quantities) struct Open<'f> {
    pub(super) own: &'f mut OwnFold,
    pub(super) rules: &'f MeterRules,
    pub(super) owner: u64,
    pub(super) tenant: &'f str,
    pub problem: &'f mut Option<TenantProblem>,
}

impl Open<'_> {
    pub fn takes_signals(&self) -> bool {
        matches!(self.rules.fold, FoldKind::Session(_))
    }

    /// Whether rows without a value say nothing.
    pub fn needs_values(&self) -> bool {
        !matches!(self.rules.fold, FoldKind::Session(_) | FoldKind::Unique)
    }

    /// Whether a row comes too late for every span.
    #[inline]
    pub fn is_over(&self, time_us: i64) -> bool {
        time_us >= self.own.until_us && self.rules.in_order
    }

    /// Those of some rows, in the order of their times, that do not come too late.
    pub fn in_time(&self, times: &[i64], rows: Range<usize>) -> Range<usize> {
        let taken = times[rows.clone()].partition_point(|time_us| !self.is_over(*time_us));
        rows.start..rows.start + taken
    }

    /// The slot of a row's resource and dimensions, by the place where the resource stood last.
    #[inline]
    pub fn slot<'t>(
        &mut self,
        last: &mut LastSlot,
        dimensions: u32,
        texts: impl FnOnce() -> (&'t str, &'t str),
    ) -> Result<u32, QuantitiesError> {
        if last.owner == self.owner && last.dimensions == dimensions {
            return Ok(last.slot);
        }
        let (resource, dimension_text) = texts();
        let slot = self.own.fold.slot(resource, dimension_text).map_err(|source| {
            let (tenant, meter) = (self.tenant.to_owned(), self.rules.key.clone());
            QuantitiesError::Dimensions { tenant, meter, source }
        })?;
        *last = LastSlot { owner: self.owner, dimensions, slot };
        Ok(slot)
    }

    /// The slot of a row that names no resource. A fold knows a few of these itself: rows of one category come from every
    /// tenant in turn.
    #[inline]
    pub fn slot_without_resource<'t>(
        &mut self,
        last: &mut LastSlot,
        dimensions: u32,
        texts: impl FnOnce() -> (&'t str, &'t str),
    ) -> Result<u32, QuantitiesError> {
        const FEW: usize = 16;
        let known = self.own.without_resource.iter().find(|(known, _)| *known == dimensions);
        if let Some((_, slot)) = known {
            return Ok(*slot);
        }
        let slot = self.slot(last, dimensions, texts)?;
        if self.own.without_resource.len() < FEW {
            self.own.without_resource.push((dimensions, slot));
        }
        Ok(slot)
    }

    /// Folds values, after which there may be a row that should have one and has none. What goes wrong fails its
    /// tenant and nobody else.
    pub fn take_values(&mut self, samples: &[Sample], without_value_us: Option<i64>) {
        match (self.own.fold.values(samples), without_value_us) {
            (Err(error), _) => self.fail(error),
            (Ok(()), Some(time_us)) => {
                let meter = self.rules.key.clone();
                *self.problem = Some(TenantProblem::NoValue { meter, time_us });
            }
            (Ok(()), None) => {}
        }
    }

    /// Folds a row. What goes wrong fails its tenant and nobody else.
    pub fn take(&mut self, figures: &Figures, slot: u32) {
        let Figures { time_us, value_nano, .. } = *figures;
        if self.takes_signals() {
            self.take_signal(figures, slot);
        } else if value_nano.is_none() && self.needs_values() {
            self.take_values(&[], Some(time_us));
        } else {
            self.take_values(&[Sample { time_us, slot, nano: value_nano.unwrap_or_default() }], None);
        }
    }

    fn take_signal(&mut self, figures: &Figures, slot: u32) {
        let at_us = figures.signal_time_us.unwrap_or(figures.time_us);
        let (time_us, event) = match figures.signal {
            SignalWord::Start => (at_us, SessionEvent::Start),
            SignalWord::Stop => (at_us, SessionEvent::Stop),
            SignalWord::Heartbeat => (figures.time_us, SessionEvent::Heartbeat),
            SignalWord::Complete => {
                // Billionths of a second to microseconds.
                let length_us = i64::try_from(figures.value_nano.unwrap_or_default() / 1_000).ok();
                let end_us = length_us.and_then(|length_us| at_us.checked_add(length_us));
                let Some(end_us) = end_us else {
                    return self.fail(FoldError::Overflow { what: "session time", at_us });
                };
                (at_us, SessionEvent::Complete { end_us })
            }
            SignalWord::Unknown => {
                let (meter, time_us) = (self.rules.key.clone(), figures.time_us);
                *self.problem = Some(TenantProblem::NoSignal { meter, time_us });
                return;
            }
        };
        if let Err(error) = self.own.fold.event(time_us, slot, Reading::Session(event)) {
            self.fail(error);
        }
    }

    #[cold]
    fn fail(&mut self, error: FoldError) {
        *self.problem = Some(TenantProblem::of_fold(error, self.tenant, &self.rules.key));
    }
}
