//! Bad input: each case has its outcome, and none of them is a silent zero.

use rating::draft::{Charges, DemandOptions};

use crate::world::World;

const CATALOG: &str = "
catalog: c
currency: USD
meters:
  calls: { kind: delta, event_type: c, value: $.v, dimensions: { region: $.r, size: $.s }, unit: request }
  disk: { kind: gauge, event_type: d, value: $.v, resource: $.d, dimensions: { owner: $.o }, unit: GB }
  bytes: { kind: cumulative, event_type: b, value: $.v, resource: $.b, largest_step: 1000, unit: byte }
  time:
    { kind: session, event_type: s, resource: $.s, session: { signal: $.w, start: a, stop: z }, heartbeat_timeout: 1h, unit: second }
  shown: { kind: delta, event_type: x, value: $.v, unit: thing }
plans:
  basic:
    pools: { shared: { quantity: 5, unit: request } }
    prices:
      matrix: { meter: calls, included: { pool: shared }, matrix: { by: region, rows: { eu: 1, us: 2 } } }
  other:
    prices:
      disk: { meter: disk, measure: peak, only: { owner: vendor }, per_unit: 1 }
      cheap: { meter: disk, measure: average, only: { owner: [tenant, nobody] }, per_unit: 0 }
      bytes: { meter: bytes, per_unit: 0.001 }
      time: { meter: time, unit: hour, per_unit: 1 }
  large:
    prices: { disk: { meter: disk, measure: peak, per_unit: 9223372036854775807 } }
tenants:
  acme: { subscriptions: [{ plan: basic, from: 2025-01-01 }] }
  odd: { subscriptions: [{ plan: other, from: 2025-01-01 }] }
  late: { subscriptions: [{ plan: other, from: 2026-01-11, until: 2026-01-21 }] }
  huge: { subscriptions: [{ plan: large, from: 2025-01-01 }] }
  nobody: {}
";

fn world(events: &str) -> World {
    World::new(CATALOG, events)
}

#[test]
fn a_value_without_a_price_is_warned_of_and_draws_nothing() {
    let used = world(
        "2026-01-05T00:00:00Z calls - {\"region\":\"asia\"} 100
         2026-01-05T00:00:00Z calls - {\"region\":\"eu\"} 7
         2026-01-05T00:00:00Z calls - - 3",
    );
    assert_eq!(used.lines("acme", "2026-01"), ["matrix[eu]: 7 -> 2 = 2.00"]);
    assert_eq!(
        used.warnings("acme", "2026-01"),
        ["price matrix has no cell for 3", "price matrix has no cell for 100 region=asia"]
    );
}

#[test]
fn usage_of_a_meter_that_the_plan_does_not_price_is_warned_of() {
    let used = world(
        "2026-01-05T00:00:00Z disk a {\"owner\":\"vendor\"} 4
         2026-01-06T00:00:00Z disk a {\"owner\":\"vendor\"} 2
         2026-01-05T00:00:00Z shown - - 3",
    );
    // The catalog charges disks by their peak first. What nobody is charged for, `shown`, is measured on purpose.
    assert_eq!(used.warnings("acme", "2026-01"), ["no price for 4 of disk"]);
    assert!(used.rate("acme", "2026-01").lines.is_empty());
}

#[test]
fn values_that_no_filter_takes_are_warned_of() {
    let used = world(
        "2026-01-05T00:00:00Z disk a {\"owner\":\"vendor\"} 4
         2026-01-05T00:00:00Z disk b {\"owner\":\"nobody\"} 4
         2026-01-05T00:00:00Z disk c {\"owner\":\"friend\"} 5
         2026-01-05T00:00:00Z disk d - 6",
    );
    assert_eq!(
        used.warnings("odd", "2026-01"),
        ["no price for 6 of disk", "no price for 5 of disk owner=friend"]
    );
}

#[test]
fn usage_outside_of_every_subscription_is_warned_of() {
    let used = world(
        "2026-01-05T00:00:00Z disk a {\"owner\":\"vendor\"} 9
         2026-01-12T00:00:00Z disk a {\"owner\":\"vendor\"} 4
         2026-01-25T00:00:00Z disk a {\"owner\":\"vendor\"} 0
         2026-01-05T00:00:00Z bytes x - 10
         2026-01-25T00:00:00Z bytes x - 25",
    );
    assert_eq!(
        used.warnings("late", "2026-01"),
        ["9 of disk outside of every subscription", "15 of bytes outside of every subscription"]
    );
    // Never subscribed, but set up: a draft without lines says what was used.
    let draft = used.rate("nobody", "2026-01");
    assert!(draft.lines.is_empty() && draft.due.is_zero());
    assert_eq!(draft.warnings.len(), 2);
    // And nobody used anything in December.
    assert!(used.try_rate("nobody", "2025-12", &mut []).unwrap().is_none());
}

#[test]
fn odd_samples_are_counted_once_however_many_prices_look_at_them() {
    let used = world(
        "2026-01-05T00:00:00Z disk a {\"owner\":\"vendor\"} -4
         2026-01-06T00:00:00Z disk b {\"owner\":\"tenant\"} -1
         2026-01-06T00:00:00Z disk a {\"owner\":\"vendor\"} 1
         2026-01-07T00:00:00Z disk b {\"owner\":\"tenant\"} 1
         2026-01-05T00:00:00Z bytes x - -10
         2026-01-06T00:00:00Z bytes x - 991
         2026-01-05T00:00:00Z time s1 - stop
         2026-01-05T00:00:00Z time s2 - until 2026-01-04T00:00:00Z
         2026-01-05T00:00:00Z time s3 - start",
    );
    assert_eq!(
        used.warnings("odd", "2026-01"),
        [
            "2 levels of disk below zero",
            "1 values of counter bytes below zero",
            "counter bytes grew by 1001 at once, more than 1000",
            "1 stops or heartbeats of time without a start",
            "1 sessions of time ended before they started",
            "1 sessions of time closed by timeout",
        ]
    );
    // The counter's jump is billed as it is, and the session until its timeout.
    let lines = used.lines("odd", "2026-01");
    assert!(lines.contains(&"bytes: 1001 -> 1001 = 1.00".to_owned()), "{lines:?}");
    assert!(lines.contains(&"time: 3600 -> 1 = 1.00".to_owned()), "{lines:?}");
}

#[test]
fn usage_below_zero_is_paid_back_and_warned_of() {
    let used = world("2026-01-05T00:00:00Z calls - {\"region\":\"us\"} -3");
    assert_eq!(used.lines("acme", "2026-01"), ["matrix[us]: -3 -> -3 = -6.00"]);
    assert_eq!(used.warnings("acme", "2026-01"), ["price matrix pays back -3"]);
}

#[test]
fn an_amount_out_of_range_fails_that_tenant_by_name() {
    let used = world("2026-01-05T00:00:00Z disk a - 99999999999999999999");
    let error = used.try_rate("huge", "2026-01", &mut []).unwrap_err();
    assert_eq!(error.to_string(), "tenant huge, period 2026-01-01, price disk, meter disk: no amount");
}

/// 2^96 - 1 yen is the most that a line can say, and that all lines of a price can.
#[test]
fn amounts_one_above_the_largest_are_refused_by_name() {
    let catalog = "
catalog: c
currency: JPY
meters:
  calls: { kind: delta, event_type: c, value: $.v, unit: request }
plans:
  basic: { prices: { calls: { meter: calls, per_unit: 1 } } }
tenants:
  acme:
    subscriptions: [{ plan: basic, from: 2025-01-01 }]
    overrides: [{ plan: basic, price: calls, from: 2026-01-16, per_unit: 2 }]
";
    let rated = |events: &str| {
        let invoice = World::new(catalog, events).try_rate("acme", "2026-01", &mut []);
        invoice.map(|invoice| invoice.unwrap().total.to_string()).map_err(|error| error.to_string())
    };
    let most = "79228162514264337593543950335";
    assert_eq!(rated(&format!("2026-01-05T00:00:00Z calls - - {most}")), Ok(most.to_owned()));
    assert_eq!(
        rated("2026-01-05T00:00:00Z calls - - 79228162514264337593543950336"),
        Err("tenant acme, period 2026-01-01, price calls, meter calls: no amount".to_owned())
    );
    let half = "2026-01-20T00:00:00Z calls - - 19807040628566084398385987583";
    let fits = format!("2026-01-05T00:00:00Z calls - - 39614081257132168796771975169\n{half}");
    assert_eq!(rated(&fits), Ok(most.to_owned()));
    assert_eq!(
        rated(&format!("{fits}\n2026-01-06T00:00:00Z calls - - 1")),
        Err("tenant acme, period 2026-01-01, price calls, meter calls: the lines of the period add up to more than 28 digits".to_owned())
    );
}

#[test]
fn a_usage_that_was_asked_otherwise_is_refused() {
    let used = world("");
    let terms = used.catalog.tenant_terms("odd").unwrap();
    let charges = Charges::new(&used.catalog, terms, used.period("odd", "2026-01"));
    let demand = charges.demand("odd", DemandOptions { unpriced_usage: false, costs: false });
    let usage = crate::world::usage(&used.catalog, demand, &[]);
    let inputs = || rating::draft::DraftInputs {
        credits: &mut [],
        provenance: rating::invoice::Provenance::default(),
        catalog_file: "c",
        corrected: rating::draft::CorrectedWith::new(),
    };
    let error = charges.rate(&usage, inputs()).unwrap_err();
    assert_eq!(error.to_string(), "the usage does not answer what the price of meter calls asks");
    let february = Charges::new(&used.catalog, terms, used.period("odd", "2026-02"));
    let error = february.rate(&usage, inputs()).unwrap_err();
    assert_eq!(error.to_string(), "usage of period 2026-01-01 was given for period 2026-02-01");
}
