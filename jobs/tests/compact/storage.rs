//! What compaction reads and leaves in the store: dry runs, identity filters, files read twice.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::SystemTime;

use ingest::files::{FileSource, ingest_files};
use ingest::metrics::Metrics;
use ingest::pipeline::IngestRun;
use ingest::settings::IngestSettings;
use jobs::compact::{CompactError, CompactReport, CompactSettings};
use rating::catalog::Catalog;
use sql::lake::{DataFile, Table};

use crate::lake::{FIRST_DAY, TestLake, event};

/// Every file below a folder with its size and time.
pub fn listing(folder: &Path) -> BTreeMap<PathBuf, (u64, SystemTime)> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(listing(&path));
        } else {
            let metadata = path.metadata().unwrap();
            found.insert(path, (metadata.len(), metadata.modified().unwrap()));
        }
    }
    found
}

pub fn filters(lake: &TestLake) -> Vec<PathBuf> {
    let files = listing(lake.folder.path()).into_keys();
    files.filter(|path| path.extension().is_some_and(|extension| extension == "fuse")).collect()
}

#[test]
fn a_dry_run_finds_out_and_changes_nothing() {
    let lake = TestLake::new();
    lake.ingest(&[event(1, "a").untimed(), event(2, "b").meters(&[0, 1])]);
    lake.compact();
    // The dry run has to make the filter anew, and must not keep it.
    for path in filters(&lake) {
        std::fs::remove_file(path).unwrap();
    }
    let late = [
        event(3, "a").untimed().on(2),
        event(4, "b").on(2).meters(&[0, 1]),
        event(5, "c").on(2),
        event(6, "c").on(2),
    ];
    lake.ingest(&late);
    let before = listing(lake.folder.path());
    let report = lake.compact_with(CompactSettings { dry_run: true, ..CompactSettings::default() }).unwrap();
    let expected = CompactReport {
        days: 1,
        files_before: 1,
        files_after: 1,
        rows_before: 5,
        rows_after: 1,
        duplicate_rows: 2,
        conflict_rows: 2,
    };
    assert_eq!(report, expected);
    assert_eq!(listing(lake.folder.path()), before);
    assert_eq!(lake.compact(), expected, "the dry run foretold the real one");
}

#[test]
fn a_dry_run_does_not_even_make_the_reject_table() {
    let lake = TestLake::new();
    lake.ingest(&[event(1, "a")]);
    std::fs::remove_dir_all(lake.folder.path().join("lake/rejected_messages")).unwrap();
    let before = listing(lake.folder.path());
    lake.compact_with(CompactSettings { dry_run: true, ..CompactSettings::default() }).unwrap();
    assert_eq!(listing(lake.folder.path()), before);
}

#[test]
fn filters_that_are_lost_or_damaged_are_made_anew() {
    type Harm = fn(&Path);
    let harms: [(&str, Harm); 4] = [
        ("lost", |path| std::fs::remove_file(path).unwrap()),
        ("emptied", |path| std::fs::write(path, b"").unwrap()),
        ("cut short", |path| {
            let bytes = std::fs::read(path).unwrap();
            std::fs::write(path, &bytes[..bytes.len() / 2]).unwrap();
        }),
        ("overwritten", |path| {
            let bytes = std::fs::read(path).unwrap();
            std::fs::write(path, bytes.iter().map(|byte| !byte).collect::<Vec<_>>()).unwrap();
        }),
    ];
    for (name, harm) in harms {
        let lake = TestLake::new();
        let first: Vec<_> = (0..50).map(|at| event(at, &at.to_string()).untimed()).collect();
        lake.ingest(&first);
        lake.compact();
        let whole = filters(&lake);
        assert_eq!(whole.len(), 1, "{name}");
        let content = std::fs::read(&whole[0]).unwrap();
        harm(&whole[0]);
        let again: Vec<_> = (0..50).map(|at| event(100 + at, &at.to_string()).untimed().on(3)).collect();
        lake.ingest(&again);
        let report = lake.compact();
        assert_eq!((report.duplicate_rows, report.rows_after), (50, 0), "{name}");
        let healed = std::fs::read(&whole[0]).unwrap();
        assert_eq!(healed.len(), content.len(), "{name}: the filter is back");
    }
}

#[test]
fn a_day_that_cannot_be_read_does_not_hold_up_the_others() {
    let lake = TestLake::new();
    let all = [event(1, "a"), event(2, "b").on(1), event(3, "b").on(1), event(4, "c").on(2)];
    lake.ingest(&all);
    let path = |day: i32| {
        let files = lake.snapshot(Table::UsageEvents, None).files;
        let file = files.into_iter().find(|file| file.day == FIRST_DAY + day).unwrap();
        lake.folder.path().join("lake/usage_events").join(file.path)
    };
    let (damaged, whole) = (path(0), std::fs::read(path(0)).unwrap());
    std::fs::write(&damaged, vec![7; whole.len()]).unwrap();
    let error = lake.compact_with(CompactSettings::default()).unwrap_err();
    assert!(matches!(error, CompactError::Parquet(_)), "{error:?}");
    assert_eq!(
        lake.snapshot(Table::UsageEvents, None).files.iter().filter(|file| file.is_sorted()).count(),
        2
    );
    // Once it can be read, nothing is left to do but this day.
    std::fs::write(&damaged, whole).unwrap();
    assert_eq!(lake.compact().days, 1);
    assert_eq!(lake.events_left(&all), [1, 2, 4]);
}

/// Files of the day's size, of which one is gone or damaged; the footers of the days around it have to be read to know
/// whether they fit into memory.
#[test]
fn a_day_that_is_gone_or_damaged_holds_up_neither_those_before_nor_those_after_it() {
    type Harm = fn(&Path);
    let harms: [(&str, Harm); 2] = [
        ("gone", |path| std::fs::remove_file(path).unwrap()),
        ("damaged", |path| {
            std::fs::write(path, vec![7; std::fs::metadata(path).unwrap().len() as usize]).unwrap();
        }),
    ];
    for (name, harm) in harms {
        let lake = TestLake::new();
        let all: Vec<_> = (0..3_000).map(|at| event(at, &at.to_string()).on(at as i32 % 3)).collect();
        lake.ingest(&all);
        let files = lake.snapshot(Table::UsageEvents, None).files;
        let harmed = files.iter().find(|file| file.day == FIRST_DAY + 1).unwrap();
        harm(&lake.folder.path().join("lake/usage_events").join(&harmed.path));
        // Less than what might be, and more than what is.
        let settings = CompactSettings { memory_bytes: 400_000, ..CompactSettings::default() };
        let error = lake.compact_with(settings).unwrap_err();
        assert!(matches!(error, CompactError::Parquet(_) | CompactError::Store { .. }), "{name}: {error:?}");
        let sorted = lake.snapshot(Table::UsageEvents, None).files.into_iter().filter(DataFile::is_sorted);
        let days: Vec<i32> = sorted.map(|file| file.day - FIRST_DAY).collect();
        assert_eq!(days, [0, 2], "{name}");
    }
}

const CATALOG: &str = "
catalog: test
meters:
  received:
    kind: delta
    event_type: traffic
    value: $.in
    unit: byte
  sent:
    kind: delta
    event_type: traffic
    value: $.out
    unit: byte
";

#[test]
fn a_file_that_is_read_twice_counts_once() {
    let lake = TestLake::new();
    let file = lake.folder.path().join("events.ndjson");
    let line = |at: usize| {
        // One in ten has no meter, and half of them name no resource of their own.
        let event_type = if at.is_multiple_of(10) { "other" } else { "traffic" };
        format!(
            r#"{{"specversion":"1.0","id":"{at}","source":"/s","type":"{event_type}","subject":"t{}","time":"2026-05-{:02}T00:00:{:02}Z","data":{{"in":{at},"out":1}}}}"#,
            at % 7,
            at % 3 + 1,
            at % 60,
        )
    };
    std::fs::write(&file, (0..500).map(|at| line(at) + "\n").collect::<String>()).unwrap();
    let run = IngestRun {
        lake: lake.lake.clone(),
        catalog: Catalog::parse(CATALOG, "test.yaml").unwrap(),
        settings: IngestSettings::default(),
        metrics: Arc::new(Metrics::default()),
        runtime: lake.runtime.handle().clone(),
        stop: Arc::new(AtomicBool::new(false)),
    };
    for rows_before in [1_900, 1_900] {
        for _ in 0..2 {
            let report = ingest_files(&run, &[FileSource::Path(file.clone())], |_| ()).unwrap().report;
            assert_eq!((report.counts.rows, report.counts.rejected), (950, 0));
        }
        let report = lake.compact();
        // The second time round, the days also hold what was kept before.
        let kept = report.rows_before - rows_before;
        assert!(kept == 0 || kept == 950, "{report:?}");
        assert_eq!((report.rows_after, report.conflict_rows, report.days), (950, 0, 3));
        let files = lake.snapshot(Table::UsageEvents, None).files;
        assert_eq!((files.len(), files.iter().map(|file| file.rows).sum::<u64>()), (3, 950));
    }
}
