//! Earlier periods that are on no invoice are told in every run until they are billed.

use serde_json::json;

use crate::world::{CATALOG, World, event};

/// Everybody has the plan, whether the catalog names them or not.
fn for_everybody() -> String {
    format!("{CATALOG}other_tenants: {{ subscriptions: [{{ plan: basic, from: 2026-01-01 }}] }}\n")
}

fn called(id: &str, tenant: &str, time: &str) -> serde_json::Value {
    event(id, "called", tenant, time, json!({ "n": 250, "region": "eu" }))
}

/// What a run says of periods before its own: tenant, period, outcome and detail.
#[track_caller]
fn told(world: &World, month: &str) -> Vec<String> {
    let (rows, _) = world.run(&["rate", "--period", month, "--format", "csv"], 0);
    let of_earlier = |row: &&str| !row.contains(&format!(",{month}"));
    rows.lines().skip(1).filter(of_earlier).map(str::to_owned).collect()
}

#[track_caller]
fn close(world: &World, month: &str, tenant: &str) {
    let arguments = ["close", "--period", month, "--tenant", tenant, "--grace", "0 s", "--without-papers"];
    world.run(&arguments, 0);
}

/// 250 calls are 3 packages for 1.50, beside the base fee.
fn initech(month: &str) -> String {
    format!(
        "initech,{month}-01,not billed,10.00 EUR for Basic plan and 1 more lines are on no invoice: `meterhouse close \
         --period {month} --tenant initech`"
    )
}

#[test]
fn a_tenant_whose_first_events_come_late_is_told_until_it_is_billed() {
    let mut world = World::new(&for_everybody());
    world.ingest(&[called("1", "acme", "2026-01-05T00:00:00Z")]);
    world.bill("2026-01");
    assert_eq!(told(&world, "2026-02"), [""; 0]);
    world.ingest(&[called("2", "initech", "2026-01-31T23:00:00Z")]);
    assert_eq!(told(&world, "2026-02"), [initech("2026-01")]);
    world.run(&["compact"], 0);
    world.bill("2026-02");
    assert_eq!(told(&world, "2026-03"), [initech("2026-01")]);
    // Only who is asked about is looked at.
    let (rows, _) = world.run(&["rate", "--period", "2026-03", "--tenant", "acme", "--format", "csv"], 0);
    assert_eq!(rows.lines().count(), 1, "{rows}");
    close(&world, "2026-01", "initech");
    assert_eq!(told(&world, "2026-03"), [""; 0]);
    world.verify(&["2026-01", "2026-02"]);
}

#[test]
fn a_draft_that_was_left_and_a_tenant_set_up_later_are_told() {
    let mut world = World::new(&for_everybody());
    world.ingest(&[
        called("1", "acme", "2026-01-05T00:00:00Z"),
        called("2", "initech", "2026-01-05T00:00:00Z"),
    ]);
    world.run(&["rate", "--period", "2026-01"], 0);
    for tenant in ["acme", "globex"] {
        let issue =
            ["issue", "--period", "2026-01", "--tenant", tenant, "--grace", "0 s", "--without-papers"];
        world.run(&issue, 0);
    }
    assert_eq!(told(&world, "2026-02"), [initech("2026-01")]);
    close(&world, "2026-01", "initech");
    assert_eq!(told(&world, "2026-02"), [""; 0]);
    let hooli = "  hooli: { billing: { every_months: 1, anchor: 2026-01-15 }, subscriptions: [{ plan: basic, from: 2026-01-15 }] }\n";
    world.change_catalog(&for_everybody().replace("tenants:\n", &format!("tenants:\n{hooli}")));
    let missing = |period: &str, month: &str| {
        format!(
            "hooli,{period},not billed,10.00 EUR for Basic plan is on no invoice: `meterhouse close --period {month} --tenant hooli`"
        )
    };
    assert_eq!(told(&world, "2026-02"), [missing("2026-01-15", "2026-01")]);
    world.bill("2026-02");
    close(&world, "2026-01", "hooli");
    assert_eq!(told(&world, "2026-03"), [""; 0]);
}

#[test]
fn a_month_that_nobody_closed_is_told_once_and_not_by_each_tenant() {
    let mut world = World::new(&for_everybody());
    world.ingest(&[
        called("1", "acme", "2026-01-05T00:00:00Z"),
        called("2", "acme", "2026-02-05T00:00:00Z"),
        called("3", "initech", "2026-02-05T00:00:00Z"),
    ]);
    // Nobody was ever billed here.
    assert_eq!(told(&world, "2026-02"), [""; 0]);
    world.bill("2026-01");
    let nobody = "(everybody),2026-02,not billed,there is usage and nobody was billed: `meterhouse close --period \
                  2026-02`";
    assert_eq!(told(&world, "2026-03"), [nobody]);
    world.settings.push(("METERHOUSE_ISSUER_CORRECT_PERIODS", "0"));
    assert_eq!(told(&world, "2026-03"), [""; 0]);
    world.settings.pop();
    // Nothing is missing while the grace period runs.
    world.settings.push(("METERHOUSE_ISSUER_GRACE", "876000 h"));
    assert_eq!(told(&world, "2026-03"), [""; 0]);
    world.settings.pop();
    world.bill("2026-02");
    assert_eq!(told(&world, "2026-03"), [""; 0]);
}

#[test]
fn usage_of_a_tenant_that_nobody_set_up_is_told_later_too() {
    let mut world = World::new(CATALOG);
    world.ingest(&[called("1", "acme", "2026-01-05T00:00:00Z")]);
    world.bill("2026-01");
    world.ingest(&[called("2", "initech", "2026-01-31T00:00:00Z")]);
    let unknown = "initech,2026-01,not set up,usage is kept until the catalog of that time knows the tenant";
    assert_eq!(told(&world, "2026-02"), [unknown]);
    world.change_catalog(&for_everybody());
    assert_eq!(told(&world, "2026-02"), [initech("2026-01")]);
}

/// It failed when its month was rated, and no event of it came since.
#[test]
fn a_tenant_that_failed_is_told_later_too() {
    let mut world = World::new(&for_everybody());
    let huge: serde_json::Value = serde_json::from_str("99999999999999999999999999999").unwrap();
    world.ingest(&[
        called("1", "acme", "2026-01-05T00:00:00Z"),
        event("2", "stored", "initech", "2026-01-05T00:00:00Z", json!({ "gb": huge, "disk": "a" })),
    ]);
    world.run(&["close", "--period", "2026-01", "--grace", "0 s", "--without-papers"], 3);
    // The level that is too large goes on.
    let (rows, _) = world.run(&["rate", "--period", "2026-02", "--format", "csv"], 3);
    let row = rows.lines().find(|row| row.starts_with("initech,2026-01-01,not billed,"));
    let row = row.unwrap_or_else(|| panic!("{rows}"));
    assert!(row.contains("the period cannot be rated ("), "{row}");
    assert!(row.contains("is on no invoice: `meterhouse close --period 2026-01 --tenant initech`"), "{row}");
}

#[test]
fn usage_for_periods_that_are_corrected_no_more_is_told() {
    let mut world = World::new(&for_everybody());
    world.settings.push(("METERHOUSE_ISSUER_CORRECT_PERIODS", "1"));
    world.ingest(&[called("1", "acme", "2026-01-05T00:00:00Z")]);
    for month in ["2026-01", "2026-02", "2026-03"] {
        world.bill(month);
    }
    // Before the first invoice, in a period that is too old, on two days, and in one that is corrected.
    world.ingest(&[
        called("2", "acme", "2025-12-30T00:00:00Z"),
        called("3", "acme", "2026-01-10T00:00:00Z"),
        called("4", "acme", "2026-01-11T00:00:00Z"),
        called("5", "acme", "2026-03-11T00:00:00Z"),
    ]);
    let (rows, _) = world.run(&["rate", "--period", "2026-04", "--tenant", "acme", "--format", "csv"], 0);
    let too_old = "acme,2026-01,not billed,\"usage came late for 2 days that are older than the periods which are corrected";
    assert!(rows.contains(too_old) && rows.lines().count() == 2, "{rows}");
    assert_eq!(world.corrections("acme", "2026-04"), ["2026-03-01 calls 000005 0.00 1.50 1.50 late_event"]);
    // As the message says.
    world.settings.push(("METERHOUSE_ISSUER_CORRECT_PERIODS", "3"));
    world.bill("2026-04");
    let corrected = world.corrections("acme", "2026-04");
    assert_eq!(corrected[0], "2026-01-01 calls 000001 1.50 4.00 2.50 late_event");
    world.bill("2026-05");
    assert_eq!(told(&world, "2026-05"), [""; 0]);
}
