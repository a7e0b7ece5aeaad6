//! The same invariant over buckets whose server fails: ingest reads from the real broker, is killed and is started again,
//! and `compact` and `vacuum` run, all of them through a server that injects faults into what they ask of the real one.
//!
//! Runs when METERHOUSE_TEST_KAFKA and METERHOUSE_TEST_S3 or METERHOUSE_TEST_GCS are set (`deploy/services up kafka s3
//! gcs`). METERHOUSE_SEED repeats a run's choices.

use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use sql::lake::{DataFile, Table};

use super::faulty_bucket::{FaultsPercent, FaultyBucket};
use super::producer::Producing;
use super::random::{Random, fresh_seed};
use super::world::{Process, World};
use super::{PATIENCE, from_environment, ledger, oracle};

/// Whoever opens a table reads its log entry by entry, so most requests read.
const FAULTS_PERCENT: FaultsPercent = FaultsPercent { of_reads: 3, of_writes: 25 };
/// A client waits so long for an answer, so that those who get none need not wait for half a minute.
const CLIENT_PATIENCE: &str = "1 second";
const FLUSH_AGE: &str = "300 ms";
/// How long messages are sent and read, and how often a process of ingest is killed meanwhile.
const READING: Duration = Duration::from_secs(9);
const KILLS: u32 = 3;
/// A job that could not be done is started again so often at most.
const STARTS_MAX: usize = 12;
/// The exit code of who may be started again.
const TRY_AGAIN: i32 = 75;

/// A bucket, and how a program is told to find its server at another address.
struct Bucket {
    url: String,
    server: SocketAddr,
    redirect: fn(SocketAddr, SocketAddr, &tempfile::TempDir) -> Vec<(&'static str, String)>,
}

fn variable(name: &str) -> Option<String> {
    let value = std::env::var(name).ok().filter(|text| !text.is_empty());
    if value.is_none() {
        println!("skipped: {name} is not set");
    }
    value
}

/// The host and port of a server without encryption.
fn server_of(address: &str) -> SocketAddr {
    let server = address.strip_prefix("http://").and_then(|rest| rest.trim_end_matches('/').parse().ok());
    server.unwrap_or_else(|| panic!("{address} is not of the form http://127.0.0.1:9000"))
}

fn s3() -> Option<Bucket> {
    let url = variable("METERHOUSE_TEST_S3")?;
    let server = server_of(&variable("AWS_ENDPOINT_URL")?);
    let redirect = |_, faulty, _: &_| {
        vec![("AWS_ENDPOINT_URL", format!("http://{faulty}")), ("AWS_TIMEOUT", CLIENT_PATIENCE.to_owned())]
    };
    Some(Bucket { url, server, redirect })
}

fn gcs() -> Option<Bucket> {
    let url = variable("METERHOUSE_TEST_GCS")?;
    let account = std::fs::read_to_string(variable("GOOGLE_SERVICE_ACCOUNT")?).unwrap();
    let account: serde_json::Value = serde_json::from_str(&account).unwrap();
    let server = server_of(account["gcs_base_url"].as_str().expect("the account names its server"));
    let redirect = |server: SocketAddr, faulty: SocketAddr, folder: &tempfile::TempDir| {
        let account = std::fs::read_to_string(std::env::var("GOOGLE_SERVICE_ACCOUNT").unwrap()).unwrap();
        let path = folder.path().join("service-account.json");
        std::fs::write(&path, account.replace(&server.to_string(), &faulty.to_string())).unwrap();
        vec![
            ("GOOGLE_SERVICE_ACCOUNT", path.to_str().unwrap().to_owned()),
            ("GOOGLE_TIMEOUT", CLIENT_PATIENCE.to_owned()),
        ]
    };
    Some(Bucket { url, server, redirect })
}

#[test]
fn every_event_counts_once_whatever_s3_answers() {
    if let (Some(broker), Some(bucket)) = (variable("METERHOUSE_TEST_KAFKA"), s3()) {
        work_through_faults("S3", &broker, &bucket);
    }
}

#[test]
fn every_event_counts_once_whatever_gcs_answers() {
    if let (Some(broker), Some(bucket)) = (variable("METERHOUSE_TEST_KAFKA"), gcs()) {
        work_through_faults("GCS", &broker, &bucket);
    }
}

fn work_through_faults(name: &str, broker: &str, bucket: &Bucket) {
    let seed = from_environment("METERHOUSE_SEED").unwrap_or_else(fresh_seed);
    println!("{name}: METERHOUSE_SEED={seed}");
    let started = Instant::now();
    let step = |what: &str| println!("{name}: {:6.1} s  {what}", started.elapsed().as_secs_f64());

    let mut random = Random::new(seed);
    let faulty = FaultyBucket::start(bucket.server, random.split(), FAULTS_PERCENT);
    let folder = tempfile::tempdir().unwrap();
    let mut variables = (bucket.redirect)(bucket.server, faulty.address, &folder);
    variables.push(("METERHOUSE_BOOK_URL", "sqlite:book.sqlite".to_owned()));
    // Whoever died held the job's lease; the next need not wait for long.
    variables.push(("METERHOUSE_BOOK_LEASE", "10 ms".to_owned()));
    let lake = format!("{}/http-faults-{}", bucket.url.trim_end_matches('/'), uuid::Uuid::new_v4());
    let world = World::with_lake(broker, folder, &lake, variables);

    let producing = Producing::start(broker, &world.topic, seed);
    let starts = ingest_beside_compaction(&world, &mut random);
    step(&format!(
        "{starts} starts of ingest, {KILLS} of them after a kill; {} commits",
        ledger::read(&world).commits
    ));
    let sent = producing.finish();
    let drained = run_until_done(&world, &[0, 3], || world.start_until_end());
    step(&format!("everything is read, at start {drained} of ingest until the end"));
    die_after_an_upload(&world);
    let compacted = run_until_done(&world, &[0], || world.spawn(&["compact"], &[]));
    assert!(world.snapshot(Table::UsageEvents).files.iter().all(DataFile::is_sorted));
    step(&format!("compacted, at start {compacted}"));
    let vacuumed = vacuum_and_check(&world);
    step(&format!("vacuumed, at start {vacuumed}"));
    oracle::check(&world, &sent);
    step("every event and every offset is accounted for");

    let (requests, injected) = faulty.injected();
    println!("{name}: {} faults in {requests} requests: {injected:#?}", injected.values().sum::<u64>());
    let never: Vec<_> = injected.iter().filter(|(_, count)| **count == 0).collect();
    assert!(never.is_empty(), "never injected: {never:?}");
}

/// Two processes share the topic while days are compacted under their hands. One that ends because the bucket failed for
/// too long is started again, as its supervisor would; sometimes one is killed. Returns how many were started.
fn ingest_beside_compaction(world: &World, random: &mut Random) -> usize {
    let began = Instant::now();
    let start = |slot| world.start(slot, FLUSH_AGE, None);
    let mut slots = [start(0), start(1)];
    let mut compaction: Option<Process> = None;
    let (mut starts, mut kills, mut compactions) = (slots.len(), 0, 0);
    while began.elapsed() < READING || kills < KILLS || compactions == 0 {
        assert!(
            began.elapsed() < 2 * PATIENCE,
            "{kills} kills and {compactions} compactions in all this time"
        );
        let is_due = kills < KILLS && began.elapsed() > READING * (kills + 1) / (KILLS + 1);
        let doomed = is_due.then(|| random.below(2));
        for (slot, process) in slots.iter_mut().enumerate() {
            if doomed == Some(slot as u64) {
                process.kill();
                kills += 1;
            } else if let Some(status) = process.ended() {
                assert_may_start_again(status, process);
            } else {
                continue;
            }
            *process = start(slot);
            starts += 1;
        }
        compaction = match compaction {
            // The first needs something to compact.
            None if began.elapsed() > READING / 3 => Some(world.spawn(&["compact"], &[])),
            Some(mut running) => match running.ended() {
                None => Some(running),
                Some(status) => {
                    compactions += usize::from(is_done(status, &[0], &running));
                    None
                }
            },
            None => None,
        };
        std::thread::sleep(Duration::from_millis(20));
    }
    for process in &mut slots {
        process.signal("TERM");
        let status = process.wait(PATIENCE);
        if !matches!(status.code(), Some(0 | 3)) {
            assert_may_start_again(status, process);
        }
    }
    if let Some(mut running) = compaction {
        let status = running.wait(PATIENCE);
        is_done(status, &[0], &running);
    }
    starts
}

fn assert_may_start_again(status: ExitStatus, process: &Process) {
    assert_eq!(status.code(), Some(TRY_AGAIN), "{status}:\n{}", process.log_end());
}

/// Whether a job ended with one of these codes. Otherwise it must say that it failed, or that it may be started again.
fn is_done(status: ExitStatus, done: &[i32], process: &Process) -> bool {
    let is_done = status.code().is_some_and(|code| done.contains(&code));
    assert!(is_done || matches!(status.code(), Some(1 | TRY_AGAIN)), "{status}:\n{}", process.log_end());
    is_done
}

/// Starts a job until it ends with one of these codes; at which start it did.
fn run_until_done(world: &World, done: &[i32], start: impl Fn() -> Process) -> usize {
    let mut ends = Vec::new();
    for number in 1..=STARTS_MAX {
        let mut process = start();
        let status = process.wait(2 * PATIENCE);
        if is_done(status, done, &process) {
            return number;
        }
        ends.push(format!("{status}:\n{}", process.log_end()));
    }
    panic!("{}: not done in {STARTS_MAX} starts: {}", world.topic, ends.join("\n"));
}

/// A compaction leaves a file behind that nobody will ever name.
fn die_after_an_upload(world: &World) {
    const SIGABRT: i32 = 6;
    for _ in 0..STARTS_MAX {
        let mut process = world.spawn(&["compact"], &[("METERHOUSE_CRASH_AT", "after_upload")]);
        if process.wait(PATIENCE).signal() == Some(SIGABRT) {
            return;
        }
    }
    panic!("no compaction came to storing a file");
}

/// Nothing writes any more: what was stored and never committed goes, and what any version of the last minutes names stays.
/// Returns at which start it was done.
fn vacuum_and_check(world: &World) -> usize {
    let ledger = ledger::read(world);
    let named = |path: &String| ledger.added.iter().any(|file| file.path == *path);
    let orphans = |world: &World| {
        let stored = world.stored(Table::UsageEvents).into_iter();
        stored.filter(|path| path.starts_with("event_day=") && !named(path)).count()
    };
    assert!(orphans(world) > 0, "there is nothing to delete");
    // Times in a bucket are whole seconds.
    std::thread::sleep(Duration::from_millis(1_100));
    let arguments = ["vacuum", "--retain", "0 s", "--nothing-writes"];
    let start = run_until_done(world, &[0], || world.spawn(&arguments, &[]));
    assert_eq!(orphans(world), 0, "what nobody names is still there");
    start
}
