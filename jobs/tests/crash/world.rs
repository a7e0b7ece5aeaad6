//! A topic on the real broker, a lake in a temporary folder, and processes of the real binary between them.

use std::fs::OpenOptions;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;

use super::ledger;

pub const PARTITIONS: i32 = 8;

/// Every event feeds both meters, so it must have two rows.
pub const METERS: [&str; 2] = ["stored", "objects"];
const CATALOG: &str = "
catalog: crash
meters:
  stored: { kind: gauge, event_type: stored, value: $.bytes, unit: byte }
  objects: { kind: gauge, event_type: stored, value: $.objects, unit: object }
";

pub struct World {
    pub topic: String,
    pub lake: PathBuf,
    broker: String,
    admin: AdminClient<DefaultClientContext>,
    runtime: tokio::runtime::Runtime,
    folder: tempfile::TempDir,
}

impl World {
    pub fn new(broker: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("catalog.yaml"), CATALOG).unwrap();
        // Whoever builds meanwhile must not put another program in its place.
        let (built, ours) = (env!("CARGO_BIN_EXE_meterhouse"), folder.path().join("meterhouse"));
        std::fs::hard_link(built, &ours).or_else(|_| std::fs::copy(built, &ours).map(drop)).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let admin = ClientConfig::new().set("bootstrap.servers", broker).create().unwrap();
        let topic = format!("crash-{}", uuid::Uuid::new_v4());
        let world = Self {
            topic,
            lake: folder.path().join("lake"),
            broker: broker.to_owned(),
            admin,
            runtime,
            folder,
        };
        let wanted = NewTopic::new(&world.topic, PARTITIONS, TopicReplication::Fixed(1));
        let created = world.runtime.block_on(world.admin.create_topics([&wanted], &AdminOptions::new()));
        created.unwrap().into_iter().for_each(|result| drop(result.unwrap()));
        world
    }

    /// Starts the process of a slot. It joins the group under the slot's name, so that the next one of that name
    /// takes over at once.
    pub fn start(&self, slot: usize, flush_age: &str, crash_at: Option<&str>) -> Process {
        let log = self.folder.path().join(format!("{}-{slot}.log", uuid::Uuid::new_v4()));
        let mut command = self.command(&log);
        command
            .env("METERHOUSE_INGEST_FLUSH_AGE", flush_age)
            .env("METERHOUSE_KAFKA_PROPERTIES_GROUP_INSTANCE_ID", format!("slot-{slot}"));
        if let Some(crash_at) = crash_at {
            command.env("METERHOUSE_CRASH_AT", crash_at);
        }
        Process { child: command.spawn().expect("the program starts"), log }
    }

    fn command(&self, log: &Path) -> Command {
        let mut command = Command::new(self.folder.path().join("meterhouse"));
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("METERHOUSE_") {
                command.env_remove(name);
            }
        }
        let log = OpenOptions::new().create(true).append(true).open(log).unwrap();
        command
            .args(["ingest", "--kafka", &self.broker, "--topic", &self.topic, "--group", &self.topic])
            .current_dir(self.folder.path())
            .env("METERHOUSE_LAKE", &self.lake)
            .env("METERHOUSE_CATALOG", self.folder.path().join("catalog.yaml"))
            .env("METERHOUSE_KAFKA_PROPERTIES_SESSION_TIMEOUT_MS", "3000")
            .env("METERHOUSE_KAFKA_PROPERTIES_HEARTBEAT_INTERVAL_MS", "300")
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log);
        command
    }

    /// Reads everything that there is with a process of its own.
    pub fn read_until_end(&self, patience: Duration) {
        let log = self.folder.path().join(format!("{}-until-end.log", uuid::Uuid::new_v4()));
        let mut command = self.command(&log);
        let child = command.arg("--until-end").spawn().expect("the program starts");
        let mut process = Process { child, log };
        let code = process.wait_for_exit(patience);
        assert!(matches!(code, Some(0 | 3)), "exit code {code:?}:\n{}", process.log_end());
    }

    pub fn wait_until(what: &str, patience: Duration, mut happened: impl FnMut() -> bool) {
        let deadline = Instant::now() + patience;
        while !happened() {
            assert!(Instant::now() < deadline, "waited {} s in vain for {what}", patience.as_secs());
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Waits until every partition has moved on.
    pub fn wait_for_progress(&self, patience: Duration) {
        let before = ledger::read(&self.lake).ends;
        Self::wait_until("every partition to move on", patience, || {
            let now = ledger::read(&self.lake).ends;
            now.len() == PARTITIONS as usize
                && now.iter().all(|(partition, end)| before.get(partition).is_none_or(|before| end > before))
        });
    }

    pub fn wait_until_both_commit(left: &mut Process, right: &mut Process, patience: Duration) {
        let before = (left.commits(), right.commits());
        Self::wait_until("both processes to commit", patience, || {
            left.assert_runs();
            right.assert_runs();
            left.commits() > before.0 && right.commits() > before.1
        });
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let delete = self.admin.delete_topics(&[&self.topic], &AdminOptions::new());
        // A topic that stays behind harms nobody.
        let _ = self.runtime.block_on(delete);
        if std::thread::panicking() {
            // What the processes and the table's log say is the evidence.
            self.folder.disable_cleanup(true);
            eprintln!("the lake and the processes' logs are kept in {}", self.folder.path().display());
        }
    }
}

pub struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    pub fn assert_runs(&mut self) {
        if let Some(status) = self.child.try_wait().unwrap() {
            panic!("the process ended by itself, {status}:\n{}", self.log_end());
        }
    }

    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub fn signal(&self, name: &str) {
        let status = Command::new("kill").arg(format!("-{name}")).arg(self.child.id().to_string()).status();
        assert!(status.unwrap().success(), "kill -{name}");
    }

    fn wait(&mut self, patience: Duration) -> ExitStatus {
        let deadline = Instant::now() + patience;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < deadline, "the process goes on and on:\n{}", self.log_end());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub fn wait_for_exit(&mut self, patience: Duration) -> Option<i32> {
        self.wait(patience).code()
    }

    /// Asks the process to end, which it does after a last commit.
    pub fn stop(mut self, patience: Duration) {
        self.signal("TERM");
        let code = self.wait_for_exit(patience);
        assert!(matches!(code, Some(0 | 3)), "exit code {code:?}:\n{}", self.log_end());
    }

    pub fn assert_aborts(&mut self, point: &str, patience: Duration) {
        const SIGABRT: i32 = 6;
        let status = self.wait(patience);
        assert_eq!(status.signal(), Some(SIGABRT), "{point}: {status}:\n{}", self.log_end());
    }

    fn log_text(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// How many commits the process says it made.
    pub fn commits(&self) -> usize {
        self.log_text().matches(" committed version=").count()
    }

    pub fn wait_for_log(&mut self, text: &str, patience: Duration) {
        let deadline = Instant::now() + patience;
        while !self.log_text().contains(text) {
            self.assert_runs();
            assert!(Instant::now() < deadline, "it never said `{text}`:\n{}", self.log_end());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub fn log_end(&self) -> String {
        let text = self.log_text();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(30)..].join("\n")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // A failed test must not leave processes behind, stopped ones least of all.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
