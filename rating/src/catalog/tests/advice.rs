//! Warnings about catalogs that have no mistakes.

use super::examples::parsed;

const CATALOG: &str = "
catalog: c
currency: USD
stripe: { mode: usage_records, action: set }
meters:
  calls: { kind: delta, event_type: c, unit: request }
plans:
  small: { prices: { calls: { meter: calls, per_unit: 2 } } }
  large: { prices: { calls: { meter: calls, per_unit: 1 } } }
tenants:
  moved:
    stripe: { customer: cus_1, subscription_items: { calls: si_1 } }
    subscriptions:
      - { plan: small, from: 2026-01-01, until: 2026-03-20 }
      - { plan: large, from: 2026-03-20 }
";

#[test]
fn a_figure_that_is_set_twice_in_a_period_is_warned_of() {
    let warned = |text: &str| -> Vec<String> {
        parsed(text, "advice.yaml").advice().iter().map(ToString::to_string).collect()
    };
    let found = warned(CATALOG);
    assert_eq!(found.len(), 1, "{found:?}");
    for part in ["15:", "tenant moved", "`calls`", "2026-03-01", "si_1", "`action: increment`"] {
        assert!(found[0].contains(part), "{part}: {found:?}");
    }
    for (what, harmless) in [
        ("between periods", CATALOG.replace("2026-03-20", "2026-04-01")),
        ("added up", CATALOG.replace("action: set", "action: increment")),
        (
            "other items",
            CATALOG
                .replace("large: { prices: { calls:", "large: { prices: { more:")
                .replace("calls: si_1", "calls: si_1, more: si_2"),
        ),
        ("an end", CATALOG.replace("      - { plan: large, from: 2026-03-20 }\n", "")),
    ] {
        assert_eq!(warned(&harmless), [""; 0], "{what}");
    }
    let overridden = CATALOG.replace(
        ", until: 2026-03-20 }\n      - { plan: large, from: 2026-03-20 }",
        " }\n    overrides:\n      - { plan: small, price: calls, from: 2026-05-10, per_unit: 1.5 }",
    );
    assert_eq!(warned(&overridden).len(), 1);
}

#[test]
fn usage_that_two_subscriptions_price_at_once_is_warned_of() {
    let warned = |text: &str| -> Vec<String> {
        parsed(text, "advice.yaml").advice().iter().map(ToString::to_string).collect()
    };
    let text = CATALOG.replace("action: set", "action: increment");
    let typed_wrong = text.replace("large, from: 2026-03-20", "large, from: 2026-03-10");
    let found = warned(&typed_wrong);
    assert_eq!(found.len(), 1, "{found:?}");
    for part in
        ["15:", "`small` and `large` both price calls from 2026-03-10 until 2026-03-20", "billed twice"]
    {
        assert!(found[0].contains(part), "{part}: {found:?}");
    }
    let for_ever = warned(&typed_wrong.replace(", until: 2026-03-20", ""));
    assert!(for_ever[0].contains("both price calls from 2026-03-10 on"), "{for_ever:?}");
    // Each takes other usage.
    let by_region = typed_wrong
        .replace("event_type: c,", "event_type: c, dimensions: { region: $.r },")
        .replace("per_unit: 2", "only: { region: eu }, per_unit: 2")
        .replace("per_unit: 1", "only: { region: us }, per_unit: 1");
    assert_eq!(warned(&by_region), [""; 0]);
    assert_eq!(warned(&text), [""; 0]);
}
