//! Several closes of one period at a time, and one that sleeps past its leases and wakes.

use std::time::{Duration, Instant};

use jobs::book::{Outcome, Run};

use crate::check::check;
use crate::place::{Kind, runtime};
use crate::process::Process;
use crate::random::Random;
use crate::world::{Round, Template};
use crate::{choices, from_environment};

const TENANTS: usize = 60;
const LEASE_IS_OVER: Duration = Duration::from_millis(300);
/// How long others try while one sleeps.
const ASLEEP_MAX: Duration = Duration::from_secs(10);

#[test]
fn closes_at_the_same_time_close_once() {
    let wanted = from_environment("METERHOUSE_RACES");
    let mut random = choices("races");
    let runtime = runtime();
    let template = Template::new(TENANTS);
    for kind in Kind::ALL.into_iter().filter(|kind| kind.is_available()) {
        let rounds = wanted.unwrap_or(if kind == Kind::Sqlite { 50 } else { 10 });
        let (started, mut processes_all, mut done) = (Instant::now(), 0, 0);
        for number in 1..=rounds {
            let round = template.round(&runtime, kind);
            let count = 2 + random.below(7);
            let mut processes: Vec<Process> = Vec::new();
            for _ in 0..count {
                processes.push(round.close(false, &[]));
                std::thread::sleep(Duration::from_micros(random.below(50_000 / count)));
            }
            for process in &mut processes {
                match process.end().code() {
                    Some(0) => done += 1,
                    Some(75) => {}
                    code => panic!("exit code {code:?}:\n{}", process.log_end()),
                }
            }
            processes_all += count;
            round.finish(false);
            check(&round, &format!("{kind:?}, round {number} of {count} processes"));
        }
        let seconds = started.elapsed().as_secs();
        println!("{kind:?}: {rounds} rounds, {processes_all} processes, {done} of them done, {seconds} s");
    }
}

#[test]
fn a_close_that_sleeps_past_its_lease_changes_nothing_when_it_wakes() {
    let wanted = from_environment("METERHOUSE_SLEEPERS");
    let mut random = choices("sleepers");
    let runtime = runtime();
    let template = Template::new(TENANTS);
    for kind in Kind::ALL.into_iter().filter(|kind| kind.is_available()) {
        let wanted = wanted.unwrap_or(if kind == Kind::Sqlite { 10 } else { 2 });
        let started = Instant::now();
        let length = work_length(&template.round(&runtime, kind));
        let (mut rounds, mut overtaken) = (0, 0);
        while overtaken < wanted {
            rounds += 1;
            assert!(rounds <= 10 * wanted, "{kind:?}: of {rounds} sleepers only {overtaken} were overtaken");
            let round = template.round(&runtime, kind);
            overtaken += u64::from(sleep(&round, &mut random, length));
            check(&round, &format!("{kind:?}, round {rounds}"));
        }
        let seconds = started.elapsed().as_secs();
        println!("{kind:?}: {rounds} sleepers, {overtaken} of them overtaken, {seconds} s");
    }
}

/// How long a close is at work.
fn work_length(round: &Round<'_>) -> Duration {
    let mut process = round.close(false, &[]);
    let begun = wait_for_work(round, &mut process);
    assert!(begun, "{}", process.log_end());
    let started = Instant::now();
    assert_eq!(process.end().code(), Some(0), "{}", process.log_end());
    started.elapsed()
}

/// Until a close has its lease; false if it came to its end before anybody saw that.
fn wait_for_work(round: &Round<'_>, process: &mut Process) -> bool {
    while process.ended_within(Duration::from_millis(5)).is_none() {
        if closes(round).iter().any(|run| run.holder.ends_with(&format!(":{}", process.id()))) {
            return true;
        }
    }
    false
}

fn closes(round: &Round<'_>) -> Vec<Run> {
    round.runtime.block_on(async {
        let book = round.place().open().await;
        let runs = book.runs(Some("close"), 100).await.unwrap();
        book.close().await.unwrap();
        runs
    })
}

/// Stops a close at a random moment of its work, lets another one close the period and wakes it. Whether it was overtaken: it
/// was at work, the other came to its end meanwhile, and it said so.
fn sleep(round: &Round<'_>, random: &mut Random, length: Duration) -> bool {
    let mut sleeper = round.close(false, &[]);
    if !wait_for_work(round, &mut sleeper) {
        round.finish(false);
        return false;
    }
    let awake = Duration::from_micros(random.below(length.as_micros() as u64));
    let was_at_work = sleeper.ended_within(awake).is_none();
    let mut is_closed = false;
    if was_at_work {
        sleeper.signal("STOP");
        std::thread::sleep(LEASE_IS_OVER);
        let mut other = round.close(false, &[]);
        // One that fell asleep in the middle of a transaction keeps everybody out until it wakes.
        is_closed = other.ended_within(ASLEEP_MAX).is_some_and(|status| status.success());
        if is_closed {
            check(round, "before the sleeper wakes");
        }
        sleeper.signal("CONT");
        match other.end().code() {
            Some(0 | 75) => {}
            code => panic!("exit code {code:?}:\n{}", other.log_end()),
        }
    }
    let says_so = match sleeper.end().code() {
        Some(75) => true,
        Some(0) => false,
        code => panic!("exit code {code:?}:\n{}", sleeper.log_end()),
    };
    let own = closes(round).into_iter().find(|run| run.holder.ends_with(&format!(":{}", sleeper.id())));
    let own = own.expect("it was seen before");
    if is_closed && says_so {
        assert_eq!(own.outcome, Outcome::Overtaken, "{own:?}");
    }
    round.finish(false);
    was_at_work && is_closed && says_so
}
