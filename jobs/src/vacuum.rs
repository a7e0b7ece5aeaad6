//! `meterhouse vacuum`: deletes files that no version that may still be read refers to.
//!
//! Kept are the newest version's files with their identity filters, those of every version that was the
//! newest within the retention, and those of versions that are pinned: by --keep-version, and by every issued invoice,
//! as the book knows (DESIGN.md 3.10), and by the roll-ups. The entries of the log all stay: they are small, and every
//! version can be read from them. Of its checkpoints, each of which names every file, those stay that the versions which
//! are kept are read from.
//!
//! Kept is also what somebody stored within the retention and has not committed yet. Whoever sleeps for longer between the
//! two is refused when it commits: the log says from which instant on files may be added (`VACUUMED_BEFORE`).

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::io::IsTerminal as _;
use std::time::Duration;

use ::ingest::commit::{
    CLOCKS_DIFFER, Commit, ForeignEntry, LogSettings, Position, TableLog, VACUUMED_BEFORE,
};
use ::ingest::crash_point::crash_point;
use anyhow::{Context, Result, bail};
use arrow::array::AsArray;
use arrow::datatypes::Int64Type;
use clap::Args;
use futures::TryStreamExt;
use indicatif::{ProgressBar, ProgressStyle};
use jiff::{SignedDuration, Timestamp};
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt};
use sql::lake::{FileRead, Lake, Table, TableHandle};
use sql::rollups::RollUps;

use crate::book::Book;
use crate::catalog::chosen::now_us;
use crate::cli::{Exit, Globals, runtime};
use crate::compact::filter_paths;
use crate::output::{Format, Rows};
use crate::rate::columns::DRAFT;
use crate::run::{RunContext, RunSpec, with_run};

/// Shorter than this, a writer that works long, or whose machine slept, could commit files that are deleted already.
const RETENTION_MIN: SignedDuration = SignedDuration::from_hours(24);
/// So many checkpoints stay in any case: readers that just looked for the newest may be about to read it.
const CHECKPOINTS_MIN: usize = 2;

/// Delete files of the lake that no readable version needs any more
#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Examples:
  meterhouse vacuum --dry-run
  meterhouse vacuum --retain '30 days' --keep-version 1204 --keep-version 2210

Compaction leaves the files that it replaced, so that queries under way and earlier versions stay readable. After \
the retention they are deleted here. Versions that issued invoices name stay readable for ever, and so do those named \
with --keep-version.")]
pub struct VacuumArgs {
    /// How long a version stays readable after it was replaced
    #[arg(long, value_name = "DURATION", default_value = "7 days", value_parser = retention)]
    retain: SignedDuration,
    /// Allow --retain below 1 day: only while nothing writes to this lake
    #[arg(long)]
    nothing_writes: bool,
    /// Keep every file of this version of usage_events
    #[arg(long, value_name = "VERSION")]
    keep_version: Vec<u64>,
    /// Only say what would be deleted
    #[arg(long)]
    dry_run: bool,
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

fn retention(text: &str) -> Result<SignedDuration, String> {
    crate::config::duration(text).ok_or_else(|| "expected a duration such as `7 days` or `36 h`".to_owned())
}

/// What is to be deleted of a table.
#[derive(Debug, Default)]
pub struct Garbage {
    pub files: Vec<ObjectMeta>,
    pub kept: usize,
}

pub fn run(args: &VacuumArgs, globals: &Globals) -> Result<Exit> {
    if args.retain < RETENTION_MIN && !args.nothing_writes {
        bail!(
            "--retain must be at least 1 day: what ingest, compact, derive or replay has stored and not committed yet \
             would be deleted. If nothing writes to this lake now, add --nothing-writes"
        );
    }
    let config = globals.load_config()?;
    let lake = Lake::open(&config.lake)?;
    let rows = runtime()?.block_on(async {
        // Without the book it is not known what invoices need, so nothing is deleted without it.
        if args.dry_run {
            let pinned = match Book::existing_of(&config).await? {
                Some(book) => book.versions_pinned().await?,
                None => BTreeMap::new(),
            };
            return vacuum(args, &lake, &pinned, None).await;
        }
        let book = Book::of(&config).await?;
        with_run(&book, RunSpec::of_job("vacuum", &config), async |run| {
            let pinned = book.versions_pinned().await?;
            vacuum(args, &lake, &pinned, Some(run)).await
        })
        .await
    })?;
    if args.dry_run {
        eprintln!("nothing was deleted (--dry-run)");
    }
    rows.print(args.format)?;
    Ok(Exit::Done)
}

/// Looks at each table and deletes what nobody needs, unless it is only to be shown.
async fn vacuum(
    args: &VacuumArgs,
    lake: &Lake,
    pinned_by_table: &BTreeMap<String, BTreeSet<u64>>,
    run: Option<&RunContext>,
) -> Result<Rows> {
    let now = Timestamp::from_microsecond(now_us(run.map(RunContext::book)).await?)?;
    let cutoff = now - args.retain;
    let bar = progress_bar();
    // A roll-up that was cut short leaves newer versions of these tables than those that count.
    let rolled_up = RollUps::open(lake).await?.map(|roll_ups| roll_ups.state);
    let mut rows = Rows::new(&["table", "deleted", "bytes", "kept"]);
    let mut deleted = 0;
    for table in Table::ALL {
        let handle = lake.table(table);
        if !handle.exists().await? {
            continue;
        }
        bar.set_message(table.name());
        let newest = handle.snapshot(None).await?;
        let table_id = newest.table_id;
        let mut pinned = pinned_by_table.get(&table_id).cloned().unwrap_or_default();
        match (table, rolled_up) {
            (Table::UsageEvents, _) => {
                pinned.extend(&args.keep_version);
                pinned.extend(versions_of_drafts(lake, &table_id).await?);
            }
            (Table::UsageCarried, Some(state)) => pinned.extend([state.carried_version]),
            (Table::UsageHourly, Some(state)) => pinned.extend([state.hourly_version]),
            (Table::UsagePeriods, Some(state)) => pinned.extend([state.periods_version]),
            _ => {}
        }
        let pinned = Vec::from_iter(pinned);
        if let Some(run) = run {
            run.input(table.name(), newest.version);
            run.count(&format!("{}_versions_kept", table.name()), pinned.len());
        }
        let mut garbage = find_garbage(&handle, cutoff, &pinned).await?;
        if !args.dry_run && !garbage.files.is_empty() {
            refuse_older(&handle, cutoff).await?;
            // What was committed until then is in the newest version now, and nothing as old comes after it.
            garbage = find_garbage(&handle, cutoff, &pinned).await?;
            delete(&handle, &garbage, || bar.inc(1)).await?;
        }
        let bytes: u64 = garbage.files.iter().map(|file| file.size).sum();
        deleted += garbage.files.len();
        if let Some(run) = run {
            run.count("files_deleted", deleted);
        }
        rows.push(vec![table.name().into(), garbage.files.len().into(), bytes.into(), garbage.kept.into()]);
    }
    bar.finish_and_clear();
    Ok(rows)
}

fn progress_bar() -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{spinner} {msg}: {pos} files deleted {elapsed}");
    let bar = ProgressBar::new_spinner();
    let bar = style.map(|style| bar.clone().with_style(style)).unwrap_or(bar);
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}

/// From now on no commit adds a file that was stored before the cutoff: a writer that sleeps since then would add one
/// that is deleted.
pub async fn refuse_older(handle: &TableHandle, cutoff: Timestamp) -> Result<()> {
    let mut log = TableLog::open(handle.clone()).await?;
    let expected = log.positions(&[VACUUMED_BEFORE.to_owned()]).await?[VACUUMED_BEFORE];
    // Writers refuse what is older than this and a while more. What is stored from now on is safe from this vacuum, however
    // little it keeps.
    let next = cutoff.min(Timestamp::now() - CLOCKS_DIFFER).as_millisecond();
    if expected.is_some_and(|known| known >= next) {
        return Ok(());
    }
    let position = Position { application: VACUUMED_BEFORE.to_owned(), expected, next };
    let commit = Commit { operation: "VACUUM START", positions: vec![position], ..Commit::default() };
    log.commit(&commit).await?;
    log.settle().await;
    Ok(())
}

/// The versions of a table that drafts were made from: once issued, they have to be verified.
async fn versions_of_drafts(lake: &Lake, table_id: &str) -> Result<BTreeSet<u64>> {
    let handle = lake.table(Table::Invoices);
    let mut versions = BTreeSet::new();
    if !handle.exists().await? {
        return Ok(versions);
    }
    for file in handle.snapshot(None).await?.files {
        let columns = ["state", "table_id", "table_version"];
        let read = FileRead { columns: Some(&columns), ..FileRead::default() };
        let mut batches = handle.read_file(&file, read).await?;
        while let Some(batch) = batches.try_next().await? {
            let column = |name: &str| batch.column_by_name(name).expect("the column was read");
            let (state, table) = (column("state").as_string::<i32>(), column("table_id").as_string::<i32>());
            let version = column("table_version").as_primitive::<Int64Type>();
            let is_draft = |row: &usize| state.value(*row) == DRAFT && table.value(*row) == table_id;
            let drafts = (0..batch.num_rows()).filter(is_draft);
            versions.extend(drafts.filter_map(|row| u64::try_from(version.value(row)).ok()));
        }
    }
    Ok(versions)
}

/// Deletes files; `deleted` is told of each. A request that fails may have been heard, and is repeated.
pub async fn delete(handle: &TableHandle, garbage: &Garbage, deleted: impl Fn()) -> Result<()> {
    let settings = LogSettings::default();
    for file in &garbage.files {
        let path = &file.location;
        crash_point("before_delete");
        let attempt = || async {
            match handle.store().delete(path).await {
                // Another vacuum was faster, or an attempt that got no answer.
                Err(object_store::Error::NotFound { .. }) => Ok(()),
                done => done,
            }
        };
        settings.with_patience(&format!("deleting {path}"), attempt).await?;
        crash_point("after_delete");
        deleted();
    }
    Ok(())
}

/// Files that were stored before `cutoff` and that no version needs which was current since, or is pinned.
pub async fn find_garbage(handle: &TableHandle, cutoff: Timestamp, pinned: &[u64]) -> Result<Garbage> {
    let newest = handle.snapshot(None).await?;
    // Without its filter, a day would have to be read anew by every compaction near it.
    let mut needed: HashSet<String> = filter_paths(&newest).collect();
    needed.extend(newest.files.into_iter().map(|file| file.path));
    for version in pinned {
        let snapshot = handle.snapshot(Some(*version)).await;
        let snapshot = snapshot.with_context(|| format!("cannot read the pinned version {version}"))?;
        needed.extend(snapshot.files.into_iter().map(|file| file.path));
    }
    needed.extend(removed_since(handle, newest.version, cutoff).await?);
    let mut garbage = Garbage::default();
    let mut checkpoints = Vec::new();
    let mut listed = handle.store().list(None);
    while let Some(file) = listed.try_next().await? {
        let path = file.location.as_ref();
        let is_log = path.starts_with("_delta_log/");
        if let Some(version) = checkpoint_version(path) {
            checkpoints.push((version, file));
        } else if is_log || is_young(&file, cutoff) || needed.contains(path) {
            garbage.kept += 1;
        } else {
            garbage.files.push(file);
        }
    }
    let all = checkpoints.len();
    let old = old_checkpoints(checkpoints, cutoff, pinned);
    garbage.kept += all - old.len();
    garbage.files.extend(old);
    Ok(garbage)
}

fn is_young(file: &ObjectMeta, cutoff: Timestamp) -> bool {
    file.last_modified.timestamp() >= cutoff.as_second()
}

/// The version of a checkpoint that is one file, as ours all are.
fn checkpoint_version(path: &str) -> Option<u64> {
    path.strip_prefix("_delta_log/")?.strip_suffix(".checkpoint.parquet")?.parse().ok()
}

/// The checkpoints that no version is read from which is kept: each is read from the newest checkpoint that is no newer.
fn old_checkpoints(
    mut checkpoints: Vec<(u64, ObjectMeta)>,
    cutoff: Timestamp,
    pinned: &[u64],
) -> Vec<ObjectMeta> {
    checkpoints.sort_by_key(|(version, _)| *version);
    let first_young = checkpoints.iter().position(|(_, file)| is_young(file, cutoff));
    // The first versions within the retention are read from the last checkpoint before it.
    let kept_from = first_young.unwrap_or(checkpoints.len()).saturating_sub(1);
    let kept_from = kept_from.min(checkpoints.len().saturating_sub(CHECKPOINTS_MIN));
    let read_from = |version: &u64| {
        let up_to = checkpoints.partition_point(|(checkpoint, _)| checkpoint <= version);
        up_to.checked_sub(1)
    };
    let of_pinned: HashSet<usize> = pinned.iter().filter_map(read_from).collect();
    let old = checkpoints.into_iter().enumerate().take(kept_from);
    old.filter(|(place, _)| !of_pinned.contains(place)).map(|(_, (_, file))| file).collect()
}

/// Files that left the table after an instant: until then they were part of its newest version.
async fn removed_since(handle: &TableHandle, newest: u64, cutoff: Timestamp) -> Result<HashSet<String>> {
    // Clocks of writers and of the store may differ a little.
    let cutoff = cutoff - Duration::from_mins(5);
    let mut removed = HashSet::new();
    for version in (0..=newest).rev() {
        let path = Path::from(format!("_delta_log/{version:020}.json"));
        let entry = match handle.store().get(&path).await {
            Ok(entry) => entry,
            // Entries older than the first checkpoint may have been cleaned up by other tools.
            Err(object_store::Error::NotFound { .. }) => break,
            Err(error) => return Err(error).with_context(|| format!("cannot read {path}")),
        };
        if entry.meta.last_modified.timestamp() < cutoff.as_second() {
            break;
        }
        let bytes = entry.bytes().await.with_context(|| format!("cannot read {path}"))?;
        let entry = ForeignEntry::parse(&bytes).with_context(|| format!("cannot understand {path}"))?;
        removed.extend(entry.removed);
    }
    Ok(removed)
}
