//! What a run left undone after it issued is done by the next one, whatever period that is about.

use std::collections::BTreeSet;

use jobs::book::{Book, BookAddress};
use serde_json::json;

use crate::world::{CATALOG, World, event};

fn world() -> World {
    let mut world = World::new(CATALOG);
    world.settings.push(("METERHOUSE_BOOK_LEASE", "10 ms"));
    world.ingest(&[event(
        "1",
        "called",
        "acme",
        "2026-01-05T00:00:00Z",
        json!({ "n": 250, "region": "eu" }),
    )]);
    world
}

fn issue(month: &str) -> [&str; 5] {
    ["issue", "--period", month, "--grace", "0 s"]
}

fn papers(world: &World, period: &str) -> usize {
    std::fs::read_dir(world.path().join("lake/papers").join(period)).map_or(0, Iterator::count)
}

fn left(world: &World) -> Vec<(String, bool)> {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let book = Book::open(&BookAddress::file(&world.path().join("book.sqlite"))).await.unwrap();
        let left = book.unfinished_periods().await.unwrap();
        book.close().await.unwrap();
        Vec::from_iter(left)
    })
}

const MARKED: &str = "SELECT number, period FROM invoices WHERE number IS NOT NULL ORDER BY number";

#[test]
fn next_months_run_marks_and_prints_what_this_months_left() {
    let world = world();
    world.run(&["rate", "--period", "2026-01"], 0);
    world.die(&issue("2026-01"), "after_issue");
    assert_eq!(world.csv(MARKED), "number,period\n");
    assert_eq!(left(&world), [("2026-01-01".to_owned(), true)]);
    // Papers are left for a run that writes any.
    world.run(&["rate", "--period", "2026-02"], 0);
    world.run(&[&issue("2026-02")[..], &["--without-papers", "--tenant", "acme"]].concat(), 0);
    assert_eq!(world.csv(MARKED), "number,period\n000001,2026-01-01\n000002,2026-01-01\n000003,2026-02-01\n");
    assert_eq!(left(&world), [("2026-01-01".to_owned(), true)]);
    assert_eq!([papers(&world, "2026-01-01"), papers(&world, "2026-02-01")], [0, 0]);
    world.run(&["rate", "--period", "2026-03"], 0);
    let (_, told) = world.run(&issue("2026-03"), 0);
    assert!(told.contains("2 invoices issued, 16 papers written"), "{told}");
    assert_eq!(["2026-01-01", "2026-02-01", "2026-03-01"].map(|period| papers(&world, period)), [8, 0, 8]);
    assert_eq!(left(&world), []);
    world.verify(&["2026-01", "2026-02", "2026-03"]);
}

#[test]
fn an_issued_row_that_is_gone_is_told_until_it_is_back() {
    let world = world();
    world.run(&["rate", "--period", "2026-01"], 0);
    let folder = world.path().join("lake/invoices");
    let log = || -> BTreeSet<std::path::PathBuf> {
        std::fs::read_dir(folder.join("_delta_log")).unwrap().map(|entry| entry.unwrap().path()).collect()
    };
    let before = log();
    world.die(&issue("2026-01"), "after_issue");
    // Somebody puts back what the lake's table was before there were any drafts.
    let drafts = std::fs::read_to_string(before.iter().next_back().unwrap()).unwrap();
    let drafts: Vec<&str> = drafts.lines().filter(|line| !line.starts_with("{\"add\"")).collect();
    std::fs::write(before.iter().next_back().unwrap(), drafts.join("\n")).unwrap();
    world.run(&["rate", "--period", "2026-02"], 0);
    for _ in 0..2 {
        let (_, told) = world.run(&[&issue("2026-02")[..], &["--without-papers"]].concat(), 3);
        assert!(told.contains("invoice 000001 of tenant acme was issued with the digest"), "{told}");
        assert!(told.contains("but it is not in the lake"), "{told}");
    }
    assert_eq!(left(&world), [("2026-01-01".to_owned(), true)]);
    world.verify(&["2026-02"]);
}
