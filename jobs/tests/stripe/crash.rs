//! The driver stops at any of its await points, and another one goes on: each record is in Stripe once.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use jobs::stripe::clock::Dice;
use jobs::stripe::outbox::Claim;
use jobs::stripe::{Clock as _, Outbox, OutboxError, RecordState, StripeRecord};

use crate::fake::Faults;
use crate::pushes::{any_seed, seeds};
use crate::stores::{Opened, Store, over_each_outbox};
use crate::world::World;

over_each_outbox! {
    one_thread {
        a_crash_at_each_await_point_leaves_each_record_once,
        a_crash_at_each_await_point_tells_old_usage_once,
        crash_after_crash_under_faults_leaves_each_record_once,
    }
    two_threads {
        several_drivers_at_once_tell_each_record_once,
    }
}

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

/// A store with await points before and after each step, even where it needs none itself.
struct Yielding<'o>(&'o Opened);

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

/// Runs a new driver for so many polls; whether it came to its end. Like a process it has connections of its own, which
/// are gone afterwards, and with them what it had begun in the book.
async fn live(world: &World, store: &Store, polls: u64, seed: u64) -> bool {
    let outbox = store.open().await;
    let ended = {
        let driver = world.hasty_driver(Yielding(&outbox), seed);
        let drain = async { driver.drain().await.unwrap() };
        Mortal { future: Box::pin(drain), polls_left: polls }.await.is_some()
    };
    outbox.close().await;
    // What was under way arrives or not; it does not stay under way for hours.
    world.fake.quiet().await;
    ended
}

async fn finish(world: &World, store: &Store, seed: u64, what: &str) {
    let outbox = store.look().await;
    for _ in 0..200 {
        live(world, store, u64::MAX, seed).await;
        let held = outbox.list(None).await.unwrap();
        if held.iter().all(|record| record.state == RecordState::Confirmed) {
            world.assert_equal(&outbox, what).await;
            return outbox.close().await;
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

async fn a_crash_at_each_await_point_leaves_each_record_once(store: &Store) {
    die_at_each_await_point(store, Duration::ZERO).await;
}

/// What the meters no longer take becomes an amount on the way, and stays one thing whoever finds it.
async fn a_crash_at_each_await_point_tells_old_usage_once(store: &Store) {
    die_at_each_await_point(store, Duration::from_hours(240)).await;
}

/// A book's driver is polled at each answer of the database too, so there are more points; not all are tried, beginning
/// anywhere.
async fn die_at_each_await_point(store: &Store, age: Duration) {
    let step = store.one_in();
    let first = 1 + Dice::new(any_seed()).below(step);
    let mut points = 0;
    for polls in (first..).step_by(step as usize) {
        let what = format!("after {polls} polls, {} s old", age.as_secs());
        let world = small_world(polls).await;
        world.clock.advance(age);
        store.filled(&world.records).await.close().await;
        let ended = live(&world, store, polls, polls).await;
        points += 1;
        // At once, after the claim has lapsed, or when Stripe has forgotten.
        let later = [0, 6 * 60, 24 * 3600, 26 * 3600][points as usize % 4];
        world.clock.advance(Duration::from_secs(later));
        finish(&world, store, polls, &what).await;
        if ended {
            break;
        }
    }
    assert!(points * step > 60, "only {points} await points, from {first} on in steps of {step}");
    println!("{points} await points, from {first} on in steps of {step}");
}

async fn crash_after_crash_under_faults_leaves_each_record_once(store: &Store) {
    let (rounds, lives) = if store.one_in() > 1 { (1, 30) } else { (8, 60) };
    for seed in seeds(rounds) {
        let what = format!("seed {seed}");
        let world = small_world(seed).await;
        store.filled(&world.records).await.close().await;
        let dice = Dice::new(seed);
        world.fake.state().faults = Faults::each(15);
        let outbox = store.look().await;
        for _ in 0..lives {
            live(&world, store, 1 + dice.below(polls_max(store)), dice.below(u64::MAX)).await;
            let hours = [0, 0, 0, 1, 1, 5, 24, 26][dice.below(8) as usize];
            world.clock.advance(Duration::from_secs(hours * 3600 + dice.below(600)));
            retry_rejected(&world, &outbox).await;
        }
        outbox.close().await;
        world.fake.state().faults = Faults::none();
        finish(&world, store, seed, &what).await;
        let state = world.fake.state();
        println!("{what}: {} calls, {} replays", state.calls, state.replays);
    }
}

/// So many that a driver often comes some way and seldom to its end.
fn polls_max(store: &Store) -> u64 {
    if store.is_in_memory() { 60 } else { 400 }
}

async fn retry_rejected(world: &World, outbox: &Opened) {
    for mut record in outbox.list(Some(RecordState::Rejected)).await.unwrap() {
        record.start_over(world.clock.now_us());
        outbox.store(&[record]).await.unwrap();
    }
}

/// Several drivers at once.
async fn several_drivers_at_once_tell_each_record_once(store: &Store) {
    for seed in seeds(if store.one_in() > 1 { 1 } else { 3 }) {
        let what = format!("seed {seed}");
        let world = World::with_tenants(6, seed).await;
        let outbox = store.filled(&world.records).await;
        world.fake.state().faults = Faults::each(10);
        let drivers: Vec<_> = (0..4).map(|at| world.hasty_driver(Yielding(&outbox), seed + at)).collect();
        futures::future::join_all(drivers.iter().map(|driver| async { driver.drain().await.unwrap() })).await;
        drop(drivers);
        outbox.close().await;
        world.fake.state().faults = Faults::none();
        finish_with_retries(&world, store, seed, &what).await;
    }
}

async fn finish_with_retries(world: &World, store: &Store, seed: u64, what: &str) {
    let outbox = store.look().await;
    for _ in 0..40 {
        retry_rejected(world, &outbox).await;
        live(world, store, u64::MAX, seed).await;
        world.clock.advance(Duration::from_hours(1));
    }
    retry_rejected(world, &outbox).await;
    outbox.close().await;
    finish(world, store, seed, what).await;
}
