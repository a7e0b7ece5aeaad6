//! What happens between rating and issuing, and catalogs that come and go after it.

use jobs::rate::stored::DraftTables;
use serde_json::json;
use sql::lake::Lake;

use crate::world::{CATALOG, World, event};

/// January is issued: 250 calls are 3 packages, 1.50.
fn world() -> World {
    let mut world = World::new(CATALOG);
    world.ingest(&[called("1", "2026-01-05T00:00:00Z", 250)]);
    world.bill("2026-01");
    world
}

fn called(id: &str, time: &str, n: u32) -> serde_json::Value {
    event(id, "called", "acme", time, json!({ "n": n, "region": "eu" }))
}

fn apply(world: &World, name: &str, catalog: &str, from: &str) {
    std::fs::write(world.path().join(name), catalog).unwrap();
    world.run(&["catalog", "apply", name, "--effective-from", from], 0);
}

const ISSUE: [&str; 6] = ["issue", "--period", "2026-02", "--grace", "0 s", "--without-papers"];

#[test]
fn a_catalog_that_is_applied_after_rating_is_rated_with_before_anything_is_issued() {
    let world = world();
    world.run(&["catalog", "apply"], 0);
    world.run(&["rate", "--period", "2026-02"], 0);
    apply(&world, "dearer.yaml", &CATALOG.replace("flat: 10", "flat: 11"), "2026-02-10");
    let (_, told) = world.run(&ISSUE, 3);
    assert!(told.contains("0 invoices issued") && told.contains("2 drafts are out of date"), "{told}");
    world.bill("2026-02");
    assert_eq!(world.invoice("acme", "2026-02")["total"], "11.00");
    world.verify(&["2026-01", "2026-02"]);
}

#[test]
fn a_catalog_that_is_taken_back_is_paid_back() {
    let world = world();
    apply(&world, "dearer.yaml", &CATALOG.replace("price: 0.5", "price: 0.7"), "2026-01-10");
    world.bill("2026-02");
    let dearer = "2026-01-01 calls 000001 1.50 2.10 0.60 catalog_change";
    assert_eq!(world.corrections("acme", "2026-02"), [dearer]);
    apply(&world, "as-before.yaml", CATALOG, "2026-01-10");
    world.bill("2026-03");
    let back = "2026-01-01 calls 000001 2.10 1.50 -0.60 catalog_change";
    assert_eq!(world.corrections("acme", "2026-03"), [back]);
    world.bill("2026-04");
    assert_eq!(world.corrections("acme", "2026-04"), [""; 0]);
    world.verify(&["2026-01", "2026-02", "2026-03", "2026-04"]);
}

#[test]
fn a_billing_cycle_that_changes_for_the_past_is_left_to_people() {
    let world = world();
    let own = "acme: { ";
    let anchored = format!("{own}billing: {{ every_months: 1, anchor: 2025-12-15 }}, ");
    apply(&world, "anchored.yaml", &CATALOG.replace(own, &anchored), "2026-01-10");
    for month in ["2026-02", "2026-03"] {
        let (problems, _) = world.run(&["rate", "--period", month, "--format", "csv"], 0);
        assert!(problems.contains("the billing cycle changed"), "{problems}");
        assert_eq!(world.corrections("acme", month), [""; 0]);
    }
}

#[test]
fn a_correction_of_a_price_that_is_gone_goes_to_stripe_as_money() {
    let stripe = "stripe: { customer: cus_1 }, ";
    let told = CATALOG.replace("acme: { ", &format!("acme: {{ {stripe}")).replace(
        "calls: { description: Calls,",
        "calls: { description: Calls, stripe: { mode: meter_events },",
    );
    let mut world = World::new(&told);
    world.ingest(&[called("1", "2026-01-05T00:00:00Z", 250)]);
    world.bill("2026-01");
    let without: Vec<&str> = told.lines().filter(|line| !line.contains("calls: { description")).collect();
    world.change_catalog(&without.join("\n"));
    world.ingest(&[called("2", "2026-01-31T23:59:59Z", 101)]);
    world.bill("2026-02");
    assert_eq!(world.corrections("acme", "2026-02"), ["2026-01-01 calls 000001 1.50 2.00 0.50 late_event"]);
}

#[test]
fn lines_of_another_draft_are_never_issued() {
    let mut world = world();
    world.run(&["rate", "--period", "2026-02"], 0);
    world.ingest(&[called("2", "2026-02-05T00:00:00Z", 100)]);
    // The lines are new then, and the invoice is not. Whoever dies leaves a lease.
    world.settings.push(("METERHOUSE_BOOK_LEASE", "10 ms"));
    world.die(&["rate", "--period", "2026-02"], "after_commit");
    let (_, told) = world.run(&ISSUE, 3);
    assert!(told.contains("1 invoices issued") && told.contains("1 drafts are out of date"), "{told}");
    world.bill("2026-02");
    let sums = "SELECT sum(amount) = any_value(total) AS equal FROM invoice_lines JOIN invoices USING (invoice) \
                WHERE invoices.period = '2026-02-01' GROUP BY invoice";
    assert_eq!(world.csv(&sums.replace("any_value", "max")), "equal\ntrue\ntrue\n");
    world.verify(&["2026-01", "2026-02"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_opened_drafts_before_they_were_held_cannot_change_them() {
    let mut world = world();
    world.run(&["rate", "--period", "2026-02"], 0);
    let lake = Lake::open(&world.path().join("lake").to_string_lossy()).unwrap();
    let [first, second] = [DraftTables::open(&lake).await.unwrap(), DraftTables::open(&lake).await.unwrap()];
    first.hold().await.unwrap();
    assert!(second.hold().await.is_err(), "it was opened before the first held them");
    let opened = DraftTables::open(&lake).await.unwrap();
    world.ingest(&[called("2", "2026-02-05T00:00:00Z", 100)]);
    world.run(&["rate", "--period", "2026-02"], 0);
    assert!(opened.hold().await.is_err(), "the drafts have changed since");
    world.bill("2026-02");
}
