//! DESIGN.md 3.2, case by case.

use jobs::compact::{CompactReport, CompactSettings};

use crate::lake::{Event, TestLake, event};

enum Step {
    Ingest(Vec<Event>),
    Compact,
}
use Step::{Compact, Ingest};

struct Case {
    name: &'static str,
    window: Option<u32>,
    steps: Vec<Step>,
    /// The offsets of the events that count, and of those in the rejects.
    left: &'static [i64],
    conflicts: &'static [i64],
}

impl Case {
    /// A case within the usual window that ends in a compaction.
    fn new(name: &'static str, steps: Vec<Step>, left: &'static [i64], conflicts: &'static [i64]) -> Self {
        Self { name, window: Some(35), steps, left, conflicts }
    }

    fn window(self, window: Option<u32>) -> Self {
        Self { window, ..self }
    }

    fn run(&self, settings: CompactSettings) {
        let lake = TestLake::in_memory();
        let settings = CompactSettings { identity_window_days: self.window, ..settings };
        let mut all: Vec<Event> = Vec::new();
        let mut dropped = 0;
        for step in self.steps.iter().chain([&Compact]) {
            match step {
                Ingest(events) => {
                    lake.ingest(events);
                    all.extend_from_slice(events);
                }
                Compact => {
                    let report = lake.compact_with(settings).unwrap();
                    dropped += report.rows_before - report.rows_after;
                    assert_eq!(
                        report.rows_before - report.rows_after,
                        report.duplicate_rows + report.conflict_rows
                    );
                }
            }
        }
        assert_eq!(lake.events_left(&all), self.left, "{}: what counts", self.name);
        assert_eq!(lake.conflicts(), self.conflicts, "{}: conflicts", self.name);
        let rows: usize = all.iter().map(|event| event.rows().len()).sum();
        assert_eq!(dropped as usize, rows - lake.rows_at(None).len(), "{}: reported rows", self.name);
        lake.assert_sorted();
        let version = lake.version();
        assert_eq!(lake.compact_with(settings).unwrap(), CompactReport::default(), "{}: again", self.name);
        assert_eq!(lake.version(), version, "{}: a run without work commits nothing", self.name);
    }
}

fn same_day() -> Vec<Case> {
    vec![
        Case::new("nothing comes twice", vec![Ingest(vec![event(1, "a"), event(2, "b")])], &[1, 2], &[]),
        Case::new("a repeat in one batch", vec![Ingest(vec![event(1, "a"), event(2, "a")])], &[1], &[]),
        Case::new(
            "a repeat in another batch",
            vec![Ingest(vec![event(1, "a")]), Ingest(vec![event(2, "a"), event(3, "b")])],
            &[1, 3],
            &[],
        ),
        Case::new(
            "a repeat of an event in a compacted day",
            vec![Ingest(vec![event(1, "a")]), Compact, Ingest(vec![event(2, "a"), event(3, "b")])],
            &[1, 3],
            &[],
        ),
        Case::new("other data", vec![Ingest(vec![event(1, "a"), event(2, "a").data("{}")])], &[1], &[2]),
        Case::new("another tenant", vec![Ingest(vec![event(1, "a"), event(2, "a").tenant("b")])], &[1], &[2]),
        Case::new(
            "another type",
            vec![Ingest(vec![event(1, "a"), event(2, "a").event_type("b")])],
            &[1],
            &[2],
        ),
        Case::new("another time", vec![Ingest(vec![event(1, "a"), event(2, "a").at_second(9)])], &[1], &[2]),
        Case::new(
            "another time that the event does not name",
            vec![Ingest(vec![event(1, "a").untimed(), event(2, "a").at_second(9).untimed()])],
            &[1],
            &[],
        ),
        Case::new(
            "a time in the one and none in the other",
            vec![Ingest(vec![event(1, "a"), event(2, "a").untimed()])],
            &[1],
            &[2],
        ),
        Case::new(
            "the first to arrive counts, not the first to be committed",
            vec![Ingest(vec![event(1, "a").arrived(9)]), Compact, Ingest(vec![event(2, "a").data("{}")])],
            &[2],
            &[1],
        ),
        Case::new(
            "every later one is measured by the one that counts",
            vec![Ingest(vec![
                event(1, "a"),
                event(2, "a").data("{}"),
                event(3, "a"),
                event(4, "a").data("{}"),
            ])],
            &[1],
            &[2, 4],
        ),
        Case::new(
            "events without a meter",
            vec![Ingest(vec![
                event(1, "a").meters(&[]),
                event(2, "b").meters(&[]),
                event(3, "a").meters(&[]),
            ])],
            &[1, 2],
            &[],
        ),
        Case::new(
            "all rows of the one that does not count vanish together",
            vec![Ingest(vec![
                event(1, "a").meters(&[0, 1, 2]),
                event(2, "a").meters(&[0, 1, 2]),
                event(3, "b").meters(&[3, 1]),
                event(4, "b").meters(&[3, 1]).data("{}"),
            ])],
            &[1, 3],
            &[4],
        ),
        Case::new(
            "a catalog that has more meters by the time of the repeat changes nothing",
            vec![Ingest(vec![event(1, "a")]), Compact, Ingest(vec![event(2, "a").meters(&[0, 1, 2, 3])])],
            &[1],
            &[],
        ),
    ]
}

fn several_days() -> Vec<Case> {
    vec![
        Case::new(
            "sent again without a time, a later day",
            vec![Ingest(vec![event(1, "a").untimed(), event(2, "a").untimed().on(5)])],
            &[1],
            &[],
        ),
        Case::new(
            "sent again without a time, to a day that is compacted already",
            vec![
                Ingest(vec![event(1, "a").untimed(), event(2, "b").on(5)]),
                Compact,
                Ingest(vec![event(3, "a").untimed().on(5)]),
            ],
            &[1, 2],
            &[],
        ),
        Case::new(
            "sent again with another explicit time",
            vec![Ingest(vec![event(1, "a"), event(2, "a").on(5)])],
            &[1],
            &[2],
        ),
        Case::new(
            "sent again with an earlier time",
            vec![Ingest(vec![event(1, "a").untimed().on(5), event(2, "a").untimed().on(3)])],
            &[1],
            &[],
        ),
        Case::new(
            "committed after a later arrival on another day was compacted",
            vec![
                Ingest(vec![event(1, "a").untimed().on(3).arrived(9), event(2, "b").on(3)]),
                Compact,
                Ingest(vec![event(3, "a").untimed().on(6).meters(&[0, 1]), event(4, "c").on(6)]),
            ],
            &[2, 3, 4],
            &[],
        ),
        Case::new(
            "one event on many days",
            vec![Ingest((0..9).map(|day| event(9 - i64::from(day), "a").untimed().on(day)).collect())],
            &[1],
            &[],
        ),
        Case::new(
            "what is lost on its own day is still measured by the one that counts",
            vec![Ingest(vec![
                event(1, "a"),
                event(2, "a").untimed().on(1),
                event(3, "a").untimed().on(1),
                event(4, "b").untimed(),
                event(5, "b").untimed().on(1).data("{}"),
                event(6, "b").untimed().on(1),
            ])],
            &[1, 4],
            &[2, 3, 5],
        ),
        Case::new(
            "meters vanish together across days",
            vec![Ingest(vec![event(1, "a").untimed(), event(2, "a").untimed().on(2).meters(&[0, 1, 2])])],
            &[1],
            &[],
        ),
    ]
}

fn windows() -> Vec<Case> {
    let far = |days: i32| {
        vec![Ingest(vec![event(1, "a").untimed()]), Compact, Ingest(vec![event(2, "a").untimed().on(days)])]
    };
    vec![
        Case::new("the last day of the window", far(35), &[1], &[]),
        Case::new("one day past the window", far(36), &[1, 2], &[]),
        Case::new("a window of no days", far(1), &[1, 2], &[]).window(Some(0)),
        Case::new("an unlimited window", far(4_000), &[1], &[]).window(None),
        Case::new("a window longer than time", far(4_000), &[1], &[]).window(Some(u32::MAX)),
        Case::new(
            "equal times, whatever their age",
            vec![Ingest(vec![event(1, "a"), event(2, "b").on(400)]), Compact, Ingest(vec![event(3, "a")])],
            &[1, 2],
            &[],
        ),
        Case::new(
            "days that are compacted together see no further than each alone",
            vec![
                Ingest(vec![event(1, "x").untimed()]),
                Compact,
                Ingest(vec![event(11, "z").untimed().on(20)]),
                Compact,
                // z makes days 20 and 40 one commit, and day 20 is near day 0.
                Ingest(vec![event(2, "x").untimed().on(40), event(3, "z").untimed().on(40)]),
            ],
            &[1, 2, 3],
            &[],
        ),
        Case::new(
            "what does not count itself takes no other with it",
            vec![
                Ingest(vec![event(1, "a").untimed(), event(9, "a").untimed().on(60)]),
                Compact,
                Ingest(vec![event(5, "a").untimed().on(30)]),
            ],
            &[1, 9],
            &[],
        ),
    ]
}

/// Days that fit into memory and days that do not must come out alike.
fn run(cases: &[Case]) {
    for memory_bytes in [1 << 30, 700] {
        let settings = CompactSettings { memory_bytes, ..CompactSettings::default() };
        for case in cases {
            case.run(settings);
        }
    }
}

#[test]
fn within_a_day() {
    run(&same_day());
}

#[test]
fn across_days() {
    run(&several_days());
}

#[test]
fn the_identity_window() {
    run(&windows());
}

#[test]
fn a_conflict_says_what_differs_and_keeps_the_event() {
    let lake = TestLake::in_memory();
    lake.ingest(&[event(1, "a"), event(2, "a").tenant("b").data(r#"{"v":2}"#).at_second(11)]);
    lake.compact();
    let texts = lake.conflict_texts();
    let [(offset, detail, payload)] = &texts[..] else { panic!("{texts:?}") };
    assert_eq!(*offset, 2);
    let expected =
        "an event with this source and id was counted before, with another tenant and time and data";
    assert_eq!(detail, expected);
    let payload: serde_json::Value = serde_json::from_str(payload).unwrap();
    let expected = serde_json::json!({
        "specversion": "1.0", "source": "/test", "id": "a", "type": "sample", "subject": "b",
        "time": "2026-05-01T00:00:11Z", "data": { "v": 2 },
    });
    assert_eq!(payload, expected);
}

#[test]
fn ties_stand_in_the_order_of_arrival() {
    let lake = TestLake::in_memory();
    // Arrivals run against the order of ids, offsets and commits.
    lake.ingest(&[event(1, "a").arrived(50), event(2, "b").arrived(40)]);
    lake.ingest(&[event(3, "c").arrived(30), event(4, "d").arrived(40).meters(&[])]);
    lake.compact();
    lake.ingest(&[event(5, "e").arrived(35), event(6, "f").arrived(35)]);
    lake.compact();
    let files = lake.snapshot(sql::lake::Table::UsageEvents, None).files;
    let [file] = &files[..] else { panic!("{files:?}") };
    let offsets: Vec<i64> = lake.rows_of(file).iter().map(|row| row.offset).collect();
    assert_eq!(offsets, [4, 3, 5, 6, 2, 1], "nulls first, then by arrival, then by offset");
}

#[test]
fn a_current_thread_runtime_will_do() {
    let lake = TestLake::in_memory();
    lake.ingest(&[event(1, "a"), event(2, "a")]);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let report = runtime.block_on(jobs::compact::compact(&lake.lake, CompactSettings::default(), |_| ()));
    assert_eq!(report.unwrap().duplicate_rows, 1);
}
