//! Counters that reset.

use rating::exact::Exact;
use rating::period::Span;
use rating::quantity::cumulative::{CumulativeFold, CumulativeState};
use serde_json::{Value, json};

use super::case::{Case, Found, items, nano, number, text};
use super::differs;

pub fn run(case: &Case) -> Option<Found> {
    if !matches!(case.model(), "increase" | "delta" | "resets") {
        return None;
    }
    let input = case.input();
    let samples: Vec<(i64, i128)> = items(&input["samples"])
        .iter()
        .map(|sample| (time_us(&sample["t"], input), nano(&sample["value"])))
        .collect();
    let first_us = samples.first().map_or(0, |sample| sample.0);
    let last_us = samples.last().map_or(0, |sample| sample.0);
    let whole = Span { start_us: first_us, end_us: last_us + 1 };
    let window = if input["window"].is_null() { whole } else { window(input) };
    let mut fold = CumulativeFold::new(first_us.min(window.start_us), &CumulativeState::default());
    for &(time_us, value) in samples.iter().filter(|sample| sample.0 < window.start_us) {
        fold.sample(time_us, 0, value).unwrap();
    }
    fold.cut(window.start_us).unwrap();
    let mut running = Exact::ZERO;
    let mut running_increase = Vec::new();
    for &(time_us, value) in samples.iter().filter(|sample| window.contains(sample.0)) {
        running += &Exact::from_nano(fold.sample(time_us, 0, value).unwrap());
        running_increase.push(text(&running));
    }
    let rollup = fold.cut(window.end_us).unwrap();
    let values = json!({
        "increase": text(&rollup.increase()),
        "resets": text(&rollup.resets),
        "running_increase": running_increase,
    });
    let carried = samples.iter().any(|sample| sample.0 < window.start_us);
    let differs = match input["method"].as_str() {
        Some("linear_spread") => Some(differs::INCREASES_BELONG_TO_THE_LATER_SAMPLE),
        Some("anchored") => None,
        Some(method) if method.contains("extrapolated") => Some(differs::INCREASES_ARE_NOT_EXTRAPOLATED),
        _ => (carried && case.model() == "resets").then_some(differs::COUNTERS_ARE_CARRIED),
    };
    Found::unless(values, differs)
}

fn time_us(value: &Value, input: &Value) -> i64 {
    let per_unit_us: i64 = match input["time_unit"].as_str() {
        Some("ms") => 1_000,
        Some("us") => 1,
        Some("m") => 60_000_000,
        _ => 1_000_000,
    };
    let time_us = number(value) * Exact::from(per_unit_us);
    i64::try_from(time_us.to_i128().unwrap()).unwrap()
}

/// The window as our half-open span: one that leaves its first instant out and takes its last in starts and ends a
/// microsecond later.
fn window(input: &Value) -> Span {
    let (from_us, to_us) = (time_us(&input["window"]["from"], input), time_us(&input["window"]["to"], input));
    let bounds = input["window_bounds"].as_str().unwrap_or("[from,to)");
    Span {
        start_us: from_us + i64::from(bounds.starts_with('(')),
        end_us: to_us + i64::from(bounds.ends_with(']')),
    }
}
