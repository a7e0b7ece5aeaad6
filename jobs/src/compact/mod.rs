//! Compaction: each day of `usage_events` becomes few large files, sorted for rating, with each event once.
//!
//! Keeps DESIGN.md 3.2. For every day that has newly arrived files: the identity filters of the days around
//! it say which of its events were already counted on another day (`filter`), the identities of all its
//! rows say which events count (`identity`), what differs from the event that counts goes to the rejects
//! (`conflict`), and the rest is sorted and written (`sort`). The day's old files are replaced in one
//! commit, which readers see whole or not at all. Ingest goes on meanwhile: files that arrive after the
//! job looked are left for the next run. Of two jobs at once, the commit of the slower one is refused.
//!
//! A day that fits into memory is read once (`in_memory`), a larger one in several rounds (`in_rounds`).
//!
//! Where windows overlap (an event comes again after 30 days, and again after 60) what counts depends on
//! what is still there: an event is measured by those that count at the time of its compaction.

mod command;
mod conflict;
mod filter;
mod identity;
mod in_memory;
mod in_rounds;
mod rows;
mod size;
mod sort;
mod whole;
mod write;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Instant;

use deltalake_core::kernel::{Action, Remove};
use ingest::commit::{Commit, CommitError, TableLog};
use ingest::day_file::{FileKind, FinishedFile};
use serde_json::json;
use sql::lake::{DataFile, Lake, Table, TableSnapshot};

pub use command::{CompactArgs, compact_as_run, run, settings_of};
use conflict::{ConflictRejects, Verdicts};
pub use filter::filter_paths;
use filter::{DayFilter, IdentityFilters};
use identity::IdentityWindow;
use in_memory::Ahead;
pub use ingest::commit::MAINTENANCE;
pub use rows::fetch;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CompactSettings {
    /// An event that comes again with another time is recognised this many days apart; none: always.
    pub identity_window_days: Option<u32>,
    /// Files are ended when they reach about this size.
    pub file_size_bytes: usize,
    /// How many threads decode, sort and encode.
    pub threads: usize,
    /// Days whose rows take more memory than this are compacted in several rounds. At the peak about
    /// one and a half times as much is in use.
    pub memory_bytes: usize,
    pub dry_run: bool,
}

impl Default for CompactSettings {
    fn default() -> Self {
        Self {
            identity_window_days: Some(35),
            file_size_bytes: 256 * 1024 * 1024,
            threads: 2,
            memory_bytes: 1024 * 1024 * 1024,
            dry_run: false,
        }
    }
}

impl CompactSettings {
    /// How much the rows of a group may take. A column's texts are addressed with 31 bits, so more memory
    /// than that is of no use.
    fn budget(&self) -> u64 {
        (self.memory_bytes as u64).clamp(1, i32::MAX as u64)
    }
}

/// What a run did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CompactReport {
    pub days: usize,
    pub files_before: usize,
    pub files_after: usize,
    pub rows_before: u64,
    pub rows_after: u64,
    /// Rows of events that had been counted already.
    pub duplicate_rows: u64,
    /// Rows of events that share their identity with another but differ from it.
    pub conflict_rows: u64,
}

#[derive(Debug, thiserror::Error)]
pub enum CompactError {
    #[error(transparent)]
    Commit(#[from] CommitError),
    #[error(transparent)]
    Lake(#[from] sql::lake::LakeError),
    #[error("cannot read or write Parquet")]
    Parquet(#[from] parquet::errors::ParquetError),
    #[error("cannot rearrange rows")]
    Arrow(#[from] arrow::error::ArrowError),
    #[error("cannot read {path}")]
    Store {
        path: String,
        #[source]
        source: object_store::Error,
    },
    #[error("{path} does not have the columns of usage_events")]
    Columns { path: String },
    #[error("a row of {} at {time_us} µs cannot be sorted: its time is of another day", ingest::day_file::day_text(*day))]
    CannotSort { day: i32, time_us: i64 },
    #[error(
        "the days {days:?} hold {before} rows, but {after} sorted, {duplicates} repeated and {conflicts} conflicting rows came out; nothing was changed"
    )]
    RowCount { days: Vec<i32>, before: u64, after: u64, duplicates: u64, conflicts: u64 },
}

/// Compacts every day that has newly arrived files. `progress` is told of each finished day. A day whose rows cannot be
/// compacted does not hold up those after it; it is the error in the end.
pub async fn compact(
    lake: &Lake,
    settings: CompactSettings,
    mut progress: impl FnMut(&CompactReport),
) -> Result<CompactReport, CompactError> {
    let mut compactor = Compactor::open(lake, settings).await?;
    let mut report = CompactReport::default();
    let mut failed = None;
    while let Some(days) = compactor.next_days() {
        match compactor.compact_days(&days).await {
            Ok(DaysOutcome::Done(done)) => {
                report.add(done);
                progress(&report);
            }
            // Events of other days turned out to have come later: all these days change in one commit.
            Ok(DaysOutcome::Needs(others)) => compactor.join(&days, &others),
            Err(error) if error.is_about_rows() => {
                tracing::error!(?days, error = &error as &dyn std::error::Error, "not compacted");
                failed.get_or_insert(error);
            }
            Err(error) => return Err(error),
        }
    }
    compactor.usage.settle().await;
    if let Some(rejected) = &mut compactor.rejected {
        rejected.settle().await;
    }
    failed.map_or(Ok(report), Err)
}

impl CompactError {
    /// Whether it says something about some rows, and nothing about the lake or its owner.
    fn is_about_rows(&self) -> bool {
        match self {
            // A file that somebody deleted is missing today and tomorrow; other days have theirs.
            Self::Store { source, .. } => matches!(source, object_store::Error::NotFound { .. }),
            Self::Commit(_) | Self::Lake(_) => false,
            Self::Parquet(_)
            | Self::Arrow(_)
            | Self::Columns { .. }
            | Self::CannotSort { .. }
            | Self::RowCount { .. } => true,
        }
    }
}

impl CompactReport {
    fn add(&mut self, other: Self) {
        self.days += other.days;
        self.files_before += other.files_before;
        self.files_after += other.files_after;
        self.rows_before += other.rows_before;
        self.rows_after += other.rows_after;
        self.duplicate_rows += other.duplicate_rows;
        self.conflict_rows += other.conflict_rows;
    }
}

enum DaysOutcome {
    Done(CompactReport),
    Needs(BTreeSet<i32>),
}

/// Days that are compacted together, with their files and those that may hold the same events.
struct Group<'g> {
    days: &'g [i32],
    inputs: Vec<DataFile>,
    /// The compacted files of other days within the identity window.
    others: BTreeMap<i32, Vec<DataFile>>,
}

impl Group<'_> {
    /// The files of one of the days, with their places in the group.
    fn of_day(&self, day: i32) -> impl Iterator<Item = (usize, &DataFile)> {
        self.inputs.iter().enumerate().filter(move |(_, file)| file.day == day)
    }
}

/// What came of compacting a group, before anything refers to it.
enum Attempt {
    Done(Box<NewDays>),
    /// These days have to change along with the group.
    Needs(BTreeSet<i32>),
}

/// What takes the place of a group's files.
struct NewDays {
    files: Vec<NewFile>,
    filters: Vec<(i32, DayFilter)>,
    rejects: Option<FinishedFile>,
    lost_rows: u64,
    conflict_rows: u64,
}

/// A file that is stored, and belongs to no version yet.
struct NewFile {
    day: i32,
    file: FinishedFile,
}

struct Compactor {
    settings: CompactSettings,
    usage: TableLog,
    /// None in a dry run, which must not create the table.
    rejected: Option<TableLog>,
    /// Moved by each commit of this run.
    epochs: Epochs,
    /// The files of each day, kept up to date as this run replaces them.
    files: BTreeMap<i32, Vec<DataFile>>,
    /// Days that wait; several in one group are committed together.
    waiting: Vec<Vec<i32>>,
    filters: IdentityFilters,
    ahead: Option<Ahead>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Epochs {
    usage: Option<i64>,
    rejected: Option<i64>,
}

impl Compactor {
    async fn open(lake: &Lake, settings: CompactSettings) -> Result<Self, CompactError> {
        if !lake.table(Table::UsageEvents).exists().await? {
            return Err(sql::lake::LakeError::Missing(Table::UsageEvents.name()).into());
        }
        let owner = [MAINTENANCE.to_owned()];
        let mut usage = TableLog::open(lake.table(Table::UsageEvents)).await?;
        let mut epochs = Epochs { usage: usage.positions(&owner).await?[MAINTENANCE], rejected: None };
        let mut rejected = None;
        if !settings.dry_run {
            let log = rejected.insert(TableLog::open(lake.table(Table::RejectedMessages)).await?);
            epochs.rejected = log.positions(&owner).await?[MAINTENANCE];
        }
        // The positions were read first: a file list that is newer than them cannot hide another owner.
        let snapshot: TableSnapshot = usage.handle().snapshot(None).await?;
        let mut files: BTreeMap<i32, Vec<DataFile>> = BTreeMap::new();
        // Voids and amendments stay as they arrived: whoever counts looks at them first.
        for file in snapshot.files.into_iter().filter(|file| !file.is_correction()) {
            files.entry(file.day).or_default().push(file);
        }
        let is_due =
            |files: &&Vec<DataFile>| files.iter().any(|file| FileKind::of(&file.path) == FileKind::Arrived);
        let due = files.iter().filter(|(_, files)| is_due(files)).map(|(day, _)| vec![*day]);
        let waiting: Vec<Vec<i32>> = due.rev().collect();
        let filters = IdentityFilters::new(usage.handle().clone(), &settings);
        Ok(Self { settings, waiting, files, filters, usage, rejected, epochs, ahead: None })
    }

    fn window(&self) -> IdentityWindow {
        IdentityWindow(self.settings.identity_window_days)
    }

    fn next_days(&mut self) -> Option<Vec<i32>> {
        self.waiting.pop()
    }

    /// Puts days back, together with others.
    fn join(&mut self, days: &[i32], others: &BTreeSet<i32>) {
        let mut group: BTreeSet<i32> = days.iter().chain(others).copied().collect();
        self.waiting.retain(|waiting| {
            let overlaps = waiting.iter().any(|day| group.contains(day));
            if overlaps {
                group.extend(waiting);
            }
            !overlaps
        });
        self.waiting.push(group.into_iter().collect());
    }

    fn group<'g>(&self, days: &'g [i32]) -> Group<'g> {
        let inputs = days.iter().flat_map(|day| self.files.get(day).into_iter().flatten().cloned()).collect();
        let window = self.window();
        let is_near = |day: i32| !days.contains(&day) && days.iter().any(|near| window.joins(*near, day));
        let mut others = BTreeMap::new();
        for (day, files) in self.files.iter().filter(|(day, _)| is_near(**day)) {
            let sorted = files.iter().filter(|file| FileKind::of(&file.path) == FileKind::Sorted);
            let sorted: Vec<DataFile> = sorted.cloned().collect();
            if !sorted.is_empty() {
                others.insert(*day, sorted);
            }
        }
        Group { days, inputs, others }
    }

    async fn compact_days(&mut self, days: &[i32]) -> Result<DaysOutcome, CompactError> {
        let started = Instant::now();
        let group = self.group(days);
        let budget = self.settings.budget();
        let memory_bytes = size::memory_bytes(self.usage.handle(), &group.inputs, budget).await?;
        let attempt = if memory_bytes <= budget {
            self.rewrite_in_memory(&group).await?
        } else {
            self.rewrite_in_rounds(&group, memory_bytes).await?
        };
        let new = match attempt {
            Attempt::Done(new) => *new,
            Attempt::Needs(others) => return Ok(DaysOutcome::Needs(others)),
        };
        let report = CompactReport {
            days: days.len(),
            files_before: group.inputs.len(),
            files_after: new.files.len(),
            rows_before: group.inputs.iter().map(|file| file.rows).sum(),
            rows_after: new.files.iter().map(|new| new.file.rows as u64).sum(),
            duplicate_rows: new.lost_rows - new.conflict_rows,
            conflict_rows: new.conflict_rows,
        };
        report.check(days)?;
        if !self.settings.dry_run {
            self.commit(&group, new, &report).await?;
        }
        tracing::info!(
            days = days.len(),
            rows = report.rows_after,
            duplicates = report.duplicate_rows,
            conflicts = report.conflict_rows,
            files_before = report.files_before,
            files_after = report.files_after,
            in_memory = memory_bytes <= budget,
            elapsed_ms = started.elapsed().as_millis() as u64,
            "compacted"
        );
        Ok(DaysOutcome::Done(report))
    }

    async fn record(&self, rejects: &mut ConflictRejects, verdicts: &Verdicts) -> Result<(), CompactError> {
        match &self.rejected {
            Some(rejected) => rejects.record(verdicts, rejected.handle()).await,
            None => Ok(()),
        }
    }

    /// Stores files at once, so that their bytes need not stay in memory until the commit.
    async fn upload(&self, files: Vec<(i32, FinishedFile)>) -> Result<Vec<NewFile>, CompactError> {
        let (days, mut files): (Vec<i32>, Vec<FinishedFile>) = files.into_iter().unzip();
        if !self.settings.dry_run {
            self.usage.upload(&files).await?;
        }
        for file in &mut files {
            file.pieces = Vec::new();
        }
        Ok(days.into_iter().zip(files).map(|(day, file)| NewFile { day, file }).collect())
    }

    async fn commit(
        &mut self,
        group: &Group<'_>,
        new: NewDays,
        report: &CompactReport,
    ) -> Result<(), CompactError> {
        if let (Some(file), Some(rejected)) = (new.rejects, &mut self.rejected) {
            let actions = vec![Action::Add(file.add.clone())];
            let commit = Commit::maintenance("WRITE", self.epochs.rejected, actions, report.note());
            rejected.upload(&[file]).await?;
            rejected.commit(&commit).await?;
            self.epochs.rejected = Some(commit.positions[0].next);
        }
        let now_ms = jiff::Timestamp::now().as_millisecond();
        let removes = group.inputs.iter().map(|file| Action::Remove(remove(file, now_ms)));
        let adds = new.files.iter().map(|new| Action::Add(new.file.add.clone()));
        let actions = removes.chain(adds).collect();
        let commit = Commit::maintenance("OPTIMIZE", self.epochs.usage, actions, report.note());
        self.usage.commit(&commit).await?;
        self.epochs.usage = Some(commit.positions[0].next);
        for day in group.days {
            self.files.insert(*day, Vec::new());
        }
        for NewFile { day, file } in new.files {
            self.files.entry(day).or_default().push(file.data_file());
        }
        for (day, filter) in new.filters {
            let paths = self.files[&day].iter().map(|file| file.path.as_str());
            self.filters.add(day, paths, filter).await;
        }
        Ok(())
    }
}

impl CompactReport {
    /// What the log says of a compaction.
    fn note(&self) -> (&'static str, serde_json::Value) {
        let Self { duplicate_rows, conflict_rows, .. } = self;
        ("meterhouseCompaction", json!({ "duplicateRows": duplicate_rows, "conflictRows": conflict_rows }))
    }

    /// Nothing may appear or vanish but what was found to be a repeat.
    fn check(&self, days: &[i32]) -> Result<(), CompactError> {
        if self.rows_before == self.rows_after + self.duplicate_rows + self.conflict_rows {
            return Ok(());
        }
        Err(CompactError::RowCount {
            days: days.to_vec(),
            before: self.rows_before,
            after: self.rows_after,
            duplicates: self.duplicate_rows,
            conflicts: self.conflict_rows,
        })
    }
}

fn remove(file: &DataFile, now_ms: i64) -> Remove {
    Remove {
        path: file.path.clone(),
        // What is left of the rows stands in the files that replace this one.
        data_change: false,
        deletion_timestamp: Some(now_ms),
        extended_file_metadata: Some(true),
        partition_values: Some(HashMap::from([(
            Table::UsageEvents.partition_column().to_owned(),
            Some(ingest::day_file::day_text(file.day)),
        )])),
        size: Some(file.size_bytes as i64),
        ..Remove::default()
    }
}
