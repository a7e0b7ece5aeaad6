//! Events that arrived twice on a day that is not compacted yet (DESIGN.md 3.2).
//!
//! Of events with the same identity and time the first to arrive counts, whatever the others say: equal ones are
//! duplicates, others conflicts. Compaction takes them out for good and also knows those that came with another time;
//! until then, their rows are found here and passed over.

use std::sync::Arc;

use arrow::array::{Array, AsArray, BinaryArray, TimestampMicrosecondArray};
use arrow::datatypes::TimestampMicrosecondType;
use futures::{StreamExt, TryStreamExt};

use super::files::LakeFile;
use super::rows::{ARRIVED, Arrival, ArrivalOf};
use super::{Day, QuantitiesError};

/// Rows that do not count, in ascending order, by the place of their file in the day.
#[derive(Debug, Clone, Default)]
pub(super) struct RowsTwice {
    files: Vec<Vec<u64>>,
}

impl RowsTwice {
    pub fn is_empty(&self, file: usize) -> bool {
        self.files.get(file).is_none_or(Vec::is_empty)
    }

    pub fn is_nothing(&self) -> bool {
        self.files.iter().all(Vec::is_empty)
    }

    /// A row that does not count for another reason.
    pub fn add(&mut self, file: usize, row: u64) {
        if self.files.len() <= file {
            self.files.resize(file + 1, Vec::new());
        }
        if let Err(at) = self.files[file].binary_search(&row) {
            self.files[file].insert(at, row);
        }
    }

    pub fn contains(&self, file: usize, row: u64) -> bool {
        self.files.get(file).is_some_and(|rows| rows.binary_search(&row).is_ok())
    }
}

/// Looks through all days that are not sorted, some at once.
pub(super) async fn find(days: &mut [Day], at_once: usize) -> Result<(), QuantitiesError> {
    let unsorted: Vec<(usize, Day)> =
        days.iter().cloned().enumerate().filter(|(_, day)| !day.is_sorted).collect();
    let searches = unsorted.into_iter().map(|(at, day)| {
        let search = tokio::spawn(async move { find_in(&day).await });
        async move { Ok::<_, QuantitiesError>((at, search.await.map_err(QuantitiesError::Stopped)??)) }
    });
    let mut found = futures::stream::iter(searches).buffer_unordered(at_once);
    while let Some((at, twice)) = found.try_next().await? {
        days[at].twice = Arc::new(twice);
    }
    Ok(())
}

/// Part of a day's rows with what makes them the same.
struct Part {
    file: usize,
    first_row: u64,
    identity: BinaryArray,
    time: TimestampMicrosecondArray,
    arrival: Arrival,
}

/// A row by its part and its place there, led by a digest that equal identities share.
type Candidate = (u64, u32, u32);

async fn find_in(day: &Day) -> Result<RowsTwice, QuantitiesError> {
    let mut parts = Vec::new();
    for (place, file) in day.files.iter().enumerate() {
        read_parts(place, file, &mut parts).await?;
    }
    let mut candidates: Vec<Candidate> = Vec::new();
    for (at, part) in parts.iter().enumerate() {
        let digests = (0..part.identity.len()).map(|row| (part.digest(row), at as u32, row as u32));
        candidates.extend(digests);
    }
    candidates.sort_unstable();
    let mut twice = RowsTwice { files: vec![Vec::new(); day.files.len()] };
    for group in candidates.chunk_by(|left, right| left.0 == right.0).filter(|group| group.len() > 1) {
        note_later(&parts, group, &mut twice);
    }
    for rows in &mut twice.files {
        rows.sort_unstable();
    }
    Ok(twice)
}

async fn read_parts(place: usize, file: &LakeFile, parts: &mut Vec<Part>) -> Result<(), QuantitiesError> {
    let columns = [["identity", "time"].as_slice(), ARRIVED.as_slice()].concat();
    let mut batches = file.read(&columns, (0..file.row_groups().len()).collect())?;
    let mut first_row = 0;
    while let Some(batch) = batches.try_next().await? {
        parts.push(Part {
            file: place,
            first_row,
            identity: file.column(&batch, "identity")?.as_binary::<i32>().clone(),
            time: file.column(&batch, "time")?.as_primitive::<TimestampMicrosecondType>().clone(),
            arrival: Arrival::of(file, &batch)?,
        });
        first_row += batch.num_rows() as u64;
    }
    Ok(())
}

impl Part {
    /// The identity is a cryptographic digest, so part of it mixed with the time spreads well.
    fn digest(&self, row: usize) -> u64 {
        let identity = self.identity.value(row);
        let head = identity.first_chunk().map_or(0, |head| u64::from_le_bytes(*head));
        head ^ self.time.value(row).cast_unsigned().wrapping_mul(0x9E37_79B9_7F4A_7C15)
    }

    fn event(&self, row: usize) -> (&[u8], i64) {
        (self.identity.value(row), self.time.value(row))
    }
}

/// Of rows that may be the same event, all but those of the first to arrive.
fn note_later(parts: &[Part], group: &[Candidate], twice: &mut RowsTwice) {
    let at = |candidate: &Candidate| (&parts[candidate.1 as usize], candidate.2 as usize);
    let arrival = |candidate: &Candidate| -> ArrivalOf<'_> {
        let (part, row) = at(candidate);
        part.arrival.of_row(row)
    };
    // Mostly the rows of one event that feeds several meters.
    let first = arrival(&group[0]);
    if group.iter().all(|candidate| arrival(candidate).is_same_event(&first)) {
        return;
    }
    for candidate in group {
        let (part, row) = at(candidate);
        let event = part.event(row);
        let same = group.iter().filter(|other| {
            let (part, row) = at(other);
            part.event(row) == event
        });
        let earliest = same.map(arrival).min();
        if earliest.is_some_and(|earliest| !earliest.is_same_event(&part.arrival.of_row(row))) {
            twice.files[part.file].push(part.first_row + row as u64);
        }
    }
}
