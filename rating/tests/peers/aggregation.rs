//! Aggregations: deltas and levels of one period.

use std::collections::BTreeMap;

use rating::exact::Exact;
use rating::period::Span;
use rating::quantity::delta::DeltaFold;
use rating::quantity::gauge::{GaugeExtras, GaugeFold, GaugeState, GaugeTotals};
use rating::quantity::rollup::DeltaRollup;
use rating::quantity::unique::UniqueFold;
use serde_json::{Value, json};

use super::case::{Case, Found, instant_us, items, maybe_number, nano, rounded, span, text, zone_of};
use super::differs;

pub fn run(case: &Case) -> Option<Found> {
    let input = case.input();
    match case.model() {
        "sum" | "count" | "max" => delta(case.model(), input),
        "latest" => latest(input),
        "time_weighted_average" => time_weighted_average(input),
        "weighted_sum" => weighted_sum(input),
        "unique_count" => unique_count(input),
        _ => None,
    }
}

fn time_us(event: &Value, input: &Value) -> i64 {
    instant_us(&event["time"], &zone_of(input))
}

/// The events that the filter lets through, in order of time.
fn filtered(input: &Value) -> Vec<&Value> {
    let filter = &input["filter"];
    let mut events: Vec<&Value> = items(&input["events"])
        .iter()
        .filter(|event| all_of(&filter["match"], event))
        .filter(|event| !items(&filter["exclude_any"]).iter().any(|set| all_of(set, event)))
        .collect();
    events.sort_by_key(|event| time_us(event, input));
    events
}

/// Every property has one of its values; null stands for a property that is absent.
fn all_of(set: &Value, event: &Value) -> bool {
    let has = |(name, values): (&String, &Value)| items(values).contains(&event["properties"][name]);
    set.as_object().is_none_or(|set| set.iter().all(has))
}

fn fold_delta(events: &[&Value], period: Span, input: &Value) -> DeltaRollup {
    let mut fold = DeltaFold::new(period.start_us);
    for event in events {
        if period.contains(time_us(event, input)) {
            fold.event(time_us(event, input), nano(&event["value"])).unwrap();
        }
    }
    fold.cut(period.end_us).unwrap()
}

fn delta(model: &str, input: &Value) -> Option<Found> {
    let period = span(&input["period"], input);
    let measure = |rollup: &DeltaRollup| match model {
        "sum" => rollup.sum(),
        "count" => rollup.count(),
        _ => rollup.max(),
    };
    let events = filtered(input);
    let rollup = fold_delta(&events, period, input);
    let mut groups: BTreeMap<String, (Value, Vec<&Value>)> = BTreeMap::new();
    for event in &events {
        let names = items(&input["group_by"]).iter().filter_map(Value::as_str);
        let key: serde_json::Map<String, Value> =
            names.map(|name| (name.to_owned(), event["properties"][name].clone())).collect();
        let key = Value::Object(key);
        groups.entry(key.to_string()).or_insert((key, Vec::new())).1.push(event);
    }
    let group = |(key, events): &(Value, Vec<&Value>)| {
        let rollup = fold_delta(events, period, input);
        json!({"key": key, "value": text(&measure(&rollup)), "events_count": text(&rollup.count())})
    };
    let at_the_end = events.iter().any(|event| time_us(event, input) == period.end_us);
    let inclusive = input["period_end"] == "inclusive" && at_the_end;
    let groups: Vec<Value> = groups.values().map(group).collect();
    let values = json!({
        "value": text(&measure(&rollup)),
        "events_count": text(&rollup.count()),
        "groups": groups,
    });
    Found::unless(values, inclusive.then_some(differs::PERIOD_ENDS_ARE_EXCLUSIVE))
}

/// Folds levels given as (time, resource, nano level), from the first of them or the period's start.
pub fn fold_levels(levels: &[(i64, u32, i128)], period: Span) -> GaugeTotals {
    let first_us = levels.first().map_or(period.start_us, |level| level.0.min(period.start_us));
    let mut fold = GaugeFold::new(None, GaugeExtras::default(), first_us, &GaugeState::default()).unwrap();
    for &(time_us, resource, level) in levels.iter().filter(|level| level.0 < period.start_us) {
        fold.sample(time_us, resource, level).unwrap();
    }
    fold.finish_span(period.start_us).unwrap();
    for &(time_us, resource, level) in levels.iter().filter(|level| period.contains(level.0)) {
        fold.sample(time_us, resource, level).unwrap();
    }
    fold.finish_span(period.end_us).unwrap()
}

fn latest(input: &Value) -> Option<Found> {
    let period = span(&input["period"], input);
    let levels: Vec<_> =
        filtered(input).iter().map(|event| (time_us(event, input), 0, nano(&event["value"]))).collect();
    let rollup = fold_levels(&levels, period).rollup;
    let carried = levels.iter().any(|level| level.0 < period.start_us) && rollup.samples.count == 0;
    let values = json!({"value": text(&rollup.last()), "events_count": text(&rollup.samples.count)});
    Found::unless(values, carried.then_some(differs::LEVELS_ARE_CARRIED))
}

fn time_weighted_average(input: &Value) -> Option<Found> {
    let period = span(&input["period"], input);
    let levels: Vec<_> =
        filtered(input).iter().map(|event| (time_us(event, input), 0, nano(&event["value"]))).collect();
    let rollup = fold_levels(&levels, period).rollup;
    let starts_late = levels.first().is_none_or(|first| first.0 > period.start_us);
    let differs = if input["method"].as_str().is_some_and(|method| method != "locf") {
        Some(differs::LEVELS_ARE_NOT_INTERPOLATED)
    } else if starts_late && input["before_first"] == "exclude_before_first" {
        Some(differs::ZERO_BEFORE_THE_FIRST)
    } else {
        None
    };
    let seconds = rollup.unit_hours() * Exact::from(3_600_i64);
    let values = json!({"average": text(&rollup.average(&period)), "integral_seconds": text(&seconds)});
    Found::unless(values, differs)
}

fn weighted_sum(input: &Value) -> Option<Found> {
    let period = span(&input["period"], input);
    let mut level = maybe_number(&input["initial_value"]).map_or(0, |_| nano(&input["initial_value"]));
    let events = filtered(input);
    // The level from before the first event, be that before the period.
    let first_us = events.first().map_or(period.start_us, |event| time_us(event, input).min(period.start_us));
    let mut levels = vec![(first_us - 1, 0, level)];
    for event in events {
        level += nano(&event["value"]);
        levels.push((time_us(event, input), 0, level));
    }
    let average = fold_levels(&levels, period).rollup.average(&period);
    let other = input["denominator"].as_str().is_some_and(|name| name != "full_period_seconds");
    let values = json!({"value": text(&rounded(&average, &input["round"])?)});
    Found::unless(values, other.then_some(differs::AVERAGES_ARE_OVER_THE_PERIOD))
}

/// Keys that were added and not removed, as levels of one and zero.
pub fn key_levels(input: &Value) -> Vec<(i64, u32, i128)> {
    let mut keys: Vec<&Value> = Vec::new();
    let mut levels = Vec::new();
    for event in filtered(input) {
        let known = keys.iter().position(|key| **key == event["key"]);
        let resource = known.unwrap_or_else(|| {
            keys.push(&event["key"]);
            keys.len() - 1
        });
        let level = if event["operation"] == "remove" { 0 } else { 1_000_000_000 };
        levels.push((time_us(event, input), u32::try_from(resource).unwrap(), level));
    }
    levels
}

fn unique_count(input: &Value) -> Option<Found> {
    let period = span(&input["period"], input);
    let mut levels = key_levels(input);
    if input["recurring"] == true {
        let last = fold_levels(&levels, period).rollup.last();
        return Found::exactly(json!({"value": text(&last)}));
    }
    levels.retain(|level| period.contains(level.0));
    let removals = levels.iter().any(|level| level.2 == 0);
    let mut fold = UniqueFold::new(period.start_us);
    for &(time_us, resource, _) in &levels {
        fold.seen(time_us, resource).unwrap();
    }
    let seen = fold.finish_span(period.end_us).unwrap().unique_resources();
    let count = if removals { fold_levels(&levels, period).rollup.last() } else { seen };
    Found::exactly(json!({"value": text(&count)}))
}
