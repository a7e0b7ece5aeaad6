//! Each place at which `ingest`, `derive` and `replay` may die, and whoever goes on after it.

use crate::world::{PARTITIONS, World, new_cluster};
use crate::{check, event, produce_all};

/// Runs a test of each place beside the others: most of the time all of them wait for their cluster's group.
fn at_each(places: &[&str], test: impl Fn(&str) + Sync) {
    std::thread::scope(|scope| {
        for place in places {
            scope.spawn(|| test(place));
        }
    });
}

const OF_INGEST: [&str; 14] = [
    // Usage is the first table, rejects are the second.
    "before_create:1",
    "after_create:1",
    "before_create:2",
    "after_create:2",
    // Before anything is read, the lake keeps where the topic begins.
    "before_commit:1",
    "after_commit:1",
    // The batch's rejects go first.
    "before_upload:1",
    "between_uploads",
    "before_upload:2",
    "after_upload:2",
    "before_commit:2",
    "between_commits",
    "before_commit:3",
    "after_commit:3",
];

#[test]
fn ingest_that_died_anywhere_is_gone_on_with() {
    at_each(&OF_INGEST, |place| {
        let world = World::new();
        let holds = produce_all(&world);
        world.write_catalog("kind: gauge, value: $.bytes");
        let (code, told) = world.ingest("first", &[], &[("METERHOUSE_CRASH_AT", place)]);
        assert_eq!(code, None, "{place} was passed: {told}");
        let (code, told) = world.ingest("second", &[], &[]);
        // All that there was to read has been committed then.
        assert_eq!(code, Some(if place == "after_commit:3" { 0 } else { 3 }), "{place}: {told}");
        check(&world, &holds, |figures| if figures & 1 == 1 { &["usage"] } else { &["rejected"] });
        // Each partition was committed at once.
        let whole: Vec<_> = (0..i64::from(PARTITIONS)).map(|partition| (partition, vec![(0, 19)])).collect();
        assert_eq!(world.stretches().into_iter().collect::<Vec<_>>(), whole, "{place}");
    });
}

#[test]
fn ingest_that_died_beside_a_checkpoint_is_gone_on_with() {
    const MESSAGES: i64 = 120;
    at_each(&["before_checkpoint", "after_checkpoint"], |place| {
        let world = World::new();
        let messages: Vec<_> =
            (0..MESSAGES).map(|id| (0, Some(event(id as usize, r#"{"bytes":1}"#)))).collect();
        world.produce(&messages);
        world.write_catalog("kind: gauge, value: $.bytes");
        let small = ("METERHOUSE_INGEST_FLUSH_ROWS", "1");
        let (code, told) = world.ingest("first", &[], &[small, ("METERHOUSE_CRASH_AT", place)]);
        assert_eq!(code, None, "{place} was passed: {told}");
        let (code, told) = world.ingest("second", &[], &[small]);
        assert_eq!(code, Some(0), "{place}: {told}");
        let rows: Vec<Vec<String>> = world.query("SELECT \"offset\" FROM usage_events ORDER BY 1");
        assert_eq!(rows, (0..MESSAGES).map(|offset| vec![offset.to_string()]).collect::<Vec<_>>(), "{place}");
        let stretches = world.stretches().remove(&0).unwrap();
        assert!(stretches.len() > 100 && stretches[0].0 == 0, "{place}: {stretches:?}");
        assert!(stretches.windows(2).all(|pair| pair[0].1 == pair[1].0), "{place}: {stretches:?}");
        assert_eq!(stretches.last().unwrap().1, MESSAGES, "{place}");
    });
}

/// The gap is accepted by a commit to each table, rejects first, because those of the topic of before end higher.
#[test]
fn a_gap_is_accepted_once_wherever_ingest_dies() {
    let places = ["before_commit:1", "after_commit:1", "before_commit:2", "after_commit:2"];
    at_each(&places, |place| {
        let mut world = World::new();
        world.write_catalog("kind: gauge, value: $.bytes");
        let mut messages: Vec<_> = (0..10).map(|id| (0, Some(event(id, r#"{"bytes":1}"#)))).collect();
        messages.push((0, Some("no event".to_owned())));
        world.produce(&messages);
        assert_eq!(world.ingest("first", &[], &[]).0, Some(3), "{place}");

        world.cluster = new_cluster();
        world.produce(&[(0, Some(event(50, r#"{"bytes":1}"#))), (0, Some("no event either".to_owned()))]);
        let (code, told) = world.ingest("halted", &[], &[]);
        assert_eq!(code, Some(1), "{place}: {told}");
        let flag = told.split("--accept-gap ").nth(1).unwrap().split_whitespace().next().unwrap().to_owned();
        assert_eq!(flag, "usage:0:11-0");
        let accepting = ["--accept-gap", &flag];
        let (code, told) = world.ingest("dying", &accepting, &[("METERHOUSE_CRASH_AT", place)]);
        assert_eq!(code, None, "{place} was passed: {told}");
        // Unless the usage table says that it is accepted, it still has to be.
        let (code, told) = world.ingest("unasked", &[], &[]);
        let is_accepted = place == "after_commit:2";
        assert_eq!(
            (code, told.contains(&flag)),
            if is_accepted { (Some(3), false) } else { (Some(1), true) },
            "{told}"
        );
        let (code, told) = world.ingest("accepting", &accepting, &[]);
        assert_eq!(code, Some(if is_accepted { 0 } else { 3 }), "{place}: {told}");

        let ids = world.query("SELECT id FROM usage_events ORDER BY id::INT");
        let expected: Vec<_> = (0..10).chain([50]).map(|id: u32| vec![id.to_string()]).collect();
        assert_eq!(ids, expected, "{place}");
        let rejected = world.query("SELECT \"offset\" FROM rejected_messages ORDER BY 1");
        assert_eq!(rejected, [["1"], ["10"]], "{place}");
        assert_eq!(world.stretches().remove(&0).unwrap(), [(0, 11), (0, 2)], "{place}");
    });
}

const EFFECTS: [&str; 4] = ["before_upload", "after_upload", "before_commit", "after_commit"];
const FIRST_CATALOG: &str = "
catalog: test
meters:
  stored: { kind: delta, event_type: stored, value: $.bytes, unit: byte }
";
const LAST_CATALOG: &str = "
catalog: test
meters:
  stored: { kind: delta, event_type: stored, unit: byte }
  seen: { kind: delta, event_type: seen, value: $.count, unit: device }
";
const EVENTS: usize = 30;

/// A lake of three days: a third of the events have no meter yet, and a third are refused. The catalog that is there
/// in the end takes all of them.
fn lake_with_work() -> World {
    let world = World::new();
    let line = |id: usize| {
        let (event_type, data) =
            [("stored", r#"{"bytes":1}"#), ("seen", r#"{"count":1}"#), ("stored", r#"{"size":1}"#)][id % 3];
        let line = event(id, data).replace(r#""type":"stored""#, &format!(r#""type":"{event_type}""#));
        line.replace("2026-05-01", &format!("2026-05-{:02}", id / 3 % 3 + 1)) + "\n"
    };
    world.write("events.ndjson", &(0..EVENTS).map(line).collect::<String>());
    world.write("catalog.yaml", FIRST_CATALOG);
    world.run(&["ingest", "--file", "events.ndjson"]);
    world.write("catalog.yaml", LAST_CATALOG);
    world
}

/// Has a command die on each pass of each of its effects, and go on. Returns how often it died.
fn die_everywhere(command: &str, check: impl Fn(&World, &str) + Sync) {
    at_each(&EFFECTS, |point| {
        for pass in 1.. {
            let place = format!("{point}:{pass}");
            let world = lake_with_work();
            let (code, told) = world.start(&[command], &place);
            assert!(matches!(code, None | Some(0 | 3)), "{command} at {place}: {told}");
            if code.is_some() {
                assert!(pass > 2, "{command} passes {point} only {} times", pass - 1);
                check(&world, "undisturbed");
                return;
            }
            world.run(&[command]);
            check(&world, &place);
            // There is nothing left to do.
            let versions = |table: &str| {
                let log = world.folder.path().join("lake").join(table).join("_delta_log");
                std::fs::read_dir(log).unwrap().count()
            };
            let before = (versions("usage_events"), versions("rejected_messages"));
            world.run(&[command]);
            assert_eq!(
                (versions("usage_events"), versions("rejected_messages")),
                before,
                "{command} at {place}"
            );
        }
    });
}

#[test]
fn a_derivation_that_died_anywhere_is_gone_on_with() {
    die_everywhere("derive", |world, place| {
        let rows = world.query("SELECT meter, id FROM usage_events ORDER BY id::INT");
        let expected: Vec<_> = (0..EVENTS)
            .filter(|id| id % 3 != 2)
            .map(|id| vec![["stored", "seen"][id % 3].to_owned(), id.to_string()])
            .collect();
        assert_eq!(rows, expected, "{place}");
    });
}

#[test]
fn a_replay_that_died_anywhere_is_gone_on_with() {
    die_everywhere("replay", |world, place| {
        let rows = world.query("SELECT id FROM usage_events WHERE meter IS NOT NULL ORDER BY id::INT");
        let expected: Vec<_> = (0..EVENTS).filter(|id| id % 3 != 1).map(|id| vec![id.to_string()]).collect();
        assert_eq!(rows, expected, "{place}");
        assert!(world.query("SELECT id FROM rejected_messages").is_empty(), "{place}");
    });
}
