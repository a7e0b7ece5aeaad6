//! Numbers from other projects' test suites, run through the real code.
//!
//! Every case passes, or differs for a reason that follows from the case's own input and is named: a kind or model that
//! nobody knows fails, and so does a difference without a reason. `METERHOUSE_PEERS` names another file of cases.

#![allow(
    clippy::unnecessary_wraps,
    reason = "every model answers with an option: nothing means that it is unknown"
)]

mod aggregation;
mod case;
mod counter;
mod credits;
mod differs;
mod pricing;
mod progressive;
mod proration;
mod rounding;

use std::collections::BTreeMap;

use case::{Case, Found, matches};
use serde_json::Value;

const PEERS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../testdata/peers/peers.jsonl");

fn run(case: &Case) -> Option<Found> {
    match case.kind() {
        "aggregation" => aggregation::run(case),
        "counter" => counter::run(case),
        "credits" => credits::run(case),
        "pricing" => pricing::run(case).or_else(|| progressive::run(case)),
        "proration" => proration::run(case),
        "rounding" => rounding::run(case),
        _ => None,
    }
}

/// Nothing when the case passes; a reason when it differs knowingly; an error when it fails.
fn judge(case: &Case) -> Result<Option<&'static str>, String> {
    let Some(found) = run(case) else {
        return Err(format!("unknown kind {}, model {}", case.kind(), case.model()));
    };
    if matches(case.expected(), &found.values, &case.tolerance()) {
        return Ok(None);
    }
    let shown = format!("expected {}, found {}", case.expected(), found.values);
    found.differs.map(Some).ok_or(shown)
}

#[test]
fn every_case_passes_or_differs_for_a_reason() {
    let other = std::env::var("METERHOUSE_PEERS").ok();
    let path = other.as_deref().unwrap_or(PEERS);
    let text = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{path}: {error}"));
    let mut failures = Vec::new();
    let mut differing: BTreeMap<String, &str> = BTreeMap::new();
    let mut passed = 0;
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        let case = Case::new(serde_json::from_str::<Value>(line).unwrap());
        match judge(&case) {
            Ok(None) => passed += 1,
            Ok(Some(reason)) => {
                differing.insert(case.id().to_owned(), reason);
            }
            Err(failure) => failures.push(format!("{} ({}): {failure}", case.id(), case.model())),
        }
    }
    println!("{passed} pass, {} differ, {} fail", differing.len(), failures.len());
    for (id, reason) in &differing {
        println!("{id}: {reason}");
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    assert!(passed > 0, "{path} holds no cases");
    if other.is_none() {
        let listed: BTreeMap<String, &str> =
            differs::LISTED.iter().map(|(id, reason)| ((*id).to_owned(), *reason)).collect();
        assert_eq!(differing, listed, "the list in differs.rs is out of date");
    }
}

/// Cases like those of the file, one for each way in which they may differ or could not be read.
#[test]
#[rustfmt::skip]
fn other_cases_pass_or_differ_for_a_reason() {
    let rows = [
        (None, r#"{"kind": "pricing", "model": "rerate_volume", "input": {"price": {"tiers": [{"to": null, "unit": "10"}]},
            "cumulative_quantities": ["10", "10"], "currency_scale": 2, "min_spend": "150"},
            "expected": {"phase_totals": ["100", "50"]}}"#),
        (None, r#"{"kind": "pricing", "model": "rerate_dynamic", "input": {"price": {"multiplier": "10"},
            "cumulative_quantities": ["1", "2"], "currency_scale": 5, "min_spend": "100"},
            "expected": {"phase_totals": ["10", "90"]}}"#),
        (None, r#"{"kind": "pricing", "model": "rerate_unit", "input": {"price": {"unit_amount": "10"},
            "cumulative_quantities": ["8", "12"], "currency_scale": 2, "usage_discount": "9"},
            "expected": {"phase_totals": ["0", "30"]}}"#),
        (None, r#"{"kind": "pricing", "model": "percentage", "input": {"event_values": ["10", "80", "10000"],
            "rate_percent": "2.99", "free_events": 2, "free_amount": "0", "per_transaction_min": "1.75",
            "per_transaction_max": "12"}, "expected": {"amount": "12"}}"#),
        (None, r#"{"kind": "pricing", "model": "progressive_unit", "input": {"unit_amount": "10", "pre_quantity": "1",
            "quantity": "2", "previously_billed": "10", "line_position": "single", "min_spend": "100",
            "currency_scale": 1}, "expected": {"commitment": "70", "total": "90"}}"#),
        (Some(differs::VOLUME_IS_BILLED_AS_IT_GROWS), r#"{"kind": "pricing", "model": "progressive_volume", "input":
            {"tiers": [{"to": null, "unit": "10"}], "pre_quantity": "0", "quantity": "5", "previously_billed": "0",
            "line_position": "mid", "currency_scale": 2}, "expected": {"total": "0"}}"#),
        (Some(differs::BOUNDS_BELONG_TO_THE_LOWER_TIER), r#"{"kind": "pricing", "model": "rerate_volume", "input":
            {"price": {"tier_bounds": "[from,to)", "tiers": [{"to": "5", "unit": "1"}, {"to": null, "unit": "2"}]},
            "cumulative_quantities": ["5"], "currency_scale": 2}, "expected": {"phase_totals": ["10"]}}"#),
        (Some(differs::ALLOWANCES_COME_BEFORE_ROUNDING), r#"{"kind": "pricing", "model": "converted_unit", "input":
            {"raw_quantity": "1400", "operation": "divide", "factor": "1000", "rounding": "ceiling",
            "unit_amount": "10", "usage_discount": "0.5"}, "expected": {"billed_quantity": "1.5", "amount": "15"}}"#),
        (None, r#"{"kind": "proration", "model": "plan_change", "input": {"period": {"from": "2025-01-01", "to":
            "2025-01-31"}, "change_date": "2025-01-16", "items": [{"type": "charge", "amount_minor": "100000", "cadence":
            "one_time"}]}, "expected": {"net_minor": "100000"}}"#),
        (Some(differs::FEES_ARE_OF_THE_BILLING_PERIOD), r#"{"kind": "proration", "model": "plan_change", "input": {"period":
            {"from": "2025-01-01", "to": "2025-01-31"}, "change_date": "2025-01-01", "items": [{"type": "charge",
            "amount_minor": "365000", "cadence": "annual"}]}, "expected": {"net_minor": "30000"}}"#),
        (Some(differs::SHORT_MONTHS_START_ON_THEIR_LAST_DAY), r#"{"kind": "proration", "model": "billing_cycles_in_advance",
            "input": {"start": "2011-02-14", "end": null, "target": "2011-03-01", "cycle_day": 31, "scale": 9},
            "expected": {"cycles": "1.451612903"}}"#),
        (None, r#"{"kind": "proration", "model": "trailing_factor", "input": {"last_cycle_date": "2023-03-15", "end":
            "2023-03-25", "period": "P1M", "scale": 9}, "expected": {"factor": "0.322580645"}}"#),
        // 150 of which a third of the time: the upper tier at 1.
        (None, r#"{"kind": "proration", "model": "volume_prorated", "input": {"tier_quantity": "150", "billed_quantity":
            "50", "tiers": [{"to": "100", "unit": "2"}, {"to": null, "unit": "1"}]}, "expected": {"amount": "50"}}"#),
        (None, r#"{"kind": "aggregation", "model": "weighted_sum", "input": {"events": [{"time": "2023-03-01T00:00:00Z",
            "value": "31"}], "initial_value": "0", "period": {"from": "2023-03-01T00:00:00.000285Z", "to":
            "2023-04-01T00:00:00.000285Z"}, "round": {"scale": 5}}, "expected": {"value": "31"}}"#),
        (Some(differs::QUANTITIES_ROUND_HALVES_AWAY), r#"{"kind": "rounding", "model": "unit_conversion", "input":
            {"quantity": "2500", "operation": "divide", "factor": "1000", "rounding": "half_even"}, "expected":
            {"quantity": "2"}}"#),
        (None, r#"{"kind": "rounding", "model": "commitment_true_up", "input": {"commitment": "10.55", "used": "7.54",
            "scale": 1}, "expected": {"true_up": "3.1"}}"#),
    ];
    for (reason, row) in rows {
        let case = Case::new(serde_json::from_str(row).unwrap());
        assert_eq!(judge(&case), Ok(reason), "{row}");
    }
    let unknown_word = r#"{"kind": "rounding", "model": "currency", "input": {"amount": "1", "mode": "sideways"}}"#;
    assert!(judge(&Case::new(serde_json::from_str(unknown_word).unwrap())).is_err());
}

#[test]
fn unknown_kinds_and_wrong_values_fail() {
    let case = |text: &str| Case::new(serde_json::from_str(text).unwrap());
    let unknown = r#"{"id": "x", "kind": "dancing", "model": "waltz", "input": {}, "expected": {}}"#;
    assert!(judge(&case(unknown)).is_err());
    let model = r#"{"id": "x", "kind": "pricing", "model": "waltz", "input": {}, "expected": {}}"#;
    assert!(judge(&case(model)).is_err());
    let unit = |amount: &str| {
        let input = r#""input": {"quantity": "2", "unit_amount": "3"}"#;
        let expected = format!(r#""expected": {{"amount": "{amount}"}}"#);
        judge(&case(&format!(r#"{{"id": "x", "kind": "pricing", "model": "unit", {input}, {expected}}}"#)))
    };
    assert_eq!(unit("6.00"), Ok(None));
    assert!(unit("6.01").is_err());
}
