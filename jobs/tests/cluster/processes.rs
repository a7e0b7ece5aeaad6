//! A scheduler and executors as processes of their own, on loopback.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

/// How long a process may take to say what it is waited for.
const PATIENCE: Duration = Duration::from_secs(120);

/// A process whose messages are read as they come. It ends with this value.
pub struct Process {
    child: Child,
    messages: Arc<(Mutex<Vec<String>>, Condvar)>,
}

impl Process {
    pub fn start(arguments: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_meterhouse"));
        command.args(arguments).env_remove("METERHOUSE_LOG").stderr(Stdio::piped()).stdout(Stdio::null());
        let mut child = command.spawn().expect("the program starts");
        let messages = Arc::new((Mutex::default(), Condvar::new()));
        let (stderr, sink) = (child.stderr.take().unwrap(), Arc::clone(&messages));
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                let (lines, changed): &(Mutex<Vec<String>>, Condvar) = &sink;
                lines.lock().unwrap().push(line);
                changed.notify_all();
            }
        });
        Self { child, messages }
    }

    /// Waits for a message with this text, of which so many have come before, and gives it.
    #[track_caller]
    pub fn message(&self, text: &str, before: usize) -> String {
        let (lines, changed) = &*self.messages;
        let until = Instant::now() + PATIENCE;
        let mut lines = lines.lock().unwrap();
        loop {
            if let Some(line) = lines.iter().filter(|line| line.contains(text)).nth(before) {
                return line.clone();
            }
            let left = until.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "never said `{text}`, but:\n{}", lines.join("\n"));
            lines = changed.wait_timeout(lines, left).unwrap().0;
        }
    }

    pub fn count(&self, text: &str) -> usize {
        self.messages.0.lock().unwrap().iter().filter(|line| line.contains(text)).count()
    }

    /// As a machine that loses its power.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have been killed before.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub struct Cluster {
    /// For `--engine`.
    pub address: String,
    pub executors: Vec<Process>,
    _scheduler: Process,
}

impl Cluster {
    /// One scheduler and two executors, all of which are ready.
    pub fn start() -> Self {
        let scheduler = Process::start(&["cluster", "scheduler", "--listen", "127.0.0.1:0"]);
        let said = scheduler.message("the cluster's scheduler listens on ", 0);
        let address = format!("ballista://{}", said.rsplit(' ').next().unwrap());
        let executor = || {
            Process::start(&[
                "cluster",
                "executor",
                "--scheduler",
                &address,
                "--listen",
                "127.0.0.1:0",
                "--threads",
                "2",
                "--memory",
                "512",
            ])
        };
        let executors = vec![executor(), executor()];
        for executor in &executors {
            executor.message("Executor registration succeed", 0);
        }
        Self { address, executors, _scheduler: scheduler }
    }
}
