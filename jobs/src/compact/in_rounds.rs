//! A group of days that does not fit into memory: its files are read several times, and each time only a
//! share of the rows is kept.
//!
//! First come rounds over shares of all identities, which find the rows that are lost. Then each day is
//! written in stretches of its order: those rows between one tenant, meter, time and arrival and another. It ends
//! in the same single commit, so nobody can tell afterwards how a day was compacted.

use std::collections::{BTreeMap, HashMap};

use arrow::array::{Array, AsArray, BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{Int32Type, TimestampMicrosecondType};
use sql::lake::DataFile;

use super::conflict::{CONTENT_COLUMNS, ConflictRejects, judge};
use super::filter::DayFilter;
use super::identity::{Identities, LostEvent, Place, RowSet, Share, lost_rows};
use super::rows::{FindRow, IDENTITY_COLUMNS, RowId, SourceFile, fetch, portions};
use super::size::{IDENTITY_BYTES, ROW_BYTES};
use super::sort::sorted_day;
use super::whole::{FileRows, WholeRows};
use super::write::encode_days;
use super::{Attempt, CompactError, CompactSettings, Compactor, Group, NewDays, NewFile};
use crate::threads::blocking;

/// So many rows of a day are looked at to find out where to cut it into stretches.
const SAMPLE_ROWS: u64 = 100_000;
/// What of them: by what rows are ordered, and what may be large.
const SAMPLED_COLUMNS: [&str; 6] = ["tenant", "meter", "time", "arrival", "id", "data"];

impl Compactor {
    pub(super) async fn rewrite_in_rounds(
        &mut self,
        group: &Group<'_>,
        memory_bytes: u64,
    ) -> Result<Attempt, CompactError> {
        let budget = self.settings.budget();
        let rows: u64 = group.inputs.iter().map(|file| file.rows).sum();
        let row_bytes = memory_bytes.div_ceil(rows.max(1)).max(1);
        let shares = (rows * IDENTITY_BYTES).div_ceil(budget).max(1) as usize;
        let mut lost = RowSet::default();
        let mut rejects = ConflictRejects::default();
        let mut conflict_rows = 0;
        let mut filters: BTreeMap<i32, DayFilter> = BTreeMap::new();
        for number in 0..shares {
            let identities = self.read_share(group, Share { number, of: shares }).await?;
            let elsewhere = self.filters.elsewhere(&identities.new_identities(), &group.others).await?;
            let resolution = identities.resolve(&elsewhere, self.window());
            if !resolution.days_with_later.is_empty() {
                return Ok(Attempt::Needs(resolution.days_with_later));
            }
            for events in of_some_rows(&resolution.lost, (budget / row_bytes).max(1)) {
                let rows = self.read_events(group, events).await?;
                let verdicts = judge(&rows, events, &group.others, self.usage.handle()).await?;
                conflict_rows += verdicts.conflict_rows;
                self.record(&mut rejects, &verdicts).await?;
            }
            lost.add(lost_rows(&resolution.lost));
            for day in group.days {
                filters.entry(*day).or_default().push_share(&identities.prefixes_of_day(*day, &lost));
            }
        }
        let mut files = Vec::new();
        for day in group.days {
            files.extend(self.write_day(group, *day, row_bytes, &lost).await?);
        }
        Ok(Attempt::Done(Box::new(NewDays {
            files,
            filters: filters.into_iter().collect(),
            rejects: rejects.finish()?,
            lost_rows: lost.count(),
            conflict_rows,
        })))
    }

    /// Decodes the files of some days one after the other. Rows are named by the place of their file in the
    /// group, and their place in the file.
    async fn scan<'g>(
        &self,
        files: impl Iterator<Item = (usize, &'g DataFile)>,
        columns: Option<&[&str]>,
        mut each: impl FnMut(&SourceFile, RowId, RecordBatch) -> Result<(), CompactError>,
    ) -> Result<(), CompactError> {
        let (places, files): (Vec<usize>, Vec<DataFile>) =
            files.map(|(place, file)| (place, file.clone())).unzip();
        let mut places = places.into_iter();
        for portion in portions(&files) {
            for source in fetch(self.usage.handle(), portion).await? {
                let place = places.next().expect("each file has a place");
                blocking(|| {
                    let mut row = 0;
                    for batch in source.read(columns)? {
                        let batch = batch?;
                        let rows = batch.num_rows();
                        each(&source, RowId::new(place, row), batch)?;
                        row += rows;
                    }
                    Ok::<_, CompactError>(())
                })?;
            }
        }
        Ok(())
    }

    async fn read_share(&self, group: &Group<'_>, share: Share) -> Result<Identities, CompactError> {
        let mut identities = Identities::default();
        let add = |source: &SourceFile, first: RowId, batch: RecordBatch| {
            let file = FileRows::of(&source.file);
            identities.add(&batch, &file, first, share).ok_or_else(|| source.columns_error())
        };
        self.scan(group.inputs.iter().enumerate(), Some(&IDENTITY_COLUMNS), add).await?;
        identities.sort();
        Ok(identities)
    }

    /// What lost events and those that count in their place say.
    async fn read_events(&self, group: &Group<'_>, events: &[LostEvent]) -> Result<FoundRows, CompactError> {
        let mut wanted = RowSet::default();
        wanted.add(lost_rows(events));
        for event in events {
            if let Place::Here(rows) = &event.winner {
                wanted.add(rows);
            }
        }
        let mut found = FoundRows::default();
        let add = |_: &SourceFile, first: RowId, batch: RecordBatch| {
            let is_wanted = |row: &usize| wanted.contains(RowId::new(first.part(), first.row() + row));
            found.add(first, &batch, (0..batch.num_rows()).filter(is_wanted).collect())
        };
        self.scan(group.inputs.iter().enumerate(), Some(&CONTENT_COLUMNS), add).await?;
        Ok(found)
    }

    /// Writes the rows of a day that are not lost, stretch by stretch.
    async fn write_day(
        &self,
        group: &Group<'_>,
        day: i32,
        row_bytes: u64,
        lost: &RowSet,
    ) -> Result<Vec<NewFile>, CompactError> {
        let mut files = Vec::new();
        for stretch in self.stretches(group, day, row_bytes).await? {
            let mut batches = Vec::new();
            let add = |source: &SourceFile, first: RowId, batch: RecordBatch| {
                let order = OrderColumns::of(&batch).ok_or_else(|| source.columns_error())?;
                let is_kept = |row: usize| {
                    stretch.contains(order.key(row))
                        && !lost.contains(RowId::new(first.part(), first.row() + row))
                };
                let kept: BooleanArray = (0..batch.num_rows()).map(|row| Some(is_kept(row))).collect();
                if kept.true_count() > 0 {
                    batches.push(filter_record_batch(&batch, &kept)?);
                }
                Ok(())
            };
            self.scan(group.of_day(day), None, add).await?;
            let CompactSettings { threads, file_size_bytes, .. } = self.settings;
            let written = blocking(|| {
                let whole = WholeRows::of_batches(day, batches, threads)?;
                let encoded = encode_days(&whole, vec![(day, sorted_day(&whole, day)?)], threads)?;
                drop(whole);
                encoded.into_files(file_size_bytes)
            })?;
            files.extend(self.upload(written).await?);
        }
        Ok(files)
    }

    /// Cuts a day's order into stretches that take about as much memory each, and no more than the budget, going by a
    /// sample. A row takes `row_bytes` on average, but its texts are looked at row by row: those of one tenant may be many
    /// times as long as all others.
    async fn stretches(
        &self,
        group: &Group<'_>,
        day: i32,
        row_bytes: u64,
    ) -> Result<Vec<Stretch>, CompactError> {
        let rows: u64 = group.of_day(day).map(|(_, file)| file.rows).sum();
        let step = rows.div_ceil(SAMPLE_ROWS).max(1) as usize;
        let mut sample: Vec<(OrderKey<String>, u64)> = Vec::new();
        let add = |source: &SourceFile, first: RowId, batch: RecordBatch| {
            let order = OrderColumns::of(&batch).ok_or_else(|| source.columns_error())?;
            let texts = TextColumns::of(&batch).ok_or_else(|| source.columns_error())?;
            let offset = (step - first.row() % step) % step;
            let rows = (offset..batch.num_rows()).step_by(step);
            sample.extend(rows.map(|row| (order.key(row).to_owned(), texts.bytes(row))));
            Ok(())
        };
        self.scan(group.of_day(day), Some(&SAMPLED_COLUMNS), add).await?;
        let text_bytes: u64 = sample.iter().map(|(_, bytes)| bytes).sum();
        let rest_bytes = row_bytes.saturating_sub(text_bytes / (sample.len() as u64).max(1)).max(ROW_BYTES);
        for (_, bytes) in &mut sample {
            *bytes = step as u64 * (*bytes + rest_bytes);
        }
        sample.sort_unstable();
        let cuts = cuts(sample, self.settings.budget());
        let starts = std::iter::once(None).chain(cuts.iter().cloned().map(Some));
        let ends = cuts.iter().cloned().map(Some).chain([None]);
        Ok(starts.zip(ends).map(|(start, end)| Stretch { start, end }).collect())
    }
}

/// Where to cut a sample in its order, so that what stands for its rows takes the budget at most between two cuts, and
/// about as much everywhere. Rows of the same key stay together.
fn cuts<K: Ord>(sample: Vec<(K, u64)>, budget: u64) -> Vec<K> {
    let total: u64 = sample.iter().map(|(_, bytes)| bytes).sum();
    let share = total.div_ceil(total.div_ceil(budget).max(1));
    let mut cuts: Vec<K> = Vec::new();
    let mut held = 0;
    let mut rows = sample.into_iter().peekable();
    while let Some((key, mut bytes)) = rows.next() {
        while let Some((_, more)) = rows.next_if(|(next, _)| *next == key) {
            bytes += more;
        }
        if held > 0 && held + bytes > share {
            cuts.push(key);
            held = 0;
        }
        held += bytes;
    }
    cuts
}

/// Cuts lost events into slices that have, with those that count in their place, about so many rows.
fn of_some_rows(events: &[LostEvent], rows_max: u64) -> impl Iterator<Item = &[LostEvent]> {
    let mut rest = events;
    std::iter::from_fn(move || {
        let mut rows = 0;
        let fits = rest.iter().take_while(|event| {
            let winner = if let Place::Here(rows) = &event.winner { rows.len() } else { 1 };
            rows += (event.rows.len() + winner) as u64;
            rows <= rows_max
        });
        let (slice, after) = rest.split_at(fits.count().max(1).min(rest.len()));
        rest = after;
        (!slice.is_empty()).then_some(slice)
    })
}

/// Some rows of many files.
#[derive(Debug, Default)]
struct FoundRows {
    batches: Vec<RecordBatch>,
    places: HashMap<RowId, (usize, usize)>,
}

impl FoundRows {
    fn add(&mut self, first: RowId, batch: &RecordBatch, rows: Vec<usize>) -> Result<(), CompactError> {
        if rows.is_empty() {
            return Ok(());
        }
        let mut mask = vec![false; batch.num_rows()];
        for (place, row) in rows.into_iter().enumerate() {
            mask[row] = true;
            self.places.insert(RowId::new(first.part(), first.row() + row), (self.batches.len(), place));
        }
        self.batches.push(filter_record_batch(batch, &BooleanArray::from(mask))?);
        Ok(())
    }
}

impl FindRow for FoundRows {
    fn find(&self, row: RowId) -> (&RecordBatch, usize) {
        let (batch, row) = self.places[&row];
        (&self.batches[batch], row)
    }
}

/// What rows are ordered by; rows without a meter come first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct OrderKey<T> {
    tenant: T,
    meter: Option<T>,
    time_us: i64,
    arrival_us: i64,
}

impl OrderKey<&str> {
    fn to_owned(self) -> OrderKey<String> {
        OrderKey {
            tenant: self.tenant.to_owned(),
            meter: self.meter.map(str::to_owned),
            time_us: self.time_us,
            arrival_us: self.arrival_us,
        }
    }
}

impl OrderKey<String> {
    fn as_ref(&self) -> OrderKey<&str> {
        let Self { tenant, meter, time_us, arrival_us } = self;
        OrderKey { tenant, meter: meter.as_deref(), time_us: *time_us, arrival_us: *arrival_us }
    }
}

/// The rows from one key up to, but without, another.
#[derive(Debug)]
struct Stretch {
    start: Option<OrderKey<String>>,
    end: Option<OrderKey<String>>,
}

impl Stretch {
    fn contains(&self, key: OrderKey<&str>) -> bool {
        self.start.as_ref().is_none_or(|start| start.as_ref() <= key)
            && self.end.as_ref().is_none_or(|end| key < end.as_ref())
    }
}

/// The columns of a batch that its rows are ordered by.
struct OrderColumns<'b> {
    tenants: (&'b [i32], &'b arrow::array::StringArray),
    meters: (&'b arrow::array::Int32Array, &'b arrow::array::StringArray),
    times: &'b [i64],
    arrivals: &'b [i64],
}

impl<'b> OrderColumns<'b> {
    fn of(batch: &'b RecordBatch) -> Option<Self> {
        let tenants = batch.column_by_name("tenant")?.as_dictionary_opt::<Int32Type>()?;
        let meters = batch.column_by_name("meter")?.as_dictionary_opt::<Int32Type>()?;
        Some(Self {
            tenants: (tenants.keys().values(), tenants.values().as_string_opt::<i32>()?),
            meters: (meters.keys(), meters.values().as_string_opt::<i32>()?),
            times: batch.column_by_name("time")?.as_primitive_opt::<TimestampMicrosecondType>()?.values(),
            arrivals: batch
                .column_by_name("arrival")?
                .as_primitive_opt::<TimestampMicrosecondType>()?
                .values(),
        })
    }

    fn key(&self, row: usize) -> OrderKey<&'b str> {
        let (keys, meters) = self.meters;
        OrderKey {
            tenant: self.tenants.1.value(self.tenants.0[row] as usize),
            meter: keys.is_valid(row).then(|| meters.value(keys.value(row) as usize)),
            time_us: self.times[row],
            arrival_us: self.arrivals[row],
        }
    }
}

/// The columns of a batch whose texts may be long and seldom repeat.
struct TextColumns<'b>([&'b arrow::array::StringArray; 2]);

impl<'b> TextColumns<'b> {
    fn of(batch: &'b RecordBatch) -> Option<Self> {
        let column = |name| batch.column_by_name(name)?.as_string_opt::<i32>();
        Some(Self([column("id")?, column("data")?]))
    }

    fn bytes(&self, row: usize) -> u64 {
        self.0.iter().map(|column| u64::from(column.value_length(row).unsigned_abs())).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stretches_are_cut_by_what_their_rows_take() {
        for (name, sample, budget, expected) in [
            ("nothing", vec![], 10, vec![]),
            ("all fit", vec![(1, 4), (2, 4)], 10, vec![]),
            ("alike", vec![(1, 5), (2, 5), (3, 5), (4, 5)], 10, vec![3]),
            ("a large one first", vec![(1, 9), (2, 9), (3, 1), (4, 1), (5, 1)], 10, vec![2, 3]),
            ("a large one last", vec![(1, 1), (2, 1), (3, 1), (4, 9), (5, 9)], 10, vec![4, 5]),
            ("larger than all", vec![(1, 1), (2, 30), (3, 1)], 10, vec![2, 3]),
            ("the same key stays together", vec![(1, 4), (1, 4), (1, 4), (2, 4)], 8, vec![2]),
        ] {
            assert_eq!(cuts::<i32>(sample, budget), expected, "{name}");
        }
    }
}
