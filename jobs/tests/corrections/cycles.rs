//! A billing cycle, a time zone or a tax that changes for the time to come: no instant is billed twice, one that is on no
//! invoice is told, and what is taken back is taken back with the tax of then.

use serde_json::json;

use crate::world::{CATALOG, World, event};

const ISSUE_FEBRUARY: [&str; 6] = ["issue", "--period", "2026-02", "--grace", "0 s", "--without-papers"];
const MID_MONTH: &str = "billing: { anchor: 2026-01-15 }, ";

/// The catalog with more about acme, which subscribes from a day of January on.
fn acme(more: &str, from_day: u8) -> String {
    let own = "acme: { subscriptions: [{ plan: basic, from: 2026-01-01 }] }";
    assert!(CATALOG.contains(own));
    let subscribed = format!("subscriptions: [{{ plan: basic, from: 2026-01-{from_day:02} }}]");
    CATALOG.replace(own, &format!("acme: {{ {more}{subscribed} }}"))
}

fn called(id: &str, time: &str, calls: u32) -> serde_json::Value {
    event(id, "called", "acme", time, json!({"n": calls, "region": "eu"}))
}

/// What the lines of acme's invoice of a period come to, each as `price amount`.
fn lines(world: &World, period: &str) -> Vec<String> {
    let invoice = world.invoice("acme", period);
    let lines = invoice["lines"].as_array().unwrap().iter().filter(|line| line["amount"] != "0.00");
    lines.map(|line| format!("{} {}", line["key"]["price"], line["amount"]).replace('"', "")).collect()
}

#[test]
fn a_cycle_that_ends_later_bills_nothing_twice() {
    let mut world = World::new(&acme(MID_MONTH, 15));
    world.ingest(&[called("1", "2026-02-10T00:00:00Z", 250), called("2", "2026-02-20T00:00:00Z", 101)]);
    world.bill("2026-01");
    assert_eq!(lines(&world, "2026-01"), ["base 10.00", "calls 1.50"]);
    world.change_catalog(&acme("", 15));
    let (problems, _) = world.run(&["rate", "--period", "2026-02", "--format", "csv"], 3);
    let why = "has billed a part of it, from 2026-01-15T00:00:00Z until 2026-02-15T00:00:00Z";
    assert!(problems.contains("acme,2026-02-01,failed") && problems.contains(why), "{problems}");
    // As the message says. Half of February is left of its fee.
    world.change_catalog(&acme("billing: { anchor: 2026-02-01, from: 2026-02-15T00:00:00Z }, ", 15));
    world.bill("2026-02");
    assert_eq!(lines(&world, "2026-02"), ["base 5.00", "calls 1.00"]);
    world.bill("2026-03");
    assert_eq!(lines(&world, "2026-03"), ["base 10.00"]);
    world.verify(&["2026-01", "2026-02", "2026-03"]);
}

/// The half of February that the stub left out was billed by the cycle before.
#[test]
fn a_catalog_that_forgets_where_a_stub_begins_corrects_nothing_into_a_double_bill() {
    let mut world = World::new(&acme(MID_MONTH, 15));
    world.ingest(&[called("1", "2026-02-10T00:00:00Z", 250), called("2", "2026-02-20T00:00:00Z", 101)]);
    world.bill("2026-01");
    let stub = acme("billing: { anchor: 2026-02-01, from: 2026-02-15T00:00:00Z }, ", 15);
    world.change_catalog(&stub);
    world.bill("2026-02");
    std::fs::write(world.path().join("then.yaml"), acme("", 15)).unwrap();
    world.run(&["catalog", "apply", "then.yaml", "--effective-from", "2026-02-01"], 0);
    let (problems, _) = world.run(&["rate", "--period", "2026-03", "--format", "csv"], 0);
    for part in
        ["000003 of 2026-02-01 is not corrected: invoice 000001 has billed a part of it", "from: 2026-02-15"]
    {
        assert!(problems.contains(part), "{problems}");
    }
    assert_eq!(lines(&world, "2026-03"), ["base 10.00"]);
    // Once it says so again, what is late is corrected as always.
    std::fs::write(world.path().join("again.yaml"), stub).unwrap();
    world.run(&["catalog", "apply", "again.yaml", "--effective-from", "2026-02-01"], 0);
    world.ingest(&[called("3", "2026-02-21T00:00:00Z", 100)]);
    let (problems, _) = world.run(&["rate", "--period", "2026-03", "--format", "csv"], 0);
    assert!(!problems.contains("not corrected"), "{problems}");
    assert_eq!(lines(&world, "2026-03"), ["calls 0.50", "base 10.00"]);
}

#[test]
fn a_draft_from_before_the_other_cycle_billed_stays_a_draft() {
    let world = World::new(&acme("", 15));
    world.run(&["rate", "--period", "2026-02"], 0);
    world.change_catalog(&acme(MID_MONTH, 15));
    world.bill("2026-01");
    world.change_catalog(&acme("", 15));
    let (_, told) = world.run(&ISSUE_FEBRUARY, 3);
    assert!(
        told.contains("tenant acme, period 2026-02-01: stays a draft: invoice 000001 has billed"),
        "{told}"
    );
}

#[test]
fn of_two_drafts_that_cross_one_is_issued() {
    let world = World::new(&acme("", 15));
    world.run(&["rate", "--period", "2026-02", "--tenant", "acme"], 0);
    world.change_catalog(&acme(MID_MONTH, 15));
    world.run(&["rate", "--period", "2026-02-20", "--tenant", "acme"], 0);
    // Both catalogs have to be known.
    std::fs::write(world.path().join("then.yaml"), acme("", 15)).unwrap();
    world.run(&["catalog", "apply", "then.yaml", "--effective-from", "2030-01-01"], 0);
    let (_, told) = world.run(&ISSUE_FEBRUARY, 3);
    assert!(
        told.contains("1 invoices issued") && told.contains("the draft of period 2026-02-01 bills"),
        "{told}"
    );
}

#[test]
fn days_between_two_cycles_are_told_until_they_are_billed() {
    let mut world = World::new(&acme("", 1));
    world.ingest(&[called("1", "2026-02-10T00:00:00Z", 250)]);
    world.bill("2026-01");
    world.change_catalog(&acme(MID_MONTH, 1));
    let (problems, _) = world.run(&["rate", "--period", "2026-02", "--format", "csv"], 0);
    for part in [
        "from 2026-02-01T00:00:00Z until 2026-02-15T00:00:00Z the tenant is on no invoice",
        "write `from: 2026-02-01T00:00:00Z` into the tenant's `billing`",
        "`meterhouse close --period 2026-01-15 --tenant acme`",
    ] {
        assert!(problems.contains(part), "{problems}");
    }
    world.change_catalog(&acme("billing: { anchor: 2026-01-15, from: 2026-02-01 }, ", 1));
    let close = ["close", "--period", "2026-01-15", "--tenant", "acme", "--grace", "0 s", "--without-papers"];
    world.run(&close, 0);
    // 14 days of a period of 31.
    assert_eq!(lines(&world, "2026-01-15"), ["base 4.52", "calls 1.50"]);
    let (problems, _) = world.run(&["rate", "--period", "2026-02", "--format", "csv"], 0);
    assert!(!problems.contains("on no invoice"), "{problems}");
    world.bill("2026-02");
    assert_eq!(lines(&world, "2026-02-15"), ["base 10.00"]);
    world.verify(&["2026-01", "2026-02"]);
}

#[test]
fn another_time_zone_bills_no_hour_twice() {
    let world = World::new(&acme("", 1));
    world.bill("2026-01");
    world.change_catalog(&acme("time_zone: Asia/Tokyo, ", 1));
    let (problems, _) = world.run(&["rate", "--period", "2026-02", "--format", "csv"], 3);
    assert!(
        problems.contains("until 2026-02-01T00:00:00Z: the billing cycle or the time zone"),
        "{problems}"
    );
    let tokyo = "time_zone: Asia/Tokyo, billing: { anchor: 2026-02-01, from: 2026-02-01T00:00:00Z }, ";
    world.change_catalog(&acme(tokyo, 1));
    world.bill("2026-02");
    // 663 hours of 672.
    assert_eq!(lines(&world, "2026-02"), ["base 9.87"]);
    world.verify(&["2026-01", "2026-02"]);
}

#[test]
fn a_correction_has_the_tax_of_the_corrected_period() {
    let taxes = "taxes: { vat: { description: VAT, percent: 19 } }\ntenants:\n";
    let taxed = acme("tax: vat, ", 1).replace("tenants:\n", taxes);
    let mut world = World::new(&taxed);
    world.ingest(&[called("1", "2026-01-10T00:00:00Z", 250)]);
    world.bill("2026-01");
    assert_eq!(world.invoice("acme", "2026-01")["due"], "13.69");
    world.change_catalog(&taxed.replace("tax: vat", "tax: none"));
    let void =
        event("v", "meterhouse.void", "acme", "2026-02-05T00:00:00Z", json!({"source": "/s", "id": "1"}));
    world.ingest(&[void]);
    world.bill("2026-02");
    let invoice = world.invoice("acme", "2026-02");
    // 10 for February without tax; 1.50 for January is taken back with its 19 %.
    assert_eq!((&invoice["total"], &invoice["taxed"]), (&json!("8.50"), &json!("-0.29")));
    assert_eq!(invoice["due"], "8.21");
    world.verify(&["2026-01", "2026-02"]);
}
