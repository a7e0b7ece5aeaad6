//! Random small lakes against a slow and obvious oracle.

use std::collections::{BTreeMap, BTreeSet};

use jobs::compact::CompactSettings;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use crate::concurrency::assert_whole;
use crate::lake::{Event, Row, TestLake, event, sorted};

#[derive(Debug, Clone)]
enum Step {
    Ingest(Vec<Event>),
    Compact,
}

/// An event without its offset, on one of these days.
fn any_event(days: &'static [i32]) -> impl Strategy<Value = Event> {
    let day = prop::sample::select(days);
    let meters = prop::sample::subsequence(vec![0_usize, 1, 2, 3], 0..=3);
    let is_rare = prop::bool::weighted(0.2);
    (0..8_u8, day, 0..3_i64, is_rare, is_rare, is_rare, any::<bool>(), meters, 0..40_i64).prop_map(
        |(id, day, second, other_tenant, other_type, other_data, time_given, meters, arrival)| {
            let plain = event(0, &id.to_string()).on(day).at_second(second).meters(&meters).arrived(arrival);
            let plain = if other_tenant { plain.tenant("beta") } else { plain };
            let plain = if other_type { plain.event_type("other") } else { plain };
            let plain = if other_data { plain.data("{}") } else { plain };
            if time_given { plain } else { plain.untimed() }
        },
    )
}

/// Batches of events and compactions in any order, and how much memory the compactions have. Half of the
/// lakes are read in the order of arrival.
fn steps(days: &'static [i32]) -> impl Strategy<Value = (Vec<Step>, usize)> {
    let batch = prop::collection::vec(any_event(days), 1..12).prop_map(Step::Ingest);
    let step = prop_oneof![3 => batch, 2 => Just(Step::Compact)];
    let memory_bytes = prop::sample::select(vec![1 << 30, 4_000]);
    (prop::collection::vec(step, 1..7), any::<bool>(), memory_bytes).prop_map(
        |(mut steps, in_order, memory_bytes)| {
            let mut offset = 0;
            for step in &mut steps {
                let Step::Ingest(events) = step else { continue };
                for event in events {
                    offset += 1;
                    event.offset = offset;
                    if in_order {
                        event.arrival = offset;
                    }
                }
            }
            (steps, memory_bytes)
        },
    )
}

struct Played {
    lake: TestLake,
    all: Vec<Event>,
    /// By offset: in which step the event was ingested.
    ingested: BTreeMap<i64, usize>,
    compacted: Vec<usize>,
}

fn play(steps: &[Step], settings: CompactSettings) -> Played {
    let lake = TestLake::in_memory();
    let mut played = Played { lake, all: Vec::new(), ingested: BTreeMap::new(), compacted: Vec::new() };
    played.lake.ingest(&[]);
    for (at, step) in steps.iter().chain([&Step::Compact]).enumerate() {
        match step {
            Step::Ingest(events) => {
                played.lake.ingest(events);
                played.ingested.extend(events.iter().map(|event| (event.offset, at)));
                played.all.extend_from_slice(events);
            }
            Step::Compact => {
                played.lake.compact_with(settings).unwrap();
                played.compacted.push(at);
            }
        }
    }
    played.lake.assert_sorted();
    played
}

fn content(event: &Event) -> (&str, &str, Option<i64>, &str) {
    (&event.tenant, &event.event_type, event.time_given.then(|| event.time_us()), &event.data)
}

/// Events of one identity that are near each other, first to arrive first.
fn clusters(all: &[Event], cluster_of_day: impl Fn(i32) -> i32) -> Vec<Vec<&Event>> {
    let mut clusters: BTreeMap<(&str, i32), Vec<&Event>> = BTreeMap::new();
    for event in all {
        clusters.entry((&event.id, cluster_of_day(event.day))).or_default().push(event);
    }
    let mut clusters: Vec<Vec<&Event>> = clusters.into_values().collect();
    for events in &mut clusters {
        events.sort_by_key(|event| (event.arrival, event.offset));
    }
    clusters
}

impl Played {
    /// Whether each later event of a cluster met the one that counts, rather than another that lost later.
    fn winner_was_seen_first(&self, cluster: &[&Event]) -> bool {
        let winner = cluster[0];
        let step = self.ingested[&winner.offset];
        let first_day = cluster.iter().map(|event| event.day).min();
        cluster[1..].iter().all(|event| {
            let other = self.ingested[&event.offset];
            let compacted_between = self.compacted.iter().any(|at| (step..other).contains(at));
            let both_new = !self.compacted.iter().any(|at| (other..step).contains(at));
            compacted_between || (both_new && first_day == Some(winner.day))
        })
    }

    /// Checks the conflicts: an event is measured by the one that counts among those that were there. It
    /// may have been dropped before the first to arrive was committed, and was then measured by another.
    fn check_conflicts(&self, clusters: &[Vec<&Event>]) {
        let recorded = self.lake.conflicts();
        let found: BTreeSet<i64> = recorded.iter().copied().collect();
        assert_eq!(found.len(), recorded.len(), "each is recorded once: {recorded:?}");
        let mut possible = BTreeSet::new();
        for cluster in clusters {
            let exact = self.winner_was_seen_first(cluster);
            for (at, event) in cluster.iter().enumerate().skip(1) {
                let differs = |other: &&Event| content(other) != content(event);
                let (must, may) = if exact {
                    (differs(&cluster[0]), differs(&cluster[0]))
                } else {
                    (cluster[..at].iter().all(differs), cluster[..at].iter().any(differs))
                };
                assert!(!must || found.contains(&event.offset), "{event:?} is a conflict");
                if may {
                    possible.insert(event.offset);
                }
            }
        }
        assert!(found.is_subset(&possible), "{found:?} of {possible:?}");
    }
}

fn check_against_oracle(steps: &[Step], settings: CompactSettings, cluster_of_day: fn(i32) -> i32) {
    let played = play(steps, settings);
    let clusters = clusters(&played.all, cluster_of_day);
    let expected: Vec<Row> = sorted(clusters.iter().flat_map(|cluster| cluster[0].rows()).collect());
    assert_eq!(played.lake.rows_at(None), expected);
    played.check_conflicts(&clusters);
    for version in 1..=played.lake.version() {
        assert_whole(&played.lake, version, &played.all);
    }
}

fn run_property(days: &'static [i32], window: Option<u32>, check: impl Fn(&[Step], CompactSettings)) {
    let mut config = ProptestConfig { failure_persistence: None, ..ProptestConfig::default() };
    config.cases = std::env::var("PROPTEST_CASES").ok().and_then(|it| it.parse().ok()).unwrap_or(40);
    let mut runner = TestRunner::new(config);
    let result = runner.run(&steps(days), |(steps, memory_bytes)| {
        let settings =
            CompactSettings { identity_window_days: window, memory_bytes, ..CompactSettings::default() };
        check(&steps, settings);
        Ok(())
    });
    if let Err(error) = result {
        panic!("{error}\n{runner}");
    }
}

#[test]
fn all_days_within_the_window() {
    run_property(&[0, 1, 2, 3], Some(3), |steps, settings| check_against_oracle(steps, settings, |_| 0));
}

#[test]
fn an_unlimited_window() {
    run_property(&[0, 1, 500], None, |steps, settings| check_against_oracle(steps, settings, |_| 0));
}

#[test]
fn two_groups_of_days_that_do_not_see_each_other() {
    run_property(&[0, 1, 2, 10, 11], Some(3), |steps, settings| {
        check_against_oracle(steps, settings, |day| day / 10);
    });
}

#[test]
fn no_window() {
    run_property(&[0, 1, 2], Some(0), |steps, settings| check_against_oracle(steps, settings, |day| day));
}

/// Where windows overlap, what counts depends on which events were there when a day was compacted. Still,
/// no two that are near each other are left, and each that went had an earlier one near it.
#[test]
fn overlapping_windows_leave_neither_doubles_nor_holes() {
    const WINDOW: i32 = 2;
    run_property(&[0, 1, 2, 3, 4, 5, 6], Some(WINDOW as u32), |steps, settings| {
        let played = play(steps, settings);
        let left: BTreeSet<i64> = played.lake.events_left(&played.all).into_iter().collect();
        for event in &played.all {
            let near: Vec<&Event> = played
                .all
                .iter()
                .filter(|other| other.id == event.id && other.offset != event.offset)
                .filter(|other| (other.day - event.day).abs() <= WINDOW)
                .collect();
            if left.contains(&event.offset) {
                let double = near.iter().find(|other| left.contains(&other.offset));
                assert!(double.is_none(), "{event:?} and {double:?} both count");
            } else {
                let key = |event: &Event| (event.arrival, event.offset);
                assert!(near.iter().any(|other| key(other) < key(event)), "{event:?} went without a cause");
            }
        }
    });
}
