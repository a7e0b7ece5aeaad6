//! What vacuum may delete, and what it must keep.

use std::cell::Cell;
use std::fs::File;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use deltalake_core::kernel::Action;
use ingest::columns::UsageColumns;
use ingest::commit::{Commit, CommitError, TableLog};
use ingest::day_file::{DayFileWriter, FileKind};
use jiff::Timestamp;
use jobs::book::{Book, BookAddress, DocumentKind, NewDocument};
use jobs::vacuum::{Garbage, delete, find_garbage, refuse_older};
use object_store::ObjectStoreExt;
use rating::invoice::Provenance;
use rating::money::Amount;
use rating::period::Span;
use sql::lake::Table;

use crate::lake::{Event, FIRST_DAY, TestLake, event};
use crate::storage::{filters, listing};
use crate::unanswered::UnansweredDeletes;

const DAY: Duration = Duration::from_hours(24);

fn days_ago(days: u32) -> SystemTime {
    SystemTime::now() - DAY * days
}

fn cutoff(days: u32) -> Timestamp {
    days_ago(days).try_into().unwrap()
}

impl TestLake {
    /// Says that everything stored so far, but not aged yet, was stored so many days ago.
    fn age(&self, days: u32) {
        for (path, (_, modified)) in listing(self.folder.path()) {
            if modified > days_ago(1) {
                File::options().write(true).open(path).unwrap().set_modified(days_ago(days)).unwrap();
            }
        }
    }

    fn garbage(&self, days: u32, pinned: &[u64]) -> Garbage {
        let handle = self.lake.table(Table::UsageEvents);
        self.runtime.block_on(find_garbage(&handle, cutoff(days), pinned)).unwrap()
    }

    fn vacuum(&self, days: u32, pinned: &[u64]) -> usize {
        let garbage = self.garbage(days, pinned);
        let store = self.lake.table(Table::UsageEvents).store().clone();
        for file in &garbage.files {
            self.runtime.block_on(store.delete(&file.location)).unwrap();
        }
        garbage.files.len()
    }

    fn can_read(&self, version: u64) -> bool {
        let files = self.snapshot(Table::UsageEvents, Some(version)).files;
        files.iter().all(|file| self.folder.path().join("lake/usage_events").join(&file.path).exists())
    }
}

/// Version 1: ingested 20 days ago. 2: compacted 10 days ago. 3: a late event, and 4: compacted again, 3 days ago.
fn aged_lake() -> (TestLake, Vec<Event>) {
    let lake = TestLake::new();
    let mut all = vec![event(1, "a"), event(2, "a"), event(3, "b")];
    lake.ingest(&all);
    lake.age(20);
    lake.compact();
    assert_eq!(lake.version(), 2);
    lake.age(10);
    let late = event(4, "c").meters(&[0, 1]);
    lake.ingest(std::slice::from_ref(&late));
    all.push(late);
    lake.compact();
    assert_eq!(lake.version(), 4);
    lake.age(3);
    (lake, all)
}

#[test]
fn files_go_when_no_version_within_the_retention_has_them() {
    // How many days are kept, and which of the versions 1 to 4 are whole afterwards.
    for (retention, whole) in [
        (30, [true, true, true, true]),
        // Version 1 was the newest until 10 days ago.
        (11, [true, true, true, true]),
        (7, [false, true, true, true]),
        (4, [false, true, true, true]),
        (2, [false, false, false, true]),
    ] {
        let (lake, all) = aged_lake();
        lake.vacuum(retention, &[]);
        assert_eq!([1, 2, 3, 4].map(|version| lake.can_read(version)), whole, "{retention} days");
        assert_eq!(lake.events_left(&all), [1, 3, 4]);
        assert_eq!(lake.vacuum(retention, &[]), 0, "a second time there is nothing left to delete");
    }
}

#[test]
fn a_pinned_version_stays_whole() {
    let (lake, all) = aged_lake();
    let versions: Vec<_> = (1..=4).map(|version| lake.rows_at(Some(version))).collect();
    lake.vacuum(1, &[1]);
    assert_eq!([1, 2, 3, 4].map(|version| lake.can_read(version)), [true, false, false, true]);
    assert_eq!(lake.rows_at(Some(1)), versions[0]);
    assert_eq!(lake.rows_at(Some(4)), versions[3]);
    assert_eq!(versions[0].len(), 3);
    assert_eq!(lake.events_left(&all), [1, 3, 4]);
}

/// The program itself, with a book in which an invoice names version 1 of this table and 3 of another.
#[test]
fn versions_that_issued_invoices_name_stay_whole() {
    let (lake, _) = aged_lake();
    let folder = lake.folder.path();
    let table_id = lake.snapshot(Table::UsageEvents, None).table_id;
    lake.runtime.block_on(async {
        let address = BookAddress::file(&folder.join("book.sqlite"));
        let book = Book::open(&address).await.unwrap();
        let writing = book.begin().await.unwrap();
        let first = writing.next_numbers("vendor", 2).await.unwrap();
        let issued = [(first, "acme", table_id, 1), (first + 1, "other", "another table".to_owned(), 3)];
        let documents =
            issued.map(|(number, tenant, table_id, version)| document(number, tenant, table_id, version));
        writing.record_issued(&documents).await.unwrap();
        writing.commit().await.unwrap();
        book.close().await.unwrap();
    });
    let vacuum = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_meterhouse"));
        let ours = std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("METERHOUSE_"));
        for (name, _) in ours {
            command.env_remove(name);
        }
        command.env("METERHOUSE_LAKE", folder.join("lake")).current_dir(folder);
        let output = command.args(["vacuum", "--retain", "1 day"]).args(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    };
    vacuum(&["--dry-run"]);
    assert_eq!([1, 2, 3, 4].map(|version| lake.can_read(version)), [true; 4]);
    vacuum(&[]);
    assert_eq!([1, 2, 3, 4].map(|version| lake.can_read(version)), [true, false, false, true]);
}

fn document(number: i64, tenant: &str, table_id: String, table_version: i64) -> NewDocument {
    NewDocument {
        issuer: "vendor".to_owned(),
        number,
        printed_number: format!("V-{number}"),
        kind: DocumentKind::Invoice,
        tenant: tenant.to_owned(),
        period: "2026-05-01".to_owned(),
        occasion: String::new(),
        span: Span { start_us: 0, end_us: 1 },
        currency: "USD".to_owned(),
        total: Amount::ZERO,
        credited: Amount::ZERO,
        taxed: Amount::ZERO,
        due: Amount::ZERO,
        provenance: Provenance { table_id, table_version, ..Provenance::default() },
        digest: String::new(),
        corrects_number: None,
        run_id: String::new(),
        lines: Vec::new(),
    }
}

#[test]
fn a_pinned_version_that_does_not_exist_is_an_error() {
    let (lake, _) = aged_lake();
    let handle = lake.lake.table(Table::UsageEvents);
    let error = lake.runtime.block_on(find_garbage(&handle, cutoff(1), &[9])).unwrap_err();
    assert!(error.to_string().contains("pinned version 9"), "{error:#}");
}

/// A file that a writer stored so many days ago and has not committed.
fn stored(lake: &TestLake, days: u32) -> (PathBuf, Action) {
    let table = lake.lake.table(Table::UsageEvents);
    let mut columns = UsageColumns::default();
    event(77, "late").push(&mut columns);
    let mut writer = DayFileWriter::new(Table::UsageEvents, FIRST_DAY, FileKind::Arrived).unwrap();
    writer.write(&columns.finish()).unwrap();
    let file = writer.finish(cutoff(days).as_millisecond()).unwrap();
    lake.runtime.block_on(ingest::commit::upload(&table, std::slice::from_ref(&file))).unwrap();
    let path = lake.folder.path().join("lake/usage_events").join(&file.add.path);
    File::options().write(true).open(&path).unwrap().set_modified(days_ago(days)).unwrap();
    (path, Action::Add(file.add))
}

#[test]
fn a_writer_that_slept_longer_than_the_retention_is_refused() {
    let (lake, _) = aged_lake();
    let table = lake.lake.table(Table::UsageEvents);
    let open = || lake.runtime.block_on(TableLog::open(table.clone())).unwrap();
    let commit = |log: &mut TableLog, action: &Action| {
        let commit = Commit { operation: "WRITE", actions: vec![action.clone()], ..Commit::default() };
        lake.runtime.block_on(log.commit(&commit))
    };
    // One is in time, one sleeps, one has just begun.
    let (early, early_action) = stored(&lake, 9);
    commit(&mut open(), &early_action).unwrap();
    let mut slept = open();
    let (old, old_action) = stored(&lake, 9);
    let (young, young_action) = stored(&lake, 6);
    lake.runtime.block_on(refuse_older(&table, cutoff(7))).unwrap();
    lake.vacuum(7, &[]);
    assert_eq!([early.exists(), old.exists(), young.exists()], [true, false, true]);
    // Who opens the log now knows no more about the file than who had it open before.
    for log in [&mut slept, &mut open()] {
        let refused = commit(log, &old_action).unwrap_err();
        assert!(matches!(refused, CommitError::MayBeDeleted(_)) && refused.is_overtaken(), "{refused}");
    }
    commit(&mut slept, &young_action).unwrap();
    let newest = lake.snapshot(Table::UsageEvents, None).version;
    assert!(lake.can_read(newest));
    // A vacuum that keeps more changes nothing about that.
    lake.runtime.block_on(refuse_older(&table, cutoff(8))).unwrap();
    assert_eq!(lake.snapshot(Table::UsageEvents, None).version, newest);
    assert!(commit(&mut open(), &old_action).is_err());
}

#[test]
fn a_vacuum_that_keeps_nothing_refuses_nothing_that_is_stored_after_it() {
    let (lake, _) = aged_lake();
    let table = lake.lake.table(Table::UsageEvents);
    let commit = |action: Action| {
        let commit = Commit { operation: "WRITE", actions: vec![action], ..Commit::default() };
        lake.runtime.block_on(async { TableLog::open(table.clone()).await?.commit(&commit).await })
    };
    let (_, before) = stored(&lake, 0);
    std::thread::sleep(std::time::Duration::from_millis(5));
    lake.runtime.block_on(refuse_older(&table, cutoff(0))).unwrap();
    let (_, after) = stored(&lake, 0);
    assert!(matches!(commit(before).unwrap_err(), CommitError::MayBeDeleted(_)));
    commit(after).unwrap();
}

/// A vacuum dies, and another goes on. The newest version is whole all the time, and in the end nothing is left that
/// nobody needs.
#[test]
fn a_vacuum_that_died_anywhere_is_gone_on_with() {
    for place in [
        "before_commit",
        "after_commit",
        "before_delete:1",
        "after_delete:1",
        "before_delete:2",
        "after_delete:2",
    ] {
        let (lake, all) = aged_lake();
        let crashed = vacuum_program(&lake).env("METERHOUSE_CRASH_AT", place).output().unwrap();
        assert_eq!(crashed.status.code(), None, "{place} was passed: {crashed:?}");
        assert_eq!(lake.events_left(&all), [1, 3, 4], "{place}");
        assert!(!lake.garbage(1, &[]).files.is_empty(), "{place}");
        let finished = vacuum_program(&lake).output().unwrap();
        assert_eq!(finished.status.code(), Some(0), "{place}: {finished:?}");
        assert_eq!(lake.events_left(&all), [1, 3, 4], "{place}");
        assert_eq!(
            [1, 2, 3, 4].map(|version| lake.can_read(version)),
            [false, false, false, true],
            "{place}"
        );
        assert_eq!(lake.garbage(1, &[]).files.len(), 0, "{place}");
    }
}

#[test]
fn a_delete_that_got_no_answer_is_repeated() {
    let (lake, all) = aged_lake();
    let garbage = lake.garbage(1, &[]);
    assert!(garbage.files.len() > 2);
    let unanswered = lake.lake.clone().with_store(|inner| Arc::new(UnansweredDeletes::new(inner)));
    let handle = unanswered.table(Table::UsageEvents);
    let deleted = Cell::new(0);
    lake.runtime.block_on(delete(&handle, &garbage, || deleted.set(deleted.get() + 1))).unwrap();
    assert_eq!((deleted.get(), lake.garbage(1, &[]).files.len()), (garbage.files.len(), 0));
    assert_eq!(lake.events_left(&all), [1, 3, 4]);
}

fn vacuum_program(lake: &TestLake) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_meterhouse"));
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("METERHOUSE_"))
    {
        command.env_remove(name);
    }
    command.env("METERHOUSE_LAKE", lake.folder.path().join("lake")).env("METERHOUSE_BOOK_LEASE", "10 ms");
    command.current_dir(lake.folder.path()).args(["vacuum", "--retain", "1 day"]);
    command
}

#[test]
fn what_is_young_stays_though_no_version_has_it() {
    let (lake, _) = aged_lake();
    lake.vacuum(1, &[]);
    let folder = lake.folder.path().join("lake/usage_events/event_day=2026-05-01");
    let orphan = |name: &str| -> PathBuf {
        let path = folder.join(name);
        std::fs::write(&path, b"stored, and never committed").unwrap();
        path
    };
    let old = orphan("part-old.parquet");
    File::options().write(true).open(&old).unwrap().set_modified(days_ago(8)).unwrap();
    let young = orphan("part-young.parquet");
    assert_eq!(lake.vacuum(7, &[]), 1);
    assert!(!old.exists());
    assert!(young.exists());
}

#[test]
fn the_filters_of_the_newest_version_stay() {
    let (lake, mut all) = aged_lake();
    assert_eq!(filters(&lake).len(), 2, "one of version 2, one of version 4");
    lake.vacuum(1, &[]);
    let kept = filters(&lake);
    assert_eq!(kept.len(), 1);
    // It is the one that is asked.
    let before = std::fs::metadata(&kept[0]).unwrap().modified().unwrap();
    let late = event(5, "b").on(1);
    lake.ingest(std::slice::from_ref(&late));
    all.push(late);
    lake.compact();
    assert_eq!(std::fs::metadata(&kept[0]).unwrap().modified().unwrap(), before);
    assert_eq!(lake.events_left(&all), [1, 3, 4]);
}

#[test]
fn checkpoints_stay_that_a_readable_version_is_read_from() {
    // How many days are kept, which versions are pinned, and of which versions the checkpoints stay.
    for (retention, pinned, expected) in [
        (30, vec![], [true, true, true, true]),
        // The first version within the retention is read from the last checkpoint before it.
        (11, vec![], [true, true, true, true]),
        (7, vec![], [false, true, true, true]),
        (7, vec![1], [true, true, true, true]),
        (2, vec![], [false, false, true, true]),
        (2, vec![2], [false, true, true, true]),
    ] {
        let (lake, all) = aged_lake();
        let handle = lake.lake.table(Table::UsageEvents);
        let path = |version: u64| {
            let log = lake.folder.path().join("lake/usage_events/_delta_log");
            log.join(format!("{version:020}.checkpoint.parquet"))
        };
        for (version, days) in [(1, 20), (2, 10), (3, 3), (4, 3)] {
            lake.runtime.block_on(handle.checkpoint(version)).unwrap();
            File::options().write(true).open(path(version)).unwrap().set_modified(days_ago(days)).unwrap();
        }
        lake.vacuum(retention, &pinned);
        let found = [1, 2, 3, 4].map(|version| path(version).exists());
        assert_eq!(found, expected, "{retention} days, pinned {pinned:?}");
        // Each version is named by the log as before, and the newest is whole.
        assert!((1..=4).all(|version| lake.snapshot(Table::UsageEvents, Some(version)).version == version));
        assert_eq!(lake.events_left(&all), [1, 3, 4]);
    }
}

#[test]
fn a_short_retention_has_to_be_meant() {
    let (lake, _) = aged_lake();
    let vacuum = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_meterhouse"));
        command.env("METERHOUSE_LAKE", lake.folder.path().join("lake")).current_dir(lake.folder.path());
        let output =
            command.args(["vacuum", "--dry-run", "--retain", "23 h"]).args(arguments).output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let (code, message) = vacuum(&[]);
    assert_eq!(code, Some(1), "{message}");
    assert!(message.contains("--retain must be at least 1 day"), "{message}");
    assert_eq!(vacuum(&["--nothing-writes"]).0, Some(0));
}
