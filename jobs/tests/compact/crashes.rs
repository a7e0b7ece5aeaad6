//! The real program dies between its effects, and is started again.

use std::process::{Command, Output};

use crate::lake::{Event, TestLake, event};
use crate::storage::filters;

fn compact(lake: &TestLake, crash_at: Option<&str>) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_meterhouse"));
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("METERHOUSE_"))
    {
        command.env_remove(name);
    }
    command.env("METERHOUSE_LAKE", lake.folder.path().join("lake"));
    // Whoever died held the job's lease; the next need not wait for long.
    command.env("METERHOUSE_BOOK_LEASE", "10 ms");
    if let Some(crash_at) = crash_at {
        command.env("METERHOUSE_CRASH_AT", crash_at);
    }
    command.current_dir(lake.folder.path()).arg("compact").output().expect("the program starts")
}

fn with_conflicts() -> (TestLake, Vec<Event>) {
    let lake = TestLake::new();
    let events = vec![
        event(1, "a"),
        event(2, "a").data("{}").meters(&[0, 1]),
        event(3, "b"),
        event(4, "b"),
        event(5, "c").untimed().on(4),
    ];
    lake.ingest(&events);
    (lake, events)
}

/// Each place where the program may die, with what must hold right after.
#[test]
fn a_conflict_is_recorded_once_wherever_the_program_dies() {
    for (place, conflicts_after, rows_after) in [
        // The first day's rows are stored first, then its rejects, then the second day's rows.
        ("before_upload:1", 0, 6),
        ("after_upload:1", 0, 6),
        ("before_upload:2", 0, 6),
        ("after_upload:2", 0, 6),
        ("before_upload:3", 1, 3),
        ("after_upload:3", 1, 3),
        ("before_filter:1", 1, 3),
        ("after_filter:1", 1, 3),
        ("before_filter:2", 1, 3),
        ("after_filter:2", 1, 3),
        // The first commit is that of the rejects, the second that of the day's rows.
        ("before_commit:1", 0, 6),
        ("after_commit:1", 1, 6),
        ("before_commit:2", 1, 6),
        ("after_commit:2", 1, 3),
        ("before_commit:3", 1, 3),
        ("after_commit:3", 1, 3),
    ] {
        let (lake, mut events) = with_conflicts();
        let crashed = compact(&lake, Some(place));
        assert_eq!(crashed.status.code(), None, "{place} was passed: {crashed:?}");
        assert_eq!(lake.conflicts().len(), conflicts_after, "{place}");
        assert_eq!(lake.rows_at(None).len(), rows_after, "{place}");

        let output = compact(&lake, None);
        assert!(matches!(output.status.code(), Some(0 | 3)), "{place}: {output:?}");
        assert_eq!(lake.events_left(&events), [1, 3, 5], "{place}");
        assert_eq!(lake.conflicts(), [2], "{place}");
        lake.assert_sorted();

        // Filters that the crash kept from being stored are made anew.
        let again = event(6, "c").untimed();
        lake.ingest(std::slice::from_ref(&again));
        events.push(again);
        assert_eq!(compact(&lake, None).status.code(), Some(0), "{place}");
        assert_eq!(lake.events_left(&events), [1, 3, 5], "{place}");
        assert!(!filters(&lake).is_empty());
    }
}

#[test]
fn conflicts_make_an_exit_code() {
    let (lake, _) = with_conflicts();
    let output = compact(&lake, None);
    assert_eq!(output.status.code(), Some(3), "{output:?}");
    assert_eq!(compact(&lake, None).status.code(), Some(0));
}
