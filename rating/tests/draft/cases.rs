//! Which lines a draft has, and what they come to.

use rating::draft::granted_credits;
use rating::invoice::credit::Credit;

use rating::quantity::Measure;

use crate::world::{World, shown};

const HEAD: &str = "
catalog: c
currency: USD
meters:
  calls: { kind: delta, event_type: c, value: $.v, dimensions: { region: $.r, size: $.s }, unit: request }
  disk: { kind: gauge, event_type: d, value: $.v, resource: $.d, unit: GB }
  bytes: { kind: cumulative, event_type: b, value: $.v, resource: $.b, unit: byte }
  paid: { kind: delta, event_type: p, value: $.v, unit: usd }
  bought: { kind: delta, event_type: i, value: $.v, unit: pack }
";

fn world(rest: &str, events: &str) -> World {
    World::new(&format!("{HEAD}{rest}"), events)
}

fn plan(prices: &str) -> String {
    format!(
        "plans:\n  basic:\n    prices:\n{prices}\nother_tenants:\n  subscriptions: [{{ plan: basic, from: 2025-01-01 }}]\n"
    )
}

#[test]
fn every_price_of_a_plan_has_its_line_even_unused() {
    let catalog = plan(
        "      fee: { flat: 29 }
      calls: { meter: calls, included: 10, per_unit: 0.5 }
      disk: { meter: disk, measure: average, per_unit: 3 }
      split: { meter: calls, split_by: region, per_unit: 1 }
      tiers: { meter: calls, split_by: size, graduated: [{ up_to: 10, per_unit: 1, flat: 5 }, { per_unit: 1 }] }",
    );
    assert_eq!(
        world(&catalog, "").lines("acme", "2026-01"),
        [
            "calls: 0 -> 0 = 0.00",
            "disk: 0 -> 0 = 0.00",
            "fee: - -> 1 = 29.00",
            // No region was used, so no region has a line; but the first tier's fee is owed whatever is used.
            "tiers: 0 -> 0 = 5.00",
        ]
    );
    let used = world(
        &catalog,
        "2026-01-05T00:00:00Z calls - {\"region\":\"eu\",\"size\":\"s\"} 8
         2026-01-31T23:59:59.999999Z calls - {\"region\":\"us\",\"size\":\"s\"} 4
         2026-02-01T00:00:00Z calls - {\"region\":\"us\",\"size\":\"s\"} 100
         2025-12-31T23:00:00Z disk a - 2",
    );
    assert_eq!(
        used.lines("acme", "2026-01"),
        [
            "calls: 12 -> 2 = 1.00",
            "disk: 2 -> 2 = 6.00",
            "fee: - -> 1 = 29.00",
            "split[eu]: 8 -> 8 = 8.00",
            "split[us]: 4 -> 4 = 4.00",
            // 10 at 1 and 2 at 1, and the fee of the first tier; the second has none.
            "tiers[s]: 12 -> 12 = 17.00",
        ]
    );
}

#[test]
fn pools_are_drawn_in_the_plans_order_and_not_in_the_invoices() {
    // The invoice sorts its lines by key: `a_last` comes first on paper and last at the pool.
    let catalog = "
plans:
  basic:
    pools: { shared: { quantity: 10, unit: request } }
    prices:
      first: { meter: calls, only: { region: eu }, included: { pool: shared }, per_unit: 1 }
      a_last: { meter: calls, only: { region: us }, included: { pool: shared }, per_unit: 1 }
other_tenants:
  subscriptions: [{ plan: basic, from: 2025-01-01 }]
";
    let used = world(
        catalog,
        "2026-01-05T00:00:00Z calls - {\"region\":\"eu\"} 7
         2026-01-06T00:00:00Z calls - {\"region\":\"us\"} 9",
    );
    assert_eq!(used.lines("acme", "2026-01"), ["a_last: 9 -> 6 = 6.00", "first: 7 -> 0 = 0.00"]);
}

#[test]
fn a_pool_is_whole_while_its_plan_holds_though_a_price_changes() {
    let catalog = "
plans:
  basic:
    pools: { shared: { quantity: 31, unit: request } }
    prices:
      first: { meter: calls, only: { region: eu }, included: { pool: shared }, per_unit: 1 }
      second: { meter: calls, only: { region: us }, included: { pool: shared }, per_unit: 1 }
tenants:
  acme:
    subscriptions: [{ plan: basic, from: 2026-01-11 }]
    overrides: [{ plan: basic, price: first, per_unit: 2, from: 2026-01-21 }]
";
    let used = world(
        catalog,
        "2026-01-05T00:00:00Z calls - {\"region\":\"eu\"} 1000
         2026-01-15T00:00:00Z calls - {\"region\":\"eu\"} 15
         2026-01-25T00:00:00Z calls - {\"region\":\"eu\"} 8
         2026-01-25T00:00:00Z calls - {\"region\":\"us\"} 4",
    );
    // Subscribed for 21 of 31 days: 21 requests are included. 15 and then 6 of the 8 are drawn.
    assert_eq!(
        used.lines("acme", "2026-01"),
        ["first: 15 -> 0 = 0.00", "first: 8 -> 2 = 4.00", "second: 4 -> 4 = 4.00"]
    );
    assert_eq!(used.warnings("acme", "2026-01"), ["1000 of calls outside of every subscription"]);
}

#[test]
fn fees_are_prorated_charged_once_or_whole() {
    let catalog = "
plans:
  basic:
    prices:
      fee: { flat: 31 }
      setup: { flat: 99, charge: once }
      whole: { flat: 7, prorate: false }
tenants:
  new:
    subscriptions: [{ plan: basic, from: 2026-01-11 }]
    overrides:
      - { plan: basic, price: fee, flat: 62, from: 2026-01-21 }
      - { plan: basic, price: whole, flat: 8, from: 2026-01-21 }
      - { plan: basic, price: setup, flat: 50, from: 2026-01-21 }
  gone:
    subscriptions: [{ plan: basic, from: 2025-01-01, until: 2026-01-11 }]
";
    let world = world(catalog, "");
    // 10 days at 1 and 11 days at 2 a day; what is not prorated is owed once, by the terms it began with.
    assert_eq!(
        world.lines("new", "2026-01"),
        ["fee: - -> 1 = 10.00", "fee: - -> 1 = 22.00", "setup: - -> 1 = 99.00", "whole: - -> 1 = 7.00"]
    );
    assert_eq!(world.lines("new", "2026-02"), ["fee: - -> 1 = 62.00", "whole: - -> 1 = 8.00"]);
    assert_eq!(world.lines("gone", "2026-01"), ["fee: - -> 1 = 10.00", "whole: - -> 1 = 7.00"]);
    assert!(world.try_rate("gone", "2026-02", &mut []).unwrap().is_none());
    let texts: Vec<String> =
        world.rate("new", "2026-01").lines.into_iter().map(|line| line.description).collect();
    assert_eq!(
        texts,
        [
            "fee (from 2026-01-11, until 2026-01-21)",
            "fee (from 2026-01-21)",
            "setup",
            "whole (from 2026-01-11, until 2026-01-21)",
        ]
    );
}

#[test]
fn a_maximum_holds_over_all_spans_of_the_period() {
    let catalog = "
plans:
  basic:
    prices: { calls: { meter: calls, per_unit: 1, discounts: [{ maximum_spend: 100 }] } }
tenants:
  acme:
    subscriptions: [{ plan: basic, from: 2025-01-01 }]
    overrides: [{ plan: basic, price: calls, per_unit: 2, from: 2026-01-21 }]
";
    let used = world(catalog, "2026-01-15T00:00:00Z calls - - 70\n 2026-01-25T00:00:00Z calls - - 40");
    assert_eq!(used.lines("acme", "2026-01"), ["calls: 70 -> 70 = 70.00", "calls: 40 -> 40 = 30.00"]);
}

/// A price whose terms change in the middle of April, on the 16th; lines as in `World::lines`.
fn split_lines(price: &str, later: &str, events: &str) -> Vec<String> {
    let catalog = format!(
        "
plans:
  basic:
    prices: {{ calls: {{ meter: calls, {price} }} }}
tenants:
  acme:
    subscriptions: [{{ plan: basic, from: 2025-01-01 }}]
    overrides: [{{ plan: basic, price: calls, {later}, from: 2026-04-16 }}]
"
    );
    world(&catalog, events).lines("acme", "2026-04")
}

#[test]
fn a_commitment_is_one_promise_over_all_spans() {
    let used = |before: u32, after: u32| {
        format!("2026-04-10T00:00:00Z calls - - {before}\n 2026-04-20T00:00:00Z calls - - {after}")
    };
    let lines = |terms: &str, before, after| {
        split_lines(&format!("per_unit: 1, {terms}"), "round: up", &used(before, after))
    };
    // Whatever was used when: 100 are promised for the period.
    for terms in ["commitment: { amount: 100 }", "commitment: { amount: 100, prorate: false }"] {
        assert_eq!(lines(terms, 75, 75), ["calls: 75 -> 75 = 75.00", "calls: 75 -> 75 = 75.00"]);
        assert_eq!(lines(terms, 100, 0), ["calls: 100 -> 100 = 100.00", "calls: 0 -> 0 = 0.00"]);
        assert_eq!(lines(terms, 30, 20), ["calls: 30 -> 30 = 30.00", "calls: 20 -> 20 = 70.00"]);
    }
    let doubled = "commitment: { amount: 100, overage_factor: 2 }";
    // 90, then 10 that are left and 20 beyond them at twice their price.
    assert_eq!(lines(doubled, 90, 30), ["calls: 90 -> 90 = 90.00", "calls: 30 -> 30 = 50.00"]);
    // Half of 100 and half of 300 are promised.
    let raised = split_lines(
        "per_unit: 1, commitment: { amount: 100 }",
        "commitment: { amount: 300 }",
        &used(120, 10),
    );
    assert_eq!(raised, ["calls: 120 -> 120 = 120.00", "calls: 10 -> 10 = 80.00"]);
    // Who comes in the middle of the month promises for half of it.
    let late = "
plans:
  basic:
    prices: { calls: { meter: calls, per_unit: 1, commitment: { amount: 100 } } }
tenants:
  acme: { subscriptions: [{ plan: basic, from: 2026-04-16 }] }
";
    assert_eq!(world(late, "").lines("acme", "2026-04"), ["calls: 0 -> 0 = 50.00"]);
}

#[test]
fn what_is_free_once_is_free_once() {
    let used = "2026-04-10T00:00:00Z calls - - 10\n 2026-04-20T00:00:00Z calls - - 10";
    let lines = split_lines("per_unit: 1, included: { quantity: 10, prorate: false }", "per_unit: 2", used);
    assert_eq!(lines, ["calls: 10 -> 0 = 0.00", "calls: 10 -> 10 = 20.00"]);
    // What is prorated is free in each half.
    let lines = split_lines("per_unit: 1, included: 10", "per_unit: 2", used);
    assert_eq!(lines, ["calls: 10 -> 5 = 5.00", "calls: 10 -> 5 = 10.00"]);
    let free = |later| split_lines("percentage: { rate: 10, free_transactions: 1 }", later, used);
    assert_eq!(free("discounts: []"), ["calls: 20 -> 20 = 1.00"]);
    let off = free("discounts: [{ percent: 50 }]");
    assert_eq!(off, ["calls: 10 -> 10 = 0.00", "calls: 10 -> 10 = 0.50"]);
    // 5 off a month are 2.50 off each half.
    let used = "2026-04-10T00:00:00Z calls - - 50\n 2026-04-20T00:00:00Z calls - - 50";
    let lines = split_lines("per_unit: 1, discounts: [{ amount: 5 }]", "round: up", used);
    assert_eq!(lines, ["calls: 50 -> 50 = 47.50", "calls: 50 -> 50 = 47.50"]);
}

#[test]
fn a_level_costs_the_same_however_its_period_is_split() {
    let levels = |price: &str, later: &str, measure: &str| {
        let catalog = format!(
            "
plans:
  basic:
    prices: {{ disk: {{ meter: disk, measure: {measure}, {price} }} }}
tenants:
  acme:
    subscriptions: [{{ plan: basic, from: 2025-01-01 }}]
    overrides: [{{ plan: basic, price: disk, {later}, from: 2026-04-16 }}]
  late:
    subscriptions: [{{ plan: basic, from: 2026-04-16 }}]
"
        );
        let world = world(&catalog, "2026-03-01T00:00:00Z disk a - 150");
        let lines =
            |tenant| world.rate(tenant, "2026-04").lines.iter().map(|line| line.amount.to_string()).collect();
        let (split, late): (Vec<String>, Vec<String>) = (lines("acme"), lines("late"));
        (split.join(" + "), late.join(" + "))
    };
    for measure in ["peak", "average"] {
        let volume = "volume: [{ up_to: 100, per_unit: 2 }, { per_unit: 1 }]";
        // 150 a month; the second half of it at 10 % off.
        assert_eq!(
            levels(volume, "discounts: [{ percent: 10 }]", measure),
            ("75.00 + 67.50".into(), "75.00".into())
        );
        let packages = "package: { size: 40, price: 10 }";
        // Four packages.
        assert_eq!(
            levels(packages, "discounts: [{ percent: 10 }]", measure),
            ("20.00 + 18.00".into(), "20.00".into())
        );
    }
}

#[test]
fn a_heartbeat_without_dimensions_stays_in_its_price() {
    let catalog = "
catalog: c
currency: USD
meters:
  desk:
    kind: session
    event_type: s
    resource: $.id
    session: { signal: $.what, start: start, stop: stop, heartbeat: alive }
    dimensions: { size: $.size }
    unit: second
plans:
  basic: { prices: { desk: { meter: desk, unit: hour, matrix: { by: size, rows: { large: 2 } } } } }
other_tenants:
  subscriptions: [{ plan: basic, from: 2025-01-01 }]
";
    let used = World::new(
        catalog,
        "2026-01-05T10:00:00Z desk d {\"size\":\"large\"} start
         2026-01-05T11:00:00Z desk d - alive
         2026-01-05T13:00:00Z desk d {\"size\":\"large\"} stop",
    );
    assert_eq!(used.lines("acme", "2026-01"), ["desk[large]: 10800 -> 3 = 6.00"]);
    assert!(used.warnings("acme", "2026-01").is_empty());
}

/// The stops would else be usage of no size and of small, which owe the first tier's 5.00 for nothing.
#[test]
fn a_stop_without_dimensions_owes_no_fee_of_its_own() {
    let catalog = "
catalog: c
currency: USD
meters:
  desk:
    kind: session
    event_type: s
    resource: $.id
    session: { signal: $.what, start: start, stop: stop }
    dimensions: { size: $.size }
    unit: second
plans:
  basic:
    prices:
      desk: { meter: desk, unit: hour, split_by: [size], graduated: [{ up_to: 10, per_unit: 1, flat: 5.00 }, { per_unit: 1 }] }
other_tenants:
  subscriptions: [{ plan: basic, from: 2025-01-01 }]
";
    let used = World::new(
        catalog,
        "2026-01-05T10:00:00Z desk d {\"size\":\"large\"} start
         2026-01-05T11:00:00Z desk d - stop
         2026-01-06T11:00:00Z desk e {\"size\":\"small\"} stop",
    );
    assert_eq!(used.lines("acme", "2026-01"), ["desk[large]: 3600 -> 1 = 6.00"]);
    assert_eq!(used.warnings("acme", "2026-01"), ["1 stops or heartbeats of desk without a start"]);
}

/// +5 and -5 are carried in and run out together at noon: their sum is never anything, but one of them was 5.
#[test]
fn levels_that_cancel_each_other_have_peaks() {
    let catalog = "
catalog: c
currency: USD
meters: { disk: { kind: gauge, event_type: d, value: $.v, resource: $.d, expires_after: 24h, unit: GB } }
plans: { basic: { prices: { disk: { meter: disk, measure: sum_of_peaks, per_unit: 1 } } } }
other_tenants: { subscriptions: [{ plan: basic, from: 2025-01-01 }] }
";
    let used = World::new(
        catalog,
        "2025-12-31T12:00:00Z disk a - 5
         2025-12-31T12:00:00Z disk b - -5",
    );
    assert_eq!(used.lines("acme", "2026-01"), ["disk: 5 -> 5 = 5.00"]);
}

#[test]
fn grants_are_in_the_catalogs_currency() {
    let catalog = "
plans:
  yen: { currency: JPY, prices: { fee: { flat: 1000 } } }
  dollars: { prices: { fee: { flat: 10 } } }
credits: { grants: { welcome: { amount: 5.00 } } }
tenants:
  tokyo: { subscriptions: [{ plan: yen, from: 2025-01-01 }] }
  boston: { subscriptions: [{ plan: dollars, from: 2025-01-01 }] }
";
    let world = world(catalog, "");
    let granted = |tenant| {
        let credits = granted_credits(&world.catalog, world.catalog.tenant_terms(tenant).unwrap());
        credits.iter().map(|credit| credit.balance.to_string()).collect::<Vec<_>>()
    };
    assert_eq!((granted("tokyo"), granted("boston")), (vec![], vec!["5".to_owned()]));
}

#[test]
fn a_credit_with_more_zeros_than_its_currency_has_digits_pays() {
    let world = world(&plan("      fee: { flat: 29 }"), "");
    let credit = |balance: &str| Credit {
        id: "bought".into(),
        priority: 0,
        granted_us: 0,
        effective_us: 0,
        expires_us: None,
        balance: balance.parse().unwrap(),
    };
    let invoice = world.try_rate("acme", "2026-01", &mut [credit("10.000")]).unwrap().unwrap();
    assert_eq!(invoice.due.to_string(), "19.00");
}

#[test]
fn hours_of_cores_are_core_hours() {
    let catalog = "
catalog: c
currency: USD
meters:
  cores: { kind: gauge, event_type: g, value: $.v, resource: $.r, unit: core }
plans:
  basic: { prices: { cores: { meter: cores, measure: unit_hours, unit: core_minute, per_unit: 0.01 } } }
other_tenants:
  subscriptions: [{ plan: basic, from: 2025-01-01 }]
";
    let used = World::new(catalog, "2026-01-05T10:00:00Z cores d - 4\n 2026-01-05T12:00:00Z cores d - 0");
    assert_eq!(used.lines("acme", "2026-01"), ["cores: 8 -> 480 = 4.80"]);
}

#[test]
fn single_transactions_reach_percentages() {
    let catalog = plan("      fees: { meter: paid, percentage: { rate: 2.9, fee_per_transaction: 0.3 } }");
    let used = world(&catalog, "2026-01-15T00:00:00Z paid - - 100\n 2026-01-25T00:00:00Z paid - - 50.5");
    // 150.5 * 0.029 + 2 * 0.3 = 4.3645 + 0.6
    assert_eq!(used.lines("acme", "2026-01"), ["fees: 150.5 -> 150.5 = 4.96"]);
    assert_eq!(world(&catalog, "").lines("acme", "2026-01"), ["fees: 0 -> 0 = 0.00"]);
}

#[test]
fn a_peak_weighs_by_its_span_and_levels_are_carried() {
    let catalog = "
plans:
  basic: { prices: { disk: { meter: disk, measure: peak, per_unit: 31 } } }
  large: { prices: { disk: { meter: disk, measure: average, per_unit: 31 } } }
tenants:
  acme:
    subscriptions:
      - { plan: basic, from: 2025-01-01, until: 2026-01-11 }
      - { plan: large, from: 2026-01-11 }
";
    let used = world(catalog, "2025-03-01T00:00:00Z disk a - 2\n 2026-01-06T00:00:00Z disk a - 3");
    // Peak 3 for 10 of 31 days: 30. Then 3 held for 21 of 31 days: an average of 63/31.
    assert_eq!(used.lines("acme", "2026-01"), ["disk: 3 -> 30/31 = 30.00", "disk: 63/31 -> 63/31 = 63.00"]);
}

#[test]
fn levels_can_be_billed_by_another_measure() {
    let catalog = plan(
        "      disk: { meter: disk, measure: average, included: 1, per_unit: 10 }
      hours: { meter: disk, measure: unit_hours, per_unit: 1 }
      calls: { meter: calls, per_unit: 1 }",
    );
    let used = world(&catalog, "2025-03-01T00:00:00Z disk a - 2\n 2026-01-31T00:00:00Z disk a - 33");
    assert_eq!(
        used.lines("acme", "2026-01"),
        ["calls: 0 -> 0 = 0.00", "disk: 3 -> 2 = 20.00", "hours: 2232 -> 2232 = 2232.00"]
    );
    let by = |measure| -> Vec<String> { used.by("acme", "2026-01", measure).iter().map(shown).collect() };
    assert_eq!(by(Measure::Peak), ["disk: 33 -> 32 = 320.00"]);
    assert_eq!(by(Measure::Average), ["disk: 3 -> 2 = 20.00"]);
}

#[test]
fn purchases_are_lines_where_there_are_some() {
    let catalog = "
taxes: { vat: { description: VAT, percent: 19.0 } }
tax: vat
items:
  small_pack: { description: Small pack, meter: bought, per_unit: 2.5 }
plans:
  basic: { prices: { fee: { flat: 10 } } }
credits:
  grants:
    welcome: { description: Welcome, amount: 5, only: { kind: [free, trial] }, priority: 10, expires_after_days: 400 }
    others: { description: Others, amount: 9, only: { kind: paying } }
tenants:
  acme:
    attributes: { kind: free }
    subscriptions: [{ plan: basic, from: 2025-01-01 }]
other_tenants: {}
";
    let world = world(catalog, "2026-01-15T00:00:00Z bought - - 3");
    assert_eq!(world.lines("acme", "2026-01"), ["small_pack: 3 -> 3 = 7.50", "fee: - -> 1 = 10.00"]);
    assert_eq!(world.lines("acme", "2026-02"), ["fee: - -> 1 = 10.00"]);
    // Somebody without any subscription buys as well, in the catalog's currency.
    assert_eq!(world.lines("other", "2026-01"), ["small_pack: 3 -> 3 = 7.50"]);

    let mut credits = granted_credits(&world.catalog, world.catalog.tenant_terms("acme").unwrap());
    let day_us = 86_400_000_000;
    let start_us = crate::world::instant_us("2025-01-01T00:00:00Z");
    assert_eq!(
        credits,
        [Credit {
            id: "welcome".into(),
            priority: 10,
            granted_us: start_us,
            effective_us: start_us,
            expires_us: Some(start_us + 400 * day_us),
            balance: "5".parse().unwrap(),
        }]
    );
    let invoice = world.try_rate("acme", "2026-01", &mut credits).unwrap().unwrap();
    let sums = [invoice.total, invoice.credited, invoice.taxed, invoice.due].map(|amount| amount.to_string());
    // (17.50 - 5) * 19 %, by line: 2.50 and 10.00.
    assert_eq!(sums, ["17.50", "5.00", "2.38", "14.88"]);
    assert_eq!(credits[0].balance.to_string(), "0");
}

#[test]
fn the_same_inputs_give_the_same_bytes() {
    let catalog = plan("      calls: { meter: calls, split_by: [region, size], per_unit: 0.07 }");
    let lines =
        "2026-01-15T00:00:00Z calls - {\"region\":\"eu\"} 3\n2026-01-16T00:00:00Z calls - {\"size\":\"s\"} 4";
    let (one, two) =
        (world(&catalog, lines).rate("a", "2026-01"), world(&catalog, lines).rate("a", "2026-01"));
    assert_eq!(one.canonical_json().unwrap(), two.canonical_json().unwrap());
    assert_eq!(one.lines[0].price_source.as_deref(), Some("test.yaml:13"));
    // A comment moves the price to another line and changes nothing else.
    let moved = world(&format!("# why\n{catalog}"), lines).rate("a", "2026-01");
    assert_eq!(moved.lines[0].price_source.as_deref(), Some("test.yaml:14"));
    assert_eq!(moved.digest().unwrap(), one.digest().unwrap());
}

#[test]
fn a_whole_commitment_that_is_raised_within_the_period_is_one_promise() {
    let catalog = |rest: &str| {
        let plan =
            plan("      calls: { meter: calls, per_unit: 1, commitment: { amount: 100, prorate: false } }");
        let own = format!(
            "tenants:\n  acme:\n    subscriptions: [{{ plan: basic, from: 2025-01-01 }}]\n    overrides: [{{ plan: basic, price: calls, from: 2026-01-16, {rest} }}]\n"
        );
        format!("{plan}{own}")
    };
    let events = "2026-01-05T00:00:00Z calls - - 120
                  2026-01-20T00:00:00Z calls - - 10";
    // Of 300 that are promised in the end 130 were used.
    let raised = world(&catalog("commitment: { amount: 300, prorate: false }"), events);
    assert_eq!(raised.lines("acme", "2026-01"), ["calls: 120 -> 120 = 120.00", "calls: 10 -> 10 = 180.00"]);
    let lowered = world(&catalog("commitment: { amount: 50, prorate: false }"), events);
    assert_eq!(lowered.lines("acme", "2026-01"), ["calls: 120 -> 120 = 120.00", "calls: 10 -> 10 = 10.00"]);
}

#[test]
fn what_another_cycle_billed_is_left_out_of_a_period() {
    let catalog = plan(
        "      fee: { flat: 28 }
      calls: { meter: calls, included: 28, per_unit: 1 }
      disk: { meter: disk, measure: average, per_unit: 28 }",
    );
    let items = "items:\n  pack: { meter: bought, per_unit: 5 }\n";
    let own = "tenants:\n  acme:\n    billing: { anchor: 2026-02-01, from: 2026-02-15 }\n    subscriptions: [{ plan: basic, from: 2025-01-01 }]\n";
    let cut = world(
        &format!("{catalog}{items}{own}"),
        "2026-01-05T00:00:00Z disk a - 2
         2026-02-14T23:59:59Z calls - - 1000
         2026-02-14T23:59:59Z bought - - 7
         2026-02-15T00:00:00Z calls - - 20
         2026-02-15T00:00:00Z bought - - 1",
    );
    assert_eq!(
        cut.lines("acme", "2026-02"),
        ["pack: 1 -> 1 = 5.00", "calls: 20 -> 6 = 6.00", "disk: 1 -> 1 = 28.00", "fee: - -> 1 = 14.00"]
    );
    assert_eq!(cut.lines("acme", "2026-03").last().unwrap(), "fee: - -> 1 = 28.00");
    let before = cut.try_rate("acme", "2026-01", &mut []).unwrap();
    assert!(before.is_none(), "nothing of January is billed by this cycle");
}
