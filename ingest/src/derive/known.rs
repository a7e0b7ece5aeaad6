//! Which meters the events of a day still lack.

use std::collections::HashMap;

use super::Wanted;
use crate::event::Identity;
use crate::stored_rows::StoredRows;

/// What tells an event of a day from all others: copies of it that arrived twice differ by their arrival, and mostly by
/// coordinates too (a file that is read again gives its lines the same).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct EventKey {
    identity: Identity,
    arrival_us: i64,
    topic: u32,
    partition: i32,
    offset: i64,
    batch_index: i32,
}

/// A part of a day's events that is small enough to be remembered at once. Identities are digests, so
/// they spread evenly.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bucket {
    pub index: u32,
    pub count: u32,
}

impl Bucket {
    pub fn takes(self, identity: Identity) -> bool {
        let Identity([first, second, third, fourth, ..]) = identity;
        u32::from_be_bytes([first, second, third, fourth]) % self.count == self.index
    }
}

/// The numbers of topics in keys.
#[derive(Debug, Default)]
pub struct Topics(HashMap<String, u32>);

impl Topics {
    pub fn key(&mut self, identity: Identity, rows: StoredRows<'_>, row: usize) -> EventKey {
        let at = rows.coordinates(row);
        let topic = match self.0.get(at.topic) {
            Some(topic) => *topic,
            None => {
                let next = self.0.len() as u32;
                *self.0.entry(at.topic.to_owned()).or_insert(next)
            }
        };
        EventKey {
            identity,
            arrival_us: rows.time_us("arrival", row),
            topic,
            partition: at.partition,
            offset: at.offset,
            batch_index: rows.batch_index(row),
        }
    }
}

/// The events of a bucket with, as bits, those of the wanted meters of their type that have no row.
#[derive(Debug, Default)]
pub struct LackingEvents {
    topics: Topics,
    lacking: HashMap<EventKey, u128>,
}

impl LackingEvents {
    pub fn key(&mut self, identity: Identity, rows: StoredRows<'_>, row: usize) -> EventKey {
        self.topics.key(identity, rows, row)
    }

    /// Notes a row of an event: of the meters of its type, this one is there.
    pub fn note(&mut self, key: EventKey, meters: &[usize], wanted: &Wanted, found: &str) {
        let all = u128::MAX >> (Wanted::PER_EVENT_TYPE_MAX - meters.len());
        let lacking = self.lacking.entry(key).or_insert(all);
        if let Some(position) = meters.iter().position(|meter| wanted.keys[*meter] == found) {
            *lacking &= !(1 << position);
        }
    }

    /// Forgets the events that lack nothing.
    pub fn forget_complete(&mut self) {
        self.lacking.retain(|_, lacking| *lacking != 0);
        self.lacking.shrink_to_fit();
    }

    pub fn is_empty(&self) -> bool {
        self.lacking.is_empty()
    }

    /// The meters that an event lacks; from now on it lacks nothing.
    pub fn take(&mut self, key: EventKey, meters: &[usize]) -> Option<Vec<usize>> {
        let lacking = self.lacking.remove(&key)?;
        let meters = meters.iter().enumerate().filter(|(position, _)| lacking & (1 << position) != 0);
        Some(meters.map(|(_, meter)| *meter).collect())
    }
}
