//! The steps of a replay.

use std::collections::{BTreeSet, HashMap};

use arrow::array::{BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use deltalake_core::kernel::Action;
use futures::TryStreamExt;
use rating::catalog::Catalog;
use serde_json::json;
use sql::lake::{DataFile, FileRead, Lake, Table, TableHandle};

use super::verdict::{Tally, Verdict, judge};
use super::{ReplayError, ReplayReport, ReplayRequest, guard};
use crate::batch::PartitionName;
use crate::columns::{RejectedColumns, UsageColumns, headers_from_json};
use crate::commit::{Commit, MAINTENANCE, Position, TableLog};
use crate::day_file::FileKind;
use crate::day_files::{DayFiles, RewriteError, StoredFile, removal};
use crate::decode::{Decoded, Decoder, KeptBytes};
use crate::raw_message::Coordinates;
use crate::rejected::RejectReason;
use crate::rejects::{PAYLOAD_ROWS, taken_in};
use crate::stored_rows::StoredRows;
use crate::timestamp::day_of;

/// Rows are written when the payloads that they came from were this large.
const PAYLOAD_BYTES_MAX: usize = 8 * 1024 * 1024;

type StoredHeaders = Vec<(String, Option<Vec<u8>>)>;

/// A replay that can be stopped after each of its steps.
#[derive(Debug)]
pub struct Replay {
    lake: Lake,
    decoder: Decoder,
    meters: Vec<String>,
    usage: TableLog,
    rejected: TableLog,
    maintenance: Option<i64>,
    /// How far ingest has committed each partition; none for one that it never committed.
    committed: HashMap<PartitionName, Option<i64>>,
    request: ReplayRequest,
    report: ReplayReport,
    /// When the next row arrives. Each does at an instant of its own: a message whose rejects are stored twice (as a
    /// file leaves them that was read twice) would otherwise become rows that look like one event's.
    next_arrival_us: i64,
}

/// The rejects of a file, sorted by what becomes of them.
struct Sorting {
    staying: DayFiles,
    moving: DayFiles,
    /// Whether any row does not stay as it is.
    changes: bool,
}

impl Replay {
    pub async fn open(lake: &Lake, catalog: &Catalog, request: ReplayRequest) -> Result<Self, ReplayError> {
        let usage = TableLog::open(lake.table(Table::UsageEvents)).await?;
        let mut rejected = TableLog::open(lake.table(Table::RejectedMessages)).await?;
        let maintenance = rejected.positions(&[MAINTENANCE.to_owned()]).await?[MAINTENANCE];
        Ok(Self {
            lake: lake.clone(),
            decoder: Decoder::new(catalog, request.limits),
            meters: catalog.meters.iter().map(|meter| meter.key.clone()).collect(),
            usage,
            rejected,
            maintenance,
            committed: HashMap::new(),
            next_arrival_us: request.now_us,
            request,
            report: ReplayReport::default(),
        })
    }

    pub fn report(&self) -> &ReplayReport {
        &self.report
    }

    /// Waits for what is still being written; call it before the runtime ends.
    pub async fn settle(&mut self) {
        self.usage.settle().await;
        self.rejected.settle().await;
    }

    /// Removes the files that an earlier run had taken in. Returns those that are left to replay.
    pub async fn finish_earlier(&mut self) -> Result<Vec<DataFile>, ReplayError> {
        let files = self.rejected.handle().snapshot(None).await?.files;
        let taken_in = taken_in(&self.lake, &files).await?;
        let (done, left): (Vec<_>, Vec<_>) =
            files.into_iter().partition(|file| taken_in.contains(&file.path));
        for file in done {
            self.report.finished_files += 1;
            if !self.request.dry_run {
                self.remove(&file).await?;
            }
        }
        Ok(left.into_iter().filter(|file| self.request.filter.may_match(file)).collect())
    }

    /// Puts the rejects of a file that decode now into files of their own, which are returned.
    pub async fn set_aside(&mut self, file: &DataFile) -> Result<Vec<DataFile>, ReplayError> {
        let read = FileRead { batch_rows: Some(PAYLOAD_ROWS), ..file_columns(&REJECTED_COLUMNS) };
        let mut batches = self.rejected.handle().read_file(file, read).await?;
        let mut sorting = Sorting {
            staying: DayFiles::new(self.rejected.handle(), FileKind::Arrived),
            moving: DayFiles::new(self.rejected.handle(), FileKind::Replaying),
            changes: false,
        };
        while let Some(batch) = batches.try_next().await? {
            self.learn_committed(StoredRows(&batch)).await?;
            self.sort(&batch, file.day, &mut sorting).await?;
        }
        if !sorting.changes || self.request.dry_run {
            return Ok(Vec::new());
        }
        let (staying, moving) = (sorting.staying.finish().await?, sorting.moving.finish().await?);
        let adds = staying.iter().chain(&moving).map(add);
        let actions = std::iter::once(removal(Table::RejectedMessages, file)).chain(adds).collect();
        self.commit_rejected(actions).await?;
        Ok(moving.iter().map(StoredFile::data_file).collect())
    }

    async fn sort(
        &mut self,
        batch: &RecordBatch,
        day: i32,
        sorting: &mut Sorting,
    ) -> Result<(), ReplayError> {
        let rows = StoredRows(batch);
        let headers: Vec<StoredHeaders> = (0..rows.len()).map(|row| headers_of(rows, row)).collect();
        let (mut stays, mut moves) = (vec![false; rows.len()], vec![false; rows.len()]);
        let (mut staying, mut moving) = (RejectedColumns::default(), RejectedColumns::default());
        for row in 0..rows.len() {
            if !self.is_selected(rows, row) {
                stays[row] = true;
                continue;
            }
            let message = rows.message(row, &headers[row]);
            let mut tally = Tally::default();
            let verdict = judge(&self.decoder, rows, row, &message, self.request.now_us, &mut tally);
            self.count(rows, row, &verdict, tally);
            match verdict {
                Verdict::Stays => stays[row] = true,
                Verdict::Moves => moves[row] = true,
                Verdict::Becomes(pieces) => {
                    sorting.changes = true;
                    let arrival_us = rows.time_us("arrival", row);
                    for piece in pieces {
                        let columns = if piece.accepted { &mut moving } else { &mut staying };
                        columns.push(&piece.rejected, &message, arrival_us);
                    }
                }
            }
        }
        sorting.changes |= moves.contains(&true);
        if self.request.dry_run {
            return Ok(());
        }
        let pick = |mask: Vec<bool>| filter_record_batch(batch, &BooleanArray::from(mask));
        sorting.staying.write(day, &pick(stays).map_err(RewriteError::from)?).await?;
        sorting.staying.write(day, &staying.finish()).await?;
        sorting.moving.write(day, &pick(moves).map_err(RewriteError::from)?).await?;
        sorting.moving.write(day, &moving.finish()).await?;
        Ok(())
    }

    /// Whether a reject is to be tried again.
    fn is_selected(&mut self, rows: StoredRows<'_>, row: usize) -> bool {
        let (reason, at) = (rows.text("reason", row), rows.coordinates(row));
        if !self.request.filter.matches(reason, at.topic, rows.time_us("arrival", row)) {
            return false;
        }
        self.report.selected += 1;
        if reason == RejectReason::Conflict.name() {
            self.report.conflicts += 1;
            return false;
        }
        let name = partition_name(at);
        let is_committed = name.application().is_none()
            || self.committed.get(&name).copied().flatten().is_some_and(|next| at.offset < next);
        if !is_committed && !self.request.include_uncommitted {
            self.report.uncommitted += 1;
            return false;
        }
        true
    }

    /// Finds out how far ingest has committed the partitions of a batch's rows. Rejects beyond that were
    /// stored by an attempt whose usage was not, so ingest reads their messages again: taking them in as
    /// well would store them twice.
    async fn learn_committed(&mut self, rows: StoredRows<'_>) -> Result<(), ReplayError> {
        let names: BTreeSet<PartitionName> =
            (0..rows.len()).map(|row| partition_name(rows.coordinates(row))).collect();
        let new = names.into_iter().filter(|name| !self.committed.contains_key(name));
        let new: Vec<(PartitionName, String)> =
            new.filter_map(|name| Some((name.clone(), name.application()?))).collect();
        if new.is_empty() {
            return Ok(());
        }
        let applications: Vec<String> = new.iter().map(|(_, application)| application.clone()).collect();
        let found = self.usage.positions(&applications).await?;
        self.committed.extend(new.into_iter().map(|(name, application)| (name, found[&application])));
        Ok(())
    }

    fn count(&mut self, rows: StoredRows<'_>, row: usize, verdict: &Verdict<'_>, tally: Tally) {
        self.report.events += tally.events;
        self.report.rows += tally.rows;
        self.report.unmetered += tally.unmetered;
        let mut still = |reason: &'static str| *self.report.still_rejected.entry(reason).or_default() += 1;
        match verdict {
            Verdict::Moves => {}
            Verdict::Stays => {
                if let Some(reason) = RejectReason::from_name(rows.text("reason", row)) {
                    still(reason.name());
                }
            }
            Verdict::Becomes(pieces) => {
                let rejected = pieces.iter().filter(|piece| !piece.accepted);
                rejected.for_each(|piece| still(piece.rejected.why.reason.name()));
            }
        }
    }

    /// Commits the usage rows of a file that was set aside, under a guard that can be set only once.
    pub async fn take_in(&mut self, file: &DataFile) -> Result<(), ReplayError> {
        let application = guard(&file.path);
        // Nobody else names this file; asking makes the log know that the guard is not set.
        self.usage.positions(std::slice::from_ref(&application)).await?;
        let (stored, rows) = self.usage_files(file).await?;
        let commit = Commit {
            operation: "WRITE",
            parameters: HashMap::from([("mode".to_owned(), json!("Append"))]),
            positions: vec![Position { application, expected: None, next: 1 }],
            actions: stored.iter().map(add).collect(),
            notes: HashMap::from([(
                "meterhouseReplay".to_owned(),
                json!({ "file": file.path, "rows": rows }),
            )]),
        };
        self.usage.commit(&commit).await?;
        Ok(())
    }

    async fn usage_files(&mut self, file: &DataFile) -> Result<(Vec<StoredFile>, u64), ReplayError> {
        let mut files = UsageFiles::new(self.usage.handle());
        let read = FileRead { batch_rows: Some(PAYLOAD_ROWS), ..file_columns(&REJECTED_COLUMNS) };
        let mut batches = self.rejected.handle().read_file(file, read).await?;
        let mut days = OpenDays::default();
        let mut payload_bytes = 0;
        while let Some(batch) = batches.try_next().await? {
            payload_bytes += self.decode_usage(StoredRows(&batch), &mut days)?;
            if payload_bytes >= PAYLOAD_BYTES_MAX {
                files.write(&mut days).await?;
                payload_bytes = 0;
            }
        }
        files.write(&mut days).await?;
        files.finish().await
    }

    /// Returns how many bytes of payload were decoded.
    fn decode_usage(&mut self, rows: StoredRows<'_>, days: &mut OpenDays) -> Result<usize, ReplayError> {
        let mut payload_bytes = 0;
        for row in 0..rows.len() {
            let headers = headers_of(rows, row);
            let message = rows.message(row, &headers);
            let reason = RejectReason::from_name(rows.text("reason", row));
            let kept = reason
                .map_or(KeptBytes::Message, |reason| KeptBytes::of(&message, rows.batch_index(row), reason));
            let mut refused = None;
            let arrival_us = self.next_arrival_us;
            self.next_arrival_us += 1;
            self.decoder.decode_again(&message, kept, self.request.now_us, &mut |_, decoded| match decoded {
                Decoded::Event(event) => {
                    let day = (event.is_correction(), day_of(event.time_us));
                    let columns = days.entry(day).or_default();
                    columns.push(&event, &self.meters, message.at, arrival_us);
                }
                Decoded::Rejected(rejected) => refused = Some(rejected.why.detail),
                Decoded::Tombstone => refused = Some("it has no payload".to_owned()),
            });
            if let Some(detail) = refused {
                let Coordinates { topic, partition, offset } = message.at;
                let place = format!("{topic} partition {partition} offset {offset}");
                return Err(ReplayError::Undecided { place, detail });
            }
            payload_bytes += message.payload.map_or(0, <[u8]>::len);
        }
        Ok(payload_bytes)
    }

    /// Takes a file whose rows the usage table has out of the reject table.
    pub async fn remove(&mut self, file: &DataFile) -> Result<(), ReplayError> {
        self.commit_rejected(vec![removal(Table::RejectedMessages, file)]).await
    }

    async fn commit_rejected(&mut self, actions: Vec<Action>) -> Result<(), ReplayError> {
        let next = self.maintenance.unwrap_or(0) + 1;
        let application = MAINTENANCE.to_owned();
        let commit = Commit {
            operation: "DELETE",
            positions: vec![Position { application, expected: self.maintenance, next }],
            actions,
            ..Commit::default()
        };
        self.rejected.commit(&commit).await?;
        self.maintenance = Some(next);
        Ok(())
    }
}

const REJECTED_COLUMNS: [&str; 15] = [
    "reason",
    "detail",
    "topic",
    "partition",
    "offset",
    "batch_index",
    "stamped",
    "arrival",
    "key",
    "headers",
    "payload",
    "source",
    "id",
    "tenant",
    "event_type",
];

fn file_columns<'r>(columns: &'r [&'r str]) -> FileRead<'r> {
    FileRead { columns: Some(columns), ..FileRead::default() }
}

fn add(file: &StoredFile) -> Action {
    Action::Add(file.add.clone())
}

fn headers_of(rows: StoredRows<'_>, row: usize) -> StoredHeaders {
    rows.optional_text("headers", row).and_then(headers_from_json).unwrap_or_default()
}

fn partition_name(at: Coordinates<'_>) -> PartitionName {
    PartitionName { topic: at.topic.into(), partition: at.partition }
}

/// Rows by whether they correct others, and by day.
type OpenDays = HashMap<(bool, i32), UsageColumns>;

/// Files of usage, and those of voids and amendments.
struct UsageFiles {
    usage: DayFiles,
    corrections: DayFiles,
}

impl UsageFiles {
    fn new(table: &TableHandle) -> Self {
        Self {
            usage: DayFiles::new(table, FileKind::Arrived),
            corrections: DayFiles::new(table, FileKind::Corrections),
        }
    }

    async fn write(&mut self, days: &mut OpenDays) -> Result<(), RewriteError> {
        for ((is_correction, day), mut columns) in days.drain() {
            let files = if is_correction { &mut self.corrections } else { &mut self.usage };
            files.write(day, &columns.finish()).await?;
        }
        Ok(())
    }

    /// What a commit must name, and how many rows that is.
    async fn finish(self) -> Result<(Vec<StoredFile>, u64), ReplayError> {
        let rows = self.usage.rows() + self.corrections.rows();
        let mut files = self.usage.finish().await?;
        files.extend(self.corrections.finish().await?);
        Ok((files, rows))
    }
}
