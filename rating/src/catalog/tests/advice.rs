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
