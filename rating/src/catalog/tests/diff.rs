//! What `diff` says, sentence by sentence.

use super::examples::{DOCUMENTS, ONMEMOS, REDLINE, ZEMFYRE, parsed};
use crate::catalog::diff;

/// The sentences about an example in which some texts were replaced.
fn changed(example: &str, replacements: &[(&str, &str)]) -> Vec<String> {
    let mut text = example.to_owned();
    for (before, after) in replacements {
        assert!(text.contains(before), "the example has no {before:?}");
        text = text.replacen(before, after, 1);
    }
    diff(&parsed(example, "old.yaml"), &parsed(&text, "new.yaml"))
}

#[test]
fn equal_catalogs_have_no_differences() {
    for example in [REDLINE, ONMEMOS, ZEMFYRE, DOCUMENTS] {
        assert_eq!(changed(example, &[]), Vec::<String>::new());
        assert_eq!(
            changed(
                example,
                &[("meters:", "# a comment moves every line\nmeters:")]
            ),
            Vec::<String>::new()
        );
    }
}

#[test]
fn each_change_is_a_sentence() {
    let cases: &[(&str, &str, &str, &[&str])] = &[(
        ZEMFYRE,
        "per_unit: 0.20",
        "per_unit: 0.25",
        &[
            "Plan `starter`, price `storage`: 0.25 USD per GiB instead of 0.2 USD per GiB, for `instance-harbor` and every tenant without an entry.",
        ],
    )];
    for (example, before, after, sentences) in cases {
        assert_eq!(changed(example, &[(before, after)]), *sentences);
    }
}

#[test]
fn dump() {
    for (example, before, after) in [
        (
            ZEMFYRE,
            "measure: average\n        unit: GiB\n        included: 5\n",
            "measure: peak\n        unit: GiB\n        included: 6\n",
        ),
        (ZEMFYRE, "flat: 0", "flat: 10"),
        (
            ZEMFYRE,
            "quantity: 10, unit: GiB",
            "quantity: 20, unit: GiB",
        ),
        (
            ZEMFYRE,
            "package: { size: 1000, price: 0.50 }",
            "graduated: [{ up_to: 1000, per_unit: 0.1, flat: 1 }, { per_unit: 0.01 }]",
        ),
        (ZEMFYRE, "expires_after: 3h", "expires_after: 90m"),
        (
            ZEMFYRE,
            "billing: { anchor: 2026-01-15 }",
            "billing: { every_months: 3, anchor: 2026-01-15 }",
        ),
        (
            ZEMFYRE,
            "- { plan: starter, from: 2026-01-01 }",
            "- { plan: professional, from: 2026-01-01 }",
        ),
        (ONMEMOS, "gpu: 0.125", "gpu: 0.13"),
        (ONMEMOS, "per_unit: 5.00", "per_unit: 6"),
        (ONMEMOS, "amount: 5", "amount: 7"),
        (ONMEMOS, "limit: 5000", "limit: 6000"),
        (REDLINE, "per_unit: 0.05", "per_unit: 0.06"),
        (
            REDLINE,
            "commitment: { amount: 200 }",
            "commitment: { amount: 300, true_up: false }",
        ),
        (REDLINE, "per_unit: 0.023", "per_unit: 0.021"),
        (REDLINE, "included: 1\n", "included: 2\n"),
        (REDLINE, "round: up", "round: nearest"),
        (DOCUMENTS, "percent: 19", "percent: 20"),
        (DOCUMENTS, "per_unit: 0.07", "per_unit: 0.06"),
        (DOCUMENTS, "keep_days: 180", "keep_days: 90"),
        (DOCUMENTS, "from: 2026-07-01", "from: 2026-08-01"),
        (
            DOCUMENTS,
            "discounts: [{ percent: 10 }]",
            "discounts: [{ percent: 15 }]",
        ),
    ] {
        for sentence in changed(example, &[(before, after)]) {
            println!("{sentence}");
        }
        println!();
    }
}
