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
use std::panic::{AssertUnwindSafe, catch_unwind};

use case::{Case, Found, matches};
use differs::Cannot;
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

/// Nothing when the case passes; a reason when it differs knowingly; an error when it fails, be it that its input is not
/// what its kind has.
fn judge(case: &Case) -> Result<Option<&'static str>, String> {
    let found = match catch_unwind(AssertUnwindSafe(|| run(case))) {
        Ok(Some(found)) => found,
        Ok(None) => return Err(format!("unknown kind {}, model {}", case.kind(), case.model())),
        Err(thrown) => match thrown.downcast::<Cannot>() {
            Ok(cannot) => return Ok(Some(cannot.0)),
            Err(_) => return Err("the input cannot be read; see above".to_owned()),
        },
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
        let case = match serde_json::from_str::<Value>(line) {
            Ok(whole) => Case::new(whole),
            Err(error) => {
                failures.push(format!("no JSON: {error}: {line}"));
                continue;
            }
        };
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
        // More decimals than a value has: the case is counted in a smaller unit.
        (None, r#"{"kind": "aggregation", "model": "sum", "input": {"events": [{"time": "2023-03-02T00:00:00Z", "value":
            "0.0000000000001"}, {"time": "2023-03-01T00:00:00Z", "value": "1e-3"}], "period": {"from":
            "2023-03-01T00:00:00Z", "to": "2023-04-01T00:00:00Z"}}, "expected": {"value": "0.0010000000001"}}"#),
        (None, r#"{"kind": "aggregation", "model": "latest", "input": {"events": [{"time": "2023-03-02T00:00:00Z", "value":
            "0.00000000007"}], "period": {"from": "2023-03-01T00:00:00Z", "to": "2023-04-01T00:00:00Z"}}, "expected":
            {"value": "0.00000000007", "events_count": "1"}}"#),
        (None, r#"{"kind": "aggregation", "model": "unique_count", "input": {"events": [{"time": "2023-03-02T00:00:00Z", "key": "a",
            "properties": {"region": "eu"}}, {"time": "2023-03-03T00:00:00Z", "key": "b", "properties": {"region": "us"}}],
            "group_by": ["region"], "period": {"from": "2023-03-01T00:00:00Z", "to": "2023-04-01T00:00:00Z"}}, "expected":
            {"value": "2", "groups": [{"key": {"region": "us"}, "value": "1"}, {"key": {"region": "eu"}, "value": "1"}]}}"#),
        // Samples come in any order, and some say nothing.
        (None, r#"{"kind": "counter", "model": "increase", "input": {"samples": [{"t": 20, "value": "5.00000000001"}, {"t": 0,
            "value": "1"}, {"t": 10, "value": "NaN"}, {"t": "30.5", "value": "2"}], "time_unit": "s"}, "expected":
            {"increase": "6.00000000001"}}"#),
        (Some(differs::VALUES_HAVE_38_DIGITS), r#"{"kind": "counter", "model": "increase", "input": {"samples": [{"t": 0, "value":
            "1e40"}]}, "expected": {"increase": "0"}}"#),
        (Some(differs::UNIT_PRICES_HAVE_12_DECIMALS), r#"{"kind": "pricing", "model": "unit", "input": {"quantity": "1",
            "unit_amount": "0.0000000000001"}, "expected": {"amount": "0.0000000000001"}}"#),
        (Some(differs::UNIT_PRICES_HAVE_12_DECIMALS), r#"{"kind": "pricing", "model": "graduated_percentage", "input": {"quantity":
            "1", "tiers": [{"to": null, "rate_percent": "0.00000000001"}]}, "expected": {"amount": "0.0000000000001"}}"#),
        (Some(differs::AMOUNTS_HAVE_28_DIGITS), r#"{"kind": "pricing", "model": "unit", "input": {"quantity":
            "79228162514264337593543950336", "unit_amount": "1"}, "expected": {"amount": "79228162514264337593543950336"}}"#),
        (None, r#"{"kind": "pricing", "model": "volume", "input": {"quantity": "5", "tiers": [{"to": "10", "unit": "2"}]},
            "expected": {"amount": "10"}}"#),
        (Some(differs::TIERS_REACH_ALL_QUANTITIES), r#"{"kind": "pricing", "model": "graduated", "input": {"quantity": "15",
            "tiers": [{"to": "10", "unit": "2"}]}, "expected": {"amount": "20"}}"#),
        (Some(differs::TIERS_REACH_ALL_QUANTITIES), r#"{"kind": "pricing", "model": "volume", "input": {"quantity": "15",
            "tiers": [{"to": "20", "unit": "2"}, {"to": "10", "unit": "1"}, {"to": null, "unit": "1"}]}, "expected":
            {"amount": "15"}}"#),
        (Some(differs::ZONES_HAVE_NAMES), r#"{"kind": "proration", "model": "calendar_days", "input": {"from": "2024-03-09", "to":
            "2024-03-11", "timezone": "Mars/Olympus"}, "expected": {"days": "2"}}"#),
        (Some(differs::HALVES_GO_AWAY_OR_TO_EVEN), r#"{"kind": "rounding", "model": "currency", "input": {"amount": "0.005",
            "mode": "half_down"}, "expected": {"amount": "0.00"}}"#),
        (None, r#"{"kind": "rounding", "model": "units", "input": {"value": "123.456", "function": "ceil", "precision": 1},
            "expected": {"value": "123.5"}}"#),
        (None, r#"{"kind": "proration", "model": "billing_period_containing", "input": {"start": "2024-01-31", "target":
            "2024-02-29", "anchor_day": 31, "period": "P2M"}, "expected": {"from": "2024-01-31", "to": "2024-03-31",
            "elapsed_cycles": "0"}}"#),
        (None, r#"{"kind": "rounding", "model": "commitment_true_up", "input": {"commitment": "10.55", "used": "7.54",
            "scale": 1}, "expected": {"true_up": "3.1"}}"#),
    ];
    for (reason, row) in rows {
        let case = Case::new(serde_json::from_str(row).unwrap());
        assert_eq!(judge(&case), Ok(reason), "{row}");
    }
    let unknown_word = r#"{"kind": "rounding", "model": "currency", "input": {"amount": "1", "mode": "sideways"}}"#;
    assert!(judge(&Case::new(serde_json::from_str(unknown_word).unwrap())).is_err());
    let no_time = r#"{"kind": "aggregation", "model": "sum", "input": {"events": [], "period": {"from": 7, "to": "soon"}}}"#;
    assert!(judge(&Case::new(serde_json::from_str(no_time).unwrap())).is_err());
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
