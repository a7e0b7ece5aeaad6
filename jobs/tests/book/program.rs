//! The book as people and scripts meet it: the program's commands.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use jobs::book::{Book, BookAddress};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::place::runtime;

const REDLINE: &str = include_str!("../../../testdata/catalogs/redline.yaml");

fn command(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_meterhouse"));
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("METERHOUSE_"))
    {
        command.env_remove(name);
    }
    command.current_dir(folder).env("USER", "jane").args(arguments);
    command
}

fn meterhouse(folder: &Path, arguments: &[&str], code: i32) -> (String, String) {
    let Output { status, stdout, stderr } = command(folder, arguments).output().expect("the program starts");
    let (stdout, stderr) = (String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap());
    assert_eq!(status.code(), Some(code), "{arguments:?}\n{stdout}\n{stderr}");
    (stdout, stderr)
}

fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("catalog.yaml"), REDLINE).unwrap();
    folder
}

fn book_in(folder: &Path) -> BookAddress {
    BookAddress::file(&folder.join("book.sqlite"))
}

#[test]
fn a_catalog_is_applied() {
    let folder = folder();
    let folder = folder.path();
    let (_, told) = meterhouse(folder, &["catalog", "apply", "--dry-run"], 0);
    assert!(told.contains("it would be the first of a new book"), "{told}");
    assert!(!folder.join("book.sqlite").exists(), "a dry run makes nothing");

    let (_, told) = meterhouse(folder, &["catalog", "apply"], 0);
    assert!(told.contains("catalog.yaml is version 1 now and holds from always on"), "{told}");
    let (changes, told) = meterhouse(folder, &["catalog", "apply"], 0);
    assert!(changes.is_empty() && told.contains("this catalog holds already: version 1"), "{changes}{told}");

    let next = REDLINE.replacen("0.10", "0.12", 1);
    assert_ne!(next, REDLINE);
    std::fs::write(folder.join("next.yaml"), &next).unwrap();
    let apply = ["catalog", "apply", "next.yaml", "--effective-from", "2030-01-01", "--by", "joe"];
    let (changes, told) = meterhouse(folder, &[&apply[..], &["--dry-run"]].concat(), 0);
    assert!(changes.contains("0.12") && told.contains("nothing was applied"), "{changes}{told}");
    let (again, told) = meterhouse(folder, &apply, 0);
    assert_eq!(again, changes);
    assert!(told.contains("is version 2 now and holds from 2030-01-01T00:00:00Z on"), "{told}");

    std::fs::write(folder.join("wrong.yaml"), "catalog: x\nmetres: {}\n").unwrap();
    let (_, told) = meterhouse(folder, &["catalog", "apply", "wrong.yaml"], 1);
    assert!(told.contains("did you mean `meters`?"), "{told}");
    meterhouse(folder, &["catalog", "apply", "--effective-from", "tomorrow"], 2);

    let (history, _) = meterhouse(folder, &["catalog", "history", "--format", "json"], 0);
    let history: serde_json::Value = serde_json::from_str(&history).unwrap();
    let shown: Vec<_> = history
        .as_array()
        .unwrap()
        .iter()
        .map(|row| {
            ["version", "in_force", "effective_from", "by"].map(|cell| row[cell].to_string().replace('"', ""))
        })
        .collect();
    assert_eq!(shown, [["1", "now", "always", "jane"], ["2", "", "2030-01-01T00:00:00Z", "joe"]]);
    assert_eq!(meterhouse(folder, &["catalog", "history", "--show", "2"], 0).0, next);
    meterhouse(folder, &["catalog", "history", "--show", "3"], 1);
}

#[test]
fn jobs_are_recorded_and_the_book_moves() {
    let folder = folder();
    let folder = folder.path();
    std::fs::write(folder.join("events.ndjson"), "").unwrap();
    meterhouse(folder, &["ingest", "--file", "events.ndjson"], 0);
    meterhouse(folder, &["compact"], 0);
    meterhouse(folder, &["compact", "--dry-run"], 0);
    meterhouse(folder, &["vacuum"], 0);
    let (runs, _) = meterhouse(folder, &["runs", "--format", "csv"], 0);
    let jobs: Vec<_> = runs.lines().skip(1).map(|run| run.split(',').nth(1).unwrap()).collect();
    assert_eq!(jobs, ["vacuum", "compact"], "{runs}");
    let (runs, _) = meterhouse(folder, &["runs", "--job", "compact", "--format", "csv"], 0);
    assert_eq!(runs.lines().count(), 2, "{runs}");
    let id = runs.lines().nth(1).unwrap().split(',').next().unwrap();
    let (details, _) = meterhouse(folder, &["runs", id], 0);
    assert!(details.contains("count days") && details.contains("done"), "{details}");
    meterhouse(folder, &["runs", "zzzz"], 1);

    let (checked, _) = meterhouse(folder, &["book", "check", "--format", "csv"], 0);
    assert!(checked.lines().skip(1).all(|line| line.ends_with(",0")), "{checked}");
    meterhouse(folder, &["book", "export", "moving"], 0);
    let import = |url: &str| {
        let output =
            command(folder, &["book", "import", "moving"]).env("METERHOUSE_BOOK_URL", url).output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let (code, told) = import("sqlite:moved.sqlite");
    assert_eq!(code, Some(0), "{told}");
    let (code, told) = import("sqlite:moved.sqlite");
    assert!(code == Some(1) && told.contains("is not empty"), "{told}");
    let (doctor, _) = meterhouse(folder, &["doctor", "--format", "csv"], 0);
    assert!(doctor.contains("book,ok,sqlite:"), "{doctor}");
}

#[test]
fn what_must_be_set_is_said() {
    let folder = folder();
    let folder = folder.path();
    let run = |arguments: &[&str], name: &str, value: &str| {
        let output = command(folder, arguments).env(name, value).output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let (code, told) = run(&["runs"], "METERHOUSE_LAKE", "s3://bucket/lake");
    assert!(code == Some(1) && told.contains("set METERHOUSE_BOOK_URL"), "{told}");
    let (code, told) = run(&["runs"], "METERHOUSE_BOOK_URL", "postgres://me:geheim@127.0.0.1:9/book");
    assert!(code == Some(1) && told.contains("postgres://me@127.0.0.1:9/book"), "{told}");
    assert!(!told.contains("geheim"), "{told}");
    let (code, told) =
        run(&["config", "check"], "METERHOUSE_BOOK_URL", "mysql://me:geheim@host/book?ssl-mode=x");
    assert!(code == Some(0) && !told.contains("geheim"), "{told}");
    let (_, told) = meterhouse(folder, &["schedule"], 1);
    assert!(told.contains("nothing is scheduled"), "{told}");
    for (entry, expected) in [
        ("\"compact --frobnicate\" = \"* * * * *\"", "is no command of this program"),
        ("\"schedule\" = \"* * * * *\"", "is no job that can be scheduled"),
        ("\"ingest\" = \"* * * * *\"", "is no job that can be scheduled"),
        ("\"compact\" = \"61 * * * *\"", "`schedule.jobs`: `compact`"),
        ("\"compact\" = \"* * * * * Europe/Atlantis\"", "Europe/Atlantis"),
    ] {
        std::fs::write(folder.join("meterhouse.toml"), format!("[schedule.jobs]\n{entry}\n")).unwrap();
        let (_, told) = meterhouse(folder, &["schedule", "--plan"], 1);
        assert!(told.contains(expected), "{entry}: {told}");
    }
    std::fs::write(folder.join("meterhouse.toml"), "[schedule.jobs]\n\"compact\" = \"0 0 1 1 *\"\n").unwrap();
    let (plan, _) = meterhouse(folder, &["schedule", "--plan", "--format", "csv"], 0);
    assert!(plan.contains("compact,,,0,20"), "{plan}");
}

/// Schedulers, ended by the test whatever happens, and what they log.
struct Schedulers {
    running: Vec<Child>,
    lines: mpsc::Receiver<String>,
    sender: mpsc::Sender<String>,
}

impl Schedulers {
    fn new() -> Self {
        let (sender, lines) = mpsc::channel();
        Self { running: Vec::new(), lines, sender }
    }

    fn start(&mut self, folder: &Path) {
        let mut command = command(folder, &["schedule"]);
        let mut child =
            command.stderr(Stdio::piped()).stdout(Stdio::null()).spawn().expect("the program starts");
        let (log, sender) = (child.stderr.take().unwrap(), self.sender.clone());
        std::thread::spawn(move || {
            for line in BufReader::new(log).lines() {
                if sender.send(line.unwrap()).is_err() {
                    return;
                }
            }
        });
        self.running.push(child);
    }

    /// Waits until one of them has said something; everything that was said until then.
    fn wait_for(&mut self, told: &str) -> String {
        let mut log = String::new();
        loop {
            let line = self.lines.recv_timeout(Duration::from_mins(1));
            let line = line.unwrap_or_else(|_| panic!("nobody said `{told}`:\n{log}"));
            log.push_str(&line);
            log.push('\n');
            if line.contains(told) {
                return log;
            }
        }
    }

    fn stop(mut self) {
        for child in &mut self.running {
            kill(Pid::from_raw(child.id().cast_signed()), Signal::SIGTERM).unwrap();
            assert_eq!(child.wait().unwrap().code(), Some(0));
        }
    }
}

impl Drop for Schedulers {
    fn drop(&mut self) {
        for child in &mut self.running {
            let _ = child.kill();
        }
    }
}

#[test]
fn missed_times_are_caught_up_once_by_one_of_several_schedulers() {
    let folder = folder();
    let folder = folder.path();
    std::fs::write(
        folder.join("meterhouse.toml"),
        "[schedule]\njitter = \"0 s\"\n[schedule.jobs]\n\"compact\" = \"0 5 * * *\"\n",
    )
    .unwrap();
    let (book, last_us) = runtime().block_on(async {
        let book = Book::open(&book_in(folder)).await.unwrap();
        // Ten days ago.
        let last_us = book.now_us().await.unwrap() - 864_000_000_000;
        book.claim_occurrence("compact", last_us, "a scheduler of then").await.unwrap();
        (book, last_us)
    });
    std::fs::write(folder.join("events.ndjson"), "").unwrap();
    meterhouse(folder, &["ingest", "--file", "events.ndjson"], 0);
    drop(book);
    let mut schedulers = Schedulers::new();
    schedulers.start(folder);
    schedulers.start(folder);
    let log = schedulers.wait_for("done");
    assert!(log.contains("missed times are caught up by one run"), "{log}");
    // A third comes too late.
    schedulers.start(folder);
    schedulers.wait_for("scheduled");
    schedulers.stop();
    runtime().block_on(async {
        let book = Book::open(&book_in(folder)).await.unwrap();
        assert_eq!(book.runs(None, 10).await.unwrap().len(), 1);
        let last = book.last_occurrence("compact").await.unwrap().unwrap();
        assert!(last.due_at_us > last_us + 8 * 86_400_000_000, "the latest of them");
    });
}

#[test]
fn a_stopped_scheduler_stops_its_jobs() {
    let folder = folder();
    let folder = folder.path();
    let job = "generate --events 1e12 --dry-run";
    std::fs::write(
        folder.join("meterhouse.toml"),
        format!("[schedule]\njitter = \"0 s\"\n[schedule.jobs]\n\"{job}\" = \"* * * * *\"\n"),
    )
    .unwrap();
    runtime().block_on(async {
        let book = Book::open(&book_in(folder)).await.unwrap();
        let now_us = book.now_us().await.unwrap();
        book.claim_occurrence(job, now_us - 3_600_000_000, "a scheduler of then").await.unwrap();
    });
    let mut schedulers = Schedulers::new();
    schedulers.start(folder);
    schedulers.wait_for("started");
    schedulers.stop();
}
