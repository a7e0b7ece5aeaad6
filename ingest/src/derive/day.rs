//! One day: finding what its events lack, and writing it.

use std::collections::BTreeSet;

use arrow::array::BooleanArray;
use arrow::compute::filter_record_batch;
use futures::TryStreamExt;
use sql::lake::{DataFile, FileRead, Table, TableHandle};

use super::known::{Bucket, LackingEvents};
use super::{DeriveError, DeriveReport, DeriveRequest, Wanted};
use crate::columns::UsageColumns;
use crate::commit::TableLog;
use crate::day_file::FileKind;
use crate::day_files::{DayFiles, RewriteError, StoredFile};
use crate::decode::Decoder;
use crate::event::{Readings, UsageEvent};
use crate::raw_message::Coordinates;
use crate::stored_rows::StoredRows;

const CHUNK_ROWS: usize = 16 * 1024;

/// The columns that tell which event and which meter a row belongs to.
const KEY_COLUMNS: [&str; 8] =
    ["identity", "event_type", "meter", "arrival", "topic", "partition", "offset", "batch_index"];
/// Those, and what meters read.
pub(super) const EVENT_COLUMNS: [&str; 14] = [
    "identity",
    "source",
    "id",
    "tenant",
    "event_type",
    "meter",
    "time",
    "time_given",
    "data",
    "topic",
    "partition",
    "offset",
    "batch_index",
    "arrival",
];

pub(super) struct DayDerivation<'d> {
    pub decoder: &'d Decoder,
    pub wanted: &'d Wanted,
    pub log: &'d TableLog,
    pub files: &'d [DataFile],
    pub day: i32,
}

/// What is to be committed for a day.
#[derive(Debug, Default)]
pub(super) struct DayChange {
    pub rows_added: u64,
    pub stored: Vec<StoredFile>,
    /// Paths of files whose rows all stand in the stored ones.
    pub replaced: BTreeSet<String>,
}

/// Rows on their way into files; none of it is written in a dry run.
pub(super) struct Output {
    columns: UsageColumns,
    files: Option<DayFiles>,
    day: i32,
    rows_added: u64,
}

impl Output {
    pub fn new(table: &TableHandle, kind: FileKind, day: i32, dry_run: bool) -> Self {
        let files = (!dry_run).then(|| DayFiles::new(table, kind));
        Self { columns: UsageColumns::default(), files, day, rows_added: 0 }
    }

    pub fn rows_added(&self) -> u64 {
        self.rows_added
    }

    async fn push_row(&mut self, row: EventRow<'_>, keys: &[String]) -> Result<(), RewriteError> {
        let (at, arrival_us) = (row.rows.coordinates(row.row), row.rows.time_us("arrival", row.row));
        self.push(&row.event, at, arrival_us, keys).await
    }

    pub async fn push(
        &mut self,
        event: &UsageEvent<'_>,
        at: Coordinates<'_>,
        arrival_us: i64,
        keys: &[String],
    ) -> Result<(), RewriteError> {
        let before = self.columns.rows();
        self.columns.push(event, keys, at, arrival_us);
        self.rows_added += (self.columns.rows() - before) as u64;
        if self.columns.rows() >= CHUNK_ROWS { self.flush().await } else { Ok(()) }
    }

    async fn flush(&mut self) -> Result<(), RewriteError> {
        let batch = self.columns.finish();
        match &mut self.files {
            Some(files) => files.write(self.day, &batch).await,
            None => Ok(()),
        }
    }

    /// What a commit must name.
    pub async fn finish(mut self) -> Result<Vec<StoredFile>, RewriteError> {
        self.flush().await?;
        match self.files {
            Some(files) => files.finish().await,
            None => Ok(Vec::new()),
        }
    }
}

/// An event that gets rows, and the row that it was read from.
struct EventRow<'b> {
    rows: StoredRows<'b>,
    row: usize,
    event: UsageEvent<'b>,
}

impl DayDerivation<'_> {
    pub async fn run(
        &self,
        request: &DeriveRequest,
        report: &mut DeriveReport,
    ) -> Result<DayChange, DeriveError> {
        let mut output = Output::new(self.log.handle(), FileKind::Arrived, self.day, request.dry_run);
        let rows: u64 = self.files.iter().map(|file| file.rows).sum();
        let count = rows.div_ceil(request.rows_remembered.max(1)).max(1) as u32;
        let mut with_unmetered = BTreeSet::new();
        for index in 0..count {
            let bucket = Bucket { index, count };
            let mut lacking = self.lacking_events(bucket, &mut with_unmetered).await?;
            // Mostly an event's data stands in one of its rows. Those left have no data at all.
            for with_data in [true, false] {
                if !lacking.is_empty() {
                    self.add_rows(bucket, &mut lacking, with_data, &mut output, report).await?;
                }
            }
        }
        let mut replaced = BTreeSet::new();
        for file in self.files.iter().filter(|file| with_unmetered.contains(&file.path)) {
            if self.count_unmetered(file, report).await? > 0 {
                replaced.insert(file.path.clone());
                self.rewrite(file, &mut output).await?;
            }
        }
        Ok(DayChange { rows_added: output.rows_added, stored: output.finish().await?, replaced })
    }

    /// The wanted meters of the events of a type.
    fn meters(&self, event_type: &str) -> Option<&Vec<usize>> {
        self.wanted.by_event_type.get(event_type)
    }

    async fn lacking_events(
        &self,
        bucket: Bucket,
        with_unmetered: &mut BTreeSet<String>,
    ) -> Result<LackingEvents, DeriveError> {
        let mut lacking = LackingEvents::default();
        for file in self.files {
            let read = FileRead { columns: Some(&KEY_COLUMNS), ..FileRead::default() };
            let mut batches = self.log.handle().read_file(file, read).await?;
            while let Some(batch) = batches.try_next().await? {
                let rows = StoredRows(&batch);
                for row in 0..rows.len() {
                    let Some(meters) = self.meters(rows.text("event_type", row)) else { continue };
                    let Some(meter) = rows.optional_text("meter", row) else {
                        with_unmetered.insert(file.path.clone());
                        continue;
                    };
                    let identity =
                        rows.identity(row).ok_or_else(|| DeriveError::Identity(file.path.clone()))?;
                    if bucket.takes(identity) {
                        let key = lacking.key(identity, rows, row);
                        lacking.note(key, meters, self.wanted, meter);
                    }
                }
            }
        }
        lacking.forget_complete();
        Ok(lacking)
    }

    /// Adds rows of meters that events lack which have other meters' rows.
    async fn add_rows(
        &self,
        bucket: Bucket,
        lacking: &mut LackingEvents,
        with_data: bool,
        output: &mut Output,
        report: &mut DeriveReport,
    ) -> Result<(), DeriveError> {
        for file in self.files {
            let read = FileRead { columns: Some(&EVENT_COLUMNS), ..FileRead::default() };
            let mut batches = self.log.handle().read_file(file, read).await?;
            while let Some(batch) = batches.try_next().await? {
                let rows = StoredRows(&batch);
                for row in 0..rows.len() {
                    let has_meter = rows.optional_text("meter", row).is_some();
                    if !has_meter || rows.optional_text("data", row).is_some() != with_data {
                        continue;
                    }
                    let Some(identity) = rows.identity(row).filter(|identity| bucket.takes(*identity)) else {
                        continue;
                    };
                    let Some(meters) = self.meters(rows.text("event_type", row)) else { continue };
                    let key = lacking.key(identity, rows, row);
                    let Some(lacks) = lacking.take(key, meters) else { continue };
                    let readings = self.readings(rows, row, &lacks, Some(&mut *report));
                    if let Some(mut event) = event_row(rows, row, readings) {
                        event.event.data = None;
                        output.push_row(event, &self.wanted.keys).await?;
                    }
                }
            }
        }
        Ok(())
    }

    /// How many events without a meter in a file have one now.
    async fn count_unmetered(&self, file: &DataFile, report: &mut DeriveReport) -> Result<u64, DeriveError> {
        let mut newly_metered = 0;
        let read = FileRead { columns: Some(&EVENT_COLUMNS), ..FileRead::default() };
        let mut batches = self.log.handle().read_file(file, read).await?;
        while let Some(batch) = batches.try_next().await? {
            let rows = StoredRows(&batch);
            for row in 0..rows.len() {
                newly_metered += u64::from(self.unmetered_event(rows, row, Some(&mut *report)).is_some());
            }
        }
        report.newly_metered += newly_metered;
        Ok(newly_metered)
    }

    /// Writes a file's rows anew, with those of its events that have a meter now in place of their old ones.
    async fn rewrite(&self, file: &DataFile, output: &mut Output) -> Result<(), DeriveError> {
        let schema = Table::UsageEvents.file_schema();
        let columns: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
        let read = FileRead { columns: Some(&columns), ..FileRead::default() };
        let mut batches = self.log.handle().read_file(file, read).await?;
        // What other files got so far must not count here.
        output.flush().await?;
        let (before, added_before) = (output.files.as_ref().map_or(0, DayFiles::rows), output.rows_added);
        let (mut rows_read, mut rows_replaced) = (0, 0);
        while let Some(batch) = batches.try_next().await? {
            let rows = StoredRows(&batch);
            let mut stays = Vec::with_capacity(rows.len());
            for row in 0..rows.len() {
                let event = self.unmetered_event(rows, row, None);
                stays.push(event.is_none());
                if let Some(event) = event {
                    rows_replaced += 1;
                    output.push_row(event, &self.wanted.keys).await?;
                }
            }
            rows_read += rows.len() as u64;
            if let Some(files) = &mut output.files {
                let stays = filter_record_batch(&batch, &BooleanArray::from(stays));
                files.write(self.day, &stays.map_err(RewriteError::from)?).await?;
            }
        }
        output.flush().await?;
        let Some(files) = &output.files else { return Ok(()) };
        let after = files.rows() - before;
        let expected = rows_read - rows_replaced + (output.rows_added - added_before);
        if after != expected || rows_read != file.rows {
            let path = file.path.clone();
            return Err(DeriveError::RowCount { path, before: file.rows, after, expected });
        }
        Ok(())
    }

    /// The event of a row without a meter, if a meter takes it now.
    fn unmetered_event<'b>(
        &self,
        rows: StoredRows<'b>,
        row: usize,
        report: Option<&mut DeriveReport>,
    ) -> Option<EventRow<'b>> {
        if rows.optional_text("meter", row).is_some() {
            return None;
        }
        let meters = self.meters(rows.text("event_type", row))?;
        let readings = self.readings(rows, row, meters, report);
        event_row(rows, row, readings)
    }

    /// What meters read from a row's event.
    fn readings<'b>(
        &self,
        rows: StoredRows<'b>,
        row: usize,
        meters: &[usize],
        report: Option<&mut DeriveReport>,
    ) -> Readings<'b> {
        let read = self.decoder.read_kept(&rows.kept_event(row), |meter| meters.contains(&meter));
        match report {
            Some(report) => report.sort(read, rows.coordinates(row), &self.wanted.keys),
            None => read.into_iter().filter_map(|read| read.reading.ok()).collect(),
        }
    }
}

/// An event as it is written, if any meter reads it.
fn event_row<'b>(rows: StoredRows<'b>, row: usize, readings: Readings<'b>) -> Option<EventRow<'b>> {
    if readings.is_empty() {
        return None;
    }
    let kept = rows.kept_event(row);
    let event = UsageEvent {
        identity: rows.identity(row)?,
        source: kept.source.into(),
        id: kept.id.into(),
        tenant: kept.tenant.into(),
        event_type: kept.event_type.into(),
        time_us: kept.time_us,
        time_given: kept.time_given,
        data: kept.data.map(Into::into),
        batch_index: rows.batch_index(row),
        readings,
    };
    Some(EventRow { rows, row, event })
}
