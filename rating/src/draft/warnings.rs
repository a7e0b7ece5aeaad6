//! Warnings about a meter's samples: levels and counters below zero, counters that jump, sessions that do not fit.
//!
//! Several prices may look at the same samples. What filters take that share nothing is added up; of filters that
//! overlap, the one that saw most counts.

use std::collections::BTreeMap;

use crate::catalog::{Catalog, Meter};
use crate::exact::Exact;
use crate::invoice::Warning;
use crate::usage::{SeriesSpan, Totals, Usage, View};

/// What is odd about the samples that one question saw.
#[derive(Debug, Clone, Copy, Default)]
struct Odd {
    negative_samples: u64,
    largest_step_nano: i128,
}

pub(super) fn of_meters(catalog: &Catalog, usage: &Usage) -> Vec<Warning> {
    let mut odd: BTreeMap<&str, Vec<(&View, Odd)>> = BTreeMap::new();
    for (wanted, series) in usage.demand.wanted.iter().zip(&usage.answers) {
        let seen = of_series(series);
        if seen.negative_samples > 0 || seen.largest_step_nano > 0 {
            odd.entry(&wanted.view.meter).or_default().push((&wanted.view, seen));
        }
    }
    let mut warnings = Vec::new();
    for meter in &catalog.meters {
        if let Some(odd) = odd.remove(meter.key.as_str()) {
            warnings.extend(of_meter(meter, odd));
        }
        if let Some(oddities) = usage.session_oddities.get(&meter.key) {
            warnings.extend(Warning::of_sessions(&meter.key, oddities));
        }
    }
    warnings
}

fn of_series(series: &[SeriesSpan]) -> Odd {
    let mut odd = Odd::default();
    for series in series {
        match &series.totals {
            Totals::Gauge(totals) => odd.negative_samples += totals.rollup.negative_samples,
            Totals::Cumulative(rollup) => {
                odd.negative_samples += rollup.negative_samples;
                odd.largest_step_nano = odd.largest_step_nano.max(rollup.largest_step_nano);
            }
            Totals::Delta(_) | Totals::Session(_) | Totals::Unique(_) => {}
        }
    }
    odd
}

fn of_meter(meter: &Meter, mut odd: Vec<(&View, Odd)>) -> Vec<Warning> {
    let key = || meter.key.clone();
    let mut warnings = Vec::new();
    let samples = negative_samples(&mut odd);
    if samples > 0 {
        warnings.push(match meter.kind {
            crate::catalog::MeterKind::Cumulative => Warning::NegativeCounter { meter: key(), samples },
            _ => Warning::NegativeLevel { meter: key(), samples },
        });
    }
    let increase = odd.iter().map(|(_, odd)| odd.largest_step_nano).max().map(Exact::from_nano);
    if let (Some(increase), Some(limit)) = (increase, meter.largest_step.map(Exact::from))
        && increase > limit
    {
        warnings.push(Warning::CounterJump { meter: key(), increase, limit });
    }
    warnings
}

fn negative_samples(odd: &mut [(&View, Odd)]) -> u64 {
    odd.sort_by_key(|(_, odd)| std::cmp::Reverse(odd.negative_samples));
    let mut counted: Vec<&View> = Vec::new();
    let mut samples = 0;
    for (view, odd) in odd {
        if counted.iter().all(|known| shares_nothing(known, view)) {
            counted.push(view);
            samples += odd.negative_samples;
        }
    }
    samples
}

/// Whether no usage is taken by both.
fn shares_nothing(left: &View, right: &View) -> bool {
    left.only.iter().any(|(name, values)| {
        right.only.get(name).is_some_and(|others| !values.iter().any(|value| others.contains(value)))
    })
}
