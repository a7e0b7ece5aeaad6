//! Nothing is lost and nothing counts twice, however ingest dies: the real binary reads from the real broker
//! while it is killed at random moments, at every crash point, and while it sleeps through a rebalance.
//!
//! `store_faults` does the same over buckets whose servers fail.
//!
//! Runs when METERHOUSE_TEST_KAFKA names a broker (`deploy/services up kafka`). METERHOUSE_CRASHES sets the
//! number of kills (100), METERHOUSE_SEED repeats a run's choices; threads and the broker keep their own time.

mod faulty_bucket;
mod ledger;
mod oracle;
mod producer;
mod random;
mod store_faults;
mod world;

use std::time::{Duration, Instant};

use producer::Producing;
use random::Random;
use world::{Process, World};

const CRASH_POINTS: [&str; 7] = [
    "before_upload",
    "between_uploads",
    "after_upload",
    "between_commits",
    "before_commit",
    "after_commit",
    "after_commits",
];
/// How long anything that must happen may take on a busy machine.
const PATIENCE: Duration = Duration::from_mins(1);
/// What a batch waits for while processes are killed, and while one is put to sleep with a batch in its hands.
const FLUSH_AGE: &str = "150 ms";
const ZOMBIE_FLUSH_AGE: &str = "2 s";

#[test]
fn every_event_counts_once_however_ingest_dies() {
    let Some(broker) = std::env::var("METERHOUSE_TEST_KAFKA").ok().filter(|text| !text.is_empty()) else {
        println!("skipped: METERHOUSE_TEST_KAFKA is not set");
        return;
    };
    let seed = from_environment("METERHOUSE_SEED").unwrap_or_else(random::fresh_seed);
    let kills = from_environment("METERHOUSE_CRASHES").unwrap_or(100);
    println!("METERHOUSE_SEED={seed} METERHOUSE_CRASHES={kills}");
    let started = Instant::now();
    let step = |what: &str| println!("{:6.1} s  {what}", started.elapsed().as_secs_f64());

    let world = World::new(&broker);
    let producing = Producing::start(&broker, &world.topic, seed);
    let mut random = Random::new(seed);
    let commits = kill_at_random(&world, &mut random, kills);
    step(&format!("{kills} kills at random moments; {commits} commits in between"));
    die_at_every_crash_point(&world);
    step(&format!("{} deaths at crash points", 2 * CRASH_POINTS.len()));
    sleep_through_a_rebalance(&world);
    step("one process slept through a rebalance");
    sleep_while_replaced(&world);
    step("one process slept while another took its name");
    let sent = producing.finish();
    drain(&world);
    step(&format!("everything is read: {} events, {} poison messages", sent.events.len(), sent.poison.len()));
    oracle::check(&world, &sent);
    step("every event and every offset is accounted for");
}

fn from_environment(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok().filter(|text| !text.is_empty())?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is `{text}`, expected a number")))
}

/// Two processes share the topic; each is killed some time after its start and started again. Returns how many
/// commits landed meanwhile.
fn kill_at_random(world: &World, random: &mut Random, kills: u64) -> usize {
    let before = ledger::read(world).commits;
    let mut slots = [0, 1].map(|slot| {
        (world.start(slot, FLUSH_AGE, None), Instant::now() + Duration::from_millis(random.below(3_000)))
    });
    let mut killed = 0;
    while killed < kills {
        for (slot, (process, dies_at)) in slots.iter_mut().enumerate() {
            process.assert_runs();
            if Instant::now() < *dies_at {
                continue;
            }
            process.kill();
            killed += 1;
            *process = world.start(slot, FLUSH_AGE, None);
            // Some die before they have read anything, most with a batch in the making.
            let life_ms = if random.below(5) == 0 { random.below(400) } else { 600 + random.below(2_400) };
            *dies_at = Instant::now() + Duration::from_millis(life_ms);
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    world.wait_for_progress(PATIENCE);
    for (process, _) in slots {
        process.stop(PATIENCE);
    }
    let commits = ledger::read(world).commits - before;
    assert!(commits as u64 > kills / 4, "only {commits} commits between {kills} kills: nothing was tested");
    commits
}

/// Each crash point on its first and on its third pass, on two processes at once.
fn die_at_every_crash_point(world: &World) {
    for point in CRASH_POINTS {
        let processes = [1, 3].map(|pass| world.start(pass / 2, FLUSH_AGE, Some(&format!("{point}:{pass}"))));
        for mut process in processes {
            process.assert_aborts(point, PATIENCE);
        }
    }
}

/// A process is stopped with a batch in its hands until its session is over and another has read on, then wakes.
fn sleep_through_a_rebalance(world: &World) {
    let mut zombie = world.start(0, ZOMBIE_FLUSH_AGE, None);
    let mut other = world.start(1, FLUSH_AGE, None);
    World::wait_until_both_commit(&mut zombie, &mut other, PATIENCE);
    stop_with_a_batch_in_hand(&mut zombie);
    // Its partitions move only if the other has taken them over.
    world.wait_for_progress(PATIENCE);
    other.assert_runs();
    zombie.signal("CONT");
    zombie.wait_for_log("the batch was refused; reading the positions anew", PATIENCE);
    // It goes on as a member like any other.
    World::wait_until_both_commit(&mut zombie, &mut other, PATIENCE);
    zombie.stop(PATIENCE);
    other.stop(PATIENCE);
}

/// A process is stopped and another is started under its name, as an orchestrator does with one that hangs. The
/// broker and the lake know only the new one; the old one must end or stand aside.
fn sleep_while_replaced(world: &World) {
    let mut zombie = world.start(0, ZOMBIE_FLUSH_AGE, None);
    let mut other = world.start(1, FLUSH_AGE, None);
    World::wait_until_both_commit(&mut zombie, &mut other, PATIENCE);
    stop_with_a_batch_in_hand(&mut zombie);
    let mut successor = world.start(0, FLUSH_AGE, None);
    world.wait_for_progress(PATIENCE);
    zombie.signal("CONT");
    let code = zombie.wait_for_exit(PATIENCE);
    assert_eq!(
        code,
        Some(75),
        "the replaced process says that it may be started again:\n{}",
        zombie.log_end()
    );
    World::wait_until_both_commit(&mut successor, &mut other, PATIENCE);
    successor.stop(PATIENCE);
    other.stop(PATIENCE);
}

/// Stops a process right in the middle between two of its commits, while messages keep coming.
fn stop_with_a_batch_in_hand(process: &mut Process) {
    let seen = process.commits();
    World::wait_until("a commit of the process", PATIENCE, || {
        process.assert_runs();
        process.commits() > seen
    });
    std::thread::sleep(Duration::from_secs(1));
    process.signal("STOP");
}

/// Reads the rest, in the same group, which may still count dead members; a second time there is nothing to do.
fn drain(world: &World) {
    world.read_until_end(PATIENCE);
    let version = ledger::read(world).version;
    world.read_until_end(PATIENCE);
    assert_eq!(ledger::read(world).version, version, "there was something left to read");
}
