//! Which events count, and which repeat one that arrived earlier (DESIGN.md 3.2).
//!
//! Only the identity and the arrival columns are read. Rows are named by [`RowId`], so that the sorting
//! step, which reads all columns, can leave the lost ones out.

use std::collections::{BTreeSet, HashMap};

use arrow::array::{Array, AsArray, RecordBatch};

use super::rows::{ArrivalColumns, ArrivalKey, RowId};
use super::whole::{FileRows, WholeRows};

/// How many days apart two events of one identity are still known to be the same; none: any number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IdentityWindow(pub Option<u32>);

impl IdentityWindow {
    /// Events of one day are always near, so that equal times are found whatever their age.
    pub fn joins(self, day: i32, other: i32) -> bool {
        self.0.is_none_or(|days| day.abs_diff(other) <= days)
    }
}

/// An event that does not count, and the one that does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LostEvent {
    pub identity: u128,
    pub rows: Vec<RowId>,
    pub winner: Place,
}

/// The rows of events that do not count.
pub fn lost_rows(events: &[LostEvent]) -> impl Iterator<Item = &RowId> {
    events.iter().flat_map(|event| &event.rows)
}

/// Where an event is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    Here(Vec<RowId>),
    /// On this day, under the same identity.
    OtherDay(i32),
}

/// Events that were counted on days which are not at hand.
pub type Elsewhere = HashMap<u128, Vec<(i32, ArrivalKey<String>)>>;

/// What is to become of the events of some days.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Resolution {
    pub lost: Vec<LostEvent>,
    /// Days on which an event was counted that arrived later than one at hand.
    pub days_with_later: BTreeSet<i32>,
}

/// A set of rows, by the batch or file that they are of.
#[derive(Debug, Default)]
pub struct RowSet {
    parts: Vec<Vec<bool>>,
    count: u64,
}

impl RowSet {
    pub fn add<'r>(&mut self, rows: impl IntoIterator<Item = &'r RowId>) {
        for row in rows {
            if self.parts.len() <= row.part() {
                self.parts.resize(row.part() + 1, Vec::new());
            }
            let rows = &mut self.parts[row.part()];
            if rows.len() <= row.row() {
                rows.resize(row.row() + 1, false);
            }
            self.count += u64::from(!std::mem::replace(&mut rows[row.row()], true));
        }
    }

    pub fn contains(&self, row: RowId) -> bool {
        self.parts.get(row.part()).is_some_and(|rows| rows.get(row.row()) == Some(&true))
    }

    pub fn count(&self) -> u64 {
        self.count
    }
}

/// A share of all identities, so that a large group of days can be gone through in several rounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share {
    pub number: usize,
    pub of: usize,
}

impl Share {
    pub const WHOLE: Self = Self { number: 0, of: 1 };

    fn contains(self, identity: u128) -> bool {
        share_of(prefix(identity), self.of) == self.number
    }
}

/// Cuts the space of prefixes into equal shares; they are digests, so each holds about as many.
pub fn share_of(prefix: u64, shares: usize) -> usize {
    ((u128::from(prefix) * shares as u128) >> 64) as usize
}

/// What identity filters hold of an identity: its first 8 bytes.
pub fn prefix(identity: u128) -> u64 {
    (identity >> 64) as u64
}

pub fn identity_of(bytes: &[u8]) -> Option<u128> {
    Some(u128::from_be_bytes(bytes.try_into().ok()?))
}

/// So many entries of a bucket are sorted fastest.
const BUCKET_ENTRIES: usize = 32;

/// The identities of the rows of some days, and when each arrived.
#[derive(Debug, Default)]
pub struct Identities {
    /// Once sorted, the rows of one identity stand together.
    entries: Vec<Entry>,
    arrivals: Arrivals,
    /// The file of each part.
    origins: Vec<FileRows>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Entry {
    identity: u128,
    row: RowId,
    /// The row's place in `arrivals`.
    arrival: u32,
}

impl Identities {
    pub fn of(whole: &WholeRows) -> Option<Self> {
        let mut identities = Self::default();
        let rows = whole.batch().num_rows();
        identities.entries.reserve(rows);
        identities.arrivals.keys.reserve(rows);
        for (part, file) in whole.files().iter().enumerate() {
            let batch = whole.batch().slice(file.rows.start, file.rows.len());
            identities.add(&batch, file, RowId::new(part, 0), Share::WHOLE)?;
        }
        identities.sort();
        Some(identities)
    }

    /// Adds those rows of a batch that are of a share; `first` names the batch's first row. None if the
    /// batch lacks columns.
    pub fn add(&mut self, batch: &RecordBatch, file: &FileRows, first: RowId, share: Share) -> Option<()> {
        self.origins.resize(first.part() + 1, file.clone());
        let column = batch.column_by_name("identity")?.as_binary_opt::<i32>()?;
        let columns = ArrivalColumns::of(batch)?;
        let topics: Vec<u32> = columns.topics().map(|topic| self.arrivals.topic(topic)).collect();
        for row in 0..column.len() {
            let identity = identity_of(column.value(row))?;
            if share.contains(identity) {
                let arrival = self.arrivals.push(columns.numbers(row, &topics));
                let row = RowId::new(first.part(), first.row() + row);
                self.entries.push(Entry { identity, row, arrival });
            }
        }
        Some(())
    }

    /// Identities are digests, so equal stretches of their range hold about as many: entries are first put
    /// into buckets of some dozens, which are then sorted each by itself.
    pub fn sort(&mut self) {
        let bits = (self.entries.len() / BUCKET_ENTRIES).checked_ilog2().map_or(0, |bits| bits + 1);
        let bucket = |entry: &Entry| (prefix(entry.identity) >> 1 >> (63 - bits)) as usize;
        let mut ends = vec![0_usize; 1 << bits];
        for entry in &self.entries {
            ends[bucket(entry)] += 1;
        }
        let mut start = 0;
        for end in &mut ends {
            start += std::mem::replace(end, start);
        }
        let mut sorted = vec![Entry { identity: 0, row: RowId::new(0, 0), arrival: 0 }; self.entries.len()];
        for entry in &self.entries {
            let end = &mut ends[bucket(entry)];
            sorted[*end] = *entry;
            *end += 1;
        }
        let mut start = 0;
        for end in ends {
            sorted[start..end].sort_unstable();
            start = end;
        }
        self.entries = sorted;
    }

    fn groups(&self) -> impl Iterator<Item = &[Entry]> {
        self.entries.chunk_by(|left, right| left.identity == right.identity)
    }

    fn origin(&self, entry: &Entry) -> &FileRows {
        &self.origins[entry.row.part()]
    }

    /// Identities of newly arrived events.
    pub fn new_identities(&self) -> Vec<u128> {
        let new = self.entries.iter().filter(|entry| self.origin(entry).is_new);
        let mut identities: Vec<u128> = new.map(|entry| entry.identity).collect();
        identities.dedup();
        identities
    }

    /// Decides which events count: in the order of their arrival, each that has none near it which counts.
    pub fn resolve(&self, elsewhere: &Elsewhere, window: IdentityWindow) -> Resolution {
        let mut resolution = Resolution::default();
        for group in self.groups() {
            let others = if elsewhere.is_empty() { None } else { elsewhere.get(&group[0].identity) };
            let others = others.map_or(&[][..], Vec::as_slice);
            if others.is_empty() && self.is_one_event(group) {
                continue;
            }
            let mut events = self.events_of(group);
            events.extend(others.iter().map(|(day, arrival)| Event {
                arrival: arrival.as_ref(),
                day: *day,
                place: Place::OtherDay(*day),
            }));
            resolution.add(group[0].identity, events, window);
        }
        resolution
    }

    /// Mostly there is one row, or all are of one event: they share its coordinates.
    fn is_one_event(&self, group: &[Entry]) -> bool {
        let key = |entry: &Entry| self.arrivals.key(entry.arrival);
        group.windows(2).all(|pair| key(&pair[0]) == key(&pair[1]))
    }

    fn events_of(&self, group: &[Entry]) -> Vec<Event<'_>> {
        let mut rows: Vec<(ArrivalKey<&str>, RowId, i32)> = group
            .iter()
            .map(|entry| (self.arrivals.key(entry.arrival), entry.row, self.origin(entry).day))
            .collect();
        rows.sort_unstable();
        let events = rows.chunk_by(|left, right| left.0 == right.0).map(|rows| Event {
            arrival: rows[0].0,
            day: rows[0].2,
            place: Place::Here(rows.iter().map(|row| row.1).collect()),
        });
        events.collect()
    }

    /// What the filter of a day has to hold, each once and in order.
    pub fn prefixes_of_day(&self, day: i32, lost: &RowSet) -> Vec<u64> {
        let of_day = |entry: &&Entry| self.origin(entry).day == day && !lost.contains(entry.row);
        let mut prefixes: Vec<u64> =
            self.entries.iter().filter(of_day).map(|entry| prefix(entry.identity)).collect();
        prefixes.dedup();
        prefixes
    }
}

/// An event among others of the same identity.
#[derive(Debug)]
struct Event<'a> {
    arrival: ArrivalKey<&'a str>,
    day: i32,
    place: Place,
}

impl Resolution {
    fn add(&mut self, identity: u128, mut events: Vec<Event<'_>>, window: IdentityWindow) {
        events.sort_by(|left, right| left.arrival.cmp(&right.arrival));
        let mut counted: Vec<Event<'_>> = Vec::new();
        for event in events {
            let Some(winner) = counted.iter().find(|counted| window.joins(counted.day, event.day)) else {
                counted.push(event);
                continue;
            };
            match event.place {
                Place::Here(rows) => {
                    self.lost.push(LostEvent { identity, rows, winner: winner.place.clone() });
                }
                Place::OtherDay(day) => {
                    self.days_with_later.insert(day);
                }
            }
        }
    }
}

/// Arrival keys of many rows; few topics have many rows each.
#[derive(Debug, Default)]
struct Arrivals {
    keys: Vec<ArrivalKey<u32>>,
    topics: Vec<String>,
}

impl Arrivals {
    fn push(&mut self, key: ArrivalKey<u32>) -> u32 {
        self.keys.push(key);
        u32::try_from(self.keys.len() - 1).expect("a share has fewer than 4 G rows")
    }

    fn topic(&mut self, name: &str) -> u32 {
        let known = self.topics.iter().position(|topic| topic == name);
        let at = known.unwrap_or_else(|| {
            self.topics.push(name.to_owned());
            self.topics.len() - 1
        });
        at as u32
    }

    fn key(&self, at: u32) -> ArrivalKey<&str> {
        let key = &self.keys[at as usize];
        let &ArrivalKey { arrival_us, topic, partition, offset, batch_index } = key;
        ArrivalKey { arrival_us, topic: &self.topics[topic as usize], partition, offset, batch_index }
    }
}
