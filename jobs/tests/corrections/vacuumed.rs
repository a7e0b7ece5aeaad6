//! What `vacuum` must leave for documents that are issued or will be, and for roll-ups.

use std::fs::File;
use std::path::Path;
use std::time::{Duration, SystemTime};

use serde_json::json;

use crate::world::{CATALOG, World, event};

fn called(id: &str, time: &str, n: u32) -> serde_json::Value {
    event(id, "called", "acme", time, json!({ "n": n, "region": "eu" }))
}

/// Says that everything in the lake was stored ten days ago, and deletes what nobody needs of what is older than one;
/// how many files of usage events that are.
fn age_and_vacuum(world: &World) -> u32 {
    set_back(&world.path().join("lake"), SystemTime::now() - Duration::from_hours(240));
    let (rows, _) = world.run(&["vacuum", "--retain", "1 day", "--format", "csv"], 0);
    let usage = rows.lines().find(|row| row.starts_with("usage_events,")).unwrap();
    usage.split(',').nth(1).unwrap().parse().unwrap()
}

fn set_back(folder: &Path, to: SystemTime) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            set_back(&path, to);
        } else {
            File::options().write(true).open(&path).unwrap().set_modified(to).unwrap();
        }
    }
}

#[test]
fn a_draft_can_be_issued_and_verified_after_its_files_were_replaced() {
    let mut world = World::new(CATALOG);
    world.ingest(&[called("1", "2026-01-05T00:00:00Z", 250)]);
    world.run(&["rate", "--period", "2026-01"], 0);
    // The draft's own file is replaced, and so is one that nobody pins.
    world.ingest(&[called("2", "2026-01-05T00:00:00Z", 100)]);
    world.run(&["compact"], 0);
    assert_eq!(age_and_vacuum(&world), 1);
    world.run(&["issue", "--period", "2026-01", "--grace", "0 s", "--without-papers"], 0);
    assert_eq!(age_and_vacuum(&world), 0);
    world.verify(&["2026-01"]);
    world.bill("2026-02");
    assert_eq!(world.corrections("acme", "2026-02"), ["2026-01-01 calls 000001 1.50 2.00 0.50 late_event"]);
    world.verify(&["2026-01", "2026-02"]);
}

#[test]
fn an_invoice_from_before_the_first_event_pins_nothing() {
    let mut world = World::new(CATALOG);
    world.bill("2026-01");
    world.ingest(&[called("1", "2026-02-05T00:00:00Z", 250)]);
    world.run(&["compact"], 0);
    assert_eq!(age_and_vacuum(&world), 1);
    world.bill("2026-02");
    assert_eq!(world.corrections("acme", "2026-02"), [""; 0]);
    world.verify(&["2026-01", "2026-02"]);
}

#[test]
fn a_roll_up_that_was_cut_short_keeps_what_counts() {
    let mut world = World::new(CATALOG);
    world.settings.push(("METERHOUSE_BOOK_LEASE", "10 ms"));
    let stored =
        |id: &str, time: &str, gb: u32| event(id, "stored", "acme", time, json!({ "gb": gb, "disk": "a" }));
    world.ingest(&[stored("1", "2026-01-01T00:00:00Z", 5), stored("2", "2026-01-03T00:00:00Z", 6)]);
    world.run(&["rollup"], 0);
    world.ingest(&[stored("3", "2026-01-01T12:00:00Z", 9)]);
    // What days open with is new then, and the totals that it belongs to are not.
    world.die(&["rollup"], "after_commit");
    age_and_vacuum(&world);
    let quantities = |from: &str| {
        world.run(&["quantities", "--period", "2026-01", "--format", "csv", "--from", from], 0).0
    };
    let wanted = quantities("events");
    assert_eq!(quantities("auto"), wanted);
    world.run(&["rollup"], 0);
    assert_eq!(quantities("auto"), wanted);
    // Without what roll-ups do not answer.
    let rolled_up = quantities("rollups");
    assert!(
        rolled_up.lines().count() > 1 && rolled_up.lines().all(|row| wanted.contains(row)),
        "{rolled_up}"
    );
}
