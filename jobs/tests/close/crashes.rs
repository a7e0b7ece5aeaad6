//! `close` is killed at random moments and dies at each crash point; then somebody runs it again.

use std::os::unix::process::ExitStatusExt as _;
use std::time::{Duration, Instant};

use crate::check::check;
use crate::place::{Kind, runtime};
use crate::random::Random;
use crate::world::{Round, Template};
use crate::{choices, from_environment};

const TENANTS: usize = 200;
/// Kills of one close before it may go on to its end.
const KILLS_PER_ROUND: u64 = 6;

/// So many kills in all, and of these so many for each kind of book other than SQLite; if somebody says how many, each kind has
/// all of them.
const KILLS: u64 = 100;
const KILLS_ELSEWHERE: u64 = 10;

#[test]
fn whenever_close_is_killed_the_next_finishes_it() {
    let wanted = from_environment("METERHOUSE_CRASHES");
    let elsewhere = wanted.unwrap_or(KILLS_ELSEWHERE);
    let mut random = choices("kills");
    let template = Template::new(TENANTS);
    let kinds = Kind::ALL.into_iter().filter(|kind| *kind != Kind::Sqlite && kind.is_available());
    let mut shares: Vec<(Kind, u64)> = kinds.map(|kind| (kind, elsewhere)).collect();
    let kills = wanted.unwrap_or(KILLS - elsewhere * shares.len() as u64);
    // A close takes one core most of the time.
    shares.extend([(Kind::Sqlite, kills / 2), (Kind::Sqlite, kills - kills / 2)]);
    std::thread::scope(|scope| {
        for (kind, kills) in shares {
            let (mut random, template) = (random.split(), &template);
            scope.spawn(move || kill_rounds(template, kind, kills, &mut random));
        }
    });
}

fn kill_rounds(template: &Template, kind: Kind, kills: u64, random: &mut Random) {
    let runtime = runtime();
    let started = Instant::now();
    let undisturbed = template.round(&runtime, kind);
    undisturbed.finish(false);
    let length = started.elapsed();
    check(&undisturbed, "undisturbed");
    let (mut killed, mut rounds) = (0, 0);
    while killed < kills {
        let round = template.round(&runtime, kind);
        let own = kill(&round, random, length, KILLS_PER_ROUND.min(kills - killed));
        (killed, rounds) = (killed + own, rounds + 1);
        check(&round, &format!("{kind:?}, round {rounds}, {own} kills"));
        println!("{:6.1} s  {kind:?}: {killed} kills", started.elapsed().as_secs_f64());
    }
    let seconds = started.elapsed().as_secs();
    println!("{kind:?}: {killed} kills in {rounds} rounds, {seconds} s; undisturbed {length:?}");
}

/// Kills so many of the processes that close this period, each at a random moment of its life, and lets the last end.
fn kill(round: &Round<'_>, random: &mut Random, length: Duration, kills: u64) -> u64 {
    let mut killed = 0;
    while killed < kills {
        let mut process = round.close(false, &[]);
        let life = Duration::from_micros(random.below(length.as_micros() as u64));
        match process.ended_within(life).map(|status| status.code()) {
            None => {
                process.kill();
                killed += 1;
            }
            // The dead one's lease.
            Some(Some(75)) => {}
            Some(Some(0)) => return killed,
            Some(code) => panic!("exit code {code:?}:\n{}", process.log_end()),
        }
    }
    round.finish(false);
    killed
}

/// Every effect of a close has one of these before or after it: those in the lake and those in the book.
const IN_THE_LAKE: [&str; 5] =
    ["before_commit", "after_commit", "after_catalogs", "after_mark", "after_paper"];
const IN_THE_BOOK: [&str; 7] = [
    "after_start",
    "before_end",
    "before_issue",
    "after_issue",
    "after_claim",
    "before_store",
    "after_store",
];
/// Later passes are like the first ones; the lake's are all passed by the next test.
const PASSES_MAX: u32 = 6;
const PASSES_IN_THE_LAKE_MAX: u32 = 3;
/// Of books of other kinds.
const PASSES_ELSEWHERE_MAX: u32 = 2;
/// Commits of a close whose events are compacted: four tables of roll-ups, lines and invoices of rating, the same held before
/// numbers are given, and the marks.
const COMMITS_AFTER_COMPACTION: u32 = 9;

#[test]
fn close_may_die_between_any_two_effects() {
    let runtime = runtime();
    let template = Template::new(8);
    for kind in Kind::ALL.into_iter().filter(|kind| kind.is_available()) {
        // The lake is the same whatever keeps the book.
        let (in_the_lake, passes_max) = match kind {
            Kind::Sqlite => (PASSES_IN_THE_LAKE_MAX, PASSES_MAX),
            _ => (0, PASSES_ELSEWHERE_MAX),
        };
        let in_the_lake = IN_THE_LAKE.map(|point| (point, in_the_lake));
        let in_the_book = IN_THE_BOOK.map(|point| (point, passes_max));
        let deaths: u32 = in_the_lake
            .into_iter()
            .chain(in_the_book)
            .map(|(point, passes_max)| die_at(&|| template.round(&runtime, kind), point, passes_max))
            .sum();
        assert!(deaths >= 10, "only {deaths} deaths");
        println!("{kind:?}: {deaths} deaths at crash points");
    }
}

/// Compaction commits once for each day, so above none of the later commits is reached.
#[test]
fn close_may_die_at_each_commit_after_compaction() {
    let runtime = runtime();
    let template = Template::new(8);
    template.compact();
    for point in ["before_commit", "after_commit"] {
        let deaths = die_at(&|| template.round(&runtime, Kind::Sqlite), point, u32::MAX);
        assert!(deaths >= COMMITS_AFTER_COMPACTION, "{point}: only {deaths} deaths");
        println!("{point}: {deaths} deaths");
    }
}

/// Lets a close die the first, second … time that it passes a place, and another finish it; how often it died.
fn die_at<'t>(round: &dyn Fn() -> Round<'t>, point: &str, passes_max: u32) -> u32 {
    let with_papers = point == "after_paper";
    for pass in 1..=passes_max {
        let place = format!("{point}:{pass}");
        let round = round();
        let mut process = round.close(with_papers, &[("METERHOUSE_CRASH_AT", &place)]);
        let status = process.end();
        let has_died = status.signal() == Some(6);
        assert!(has_died || status.code() == Some(0), "{place}: {status}:\n{}", process.log_end());
        assert!(has_died || pass > 1, "{place} was not passed:\n{}", process.log_end());
        if !has_died {
            return pass - 1;
        }
        round.finish(with_papers);
        check(&round, &format!("{}, {place}", round.place().url));
        if with_papers {
            check_papers(&round);
        }
    }
    passes_max
}

fn check_papers(round: &Round<'_>) {
    let folder = round.folder().join("lake/papers").join(round.template.period_start.to_string());
    let papers = std::fs::read_dir(folder).unwrap().count();
    assert_eq!(papers, 4 * round.template.tenants);
}
