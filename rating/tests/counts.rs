//! Deltas, counters and distinct resources: named cases, and random events cut into hours and composed again against
//! brute force.

mod oracle;

use std::collections::{BTreeMap, BTreeSet};

use oracle::config;
use proptest::prelude::*;
use rating::quantity::FoldError;
use rating::quantity::cumulative::{CumulativeFold, CumulativeState};
use rating::quantity::delta::DeltaFold;
use rating::quantity::unique::UniqueFold;

const MINUTE_US: i64 = 60_000_000;
const NANO: i128 = 1_000_000_000;

type DeltaRow<'a> = (&'a str, &'a [(i64, i128)], [&'a str; 4]);

#[test]
fn deltas() {
    // name, (minute, value), then sum, count, max, busiest hour
    let rows: [DeltaRow; 5] = [
        ("nothing", &[], ["0", "0", "0", "0"]),
        ("one hour", &[(0, 1), (59, 2)], ["3", "2", "2", "3"]),
        ("busiest is not the highest value", &[(0, 5), (60, 3), (119, 3), (120, 4)], ["15", "4", "5", "6"]),
        ("negative corrections", &[(0, 5), (1, -7)], ["-2", "2", "5", "-2"]),
        ("same instant counts twice", &[(7, 2), (7, 2)], ["4", "2", "2", "4"]),
    ];
    for (name, events, expected) in rows {
        let mut fold = DeltaFold::new(0);
        for &(minute, value) in events {
            fold.event(minute * MINUTE_US, value * NANO).unwrap();
        }
        let rollup = fold.cut(600 * MINUTE_US).unwrap();
        let found = [rollup.sum(), rollup.count(), rollup.max(), rollup.busiest_hour()];
        assert_eq!(found.map(|value| value.to_string()), expected, "{name}");
    }
}

type CounterRow<'a> = (&'a str, &'a [(u32, i128)], &'a str, u64);

#[test]
fn counters() {
    // name, (resource, value) one minute apart, then increase, resets; the period starts after the second
    let rows: [CounterRow; 7] = [
        ("nothing", &[], "0", 0),
        ("first ever adds nothing", &[(0, 70), (1, 30), (2, 50)], "0", 0),
        ("carried over the start", &[(0, 70), (1, 30), (0, 75), (1, 31)], "6", 0),
        ("growth", &[(0, 1), (0, 2), (0, 3), (0, 5)], "3", 0),
        ("reset adds the new value", &[(0, 10), (0, 20), (0, 4), (0, 6)], "6", 1),
        ("reset to zero", &[(0, 10), (0, 20), (0, 0), (0, 0)], "0", 1),
        ("each resource has its own counter", &[(0, 10), (1, 100), (0, 12), (1, 90)], "92", 1),
    ];
    for (name, samples, increase, resets) in rows {
        let mut fold = CumulativeFold::new(0, &CumulativeState::default());
        for (minute, &(resource, value)) in samples.iter().enumerate() {
            if minute == 2 {
                fold.cut(2 * MINUTE_US).unwrap();
            }
            fold.sample(minute as i64 * MINUTE_US, resource, value * NANO).unwrap();
        }
        let rollup = fold.cut(600 * MINUTE_US).unwrap();
        let in_period = samples.len() > 2;
        let found = if in_period { rollup.increase().to_string() } else { "0".to_owned() };
        assert_eq!((found.as_str(), rollup.resets), (increase, resets), "{name}");
    }
}

#[test]
fn the_edges_of_128_bits_are_errors() {
    let mut fold = DeltaFold::new(0);
    fold.event(0, i128::MAX).unwrap();
    assert_eq!(fold.event(1, 1), Err(FoldError::Overflow { what: "sum", at_us: 1 }));
    let mut fold = CumulativeFold::new(0, &CumulativeState::default());
    fold.sample(0, 0, i128::MIN).unwrap();
    assert_eq!(fold.sample(1, 0, i128::MAX), Err(FoldError::Overflow { what: "increase", at_us: 1 }));
    let mut fold = CumulativeFold::new(0, &CumulativeState::default());
    for resource in 0..2 {
        fold.sample(0, resource, 0).unwrap();
    }
    fold.sample(1, 0, i128::MAX).unwrap();
    assert_eq!(fold.sample(2, 1, 1), Err(FoldError::Overflow { what: "increase", at_us: 2 }));
}

fn events() -> impl Strategy<Value = Vec<(i64, u32, i128)>> {
    let event = (0_i64..900, 0_u32..3, -5_i128..30);
    prop::collection::vec(event, 0..25).prop_map(|mut events| {
        events.sort_by_key(|event| event.0);
        events.into_iter().map(|(minute, resource, value)| (minute * MINUTE_US, resource, value)).collect()
    })
}

fn cuts() -> impl Strategy<Value = Vec<i64>> {
    prop::collection::vec(0_i64..900, 0..6).prop_map(|mut cuts| {
        cuts.push(900);
        cuts.sort_unstable();
        cuts.into_iter().map(|minute| minute * MINUTE_US).collect()
    })
}

proptest! {
    #![proptest_config(config(5))]

    #[test]
    fn composed_deltas_equal_raw(events in events(), cuts_us in cuts()) {
        let mut fold = DeltaFold::new(0);
        let mut fed = events.iter().peekable();
        let mut parts = Vec::new();
        for at_us in cuts_us {
            while let Some(&(time_us, _, value)) = fed.next_if(|event| event.0 < at_us) {
                fold.event(time_us, value).unwrap();
            }
            parts.push(fold.cut(at_us).unwrap());
        }
        // From the left and from the right: composition is associative.
        let left = parts[1..].iter().fold(parts[0].clone(), |sum, part| sum.followed_by(part).unwrap());
        let (last, before) = parts.split_last().unwrap();
        let right = before.iter().rev().fold(last.clone(), |sum, part| part.followed_by(&sum).unwrap());
        prop_assert_eq!(&left, &right);
        let mut hours: BTreeMap<i64, i128> = BTreeMap::new();
        for &(time_us, _, value) in &events {
            *hours.entry(time_us / (60 * MINUTE_US)).or_default() += value;
        }
        prop_assert_eq!(left.sum_nano, events.iter().map(|event| event.2).sum::<i128>());
        prop_assert_eq!(left.samples.count, events.len() as u64);
        prop_assert_eq!(left.max_nano, events.iter().map(|event| event.2).max());
        prop_assert_eq!(left.hours.highest_nano(), hours.values().max().copied());
    }

    #[test]
    fn composed_counters_equal_raw(events in events(), cuts_us in cuts()) {
        let mut fold = CumulativeFold::new(0, &CumulativeState::default());
        let mut fed = events.iter().peekable();
        let mut parts = Vec::new();
        for at_us in cuts_us {
            while let Some(&(time_us, resource, value)) = fed.next_if(|event| event.0 < at_us) {
                fold.sample(time_us, resource, value).unwrap();
            }
            parts.push(fold.cut(at_us).unwrap());
            fold = CumulativeFold::new(at_us, &fold.closing());
        }
        let composed = parts[1..].iter().fold(parts[0], |sum, part| sum.followed_by(part).unwrap());
        let mut increase = 0;
        for resource in 0..3 {
            let values: Vec<i128> =
                events.iter().filter(|event| event.1 == resource).map(|event| event.2).collect();
            for pair in values.windows(2) {
                increase += if pair[1] < pair[0] { pair[1] } else { pair[1] - pair[0] };
            }
        }
        prop_assert_eq!(composed.increase_nano, increase);
    }

    #[test]
    fn distinct_resources_equal_sets(events in events(), mut cuts_us in cuts(), resume in any::<bool>()) {
        cuts_us.dedup();
        let mut fold = UniqueFold::new(0);
        let mut fed = events.iter().peekable();
        for at_us in cuts_us {
            let mut resources = BTreeSet::new();
            let mut resource_hours = BTreeSet::new();
            while let Some(&(time_us, resource, _)) = fed.next_if(|event| event.0 < at_us) {
                if resume {
                    fold = UniqueFold::resume(&fold.closing(time_us));
                }
                fold.seen(time_us, resource).unwrap();
                resources.insert(resource);
                resource_hours.insert((resource, time_us / (60 * MINUTE_US)));
            }
            prop_assert!(fold.resources_seen().eq(resources.iter().copied()));
            let totals = fold.finish_span(at_us).unwrap();
            prop_assert_eq!(totals.resources, resources.len() as u64);
            prop_assert_eq!(totals.resource_hours, resource_hours.len() as u64);
        }
    }
}
