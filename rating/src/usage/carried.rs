//! What a stretch of time leaves to the next: levels with their instants, counters' last values, open sessions.
//!
//! Owns the state of a meter between two days, by the names of resources and dimensions and independent of what is asked:
//! a day can be folded anew from it without reading what lies before. Amounts and sightings leave nothing behind.

use serde::{Deserialize, Serialize};

use crate::quantity::session::{OpenSession, SessionFold, SessionState};
use crate::quantity::{FoldError, MeterKind};

/// What one meter of one tenant carries over an instant. Equal states are equal texts.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct CarriedState {
    /// The last sample of each level or counter, in the order of their times.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub samples: Vec<CarriedSample>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sessions: Vec<CarriedSession>,
}

/// A sample that still says something after its day.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct CarriedSample {
    pub time_us: i64,
    pub resource: String,
    /// The JSON text that the event came with; empty for none.
    pub dimensions: String,
    pub value_nano: i128,
}

/// A session that goes on.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct CarriedSession {
    pub session: String,
    pub dimensions: String,
    pub started_us: i64,
    pub last_sign_us: i64,
    pub end_us: Option<i64>,
    pub billed_us: i64,
    /// It was stopped, and a heartbeat of it may still come late.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_stopped: bool,
}

impl CarriedState {
    pub fn is_empty(&self) -> bool {
        self.samples.is_empty() && self.sessions.is_empty()
    }
}

/// What a fold remembers for the day after; by the numbers of its slots, resources and dimensions.
#[derive(Debug)]
pub(super) enum Memory {
    /// The last sample of each slot.
    Samples {
        /// Levels that are zero or have run out need not be carried; a counter's zero must.
        levels: Option<LevelRules>,
        last: Vec<Option<(i64, i128)>>,
    },
    Sessions(Box<SessionFold>),
    /// When each slot was seen.
    Sightings(Vec<Vec<i64>>),
    Nothing,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct LevelRules {
    expires_after_us: Option<i64>,
}

impl Memory {
    pub fn new(kind: &MeterKind) -> Memory {
        match kind {
            MeterKind::Gauge { expires_after_us } => Memory::Samples {
                levels: Some(LevelRules { expires_after_us: *expires_after_us }),
                last: Vec::new(),
            },
            MeterKind::Cumulative => Memory::Samples { levels: None, last: Vec::new() },
            MeterKind::Session(rules) => {
                Memory::Sessions(Box::new(SessionFold::new(*rules, i64::MIN, &SessionState::default())))
            }
            MeterKind::Unique => Memory::Sightings(Vec::new()),
            MeterKind::Delta => Memory::Nothing,
        }
    }

    pub fn note(&mut self, time_us: i64, slot: u32, value_nano: i128) {
        let slot = slot as usize;
        match self {
            Memory::Samples { last, .. } => {
                if slot >= last.len() {
                    last.resize(slot + 1, None);
                }
                last[slot] = Some((time_us, value_nano));
            }
            Memory::Sightings(times) => {
                if slot >= times.len() {
                    times.resize(slot + 1, Vec::new());
                }
                times[slot].push(time_us);
            }
            Memory::Sessions(_) | Memory::Nothing => {}
        }
    }

    /// Slots with the samples that still matter at an instant.
    pub fn samples(&self, at_us: i64) -> Vec<(u32, i64, i128)> {
        let Memory::Samples { levels, last } = self else { return Vec::new() };
        let matters = |(time_us, value_nano): (i64, i128)| match levels {
            None => true,
            Some(rules) => {
                let expiry_us = rules.expires_after_us.and_then(|after_us| time_us.checked_add(after_us));
                // One that runs out exactly at the instant still holds when the next day opens.
                value_nano != 0 && expiry_us.is_none_or(|expiry_us| expiry_us >= at_us)
            }
        };
        let kept = last.iter().enumerate().filter_map(|(slot, sample)| {
            sample.filter(|sample| matters(*sample)).map(|(time_us, nano)| (slot as u32, time_us, nano))
        });
        kept.collect()
    }

    /// Sessions that go on after an instant, billed up to it.
    pub fn sessions(&mut self, at_us: i64) -> Result<Vec<OpenSession>, FoldError> {
        let Memory::Sessions(fold) = self else { return Ok(Vec::new()) };
        fold.cut(at_us)?;
        Ok(fold.closing().open)
    }
}
