//! Ingest dies between the commit of a batch's rejects and that of its usage, and before it starts again the catalog
//! is changed: whatever each catalog makes of a message, it ends in exactly one of the two tables.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, ExitStatus};
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseProducer, BaseRecord, DefaultProducerContext, Producer};

const TOPIC: &str = "usage";
const PARTITIONS: i32 = 2;
const DIES: &str = "between_commits";

/// Where an event stands: partition, offset, and its place in a batch message.
type Place = (i32, i64, i32);

struct World {
    cluster: MockCluster<'static, DefaultProducerContext>,
    folder: tempfile::TempDir,
}

impl World {
    fn new() -> Self {
        let cluster = MockCluster::new(1).unwrap();
        cluster.create_topic(TOPIC, PARTITIONS, 1).unwrap();
        Self { cluster, folder: tempfile::tempdir().unwrap() }
    }

    fn produce(&self, messages: &[(i32, Option<String>)]) {
        let producer: BaseProducer =
            ClientConfig::new().set("bootstrap.servers", self.cluster.bootstrap_servers()).create().unwrap();
        for (partition, payload) in messages {
            let mut record = BaseRecord::<(), str>::to(TOPIC).partition(*partition);
            record.payload = payload.as_deref();
            producer.send(record).map_err(|(error, _)| error).unwrap();
        }
        producer.flush(Duration::from_secs(10)).unwrap();
    }

    fn write_catalog(&self, meter: &str) {
        let text =
            format!("catalog: test\nmeters:\n  stored: {{ event_type: stored, unit: byte, {meter} }}\n");
        std::fs::write(self.folder.path().join("catalog.yaml"), text).unwrap();
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_meterhouse"));
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("METERHOUSE_") {
                command.env_remove(name);
            }
        }
        let folder: &Path = self.folder.path();
        command.current_dir(folder).args(arguments).env("METERHOUSE_LAKE", folder.join("lake"));
        command
    }

    /// One start of ingest. Each is in a group of its own, which therefore waits for no dead member: where to read
    /// on is kept in the lake.
    fn ingest(&self, group: &str, settings: &[(&str, &str)]) -> ExitStatus {
        let brokers = self.cluster.bootstrap_servers();
        let arguments = ["ingest", "--kafka", &brokers, "--topic", TOPIC, "--group", group, "--until-end"];
        let mut command = self.command(&arguments);
        command.env("METERHOUSE_INGEST_FLUSH_AGE", "60 s").envs(settings.iter().copied());
        command.status().expect("the program starts")
    }

    #[track_caller]
    fn run(&self, arguments: &[&str]) -> String {
        let output = self.command(arguments).output().expect("the program starts");
        assert!(matches!(output.status.code(), Some(0 | 3)), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// The tables in which each event stands, as often as it does.
    fn tables(&self) -> BTreeMap<Place, Vec<String>> {
        let query = "SELECT \"partition\", \"offset\", batch_index, 'usage' FROM usage_events UNION ALL \
                     SELECT \"partition\", \"offset\", batch_index, 'rejected' FROM rejected_messages";
        let mut found: BTreeMap<Place, Vec<String>> = BTreeMap::new();
        for line in self.run(&["sql", "--format", "csv", query]).lines().skip(1) {
            let cells: Vec<&str> = line.split(',').collect();
            let place = (cells[0].parse().unwrap(), cells[1].parse().unwrap(), cells[2].parse().unwrap());
            found.entry(place).or_default().push(cells[3].to_owned());
        }
        found
    }
}

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
    assert_eq!(world.ingest("first", &[("METERHOUSE_CRASH_AT", DIES)]).code(), None);
    world.write_catalog("kind: gauge, value: $.size");
    assert_eq!(world.ingest("second", &[]).code(), Some(3));
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
    assert_eq!(world.ingest("first", &[("METERHOUSE_CRASH_AT", DIES)]).code(), None);
    // Read again in small batches, the first of which dies as well: some of what is read again ends far below
    // where the rejects already stand.
    world.write_catalog("kind: gauge, value: $.size");
    let small = ("METERHOUSE_INGEST_FLUSH_ROWS", "2");
    assert_eq!(world.ingest("second", &[small, ("METERHOUSE_CRASH_AT", DIES)]).code(), None);
    world.write_catalog("kind: gauge, value: $.files");
    assert_eq!(world.ingest("third", &[small]).code(), Some(3));
    check(&world, &holds, |figures| match figures {
        0b111 => &["usage"],
        // The second catalog refuses these, but its run may have died before it read them.
        0b101 => &["usage", "rejected"],
        _ => &["rejected"],
    });
}
