//! A fold that goes on from what the time before left behind, and says what it leaves itself.

use std::collections::BTreeSet;

use super::{BadDimensions, Folds, MeterFold, Reading};
use crate::period::Span;
use crate::quantity::session::OpenSession;
use crate::quantity::{Dimensions, FoldError, MeterKind};
use crate::usage::View;
use crate::usage::carried::{CarriedSample, CarriedSession, CarriedState, Memory};

/// What the time before left behind cannot be taken up.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ResumeError {
    #[error(transparent)]
    Dimensions(#[from] BadDimensions),
    #[error(transparent)]
    Fold(#[from] FoldError),
}

impl MeterFold {
    /// The same fold, opened with what the time before left behind and able to say what it leaves itself. All events
    /// must come in the order of time, and no span may start before the opening's instant.
    pub fn resume(mut self, kind: &MeterKind, opening: &CarriedState) -> Result<MeterFold, ResumeError> {
        self.memory = Some(Memory::new(kind));
        for sample in &opening.samples {
            let slot = self.slot(&sample.resource, &sample.dimensions)?;
            self.event(sample.time_us, slot, Reading::Value { nano: sample.value_nano })?;
        }
        for carried in &opening.sessions {
            let slot = self.slot(&carried.session, &carried.dimensions)?;
            let (session, dimensions) = self.slots[slot as usize];
            let open = OpenSession {
                session,
                started_us: carried.started_us,
                last_sign_us: carried.last_sign_us,
                end_us: carried.end_us,
                dimensions,
                billed_us: carried.billed_us,
                is_stopped: carried.is_stopped,
            };
            if let (Folds::Sessions(looks), Some(Memory::Sessions(memory))) =
                (&mut self.series, &mut self.memory)
            {
                looks.resume(open);
                memory.resume(open);
            }
        }
        Ok(self)
    }

    /// What is left at an instant after all events; nothing of a fold that was not resumed.
    pub fn carried(&mut self, at_us: i64) -> Result<CarriedState, FoldError> {
        let Some(memory) = &mut self.memory else { return Ok(CarriedState::default()) };
        let (last, open) = (memory.samples(at_us), memory.sessions(at_us)?);
        let (resources, dimensions) = self.names();
        let sample = |(slot, time_us, value_nano): (u32, i64, i128)| {
            let (resource, dimension) = self.slots[slot as usize];
            let resource = resources[resource as usize].to_owned();
            let dimensions = dimensions[dimension as usize].to_owned();
            CarriedSample { time_us, resource, dimensions, value_nano }
        };
        let mut samples: Vec<CarriedSample> = last.into_iter().map(sample).collect();
        samples.sort_unstable();
        let session = |open: OpenSession| CarriedSession {
            session: resources[open.session as usize].to_owned(),
            dimensions: dimensions[open.dimensions as usize].to_owned(),
            started_us: open.started_us,
            last_sign_us: open.last_sign_us,
            end_us: open.end_us,
            billed_us: open.billed_us,
            is_stopped: open.is_stopped,
        };
        let mut sessions: Vec<CarriedSession> = open.into_iter().map(session).collect();
        sessions.sort_unstable();
        Ok(CarriedState { samples, sessions })
    }

    /// The resources that were seen in a span with the given values of a view's dimensions.
    pub fn resources_seen(&self, view: &View, values: &Dimensions, span: &Span) -> BTreeSet<&str> {
        let Some(Memory::Sightings(times)) = &self.memory else { return BTreeSet::new() };
        let (resources, _) = self.names();
        let is_seen = |(own, times): &(&(u32, u32), &Vec<i64>)| {
            let dimensions = &self.dimensions[own.1 as usize];
            view.takes(dimensions)
                && view.group(dimensions) == *values
                && times.iter().any(|time_us| span.contains(*time_us))
        };
        let seen = self.slots.iter().zip(times).filter(is_seen);
        seen.map(|((resource, _), _)| resources[*resource as usize]).collect()
    }

    /// The texts of resources and dimensions by their numbers.
    fn names(&self) -> (Vec<&str>, Vec<&str>) {
        let mut resources = vec![""; self.resources.len()];
        for (name, resource) in &self.resources {
            resources[resource.number as usize] = name;
        }
        let mut dimensions = vec![""; self.dimensions.len()];
        for (text, number) in &self.dimension_numbers {
            dimensions[*number as usize] = text;
        }
        (resources, dimensions)
    }
}
