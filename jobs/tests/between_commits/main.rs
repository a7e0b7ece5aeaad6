//! Programs die between their effects and are started again. Where ingest dies between the commit of a batch's rejects and
//! that of its usage, the catalog is changed before it starts again, too: whatever each catalog makes of a message, it ends
//! in exactly one of the two tables.

mod places;
mod world;

use std::collections::BTreeMap;

use world::{PARTITIONS, Place, World};

const DIES: &str = "between_commits";

fn event(id: usize, data: &str) -> String {
    format!(
        r#"{{"specversion":"1.0","id":"{id}","source":"/s","type":"stored","subject":"acme","time":"2026-05-01T00:00:00Z","data":{data}}}"#
    )
}

/// Data with those of the three figures whose bit is set.
fn data(figures: usize) -> String {
    let names = ["bytes", "size", "files"].iter().enumerate().filter(|(bit, _)| figures & (1 << bit) != 0);
    let members: Vec<String> = names.map(|(_, name)| format!(r#""{name}":1"#)).collect();
    format!("{{{}}}", members.join(","))
}

/// Sends every case, and returns what each place holds: the figures of an event, or nothing that any catalog takes.
fn produce_all(world: &World) -> BTreeMap<Place, Option<usize>> {
    let (mut holds, mut messages) = (BTreeMap::new(), Vec::new());
    for partition in 0..PARTITIONS {
        // Twice, so that both halves of what is read again hold every case.
        for (offset, figures) in (0..8).chain(0..8).enumerate() {
            messages.push((partition, Some(event(messages.len(), &data(figures)))));
            holds.insert((partition, offset as i64, 0), Some(figures));
        }
        let elements: Vec<String> =
            (0..8).map(|it| event(1_000 + messages.len() * 8 + it, &data(it))).collect();
        messages.push((partition, Some(format!("[{}, 7]", elements.join(", ")))));
        holds.extend((0..8).map(|it| ((partition, 16, it as i32), Some(it))));
        holds.extend([((partition, 16, 8), None), ((partition, 17, 0), None)]);
        messages.extend([(partition, Some("no event".to_owned())), (partition, None)]);
    }
    world.produce(&messages);
    holds
}

/// Compares the tables with what they may say of an event with the given figures.
#[track_caller]
fn check(
    world: &World,
    holds: &BTreeMap<Place, Option<usize>>,
    may_be: fn(usize) -> &'static [&'static str],
) {
    let found = world.tables();
    for (place, figures) in holds {
        let tables = found.get(place).map_or(&[][..], Vec::as_slice);
        let wanted = figures.map_or(&["rejected"][..], may_be);
        let stands = tables.len() == 1 && wanted.contains(&tables[0].as_str());
        assert!(
            stands,
            "{place:?} with figures {figures:?} stands in {tables:?} and not in one of {wanted:?}"
        );
    }
    assert_eq!(found.len(), holds.len(), "{found:?}");
}

#[test]
fn the_catalog_changes_after_a_crash_between_the_commits() {
    let world = World::new();
    let holds = produce_all(&world);
    world.write_catalog("kind: gauge, value: $.bytes");
    assert_eq!(world.ingest("first", &[], &[("METERHOUSE_CRASH_AT", DIES)]).0, None);
    world.write_catalog("kind: gauge, value: $.size");
    assert_eq!(world.ingest("second", &[], &[]).0, Some(3));
    // A reject that was stored stays one until it is replayed, whatever became of the catalog.
    check(&world, &holds, |figures| if figures & 0b011 == 0b011 { &["usage"] } else { &["rejected"] });

    // A replay takes in what the catalog accepts in the end.
    world.write_catalog("kind: delta");
    world.run(&["replay"]);
    check(&world, &holds, |_| &["usage"]);
}

#[test]
fn it_crashes_there_again_and_the_catalog_changes_again() {
    let world = World::new();
    let holds = produce_all(&world);
    world.write_catalog("kind: gauge, value: $.bytes");
    assert_eq!(world.ingest("first", &[], &[("METERHOUSE_CRASH_AT", DIES)]).0, None);
    // Read again in small batches, the first of which dies as well: some of what is read again ends far below
    // where the rejects already stand.
    world.write_catalog("kind: gauge, value: $.size");
    let small = ("METERHOUSE_INGEST_FLUSH_ROWS", "2");
    assert_eq!(world.ingest("second", &[], &[small, ("METERHOUSE_CRASH_AT", DIES)]).0, None);
    world.write_catalog("kind: gauge, value: $.files");
    assert_eq!(world.ingest("third", &[], &[small]).0, Some(3));
    check(&world, &holds, |figures| match figures {
        0b111 => &["usage"],
        // The second catalog refuses these, but its run may have died before it read them.
        0b101 => &["usage", "rejected"],
        _ => &["rejected"],
    });
}
