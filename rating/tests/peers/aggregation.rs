//! Aggregations: deltas and levels of one period.

use std::collections::BTreeMap;

use rating::exact::Exact;
use rating::period::Span;
use rating::quantity::delta::DeltaFold;
use rating::quantity::gauge::{GaugeExtras, GaugeFold, GaugeState, GaugeTotals};
use rating::quantity::unique::UniqueFold;
use serde_json::{Value, json};

use super::case::{Case, Found, Unit, instant_us, items, maybe_number, rounded, span, text, zone_of};
use super::differs::{self, cannot};

pub fn run(case: &Case) -> Option<Found> {
    let input = case.input();
    match case.model() {
        "sum" | "count" | "max" => delta(case.model(), input),
        "latest" => latest(input),
        "time_weighted_average" => time_weighted_average(input),
        "weighted_sum" => weighted_sum(input),
        "unique_count" => unique_count(input),
        "min" | "avg" | "average" => {
            Found::unless(Value::Null, Some(differs::AMOUNTS_ARE_SUMMED_COUNTED_OR_HIGHEST))
        }
        _ => None,
    }
}

/// The unit in which the case's values are counted.
fn unit_of(input: &Value) -> Unit {
    let values = items(&input["events"]).iter().map(|event| &event["value"]);
    Unit::of(values.chain([&input["initial_value"]]).filter(|value| !value.is_null()))
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

/// What the answer is for all events, and for each group of them.
fn with_groups(input: &Value, events: &[&Value], answer: impl Fn(&[&Value]) -> (Exact, Exact)) -> Value {
    let mut groups: BTreeMap<String, (Value, Vec<&Value>)> = BTreeMap::new();
    for event in events {
        let names = items(&input["group_by"]).iter().filter_map(Value::as_str);
        let key: serde_json::Map<String, Value> =
            names.map(|name| (name.to_owned(), event["properties"][name].clone())).collect();
        let key = Value::Object(key);
        groups.entry(key.to_string()).or_insert((key, Vec::new())).1.push(event);
    }
    let group = |(key, events): &(Value, Vec<&Value>)| {
        let (value, count) = answer(events);
        json!({"key": key, "value": text(&value), "events_count": text(&count)})
    };
    let (value, count) = answer(events);
    let groups: Vec<Value> = groups.values().map(group).collect();
    json!({"value": text(&value), "events_count": text(&count), "groups": groups})
}

/// A reason where the period takes in its last instant, and something happened at it.
fn unless_at_the_end(input: &Value, events: &[&Value]) -> Option<&'static str> {
    let end_us = span(&input["period"], input).end_us;
    let at_the_end = events.iter().any(|event| time_us(event, input) == end_us);
    (input["period_end"] == "inclusive" && at_the_end).then_some(differs::PERIOD_ENDS_ARE_EXCLUSIVE)
}

fn delta(model: &str, input: &Value) -> Option<Found> {
    let (period, unit) = (span(&input["period"], input), unit_of(input));
    let answer = |events: &[&Value]| {
        let mut fold = DeltaFold::new(period.start_us);
        for event in events.iter().filter(|event| period.contains(time_us(event, input))) {
            let is_counted_only = model == "count" && event["value"].is_null();
            let value_nano = if is_counted_only { 0 } else { unit.nano(&event["value"]) };
            let taken = fold.event(time_us(event, input), value_nano);
            taken.unwrap_or_else(|_| cannot(differs::VALUES_HAVE_38_DIGITS));
        }
        let rollup = fold.cut(period.end_us).unwrap();
        let value = match model {
            "sum" => unit.whole(&rollup.sum()),
            "count" => rollup.count(),
            _ => unit.whole(&rollup.max()),
        };
        (value, rollup.count())
    };
    let events = filtered(input);
    Found::unless(with_groups(input, &events, answer), unless_at_the_end(input, &events))
}

/// Folds levels given as (time, resource, nano level), from the first of them or the period's start.
pub fn fold_levels(levels: &[(i64, u32, i128)], period: Span) -> GaugeTotals {
    let first_us = levels.first().map_or(period.start_us, |level| level.0.min(period.start_us));
    let mut fold = GaugeFold::new(None, GaugeExtras::default(), first_us, &GaugeState::default()).unwrap();
    for &(time_us, resource, level) in levels.iter().filter(|level| level.0 < period.start_us) {
        take(&mut fold, time_us, resource, level);
    }
    fold.finish_span(period.start_us).unwrap();
    for &(time_us, resource, level) in levels.iter().filter(|level| period.contains(level.0)) {
        take(&mut fold, time_us, resource, level);
    }
    fold.finish_span(period.end_us).unwrap()
}

fn take(fold: &mut GaugeFold, time_us: i64, resource: u32, level: i128) {
    fold.sample(time_us, resource, level).unwrap_or_else(|_| cannot(differs::VALUES_HAVE_38_DIGITS));
}

fn levels_of(events: &[&Value], input: &Value, unit: &Unit) -> Vec<(i64, u32, i128)> {
    events.iter().map(|event| (time_us(event, input), 0, unit.nano(&event["value"]))).collect()
}

fn latest(input: &Value) -> Option<Found> {
    let (period, unit) = (span(&input["period"], input), unit_of(input));
    let answer = |events: &[&Value]| {
        let rollup = fold_levels(&levels_of(events, input, &unit), period).rollup;
        (unit.whole(&rollup.last()), Exact::from(rollup.samples.count))
    };
    let events = filtered(input);
    let carried = events.iter().any(|event| time_us(event, input) < period.start_us);
    let differs = unless_at_the_end(input, &events).or(carried.then_some(differs::LEVELS_ARE_CARRIED));
    Found::unless(with_groups(input, &events, answer), differs)
}

fn time_weighted_average(input: &Value) -> Option<Found> {
    let (period, unit) = (span(&input["period"], input), unit_of(input));
    let levels = levels_of(&filtered(input), input, &unit);
    let rollup = fold_levels(&levels, period).rollup;
    let starts_late = levels.first().is_none_or(|first| first.0 > period.start_us);
    let says = |name: &str, ours: &str| input[name].as_str().is_some_and(|other| other != ours);
    let differs = if says("method", "locf") {
        Some(differs::LEVELS_ARE_NOT_INTERPOLATED)
    } else if starts_late && says("before_first", "zero") {
        Some(differs::ZERO_BEFORE_THE_FIRST)
    } else if says("after_last", "carry") {
        Some(differs::LEVELS_HOLD_UNTIL_THE_NEXT)
    } else {
        let carried = levels.first().is_some_and(|first| first.0 < period.start_us);
        carried.then_some(differs::LEVELS_ARE_CARRIED)
    };
    let seconds = unit.whole(&rollup.unit_hours()) * Exact::from(3_600_i64);
    let average = unit.whole(&rollup.average(&period));
    let values = json!({"average": text(&average), "integral_seconds": text(&seconds)});
    Found::unless(values, differs)
}

fn weighted_sum(input: &Value) -> Option<Found> {
    let (period, unit) = (span(&input["period"], input), unit_of(input));
    let answer = |events: &[&Value]| {
        let mut level =
            maybe_number(&input["initial_value"]).map_or(0, |_| unit.nano(&input["initial_value"]));
        // The level from before the first event, be that before the period.
        let first_us =
            events.first().map_or(period.start_us, |event| time_us(event, input).min(period.start_us));
        let mut levels = vec![(first_us - 1, 0, level)];
        for event in events {
            level += unit.nano(&event["value"]);
            levels.push((time_us(event, input), 0, level));
        }
        let rollup = fold_levels(&levels, period).rollup;
        let average = unit.whole(&rollup.average(&period));
        rounded(&average, &input["round"]).map(|value| (value, Exact::from(events.len() as u64)))
    };
    let events = filtered(input);
    answer(&events)?;
    let values = with_groups(input, &events, |events| answer(events).unwrap_or_default());
    let other = input["denominator"].as_str().is_some_and(|name| name != "full_period_seconds");
    Found::unless(values, other.then_some(differs::AVERAGES_ARE_OVER_THE_PERIOD))
}

/// Keys that were added and not removed, as levels of one and zero.
pub fn key_levels(input: &Value) -> Vec<(i64, u32, i128)> {
    levels_of_keys(&filtered(input), input)
}

fn levels_of_keys(events: &[&Value], input: &Value) -> Vec<(i64, u32, i128)> {
    let mut keys: Vec<&Value> = Vec::new();
    let mut levels = Vec::new();
    for event in events {
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
    let answer = |events: &[&Value]| {
        let mut levels = levels_of_keys(events, input);
        if input["recurring"] == true {
            let rollup = fold_levels(&levels, period).rollup;
            return (rollup.last(), Exact::from(rollup.samples.count));
        }
        levels.retain(|level| period.contains(level.0));
        let removals = levels.iter().any(|level| level.2 == 0);
        let mut fold = UniqueFold::new(period.start_us);
        for &(time_us, resource, _) in &levels {
            fold.seen(time_us, resource).unwrap();
        }
        let seen = fold.finish_span(period.end_us).unwrap();
        let last = fold_levels(&levels, period).rollup.last();
        (if removals { last } else { seen.unique_resources() }, Exact::from(seen.samples.count))
    };
    let events = filtered(input);
    Found::unless(with_groups(input, &events, answer), unless_at_the_end(input, &events))
}
