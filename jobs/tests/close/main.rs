//! `meterhouse close`, from events to a Stripe that remembers: whatever dies, races or sleeps on the way, each tenant has one
//! invoice, numbers have no gaps, and Stripe has each thing once.
//!
//! SQLite always; PostgreSQL and MariaDB where METERHOUSE_TEST_POSTGRES and METERHOUSE_TEST_MYSQL name a server. Without
//! variables, and so in CI, it is 100 kills, 10 of them on each of the others, 50 rounds of races and 10 sleepers that were
//! overtaken on SQLite, and a fifth of these on each of the others. METERHOUSE_CRASHES (1,000 before a release), METERHOUSE_RACES and
//! METERHOUSE_SLEEPERS say otherwise, for each of the databases alike. METERHOUSE_SEED repeats a run's choices.

mod check;
mod crashes;
mod end_to_end;
#[allow(dead_code, unused_imports, reason = "shared with the tests of Stripe, which use more of it")]
#[path = "../stripe/fake/mod.rs"]
mod fake;
#[allow(dead_code, reason = "shared with the tests of the book, which use more of it")]
#[path = "../book/place.rs"]
mod place;
mod process;
mod races;
#[path = "../crash/random.rs"]
mod random;
mod world;

fn from_environment(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok().filter(|text| !text.is_empty())?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is `{text}`, expected a number")))
}

/// The choices of a test, which its output names.
fn choices(test: &str) -> random::Random {
    let seed = from_environment("METERHOUSE_SEED").unwrap_or_else(random::fresh_seed);
    println!("{test}: METERHOUSE_SEED={seed}");
    random::Random::new(seed)
}
