//! A topic on the real broker, a lake, and processes of the real binary between them.

use std::collections::BTreeSet;
use std::fs::OpenOptions;
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::TryStreamExt;
use object_store::path::Path as ObjectPath;
use object_store::{ObjectStore as _, ObjectStoreExt as _};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use sql::lake::{Lake, Table, TableSnapshot};

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
    lake: Lake,
    /// How the processes find the lake.
    variables: Vec<(&'static str, String)>,
    broker: String,
    admin: AdminClient<DefaultClientContext>,
    runtime: tokio::runtime::Runtime,
    folder: tempfile::TempDir,
}

impl World {
    /// A world whose lake is a local folder.
    pub fn new(broker: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let address = folder.path().join("lake").to_str().unwrap().to_owned();
        Self::with_lake(broker, folder, &address, Vec::new())
    }

    /// A world whose lake is at an address; the processes are given these variables to find it.
    pub fn with_lake(
        broker: &str,
        folder: tempfile::TempDir,
        address: &str,
        mut variables: Vec<(&'static str, String)>,
    ) -> Self {
        std::fs::write(folder.path().join("catalog.yaml"), CATALOG).unwrap();
        // Whoever builds meanwhile must not put another program in its place.
        let (built, ours) = (env!("CARGO_BIN_EXE_meterhouse"), folder.path().join("meterhouse"));
        std::fs::hard_link(built, &ours).or_else(|_| std::fs::copy(built, &ours).map(drop)).unwrap();
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let admin = ClientConfig::new().set("bootstrap.servers", broker).create().unwrap();
        let topic = format!("crash-{}", uuid::Uuid::new_v4());
        variables.push(("METERHOUSE_LAKE", address.to_owned()));
        let world = Self {
            topic,
            lake: Lake::open(address).unwrap(),
            variables,
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

    /// An object of the lake, if it is there.
    pub fn object(&self, path: &str) -> Option<Bytes> {
        let (store, path) = (self.lake.store(), ObjectPath::from_url_path(path).unwrap());
        self.runtime.block_on(async {
            match store.get(&path).await {
                Ok(found) => Some(found.bytes().await.unwrap()),
                Err(object_store::Error::NotFound { .. }) => None,
                Err(error) => panic!("{path}: {error}"),
            }
        })
    }

    /// The paths of all objects of a table that are not part of its log.
    pub fn stored(&self, table: Table) -> BTreeSet<String> {
        let store = self.lake.table(table).store().clone();
        let listed = self.runtime.block_on(store.list(None).try_collect::<Vec<_>>()).unwrap();
        let paths = listed.into_iter().map(|object| object.location.to_string());
        paths.filter(|path| !path.starts_with("_delta_log/")).collect()
    }

    pub fn snapshot(&self, table: Table) -> TableSnapshot {
        self.runtime.block_on(self.lake.table(table).snapshot(None)).unwrap()
    }

    /// Starts the process of a slot. It joins the group under the slot's name, so that the next one of that name
    /// takes over at once.
    pub fn start(&self, slot: usize, flush_age: &str, crash_at: Option<&str>) -> Process {
        let slot = format!("slot-{slot}");
        let mut settings = vec![
            ("METERHOUSE_INGEST_FLUSH_AGE", flush_age),
            ("METERHOUSE_KAFKA_PROPERTIES_GROUP_INSTANCE_ID", slot.as_str()),
        ];
        settings.extend(crash_at.map(|crash_at| ("METERHOUSE_CRASH_AT", crash_at)));
        self.spawn(&self.ingest_arguments(), &settings)
    }

    /// Starts a process that reads everything that there is, and ends.
    pub fn start_until_end(&self) -> Process {
        let mut arguments = self.ingest_arguments().to_vec();
        arguments.push("--until-end");
        self.spawn(&arguments, &[])
    }

    fn ingest_arguments(&self) -> [&str; 7] {
        ["ingest", "--kafka", &self.broker, "--topic", &self.topic, "--group", &self.topic]
    }

    pub fn spawn(&self, arguments: &[&str], settings: &[(&str, &str)]) -> Process {
        let log = self.folder.path().join(format!("{}-{}.log", uuid::Uuid::new_v4(), arguments[0]));
        let output = OpenOptions::new().create(true).append(true).open(&log).unwrap();
        let mut command = Command::new(self.folder.path().join("meterhouse"));
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("METERHOUSE_") {
                command.env_remove(name);
            }
        }
        command
            .args(arguments)
            .current_dir(self.folder.path())
            .env("METERHOUSE_CATALOG", self.folder.path().join("catalog.yaml"))
            .env("METERHOUSE_KAFKA_PROPERTIES_SESSION_TIMEOUT_MS", "3000")
            .env("METERHOUSE_KAFKA_PROPERTIES_HEARTBEAT_INTERVAL_MS", "300")
            .envs(self.variables.iter().map(|(name, value)| (name, value)))
            .envs(settings.iter().copied())
            .stdin(Stdio::null())
            .stdout(output.try_clone().unwrap())
            .stderr(output);
        Process { child: command.spawn().expect("the program starts"), log }
    }

    /// Reads everything that there is with a process of its own.
    pub fn read_until_end(&self, patience: Duration) {
        let mut process = self.start_until_end();
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
        let before = ledger::read(self).ends;
        Self::wait_until("every partition to move on", patience, || {
            let now = ledger::read(self).ends;
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
            eprintln!("the processes' logs (and a local lake) are kept in {}", self.folder.path().display());
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

    /// Whether the process has ended, and how.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    pub fn wait(&mut self, patience: Duration) -> ExitStatus {
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
