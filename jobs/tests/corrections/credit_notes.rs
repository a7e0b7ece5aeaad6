//! What no invoice can carry: credit notes and invoices of corrections alone.

use serde_json::{Value, json};

use crate::world::{CATALOG, World, event};

const ACME: &str = "  acme: { subscriptions: [{ plan: basic, from: 2026-01-01 }] }\n";
const ACME_ENDS: &str = "  acme: { subscriptions: [{ plan: basic, from: 2026-01-01, until: 2026-02-01 }] }\n";

fn called(id: &str, n: u32) -> Value {
    event(id, "called", "acme", "2026-01-06T00:00:00Z", json!({ "n": n, "region": "eu" }))
}

fn void(id: &str, of: &str) -> Value {
    event(id, "meterhouse.void", "acme", "2026-02-02T00:00:00Z", json!({ "source": "/s", "id": of }))
}

/// January is issued: the base fee of 10, and 250 calls are 3 packages, 1.50.
fn world(catalog: &str) -> World {
    let mut world = World::new(catalog);
    world.ingest(&[called("1", 150), called("2", 100)]);
    world.bill("2026-01");
    world
}

const DOCUMENTS: &str = "SELECT number, kind, tenant, period, total, due FROM invoices \
                         WHERE tenant = 'acme' ORDER BY period, number";

#[test]
fn who_is_billed_nothing_any_more_gets_a_credit_note() {
    let mut world = world(&CATALOG.replace(ACME, ACME_ENDS));
    world.bill("2026-02");
    // 150 calls are left: 2 packages.
    world.ingest(&[void("v1", "2")]);
    let (_, told) = world.run(&["rate", "--period", "2026-03"], 0);
    assert!(told.contains("1 of the drafts are credit notes"), "{told}");
    let issue = ["issue", "--period", "2026-03", "--grace", "0 s"];
    let (_, told) = world.run(&issue, 0);
    assert!(told.contains("1 invoices and 1 credit notes issued, 8 papers written"), "{told}");
    assert_eq!(world.corrections_by("CN-000001"), ["2026-01-01 calls 000001 1.50 1.00 -0.50 amended_event"]);
    let note = world.numbered("CN-000001");
    assert_eq!((&note["kind"], &note["due"]), (&json!("credit_note"), &json!("-0.50")));
    // Again: nothing is left to do.
    world.run(&["rate", "--period", "2026-03"], 0);
    let (_, told) = world.run(&issue, 0);
    assert!(told.contains("0 invoices issued, 0 papers written"), "{told}");

    // None is left; and then more than ever: 901 are 10 packages.
    world.ingest(&[void("v2", "1")]);
    world.bill("2026-04");
    assert_eq!(world.corrections_by("CN-000002"), ["2026-01-01 calls 000001 1.00 0.00 -1.00 amended_event"]);
    world.ingest(&[called("3", 901)]);
    world.bill("2026-05");
    assert_eq!(world.corrections("acme", "2026-05"), ["2026-01-01 calls 000001 0.00 5.00 5.00 late_event"]);
    assert_eq!(
        world.csv(DOCUMENTS),
        "number,kind,tenant,period,total,due\n\
         000001,invoice,acme,2026-01-01,11.500000000,11.500000000\n\
         CN-000001,credit_note,acme,2026-03-01,-0.500000000,-0.500000000\n\
         CN-000002,credit_note,acme,2026-04-01,-1.000000000,-1.000000000\n\
         000006,invoice,acme,2026-05-01,5.000000000,5.000000000\n"
    );
    world.verify(&["2026-01", "2026-03", "2026-04", "2026-05"]);
    world.run(&["reconcile", "--offline"], 0);

    let papers = world.path().join("lake/papers/2026-03-01");
    let read = |kind: &str| std::fs::read(papers.join(format!("credit-note_CN-000001.{kind}"))).unwrap();
    assert!(read("pdf").starts_with(b"%PDF-"));
    let html = String::from_utf8(read("html")).unwrap();
    for part in ["Credit note", "Corrects invoice", "000001", "Total credited", "-0.50"] {
        assert!(html.contains(part) || html.contains(&part.replace('-', "\u{2212}")), "{part}: {html}");
    }
    assert!(String::from_utf8(read("csv")).unwrap().contains("credit_note,CN-000001"));
    assert!(String::from_utf8(read("json")).unwrap().contains(r#""kind":"credit_note""#));
    let (text, _) = world.run(&["invoice", "show", "CN-000001"], 0);
    assert!(text.starts_with("Credit note CN-000001 (issued)"), "{text}");
    let (text, _) = world.run(&["explain", "CN-000001", "calls", "--events"], 0);
    assert!(
        text.contains("invoice 000001 of 2026-01-01") && text.contains("comes to now   1.00 EUR"),
        "{text}"
    );
}

#[test]
fn who_has_left_the_catalog_is_corrected_by_the_terms_of_then() {
    let taxed = format!("tax: vat\ntaxes:\n  vat: {{ description: VAT 19 %, percent: 19 }}\n{CATALOG}");
    let mut world = world(&taxed);
    world.change_catalog(&taxed.replace(ACME, ""));
    world.ingest(&[void("v1", "2")]);
    world.bill("2026-02");
    let note = world.numbered("CN-000001");
    // 19 % of 0.50 is 0.095.
    assert_eq!(
        (&note["total"], &note["taxed"], &note["due"]),
        (&json!("-0.50"), &json!("-0.10"), &json!("-0.60"))
    );
    // 300 more: 450 are 5 packages.
    world.ingest(&[called("3", 300)]);
    world.bill("2026-03");
    let invoices = "SELECT number, period, due FROM invoices WHERE tenant = 'acme' ORDER BY period";
    assert_eq!(
        world.csv(invoices),
        "number,period,due\n000001,2026-01-01,13.690000000\nCN-000001,2026-02-01,-0.600000000\n\
         000004,2026-03-01,1.790000000\n"
    );
    assert_eq!(world.corrections_by("000004"), ["2026-01-01 calls 000001 1.00 2.50 1.50 late_event"]);
    world.bill("2026-04");
    assert_eq!(world.csv(invoices).lines().count(), 4, "each correction once");
    world.verify(&["2026-01", "2026-02", "2026-03"]);
}

#[test]
fn an_invoice_never_comes_to_less_than_nothing() {
    let mut world = World::new(CATALOG);
    // 30,100 calls are 301 packages.
    world.ingest(&[called("1", 30_000), called("2", 100)]);
    world.bill("2026-01");
    world.ingest(&[void("v1", "1")]);
    world.bill("2026-02");
    assert_eq!(
        world.csv(DOCUMENTS),
        "number,kind,tenant,period,total,due\n\
         000001,invoice,acme,2026-01-01,160.500000000,160.500000000\n\
         000003,invoice,acme,2026-02-01,10.000000000,10.000000000\n\
         CN-000001,credit_note,acme,2026-02-01,-150.000000000,-150.000000000\n"
    );
    world.verify(&["2026-01", "2026-02"]);
}

#[test]
fn the_settings_may_ask_for_credit_notes() {
    let mut world = world(CATALOG);
    world.settings = vec![
        ("METERHOUSE_ISSUER_CORRECTIONS", "credit_note"),
        ("METERHOUSE_ISSUER_CREDIT_NOTE_PREFIX", "G-"),
    ];
    world.ingest(&[void("v1", "2")]);
    // Two drafts would take back the same; the second one is told so.
    world.run(&["rate", "--period", "2026-02"], 0);
    world.run(&["rate", "--period", "2026-03"], 0);
    world.run(&["issue", "--period", "2026-02", "--grace", "0 s"], 0);
    let (_, told) = world.run(&["issue", "--period", "2026-03", "--grace", "0 s", "--without-papers"], 3);
    assert!(told.contains("1 drafts are out of date"), "{told}");
    world.bill("2026-03");
    assert_eq!(
        world.csv(DOCUMENTS).replace("000000,", ","),
        "number,kind,tenant,period,total,due\n\
         000001,invoice,acme,2026-01-01,11.500,11.500000000\n\
         000003,invoice,acme,2026-02-01,10.000,10.000000000\n\
         G-000001,credit_note,acme,2026-02-01,-0.500,-0.500000000\n\
         000005,invoice,acme,2026-03-01,10.000,10.000000000\n"
    );
    // What raises an invoice goes on the next one.
    world.ingest(&[called("3", 300)]);
    world.bill("2026-04");
    assert_eq!(world.corrections("acme", "2026-04"), ["2026-01-01 calls 000001 1.00 2.50 1.50 late_event"]);
    assert!(world.path().join("lake/papers/2026-02-01/credit-note_G-000001.pdf").exists());
    world.verify(&["2026-01", "2026-02", "2026-03", "2026-04"]);
    world.settings.push(("METERHOUSE_ISSUER_NUMBER_PREFIX", "G-"));
    let (_, told) = world.run(&["config", "check"], 1);
    assert!(told.contains("`issuer.credit_note_prefix`: invoices have the same"), "{told}");
}
