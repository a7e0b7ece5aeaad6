//! A thousand records under every fault: what Stripe has in the end differs from ours by nothing.

use std::collections::BTreeMap;
use std::time::Duration;

use jobs::stripe::{Outbox, RecordKind, RecordState};

use crate::fake::{Fault, Faults};
use crate::stores::{Store, over_each_outbox};
use crate::world::World;

over_each_outbox! {
    two_threads {
        a_thousand_pushes_without_faults_are_a_thousand_calls,
        a_thousand_pushes_under_all_faults_differ_by_nothing,
        an_outage_past_every_memory_doubles_nothing,
        usage_that_is_too_old_becomes_an_invoice_item,
    }
}

const HOUR: Duration = Duration::from_hours(1);

async fn states(outbox: &impl Outbox) -> BTreeMap<RecordState, usize> {
    let counts = outbox.counts().await.unwrap();
    counts.into_iter().map(|(state, count)| (state, count as usize)).collect()
}

/// Somebody looks at what Stripe refused and sends it again, once it is surely not there.
async fn retry_refused(world: &World, outbox: &impl Outbox) -> usize {
    let now_us = jobs::stripe::Clock::now_us(world.clock.as_ref());
    let refused = outbox.list(Some(RecordState::Rejected)).await.unwrap();
    let count = refused.len();
    for mut record in refused {
        let reason = record.last_error.clone().unwrap();
        assert!(reason.contains("did not count it"), "{}: {reason}", record.key);
        record.start_over(now_us);
        assert_eq!(outbox.store(&[record]).await.unwrap(), 1);
    }
    count
}

async fn until_confirmed<O: Outbox>(
    world: &World,
    outbox: &O,
    driver: &jobs::stripe::Driver<crate::fake::HandClock, &O>,
    what: &str,
) {
    for _ in 0..400 {
        driver.drain().await.unwrap();
        retry_refused(world, outbox).await;
        let states = states(outbox).await;
        assert!(
            !states.contains_key(&RecordState::NeedsAttention),
            "{what}: {states:?} {:?}",
            outbox.list(Some(RecordState::NeedsAttention)).await.unwrap().first()
        );
        if states.keys().all(|state| *state == RecordState::Confirmed) {
            return;
        }
        world.clock.advance(HOUR);
    }
    panic!("{what}: not done: {:?}", states(outbox).await);
}

async fn a_thousand_pushes_without_faults_are_a_thousand_calls(store: &Store) {
    let world = World::with_tenants(30, 1).await;
    assert!(world.records.len() >= 1000, "{} records", world.records.len());
    let outbox = store.filled(&world.records).await;
    let driver = world.driver(&outbox, 2);
    driver.drain().await.unwrap();
    // Each record once; each invoice is read before it is finalized; each event is looked for once it should be counted,
    // for which the meters are listed.
    let (invoices, events) = {
        let state = world.fake.state();
        (state.invoices.len(), state.events.len())
    };
    assert_eq!(world.fake.state().calls, (world.records.len() + invoices + events + 1) as u64);
    until_confirmed(&world, &outbox, &driver, "no faults").await;
    world.assert_equal(&outbox, "no faults").await;
    // Connections are reused. One is free again some moments after its answer, so there may be more than calls at once.
    let state = world.fake.state();
    let (connections, calls, at_once) = (state.connections, state.calls, state.under_way_max);
    assert!(
        connections <= 128 && at_once <= 64,
        "{calls} calls, {connections} connections, {at_once} at once"
    );
}

async fn a_thousand_pushes_under_all_faults_differ_by_nothing(store: &Store) {
    for seed in seeds(if store.one_in() > 1 { 1 } else { 2 }) {
        let what = format!("seed {seed}");
        let world = World::with_tenants(30, seed).await;
        assert!(world.records.len() >= 1000);
        let outbox = store.filled(&world.records).await;
        let driver = world.hasty_driver(&outbox, seed);
        world.fake.state().faults = Faults::each(22);
        driver.drain().await.unwrap();
        world.clock.advance(HOUR * 3);
        until_confirmed(&world, &outbox, &driver, &what).await;
        world.assert_equal(&outbox, &what).await;
        let state = world.fake.state();
        for fault in Fault::ALL {
            assert!(
                state.happened.get(&fault).is_some_and(|count| *count > 3),
                "{what}: {fault:?} too rarely: {:?}",
                state.happened
            );
        }
        println!(
            "{what}: {} records, {} calls, {} replays, {:?}",
            world.records.len(),
            state.calls,
            state.replays,
            state.happened
        );
    }
}

/// An outage longer than Stripe remembers anything, of each kind: what was done in it is not done again.
async fn an_outage_past_every_memory_doubles_nothing(store: &Store) {
    // Where there is no time for all of them, those in which Stripe does something and nobody hears of it.
    let is_worst =
        |fault: &Fault| store.one_in() == 1 || matches!(fault, Fault::ErrorAfter | Fault::CutAfter);
    for (at, fault) in Fault::ALL.into_iter().enumerate().filter(|(_, fault)| is_worst(fault)) {
        let what = format!("{fault:?}");
        let world = World::with_tenants(6, at as u64).await;
        let outbox = store.filled(&world.records).await;
        let driver = world.hasty_driver(&outbox, at as u64);
        world.fake.state().faults = Faults::only(fault, 700);
        for hours in [0, 20, 2, 1, 1, 1, 12, 15] {
            world.clock.advance(HOUR * hours);
            driver.drain().await.unwrap();
            println!("{what}: {hours} h: {:?}", states(&outbox).await);
        }
        world.fake.state().faults = Faults::none();
        until_confirmed(&world, &outbox, &driver, &what).await;
        world.assert_equal(&outbox, &what).await;
        assert!(world.fake.state().happened[&fault] > 5, "{what}");
    }
}

/// What nobody could send for a month goes as an amount instead: Stripe's meters no longer take it.
async fn usage_that_is_too_old_becomes_an_invoice_item(store: &Store) {
    let world = World::with_tenants(6, 5).await;
    let outbox = store.filled(&world.records).await;
    let driver = world.driver(&outbox, 5);
    // The first days of April are beyond 34 days, the last ones are not.
    world.clock.advance(HOUR * 24 * 10);
    until_confirmed(&world, &outbox, &driver, "too old").await;
    world.assert_equal(&outbox, "too old").await;
    let held = outbox.list(None).await.unwrap();
    let mut aged = 0;
    let mut amount = 0;
    for (held, planned) in
        held.iter().map(|held| (held, world.records.iter().find(|planned| planned.key == held.key).unwrap()))
    {
        if held.content.kind != planned.content.kind {
            aged += 1;
            amount += held.content.amount_minor.unwrap();
            assert_eq!(held.content.amount_minor, planned.content.amount_minor);
        }
    }
    assert!(aged > 10 && amount > 0, "{aged} records, {amount}");
    assert!(world.fake.state().events.iter().any(|event| event.is_counted), "none was young enough");
}

#[tokio::test]
async fn a_wrong_key_stops_everything_and_spoils_nothing() {
    let world = World::with_tenants(3, 8).await;
    let outbox = world.outbox().await;
    let settings =
        jobs::stripe::ClientSettings { key: jobs::config::Secret::new("sk_wrong"), ..world.fake.settings() };
    let client = jobs::stripe::Client::new(&settings, world.clock.clone()).unwrap();
    let dice = jobs::stripe::clock::Dice::new(1);
    let wrong = jobs::stripe::Driver::new(
        client,
        &outbox,
        world.clock.clone(),
        dice,
        jobs::stripe::DriverSettings::default(),
    );
    let error = wrong.drain().await.unwrap_err();
    assert!(error.to_string().contains("does not accept the key"), "{error}");
    assert!(states(&outbox).await.keys().all(|state| *state == RecordState::Waiting));
    world.clock.advance(HOUR);
    until_confirmed(&world, &outbox, &world.driver(&outbox, 3), "after a wrong key").await;
    world.assert_equal(&outbox, "after a wrong key").await;
}

/// A draft that somebody changed in Stripe is not finalized.
#[tokio::test]
async fn a_draft_that_differs_is_left_alone() {
    let world = World::with_tenants(3, 9).await;
    let outbox = world.outbox().await;
    let driver = world.driver(&outbox, 3);
    world.fake.state().faults = Faults::none();
    // Somebody adds an item to each draft as soon as there is one.
    let meddler = async {
        loop {
            tokio::task::yield_now().await;
            let mut state = world.fake.state();
            let Some(draft) = state.invoices.last().cloned() else { continue };
            state.items.push(crate::fake::Item::by_hand(&draft.id, &draft.customer, 500));
            return draft.id;
        }
    };
    let (drained, draft) = tokio::join!(driver.drain(), meddler);
    drained.unwrap();
    let held = outbox.list(Some(RecordState::NeedsAttention)).await.unwrap();
    assert_eq!(held.len(), 1);
    assert!(held[0].last_error.as_ref().unwrap().contains("total in stripe"), "{held:?}");
    let state = world.fake.state();
    assert_eq!(state.invoices.iter().find(|invoice| invoice.id == draft).unwrap().status, "draft");
}

#[tokio::test]
async fn usage_records_of_a_period_that_stripe_has_closed_go_as_amounts() {
    let world = World::with_tenants(6, 4).await;
    // Stripe's subscriptions are billed by months, as ours are: when April's usage comes, April is over there.
    world.fake.state().billing = (1, 1);
    let outbox = world.outbox().await;
    let recorded = |record: &&jobs::stripe::StripeRecord| record.content.kind == RecordKind::UsageRecord;
    let ours: Vec<_> = world.records.iter().filter(recorded).collect();
    let amount = |record: &jobs::stripe::StripeRecord| record.content.amount_minor.unwrap_or_default();
    let owed: i64 = ours.iter().map(|record| amount(record)).sum();
    assert!(owed > 0);
    world.driver(&outbox, 1).drain().await.unwrap();
    let held = outbox.list(None).await.unwrap();
    assert!(held.iter().all(|record| record.state == RecordState::Confirmed), "{held:#?}");
    assert_eq!(held.iter().filter(recorded).count(), 0);
    assert!(world.fake.state().usage.is_empty());
    let items = held.iter().filter(|record| ours.iter().any(|own| own.key == record.key));
    assert_eq!(items.map(amount).sum::<i64>(), owed);
    world.assert_equal(&outbox, "amounts").await;
}

/// What Stripe took and does not show in its sums for a day is asked for again before it is sent anew.
#[tokio::test]
async fn an_event_that_stripe_counts_late_is_not_sent_twice() {
    let world = World::with_tenants(3, 5).await;
    let outbox = world.outbox().await;
    world.driver(&outbox, 1).drain().await.unwrap();
    let mut refused = Vec::new();
    for mut record in outbox.list(None).await.unwrap() {
        if record.content.kind == RecordKind::MeterEvent {
            // As six looks leave it.
            record.state = RecordState::Rejected;
            record.attempts = 6;
            record.last_error = Some("stripe took it and did not count it".to_owned());
            refused.push(record);
        }
    }
    assert!(!refused.is_empty());
    outbox.store(&refused).await.unwrap();
    let events = world.fake.state().events.len();
    assert_eq!(retry_refused(&world, &outbox).await, refused.len());
    world.driver(&outbox, 2).drain().await.unwrap();
    assert_eq!(world.fake.state().events.len(), events, "an event was sent twice");
    world.assert_equal(&outbox, "counted late").await;
}

/// Seeds of a test: METERHOUSE_TEST_SEED for one, otherwise so many from 100 on.
pub fn seeds(count: u64) -> Vec<u64> {
    match std::env::var("METERHOUSE_TEST_SEED") {
        Ok(seed) => vec![seed.parse().expect("a number")],
        Err(_) => (100..100 + count).collect(),
    }
}

/// A seed of a test that needs no certain one: METERHOUSE_TEST_SEED, otherwise another each time.
pub fn any_seed() -> u64 {
    let now = || jiff::Timestamp::now().as_microsecond().unsigned_abs();
    std::env::var("METERHOUSE_TEST_SEED").map_or_else(|_| now(), |seed| seed.parse().expect("a number"))
}
