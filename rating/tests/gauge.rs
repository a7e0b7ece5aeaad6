//! Gauges: named cases, and every measure against brute force over random samples, cuts and resumptions.

mod oracle;

use num_rational::BigRational;
use oracle::gauge::{Gauge, Sample, integral, p95};
use oracle::{config, fits, rational, whole};
use proptest::prelude::*;
use rating::exact::Exact;
use rating::period::Span;
use rating::quantity::FoldError;
use rating::quantity::gauge::{GaugeExtras, GaugeFold, GaugeSample, GaugeState, GaugeTotals};

const MINUTE_US: i64 = 60_000_000;
const HOUR_US: i64 = 60 * MINUTE_US;
const NANO: i128 = 1_000_000_000;
const ALL: GaugeExtras = GaugeExtras { p95: true, sum_of_peaks: true };

/// The totals of `[0, 10 h)` for samples given as (minute, resource, level).
fn ten_hours(expires_after_us: Option<i64>, samples: &[(i64, u32, i128)]) -> GaugeTotals {
    let first_us = samples.first().map_or(0, |sample| sample.0 * MINUTE_US).min(0);
    let mut fold = GaugeFold::new(expires_after_us, ALL, first_us, &GaugeState::default()).unwrap();
    let mut started = false;
    for &(minute, resource, level) in samples {
        if minute >= 0 && !started {
            fold.finish_span(0).unwrap();
            started = true;
        }
        fold.sample(minute * MINUTE_US, resource, level * NANO).unwrap();
    }
    if !started {
        fold.finish_span(0).unwrap();
    }
    fold.finish_span(10 * HOUR_US).unwrap()
}

type Row<'a> = (&'a str, Option<i64>, &'a [(i64, u32, i128)], [&'a str; 7]);

#[test]
fn named_cases() {
    let period = Span { start_us: 0, end_us: 10 * HOUR_US };
    let hour = Some(HOUR_US);
    // name, expiry, samples, then peak, average, min, last, unit-hours, sum of peaks, carried in
    let rows: [Row; 10] = [
        ("no sample ever", None, &[], ["0", "0", "0", "0", "0", "0", "0"]),
        ("zero before the first", None, &[(300, 0, 8)], ["8", "4", "0", "8", "40", "8", "0"]),
        ("carried over the start", None, &[(-900, 0, 7)], ["7", "7", "7", "7", "70", "7", "7"]),
        ("later arrival wins", None, &[(0, 0, 9), (0, 0, 2)], ["2", "2", "2", "2", "20", "2", "0"]),
        (
            "a swap at one instant is no peak",
            None,
            &[(-1, 0, 5), (60, 1, 5), (60, 0, 0)],
            ["5", "5", "5", "5", "50", "10", "5"],
        ),
        ("peaks apart", None, &[(0, 0, 6), (300, 0, 0), (300, 1, 4)], ["6", "5", "4", "4", "50", "10", "0"]),
        ("expires", hour, &[(0, 0, 10)], ["10", "1", "0", "0", "10", "10", "0"]),
        ("expiry renewed", hour, &[(0, 0, 10), (30, 0, 10)], ["10", "1.5", "0", "0", "15", "10", "0"]),
        ("expiry after the start", hour, &[(-30, 0, 4)], ["4", "0.2", "0", "0", "2", "4", "4"]),
        ("negative level", None, &[(0, 0, -3), (300, 0, 3)], ["3", "0", "-3", "3", "0", "3", "0"]),
    ];
    for (name, expiry, samples, expected) in rows {
        let totals = ten_hours(expiry, samples);
        let rollup = &totals.rollup;
        let found = [
            rollup.peak(),
            rollup.average(&period),
            rollup.min(),
            rollup.last(),
            rollup.unit_hours(),
            totals.sum_of_peaks.clone().unwrap(),
            Exact::from_nano(rollup.opening_nano),
        ];
        assert_eq!(found.map(|value| value.to_string()), expected, "{name}");
    }
}

#[test]
fn p95_drops_the_top_twentieth_of_five_minute_averages() {
    // 120 buckets in ten hours: the six highest are dropped.
    for (minutes_at_100, expected) in [(30, "1"), (31, "20.8"), (35, "100"), (0, "1")] {
        let totals = ten_hours(None, &[(0, 0, 1), (60, 0, 100), (60 + minutes_at_100, 0, 1)]);
        assert_eq!(totals.p95.unwrap().to_string(), expected, "{minutes_at_100} minutes");
    }
}

#[test]
fn levels_beyond_128_bits_are_an_error_and_integrals_are_not() {
    let mut fold = GaugeFold::new(None, GaugeExtras::default(), 0, &GaugeState::default()).unwrap();
    fold.sample(0, 0, i128::MAX).unwrap();
    let error = fold.sample(1, 1, 1).unwrap_err();
    assert_eq!(error, FoldError::Overflow { what: "sum over the resources", at_us: 1 });
    let named = error.of("acme", "storage");
    assert_eq!(named.to_string(), "tenant acme, meter storage: no quantity");

    let mut fold = GaugeFold::new(None, GaugeExtras::default(), i64::MIN, &GaugeState::default()).unwrap();
    fold.sample(i64::MIN, 0, i128::MAX).unwrap();
    let totals = fold.finish_span(i64::MAX).unwrap();
    let span = Span { start_us: i64::MIN, end_us: i64::MAX };
    assert_eq!(totals.rollup.average(&span), Exact::from_nano(i128::MAX));
    assert_eq!(totals.rollup.integral.to_i128(), None);
}

/// A level times the microseconds of a bucket has to fit 128 bits; one more unit leaves the percentile alone unknown.
#[test]
fn the_highest_level_of_which_a_percentile_is_known() {
    let bucket_us: i64 = 300_000_000;
    let most = i128::MAX / i128::from(bucket_us);
    for (level_nano, is_known) in [(most, true), (most + 1, false), (-most, true), (-most - 1, false)] {
        for start_us in [0, 1, bucket_us - 1] {
            let mut fold = GaugeFold::new(None, ALL, start_us, &GaugeState::default()).unwrap();
            fold.sample(start_us, 0, level_nano).unwrap();
            let totals = fold.finish_span(3 * bucket_us).unwrap();
            assert_eq!(totals.p95, is_known.then(|| Exact::from_nano(level_nano)), "{level_nano}");
            assert_eq!(totals.rollup.peak(), Exact::from_nano(level_nano));
        }
    }
}

#[test]
fn time_never_goes_back() {
    let mut fold = GaugeFold::new(None, ALL, 100, &GaugeState::default()).unwrap();
    assert_eq!(fold.sample(99, 0, 1), Err(FoldError::OutOfOrder { time_us: 99, now_us: 100 }));
    assert_eq!(fold.cut(99), Err(FoldError::OutOfOrder { time_us: 99, now_us: 100 }));
}

#[test]
fn a_late_event_shifts_stretches_in_which_its_resource_is_silent() {
    let day = |level: i128| {
        let mut fold = GaugeFold::new(None, ALL, 0, &GaugeState::default()).unwrap();
        fold.sample(0, 0, level).unwrap();
        fold.cut(HOUR_US).unwrap();
        fold.sample(HOUR_US + 10, 1, 5).unwrap();
        fold.sample(HOUR_US + 20, 1, 2).unwrap();
        fold.cut(2 * HOUR_US).unwrap()
    };
    assert_eq!(day(40).with_opening(70).unwrap(), day(70));
}

#[derive(Debug, Clone)]
struct Scenario {
    samples: Vec<Sample>,
    expires_after_us: Option<i64>,
    start_us: i64,
    /// Ends of spans; the last one ends the period.
    span_ends_us: Vec<i64>,
    cuts_us: Vec<i64>,
    resume: bool,
}

/// Times on a grid of 45 s with small odd offsets, so that equal instants and partial buckets are frequent.
fn time_us(range: std::ops::Range<i64>) -> impl Strategy<Value = i64> {
    (range, prop_oneof![3 => Just(0), 1 => -1_i64..2]).prop_map(|(step, odd)| step * 45_000_000 + odd)
}

/// Where a scenario lies: its times reach from 40 steps before to 90 after.
fn base_us() -> impl Strategy<Value = i64> {
    let (before_us, after_us) = (40 * 45_000_000 + 1, 90 * 45_000_000 + 1);
    prop_oneof![6 => Just(0), 1 => Just(i64::MIN + before_us), 1 => Just(i64::MAX - after_us)]
}

/// Everyday levels, the largest that an event may carry, and those at the edges of 64 and 128 bits.
fn level_nano(is_extreme: bool) -> BoxedStrategy<i128> {
    let usual = prop_oneof![8 => -20_i128..50, 1 => Just(0), 1 => Just(10_i128.pow(24))];
    if !is_extreme {
        return usual.boxed();
    }
    let edges = [
        i64::MIN.into(),
        i64::MAX.into(),
        i128::from(i64::MIN) * NANO,
        i128::from(i64::MAX) * NANO,
        10_i128.pow(38) - 1,
        1 - 10_i128.pow(38),
        i128::MAX,
        i128::MIN,
    ];
    prop_oneof![1 => usual, 2 => (prop::sample::select(edges.to_vec()), -1_i128..2).prop_map(|(edge, beside)| edge.saturating_add(beside))]
        .boxed()
}

fn scenario() -> impl Strategy<Value = Scenario> {
    let is_extreme = prop_oneof![3 => Just(false), 1 => Just(true)];
    (base_us(), is_extreme).prop_flat_map(|(base_us, is_extreme)| {
        let sample = (time_us(-40..80), 0_u32..4, level_nano(is_extreme)).prop_map(
            move |(time_us, resource, level_nano)| Sample {
                time_us: base_us + time_us,
                resource,
                level_nano,
            },
        );
        let at_us = move |range| time_us(range).prop_map(move |time_us| base_us + time_us);
        (
            prop::collection::vec(sample, 0..14),
            prop_oneof![2 => Just(None), 1 => time_us(1..30).prop_map(Some)],
            at_us(-10..10),
            prop::collection::vec(at_us(10..90), 1..3),
            prop::collection::vec(at_us(-10..90), 0..5),
            any::<bool>(),
        )
            .prop_map(
                |(mut samples, expires_after_us, start_us, mut span_ends_us, cuts_us, resume)| {
                    samples.sort_by_key(|sample| sample.time_us);
                    span_ends_us.sort_unstable();
                    Scenario { samples, expires_after_us, start_us, span_ends_us, cuts_us, resume }
                },
            )
    })
}

enum Step {
    SpanEnd,
    Cut,
    Samples(Vec<GaugeSample>),
}

fn steps(scenario: &Scenario) -> Vec<(i64, Step)> {
    let end_us = *scenario.span_ends_us.last().unwrap();
    let inside = |at_us: i64| scenario.start_us <= at_us && at_us < end_us;
    let mut steps = Vec::new();
    steps.extend(scenario.span_ends_us.iter().map(|&at_us| (at_us, Step::SpanEnd)));
    steps.extend(scenario.cuts_us.iter().filter(|&&at_us| inside(at_us)).map(|&at_us| (at_us, Step::Cut)));
    let samples = scenario.samples.iter().filter(|sample| inside(sample.time_us));
    steps.extend(samples.map(|sample| (sample.time_us, Step::Samples(vec![as_fed(sample)]))));
    steps.sort_by_key(|(at_us, _)| *at_us);
    // What comes between two cuts is fed in one piece.
    let mut joined: Vec<(i64, Step)> = Vec::new();
    for (at_us, step) in steps {
        match (joined.last_mut(), step) {
            (Some((_, Step::Samples(before))), Step::Samples(next)) => before.extend(next),
            (_, step) => joined.push((at_us, step)),
        }
    }
    joined
}

fn as_fed(sample: &Sample) -> GaugeSample {
    GaugeSample { time_us: sample.time_us, resource: sample.resource, level_nano: sample.level_nano }
}

fn feed(fold: &mut GaugeFold, samples: Vec<GaugeSample>) -> Result<(), FoldError> {
    fold.samples(samples.into_iter().enumerate()).map_err(|(_, error)| error)
}

/// Feeds a scenario; at each cut the fold may be dropped and resumed from its closing state.
fn fold_scenario(scenario: &Scenario, extras: GaugeExtras) -> Result<Vec<GaugeTotals>, FoldError> {
    let mut before =
        GaugeFold::new(scenario.expires_after_us, extras, i64::MIN, &GaugeState::default()).unwrap();
    let earlier = scenario.samples.iter().filter(|sample| sample.time_us < scenario.start_us);
    feed(&mut before, earlier.map(as_fed).collect())?;
    before.cut(scenario.start_us)?;
    let mut fold = GaugeFold::new(scenario.expires_after_us, extras, scenario.start_us, &before.closing())?;
    let mut spans = Vec::new();
    let mut segments = Vec::new();
    for (at_us, step) in steps(scenario) {
        match step {
            Step::Samples(samples) => feed(&mut fold, samples)?,
            Step::Cut => {
                segments.push(fold.cut(at_us)?);
                if scenario.resume {
                    fold = serde_json::from_str(&serde_json::to_string(&fold).unwrap()).unwrap();
                }
            }
            Step::SpanEnd => {
                segments.push(fold.clone().cut(at_us)?);
                let totals = fold.finish_span(at_us)?;
                let mut composed = segments[0].clone();
                for segment in &segments[1..] {
                    composed = composed.followed_by(segment).unwrap();
                }
                assert_eq!(composed, totals.rollup, "composed roll-ups");
                segments.clear();
                spans.push(totals);
                if scenario.resume {
                    fold = GaugeFold::new(scenario.expires_after_us, extras, at_us, &fold.closing())?;
                }
            }
        }
    }
    Ok(spans)
}

fn gauge(scenario: &Scenario) -> Gauge<'_> {
    Gauge { samples: &scenario.samples, expires_after_us: scenario.expires_after_us, resources: 4 }
}

/// Whether some sum is beyond 128 bits while it holds; or else, whether the levels are so small that no sum on the way to one
/// can be.
fn overflows(scenario: &Scenario) -> (bool, bool) {
    let stretches = gauge(scenario).stretches(i64::MIN, *scenario.span_ends_us.last().unwrap());
    let levels = |resource| {
        let own = scenario.samples.iter().filter(move |sample| sample.resource == resource);
        own.map(|sample| sample.level_nano.unsigned_abs()).max().unwrap_or(0)
    };
    let highest: BigRational =
        (0..4).map(|resource| BigRational::from_integer(levels(resource).into())).sum();
    (stretches.iter().any(|stretch| !fits(&stretch.sum)), highest <= whole(i128::MAX))
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn every_measure_equals_brute_force(scenario in scenario()) {
        let (must_fail, must_not) = overflows(&scenario);
        let plain = fold_scenario(&scenario, GaugeExtras::default());
        let found = match fold_scenario(&scenario, ALL) {
            Ok(found) => found,
            Err(error) => {
                let is_named = matches!(error, FoldError::Overflow { what: "sum over the resources", .. });
                prop_assert!(is_named, "{}", error);
                prop_assert!(!must_not, "{}", error);
                prop_assert_eq!(plain.unwrap_err(), error);
                return Ok(());
            }
        };
        prop_assert!(!must_fail, "an overflow that nobody noticed");
        let alone: Vec<_> = plain.unwrap().into_iter().map(|totals| totals.rollup).collect();
        prop_assert_eq!(alone, found.iter().map(|totals| totals.rollup.clone()).collect::<Vec<_>>());
        let gauge = gauge(&scenario);
        let mut start_us = scenario.start_us;
        for (totals, &end_us) in found.iter().zip(&scenario.span_ends_us) {
            let rollup = &totals.rollup;
            prop_assert_eq!(rollup.span, Span { start_us, end_us });
            let stretches = gauge.stretches(start_us, end_us);
            let sums = || stretches.iter().map(|stretch| stretch.sum.clone());
            if start_us < end_us {
                prop_assert_eq!(Some(whole(rollup.highest_nano)), sums().max(), "peak");
                prop_assert_eq!(Some(whole(rollup.lowest_nano)), sums().min(), "min");
                prop_assert_eq!(whole(rollup.closing_nano), gauge.sum(i128::from(end_us) - 1), "last");
                prop_assert_eq!(whole(rollup.opening_nano), gauge.sum(i128::from(start_us) - 1), "carried in");
            }
            let integral = integral(&stretches);
            prop_assert_eq!(rational(&rollup.unit_hours()), &integral / whole(NANO * i128::from(HOUR_US)));
            let period = Span { start_us: scenario.start_us, end_us: scenario.start_us + 7_777_777 };
            prop_assert_eq!(rational(&rollup.average(&period)), integral / whole(NANO * 7_777_777));
            let sum_of_peaks = gauge.sum_of_peaks(&stretches) / whole(NANO);
            prop_assert_eq!(rational(totals.sum_of_peaks.as_ref().unwrap()), sum_of_peaks);
            match &totals.p95 {
                Some(found) => prop_assert_eq!(rational(found), p95(&stretches), "p95"),
                // Only a level that is too high for the length of a bucket leaves it unknown.
                None => prop_assert!(sums().any(|sum| !fits(&(sum * whole(300_000_000)))), "p95"),
            }
            let inside = |sample: &&Sample| start_us <= sample.time_us && sample.time_us < end_us;
            let times: Vec<i64> = scenario.samples.iter().filter(inside).map(|sample| sample.time_us).collect();
            prop_assert_eq!(rollup.samples.count, times.len() as u64);
            prop_assert_eq!(rollup.samples.first_us, times.first().copied());
            prop_assert_eq!(rollup.samples.last_us, times.last().copied());
            start_us = end_us;
        }
    }
}
