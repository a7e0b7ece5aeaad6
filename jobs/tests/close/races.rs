//! Several closes of one period at a time, and one that sleeps past its leases and wakes.

use std::time::{Duration, Instant};

use crate::check::check;
use crate::place::{Kind, runtime};
use crate::process::Process;
use crate::world::Template;
use crate::{choices, from_environment};

const TENANTS: usize = 60;
const LEASE_IS_OVER: Duration = Duration::from_millis(300);
/// How long others try while one sleeps.
const ASLEEP_MAX: Duration = Duration::from_secs(10);

#[test]
fn closes_at_the_same_time_close_once() {
    let rounds = from_environment("METERHOUSE_RACES").unwrap_or(50);
    let mut random = choices("races");
    let runtime = runtime();
    let template = Template::new(TENANTS);
    for kind in Kind::ALL.into_iter().filter(|kind| kind.is_available()) {
        let rounds = if kind == Kind::Sqlite { rounds } else { rounds.div_ceil(3) };
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
    let rounds = from_environment("METERHOUSE_SLEEPERS").unwrap_or(10);
    let mut random = choices("sleepers");
    let runtime = runtime();
    let template = Template::new(TENANTS);
    for kind in Kind::ALL.into_iter().filter(|kind| kind.is_available()) {
        let rounds = if kind == Kind::Sqlite { rounds } else { rounds.div_ceil(3) };
        let started = Instant::now();
        let undisturbed = template.round(&runtime, kind);
        undisturbed.finish(false);
        let length_us = started.elapsed().as_micros() as u64;
        let (mut overtaken, mut passed_by) = (0, 0);
        for number in 1..=rounds {
            let round = template.round(&runtime, kind);
            let mut sleeper = round.close(false, &[]);
            let awake = Duration::from_micros(random.below(length_us));
            if sleeper.ended_within(awake).is_none() {
                sleeper.signal("STOP");
                std::thread::sleep(LEASE_IS_OVER);
                let mut other = round.close(false, &[]);
                // One that fell asleep in the middle of a transaction keeps everybody out until it wakes.
                let is_closed = other.ended_within(ASLEEP_MAX).is_some_and(|status| status.success());
                if is_closed {
                    check(&round, &format!("{kind:?}, round {number}, before it wakes"));
                }
                sleeper.signal("CONT");
                match other.end().code() {
                    Some(0 | 75) => {}
                    code => panic!("exit code {code:?}:\n{}", other.log_end()),
                }
                passed_by += u64::from(is_closed);
            }
            match sleeper.end().code() {
                Some(75) => overtaken += 1,
                Some(0) => {}
                code => panic!("exit code {code:?}:\n{}", sleeper.log_end()),
            }
            round.finish(false);
            check(&round, &format!("{kind:?}, round {number}"));
        }
        println!("{kind:?}: {rounds} sleepers, {passed_by} passed by while asleep, {overtaken} told so");
    }
}
