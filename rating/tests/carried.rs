//! Folding day by day from what the day before left says what one fold over all days says.

mod oracle;

use std::collections::BTreeSet;

use proptest::prelude::*;
use rating::period::Span;
use rating::quantity::session::{SessionEvent, SessionOddities};
use rating::quantity::{Dimensions, Measure, Measured, MeterKind, Samples, SessionRules};
use rating::usage::{
    CarriedState, MeterAnswers, MeterFold, Reading, SpanInParts, Totals, View, Wanted, parts_of_day,
};
use std::collections::BTreeMap;

const HOUR_US: i64 = 3_600_000_000;
const DAYS: i32 = 4;

type Event = (i64, u8, u8, i64, u8);

fn kinds() -> impl Strategy<Value = MeterKind> {
    let hours = |most: i64| proptest::option::of((1..most).prop_map(|half| half * HOUR_US / 2));
    prop_oneof![
        hours(60).prop_map(|expires_after_us| MeterKind::Gauge { expires_after_us }),
        Just(MeterKind::Delta),
        Just(MeterKind::Cumulative),
        Just(MeterKind::Unique),
        (hours(40), hours(4), hours(4)).prop_map(|(timeout_us, increment_us, minimum_us)| {
            MeterKind::Session(SessionRules { timeout_us, increment_us, minimum_us })
        }),
    ]
}

fn feed(fold: &mut MeterFold, kind: &MeterKind, events: &[Event]) {
    for (time_us, resource, class, value, signal) in events {
        let slot = fold.slot(&format!("r{resource}"), &format!(r#"{{"class":"c{class}"}}"#)).unwrap();
        let reading = match kind {
            MeterKind::Session(_) => Reading::Session(match signal % 4 {
                0 => SessionEvent::Start,
                1 => SessionEvent::Heartbeat,
                2 => SessionEvent::Stop,
                _ => SessionEvent::Complete { end_us: time_us + value * HOUR_US },
            }),
            _ => Reading::Value { nano: i128::from(*value) },
        };
        fold.event(*time_us, slot, reading).unwrap();
    }
}

/// Each series' measures, samples and what was carried in; and what should not happen to sessions.
type Said = (BTreeMap<(Dimensions, Span), (Vec<String>, Samples, String)>, SessionOddities);

fn say(totals: &Totals, kind: &MeterKind, period: &Span) -> (Vec<String>, Samples, String) {
    let measures = Measure::ALL.into_iter().filter(|measure| measure.kind() == kind.name());
    let values = measures.filter_map(|measure| totals.measure(measure, period));
    (values.map(|value| value.to_string()).collect(), totals.samples(), totals.carried_in().to_string())
}

fn at_once(kind: &MeterKind, wanted: &Wanted, events: &[Event], period: &Span) -> Said {
    let mut fold = MeterFold::new(kind, &[(0, wanted)], true);
    feed(&mut fold, kind, events);
    let MeterAnswers { answers, session_oddities, .. } = fold.finish().unwrap();
    let series = answers.into_iter().flat_map(|(_, series)| series);
    let said = series.map(|own| ((own.dimensions, own.span), say(&own.totals, kind, period)));
    (said.collect(), session_oddities)
}

fn day_by_day(kind: &MeterKind, wanted: &Wanted, events: &[Event], period: &Span) -> Said {
    let mut parts: BTreeMap<(Dimensions, Span), SpanInParts> = BTreeMap::new();
    let mut oddities = SessionOddities::default();
    let mut carried = CarriedState::default();
    for day in 0..DAYS {
        let whole = rating::usage::day_span(day);
        let of_day = Wanted { spans: parts_of_day(&wanted.spans, day), ..wanted.clone() };
        let questions = [(0, &of_day)];
        // As it would be read from the lake.
        let text = serde_json::to_string(&carried).unwrap();
        let opening: CarriedState = serde_json::from_str(&text).unwrap();
        assert_eq!(opening, carried);
        let mut fold = MeterFold::new(kind, &questions, true).resume(kind, &opening).unwrap();
        let own: Vec<Event> = events.iter().copied().filter(|event| whole.contains(event.0)).collect();
        feed(&mut fold, kind, &own);
        carried = fold.carried(whole.end_us).unwrap();
        let found = fold.finish().unwrap();
        oddities = oddities.together_with(&found.session_oddities);
        for series in found.answers.into_iter().flat_map(|(_, series)| series) {
            let contains = |span: &&Span| span.intersection(&series.span) == Some(series.span);
            let span = *wanted.spans.iter().find(contains).unwrap();
            let seen = fold.resources_seen(&wanted.view, &series.dimensions, &series.span);
            let place = (series.dimensions, span);
            let place = parts.entry(place).or_insert_with(|| SpanInParts::new(kind.name(), span));
            place.add(series.span, series.totals, seen).unwrap();
        }
    }
    let said = parts.into_iter().map(|(place, parts)| (place, say(&parts.finish().unwrap(), kind, period)));
    (said.collect(), oddities)
}

proptest! {
    #![proptest_config(oracle::config())]

    #[test]
    fn days_make_the_whole(
        kind in kinds(),
        mut events in proptest::collection::vec((0..i64::from(DAYS) * 48, 0..3_u8, 0..2_u8, -3..9_i64, 0..12_u8), 0..30),
        mut instants in proptest::collection::btree_set(0..i64::from(DAYS) * 48, 2..6),
        by_class in any::<bool>(),
    ) {
        for event in &mut events {
            event.0 *= HOUR_US / 2;
        }
        events.sort_by_key(|event| event.0);
        let end = i64::from(DAYS) * 48;
        if by_class {
            instants.insert(end);
        }
        let edges: Vec<i64> = instants.into_iter().map(|half| half * HOUR_US / 2).collect();
        let period = Span { start_us: edges[0], end_us: edges[edges.len() - 1] };
        let by = if by_class { vec!["class".to_owned()] } else { Vec::new() };
        let wanted = Wanted {
            view: View { meter: "m".to_owned(), only: BTreeMap::new(), by },
            spans: edges.windows(2).map(|edge| Span { start_us: edge[0], end_us: edge[1] }).collect(),
            measures: BTreeSet::new(),
            transactions: false,
        };
        let (days, whole) =
            (day_by_day(&kind, &wanted, &events, &period), at_once(&kind, &wanted, &events, &period));
        prop_assert_eq!(days, whole, "{:?} {:?}", kind, events);
    }
}
