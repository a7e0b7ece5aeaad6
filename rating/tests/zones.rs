//! Quantities of whole months in tenants' zones, with a change of the clock or a leap day in them: random events of every
//! kind of meter, before, in and after the month, against brute force over instants.

mod oracle;

use std::collections::{BTreeMap, BTreeSet};

use num_rational::BigRational;
use oracle::gauge::{Gauge, Sample, integral, p95};
use oracle::months::{MONTHS, Month};
use oracle::session::{Event, billed_us, runs};
use oracle::{config, ratio, rational, whole};
use proptest::prelude::*;
use rating::period::{BillingCycle, Period, Span, time_zone};
use rating::quantity::session::SessionEvent;
use rating::quantity::{Measure, Measured, MeterKind, SessionRules};
use rating::usage::{MeterFold, Reading, Totals, View, Wanted};

const HOUR_US: i64 = 3_600_000_000;
const NANO: i128 = 1_000_000_000;
const RESOURCES: u32 = 3;

fn instant_us(text: &str) -> i64 {
    text.parse::<jiff::Timestamp>().unwrap().as_microsecond()
}

fn known_span(month: &Month) -> Span {
    Span { start_us: instant_us(month.start), end_us: instant_us(month.end) }
}

fn period(month: &Month) -> Period {
    let zone = time_zone(month.zone).unwrap();
    BillingCycle::CALENDAR_MONTH.period_containing(instant_us(month.turn), &zone).unwrap()
}

#[test]
fn the_months_are_what_the_zones_say() {
    for month in &MONTHS {
        let period = period(month);
        assert_eq!(period.span, known_span(month), "{month:?}");
        assert_eq!(period.span.length_us() * 2, i128::from(month.half_hours * HOUR_US), "{month:?}");
        assert!(period.name.starts_with(month.name), "{month:?}");
    }
}

/// Instant, resource, value.
type Reported = (i64, u32, i128);

#[derive(Debug, Clone)]
struct Scenario {
    month: &'static Month,
    reports: Vec<Reported>,
    /// The month's spans end here, and at its end.
    cuts_us: Vec<i64>,
    expires_after_us: Option<i64>,
}

/// An instant within two hours of an edge of the month or of its odd day, or anywhere from 20 days before to 15 after.
fn instant(month: &Month) -> impl Strategy<Value = i64> + use<> {
    let span = known_span(month);
    let edges = vec![span.start_us, span.end_us, instant_us(month.turn)];
    let near_us = prop_oneof![Just(0), -2 * HOUR_US..2 * HOUR_US];
    let near = (prop::sample::select(edges), near_us).prop_map(|(edge_us, near_us)| edge_us + near_us);
    prop_oneof![1 => near, 1 => span.start_us - 480 * HOUR_US..span.end_us + 360 * HOUR_US]
}

fn scenario() -> impl Strategy<Value = Scenario> {
    prop::sample::select(MONTHS.iter().collect::<Vec<_>>()).prop_flat_map(|month| {
        let report = (instant(month), 0..RESOURCES, -3_i128..1_000);
        let reports = prop::collection::vec(report, 0..16);
        let cuts = prop::collection::vec(instant(month), 0..4);
        let expiry = prop::option::weighted(0.3, HOUR_US..200 * HOUR_US);
        (reports, cuts, expiry).prop_map(move |(mut reports, cuts_us, expires_after_us)| {
            reports.sort_by_key(|report| report.0);
            Scenario { month, reports, cuts_us, expires_after_us }
        })
    })
}

fn session_event(value: i128) -> SessionEvent {
    match value.rem_euclid(4) {
        0 | 1 => SessionEvent::Start,
        2 => SessionEvent::Heartbeat,
        _ => SessionEvent::Stop,
    }
}

/// The totals of each span, as the fold of a tenant's meter has them; a span of which nothing is worth a row has none.
fn found(kind: &MeterKind, spans: &[Span], reports: &[Reported]) -> BTreeMap<Span, Totals> {
    let view = View { meter: "m".to_owned(), only: BTreeMap::new(), by: Vec::new() };
    let measures = kind.measures().collect();
    let wanted = Wanted { view, spans: spans.to_vec(), measures, transactions: false };
    let mut fold = MeterFold::new(kind, &[(0, &wanted)], true);
    for (time_us, resource, value) in reports {
        let slot = fold.slot(&format!("r{resource}"), r#"{"class":"c"}"#).unwrap();
        let reading = match kind {
            MeterKind::Session(_) => Reading::Session(session_event(*value)),
            _ => Reading::Value { nano: *value },
        };
        fold.event(*time_us, slot, reading).unwrap();
    }
    let answers = fold.finish().unwrap().answers;
    answers.into_iter().flat_map(|(_, series)| series).map(|series| (series.span, series.totals)).collect()
}

fn within(reports: &[Reported], span: Span) -> impl Iterator<Item = &Reported> {
    reports.iter().filter(move |report| span.contains(report.0))
}

fn hour_of(time_us: i64) -> i64 {
    time_us.div_euclid(HOUR_US)
}

fn nano(value: i128) -> BigRational {
    ratio(value, NANO)
}

fn gauge(scenario: &Scenario, span: Span, period: Span) -> Vec<(Measure, BigRational)> {
    let samples: Vec<Sample> = scenario
        .reports
        .iter()
        .map(|&(time_us, resource, level_nano)| Sample { time_us, resource, level_nano })
        .collect();
    let gauge =
        Gauge { samples: &samples, expires_after_us: scenario.expires_after_us, resources: RESOURCES };
    let stretches = gauge.stretches(span.start_us, span.end_us);
    let sums = || stretches.iter().map(|stretch| &stretch.sum / whole(NANO));
    let integral = integral(&stretches) / whole(NANO);
    vec![
        (Measure::Peak, sums().max().unwrap()),
        (Measure::Min, sums().min().unwrap()),
        (Measure::Last, sums().next_back().unwrap()),
        (Measure::Average, &integral / whole(period.length_us())),
        (Measure::UnitHours, integral / whole(HOUR_US.into())),
        (Measure::SumOfPeaks, gauge.sum_of_peaks(&stretches) / whole(NANO)),
        (Measure::P95, p95(&stretches)),
    ]
}

fn delta(reports: &[Reported], span: Span) -> Vec<(Measure, BigRational)> {
    let values = || within(reports, span).map(|report| report.2);
    let mut hours: BTreeMap<i64, i128> = BTreeMap::new();
    for (time_us, _, value) in within(reports, span) {
        *hours.entry(hour_of(*time_us)).or_default() += value;
    }
    vec![
        (Measure::Sum, nano(values().sum())),
        (Measure::Count, whole(values().count() as i128)),
        (Measure::Max, nano(values().max().unwrap_or(0))),
        (Measure::BusiestHour, nano(hours.into_values().max().unwrap_or(0))),
    ]
}

fn increase(reports: &[Reported], span: Span) -> BigRational {
    let mut last: BTreeMap<u32, i128> = BTreeMap::new();
    let mut increase = 0;
    for (time_us, resource, value) in reports {
        let grown = match last.insert(*resource, *value) {
            Some(before) if before <= *value => value - before,
            Some(_) => *value,
            None => 0,
        };
        increase += if span.contains(*time_us) { grown } else { 0 };
    }
    nano(increase)
}

fn session_time(reports: &[Reported], span: Span, rules: &SessionRules) -> BigRational {
    let event = |&(time_us, session, value): &Reported| Event {
        time_us,
        session,
        dimensions: 0,
        what: session_event(value),
    };
    let events: Vec<Event> = reports.iter().map(event).collect();
    let known = (0..RESOURCES).flat_map(|session| runs(&events, session, rules));
    ratio(known.map(|run| billed_us(&run, 0, span.start_us, span.end_us, rules)).sum(), 1_000_000)
}

fn unique(reports: &[Reported], span: Span) -> Vec<(Measure, BigRational)> {
    let resources: BTreeSet<u32> = within(reports, span).map(|report| report.1).collect();
    let hours: BTreeSet<_> = within(reports, span).map(|report| (report.1, hour_of(report.0))).collect();
    vec![
        (Measure::UniqueResources, whole(resources.len() as i128)),
        (Measure::ResourceHours, whole(hours.len() as i128)),
    ]
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn quantities_of_odd_months_equal_brute_force(scenario in scenario()) {
        let Scenario { month, reports, expires_after_us, .. } = &scenario;
        let period = period(month).span;
        let spans = period.split_at(&scenario.cuts_us);
        let rules = SessionRules {
            timeout_us: *expires_after_us,
            increment_us: Some(60_000_000),
            minimum_us: None,
        };
        for kind in [
            MeterKind::Gauge { expires_after_us: *expires_after_us },
            MeterKind::Delta,
            MeterKind::Cumulative,
            MeterKind::Session(rules),
            MeterKind::Unique,
        ] {
            for spans in [std::slice::from_ref(&period), &spans[..]] {
                let found = found(&kind, spans, reports);
                for span in spans {
                    let expected = match kind {
                        MeterKind::Gauge { .. } => gauge(&scenario, *span, period),
                        MeterKind::Delta => delta(reports, *span),
                        MeterKind::Cumulative => vec![(Measure::Increase, increase(reports, *span))],
                        MeterKind::Session(rules) => {
                            vec![(Measure::SessionTime, session_time(reports, *span, &rules))]
                        }
                        MeterKind::Unique => unique(reports, *span),
                    };
                    for (measure, expected) in expected {
                        let value = found.get(span).map(|totals| totals.measure(measure, &period).unwrap());
                        let value = value.map_or(whole(0), |value| rational(&value));
                        prop_assert_eq!(value, expected, "{} of {:?}", measure, span);
                    }
                }
            }
        }
    }
}
