//! Sessions: named cases, and random events against brute force with splits, timeouts, increments and minimum.

mod oracle;

use oracle::config;
use oracle::session::{Event, billed_us, is_too_long, runs};
use proptest::prelude::*;
use rating::period::Span;
use rating::quantity::session::{SessionEvent, SessionFold, SessionOddities, SessionState, SessionTotals};
use rating::quantity::{FoldError, KindName, SessionRules};
use rating::usage::{SpanInParts, Totals};

use SessionEvent::{BareHeartbeat, Complete, Heartbeat, Start, Stop};

const MINUTE_US: i64 = 60_000_000;

/// Minutes billed in `[0, 60)` and `[60, 120)`; events are (minute, session, event), in order.
fn two_hours(rules: SessionRules, events: &[(i64, u32, SessionEvent)]) -> ([i128; 2], SessionOddities) {
    let mut fold = SessionFold::new(rules, -600 * MINUTE_US, &SessionState::default());
    let mut minutes = Vec::new();
    let mut oddities = SessionOddities::default();
    let mut events = events.iter().peekable();
    for end in [0, 60, 120] {
        while let Some(&(minute, session, event)) = events.next_if(|event| event.0 < end) {
            fold.event(minute * MINUTE_US, session, 0, event).unwrap();
        }
        let segment = fold.cut(end * MINUTE_US).unwrap();
        minutes
            .push(segment.totals.iter().map(|totals| totals.billed_us).sum::<i128>() / i128::from(MINUTE_US));
        oddities.stops_without_start += segment.oddities.stops_without_start;
        oddities.ends_before_start += segment.oddities.ends_before_start;
        oddities.timed_out += segment.oddities.timed_out;
    }
    ([minutes[1], minutes[2]], oddities)
}

fn rules(timeout: Option<i64>, increment: Option<i64>, minimum: Option<i64>) -> SessionRules {
    let us = |minutes: Option<i64>| minutes.map(|minutes| minutes * MINUTE_US);
    SessionRules { timeout_us: us(timeout), increment_us: us(increment), minimum_us: us(minimum) }
}

type Row<'a> = (&'a str, SessionRules, &'a [(i64, u32, SessionEvent)], [i128; 2]);

#[test]
fn named_cases() {
    let plain = rules(None, None, None);
    let minutes = |minutes: i64| Complete { end_us: minutes * MINUTE_US };
    // name, rules, events, minutes in the first and second hour
    let rows: [Row; 21] = [
        ("inside", plain, &[(10, 1, Start), (25, 1, Stop)], [15, 0]),
        ("over the boundary", plain, &[(50, 1, Start), (70, 1, Stop)], [10, 10]),
        ("still open at the end", plain, &[(30, 1, Start)], [30, 60]),
        ("open since long ago", plain, &[(-500, 1, Start), (20, 1, Stop)], [20, 0]),
        ("overlapping", plain, &[(0, 1, Start), (10, 2, Start), (20, 1, Stop), (30, 2, Stop)], [40, 0]),
        ("stopped late", plain, &[(55, 1, Start), (119, 1, Stop)], [5, 59]),
        (
            "never stopped, timed out",
            rules(Some(15), None, None),
            &[(0, 1, Start), (10, 1, Heartbeat)],
            [25, 0],
        ),
        ("timeout over the boundary", rules(Some(15), None, None), &[(50, 1, Start)], [10, 5]),
        (
            "alive again after the timeout",
            rules(Some(5), None, None),
            &[(0, 1, Start), (30, 1, Heartbeat), (33, 1, Stop)],
            [8, 0],
        ),
        ("stop after the timeout", rules(Some(5), None, None), &[(0, 1, Start), (30, 1, Stop)], [5, 0]),
        ("alive after its stop", plain, &[(10, 1, Start), (40, 1, Stop), (41, 1, Heartbeat)], [30, 0]),
        ("alive without a start, for ever", plain, &[(10, 1, Heartbeat), (20, 1, BareHeartbeat)], [0, 0]),
        ("started again after its stop", plain, &[(0, 1, Start), (10, 1, Stop), (50, 1, Start)], [20, 60]),
        (
            "alive within the timeout after its stop",
            rules(Some(15), None, None),
            &[(40, 1, Start), (50, 1, Stop), (55, 1, Heartbeat), (65, 1, BareHeartbeat)],
            [10, 0],
        ),
        (
            "alive later than the timeout after its stop",
            rules(Some(15), None, None),
            &[(40, 1, Start), (50, 1, Stop), (66, 1, Heartbeat)],
            [10, 15],
        ),
        (
            "completed after its stop",
            rules(Some(15), None, None),
            &[(0, 1, Start), (10, 1, Stop), (20, 1, minutes(40)), (41, 1, Heartbeat)],
            [45, 0],
        ),
        ("one complete event", plain, &[(40, 1, minutes(80))], [20, 20]),
        ("complete ends before start", plain, &[(40, 1, minutes(30))], [0, 0]),
        ("started increments", rules(None, Some(10), None), &[(0, 1, Start), (21, 1, Stop)], [30, 0]),
        (
            "a started increment is billed once",
            rules(None, Some(30), None),
            &[(50, 1, Start), (70, 1, Stop)],
            [30, 0],
        ),
        (
            "minimum",
            rules(None, None, Some(25)),
            &[(50, 1, Start), (51, 1, Stop), (60, 2, minutes(60))],
            [25, 25],
        ),
    ];
    for (name, rules, events, expected) in rows {
        assert_eq!(two_hours(rules, events).0, expected, "{name}");
    }
}

#[test]
fn a_heartbeat_without_dimensions_keeps_those_of_its_session() {
    let mut fold = SessionFold::new(rules(Some(30), None, None), 0, &SessionState::default());
    // Dimension set 1, and 0 for none; the last heartbeat comes after the timeout and starts a session of its own.
    for (minute, dimensions, event) in [
        (0, 1, Start),
        (10, 0, BareHeartbeat),
        (20, 2, Heartbeat),
        (25, 0, BareHeartbeat),
        (90, 0, BareHeartbeat),
    ] {
        fold.event(minute * MINUTE_US, 7, dimensions, event).unwrap();
    }
    let segment = fold.cut(100 * MINUTE_US).unwrap();
    let minutes: Vec<i128> =
        segment.totals.iter().map(|totals| totals.billed_us / i128::from(MINUTE_US)).collect();
    assert_eq!(minutes, [10, 20, 35]);
    let samples: Vec<u64> = segment.totals.iter().map(|totals| totals.samples.count).collect();
    assert_eq!(samples, [1, 2, 2]);
}

#[test]
fn oddities_are_counted() {
    let late = rules(Some(5), None, None);
    let backwards = Complete { end_us: 0 };
    let events = [
        (1, 9, Stop),
        (2, 1, Start),
        (30, 1, Stop),
        (31, 2, backwards),
        (32, 1, Heartbeat),
        (61, 1, Heartbeat),
    ];
    let (_, oddities) = two_hours(late, &events);
    // The last one begins a session, which times out as the first one did.
    assert_eq!(oddities, SessionOddities { stops_without_start: 3, ends_before_start: 1, timed_out: 2 });
}

/// A stop counts where its session runs, whatever dimensions it names; what ends nothing is no sample of any.
#[test]
fn a_stop_makes_no_series_of_its_own() {
    let mut fold = SessionFold::new(rules(None, None, None), 0, &SessionState::default());
    for (minute, session, dimensions, event) in
        [(10, 1, 0, Start), (20, 1, 2, Stop), (30, 1, 1, Stop), (40, 2, 1, Complete { end_us: 0 })]
    {
        fold.event(minute * MINUTE_US, session, dimensions, event).unwrap();
    }
    let segment = fold.cut(60 * MINUTE_US).unwrap();
    let samples: Vec<u64> = segment.totals.iter().map(|totals| totals.samples.count).collect();
    assert_eq!((samples, segment.totals[0].billed_us), (vec![2], 10 * i128::from(MINUTE_US)));
}

#[test]
fn a_session_longer_than_time_itself_is_an_error() {
    let mut fold = SessionFold::new(rules(None, None, None), i64::MIN, &SessionState::default());
    fold.event(i64::MIN, 1, 0, Start).unwrap();
    assert_eq!(
        fold.event(i64::MAX, 1, 0, Stop),
        Err(FoldError::Overflow { what: "session time", at_us: i64::MAX })
    );
}

#[test]
fn session_time_beyond_128_bits_is_an_error() {
    let part = |start_us: i64, billed_us| {
        let totals = Totals::Session(SessionTotals { billed_us, ..SessionTotals::default() });
        (Span { start_us, end_us: start_us + 5 }, totals)
    };
    let added = |last_us| {
        let mut parts = SpanInParts::new(KindName::Session, Span { start_us: 0, end_us: 15 });
        for (span, totals) in [part(0, i128::MAX - 1), part(5, 1), part(10, last_us)] {
            parts.add(span, totals, [])?;
        }
        parts.finish()
    };
    let Ok(Totals::Session(totals)) = added(0) else { panic!("it fits") };
    assert_eq!(totals.billed_us, i128::MAX);
    assert_eq!(added(1), Err(FoldError::Overflow { what: "session time", at_us: 10 }.into()));
}

/// Instants close together; in a wide scenario also at both ends of time.
fn instant_us(is_wide: bool) -> BoxedStrategy<i64> {
    if !is_wide {
        return (0_i64..100).boxed();
    }
    prop_oneof![6 => 0_i64..100, 1 => i64::MIN..i64::MIN + 100, 2 => i64::MAX - 100..=i64::MAX].boxed()
}

fn event(is_wide: bool) -> impl Strategy<Value = Event> {
    let what = prop_oneof![
        3 => Just(None),
        2 => Just(Some(Heartbeat)),
        1 => Just(Some(BareHeartbeat)),
        2 => Just(Some(Stop)),
        1 => (-3_i64..40).prop_map(|length_us| Some(Complete { end_us: length_us })),
    ];
    (instant_us(is_wide), 0_u32..4, 0_u32..2, what).prop_map(|(time_us, session, dimensions, what)| {
        let what = match what {
            None => Start,
            Some(Complete { end_us }) => Complete { end_us: time_us.saturating_add(end_us) },
            Some(other) => other,
        };
        Event { time_us, session, dimensions, what }
    })
}

fn any_rules(is_wide: bool) -> impl Strategy<Value = SessionRules> {
    let setting = move |range: std::ops::Range<i64>| {
        let huge = if is_wide { 1 } else { 0 };
        prop_oneof![3 => Just(None), 3 => range.prop_map(Some), huge => Just(Some(i64::MAX / 3))]
    };
    (setting(1..20), setting(1..9), setting(1..12)).prop_map(|(timeout_us, increment_us, minimum_us)| {
        SessionRules { timeout_us, increment_us, minimum_us }
    })
}

#[derive(Debug, Clone)]
struct Scenario {
    events: Vec<Event>,
    rules: SessionRules,
    cuts_us: Vec<i64>,
    resume: bool,
}

fn scenario() -> impl Strategy<Value = Scenario> {
    prop_oneof![2 => Just(false), 1 => Just(true)].prop_flat_map(|is_wide| {
        let cut_us = if is_wide { instant_us(true) } else { (0_i64..130).boxed() };
        let cuts_us = prop::collection::vec(cut_us, 1..5);
        let events = prop::collection::vec(event(is_wide), 0..20);
        (events, any_rules(is_wide), cuts_us, any::<bool>()).prop_map(
            |(mut events, rules, mut cuts_us, resume)| {
                events.sort_by_key(|event| event.time_us);
                cuts_us.sort_unstable();
                Scenario { events, rules, cuts_us, resume }
            },
        )
    })
}

/// What each stretch between cuts bills in each of two dimension sets.
fn fold(scenario: &Scenario) -> Result<Vec<[i128; 2]>, FoldError> {
    let Scenario { events, rules, cuts_us, resume } = scenario;
    let mut fold = SessionFold::new(*rules, i64::MIN, &SessionState::default());
    let mut fed = events.iter().peekable();
    let mut billed = Vec::new();
    for &end_us in cuts_us {
        while let Some(event) = fed.next_if(|event| event.time_us < end_us) {
            fold.event(event.time_us, event.session, event.dimensions, event.what)?;
        }
        let segment = fold.cut(end_us)?;
        billed.push([0, 1].map(|at: usize| segment.totals.get(at).map_or(0, |totals| totals.billed_us)));
        if *resume {
            fold = SessionFold::new(*rules, end_us, &fold.closing());
        }
    }
    Ok(billed)
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn split_sessions_equal_brute_force(scenario in scenario()) {
        let Scenario { events, rules, cuts_us, .. } = &scenario;
        let last_us = *cuts_us.last().unwrap();
        let told: Vec<Event> = events.iter().copied().filter(|event| event.time_us < last_us).collect();
        let known: Vec<_> = (0..4).flat_map(|session| runs(&told, session, rules)).collect();
        let is_too_long = known.iter().any(|run| is_too_long(run, last_us, rules));
        let found = match fold(&scenario) {
            Ok(found) => found,
            Err(error) => {
                let is_named = matches!(error, FoldError::Overflow { what: "session time", .. });
                prop_assert!(is_named, "{}", error);
                prop_assert!(is_too_long, "{}", error);
                return Ok(());
            }
        };
        prop_assert!(!is_too_long, "an overflow that nobody noticed");
        let mut start_us = i64::MIN;
        for (found, &end_us) in found.iter().zip(cuts_us) {
            for dimensions in 0..2 {
                let expected: i128 =
                    known.iter().map(|run| billed_us(run, dimensions, start_us, end_us, rules)).sum();
                let found = found[dimensions as usize];
                prop_assert_eq!(found, expected, "[{}, {}) of {}", start_us, end_us, dimensions);
            }
            start_us = end_us;
        }
    }
}
