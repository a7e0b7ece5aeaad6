//! Sorting a day: the order in which rating reads, duplicates left out.
//!
//! Rows are ordered by tenant, meter, time, and among equal times by arrival. The order is found on
//! numbers (a tenant's place in the sorted list of tenants, and so on); then each output batch gathers its
//! rows. Output is cut into as many files as there are threads, so that they are encoded side by side.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, DictionaryArray, Int32Array, RecordBatch, StringArray};
use arrow::compute::interleave;
use arrow::datatypes::{Int32Type, TimestampMicrosecondType};
use ingest::day_file::{DayFileWriter, FileKind, FinishedFile};
use sql::lake::Table;

use super::identity::RowSet;
use super::rows::{ArrivalColumns, FindRow, RowId, SourceFile, working_schema};
use super::{CompactError, CompactSettings};

/// Rows per batch when writing.
const OUTPUT_ROWS: usize = 16 * 1024;
/// A day is cut into several files only if each gets at least this many rows.
const FILE_ROWS_MIN: usize = 200_000;

/// The rows of some days in memory.
#[derive(Debug, Default)]
pub struct DecodedDays {
    batches: Vec<RecordBatch>,
    /// The day of each batch.
    days: Vec<i32>,
}

impl FindRow for DecodedDays {
    fn find(&self, row: RowId) -> (&RecordBatch, usize) {
        (&self.batches[row.part()], row.row())
    }
}

impl DecodedDays {
    pub fn push(&mut self, day: i32, batch: RecordBatch) {
        self.days.push(day);
        self.batches.push(batch);
    }

    /// Decodes files on several threads; batches come out in the order of the files.
    pub fn decode(sources: &[SourceFile], threads: usize) -> Result<Self, CompactError> {
        let next = std::sync::atomic::AtomicUsize::new(0);
        let work = || {
            let mut decoded = Vec::new();
            loop {
                let at = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                let Some(source) = sources.get(at) else { return Ok(decoded) };
                let batches = source.read(None)?.collect::<Result<Vec<_>, _>>()?;
                decoded.push((at, source.file.day, batches));
            }
        };
        let parts = on_threads(threads.min(sources.len()), |_| work())?;
        let mut parts: Vec<(usize, i32, Vec<RecordBatch>)> = parts.into_iter().flatten().collect();
        parts.sort_by_key(|(at, ..)| *at);
        let mut decoded = Self::default();
        for (_, day, batches) in parts {
            decoded.days.extend(std::iter::repeat_n(day, batches.len()));
            decoded.batches.extend(batches);
        }
        Ok(decoded)
    }
}

/// Does the same work on several threads, each with its number.
fn on_threads<T: Send>(
    threads: usize,
    work: impl Fn(usize) -> Result<T, CompactError> + Sync,
) -> Result<Vec<T>, CompactError> {
    std::thread::scope(|scope| {
        let handles: Vec<_> = (0..threads.max(1))
            .map(|number| {
                scope.spawn({
                    let work = &work;
                    move || work(number)
                })
            })
            .collect();
        handles.into_iter().map(|handle| handle.join().expect("a sorting thread does not panic")).collect()
    })
}

/// A column as numbers into one sorted list of values for all batches.
#[derive(Debug)]
struct RankedColumn {
    values: Arc<StringArray>,
    /// By batch: the rank of each value of the batch's own dictionary.
    ranks: Vec<Vec<i32>>,
}

impl RankedColumn {
    fn of(batches: &[RecordBatch], column: usize) -> Self {
        let mut distinct: BTreeSet<&str> = BTreeSet::new();
        let mut last: Option<&ArrayRef> = None;
        for batch in batches {
            let values = batch.column(column).as_dictionary::<Int32Type>().values();
            // Batches of one row group share their dictionary.
            if !last.is_some_and(|last| Arc::ptr_eq(last, values)) {
                distinct.extend(values.as_string::<i32>().iter().flatten());
            }
            last = Some(values);
        }
        let ranks: HashMap<&str, i32> =
            distinct.iter().enumerate().map(|(at, value)| (*value, at as i32)).collect();
        let rank_batch = |batch: &RecordBatch| {
            let values = batch.column(column).as_dictionary::<Int32Type>().values().as_string::<i32>();
            values.iter().map(|value| value.map_or(-1, |value| ranks[value])).collect()
        };
        Self {
            ranks: batches.iter().map(rank_batch).collect(),
            values: Arc::new(StringArray::from_iter_values(distinct)),
        }
    }

    /// Gathers rows into a dictionary array over the common values.
    fn gather(
        &self,
        batches: &[RecordBatch],
        column: usize,
        rows: &[RowId],
    ) -> Result<ArrayRef, CompactError> {
        let keys: Int32Array = rows
            .iter()
            .map(|row| {
                let keys = batches[row.part()].column(column).as_dictionary::<Int32Type>().keys();
                keys.is_valid(row.row()).then(|| self.ranks[row.part()][keys.value(row.row()) as usize])
            })
            .collect();
        let values: ArrayRef = Arc::<StringArray>::clone(&self.values);
        Ok(Arc::new(DictionaryArray::try_new(keys, values)?))
    }
}

/// A row with what it is ordered by: tenant (28 bits), meter (16), time within its day (40), and where it
/// is: batch (28) and row (16).
type SortKey = u128;

const METER_BITS: u32 = 16;
const TIME_BITS: u32 = 40;
const BATCH_BITS: u32 = 28;
const ROW_BITS: u32 = 16;
const PLACE_BITS: u32 = BATCH_BITS + ROW_BITS;

fn sort_key(tenant: i32, meter: i32, time_us: i64, batch: usize, row: usize) -> Option<SortKey> {
    let fits = |number: u128, bits: u32| (number >> bits == 0).then_some(number);
    let tenant = fits(u128::try_from(tenant).ok()?, 128 - METER_BITS - TIME_BITS - PLACE_BITS)?;
    let meter = fits(u128::try_from(meter).ok()?, METER_BITS)?;
    let time = fits(u128::try_from(time_us).ok()?, TIME_BITS)?;
    let place = fits(batch as u128, BATCH_BITS)? << ROW_BITS | fits(row as u128, ROW_BITS)?;
    Some(((tenant << METER_BITS | meter) << TIME_BITS | time) << PLACE_BITS | place)
}

fn row_of(key: SortKey) -> RowId {
    let place = (key & ((1 << PLACE_BITS) - 1)) as usize;
    RowId::new(place >> ROW_BITS, place & ((1 << ROW_BITS) - 1))
}

/// Sorts the rows that are not lost and writes them, day by day.
pub fn sort_days(
    decoded: &DecodedDays,
    lost: &RowSet,
    settings: &CompactSettings,
) -> Result<Vec<(i32, FinishedFile)>, CompactError> {
    let schema = working_schema();
    let ranked: HashMap<usize, RankedColumn> = schema
        .fields()
        .iter()
        .enumerate()
        .filter(|(_, field)| matches!(field.data_type(), arrow::datatypes::DataType::Dictionary(..)))
        .map(|(at, _)| (at, RankedColumn::of(&decoded.batches, at)))
        .collect();
    let days: BTreeSet<i32> = decoded.days.iter().copied().collect();
    let mut files = Vec::new();
    for day in days {
        let rows = sorted_rows(decoded, day, lost, &ranked)?;
        if rows.is_empty() {
            continue;
        }
        let parts = settings.threads.min(rows.len() / FILE_ROWS_MIN).max(1);
        let part_rows = rows.len().div_ceil(parts);
        let written = on_threads(parts, |part| {
            let start = part * part_rows;
            let part = &rows[start..(start + part_rows).min(rows.len())];
            write_files(decoded, day, part, &ranked, settings.file_size_bytes)
        })?;
        files.extend(written.into_iter().flatten().map(|file| (day, file)));
    }
    Ok(files)
}

fn sorted_rows(
    decoded: &DecodedDays,
    day: i32,
    lost: &RowSet,
    ranked: &HashMap<usize, RankedColumn>,
) -> Result<Vec<RowId>, CompactError> {
    let schema = working_schema();
    let (tenant, meter, time) =
        (schema.index_of("tenant")?, schema.index_of("meter")?, schema.index_of("time")?);
    let day_start_us = i64::from(day) * 86_400_000_000;
    let mut keys: Vec<SortKey> = Vec::new();
    for (number, batch) in
        decoded.batches.iter().enumerate().filter(|(number, _)| decoded.days[*number] == day)
    {
        let tenants = batch.column(tenant).as_dictionary::<Int32Type>().keys();
        let meters = batch.column(meter).as_dictionary::<Int32Type>().keys();
        let times = batch.column(time).as_primitive::<TimestampMicrosecondType>();
        let (tenant_ranks, meter_ranks) = (&ranked[&tenant].ranks[number], &ranked[&meter].ranks[number]);
        keys.reserve(batch.num_rows());
        for row in 0..batch.num_rows() {
            if lost.contains(RowId::new(number, row)) {
                continue;
            }
            let tenant = tenant_ranks[tenants.value(row) as usize];
            // Rows without a meter come first.
            let meter = if meters.is_valid(row) { meter_ranks[meters.value(row) as usize] + 1 } else { 0 };
            let time_us = times.value(row) - day_start_us;
            let key = sort_key(tenant, meter, time_us, number, row);
            keys.push(key.ok_or(CompactError::CannotSort { day, time_us: times.value(row) })?);
        }
    }
    keys.sort_unstable();
    let mut rows: Vec<RowId> = keys.iter().map(|key| row_of(*key)).collect();
    order_ties(&keys, &mut rows, &decoded.batches);
    Ok(rows)
}

/// Rows of one tenant, meter and time stand in the order in which they arrived.
fn order_ties(keys: &[SortKey], rows: &mut [RowId], batches: &[RecordBatch]) {
    let arrivals: Vec<ArrivalColumns<'_>> = batches.iter().map(ArrivalColumns::of_whole).collect();
    let mut start = 0;
    for run in keys.chunk_by(|left, right| left >> PLACE_BITS == right >> PLACE_BITS) {
        let end = start + run.len();
        if run.len() > 1 {
            // The sort is stable: rows of one event stay as they were.
            rows[start..end].sort_by_key(|row| arrivals[row.part()].key(row.row()));
        }
        start = end;
    }
}

fn write_files(
    decoded: &DecodedDays,
    day: i32,
    rows: &[RowId],
    ranked: &HashMap<usize, RankedColumn>,
    file_size_bytes: usize,
) -> Result<Vec<FinishedFile>, CompactError> {
    let schema = working_schema();
    let now_ms = jiff::Timestamp::now().as_millisecond();
    let mut files = Vec::new();
    let mut writer: Option<DayFileWriter> = None;
    for rows in rows.chunks(OUTPUT_ROWS) {
        let places: Vec<(usize, usize)> = rows.iter().map(|row| (row.part(), row.row())).collect();
        let columns = (0..schema.fields().len()).map(|column| match ranked.get(&column) {
            Some(ranked) => ranked.gather(&decoded.batches, column, rows),
            None => {
                let arrays: Vec<&dyn Array> =
                    decoded.batches.iter().map(|batch| batch.column(column).as_ref()).collect();
                Ok(interleave(&arrays, &places)?)
            }
        });
        let batch = RecordBatch::try_new(Arc::clone(&schema), columns.collect::<Result<Vec<_>, _>>()?)?;
        let open = match &mut writer {
            Some(open) => open,
            None => writer.insert(DayFileWriter::new(Table::UsageEvents, day, FileKind::Sorted)?),
        };
        open.write(&batch)?;
        if open.bytes() >= file_size_bytes {
            files.extend(writer.take().map(|full| full.finish(now_ms)).transpose()?);
        }
    }
    files.extend(writer.take().map(|last| last.finish(now_ms)).transpose()?);
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sort_keys_order_rows_and_say_where_they_are() {
        let key = |tenant, meter, time_us, batch, row| sort_key(tenant, meter, time_us, batch, row).unwrap();
        let ordered = [
            key(0, 0, 0, (1 << BATCH_BITS) - 1, (1 << ROW_BITS) - 1),
            key(0, 0, 1, 0, 0),
            key(0, 1, 0, 0, 0),
            key(0, (1 << METER_BITS) - 1, 86_400_000_000 - 1, 7, 9),
            key(1, 0, 0, 0, 0),
            key((1 << 28) - 1, 0, 0, 0, 0),
        ];
        assert!(ordered.is_sorted_by(|left, right| left < right));
        assert_eq!(row_of(ordered[0]), RowId::new((1 << BATCH_BITS) - 1, (1 << ROW_BITS) - 1));
        assert_eq!(row_of(ordered[3]), RowId::new(7, 9));
        assert_eq!(sort_key(1 << 28, 0, 0, 0, 0), None);
        assert_eq!(sort_key(0, 1 << METER_BITS, 0, 0, 0), None);
        assert_eq!(sort_key(0, 0, -1, 0, 0), None);
        assert_eq!(sort_key(0, 0, 1 << TIME_BITS, 0, 0), None);
    }
}
