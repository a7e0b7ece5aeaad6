//! Events that arrived twice on a day that is not compacted yet (DESIGN.md 3.2).
//!
//! Of events with the same identity and time the first to arrive counts, whatever the others say: equal ones are
//! duplicates, others conflicts. Compaction takes them out for good and also knows those that came with another time;
//! until then, their rows are found here and passed over.
//!
//! Compacted files have each event once. Where little has arrived beside them, only their rows of the same instants are
//! compared. Days that do not fit into the given memory are read several times, each time for some of the identities.

use std::cmp::Ordering;
use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::sync::Arc;

use arrow::array::AsArray;
use arrow::datatypes::TimestampMicrosecondType;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};

use super::files::LakeFile;
use super::rows::{ARRIVED, Arrival};
use super::{Day, QuantitiesError};

/// Rows that do not count, in ascending order, by the place of their file in the day.
#[derive(Debug, Clone, Default)]
pub(super) struct RowsTwice {
    files: Vec<Vec<u64>>,
}

impl RowsTwice {
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

/// Looks through all days that are not sorted, some at once, holding about so many bytes.
pub(super) async fn find(days: &mut [Day], at_once: usize, bytes_max: usize) -> Result<(), QuantitiesError> {
    let unsorted: Vec<(usize, Day)> =
        days.iter().cloned().enumerate().filter(|(_, day)| !day.is_sorted).collect();
    let at_once = at_once.min(unsorted.len()).max(1);
    let rows_max = (bytes_max / at_once / size_of::<Candidate>()).max(1);
    let searches = unsorted.into_iter().map(|(at, day)| {
        let search = tokio::spawn(async move { Search::new(&day, rows_max).run().await });
        async move { Ok::<_, QuantitiesError>((at, search.await.map_err(QuantitiesError::Stopped)??)) }
    });
    let mut found = futures::stream::iter(searches).buffer_unordered(at_once);
    while let Some((at, twice)) = found.try_next().await? {
        days[at].twice = Arc::new(twice);
    }
    Ok(())
}

/// A row with what makes it the same as another, and what tells which of them was first.
#[derive(Debug, Clone, Copy)]
struct Candidate {
    identity: [u8; 16],
    time_us: i64,
    arrival_us: i64,
    topic: u32,
    partition: i32,
    offset: i64,
    batch_index: i32,
    file: u32,
    row: u32,
}

struct Search<'d> {
    day: &'d Day,
    rows_max: usize,
    /// Numbers of topics, and their names by number.
    topic_numbers: HashMap<String, u32>,
    topics: Vec<String>,
}

impl<'d> Search<'d> {
    fn new(day: &'d Day, rows_max: usize) -> Self {
        Self { day, rows_max, topic_numbers: HashMap::new(), topics: Vec::new() }
    }

    async fn run(mut self) -> Result<RowsTwice, QuantitiesError> {
        let files = &self.day.files;
        let rows = |is_sorted: bool| -> u64 {
            files.iter().filter(|file| file.file.is_sorted() == is_sorted).map(|file| file.file.rows).sum()
        };
        let (arrived, sorted) = (rows(false), rows(true));
        let is_small = arrived < sorted / 4 && arrived < self.rows_max as u64;
        let instants = if is_small { Some(self.instants_of_arrived().await?) } else { None };
        let compared = if is_small { arrived } else { arrived + sorted };
        let passes = compared.div_ceil(self.rows_max as u64).max(1);
        let mut twice = RowsTwice { files: vec![Vec::new(); files.len()] };
        for pass in 0..passes {
            let mut candidates = Vec::with_capacity((compared / passes) as usize);
            for place in 0..files.len() {
                self.read(place, instants.as_ref(), (pass, passes), &mut candidates).await?;
            }
            self.compare(&mut candidates, &mut twice);
        }
        for rows in &mut twice.files {
            rows.sort_unstable();
        }
        Ok(twice)
    }

    async fn instants_of_arrived(&self) -> Result<HashSet<i64>, QuantitiesError> {
        let mut instants = HashSet::new();
        for file in self.day.files.iter().filter(|file| !file.file.is_sorted()) {
            let mut batches = file.read(&["time"], file.all_row_groups())?;
            while let Some(batch) = batches.try_next().await? {
                let times = file.column(&batch, "time")?;
                instants.extend(times.as_primitive::<TimestampMicrosecondType>().values());
            }
        }
        Ok(instants)
    }

    async fn read(
        &mut self,
        place: usize,
        instants: Option<&HashSet<i64>>,
        pass: (u64, u64),
        candidates: &mut Vec<Candidate>,
    ) -> Result<(), QuantitiesError> {
        let file = Arc::clone(&self.day.files[place]);
        let columns = [["identity", "time"].as_slice(), ARRIVED.as_slice()].concat();
        let whole = std::iter::once(0..file.file.rows as usize);
        let (mut batches, rows): (BoxStream<_>, Vec<Range<usize>>) = match instants {
            Some(instants) if file.file.is_sorted() => {
                let rows = rows_at(&file, instants).await?;
                if rows.is_empty() {
                    return Ok(());
                }
                (file.read_rows(&columns, rows.clone())?, rows)
            }
            _ => (file.read(&columns, file.all_row_groups())?, whole.collect()),
        };
        let mut numbers = rows.into_iter().flatten();
        while let Some(batch) = batches.try_next().await? {
            let identity = file.column(&batch, "identity")?;
            let times = file.column(&batch, "time")?;
            let (identity, times) =
                (identity.as_binary::<i32>(), times.as_primitive::<TimestampMicrosecondType>());
            let arrival = Arrival::of(&file, &batch)?;
            for (at, row) in (0..batch.num_rows()).zip(&mut numbers) {
                let wrong = |_| QuantitiesError::Column { path: file.file.path.clone(), column: "identity" };
                let identity: [u8; 16] = identity.value(at).try_into().map_err(wrong)?;
                if pass_of(&identity, pass.1) != pass.0 {
                    continue;
                }
                let of_row = arrival.of_row(at);
                candidates.push(Candidate {
                    identity,
                    time_us: times.value(at),
                    arrival_us: of_row.arrival_us,
                    topic: self.topic(of_row.topic),
                    partition: of_row.partition,
                    offset: of_row.offset,
                    batch_index: of_row.batch_index,
                    file: place as u32,
                    row: row as u32,
                });
            }
        }
        Ok(())
    }

    fn topic(&mut self, name: &str) -> u32 {
        if let Some(&number) = self.topic_numbers.get(name) {
            return number;
        }
        let number = self.topics.len() as u32;
        self.topics.push(name.to_owned());
        self.topic_numbers.insert(name.to_owned(), number);
        number
    }

    /// Notes the rows of events that had arrived before.
    fn compare(&self, candidates: &mut [Candidate], twice: &mut RowsTwice) {
        let event = |row: &Candidate| (row.identity, row.time_us);
        candidates.sort_unstable_by(|left, right| {
            event(left).cmp(&event(right)).then_with(|| self.compare_arrival(left, right))
        });
        for rows in candidates.chunk_by(|left, right| event(left) == event(right)) {
            let first = &rows[0];
            for later in rows.iter().filter(|row| !row.came_with(first)) {
                twice.files[later.file as usize].push(u64::from(later.row));
            }
        }
    }

    fn compare_arrival(&self, left: &Candidate, right: &Candidate) -> Ordering {
        let place = |row: &Candidate| (row.partition, row.offset, row.batch_index);
        let topic = |row: &Candidate| &self.topics[row.topic as usize];
        left.arrival_us
            .cmp(&right.arrival_us)
            .then_with(|| topic(left).cmp(topic(right)))
            .then_with(|| place(left).cmp(&place(right)))
    }
}

impl Candidate {
    /// Rows of one event came in one message at one time. The message itself may have come again: a file that is read
    /// twice gives its lines the same places.
    fn came_with(&self, other: &Self) -> bool {
        (self.arrival_us, self.topic, self.partition, self.offset, self.batch_index)
            == (other.arrival_us, other.topic, other.partition, other.offset, other.batch_index)
    }
}

/// The rows of a file that happened at one of these instants.
async fn rows_at(file: &LakeFile, instants: &HashSet<i64>) -> Result<Vec<Range<usize>>, QuantitiesError> {
    let mut batches = file.read(&["time"], file.all_row_groups())?;
    let mut ranges: Vec<Range<usize>> = Vec::new();
    let mut before = 0;
    while let Some(batch) = batches.try_next().await? {
        let times = file.column(&batch, "time")?;
        let times = times.as_primitive::<TimestampMicrosecondType>().values();
        for row in times.iter().enumerate().filter(|(_, time)| instants.contains(time)).map(|(row, _)| row) {
            let row = before + row;
            match ranges.last_mut() {
                Some(last) if last.end == row => last.end += 1,
                _ => ranges.push(row..row + 1),
            }
        }
        before += times.len();
    }
    Ok(ranges)
}

/// Identities are digests, so that any part of them spreads well.
fn pass_of(identity: &[u8; 16], passes: u64) -> u64 {
    let (head, _) = identity.split_first_chunk().expect("it has sixteen bytes");
    u64::from_le_bytes(*head) % passes
}
