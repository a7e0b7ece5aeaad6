//! A pass that nobody waits for any more is over: its tasks give way again and again, and end when they do.

use std::sync::Arc;

use futures::{StreamExt, poll};
use rating::catalog::Catalog;
use sql::session::{SessionSettings, Sources, open_session_over};
use tokio::runtime::{Builder, Handle};
use tokio::task::yield_now;

use crate::lake::World;
use crate::random::Random;
use crate::{CATALOG, Event};

/// So many that a pass takes dozens of turns, in row groups of a few rows each.
const EVENTS: usize = 40_000;
/// Without optimisation, planning takes more stack than threads of tests have.
const STACK_BYTES: usize = 16 * 1024 * 1024;
/// Tasks that were told to end do so in their next turn.
const TURNS: usize = 3;

fn alive() -> usize {
    Handle::current().metrics().num_alive_tasks()
}

async fn turns() {
    for _ in 0..TURNS {
        yield_now().await;
    }
}

async fn world() -> World {
    let mut random = Random::new(20_261_121);
    let mut events: Vec<Event> = Vec::new();
    while events.len() < EVENTS {
        events.extend(random.events());
    }
    World::write(&events, &mut random).await
}

/// One thread, so that tasks have turns only when this one gives way.
#[test]
fn a_query_that_is_dropped_stops() {
    let test = || Builder::new_current_thread().enable_all().build().unwrap().block_on(drop_queries());
    std::thread::Builder::new().stack_size(STACK_BYTES).spawn(test).unwrap().join().unwrap();
}

async fn drop_queries() {
    let world = world().await;
    let others = "other_tenants: { subscriptions: [] }";
    let catalog = Arc::new(Catalog::parse(&format!("{CATALOG}{others}"), "random.yaml").unwrap());
    let sources = Sources { catalog: Some(catalog), ..Sources::default() };
    let settings = SessionSettings { threads: 2, ..SessionSettings::default() };
    let session = open_session_over(&world.lake, &settings, &sources).await.unwrap();
    let before = alive();
    for query in ["SELECT * FROM quantities('2026-05')", "SELECT sum(amount) FROM charges('2026-05')"] {
        let frame = session.query(query).await.unwrap();
        let mut rows = session.answer(frame).await.unwrap();
        let mut pass = Box::pin(async move { rows.next().await });
        let mut waited = 0;
        while alive() == before {
            assert!(poll!(&mut pass).is_pending(), "{query}: it never began");
            yield_now().await;
            waited += 1;
            assert!(waited < 10_000, "{query}: it never began");
        }
        turns().await;
        assert!(poll!(&mut pass).is_pending() && alive() > before, "{query}: it was over at once");
        drop(pass);
        turns().await;
        assert_eq!(alive(), before, "{query}: it goes on");
    }
}
