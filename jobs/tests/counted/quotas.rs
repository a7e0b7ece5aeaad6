//! `meterhouse quotas`: by the period, by the busiest hour, and over the whole life with what was bought.

use crate::{columns, event, folder, ingest, run};

const CATALOG: &str = "
catalog: test
currency: USD
meters:
  stored: { kind: gauge, event_type: stored, value: $.v, resource: $.disk, unit: MB }
  calls: { kind: delta, event_type: called, value: $.v, unit: request }
  bought: { kind: delta, event_type: bought, value: $.v, unit: request }
plans:
  basic:
    prices: { storage: { meter: stored, measure: average, per_unit: 1 } }
    quotas:
      storage: { description: Storage, meter: stored, measure: last, unit: GB, limit: 10, alert_at: [80, 100], when_reached: refuse }
      rate: { description: Calls per hour, meter: calls, window: hour, limit: 6 }
      prepaid: { description: Prepaid calls, meter: calls, window: lifetime, limit: 5 }
items:
  more: { description: More calls, meter: bought, per_unit: 0.1, raises: { quota: prepaid, by: quantity } }
tenants:
  far: { subscriptions: [{ plan: basic, from: 2026-01-01 }] }
  near: { subscriptions: [{ plan: basic, from: 2026-01-01 }] }
  over: { subscriptions: [{ plan: basic, from: 2026-01-01 }] }
  free:
    subscriptions: [{ plan: basic, from: 2026-01-01 }]
    overrides: [{ plan: basic, quota: storage, limit: unlimited }]
";

#[test]
fn who_comes_near_a_limit_is_shown() {
    let folder = folder(CATALOG);
    let folder = folder.path();
    ingest(
        folder,
        "first.ndjson",
        &[
            event("1", "stored", "far", "2026-03-02T00:00:00", "1000"),
            event("2", "stored", "near", "2026-03-02T00:00:00", "8550"),
            event("3", "stored", "over", "2026-02-02T00:00:00", "12000"),
            event("4", "stored", "free", "2026-03-02T00:00:00", "999000"),
            // Five within an hour, and nine over its life, of which fifteen are allowed since ten more were bought.
            event("5", "called", "near", "2026-03-03T10:00:00", "3"),
            event("6", "called", "near", "2026-03-03T10:59:59", "2"),
            event("7", "called", "near", "2026-01-20T10:59:59", "4"),
            event("8", "bought", "near", "2026-01-21T00:00:00", "10"),
            event("9", "called", "over", "2026-03-03T10:00:00", "7"),
            // After the period.
            event("10", "called", "far", "2026-04-03T10:00:00", "100"),
        ],
    );
    let shown = ["tenant", "quota", "unit", "used", "limit", "percent", "state", "when_reached"];
    let quotas = |arguments: &[&str]| {
        let all = [&["quotas", "--period", "2026-03", "--format", "csv"], arguments].concat();
        columns(&run(folder, &all, 0).0, &shown)
    };
    for step in ["events", "rolled"] {
        assert_eq!(
            quotas(&[]),
            [
                "near storage GB 8.55 10 85.5 near refuse",
                "near rate request 5 6 83.3 near notify",
                "over storage GB 12 10 120 exceeded refuse",
                "over rate request 7 6 116.6 exceeded notify",
                "over prepaid request 7 5 140 exceeded notify",
            ],
            "{step}"
        );
        assert_eq!(quotas(&["--warn-at", "100"]).len(), 3, "{step}");
        assert_eq!(
            quotas(&["--all", "--tenant", "near", "--tenant", "free"]),
            [
                "free storage GB 999 unlimited  within refuse",
                "free rate request 0 6 0 within notify",
                "free prepaid request 0 5 0 within notify",
                "near storage GB 8.55 10 85.5 near refuse",
                "near rate request 5 6 83.3 near notify",
                "near prepaid request 9 15 60 within notify",
            ],
            "{step}"
        );
        run(folder, &["rollup"], 0);
    }
    let (_, messages) = run(folder, &["quotas", "--period", "2026-03", "--tenant", "nobody"], 1);
    assert!(messages.contains("tenant nobody is not set up"), "{messages}");
    run(folder, &["quotas", "--period", "2026-03", "--warn-at", "soon"], 2);
}
