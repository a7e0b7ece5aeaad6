//! The program as people and scripts meet it: exit codes, and what goes to stdout and what to stderr.

mod demo;
mod doctor;

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

fn meterhouse(folder: &Path, arguments: &[&str]) -> Output {
    meterhouse_with(folder, arguments, &[])
}

fn meterhouse_with(folder: &Path, arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_meterhouse"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("METERHOUSE_") {
            command.env_remove(name);
        }
    }
    command.envs(variables.iter().copied());
    command.current_dir(folder).args(arguments).output().expect("the program starts")
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("text")
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).expect("text")
}

/// A folder with the catalog that the default settings look for.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let catalog = include_str!("../../../testdata/catalogs/redline.yaml");
    std::fs::write(folder.path().join("catalog.yaml"), catalog).unwrap();
    folder
}

#[test]
fn exit_codes() {
    let folder = folder();
    std::fs::write(folder.path().join("wrong.toml"), "[kafk]\n").unwrap();
    for (name, arguments, code) in [
        ("help", &["--help"][..], 0),
        ("version", &["--version"], 0),
        ("no subcommand", &[], 2),
        ("an unknown subcommand", &["frobnicate"], 2),
        ("an unknown flag", &["doctor", "--frobnicate"], 2),
        ("no destination", &["generate"], 2),
        ("a wrong percentage", &["generate", "--dry-run", "--poison", "many"], 2),
        ("good settings", &["config", "check"], 0),
        ("wrong settings", &["--config", "wrong.toml", "config", "check"], 1),
        ("no such settings file", &["--config", "none.toml", "config", "check"], 1),
        ("no such catalog", &["generate", "--catalog", "none.yaml", "--dry-run"], 1),
        ("a dry run", &["generate", "--events", "10", "--dry-run"], 0),
    ] {
        let output = meterhouse(folder.path(), arguments);
        assert_eq!(output.status.code(), Some(code), "{name}: {}", stderr(&output));
    }
}

#[test]
fn errors_name_the_whole_chain_on_stderr() {
    let folder = folder();
    let output = meterhouse(folder.path(), &["generate", "--catalog", "none.yaml", "--dry-run"]);
    assert_eq!(stdout(&output), "");
    let expected = "error: cannot read the catalog none.yaml: No such file or directory (os error 2)\n";
    assert_eq!(stderr(&output), expected);
}

/// Whoever starts in an empty folder has set nothing yet.
#[test]
fn a_missing_catalog_of_the_settings_says_how_to_name_one() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("events.ndjson"), "").unwrap();
    for arguments in [
        &["ingest", "--file", "events.ndjson"][..],
        &["generate", "--dry-run"],
        &["rate", "--period", "2026-01"],
        &["close", "--period", "2026-01"],
        &["catalog", "check"],
        &["catalog", "apply"],
    ] {
        let output = meterhouse(folder.path(), arguments);
        let told = stderr(&output);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {told}");
        let expected = "error: cannot read the catalog catalog.yaml (`catalog` in meterhouse.toml or METERHOUSE_CATALOG \
                        names another; `meterhouse config init` writes settings to start from): No such file";
        assert!(told.contains(expected), "{arguments:?}: {told}");
    }
}

#[test]
fn a_first_configuration() {
    let folder = folder();
    let output = meterhouse(folder.path(), &["config", "init"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let again = meterhouse(folder.path(), &["config", "init"]);
    assert_eq!(again.status.code(), Some(1));
    let output = meterhouse(folder.path(), &["config", "check", "--format", "csv"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let text = stdout(&output);
    assert!(
        text.starts_with("setting,value,from,overridden by\nlake,./lake,default,METERHOUSE_LAKE\n"),
        "{text}"
    );
}

#[test]
fn generated_events_go_to_stdout_or_a_file_and_are_the_same() {
    let folder = folder();
    let arguments = ["generate", "--events", "1e3", "--duplicates", "1%", "--poison", "1%", "--to"];
    let piped = meterhouse(folder.path(), &[&arguments[..], &["-"]].concat());
    assert_eq!(piped.status.code(), Some(0), "{}", stderr(&piped));
    assert_eq!(stdout(&piped).lines().count(), 1020);
    assert!(stderr(&piped).starts_with("1000 events (0 late), 10 duplicates, 10 poison: 1020 messages"));

    let to_file = [&arguments[..], &["events.ndjson"]].concat();
    assert_eq!(meterhouse(folder.path(), &to_file).status.code(), Some(0));
    assert_eq!(std::fs::read(folder.path().join("events.ndjson")).unwrap(), piped.stdout);
    let again = meterhouse(folder.path(), &to_file);
    assert_eq!(stderr(&again), "error: events.ndjson exists; --force overwrites it\n");
    let forced = meterhouse(folder.path(), &[&to_file[..], &["--force"]].concat());
    assert_eq!(forced.status.code(), Some(0), "{}", stderr(&forced));
}

/// What is true in less than the time that a test may wait for it.
#[track_caller]
fn wait_for(what: &str, mut is_true: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !is_true() {
        assert!(Instant::now() < deadline, "in vain: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Somebody pipes an event a second into the program: each is committed soon, and none is older than it says.
#[test]
fn a_slow_writer_is_read_as_it_writes() {
    let folder = folder();
    let mut ingest = Command::new(env!("CARGO_BIN_EXE_meterhouse"))
        .current_dir(folder.path())
        .args(["ingest", "--file", "-"])
        .env("METERHOUSE_LAKE", folder.path().join("lake"))
        .env("METERHOUSE_INGEST_FUTURE_TOLERANCE", "1 s")
        .env("METERHOUSE_INGEST_FLUSH_AGE", "50 ms")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = ingest.stdin.take().unwrap();
    let has_version = |table: &str, version: u64| {
        let entry = format!("lake/{table}/_delta_log/{version:020}.json");
        folder.path().join(entry).exists()
    };
    let started = Instant::now();
    for line in 1..=2 {
        let time = jiff::Timestamp::now();
        let event = format!(
            r#"{{"specversion":"1.0","id":"{line}","source":"/s","type":"t","subject":"a","time":"{time}","data":{{}}}}"#
        );
        writeln!(input, "{event}").unwrap();
        wait_for("a commit while nothing more comes", || has_version("usage_events", line));
        wait_for("the time that is tolerated", || started.elapsed() > Duration::from_millis(1_500));
    }
    assert!(!has_version("rejected_messages", 1), "an event is taken for one of the future");
    // The pipe stays open, so the file has not ended when the signal comes.
    kill(Pid::from_raw(ingest.id().cast_signed()), Signal::SIGTERM).unwrap();
    let output = ingest.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(75), "{}", stderr(&output));
    assert!(
        stderr(&output).contains("stopped after line 2 of file:-, before its end"),
        "{}",
        stderr(&output)
    );
    drop(input);
}

/// What systemd and Kubernetes are told to run is what this program takes, arguments included, and both run the same.
#[test]
fn deployed_jobs_are_commands() {
    let deploy = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy");
    let systemd = deploy.join("systemd");
    let timers = std::fs::read_dir(&systemd).unwrap();
    let timers = timers.filter_map(|entry| entry.unwrap().file_name().into_string().ok());
    let jobs =
        timers.filter_map(|name| Some(name.strip_prefix("meterhouse@")?.strip_suffix(".timer")?.to_owned()));
    let line_of = |job: String| {
        let arguments = systemd.join(format!("meterhouse@{job}.service.d/arguments.conf"));
        let arguments = std::fs::read_to_string(arguments).unwrap_or_default();
        let given = arguments.lines().find_map(|line| line.strip_prefix("Environment=\"ARGUMENTS="));
        format!("{job} {}", given.and_then(|given| given.strip_suffix('"')).unwrap_or_default())
    };
    let mut timers: Vec<String> = jobs.map(|job| line_of(job).trim().to_owned()).collect();
    timers.sort();
    let kubernetes = std::fs::read_to_string(deploy.join("kubernetes/jobs.yaml")).unwrap();
    let arguments = kubernetes.lines().filter_map(|line| line.trim().strip_prefix("args: "));
    let mut cron_jobs: Vec<String> =
        arguments.map(|list| serde_json::from_str::<Vec<String>>(list).unwrap().join(" ")).collect();
    cron_jobs.sort();
    let expected = ["close --period last", "compact", "push", "reconcile --settled", "rollup", "vacuum"];
    assert_eq!(
        (&timers[..], &cron_jobs[..]),
        (&expected.map(str::to_owned)[..], &expected.map(str::to_owned)[..])
    );
    // The scheduler reads each entry as the command line that it is.
    let folder = folder();
    let refused = schedules(folder.path(), &["close --period lst".to_owned()]);
    assert_eq!(refused.status.code(), Some(1), "{}", stderr(&refused));
    let taken = schedules(folder.path(), &timers);
    assert_eq!(taken.status.code(), Some(0), "{}", stderr(&taken));
}

fn schedules(folder: &Path, lines: &[String]) -> Output {
    let jobs: Vec<String> = lines.iter().map(|line| format!("\"{line}\" = \"0 0 1 1 *\"")).collect();
    std::fs::write(folder.join("meterhouse.toml"), format!("[schedule.jobs]\n{}\n", jobs.join("\n")))
        .unwrap();
    meterhouse(folder, &["schedule", "--plan"])
}
