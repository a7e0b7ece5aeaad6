//! The driver stops at any of its await points, and another one goes on: each record is in Stripe once.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use jobs::stripe::clock::Dice;
use jobs::stripe::outbox::Claim;
use jobs::stripe::{MemoryOutbox, Outbox, OutboxError, RecordState, StripeRecord};

use crate::fake::Faults;
use crate::pushes::seeds;
use crate::world::World;

/// A future that is dropped after so many polls.
struct Mortal<F> {
    future: Pin<Box<F>>,
    polls_left: u64,
}

impl<F: Future> Future for Mortal<F> {
    type Output = Option<F::Output>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if self.polls_left == 0 {
            return Poll::Ready(None);
        }
        self.polls_left -= 1;
        self.future.as_mut().poll(context).map(Some)
    }
}

/// A store with await points before and after each step, as a database has.
struct Yielding<'o>(&'o MemoryOutbox);

macro_rules! with_yields {
    ($call:expr) => {{
        tokio::task::yield_now().await;
        let done = $call.await;
        tokio::task::yield_now().await;
        done
    }};
}

impl Outbox for Yielding<'_> {
    async fn insert(&self, records: &[StripeRecord]) -> Result<usize, OutboxError> {
        with_yields!(self.0.insert(records))
    }

    async fn claim(&self, claim: Claim) -> Result<Vec<StripeRecord>, OutboxError> {
        with_yields!(self.0.claim(claim))
    }

    async fn store(&self, records: &[StripeRecord]) -> Result<usize, OutboxError> {
        with_yields!(self.0.store(records))
    }

    async fn find(&self, key: &str) -> Result<Option<StripeRecord>, OutboxError> {
        with_yields!(self.0.find(key))
    }

    async fn group(&self, group: &str) -> Result<Vec<StripeRecord>, OutboxError> {
        with_yields!(self.0.group(group))
    }

    async fn list(&self, state: Option<RecordState>) -> Result<Vec<StripeRecord>, OutboxError> {
        with_yields!(self.0.list(state))
    }

    async fn counts(&self) -> Result<std::collections::BTreeMap<RecordState, u64>, OutboxError> {
        with_yields!(self.0.counts())
    }

    async fn waiting_because(&self) -> Result<Option<String>, OutboxError> {
        with_yields!(self.0.waiting_because())
    }

    async fn next_due_us(&self) -> Result<Option<i64>, OutboxError> {
        with_yields!(self.0.next_due_us())
    }
}

/// Runs a new driver for so many polls; whether it came to its end.
async fn live(world: &World, outbox: &MemoryOutbox, polls: u64, seed: u64) -> bool {
    let ended = {
        let driver = world.hasty_driver(Yielding(outbox), seed);
        let drain = async { driver.drain().await.unwrap() };
        Mortal { future: Box::pin(drain), polls_left: polls }.await.is_some()
    };
    // What was under way arrives or not; it does not stay under way for hours.
    world.fake.quiet().await;
    ended
}

async fn finish(world: &World, outbox: &MemoryOutbox, seed: u64, what: &str) {
    for _ in 0..200 {
        live(world, outbox, u64::MAX, seed).await;
        let held = outbox.list(None).await.unwrap();
        if held.iter().all(|record| record.state == RecordState::Confirmed) {
            return world.assert_equal(outbox, what).await;
        }
        let stuck = held
            .iter()
            .find(|record| matches!(record.state, RecordState::NeedsAttention | RecordState::Rejected));
        assert!(stuck.is_none(), "{what}: {stuck:?}");
        world.clock.advance(Duration::from_mins(30));
    }
    panic!("{what}: not done");
}

/// A world with few records of each kind.
async fn small_world(seed: u64) -> World {
    let mut world = World::with_tenants(3, seed).await;
    let mut kept = std::collections::BTreeMap::new();
    world.records.retain(|record| {
        let count: &mut u32 = kept.entry((record.group.clone(), record.content.kind)).or_default();
        *count += 1;
        // Items of an invoice all stay, or its total would differ.
        record.content.usage.is_none() || *count <= 2
    });
    world
}

#[tokio::test]
async fn a_crash_at_each_await_point_leaves_each_record_once() {
    die_at_each_await_point(Duration::ZERO).await;
}

/// What the meters no longer take becomes an amount on the way, and stays one thing whoever finds it.
#[tokio::test]
async fn a_crash_at_each_await_point_tells_old_usage_once() {
    die_at_each_await_point(Duration::from_hours(240)).await;
}

async fn die_at_each_await_point(age: Duration) {
    let mut points = 0;
    for polls in 1.. {
        let what = format!("after {polls} polls, {} s old", age.as_secs());
        let world = small_world(polls).await;
        world.clock.advance(age);
        let outbox = world.outbox().await;
        let ended = live(&world, &outbox, polls, polls).await;
        // At once, after the claim has lapsed, or when Stripe has forgotten.
        let later = [0, 6 * 60, 24 * 3600, 26 * 3600][polls as usize % 4];
        world.clock.advance(Duration::from_secs(later));
        finish(&world, &outbox, polls, &what).await;
        points += 1;
        if ended {
            break;
        }
    }
    assert!(points > 60, "only {points} await points");
    println!("{points} await points");
}

#[tokio::test]
async fn crash_after_crash_under_faults_leaves_each_record_once() {
    for seed in seeds(8) {
        let what = format!("seed {seed}");
        let world = small_world(seed).await;
        let outbox = world.outbox().await;
        let dice = Dice::new(seed);
        world.fake.state().faults = Faults::each(15);
        for _ in 0..60 {
            live(&world, &outbox, 1 + dice.below(60), dice.below(u64::MAX)).await;
            let hours = [0, 0, 0, 1, 1, 5, 24, 26][dice.below(8) as usize];
            world.clock.advance(Duration::from_secs(hours * 3600 + dice.below(600)));
            for mut record in outbox.list(Some(RecordState::Rejected)).await.unwrap() {
                record.start_over(jobs::stripe::Clock::now_us(world.clock.as_ref()));
                outbox.store(&[record]).await.unwrap();
            }
        }
        world.fake.state().faults = Faults::none();
        finish(&world, &outbox, seed, &what).await;
        let state = world.fake.state();
        println!("{what}: {} calls, {} replays", state.calls, state.replays);
    }
}

/// Two drivers at once, and one that sleeps past its claim and wakes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn several_drivers_at_once_tell_each_record_once() {
    for seed in seeds(3) {
        let what = format!("seed {seed}");
        let world = World::with_tenants(6, seed).await;
        let outbox = world.outbox().await;
        world.fake.state().faults = Faults::each(10);
        let drivers: Vec<_> = (0..4).map(|at| world.hasty_driver(Yielding(&outbox), seed + at)).collect();
        futures::future::join_all(drivers.iter().map(|driver| async { driver.drain().await.unwrap() })).await;
        world.fake.state().faults = Faults::none();
        for mut record in outbox.list(Some(RecordState::Rejected)).await.unwrap() {
            record.start_over(jobs::stripe::Clock::now_us(world.clock.as_ref()));
            outbox.store(&[record]).await.unwrap();
        }
        drop(drivers);
        finish_with_retries(&world, &outbox, seed, &what).await;
    }
}

async fn finish_with_retries(world: &World, outbox: &MemoryOutbox, seed: u64, what: &str) {
    for _ in 0..40 {
        live(world, outbox, u64::MAX, seed).await;
        for mut record in outbox.list(Some(RecordState::Rejected)).await.unwrap() {
            record.start_over(jobs::stripe::Clock::now_us(world.clock.as_ref()));
            outbox.store(&[record]).await.unwrap();
        }
        world.clock.advance(Duration::from_hours(1));
    }
    finish(world, outbox, seed, what).await;
}
