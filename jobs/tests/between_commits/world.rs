//! A mock cluster, a lake, and runs of the real binary between them.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseProducer, BaseRecord, DefaultProducerContext, Producer};
use serde_json::Value;

pub const TOPIC: &str = "usage";
pub const PARTITIONS: i32 = 2;

/// Where an event stands: partition, offset, and its place in a batch message.
pub type Place = (i32, i64, i32);

pub struct World {
    pub cluster: MockCluster<'static, DefaultProducerContext>,
    pub folder: tempfile::TempDir,
}

pub fn new_cluster() -> MockCluster<'static, DefaultProducerContext> {
    let cluster = MockCluster::new(1).unwrap();
    cluster.create_topic(TOPIC, PARTITIONS, 1).unwrap();
    cluster
}

impl World {
    pub fn new() -> Self {
        Self { cluster: new_cluster(), folder: tempfile::tempdir().unwrap() }
    }

    pub fn produce(&self, messages: &[(i32, Option<String>)]) {
        let producer: BaseProducer =
            ClientConfig::new().set("bootstrap.servers", self.cluster.bootstrap_servers()).create().unwrap();
        for (partition, payload) in messages {
            let mut record = BaseRecord::<(), str>::to(TOPIC).partition(*partition);
            record.payload = payload.as_deref();
            producer.send(record).map_err(|(error, _)| error).unwrap();
        }
        producer.flush(Duration::from_secs(10)).unwrap();
    }

    /// A catalog of one meter.
    pub fn write_catalog(&self, meter: &str) {
        self.write(
            "catalog.yaml",
            &format!("catalog: test\nmeters:\n  stored: {{ event_type: stored, unit: byte, {meter} }}\n"),
        );
    }

    pub fn write(&self, name: &str, text: &str) {
        std::fs::write(self.folder.path().join(name), text).unwrap();
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

    /// One start of ingest; its exit code, none if it died, and what it told. Each is in a group of its own, which
    /// therefore waits for no dead member: where to read on is kept in the lake.
    pub fn ingest(&self, group: &str, flags: &[&str], settings: &[(&str, &str)]) -> (Option<i32>, String) {
        let brokers = self.cluster.bootstrap_servers();
        let arguments = ["ingest", "--kafka", &brokers, "--topic", TOPIC, "--group", group, "--until-end"];
        let mut command = self.command(&[&arguments[..], flags].concat());
        command.env("METERHOUSE_INGEST_FLUSH_AGE", "60 s").envs(settings.iter().copied());
        told(&command.output().expect("the program starts"))
    }

    /// Any other command; its exit code, none if it died, and what it told.
    pub fn start(&self, arguments: &[&str], crash_at: &str) -> (Option<i32>, String) {
        told(
            &self
                .command(arguments)
                .env("METERHOUSE_CRASH_AT", crash_at)
                .output()
                .expect("the program starts"),
        )
    }

    #[track_caller]
    pub fn run(&self, arguments: &[&str]) -> String {
        let output = self.command(arguments).output().expect("the program starts");
        assert!(matches!(output.status.code(), Some(0 | 3)), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// The rows of an answer.
    #[track_caller]
    pub fn query(&self, query: &str) -> Vec<Vec<String>> {
        let csv = self.run(&["sql", "--format", "csv", query]);
        csv.lines().skip(1).map(|line| line.split(',').map(str::to_owned).collect()).collect()
    }

    /// The tables in which each event stands, as often as it does.
    #[track_caller]
    pub fn tables(&self) -> BTreeMap<Place, Vec<String>> {
        let query = "SELECT \"partition\", \"offset\", batch_index, 'usage' FROM usage_events UNION ALL \
                     SELECT \"partition\", \"offset\", batch_index, 'rejected' FROM rejected_messages";
        let mut found: BTreeMap<Place, Vec<String>> = BTreeMap::new();
        for cells in self.query(query) {
            let place = (cells[0].parse().unwrap(), cells[1].parse().unwrap(), cells[2].parse().unwrap());
            found.entry(place).or_default().push(cells[3].clone());
        }
        found
    }

    /// The offsets `[start, end)` that commits of usage say they read, of each partition in the order of the log.
    pub fn stretches(&self) -> BTreeMap<i64, Vec<(i64, i64)>> {
        let log = self.folder.path().join("lake/usage_events/_delta_log");
        let mut stretches: BTreeMap<i64, Vec<(i64, i64)>> = BTreeMap::new();
        for version in 0.. {
            let Ok(text) = std::fs::read_to_string(log.join(format!("{version:020}.json"))) else { break };
            for line in text.lines() {
                let action: Value = serde_json::from_str(line).unwrap();
                let noted = action.get("commitInfo").and_then(|info| info["meterhouseStretches"].as_array());
                for stretch in noted.into_iter().flatten() {
                    let number = |name: &str| stretch[name].as_i64().unwrap();
                    assert_eq!(
                        number("messages") + number("skippedOffsets"),
                        number("end") - number("start")
                    );
                    stretches.entry(number("partition")).or_default().push((number("start"), number("end")));
                }
            }
        }
        stretches
    }
}

fn told(output: &Output) -> (Option<i32>, String) {
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}
