//! Late, voided and amended events and catalogs with a date in the past, each with its numbers.

use serde_json::json;

use crate::world::{CATALOG, World, event};

fn called(id: &str, time: &str, n: u32) -> serde_json::Value {
    event(id, "called", "acme", time, json!({ "n": n, "region": "eu" }))
}

/// January is issued: 250 calls are 3 packages, 1.50.
fn world() -> World {
    let mut world = World::new(CATALOG);
    world.ingest(&[
        called("1", "2026-01-05T00:00:00Z", 150),
        called("2", "2026-01-06T00:00:00Z", 100),
        event("3", "stored", "acme", "2026-01-01T00:00:00Z", json!({ "gb": 5, "disk": "a" })),
    ]);
    world.bill("2026-01");
    world
}

#[test]
fn a_late_event_is_billed_on_the_next_invoice_and_once() {
    let mut world = world();
    // 351 calls now: 4 packages.
    world.ingest(&[called("4", "2026-01-31T23:59:59Z", 101)]);
    let (_, told) = world.run(&["rate", "--period", "2026-02"], 0);
    assert!(told.contains("1 lines correct invoices that were issued before"), "{told}");
    assert_eq!(world.corrections("acme", "2026-02"), ["2026-01-01 calls 000001 1.50 2.00 0.50 late_event"]);
    assert_eq!(world.corrections("globex", "2026-02"), [""; 0]);
    // Storage of 5 GB with 1 included: 0.80; the base fee is 10, the correction 0.50.
    assert_eq!(world.invoice("acme", "2026-02")["total"], "11.30");
    // March is rated before February is issued, so both would bill it.
    world.run(&["rate", "--period", "2026-03"], 0);
    assert_eq!(world.corrections("acme", "2026-03").len(), 1);
    world.run(&["issue", "--period", "2026-02", "--grace", "0 s"], 0);
    let (_, told) = world.run(&["issue", "--period", "2026-03", "--grace", "0 s", "--without-papers"], 3);
    assert!(told.contains("1 drafts are out of date") && told.contains("(acme)"), "{told}");
    world.bill("2026-03");
    assert_eq!(world.corrections("acme", "2026-03"), [""; 0]);
    world.run(&["compact"], 0);
    world.bill("2026-04");
    assert_eq!(world.corrections("acme", "2026-04"), [""; 0]);
    world.verify(&["2026-01", "2026-02", "2026-03", "2026-04"]);

    let lines = "SELECT invoice_lines.period, price, amount FROM invoice_lines JOIN invoices ON invoices.invoice = \
                 invoice_lines.invoice WHERE invoices.tenant = 'acme' AND invoices.period = '2026-02-01' ORDER BY line";
    assert_eq!(
        world.csv(lines),
        "period,price,amount\n2026-01-01,calls,0.500000000\n2026-02-01,base,10.000000000\n2026-02-01,running,0.000000000\n\
         2026-02-01,storage,0.800000000\n"
    );
    let explain = ["explain", "--tenant", "acme", "--period", "2026-02", "1"];
    let (text, _) = world.run(&[&explain[..], &["--events"]].concat(), 0);
    for part in [
        "Correction of 2026-01-01: Calls",
        "invoice 000001 of 2026-01-01",
        "late event",
        "billed so far  1.50 EUR",
        "comes to now   2.00 EUR",
        "packages of 100",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let (events, _) = world.run(&[&explain[..], &["--format", "csv"]].concat(), 0);
    assert_eq!(events.lines().count(), 4, "{events}");
    let html = std::fs::read_dir(world.path().join("lake/papers/2026-02-01")).unwrap();
    let html = html.map(|entry| entry.unwrap().path()).filter(|path| path.extension().unwrap() == "html");
    let papers: Vec<String> = html.map(|path| std::fs::read_to_string(path).unwrap()).collect();
    assert!(papers.iter().any(|paper| paper.contains("Corrects 000001")), "the paper names what it corrects");
}

#[test]
fn a_voided_event_is_paid_back_and_an_amended_one_billed_anew() {
    let mut world = world();
    let correct =
        |id: &str, kind: &str, tenant: &str, data| event(id, kind, tenant, "2026-02-02T00:00:00Z", data);
    world.ingest(&[
        // Another tenant's void changes nothing, nor does one of an event that never came.
        correct("v1", "meterhouse.void", "globex", json!({ "source": "/s", "id": "1" })),
        correct("v2", "meterhouse.void", "acme", json!({ "source": "/s", "id": "77" })),
    ]);
    world.run(&["rate", "--period", "2026-02"], 0);
    assert_eq!(world.corrections("acme", "2026-02"), [""; 0]);
    // 100 calls are left: 1 package.
    world.ingest(&[correct("v3", "meterhouse.void", "acme", json!({ "source": "/s", "id": "1" }))]);
    world.bill("2026-02");
    assert_eq!(
        world.corrections("acme", "2026-02"),
        ["2026-01-01 calls 000001 1.50 0.50 -1.00 amended_event"]
    );
    // It comes back with 301 calls instead of 150, and keeps its time: 401 are 5 packages.
    let amended =
        json!({ "source": "/s", "id": "1", "type": "called", "data": { "n": 301, "region": "eu" } });
    world.ingest(&[correct("a1", "meterhouse.amend", "acme", amended.clone())]);
    world.run(&["compact"], 0);
    world.bill("2026-03");
    assert_eq!(
        world.corrections("acme", "2026-03"),
        ["2026-01-01 calls 000001 0.50 2.50 2.00 amended_event"]
    );
    let (events, told) =
        world.run(&["explain", "--tenant", "acme", "--period", "2026-03", "1", "--format", "csv"], 0);
    assert!(events.contains("301") && !events.contains("150"), "{events}");
    assert!(told.contains("1 events of the meter were amended"), "{told}");
    // Sent twice it counts once; and a second amendment moves it into February.
    let mut moved = amended.clone();
    moved["time"] = json!("2026-02-03T00:00:00Z");
    world.ingest(&[
        correct("a1", "meterhouse.amend", "acme", amended),
        correct("a2", "meterhouse.amend", "acme", moved),
    ]);
    world.bill("2026-04");
    assert_eq!(
        world.corrections("acme", "2026-04"),
        [
            "2026-01-01 calls 000001 2.50 0.50 -2.00 amended_event",
            "2026-02-01 calls 000003 0.00 2.00 2.00 amended_event"
        ]
    );
    // What comes late is voided already.
    world.ingest(&[called("77", "2026-04-01T00:00:00Z", 900)]);
    world.bill("2026-05");
    assert_eq!(world.corrections("acme", "2026-05"), [""; 0]);
    world.verify(&["2026-01", "2026-02", "2026-03", "2026-04", "2026-05"]);
    // Nothing stored was touched.
    let kept = world.csv("SELECT count(*) AS n FROM usage_events WHERE event_type = 'called'");
    assert_eq!(kept, "n\n3\n");
}

#[test]
fn corrections_that_say_too_little_are_rejected() {
    let mut world = world();
    let time = "2026-02-02T00:00:00Z";
    let named = json!({ "source": "/s", "id": "1" });
    for (at, (kind, data)) in [
        ("meterhouse.void", json!({ "id": "1" })),
        ("meterhouse.amend", named.clone()),
        ("meterhouse.amend", json!({ "source": "/s", "id": "1", "type": "called" })),
        (
            "meterhouse.amend",
            json!({ "source": "/s", "id": "1", "type": "called", "data": { "n": "x", "region": "eu" } }),
        ),
        ("meterhouse.amend", json!({ "source": "/s", "id": "v", "type": "meterhouse.void", "data": named })),
    ]
    .into_iter()
    .enumerate()
    {
        let name = format!("wrong-{at}.ndjson");
        let wrong = event(&format!("w{at}"), kind, "acme", time, data);
        std::fs::write(world.path().join(&name), wrong.to_string()).unwrap();
        world.run(&["ingest", "--file", &name], 3);
    }
    world.ingest(&[]);
    assert_eq!(
        world.csv("SELECT reason, count(*) AS n FROM rejected_messages GROUP BY 1 ORDER BY 1"),
        "reason,n\nattribute_invalid,1\nattribute_missing,3\nvalue_not_a_number,1\n"
    );
    world.bill("2026-02");
    assert_eq!(world.corrections("acme", "2026-02"), [""; 0]);
}

#[test]
fn a_catalog_with_a_date_in_the_past_corrects_what_it_holds_for() {
    let world = world();
    // Nothing was applied when January was rated; what holds from always on changes no invoice.
    world.run(&["catalog", "apply"], 0);
    world.bill("2026-02");
    assert_eq!(world.corrections("acme", "2026-02"), [""; 0]);
    let dearer = CATALOG.replace("price: 0.5", "price: 0.7");
    std::fs::write(world.path().join("dearer.yaml"), &dearer).unwrap();
    world.run(&["catalog", "apply", "dearer.yaml", "--effective-from", "2026-03-15"], 0);
    let (_, told) = world.run(&["rate", "--period", "2026-02"], 0);
    assert!(told.contains("rated with catalog version 1 of the book"), "{told}");
    let (_, told) = world.run(&["rate", "--period", "2026-03"], 0);
    assert!(told.contains("rated with catalog version 2 of the book"), "{told}");
    assert!(told.contains("in force at the end of 2026-03"), "{told}");
    assert_eq!(world.corrections("acme", "2026-03"), [""; 0]);
    // Now for January as well, in which 3 packages were sold.
    world.run(&["catalog", "apply", "dearer.yaml", "--effective-from", "2026-01-10"], 0);
    world.bill("2026-03");
    assert_eq!(
        world.corrections("acme", "2026-03"),
        ["2026-01-01 calls 000001 1.50 2.10 0.60 catalog_change"]
    );
    world.bill("2026-04");
    assert_eq!(world.corrections("acme", "2026-04"), [""; 0]);
    world.verify(&["2026-01", "2026-02", "2026-03", "2026-04"]);
}

#[test]
fn a_draft_by_another_catalog_is_no_invoice() {
    let world = world();
    let dearer = CATALOG.replace("flat: 10", "flat: 11");
    std::fs::write(world.path().join("dearer.yaml"), &dearer).unwrap();
    let (_, told) = world.run(&["rate", "--period", "2026-02", "--catalog", "dearer.yaml"], 0);
    assert!(told.contains("rated with dearer.yaml: named by --catalog"), "{told}");
    let (_, told) = world.run(&["issue", "--period", "2026-02", "--grace", "0 s"], 1);
    assert!(told.contains("neither in the book nor"), "{told}");
    world.run(&["catalog", "apply", "--effective-from", "2026-06-01"], 0);
    let (_, told) = world.run(&["rate", "--period", "2026-02"], 1);
    assert!(
        told.contains("no catalog is in force at the end of 2026-02: the first one, version 1"),
        "{told}"
    );
}

fn apply_dearer(world: &World) {
    let dearer = CATALOG.replace("price: 0.5", "price: 0.7").replace("flat: 10", "flat: 11");
    std::fs::write(world.path().join("dearer.yaml"), dearer).unwrap();
    world.run(&["catalog", "apply", "dearer.yaml", "--effective-from", "2026-01-10"], 0);
}

fn void(id: &str, target: &str) -> serde_json::Value {
    event(id, "meterhouse.void", "acme", "2026-02-02T00:00:00Z", json!({ "source": "/s", "id": target }))
}

#[test]
fn of_a_late_and_a_voided_event_each_line_names_its_own() {
    let mut world = world();
    // 351 calls are 4 packages; the disk is gone.
    world.ingest(&[called("4", "2026-01-31T23:59:59Z", 101), void("v", "3")]);
    world.bill("2026-02");
    assert_eq!(
        world.corrections("acme", "2026-02"),
        [
            "2026-01-01 calls 000001 1.50 2.00 0.50 late_event",
            "2026-01-01 storage 000001 0.80 0.00 -0.80 amended_event",
        ]
    );
    // Now both of one line: without 100 of the calls, and with 200 others, 451 are 5 packages.
    world.ingest(&[called("5", "2026-01-30T00:00:00Z", 200), void("w", "2")]);
    world.run(&["compact"], 0);
    world.bill("2026-03");
    let both = "2026-01-01 calls 000001 2.00 2.50 0.50 late_event+amended_event";
    assert_eq!(world.corrections("acme", "2026-03"), [both]);
    let (text, _) = world.run(&["explain", "--tenant", "acme", "--period", "2026-03", "1"], 0);
    assert!(text.contains("late event and amended event"), "{text}");
    world.verify(&["2026-01", "2026-02", "2026-03"]);
    let kept = world.csv("SELECT count(*) AS n FROM usage_events WHERE meter IS NOT NULL");
    assert_eq!(kept, "n\n5\n");
}

#[test]
fn a_catalog_is_the_cause_where_the_same_events_come_to_more() {
    let mut world = world();
    // The fourth package is the late event's; what each costs, and the base fee, is the catalog's.
    world.ingest(&[called("4", "2026-01-31T23:59:59Z", 101)]);
    apply_dearer(&world);
    world.bill("2026-02");
    assert_eq!(
        world.corrections("acme", "2026-02"),
        [
            "2026-01-01 base 000001 10.00 11.00 1.00 catalog_change",
            "2026-01-01 calls 000001 1.50 2.80 1.30 late_event+catalog_change",
        ]
    );
    let other = "2026-01-01 base 000002 10.00 11.00 1.00 catalog_change";
    assert_eq!(world.corrections("globex", "2026-02"), [other]);
    world.verify(&["2026-01", "2026-02"]);
}

#[test]
fn a_late_event_that_changes_no_amount_is_no_cause() {
    let mut world = world();
    // 300 calls are 3 packages, as 250 were.
    world.ingest(&[called("4", "2026-01-31T23:59:59Z", 50)]);
    apply_dearer(&world);
    world.bill("2026-02");
    assert_eq!(
        world.corrections("acme", "2026-02"),
        [
            "2026-01-01 base 000001 10.00 11.00 1.00 catalog_change",
            "2026-01-01 calls 000001 1.50 2.10 0.60 catalog_change",
        ]
    );
    world.verify(&["2026-01", "2026-02"]);
}

#[test]
fn a_line_may_have_every_cause() {
    let mut world = world();
    // 351 calls would be 4 packages; without the first event they are 201 and 3; and each is dearer.
    world.ingest(&[called("4", "2026-01-31T23:59:59Z", 101), void("v", "1")]);
    apply_dearer(&world);
    world.bill("2026-02");
    assert_eq!(
        world.corrections("acme", "2026-02"),
        [
            "2026-01-01 base 000001 10.00 11.00 1.00 catalog_change",
            "2026-01-01 calls 000001 1.50 2.10 0.60 late_event+amended_event+catalog_change",
        ]
    );
    world.verify(&["2026-01", "2026-02"]);
}

/// Both meters draw from one allowance of 100, `calls` first.
const POOLED: &str = "
catalog: pooled
currency: EUR
meters:
  calls: { kind: delta, event_type: called, value: $.n, unit: request }
  pings: { kind: delta, event_type: pinged, value: $.n, unit: request }
plans:
  basic:
    pools: { all: { quantity: 100, unit: request } }
    prices:
      base: { description: Basic plan, flat: 10 }
      calls: { description: Calls, meter: calls, included: { pool: all }, per_unit: 1 }
      pings: { description: Pings, meter: pings, included: { pool: all }, per_unit: 1 }
tenants:
  acme: { subscriptions: [{ plan: basic, from: 2026-01-01 }] }
";

#[test]
fn a_late_event_is_the_cause_on_lines_of_other_meters_too() {
    let mut world = World::new(POOLED);
    let used =
        |id: &str, kind: &str, n: u32| event(id, kind, "acme", "2026-01-05T00:00:00Z", json!({ "n": n }));
    // 60 of the allowance go to the calls, 40 to the pings.
    world.ingest(&[used("1", "called", 60), used("2", "pinged", 60)]);
    world.bill("2026-01");
    // Now the calls draw 90, so 10 are left for the pings, of which there are as many as before.
    world.ingest(&[used("3", "called", 30)]);
    std::fs::write(world.path().join("dearer.yaml"), POOLED.replace("flat: 10", "flat: 11")).unwrap();
    world.run(&["catalog", "apply", "dearer.yaml", "--effective-from", "2026-01-10"], 0);
    world.bill("2026-02");
    assert_eq!(
        world.corrections("acme", "2026-02"),
        [
            "2026-01-01 base 000001 10.00 11.00 1.00 catalog_change",
            "2026-01-01 pings 000001 20.00 50.00 30.00 late_event",
        ]
    );
    world.verify(&["2026-01", "2026-02"]);
}
