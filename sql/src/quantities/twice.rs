//! Events that arrived twice on a day that is not compacted yet (DESIGN.md 3.2).
//!
//! Of events with the same identity and time the first to arrive counts, whatever the others say: equal ones are
//! duplicates, others conflicts. Compaction takes them out for good and also knows those that came with another time;
//! until then, their rows are found here and passed over.
//!
//! Compacted files have each event once. Where little has arrived beside them, only their rows of the same instants are
//! compared; else rows whose identities begin alike. Days that do not fit into the given memory are read several times,
//! each time for some of the identities.

use std::cmp::Ordering;
use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::sync::Arc;

use arrow::array::AsArray;
use arrow::datatypes::TimestampMicrosecondType;
use datafusion::common::runtime::SpawnedTask;
use futures::{StreamExt, TryStreamExt};
use tokio::task::coop::consume_budget;

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
        self.of_file(file).binary_search(&row).is_ok()
    }

    /// In ascending order.
    pub fn of_file(&self, file: usize) -> &[u64] {
        self.files.get(file).map_or(&[], Vec::as_slice)
    }
}

/// Looks through all days that are not sorted, some at once, holding about so many bytes.
pub(super) async fn find(days: &mut [Day], at_once: usize, bytes_max: usize) -> Result<(), QuantitiesError> {
    let unsorted: Vec<(usize, Day)> =
        days.iter().cloned().enumerate().filter(|(_, day)| !day.is_sorted).collect();
    let at_once = at_once.min(unsorted.len()).max(1);
    let rows_max = (bytes_max / at_once / size_of::<Candidate>()).max(1);
    let searches = unsorted.into_iter().map(|(at, day)| {
        let search = SpawnedTask::spawn(async move { Search::new(&day, rows_max).run().await });
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

/// What a row takes while it is compared.
pub(super) const ROW_BYTES: usize = size_of::<Candidate>();

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
        let suspects = if is_small { self.of_same_instants().await? } else { self.of_same_head().await? };
        let compared: usize = suspects.iter().flatten().map(ExactSizeIterator::len).sum();
        let passes = compared.div_ceil(self.rows_max) as u64;
        let mut twice = RowsTwice { files: vec![Vec::new(); files.len()] };
        for pass in 0..passes {
            let mut candidates = Vec::with_capacity(compared / passes as usize);
            for (place, rows) in suspects.iter().enumerate().filter(|(_, rows)| !rows.is_empty()) {
                self.read(place, rows, (pass, passes), &mut candidates).await?;
            }
            self.compare(&mut candidates, &mut twice);
        }
        for rows in &mut twice.files {
            rows.sort_unstable();
        }
        Ok(twice)
    }

    /// By file: all rows that arrived, and those compacted ones that happened at one of their instants.
    async fn of_same_instants(&self) -> Result<Vec<Vec<Range<usize>>>, QuantitiesError> {
        let instants = self.instants_of_arrived().await?;
        let mut suspects = Vec::new();
        for file in &self.day.files {
            let whole = 0..file.file.rows as usize;
            let rows =
                if file.file.is_sorted() { rows_at(file, &instants).await? } else { Vec::from([whole]) };
            suspects.push(rows);
        }
        Ok(suspects)
    }

    /// By file: rows whose identity begins as that of another does. Few events come twice, and hardly any two others
    /// begin alike, so that little is left to compare, unless each event feeds several meters and so has several rows.
    async fn of_same_head(&self) -> Result<Vec<Vec<Range<usize>>>, QuantitiesError> {
        let files = &self.day.files;
        let rows: u64 = files.iter().map(|file| file.file.rows).sum();
        let heads_max = self.rows_max * size_of::<Candidate>() / size_of::<(u64, u64)>();
        let passes = rows.div_ceil(heads_max as u64).max(1);
        let mut suspects: Vec<Vec<usize>> = vec![Vec::new(); files.len()];
        for pass in 0..passes {
            let mut heads: Vec<(u64, u64)> = Vec::with_capacity((rows / passes) as usize);
            for (place, file) in files.iter().enumerate() {
                let mut batches = file.read(&["identity"], file.all_row_groups())?;
                let mut row_before = (place as u64) << PLACE_SHIFT;
                while let Some(batch) = batches.try_next().await? {
                    let column = file.column(&batch, "identity")?;
                    for identity in column.as_binary::<i32>() {
                        let head = head_of(&identity_of(file, identity)?);
                        if head % passes == pass {
                            heads.push((head, row_before));
                        }
                        row_before += 1;
                    }
                    consume_budget().await;
                }
            }
            heads.sort_unstable_by_key(|(head, _)| *head);
            for same in heads.chunk_by(|left, right| left.0 == right.0).filter(|same| same.len() > 1) {
                for (_, row) in same {
                    suspects[(row >> PLACE_SHIFT) as usize].push((row & ROW_MASK) as usize);
                }
            }
        }
        Ok(suspects.into_iter().map(ranges_of).collect())
    }

    async fn instants_of_arrived(&self) -> Result<HashSet<i64>, QuantitiesError> {
        let mut instants = HashSet::new();
        for file in self.day.files.iter().filter(|file| !file.file.is_sorted()) {
            let mut batches = file.read(&["time"], file.all_row_groups())?;
            while let Some(batch) = batches.try_next().await? {
                let times = file.column(&batch, "time")?;
                instants.extend(times.as_primitive::<TimestampMicrosecondType>().values());
                consume_budget().await;
            }
        }
        Ok(instants)
    }

    async fn read(
        &mut self,
        place: usize,
        rows: &[Range<usize>],
        pass: (u64, u64),
        candidates: &mut Vec<Candidate>,
    ) -> Result<(), QuantitiesError> {
        let file = Arc::clone(&self.day.files[place]);
        let columns = [["identity", "time"].as_slice(), ARRIVED.as_slice()].concat();
        let mut batches = file.read_rows(&columns, rows.to_vec())?;
        let mut numbers = rows.iter().cloned().flatten();
        while let Some(batch) = batches.try_next().await? {
            let identity = file.column(&batch, "identity")?;
            let times = file.column(&batch, "time")?;
            let (identity, times) =
                (identity.as_binary::<i32>(), times.as_primitive::<TimestampMicrosecondType>());
            let arrival = Arrival::of(&file, &batch)?;
            for (at, row) in (0..batch.num_rows()).zip(&mut numbers) {
                let identity = identity_of(&file, Some(identity.value(at)))?;
                if head_of(&identity) % pass.1 != pass.0 {
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
            consume_budget().await;
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
    let mut rows = Vec::new();
    let mut before = 0;
    while let Some(batch) = batches.try_next().await? {
        let times = file.column(&batch, "time")?;
        let times = times.as_primitive::<TimestampMicrosecondType>().values();
        let found = times.iter().enumerate().filter(|(_, time)| instants.contains(time));
        rows.extend(found.map(|(row, _)| before + row));
        before += times.len();
        consume_budget().await;
    }
    Ok(ranges_of(rows))
}

/// Rows as ascending ranges.
fn ranges_of(mut rows: Vec<usize>) -> Vec<Range<usize>> {
    rows.sort_unstable();
    let mut ranges: Vec<Range<usize>> = Vec::new();
    for row in rows {
        match ranges.last_mut() {
            Some(last) if last.end == row => last.end += 1,
            _ => ranges.push(row..row + 1),
        }
    }
    ranges
}

/// A file's place and a row of it in one number.
const PLACE_SHIFT: u32 = 40;
const ROW_MASK: u64 = (1 << PLACE_SHIFT) - 1;

fn identity_of(file: &LakeFile, bytes: Option<&[u8]>) -> Result<[u8; 16], QuantitiesError> {
    let wrong = || QuantitiesError::Column { path: file.file.path.clone(), column: "identity" };
    bytes.and_then(|bytes| bytes.try_into().ok()).ok_or_else(wrong)
}

/// Identities are digests, so that any part of them spreads well.
fn head_of(identity: &[u8; 16]) -> u64 {
    let (head, _) = identity.split_first_chunk().expect("it has sixteen bytes");
    u64::from_le_bytes(*head)
}
