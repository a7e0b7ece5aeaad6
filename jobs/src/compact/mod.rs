//! Compaction: each day of `usage_events` becomes few large files, sorted for rating, with each event once.
//!
//! Keeps DESIGN.md 3.2. For every day that has newly arrived files: the identities of all its rows say
//! which rows are repeats (`identity`), the identity filters of the days around it say which events were
//! already counted on another day (`filter`), what differs from the event that counts goes to the rejects
//! (`conflict`), and the rest is sorted and written (`sort`). The day's old files are replaced in one
//! commit, which readers see whole or not at all. Ingest goes on meanwhile: files that arrive after the
//! job looked are left for the next run. Of two jobs at once, the commit of the slower one is refused.

mod command;
mod conflict;
mod filter;
mod identity;
mod rows;
mod sort;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::time::Instant;

use deltalake_core::kernel::{Action, Remove};
use ingest::commit::{Commit, CommitError, Position, TableLog};
use ingest::day_file::{FileKind, FinishedFile};
use serde_json::json;
use sql::lake::{DataFile, Lake, Table, TableSnapshot};

pub use command::{CompactArgs, run};
use filter::{Found, IdentityFilters};
use identity::{DayIdentities, LostEvent, RowId};
pub use ingest::commit::MAINTENANCE;
pub use rows::fetch;
use sort::DecodedDays;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CompactSettings {
    /// An event that comes again with another time is recognised this many days apart; none: always.
    pub identity_window_days: Option<u32>,
    /// Files are ended when they reach about this size.
    pub file_size_bytes: usize,
    /// How many days are sorted at once.
    pub threads: usize,
    pub dry_run: bool,
}

impl Default for CompactSettings {
    fn default() -> Self {
        Self {
            identity_window_days: Some(35),
            file_size_bytes: 256 * 1024 * 1024,
            threads: 2,
            dry_run: false,
        }
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
    #[error(
        "the days {days:?} hold {before} rows, but {after} sorted, {duplicates} repeated and {conflicts} conflicting rows came out; nothing was changed"
    )]
    RowCount { days: Vec<i32>, before: u64, after: u64, duplicates: u64, conflicts: u64 },
}

/// Compacts every day that has newly arrived files. `progress` is told of each finished day.
pub async fn compact(
    lake: &Lake,
    settings: CompactSettings,
    mut progress: impl FnMut(&CompactReport),
) -> Result<CompactReport, CompactError> {
    let mut compactor = Compactor::open(lake, settings).await?;
    let mut report = CompactReport::default();
    while let Some(days) = compactor.next_days() {
        match compactor.compact_days(&days).await? {
            DaysOutcome::Done(done) => {
                report.add(done);
                progress(&report);
            }
            // A row of another day turned out to have come later: both days change in one commit.
            DaysOutcome::Needs(other) => compactor.join(&days, other),
        }
    }
    compactor.usage.settle().await;
    compactor.rejected.settle().await;
    Ok(report)
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
    Needs(i32),
}

struct Compactor {
    settings: CompactSettings,
    usage: TableLog,
    rejected: TableLog,
    /// Moved by each commit of this run.
    epochs: Epochs,
    /// The files of each day, kept up to date as this run replaces them.
    files: BTreeMap<i32, Vec<DataFile>>,
    /// Days that wait; several in one group are committed together.
    waiting: Vec<Vec<i32>>,
    filters: IdentityFilters,
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
        let mut usage = TableLog::open(lake.table(Table::UsageEvents)).await?;
        let mut rejected = TableLog::open(lake.table(Table::RejectedMessages)).await?;
        let owner = [MAINTENANCE.to_owned()];
        let epochs = Epochs {
            usage: usage.positions(&owner).await?[MAINTENANCE],
            rejected: rejected.positions(&owner).await?[MAINTENANCE],
        };
        // The positions were read first: a file list that is newer than them cannot hide another owner.
        let snapshot: TableSnapshot = usage.handle().snapshot(None).await?;
        let mut files: BTreeMap<i32, Vec<DataFile>> = BTreeMap::new();
        for file in snapshot.files {
            files.entry(file.day).or_default().push(file);
        }
        let is_due =
            |files: &&Vec<DataFile>| files.iter().any(|file| FileKind::of(&file.path) == FileKind::Arrived);
        let due = files.iter().filter(|(_, files)| is_due(files)).map(|(day, _)| vec![*day]);
        let waiting: Vec<Vec<i32>> = due.rev().collect();
        let filters = IdentityFilters::default();
        Ok(Self { settings, waiting, files, filters, usage, rejected, epochs })
    }

    fn next_days(&mut self) -> Option<Vec<i32>> {
        self.waiting.pop()
    }

    /// Puts days back, together with another one.
    fn join(&mut self, days: &[i32], other: i32) {
        let mut group: BTreeSet<i32> = days.iter().copied().collect();
        group.insert(other);
        self.waiting.retain(|waiting| {
            let overlaps = waiting.iter().any(|day| group.contains(day));
            if overlaps {
                group.extend(waiting);
            }
            !overlaps
        });
        self.waiting.push(group.into_iter().collect());
    }

    fn files_of(&self, days: &[i32]) -> Vec<DataFile> {
        days.iter().flat_map(|day| self.files.get(day).into_iter().flatten().cloned()).collect()
    }

    async fn compact_days(&mut self, days: &[i32]) -> Result<DaysOutcome, CompactError> {
        let started = Instant::now();
        let inputs = self.files_of(days);
        let sources = rows::fetch(self.usage.handle(), &inputs).await?;
        let threads = self.settings.threads;
        let (identities, decoded) = tokio::task::block_in_place(|| {
            std::thread::scope(|scope| {
                let identities = scope.spawn(|| DayIdentities::read(&sources));
                let decoded = DecodedDays::decode(&sources, threads);
                (identities.join().expect("reading identities does not panic"), decoded)
            })
        });
        let (identities, decoded) = (identities?, decoded?);
        drop(sources);
        let mut lost = identities.repeats();
        let others = self.other_days(days);
        match self.filters.find(&identities, &lost_rows(&lost), &others, self.usage.handle()).await? {
            Found::Lost(events) => lost.extend(events),
            Found::CameLater(day) => return Ok(DaysOutcome::Needs(day)),
        }
        let verdicts = conflict::judge(&decoded.batches, &lost, &others, self.usage.handle()).await?;
        let lost = lost_rows(&lost);
        let (files, new_filters) = tokio::task::block_in_place(|| {
            std::thread::scope(|scope| {
                let filters = scope.spawn(|| {
                    let filter = |day: &i32| (*day, filter::build(&identities.prefixes_of_day(*day, &lost)));
                    days.iter().map(filter).collect::<Vec<_>>()
                });
                let files = sort::sort_days(&decoded, &lost, &self.settings);
                (files, filters.join().expect("building a filter does not panic"))
            })
        });
        let files = files?;
        let report = CompactReport {
            days: days.len(),
            files_before: inputs.len(),
            files_after: files.len(),
            rows_before: inputs.iter().map(|file| file.rows).sum(),
            rows_after: files.iter().map(|(_, file)| file.rows as u64).sum(),
            duplicate_rows: lost.len() as u64 - verdicts.conflict_rows,
            conflict_rows: verdicts.conflict_rows,
        };
        report.check(days)?;
        if !self.settings.dry_run {
            let replacement = Replacement { days, inputs: &inputs, files, filters: new_filters, verdicts };
            self.commit(replacement, &report).await?;
        }
        tracing::info!(
            days = days.len(),
            rows = report.rows_after,
            duplicates = report.duplicate_rows,
            conflicts = report.conflict_rows,
            files_before = report.files_before,
            files_after = report.files_after,
            elapsed_ms = started.elapsed().as_millis() as u64,
            "compacted"
        );
        Ok(DaysOutcome::Done(report))
    }

    /// The compacted files of those days that may hold the same events under another time.
    fn other_days(&self, days: &[i32]) -> BTreeMap<i32, Vec<DataFile>> {
        let (first, last) = (days[0], days[days.len() - 1]);
        let window = self.settings.identity_window_days.map_or(i32::MAX, |days| days as i32);
        let near = self.files.range(first.saturating_sub(window)..=last.saturating_add(window));
        let sorted = |files: &Vec<DataFile>| {
            let sorted = files.iter().filter(|file| FileKind::of(&file.path) == FileKind::Sorted);
            sorted.cloned().collect::<Vec<_>>()
        };
        let other = near.filter(|(day, _)| !days.contains(day)).map(|(day, files)| (*day, sorted(files)));
        other.filter(|(_, files)| !files.is_empty()).collect()
    }

    async fn commit(&mut self, new: Replacement<'_>, report: &CompactReport) -> Result<(), CompactError> {
        if let Some(file) = new.verdicts.new_rejects(self.rejected.handle()).await? {
            let actions = vec![Action::Add(file.add.clone())];
            let commit = maintenance_commit("WRITE", self.epochs.rejected, actions, report);
            self.rejected.upload(&[file]).await?;
            self.rejected.commit(&commit).await?;
            self.epochs.rejected = Some(commit.positions[0].next);
        }
        let (days_of_files, files): (Vec<i32>, Vec<FinishedFile>) = new.files.into_iter().unzip();
        self.usage.upload(&files).await?;
        let now_ms = jiff::Timestamp::now().as_millisecond();
        let removes = new.inputs.iter().map(|file| Action::Remove(remove(file, now_ms)));
        let adds = files.iter().map(|file| Action::Add(file.add.clone()));
        let actions = removes.chain(adds).collect();
        let commit = maintenance_commit("OPTIMIZE", self.epochs.usage, actions, report);
        self.usage.commit(&commit).await?;
        self.epochs.usage = Some(commit.positions[0].next);
        for day in new.days {
            self.files.insert(*day, Vec::new());
        }
        for (day, file) in days_of_files.into_iter().zip(files) {
            self.files.entry(day).or_default().push(DataFile {
                path: file.add.path,
                size_bytes: file.add.size as u64,
                rows: file.rows as u64,
                day,
                modified_at_ms: file.add.modification_time,
                statistics: file.add.stats,
            });
        }
        for (day, filter) in new.filters {
            let paths = self.files[&day].iter().map(|file| file.path.as_str());
            self.filters.add(day, paths, filter, self.usage.handle()).await?;
        }
        Ok(())
    }
}

/// What takes the place of some days' files.
struct Replacement<'r> {
    days: &'r [i32],
    inputs: &'r [DataFile],
    files: Vec<(i32, FinishedFile)>,
    filters: Vec<(i32, Option<xorf::BinaryFuse32>)>,
    verdicts: conflict::Verdicts,
}

fn lost_rows(lost: &[LostEvent]) -> HashSet<RowId> {
    lost.iter().flat_map(|event| event.rows.iter().copied()).collect()
}

impl CompactReport {
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

fn maintenance_commit(
    operation: &'static str,
    epoch: Option<i64>,
    actions: Vec<Action>,
    report: &CompactReport,
) -> Commit {
    let next = epoch.unwrap_or(0) + 1;
    Commit {
        operation,
        parameters: HashMap::new(),
        positions: vec![Position { application: MAINTENANCE.to_owned(), expected: epoch, next }],
        actions,
        notes: HashMap::from([(
            "meterhouseCompaction".to_owned(),
            json!({ "duplicateRows": report.duplicate_rows, "conflictRows": report.conflict_rows }),
        )]),
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
