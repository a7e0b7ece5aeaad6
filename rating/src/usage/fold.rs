//! The fold of one tenant's events of one meter over everything that is asked of it.
//!
//! Events come in (time, arrival) order, resources and dimensions as one small number, a slot, that the fold gives out
//! once for each pair of them; all text is looked at then and never again. Events before the first span are folded
//! too, for what they carry into it.

mod look;
mod resume;
mod series;
mod sessions;

use hashbrown::HashMap;

use super::carried::Memory;
use super::{SeriesSpan, Wanted};
use crate::period::Span;
use crate::quantity::session::{SessionEvent, SessionOddities};
use crate::quantity::{Dimensions, FoldError, MeterKind};

use look::Look;
pub use resume::ResumeError;
use sessions::SessionLooks;

/// What an event says of its slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reading {
    /// A level, an amount or a counter's value; of no meaning where only presence counts.
    Value {
        nano: i128,
    },
    Session(SessionEvent),
}

/// A value that a slot had at an instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sample {
    pub time_us: i64,
    pub slot: u32,
    pub nano: i128,
}

/// One tenant, one meter.
#[derive(Debug)]
pub struct MeterFold {
    resources: HashMap<Box<str>, Resource>,
    /// By slot: the numbers of its resource and of its dimensions.
    slots: Vec<(u32, u32)>,
    dimensions: Vec<Dimensions>,
    dimension_numbers: HashMap<Box<str>, u32>,
    series: Folds,
    /// Only where the next day will be folded from what this one leaves.
    memory: Option<Memory>,
    is_extreme: bool,
}

/// Ten billion values that are no larger than this never overflow, in whatever order they are added. Beyond it, a fold over a
/// period could overflow on its way where the totals of its days fit.
const ADDED_SAFELY_NANO: u128 = 10_u128.pow(28);

#[derive(Debug)]
struct Resource {
    number: u32,
    /// By the number of its dimensions; hardly ever more than one.
    slots: Vec<(u32, u32)>,
}

#[derive(Debug)]
enum Folds {
    Values(Vec<Look>),
    Sessions(SessionLooks),
}

/// The dimensions of a row are not a JSON object of texts.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("dimensions {text:?} are no JSON object of texts")]
pub struct BadDimensions {
    pub text: String,
}

/// What a meter's fold found, ready to stand in a `Usage`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct MeterAnswers {
    /// The place of the question in the demand, and its answer.
    pub answers: Vec<(usize, Vec<SeriesSpan>)>,
    /// For sessions: what should not happen, by question and span.
    pub oddities: Vec<(usize, Vec<(Span, SessionOddities)>)>,
    pub session_oddities: SessionOddities,
}

impl MeterFold {
    /// `wanted` are the questions about this meter with their places in the demand. `in_order` says that a session's
    /// signals carry the time of their events, so that they need not be put in order first.
    pub fn new(kind: &MeterKind, wanted: &[(usize, &Wanted)], in_order: bool) -> MeterFold {
        let series = match kind {
            MeterKind::Session(rules) => Folds::Sessions(SessionLooks::new(*rules, wanted, in_order)),
            kind => Folds::Values(wanted.iter().map(|(at, wanted)| Look::new(kind, *at, wanted)).collect()),
        };
        MeterFold {
            resources: HashMap::new(),
            slots: Vec::new(),
            dimensions: Vec::new(),
            dimension_numbers: HashMap::new(),
            series,
            memory: None,
            is_extreme: false,
        }
    }

    /// The number of a resource with its dimensions (a JSON object of texts with sorted keys, or nothing).
    pub fn slot(&mut self, resource: &str, dimensions: &str) -> Result<u32, BadDimensions> {
        let dimension_number = self.dimension_number(dimensions)?;
        if !self.resources.contains_key(resource) {
            let number = self.resources.len() as u32;
            self.resources.insert(resource.into(), Resource { number, slots: Vec::with_capacity(1) });
        }
        let known = self.resources.get_mut(resource).expect("it was just put there");
        if let Some(&(_, slot)) = known.slots.iter().find(|(dimensions, _)| *dimensions == dimension_number) {
            return Ok(slot);
        }
        let (resource_number, slot) = (known.number, self.slots.len() as u32);
        known.slots.push((dimension_number, slot));
        self.slots.push((resource_number, dimension_number));
        if let Folds::Values(looks) = &mut self.series {
            let dimensions = &self.dimensions[dimension_number as usize];
            for look in looks {
                look.add_slot(resource_number, dimensions);
            }
        }
        Ok(slot)
    }

    /// Takes one event. Times never go back (but those of sessions that are not in order); at one instant the order is
    /// that of arrival.
    pub fn event(&mut self, time_us: i64, slot: u32, reading: Reading) -> Result<(), FoldError> {
        match reading {
            Reading::Value { nano } => self.values(&[Sample { time_us, slot, nano }]),
            Reading::Session(event) => self.signal(time_us, slot, event),
        }
    }

    /// Takes the values of some events, as if they came one by one: of several errors it is that of the first event.
    pub fn values(&mut self, samples: &[Sample]) -> Result<(), FoldError> {
        if let Some(memory) = &mut self.memory {
            for sample in samples {
                self.is_extreme |= sample.nano.unsigned_abs() > ADDED_SAFELY_NANO;
                memory.note(sample.time_us, sample.slot, sample.nano);
            }
        }
        // A value of a session meter: the row was written under another catalog.
        let Folds::Values(looks) = &mut self.series else { return Ok(()) };
        let (mut taken, mut result) = (samples, Ok(()));
        for look in looks {
            if let Err((at, error)) = look.values(taken) {
                (taken, result) = (&taken[..at], Err(error));
            }
        }
        result
    }

    fn signal(&mut self, time_us: i64, slot: u32, event: SessionEvent) -> Result<(), FoldError> {
        let event = self.as_said(slot, event);
        let (session, dimensions) = self.slots[slot as usize];
        if let Some(Memory::Sessions(fold)) = &mut self.memory {
            fold.event(time_us, session, dimensions, event)?;
        }
        match &mut self.series {
            Folds::Sessions(looks) => looks.event(time_us, session, dimensions, event),
            // A signal of another kind of meter: the row was written under another catalog.
            Folds::Values(_) => Ok(()),
        }
    }

    /// A heartbeat that names no dimensions does not move its session out of those it has.
    fn as_said(&self, slot: u32, event: SessionEvent) -> SessionEvent {
        let (_, dimensions) = self.slots[slot as usize];
        let is_bare = self.dimensions[dimensions as usize].is_empty();
        if event == SessionEvent::Heartbeat && is_bare { SessionEvent::BareHeartbeat } else { event }
    }

    /// Whether there are values whose sums in one order may overflow while those in another do not; told only of a fold
    /// that was resumed.
    pub fn is_extreme(&self) -> bool {
        self.is_extreme
    }

    /// About what the fold takes in memory.
    pub fn size_bytes(&self) -> usize {
        /// A fold, its roll-up and its totals; a resource with its name and its level in each look.
        const SERIES_BYTES: usize = 600;
        const SLOT_BYTES: usize = 160;
        let series = match &self.series {
            Folds::Values(looks) => looks.iter().map(Look::series_count).sum(),
            Folds::Sessions(looks) => looks.count() * self.dimensions.len(),
        };
        size_of::<Self>() + series * SERIES_BYTES + self.slots.len() * SLOT_BYTES
    }

    /// Ends all spans. Of the fold only its names are left then, and what it remembers.
    pub fn finish(&mut self) -> Result<MeterAnswers, FoldError> {
        match std::mem::replace(&mut self.series, Folds::Values(Vec::new())) {
            Folds::Values(looks) => {
                let answers = looks.into_iter().map(Look::finish).collect::<Result<_, _>>()?;
                Ok(MeterAnswers { answers, ..MeterAnswers::default() })
            }
            Folds::Sessions(looks) => looks.finish(&self.dimensions),
        }
    }

    fn dimension_number(&mut self, text: &str) -> Result<u32, BadDimensions> {
        if let Some(&number) = self.dimension_numbers.get(text) {
            return Ok(number);
        }
        let dimensions: Dimensions = match text {
            "" => Dimensions::new(),
            text => serde_json::from_str(text).map_err(|_| BadDimensions { text: text.to_owned() })?,
        };
        let number = self.dimensions.len() as u32;
        self.dimensions.push(dimensions);
        self.dimension_numbers.insert(text.into(), number);
        Ok(number)
    }
}
