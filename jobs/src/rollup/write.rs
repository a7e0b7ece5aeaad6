//! The files and commits of a run.
//!
//! Owns replacing what a tenant and day had before: rows of a later run count and those before it do not, and a day with
//! many files is written as one.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use ::sql::lake::{DataFile, Lake, Table, TableHandle, TableSnapshot};
use ::sql::rollups::{RUNS, RollUpState, RollUps};
use anyhow::Result;
use arrow::array::{AsArray, BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::datatypes::Int64Type;
use deltalake_core::kernel::Action;
use futures::TryStreamExt;
use ingest::commit::{Commit, Position, TableLog};
use ingest::day_file::{DayFileWriter, FileKind};
use ingest::day_files::removal;
use serde_json::json;

use super::due::Due;

/// A day that has this many files is written as one.
const FILES_MAX: usize = 8;

/// One of the tables in the making.
#[derive(Debug)]
struct Part {
    /// None in a dry run, which must not create the table.
    log: Option<TableLog>,
    /// Where the table stood when the run began.
    run: Option<i64>,
    kept: BTreeMap<i32, Vec<DataFile>>,
    actions: Vec<Action>,
}

#[derive(Debug)]
pub struct Writer {
    daily: Part,
    carried: Part,
}

impl Writer {
    pub async fn open(lake: &Lake, dry_run: bool) -> Result<Writer> {
        Ok(Writer {
            carried: Part::open(lake.table(Table::UsageCarried), dry_run).await?,
            daily: Part::open(lake.table(Table::UsageDaily), dry_run).await?,
        })
    }

    /// Takes up the files that the run goes on from, and takes out all others.
    pub async fn begin(&mut self, due: &Due) -> Result<()> {
        let kept = due.kept.as_ref();
        self.daily.begin(kept.map(|kept| &kept.daily_files)).await?;
        self.carried.begin(kept.map(|kept| &kept.carried_files)).await
    }

    /// Writes rows of a day in the place of those of some tenants, or of all.
    pub async fn write(
        &mut self,
        table: Table,
        day: i32,
        rows: RecordBatch,
        replaced: Option<&BTreeSet<String>>,
    ) -> Result<()> {
        let part = if table == Table::UsageDaily { &mut self.daily } else { &mut self.carried };
        part.write(table, day, rows, replaced).await
    }

    pub async fn commit(&mut self, mut state: RollUpState, kept: Option<&RollUps>) -> Result<()> {
        let Some(carried) = &mut self.carried.log else { return Ok(()) };
        state.carried_version = if self.carried.actions.is_empty() {
            kept.map_or(0, |kept| kept.state.carried_version)
        } else {
            let next = self.carried.run.unwrap_or(0) + 1;
            let position = Position { application: RUNS.to_owned(), expected: self.carried.run, next };
            let actions = std::mem::take(&mut self.carried.actions);
            carried.commit(&commit(vec![position], actions, &state)).await?.version
        };
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
        daily.settle().await;
        carried.settle().await;
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
        let mut part = Part { log: None, run: None, kept: BTreeMap::new(), actions: Vec::new() };
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
        let newest = log.handle().snapshot(None).await?;
        let is_kept =
            |file: &DataFile| kept.is_some_and(|kept| kept.files.iter().any(|own| own.path == file.path));
        for file in newest.files {
            if is_kept(&file) {
                self.kept.entry(file.day).or_default().push(file);
            } else {
                self.actions.push(removal(table, &file));
            }
        }
        Ok(())
    }

    async fn write(
        &mut self,
        table: Table,
        day: i32,
        rows: RecordBatch,
        replaced: Option<&BTreeSet<String>>,
    ) -> Result<()> {
        let Some(log) = &self.log else { return Ok(()) };
        let kept = self.kept.get(&day).map_or(0, Vec::len);
        let mut batches = vec![rows];
        if replaced.is_none() || kept >= FILES_MAX {
            let files = self.kept.remove(&day).unwrap_or_default();
            if let Some(replaced) = replaced {
                batches.extend(newest_of_others(log.handle(), &files, replaced).await?);
            }
            self.actions.extend(files.iter().map(|file| removal(table, file)));
        }
        let mut writer = DayFileWriter::new(table, day, FileKind::RollUp)?;
        for batch in &batches {
            writer.write(batch)?;
        }
        if writer.rows() > 0 {
            let file = writer.finish(jiff::Timestamp::now().as_millisecond())?;
            log.upload(std::slice::from_ref(&file)).await?;
            self.actions.push(Action::Add(file.add));
        }
        Ok(())
    }
}

/// The rows that count of all tenants but those that are replaced.
async fn newest_of_others(
    table: &TableHandle,
    files: &[DataFile],
    replaced: &BTreeSet<String>,
) -> Result<Vec<RecordBatch>> {
    let schema = table.table().file_schema();
    let names: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
    let batches: Vec<RecordBatch> = table.read_batches(files, Some(&names)).try_collect().await?;
    let keys = |batch: &RecordBatch| {
        let column = |name: &str| batch.column_by_name(name).expect("both tables have it").clone();
        (
            column("tenant").as_string::<i32>().clone(),
            column("generation").as_primitive::<Int64Type>().clone(),
        )
    };
    let mut newest: HashMap<String, i64> = HashMap::new();
    for (tenants, generations) in batches.iter().map(keys) {
        for (tenant, generation) in tenants.iter().flatten().zip(generations.values()) {
            match newest.get_mut(tenant) {
                Some(known) => *known = (*known).max(*generation),
                None => {
                    newest.insert(tenant.to_owned(), *generation);
                }
            }
        }
    }
    let counting = |batch: &RecordBatch| {
        let (tenants, generations) = keys(batch);
        let counts = (0..batch.num_rows()).map(|row| {
            let tenant = tenants.value(row);
            !replaced.contains(tenant) && newest.get(tenant) == Some(&generations.value(row))
        });
        let counts: BooleanArray = counts.map(Some).collect();
        filter_record_batch(batch, &counts)
    };
    Ok(batches.iter().map(counting).collect::<Result<_, _>>()?)
}
