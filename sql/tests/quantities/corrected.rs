//! Voided and amended events on random lakes: the engine, plain SQL, and the rules read literally must agree.
//!
//! The rules: of one correction sent twice the first counts; of several about one event of its tenant the last to arrive is
//! in force; a void takes the event out; an amendment puts its own readings in its place, at the time that it names or
//! else at the event's own.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, RecordBatch, StringArray};

use crate::random::Random;
use crate::{DAY_US, Event, oracle};

/// A void, or an amendment with what the meters read from it.
#[derive(Debug, Clone)]
pub struct Correction {
    pub identity: [u8; 16],
    pub target: [u8; 16],
    pub tenant: String,
    pub time_us: i64,
    pub arrival_us: i64,
    pub offset: i64,
    /// None for a void.
    pub amended: Option<Amended>,
}

#[derive(Debug, Clone)]
pub struct Amended {
    pub names_time: bool,
    pub readings: Vec<Event>,
}

pub fn hexadecimal(identity: &[u8]) -> String {
    use std::fmt::Write;
    identity.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a string takes everything");
        text
    })
}

impl Correction {
    fn rows(&self) -> Vec<Event> {
        let header = Event {
            identity: self.identity,
            tenant: self.tenant.clone(),
            meter: None,
            time_us: self.time_us,
            value: None,
            resource: Some(hexadecimal(&self.target)),
            dimensions: None,
            names: ["", ""],
            signal: Some(if self.amended.is_some() { "amend" } else { "void" }),
            signal_time_us: None,
            arrival_us: self.arrival_us,
            offset: self.offset,
        };
        let readings = self.amended.iter().flat_map(|amended| &amended.readings).map(|reading| Event {
            identity: self.identity,
            tenant: self.tenant.clone(),
            time_us: self.time_us,
            arrival_us: self.arrival_us,
            offset: self.offset,
            ..reading.clone()
        });
        std::iter::once(header.clone()).chain(readings).collect()
    }
}

/// The rows as they lie in a file of corrections.
pub fn batch(corrections: &[Correction]) -> (RecordBatch, Vec<Event>) {
    let rows: Vec<Event> = corrections.iter().flat_map(Correction::rows).collect();
    let own = |of: &dyn Fn(&Correction) -> &'static str| -> ArrayRef {
        let texts = corrections.iter().flat_map(|it| std::iter::repeat_n(of(it), it.rows().len()));
        Arc::new(texts.collect::<Vec<_>>().into_iter().map(Some).collect::<StringArray>())
    };
    let types = own(&|it| if it.amended.is_some() { "meterhouse.amend" } else { "meterhouse.void" });
    let named = corrections.iter().flat_map(|it| {
        let named = it.amended.as_ref().is_none_or(|amended| amended.names_time);
        std::iter::repeat_n(named, it.rows().len())
    });
    let named: ArrayRef = Arc::new(BooleanArray::from(named.collect::<Vec<_>>()));
    let plain = crate::lake::batch(&rows);
    let schema = plain.schema();
    let columns =
        schema.fields().iter().zip(plain.columns()).map(|(field, column)| match field.name().as_str() {
            "event_type" => Arc::clone(&types),
            "time_given" => Arc::clone(&named),
            _ => Arc::clone(column),
        });
    (RecordBatch::try_new(Arc::clone(&schema), columns.collect()).unwrap(), rows)
}

/// What counts after all corrections, each event as if it had been sent rightly from the start.
pub fn effective(events: &[Event], corrections: &[Correction]) -> Vec<Event> {
    let mut in_order: Vec<&Correction> = corrections.iter().collect();
    in_order.sort_by_key(|it| (it.arrival_us, it.offset));
    let mut known = BTreeSet::new();
    let mut in_force: BTreeMap<([u8; 16], &str), &Correction> = BTreeMap::new();
    for correction in in_order {
        if known.insert(correction.identity) {
            in_force.insert((correction.target, &correction.tenant), correction);
        }
    }
    let mut counting = oracle::counting(events);
    counting.sort_by_key(|event| (event.arrival_us, event.offset));
    let (mut result, mut replaced) = (Vec::new(), BTreeSet::new());
    for event in counting {
        let Some(correction) = in_force.get(&(event.identity, event.tenant.as_str())) else {
            result.push(event);
            continue;
        };
        let day = event.time_us.div_euclid(DAY_US);
        let is_first = replaced.insert((event.identity, event.tenant.clone(), day));
        let amended = correction.amended.iter().filter(|amended| !amended.names_time && is_first);
        result.extend(amended.flat_map(|amended| &amended.readings).enumerate().map(|(at, reading)| Event {
            // Rows of an event are told apart, so that none of them looks like a repeat.
            identity: [at as u8; 16],
            tenant: event.tenant.clone(),
            time_us: event.time_us,
            arrival_us: event.arrival_us,
            offset: event.offset,
            ..reading.clone()
        }));
    }
    for correction in in_force.values() {
        let amended = correction.amended.iter().filter(|amended| amended.names_time);
        result.extend(amended.flat_map(|amended| &amended.readings).enumerate().map(|(at, reading)| Event {
            identity: [at as u8; 16],
            tenant: correction.tenant.clone(),
            time_us: correction.time_us,
            arrival_us: correction.arrival_us,
            offset: correction.offset,
            ..reading.clone()
        }));
    }
    // The same identity of several events would look like repeats to whoever counts them.
    for (at, event) in result.iter_mut().enumerate() {
        event.identity = (at as u128).to_be_bytes();
    }
    result
}

impl Random {
    /// Corrections of some of these events, and of some that never came, that arrive after so many messages.
    pub fn corrections(&mut self, events: &[Event], after: i64) -> Vec<Correction> {
        let mut corrections: Vec<Correction> = Vec::new();
        for number in 0..self.below(30) as i64 {
            let offset = after + number;
            if !corrections.is_empty() && self.chance(10) {
                let again = corrections[self.below(corrections.len() as u64) as usize].clone();
                corrections.push(Correction { arrival_us: offset / 4, offset, ..again });
                continue;
            }
            let event = &events[self.below(events.len() as u64) as usize];
            let (mut target, mut tenant) = (event.identity, event.tenant.clone());
            if self.chance(10) {
                target[3] ^= 255;
            }
            if self.chance(10) {
                "t3".clone_into(&mut tenant);
            }
            let names_time = self.chance(30);
            let donors: Vec<Event> = (0..self.below(3))
                .map(|_| events[self.below(events.len() as u64) as usize].clone())
                .collect();
            let time_us = events[self.below(events.len() as u64) as usize].time_us;
            let mut identity = [7; 16];
            identity[..8].copy_from_slice(&self.next().to_le_bytes());
            let mut readings: Vec<Event> = donors.into_iter().filter(|donor| donor.meter.is_some()).collect();
            // A session that is told whole has a name of its own, as in the events.
            for (at, reading) in readings.iter_mut().enumerate().filter(|(_, it)| it.meter == Some("jobs")) {
                reading.resource = Some(format!("amended-{offset}-{at}"));
            }
            corrections.push(Correction {
                identity,
                target,
                tenant,
                time_us,
                arrival_us: offset / 4,
                offset,
                amended: self.chance(60).then_some(Amended { names_time, readings }),
            });
        }
        corrections
    }
}
