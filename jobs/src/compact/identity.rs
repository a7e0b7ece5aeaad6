//! Which rows of a day repeat an event that arrived earlier.
//!
//! Only the identity and the arrival columns are read. Rows are named by [`RowId`], so that the sorting
//! step, which reads all columns, can leave the lost ones out.

use std::collections::HashSet;

use arrow::array::{Array, AsArray, RecordBatch};
use ingest::day_file::FileKind;

use super::CompactError;
use super::rows::{ARRIVAL_COLUMNS, ArrivalColumns, ArrivalKey, BATCH_ROWS, SourceFile};

/// A row of the files at hand: the number of its batch and its place in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RowId(pub u32);

impl RowId {
    const ROW_BITS: u32 = BATCH_ROWS.trailing_zeros();

    pub fn new(batch: usize, row: usize) -> Self {
        debug_assert!(row < BATCH_ROWS);
        Self(u32::try_from(batch << Self::ROW_BITS | row).expect("a group of days has fewer than 4 G rows"))
    }

    pub fn batch(self) -> usize {
        (self.0 >> Self::ROW_BITS) as usize
    }

    pub fn row(self) -> usize {
        (self.0 & ((1 << Self::ROW_BITS) - 1)) as usize
    }
}

/// An event that does not count, and the one that does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LostEvent {
    pub identity: u128,
    pub rows: Vec<RowId>,
    pub winner: Winner,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Winner {
    Here(Vec<RowId>),
    /// On this day, under the same identity.
    OtherDay(i32),
}

/// The identities of the rows of some files.
#[derive(Debug)]
pub struct DayIdentities {
    /// Sorted by the first half of the identity; equal identities stand together.
    entries: Vec<Entry>,
    /// The arrival columns, by batch.
    batches: Vec<RecordBatch>,
    /// By batch: the day, and whether the file has only now arrived.
    origins: Vec<(i32, bool)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Entry {
    identity: u128,
    row: RowId,
}

/// What identity filters hold of an identity: its first 8 bytes.
pub fn prefix(identity: u128) -> u64 {
    (identity >> 64) as u64
}

pub fn identity_of(bytes: &[u8]) -> Option<u128> {
    Some(u128::from_be_bytes(bytes.try_into().ok()?))
}

impl DayIdentities {
    pub fn read(sources: &[SourceFile]) -> Result<Self, CompactError> {
        let mut identities = Self { entries: Vec::new(), batches: Vec::new(), origins: Vec::new() };
        let mut columns = vec!["identity"];
        columns.extend(ARRIVAL_COLUMNS);
        for source in sources {
            let is_new = FileKind::of(&source.file.path) == FileKind::Arrived;
            for batch in source.read(Some(&columns))? {
                identities.add(&batch?, source.file.day, is_new).ok_or_else(|| source.columns_error())?;
            }
        }
        identities.entries.sort_unstable();
        Ok(identities)
    }

    fn add(&mut self, batch: &RecordBatch, day: i32, is_new: bool) -> Option<()> {
        let number = self.batches.len();
        let column = batch.column_by_name("identity")?.as_binary_opt::<i32>()?;
        self.entries.reserve(column.len());
        for row in 0..column.len() {
            self.entries
                .push(Entry { identity: identity_of(column.value(row))?, row: RowId::new(number, row) });
        }
        ArrivalColumns::of(batch)?;
        self.batches.push(batch.clone());
        self.origins.push((day, is_new));
        Some(())
    }

    /// When and whence a row arrived.
    pub fn arrival(&self, row: RowId) -> ArrivalKey {
        let columns = ArrivalColumns::of(&self.batches[row.batch()]);
        columns.expect("checked when the batch was added").key(row.row())
    }

    fn groups(&self) -> impl Iterator<Item = &[Entry]> {
        self.entries.chunk_by(|left, right| left.identity == right.identity)
    }

    /// The events among these rows that came after another with the same identity.
    pub fn repeats(&self) -> Vec<LostEvent> {
        let mut lost = Vec::new();
        let mut events: Vec<(ArrivalKey, RowId)> = Vec::new();
        for group in self.groups().filter(|group| group.len() > 1) {
            events.clear();
            events.extend(group.iter().map(|entry| (self.arrival(entry.row), entry.row)));
            events.sort();
            // Rows of one event share their coordinates; each run of equal ones is an event.
            let mut runs = events.chunk_by(|left, right| left.0 == right.0);
            let rows = |run: &[(ArrivalKey, RowId)]| run.iter().map(|(_, row)| *row).collect::<Vec<_>>();
            let first = rows(runs.next().expect("the group is not empty"));
            lost.extend(runs.map(|run| LostEvent {
                identity: group[0].identity,
                rows: rows(run),
                winner: Winner::Here(first.clone()),
            }));
        }
        lost
    }

    /// Identities of newly arrived events, without the lost rows.
    pub fn new_identities(&self, lost: &HashSet<RowId>) -> Vec<u128> {
        let is_new = |entry: &&Entry| self.origins[entry.row.batch()].1 && !lost.contains(&entry.row);
        let mut identities: Vec<u128> =
            self.entries.iter().filter(is_new).map(|entry| entry.identity).collect();
        identities.dedup();
        identities
    }

    /// The rows of one identity that are not lost.
    pub fn rows_of(&self, identity: u128, lost: &HashSet<RowId>) -> Vec<RowId> {
        let start = self.entries.partition_point(|entry| entry.identity < identity);
        let group = self.entries[start..].iter().take_while(|entry| entry.identity == identity);
        group.map(|entry| entry.row).filter(|row| !lost.contains(row)).collect()
    }

    /// What the filter of a day has to hold, each once.
    pub fn prefixes_of_day(&self, day: i32, lost: &HashSet<RowId>) -> Vec<u64> {
        let of_day = |entry: &&Entry| self.origins[entry.row.batch()].0 == day && !lost.contains(&entry.row);
        let mut prefixes: Vec<u64> =
            self.entries.iter().filter(of_day).map(|entry| prefix(entry.identity)).collect();
        prefixes.dedup();
        prefixes
    }
}
