//! The second opinion: DESIGN.md 3.5 read literally, one definition after the other, with no care for time or memory.

use std::collections::{BTreeMap, BTreeSet};

use rating::exact::Exact;
use rating::period::Span;
use rating::quantity::{Dimensions, Measure};
use rating::usage::{Demand, View};

use crate::Event;

const HOUR_US: i64 = 3_600_000_000;

pub fn line(
    view: &View,
    tenant: &str,
    dimensions: &Dimensions,
    span: Span,
    measure: Measure,
    value: &Exact,
) -> String {
    let Span { start_us, end_us } = span;
    format!(
        "{tenant} {} only {:?} by {:?} {dimensions:?} {start_us}..{end_us} {measure} = {value}",
        view.meter, view.only, view.by
    )
}

/// Of each identity and time, the first to arrive.
pub fn counting(events: &[Event]) -> Vec<Event> {
    let order = |event: &Event| (event.arrival_us, event.offset);
    let same = |left: &Event, right: &Event| (left.identity, left.time_us) == (right.identity, right.time_us);
    let is_first =
        |event: &&Event| !events.iter().any(|other| same(event, other) && order(other) < order(event));
    events.iter().filter(is_first).cloned().collect()
}

fn dimensions_of(event: &Event) -> Dimensions {
    let pairs = event.dimensions.map(|(region, class)| {
        [("region".to_owned(), format!("r{region}")), ("class".to_owned(), format!("c{class}"))]
    });
    pairs.into_iter().flatten().collect()
}

/// Every quantity that is not zero.
pub fn lines(events: &[Event], demands: &[Demand]) -> Vec<String> {
    let mut counting = counting(events);
    counting.sort_by_key(|event| (event.time_us, event.arrival_us, event.offset));
    let mut lines = BTreeSet::new();
    for demand in demands {
        for wanted in &demand.wanted {
            let view = &wanted.view;
            let own: Vec<&Event> = counting
                .iter()
                .filter(|event| event.tenant == demand.tenant && event.meter == Some(view.meter.as_str()))
                .collect();
            for span in &wanted.spans {
                for (dimensions, measure, value) in quantities(&own, view, *span, demand.period.span) {
                    if !value.is_zero() {
                        lines.insert(line(view, &demand.tenant, &dimensions, *span, measure, &value));
                    }
                }
            }
        }
    }
    lines.into_iter().collect()
}

fn quantities(own: &[&Event], view: &View, span: Span, period: Span) -> Vec<(Dimensions, Measure, Exact)> {
    let mut groups: BTreeMap<Dimensions, Vec<&Event>> = BTreeMap::new();
    for event in own {
        let dimensions = dimensions_of(event);
        if view.takes(&dimensions) {
            groups.entry(view.group(&dimensions)).or_default().push(event);
        }
    }
    let mut found = Vec::new();
    let meter = view.meter.as_str();
    match meter {
        "runs" | "jobs" => return sessions(own, view, span, None),
        "beats" => return sessions(own, view, span, Some(9 * HOUR_US)),
        _ => {}
    }
    for (dimensions, events) in groups {
        let values = match meter {
            "stored" => gauge(&events, span, period, None),
            "briefly" => gauge(&events, span, period, Some(5 * HOUR_US)),
            "calls" => delta(&events, span),
            "counted" => counter(&events, span),
            _ => unique(&events, span),
        };
        found.extend(values.into_iter().map(|(measure, value)| (dimensions.clone(), measure, value)));
    }
    found
}

/// The level of each resource with its dimensions at an instant, everything at that instant included.
fn levels(events: &[&Event], at_us: i64, expires_us: Option<i64>) -> BTreeMap<String, i128> {
    let mut levels = BTreeMap::new();
    for event in events.iter().filter(|event| event.time_us <= at_us) {
        let key = format!("{:?} {:?}", event.resource, event.dimensions);
        let is_live = expires_us.is_none_or(|expires_us| at_us < event.time_us + expires_us);
        levels.insert(key, if is_live { event.value.unwrap() } else { 0 });
    }
    levels
}

fn gauge(events: &[&Event], span: Span, period: Span, expires_us: Option<i64>) -> Vec<(Measure, Exact)> {
    // Before anything happened in the group, its series does not exist in the period.
    let mut changes: BTreeSet<i64> = BTreeSet::from([span.start_us, span.end_us]);
    for event in events {
        changes.insert(event.time_us);
        changes.extend(expires_us.map(|expires_us| event.time_us + expires_us));
    }
    let inside: Vec<i64> =
        changes.into_iter().filter(|at_us| span.start_us <= *at_us && *at_us <= span.end_us).collect();
    let mut integral = 0;
    let (mut sums, mut peaks) = (Vec::new(), BTreeMap::<String, i128>::new());
    let mut stretches = Vec::new();
    for pair in inside.windows(2) {
        let held = levels(events, pair[0], expires_us);
        let sum: i128 = held.values().sum();
        for (key, level) in held {
            let peak = peaks.entry(key).or_insert(level);
            *peak = (*peak).max(level);
        }
        sums.push(sum);
        stretches.push((pair[0], pair[1], sum));
        integral += sum * i128::from(pair[1] - pair[0]);
    }
    // A resource that comes later in the span had the level zero before.
    let first_seen = |key: &str| {
        let own = events.iter().find(|event| format!("{:?} {:?}", event.resource, event.dimensions) == key);
        own.is_some_and(|event| event.time_us > span.start_us)
    };
    let sum_of_peaks =
        peaks.iter().map(|(key, peak)| if first_seen(key) { (*peak).max(0) } else { *peak }).sum();
    let nano = Exact::from_nano;
    let ratio = |top: i128, bottom: i128| Exact::ratio(top, bottom).unwrap();
    vec![
        (Measure::Peak, nano(sums.iter().copied().max().unwrap_or(0))),
        (Measure::Min, nano(sums.iter().copied().min().unwrap_or(0))),
        (Measure::Last, nano(sums.last().copied().unwrap_or(0))),
        (Measure::Average, ratio(integral, 1_000_000_000) * ratio(1, period.length_us())),
        (Measure::UnitHours, ratio(integral, 1_000_000_000) * ratio(1, HOUR_US.into())),
        (Measure::SumOfPeaks, nano(sum_of_peaks)),
        (Measure::P95, p95(&stretches, span)),
    ]
}

/// Averages of the clock's five minutes (parts of them at the span's edges), sorted, the top 5 % dropped, the highest
/// left.
fn p95(stretches: &[(i64, i64, i128)], span: Span) -> Exact {
    const BUCKET_US: i64 = 300_000_000;
    let mut averages = Vec::new();
    let mut start_us = span.start_us;
    while start_us < span.end_us {
        let end_us = ((start_us.div_euclid(BUCKET_US) + 1) * BUCKET_US).min(span.end_us);
        let mut integral = 0;
        for (from_us, until_us, level) in stretches {
            let length_us = (*until_us).min(end_us) - (*from_us).max(start_us);
            integral += level * i128::from(length_us.max(0));
        }
        averages.push(Exact::ratio(integral, i128::from(end_us - start_us) * 1_000_000_000).unwrap());
        start_us = end_us;
    }
    averages.sort();
    let dropped = averages.len() / 20;
    averages.get(averages.len() - 1 - dropped).cloned().unwrap_or(Exact::ZERO)
}

fn within<'e>(events: &'e [&Event], span: Span) -> impl Iterator<Item = &'e Event> + Clone {
    events.iter().copied().filter(move |event| span.contains(event.time_us))
}

fn delta(events: &[&Event], span: Span) -> Vec<(Measure, Exact)> {
    let own = within(events, span);
    let value = |event: &Event| event.value.unwrap();
    let mut hours: BTreeMap<i64, i128> = BTreeMap::new();
    for event in own.clone() {
        *hours.entry(event.time_us.div_euclid(HOUR_US)).or_default() += value(event);
    }
    vec![
        (Measure::Sum, Exact::from_nano(own.clone().map(value).sum())),
        (Measure::Count, Exact::from(own.clone().count() as i128)),
        (Measure::Max, Exact::from_nano(own.map(value).max().unwrap_or(0))),
        (Measure::BusiestHour, Exact::from_nano(hours.into_values().max().unwrap_or(0))),
    ]
}

fn counter(events: &[&Event], span: Span) -> Vec<(Measure, Exact)> {
    let mut previous: BTreeMap<String, i128> = BTreeMap::new();
    let mut increase = 0;
    for event in events {
        let value = event.value.unwrap();
        let key = format!("{:?} {:?}", event.resource, event.dimensions);
        let grown = match previous.insert(key, value) {
            None => 0,
            Some(before) if value < before => value,
            Some(before) => value - before,
        };
        increase += if span.contains(event.time_us) { grown } else { 0 };
    }
    vec![(Measure::Increase, Exact::from_nano(increase))]
}

fn unique(events: &[&Event], span: Span) -> Vec<(Measure, Exact)> {
    let own = within(events, span);
    let resource = |event: &Event| event.resource.clone();
    let resources: BTreeSet<_> = own.clone().map(resource).collect();
    let hours: BTreeSet<_> = own.map(|event| (resource(event), event.time_us.div_euclid(HOUR_US))).collect();
    vec![
        (Measure::UniqueResources, Exact::from(resources.len() as i128)),
        (Measure::ResourceHours, Exact::from(hours.len() as i128)),
    ]
}

/// A session that runs, as far as it is known: the dimensions that it has, since when, and its last sign of life.
struct Running {
    dimensions: Dimensions,
    since_us: i64,
    sign_us: i64,
}

/// Stretches of running sessions with their dimensions, cut to the span.
fn sessions(
    own: &[&Event],
    view: &View,
    span: Span,
    timeout_us: Option<i64>,
) -> Vec<(Dimensions, Measure, Exact)> {
    let mut stretches: Vec<(Dimensions, i64, i64)> = Vec::new();
    let mut running: BTreeMap<Option<String>, Running> = BTreeMap::new();
    let mut stopped: BTreeMap<Option<String>, i64> = BTreeMap::new();
    let over_us = |of: &Running| timeout_us.map_or(i64::MAX, |timeout_us| of.sign_us + timeout_us);
    for event in own {
        let (at_us, name) = (event.time_us, event.resource.clone());
        if let Some(timed_out) = running.remove(&name) {
            if over_us(&timed_out) < at_us {
                let over_us = over_us(&timed_out);
                stretches.push((timed_out.dimensions, timed_out.since_us, over_us));
            } else {
                running.insert(name.clone(), timed_out);
            }
        }
        let before = match event.signal {
            Some("complete") => {
                let start_us = event.signal_time_us.unwrap();
                let end_us = start_us + (event.value.unwrap() / 1_000) as i64;
                stretches.push((dimensions_of(event), start_us, end_us));
                continue;
            }
            Some("heartbeat") if !running.contains_key(&name) => {
                // A session that a timeout can end begins by it, but not within that time after a stop.
                let is_late =
                    |stopped_us: &i64| timeout_us.is_some_and(|after_us| stopped_us + after_us < at_us);
                if timeout_us.is_none() || !stopped.get(&name).is_none_or(is_late) {
                    continue;
                }
                None
            }
            _ => running.remove(&name),
        };
        if event.signal == Some("stop") {
            stretches.extend(before.map(|before| (before.dimensions, before.since_us, at_us)));
            stopped.insert(name, at_us);
            continue;
        }
        if event.signal == Some("start") {
            stopped.remove(&name);
        }
        let says_none = event.signal == Some("heartbeat") && event.dimensions.is_none();
        let dimensions = dimensions_of(event);
        let next = match before {
            Some(before) if says_none || before.dimensions == dimensions => {
                Running { sign_us: at_us, ..before }
            }
            Some(before) => {
                stretches.push((before.dimensions, before.since_us, at_us));
                Running { dimensions, since_us: at_us, sign_us: at_us }
            }
            None => Running { dimensions, since_us: at_us, sign_us: at_us },
        };
        running.insert(name, next);
    }
    let open = running.into_values();
    stretches.extend(open.map(|of| (of.dimensions.clone(), of.since_us, over_us(&of))));
    let mut billed: BTreeMap<Dimensions, i64> = BTreeMap::new();
    for (dimensions, start_us, end_us) in stretches {
        if view.takes(&dimensions) {
            let length_us = end_us.min(span.end_us) - start_us.max(span.start_us);
            *billed.entry(view.group(&dimensions)).or_default() += length_us.max(0);
        }
    }
    let time = |(dimensions, billed_us): (Dimensions, i64)| {
        (dimensions, Measure::SessionTime, Exact::ratio(billed_us.into(), 1_000_000).unwrap())
    };
    billed.into_iter().map(time).collect()
}
