//! Deltas, counters and distinct resources: named cases, and random events cut into hours and composed again against
//! brute force.

mod oracle;

use std::collections::{BTreeMap, BTreeSet};

use num_rational::BigRational;
use oracle::{config, fits, whole};
use proptest::prelude::*;
use rating::exact::Exact;
use rating::quantity::FoldError;
use rating::quantity::cumulative::{CumulativeFold, CumulativeState};
use rating::quantity::delta::DeltaFold;
use rating::quantity::rollup::{CumulativeRollup, DeltaRollup, RollupError};
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
    // The whole sum fits, and so does the first hour's; the second hour's is one more than fits.
    let mut fold = DeltaFold::new(0);
    let hour_us = 60 * MINUTE_US;
    for (time_us, value) in [(0, -5), (hour_us, i128::MAX - 1), (hour_us + 1, 1)] {
        fold.event(time_us, value).unwrap();
    }
    assert_eq!(fold.clone().cut(2 * hour_us).unwrap().busiest_hour(), Exact::from_nano(i128::MAX));
    let beyond = FoldError::Overflow { what: "sum of an hour", at_us: hour_us };
    assert_eq!(fold.event(hour_us + 2, 1), Err(beyond));
    // The same hour in two stretches.
    let stretch = |start_us, value| {
        let mut fold = DeltaFold::new(start_us);
        fold.event(start_us, value).unwrap();
        fold.cut(start_us + 1).unwrap()
    };
    let before = stretch(hour_us - 1, -1).followed_by(&stretch(hour_us, i128::MAX)).unwrap();
    assert_eq!(before.followed_by(&stretch(hour_us + 1, 1)), Err(beyond.into()));
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

type Event = (i64, u32, i128);

#[derive(Debug, Clone)]
struct Scenario {
    start_us: i64,
    events: Vec<Event>,
    /// The last one is the end.
    cuts_us: Vec<i64>,
    resume: bool,
}

/// Everyday values, and those at the edges of what events, 64 and 128 bits can carry.
fn value(is_extreme: bool) -> BoxedStrategy<i128> {
    if !is_extreme {
        return (-5_i128..30).boxed();
    }
    let edges = [
        i64::MIN.into(),
        i64::MAX.into(),
        i128::from(i64::MAX) * NANO,
        10_i128.pow(38) - 1,
        i128::MAX,
        i128::MIN,
    ];
    let beside = (prop::sample::select(edges.to_vec()), -1_i128..2);
    prop_oneof![-5_i128..30, beside.prop_map(|(edge, beside)| edge.saturating_add(beside))].boxed()
}

/// Fifteen hours, which may be the first or the last that time has.
fn scenario() -> impl Strategy<Value = Scenario> {
    let start_us = prop_oneof![6 => Just(0), 1 => Just(i64::MIN), 1 => Just(i64::MAX - 900 * MINUTE_US)];
    let is_extreme = prop_oneof![3 => Just(false), 1 => Just(true)];
    (start_us, is_extreme).prop_flat_map(|(start_us, is_extreme)| {
        let event = (0_i64..900, 0_u32..3, value(is_extreme));
        let events = prop::collection::vec(event, 0..25);
        let cuts = prop::collection::vec(0_i64..900, 0..6);
        (events, cuts, any::<bool>()).prop_map(move |(mut events, mut cuts, resume)| {
            events.sort_by_key(|event| event.0);
            cuts.push(900);
            cuts.sort_unstable();
            let at_us = |minute: i64| start_us + minute * MINUTE_US;
            Scenario {
                start_us,
                events: events.into_iter().map(|(minute, own, value)| (at_us(minute), own, value)).collect(),
                cuts_us: cuts.into_iter().map(at_us).collect(),
                resume,
            }
        })
    })
}

fn sum(values: impl Iterator<Item = i128>) -> BigRational {
    values.map(whole).sum()
}

fn hour_of(time_us: i64) -> i64 {
    time_us.div_euclid(60 * MINUTE_US)
}

fn fold_deltas(scenario: &Scenario) -> Result<Vec<DeltaRollup>, FoldError> {
    let mut fold = DeltaFold::new(scenario.start_us);
    let mut fed = scenario.events.iter().peekable();
    let mut parts = Vec::new();
    for &at_us in &scenario.cuts_us {
        while let Some(&(time_us, _, value)) = fed.next_if(|event| event.0 < at_us) {
            fold.event(time_us, value)?;
        }
        parts.push(fold.cut(at_us)?);
    }
    Ok(parts)
}

/// From the left and from the right: composition is associative.
fn both_ways(parts: &[DeltaRollup]) -> [Result<DeltaRollup, RollupError>; 2] {
    let left = parts[1..].iter().try_fold(parts[0].clone(), |sum, part| sum.followed_by(part));
    let (last, before) = parts.split_last().unwrap();
    let right = before.iter().rev().try_fold(last.clone(), |sum, part| part.followed_by(&sum));
    [left, right]
}

fn fold_counters(scenario: &Scenario) -> Result<CumulativeRollup, RollupError> {
    let mut fold = CumulativeFold::new(scenario.start_us, &CumulativeState::default());
    let mut fed = scenario.events.iter().peekable();
    let mut composed: Option<CumulativeRollup> = None;
    for &at_us in &scenario.cuts_us {
        while let Some(&(time_us, resource, value)) = fed.next_if(|event| event.0 < at_us) {
            fold.sample(time_us, resource, value)?;
        }
        let part = fold.cut(at_us)?;
        composed = Some(match composed {
            None => part,
            Some(before) => before.followed_by(&part)?,
        });
        fold = CumulativeFold::new(at_us, &fold.closing());
    }
    Ok(composed.unwrap())
}

/// What each sample of each counter adds.
fn increases(events: &[Event]) -> Vec<BigRational> {
    let mut increases = Vec::new();
    for resource in 0..3 {
        let values: Vec<i128> =
            events.iter().filter(|event| event.1 == resource).map(|event| event.2).collect();
        for pair in values.windows(2) {
            increases.push(if pair[1] < pair[0] { whole(pair[1]) } else { whole(pair[1]) - whole(pair[0]) });
        }
    }
    increases
}

/// Whether all of them together, whatever their signs, are of 128 bits: then no sum of some of them can be beyond.
fn are_small(numbers: &[BigRational]) -> bool {
    fits(&numbers.iter().map(|number| number.clone().max(-number)).sum())
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn composed_deltas_equal_raw(scenario in scenario()) {
        let events = &scenario.events;
        let values = || events.iter().map(|event| event.2);
        let mut hours: BTreeMap<i64, Vec<i128>> = BTreeMap::new();
        for (time_us, _, value) in events {
            hours.entry(hour_of(*time_us)).or_default().push(*value);
        }
        let hours: Vec<BigRational> = hours.into_values().map(|values| sum(values.into_iter())).collect();
        let must_fail = !fits(&sum(values())) || !hours.iter().all(fits);
        let must_not = are_small(&values().map(whole).collect::<Vec<_>>());
        let found = fold_deltas(&scenario).map_err(RollupError::from);
        let found = found.map_or_else(|error| [Err(error.clone()), Err(error)], |parts| both_ways(&parts));
        for rollup in found {
            match rollup {
                Ok(rollup) => {
                    prop_assert!(!must_fail, "an overflow that nobody noticed");
                    prop_assert_eq!(whole(rollup.sum_nano), sum(values()));
                    prop_assert_eq!(rollup.samples.count, events.len() as u64);
                    prop_assert_eq!(rollup.max_nano, values().max());
                    prop_assert_eq!(rollup.hours.highest_nano().map(whole), hours.iter().max().cloned());
                }
                Err(RollupError::Fold(FoldError::Overflow { what: "sum" | "sum of an hour", .. })) => {
                    prop_assert!(!must_not, "nothing overflows");
                }
                Err(error) => prop_assert!(false, "{}", error),
            }
        }
    }

    #[test]
    fn composed_counters_equal_raw(scenario in scenario()) {
        let increases = increases(&scenario.events);
        let all: BigRational = increases.iter().sum();
        match fold_counters(&scenario) {
            Ok(rollup) => {
                prop_assert_eq!(whole(rollup.increase_nano), all);
                prop_assert!(increases.iter().all(fits), "an overflow that nobody noticed");
                let largest = increases.iter().max().cloned().unwrap_or(whole(0)).max(whole(0));
                prop_assert_eq!(whole(rollup.largest_step_nano), largest);
                prop_assert_eq!(rollup.samples.count, scenario.events.len() as u64);
            }
            Err(RollupError::Fold(FoldError::Overflow { what: "increase", .. })) => {
                prop_assert!(!are_small(&increases), "nothing overflows");
            }
            Err(error) => prop_assert!(false, "{}", error),
        }
    }

    #[test]
    fn distinct_resources_equal_sets(mut scenario in scenario()) {
        scenario.cuts_us.dedup();
        let mut fold = UniqueFold::new(scenario.start_us);
        let mut fed = scenario.events.iter().peekable();
        for at_us in scenario.cuts_us {
            let mut resources = BTreeSet::new();
            let mut resource_hours = BTreeSet::new();
            while let Some(&(time_us, resource, _)) = fed.next_if(|event| event.0 < at_us) {
                if scenario.resume {
                    fold = UniqueFold::resume(&fold.closing(time_us));
                }
                fold.seen(time_us, resource).unwrap();
                resources.insert(resource);
                resource_hours.insert((resource, hour_of(time_us)));
            }
            prop_assert!(fold.resources_seen().eq(resources.iter().copied()));
            let totals = fold.finish_span(at_us).unwrap();
            prop_assert_eq!(totals.resources, resources.len() as u64);
            prop_assert_eq!(totals.resource_hours, resource_hours.len() as u64);
        }
    }
}
