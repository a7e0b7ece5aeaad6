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
