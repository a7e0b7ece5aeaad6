//! Credits pay for invoices in their order and never twice.

use serde_json::json;

use crate::world::{CATALOG, World, event};

#[test]
fn credits_pay_in_their_order_and_once() {
    let mut world = World::new(CATALOG);
    world.ingest(&[event(
        "1",
        "called",
        "acme",
        "2026-01-05T00:00:00Z",
        json!({ "n": 150, "region": "eu" }),
    )]);
    let grant = |name: &str, amount: &str, more: &[&str]| {
        let own =
            ["credits", "grant", "--tenant", "acme", "--currency", "EUR", "--name", name, "--amount", amount];
        world.run(&[&own[..], &["--by", "jane"], more].concat(), 0);
    };
    grant("later", "20", &["--priority", "5"]);
    grant("first", "4.50", &["--until", "2026-06-01"]);
    grant("never", "100", &["--from", "2026-03-01", "--until", "2026-03-02"]);
    // The same again counts once.
    grant("first", "4.50", &["--until", "2026-06-01"]);
    let other =
        ["credits", "grant", "--tenant", "acme", "--currency", "EUR", "--name", "first", "--amount", "5"];
    world.run(&other, 1);
    world.run(&["rate", "--period", "2026-01"], 0);
    world.run(&["rate", "--period", "2026-02"], 0);
    // 10 for the plan and 1 for two packages of calls: 4.50 from the first, 6.50 from the other.
    let invoice = world.invoice("acme", "2026-01");
    assert_eq!(
        (&invoice["total"], &invoice["credited"], &invoice["due"]),
        (&json!("11.00"), &json!("11.00"), &json!("0.00"))
    );
    world.run(&["issue", "--period", "2026-01", "--grace", "0 s", "--without-papers"], 0);
    let (left, _) = world.run(&["credits", "list", "--format", "csv"], 0);
    assert!(left.contains("acme,EUR,first,0.00,0,") && left.contains("acme,EUR,later,13.50,5,"), "{left}");
    // February was rated when all was there still.
    let (_, told) = world.run(&["issue", "--period", "2026-02", "--grace", "0 s", "--without-papers"], 3);
    assert!(told.contains("1 drafts are out of date"), "{told}");
    world.bill("2026-02");
    world.bill("2026-03");
    let due = "SELECT period, total, credited, due FROM invoices WHERE tenant = 'acme' ORDER BY 1";
    assert_eq!(
        world.csv(due),
        "period,total,credited,due\n2026-01-01,11.000000000,11.000000000,0.000000000\n\
         2026-02-01,10.000000000,10.000000000,0.000000000\n2026-03-01,10.000000000,3.500000000,6.500000000\n"
    );
    world.verify(&["2026-01", "2026-02", "2026-03"]);
    let (entries, _) = world.run(&["credits", "list", "--tenant", "acme", "--entries", "--format", "csv"], 0);
    assert_eq!(entries.matches(",use,").count(), 4, "{entries}");
}

#[test]
fn what_the_catalog_grants_is_granted_once() {
    let catalog =
        format!("{CATALOG}credits:\n  grants:\n    welcome: {{ amount: 12, expires_after_days: 90 }}\n");
    let world = World::new(&catalog);
    world.run(&["rate", "--period", "2026-01", "--dry-run"], 0);
    world.bill("2026-01");
    world.bill("2026-02");
    let paid = "SELECT tenant, period, credited FROM invoices ORDER BY 1, 2";
    assert_eq!(
        world.csv(paid),
        "tenant,period,credited\nacme,2026-01-01,10.000000000\nacme,2026-02-01,2.000000000\n\
         globex,2026-01-01,10.000000000\nglobex,2026-02-01,2.000000000\n"
    );
    world.verify(&["2026-01", "2026-02"]);
}
