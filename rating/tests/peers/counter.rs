//! Counters that reset.

use rating::exact::{Exact, Rounding};
use rating::period::Span;
use rating::quantity::cumulative::{CumulativeFold, CumulativeState};
use serde_json::{Value, json};

use super::case::{Case, Found, Unit, instant_us, items, number, text, zone_of};
use super::differs::{self, cannot};

pub fn run(case: &Case) -> Option<Found> {
    if !matches!(case.model(), "increase" | "delta" | "resets") {
        return None;
    }
    let input = case.input();
    // A sample without a value says nothing.
    let said = |sample: &&Value| !sample["value"].is_null() && sample["value"] != "NaN";
    let said: Vec<&Value> = items(&input["samples"]).iter().filter(said).collect();
    let unit = Unit::of(said.iter().map(|sample| &sample["value"]));
    let mut samples: Vec<(i64, i128)> =
        said.iter().map(|sample| (time_us(&sample["t"], input), unit.nano(&sample["value"]))).collect();
    samples.sort_by_key(|sample| sample.0);
    let first_us = samples.first().map_or(0, |sample| sample.0);
    let last_us = samples.last().map_or(0, |sample| sample.0);
    let whole = Span { start_us: first_us, end_us: last_us + 1 };
    let window = if input["window"].is_null() { whole } else { window(input) };
    let mut fold = CumulativeFold::new(first_us.min(window.start_us), &CumulativeState::default());
    for &(time_us, value) in samples.iter().filter(|sample| sample.0 < window.start_us) {
        fold.sample(time_us, 0, value).unwrap_or_else(|_| cannot(differs::VALUES_HAVE_38_DIGITS));
    }
    fold.cut(window.start_us).unwrap();
    let mut running = Exact::ZERO;
    let mut running_increase = Vec::new();
    for &(time_us, value) in samples.iter().filter(|sample| window.contains(sample.0)) {
        let increase = fold.sample(time_us, 0, value);
        let increase_nano = increase.unwrap_or_else(|_| cannot(differs::VALUES_HAVE_38_DIGITS));
        running += &unit.whole(&Exact::from_nano(increase_nano));
        running_increase.push(text(&running));
    }
    let rollup = fold.cut(window.end_us).unwrap();
    let values = json!({
        "increase": text(&unit.whole(&rollup.increase())),
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
    if value.as_str().is_some_and(|text| text.contains(['T', ':'])) {
        return instant_us(value, &zone_of(input));
    }
    let per_unit_ns: i64 = match input["time_unit"].as_str() {
        Some("ns") => 1,
        Some("us") => 1_000,
        Some("ms") => 1_000_000,
        Some("m" | "min") => 60_000_000_000,
        Some("h") => 3_600_000_000_000,
        Some("d") => 86_400_000_000_000,
        _ => 1_000_000_000,
    };
    let time_us = (number(value) * Exact::from(per_unit_ns)).checked_div(&Exact::from(1_000_i64)).unwrap();
    i64::try_from(time_us.round(Rounding::Down).to_i128().unwrap()).unwrap()
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
