//! The files and commits of a run.
//!
//! Owns replacing what a tenant and day had before: rows of a later run count and those before it do not, and many small
//! files of a day are put together.
//! `usage_hourly` and `usage_periods` have no such numbers (`plain`).

use std::collections::{BTreeMap, BTreeSet, HashMap};

use ::sql::lake::{DataFile, Lake, Table, TableHandle, TableSnapshot};
use ::sql::rollups::{RUNS, RollUpState, RollUps};
use anyhow::Result;
use arrow::array::{AsArray, BooleanArray, Int64Array, RecordBatch, StringArray};
use arrow::compute::filter_record_batch;
use arrow::datatypes::Int64Type;
use deltalake_core::kernel::{Action, Add};
use futures::TryStreamExt;
use ingest::commit::{Commit, Position, TableLog};
use ingest::day_file::{FinishedFile, day_text};
use ingest::day_files::removal;
use serde_json::json;

use super::due::Due;
use super::plain::{Without, without};
use super::rows::{DayFiles, Files};

/// Files with fewer rows are put together once a day has this many of them.
pub(super) const SMALL_FILE_ROWS: u64 = 16 * 1024;
pub(super) const SMALL_FILES_MAX: usize = 8;

/// One of the tables in the making.
#[derive(Debug)]
struct Part {
    /// None in a dry run, which must not create the table.
    log: Option<TableLog>,
    /// Where the table stood when the run began.
    run: Option<i64>,
    kept: BTreeMap<i32, Vec<DataFile>>,
    /// The files that the table will have, by day.
    files: BTreeMap<i32, Vec<DataFile>>,
    actions: Vec<Action>,
}

#[derive(Debug)]
pub struct Writer {
    hourly: Part,
    daily: Part,
    carried: Part,
    periods: Part,
}

impl Writer {
    pub async fn open(lake: &Lake, dry_run: bool) -> Result<Writer> {
        Ok(Writer {
            hourly: Part::open(lake.table(Table::UsageHourly), dry_run).await?,
            carried: Part::open(lake.table(Table::UsageCarried), dry_run).await?,
            periods: Part::open(lake.table(Table::UsagePeriods), dry_run).await?,
            daily: Part::open(lake.table(Table::UsageDaily), dry_run).await?,
        })
    }

    /// Takes up the files that the run goes on from, and takes back what belongs to no roll-ups.
    pub async fn begin(&mut self, due: &Due) -> Result<()> {
        let kept = due.kept.as_ref();
        let hourly = match (kept, &self.hourly.log) {
            (Some(kept), Some(log)) => Some(log.handle().snapshot(Some(kept.state.hourly_version)).await?),
            _ => None,
        };
        self.hourly.begin(hourly.as_ref()).await?;
        self.daily.begin(kept.map(|kept| &kept.daily_files)).await?;
        self.periods.begin(kept.map(|kept| &kept.periods_files)).await?;
        self.carried.begin(kept.map(|kept| &kept.carried_files)).await
    }

    /// Puts a day's files in the place of the rows of some tenants, or of all.
    pub async fn write_day(
        &mut self,
        day: i32,
        files: DayFiles,
        replaced: Option<&BTreeSet<String>>,
    ) -> Result<()> {
        self.hourly.take_out(day, replaced).await?;
        self.hourly.add(files.hourly).await?;
        self.daily.write(day, files.daily, replaced).await?;
        self.carried.write(day + 1, files.carried, replaced).await
    }

    /// The roll-ups as they will be, so far without periods; nothing in a dry run, which has written nothing.
    pub fn roll_ups(&self, state: RollUpState, usage: &TableSnapshot) -> Option<RollUps> {
        let (daily, daily_files) = self.daily.snapshot(usage)?;
        let (carried, carried_files) = self.carried.snapshot(usage)?;
        let (periods, mut periods_files) = self.periods.snapshot(usage)?;
        periods_files.files.clear();
        Some(RollUps { state, daily, daily_files, carried, carried_files, periods, periods_files })
    }

    /// Takes out the periods of tenants that reach to the first of their days that were folded.
    pub async fn take_out_periods(&mut self, folded: &BTreeMap<String, i32>) -> Result<()> {
        let days: Vec<i32> = self.periods.kept.keys().copied().collect();
        for day in days {
            let replaced =
                folded.iter().filter(|(_, first)| **first <= day).map(|(tenant, _)| tenant.clone());
            let replaced: BTreeSet<String> = replaced.collect();
            if !replaced.is_empty() {
                self.periods.take_out(day, Some(&replaced)).await?;
            }
        }
        Ok(())
    }

    pub async fn add_periods(&mut self, files: Vec<FinishedFile>) -> Result<()> {
        self.periods.add(files).await
    }

    pub async fn commit(&mut self, mut state: RollUpState, kept: Option<&RollUps>) -> Result<()> {
        state.hourly_version =
            self.hourly.commit_before(&state, kept.map(|kept| kept.state.hourly_version)).await?;
        state.carried_version =
            self.carried.commit_before(&state, kept.map(|kept| kept.state.carried_version)).await?;
        state.periods_version =
            self.periods.commit_before(&state, kept.map(|kept| kept.state.periods_version)).await?;
        let Some(daily) = &mut self.daily.log else { return Ok(()) };
        let before: HashMap<String, i64> =
            kept.map(|kept| kept.state.positions().into_iter().collect()).unwrap_or_default();
        let names: Vec<String> = state.positions().into_iter().map(|(name, _)| name).collect();
        let stands = daily.positions(&names).await?;
        let positions = state.positions().into_iter().map(|(application, next)| {
            // A run that starts anew goes on from nothing, but the log still knows the run before.
            let expected = match before.get(&application) {
                Some(before) => Some(*before),
                None if application == RUNS => self.daily.run,
                None => stands.get(&application).copied().flatten(),
            };
            Position { application, expected, next }
        });
        let actions = std::mem::take(&mut self.daily.actions);
        daily.commit(&commit(positions.collect(), actions, &state)).await?;
        for part in [&mut self.daily, &mut self.carried, &mut self.hourly, &mut self.periods] {
            if let Some(log) = &mut part.log {
                log.settle().await;
            }
        }
        Ok(())
    }
}

fn commit(positions: Vec<Position>, actions: Vec<Action>, state: &RollUpState) -> Commit {
    Commit {
        operation: "WRITE",
        parameters: HashMap::new(),
        positions,
        actions,
        notes: HashMap::from([(
            "meterhouseRollup".to_owned(),
            json!({ "run": state.run, "usageVersion": state.usage_version }),
        )]),
    }
}

impl Part {
    async fn open(table: TableHandle, dry_run: bool) -> Result<Part> {
        let mut part =
            Part { log: None, run: None, kept: BTreeMap::new(), files: BTreeMap::new(), actions: Vec::new() };
        if !dry_run {
            let mut log = TableLog::open(table).await?;
            part.run = log.positions(&[RUNS.to_owned()]).await?[RUNS];
            part.log = Some(log);
        }
        Ok(part)
    }

    async fn begin(&mut self, kept: Option<&TableSnapshot>) -> Result<()> {
        let Some(log) = &self.log else { return Ok(()) };
        let table = log.handle().table();
        let newest = log.handle().snapshot(None).await?.files;
        let kept = kept.map(|kept| kept.files.as_slice()).unwrap_or_default();
        let is_among = |files: &[DataFile], file: &DataFile| files.iter().any(|own| own.path == file.path);
        for file in newest.iter().filter(|file| !is_among(kept, file)) {
            self.actions.push(removal(table, file));
        }
        for file in kept {
            if !is_among(&newest, file) {
                self.actions.push(Action::Add(addition(table, file)));
            }
            self.kept.entry(file.day).or_default().push(file.clone());
        }
        self.files = self.kept.clone();
        Ok(())
    }

    /// The table as it will be, with the version and identity of another that nobody asks for.
    fn snapshot(&self, like: &TableSnapshot) -> Option<(TableHandle, TableSnapshot)> {
        let handle = self.log.as_ref()?.handle().clone();
        let files = self.files.values().flatten().cloned().collect();
        let snapshot = TableSnapshot { table: handle.table(), files, ..like.clone() };
        Some((handle, snapshot))
    }

    async fn add(&mut self, files: Vec<FinishedFile>) -> Result<()> {
        let Some(log) = &self.log else { return Ok(()) };
        log.upload(&files).await?;
        for file in &files {
            self.files.entry(file.day).or_default().push(file.data_file());
        }
        self.actions.extend(files.into_iter().map(|file| Action::Add(file.add)));
        Ok(())
    }

    /// Takes out a file that the run began with.
    fn remove(&mut self, file: &DataFile) {
        self.files.entry(file.day).or_default().retain(|known| known.path != file.path);
        let is_added_back = |action: &Action| matches!(action, Action::Add(add) if add.path == file.path);
        match self.actions.iter().position(is_added_back) {
            Some(at) => drop(self.actions.remove(at)),
            None => {
                let table = self.log.as_ref().expect("only files of the log are removed").handle().table();
                self.actions.push(removal(table, file));
            }
        }
    }

    async fn take_out(&mut self, day: i32, replaced: Option<&BTreeSet<String>>) -> Result<()> {
        let Some(log) = &self.log else { return Ok(()) };
        let files = self.kept.remove(&day).unwrap_or_default();
        let without = match replaced {
            None => Without { removed: files, rewritten: Vec::new() },
            Some(replaced) => without(log.handle(), day, &files, replaced).await?,
        };
        for file in &without.removed {
            self.remove(file);
        }
        self.add(without.rewritten).await
    }

    async fn write(
        &mut self,
        day: i32,
        mut files: Vec<FinishedFile>,
        replaced: Option<&BTreeSet<String>>,
    ) -> Result<()> {
        let Some(log) = &self.log else { return Ok(()) };
        let mut before = self.kept.remove(&day).unwrap_or_default();
        if let Some(replaced) = replaced {
            before.retain(|file| file.rows < SMALL_FILE_ROWS);
            if before.len() < SMALL_FILES_MAX {
                before.clear();
            }
            files.extend(newest_of_others(log.handle(), day, &before, replaced).await?);
        }
        for file in &before {
            self.remove(file);
        }
        self.add(files).await
    }

    /// Commits before the table that says what belongs together; answers with the version.
    async fn commit_before(&mut self, state: &RollUpState, kept_version: Option<u64>) -> Result<u64> {
        let Some(log) = &mut self.log else { return Ok(0) };
        if self.actions.is_empty() {
            return Ok(kept_version.unwrap_or_else(|| log.version()));
        }
        let next = self.run.unwrap_or(0) + 1;
        let position = Position { application: RUNS.to_owned(), expected: self.run, next };
        let actions = std::mem::take(&mut self.actions);
        Ok(log.commit(&commit(vec![position], actions, state)).await?.version)
    }
}

/// Puts a file back that a run took out which never ended. It is in no danger from `vacuum`, which keeps what the roll-ups
/// pin, so its age must not matter: as a file of the table it is new.
fn addition(table: Table, file: &DataFile) -> Add {
    let partition = (table.partition_column().to_owned(), Some(day_text(file.day)));
    Add {
        path: file.path.clone(),
        partition_values: HashMap::from([partition]),
        size: file.size_bytes as i64,
        modification_time: jiff::Timestamp::now().as_millisecond(),
        data_change: true,
        stats: file.statistics.clone(),
        ..Add::default()
    }
}

/// The rows of some files that count, but for those of tenants that are replaced. Whatever is not the newest among them
/// does not count either when all files are looked at.
async fn newest_of_others(
    table: &TableHandle,
    day: i32,
    files: &[DataFile],
    replaced: &BTreeSet<String>,
) -> Result<Vec<FinishedFile>> {
    let mut newest: HashMap<String, i64> = HashMap::new();
    let mut keys = table.read_batches(files, Some(&["tenant", "generation"]));
    while let Some(batch) = keys.try_next().await? {
        let (tenants, generations) = keys_of(&batch);
        for (tenant, generation) in tenants.iter().flatten().zip(generations.values()) {
            match newest.get_mut(tenant) {
                Some(known) => *known = (*known).max(*generation),
                None => drop(newest.insert(tenant.to_owned(), *generation)),
            }
        }
    }
    let schema = table.table().file_schema();
    let names: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
    let mut batches = table.read_batches(files, Some(&names));
    let mut written = Files::new(table.table(), day);
    while let Some(batch) = batches.try_next().await? {
        let (tenants, generations) = keys_of(&batch);
        let counts = (0..batch.num_rows()).map(|row| {
            let tenant = tenants.value(row);
            Some(!replaced.contains(tenant) && newest.get(tenant) == Some(&generations.value(row)))
        });
        written.write(&filter_record_batch(&batch, &counts.collect::<BooleanArray>())?)?;
    }
    written.finish()
}

fn keys_of(batch: &RecordBatch) -> (&StringArray, &Int64Array) {
    let column = |name: &str| batch.column_by_name(name).expect("both tables have it");
    (column("tenant").as_string(), column("generation").as_primitive::<Int64Type>())
}
