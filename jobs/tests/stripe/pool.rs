//! An outbox with few connections, each of which a call keeps while others wait: the driver must not wait for itself.

use std::collections::BTreeMap;
use std::time::Duration;

use jobs::stripe::outbox::Claim;
use jobs::stripe::{MemoryOutbox, Outbox, OutboxError, RecordState, StripeRecord};
use tokio::sync::Semaphore;

use crate::world::World;

struct Pooled {
    outbox: MemoryOutbox,
    connections: Semaphore,
}

macro_rules! with_connection {
    ($self:ident, $call:expr) => {{
        let _connection = $self.connections.acquire().await.unwrap();
        // A database answers some time after it was asked.
        tokio::time::sleep(Duration::from_millis(1)).await;
        $call.await
    }};
}

impl Outbox for Pooled {
    async fn insert(&self, records: &[StripeRecord]) -> Result<usize, OutboxError> {
        with_connection!(self, self.outbox.insert(records))
    }

    async fn claim(&self, claim: Claim) -> Result<Vec<StripeRecord>, OutboxError> {
        with_connection!(self, self.outbox.claim(claim))
    }

    async fn store(&self, records: &[StripeRecord]) -> Result<usize, OutboxError> {
        with_connection!(self, self.outbox.store(records))
    }

    async fn find(&self, key: &str) -> Result<Option<StripeRecord>, OutboxError> {
        with_connection!(self, self.outbox.find(key))
    }

    async fn group(&self, group: &str) -> Result<Vec<StripeRecord>, OutboxError> {
        with_connection!(self, self.outbox.group(group))
    }

    async fn list(&self, state: Option<RecordState>) -> Result<Vec<StripeRecord>, OutboxError> {
        // It grows for ever.
        assert!(state.is_some(), "a push must not read the whole outbox");
        with_connection!(self, self.outbox.list(state))
    }

    async fn counts(&self) -> Result<BTreeMap<RecordState, u64>, OutboxError> {
        with_connection!(self, self.outbox.counts())
    }

    async fn waiting_because(&self) -> Result<Option<String>, OutboxError> {
        with_connection!(self, self.outbox.waiting_because())
    }

    async fn next_due_us(&self) -> Result<Option<i64>, OutboxError> {
        with_connection!(self, self.outbox.next_due_us())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_that_ask_the_outbox_do_not_block_it() {
    let world = World::with_tenants(60, 1).await;
    let pooled = Pooled { outbox: world.outbox().await, connections: Semaphore::new(2) };
    let driver = world.driver(&pooled, 1);
    tokio::time::timeout(Duration::from_mins(1), driver.drain()).await.expect("it ends").unwrap();
    world.assert_equal(&pooled.outbox, "two connections").await;
}
