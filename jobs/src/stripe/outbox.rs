//! Where records wait until Stripe has them.
//!
//! Owns: what the driver needs of the store, and an implementation in memory for tests and dry runs. Does not own:
//! the tables; the book keeps them, so that records are written in the transaction that issues the invoice.
//!
//! An implementation must keep, whatever happens at the same time:
//! - a key is there once, and inserting it again changes nothing;
//! - a record is claimed by one at a time, and of one group one record at a time, the first that is waiting;
//! - a claim sets `first_sent_us` of a waiting record that has none, and is stored before it is handed out;
//! - what is stored by an overtaken claim has no effect.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::sync::Mutex;

use super::record::{RecordState, StripeRecord};

#[derive(Debug, thiserror::Error)]
pub enum OutboxError {
    #[error("the outbox holds {key} with another content")]
    OtherContent { key: String },
    #[error("cannot reach the outbox")]
    Unreachable(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// What is to be claimed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Claim {
    pub now_us: i64,
    /// When others may claim the same records.
    pub until_us: i64,
    pub limit: usize,
}

pub trait Outbox: Send + Sync {
    /// Adds what is not there yet and answers with how many that were. A key that is there with another content is an
    /// error, and then nothing is added.
    fn insert(&self, records: &[StripeRecord]) -> impl Future<Output = Result<usize, OutboxError>> + Send;

    /// Claims records whose next attempt is due: waiting ones to be sent, sent ones to be confirmed.
    fn claim(&self, claim: Claim) -> impl Future<Output = Result<Vec<StripeRecord>, OutboxError>> + Send;

    /// Stores claimed records and gives their claims back. Answers with how many; the others were overtaken.
    fn store(&self, records: &[StripeRecord]) -> impl Future<Output = Result<usize, OutboxError>> + Send;

    fn find(&self, key: &str) -> impl Future<Output = Result<Option<StripeRecord>, OutboxError>> + Send;

    /// In the order of their sequence.
    fn group(&self, group: &str) -> impl Future<Output = Result<Vec<StripeRecord>, OutboxError>> + Send;

    /// All records, or those of one state, in the order of their keys.
    fn list(
        &self,
        state: Option<RecordState>,
    ) -> impl Future<Output = Result<Vec<StripeRecord>, OutboxError>> + Send;

    /// How many records are in each state; those without any are not among them.
    fn counts(&self) -> impl Future<Output = Result<BTreeMap<RecordState, u64>, OutboxError>> + Send;

    /// Why the first of the records that wait does, if anything went wrong with one.
    fn waiting_because(&self) -> impl Future<Output = Result<Option<String>, OutboxError>> + Send;

    /// The earliest instant at which there is something to claim.
    fn next_due_us(&self) -> impl Future<Output = Result<Option<i64>, OutboxError>> + Send;
}

impl<O: Outbox> Outbox for &O {
    async fn insert(&self, records: &[StripeRecord]) -> Result<usize, OutboxError> {
        (**self).insert(records).await
    }

    async fn claim(&self, claim: Claim) -> Result<Vec<StripeRecord>, OutboxError> {
        (**self).claim(claim).await
    }

    async fn store(&self, records: &[StripeRecord]) -> Result<usize, OutboxError> {
        (**self).store(records).await
    }

    async fn find(&self, key: &str) -> Result<Option<StripeRecord>, OutboxError> {
        (**self).find(key).await
    }

    async fn group(&self, group: &str) -> Result<Vec<StripeRecord>, OutboxError> {
        (**self).group(group).await
    }

    async fn list(&self, state: Option<RecordState>) -> Result<Vec<StripeRecord>, OutboxError> {
        (**self).list(state).await
    }

    async fn counts(&self) -> Result<BTreeMap<RecordState, u64>, OutboxError> {
        (**self).counts().await
    }

    async fn waiting_because(&self) -> Result<Option<String>, OutboxError> {
        (**self).waiting_because().await
    }

    async fn next_due_us(&self) -> Result<Option<i64>, OutboxError> {
        (**self).next_due_us().await
    }
}

/// An outbox that forgets with the process.
#[derive(Debug, Default)]
pub struct MemoryOutbox {
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    records: BTreeMap<String, StripeRecord>,
    /// Keys of each group in their order.
    groups: BTreeMap<String, BTreeSet<(i64, String)>>,
    /// Groups with something left to do.
    open: BTreeSet<String>,
}

impl Held {
    /// The record of a group that may be claimed next, and from when.
    fn next_of(&self, group: &str) -> Option<(i64, &StripeRecord)> {
        let records = || self.groups.get(group).into_iter().flatten().map(|(_, key)| &self.records[key]);
        let busy_until_us = records().map(|record| record.claimed_until_us).max().unwrap_or_default();
        let waiting = records().find(|record| record.state == RecordState::Waiting);
        let sent = records()
            .filter(|record| record.state == RecordState::Sent)
            .min_by_key(|record| record.next_attempt_us);
        let due = |record: &StripeRecord| record.next_attempt_us.max(busy_until_us);
        waiting.into_iter().chain(sent).map(|record| (due(record), record)).min_by_key(|(due_us, _)| *due_us)
    }
}

impl Outbox for MemoryOutbox {
    async fn insert(&self, records: &[StripeRecord]) -> Result<usize, OutboxError> {
        let mut held = self.held.lock().expect("nobody panics while holding it");
        for record in records {
            if held.records.get(&record.key).is_some_and(|known| !is_same(known, record)) {
                return Err(OutboxError::OtherContent { key: record.key.clone() });
            }
        }
        let before = held.records.len();
        for record in records {
            if !held.records.contains_key(&record.key) {
                held.open.insert(record.group.clone());
                let group = held.groups.entry(record.group.clone()).or_default();
                group.insert((record.sequence, record.key.clone()));
                held.records.insert(record.key.clone(), record.clone());
            }
        }
        Ok(held.records.len() - before)
    }

    async fn claim(&self, claim: Claim) -> Result<Vec<StripeRecord>, OutboxError> {
        let mut held = self.held.lock().expect("nobody panics while holding it");
        let mut due: Vec<String> = Vec::new();
        for group in &held.open {
            if due.len() == claim.limit {
                break;
            }
            if let Some((due_us, record)) = held.next_of(group)
                && due_us <= claim.now_us
            {
                due.push(record.key.clone());
            }
        }
        let mut claimed = Vec::with_capacity(due.len());
        for key in due {
            let record = held.records.get_mut(&key).expect("the key was found just now");
            record.claim += 1;
            record.claimed_until_us = claim.until_us;
            if record.state == RecordState::Waiting {
                record.attempts += 1;
                record.first_sent_us.get_or_insert(claim.now_us);
            }
            claimed.push(record.clone());
        }
        Ok(claimed)
    }

    async fn store(&self, records: &[StripeRecord]) -> Result<usize, OutboxError> {
        let mut held = self.held.lock().expect("nobody panics while holding it");
        let mut stored = 0;
        for record in records {
            let Some(known) = held.records.get_mut(&record.key).filter(|known| known.claim == record.claim)
            else {
                continue;
            };
            *known = StripeRecord { claimed_until_us: 0, ..record.clone() };
            stored += 1;
            if held.next_of(&record.group).is_none() {
                held.open.remove(&record.group);
            } else {
                held.open.insert(record.group.clone());
            }
        }
        Ok(stored)
    }

    async fn find(&self, key: &str) -> Result<Option<StripeRecord>, OutboxError> {
        let held = self.held.lock().expect("nobody panics while holding it");
        Ok(held.records.get(key).cloned())
    }

    async fn group(&self, group: &str) -> Result<Vec<StripeRecord>, OutboxError> {
        let held = self.held.lock().expect("nobody panics while holding it");
        let keys = held.groups.get(group).into_iter().flatten();
        Ok(keys.map(|(_, key)| held.records[key].clone()).collect())
    }

    async fn list(&self, state: Option<RecordState>) -> Result<Vec<StripeRecord>, OutboxError> {
        let held = self.held.lock().expect("nobody panics while holding it");
        let wanted = |record: &&StripeRecord| state.is_none_or(|state| record.state == state);
        Ok(held.records.values().filter(wanted).cloned().collect())
    }

    async fn counts(&self) -> Result<BTreeMap<RecordState, u64>, OutboxError> {
        let held = self.held.lock().expect("nobody panics while holding it");
        let mut counts = BTreeMap::new();
        for record in held.records.values() {
            *counts.entry(record.state).or_default() += 1;
        }
        Ok(counts)
    }

    async fn waiting_because(&self) -> Result<Option<String>, OutboxError> {
        let held = self.held.lock().expect("nobody panics while holding it");
        let mut waiting = held.records.values().filter(|record| record.state == RecordState::Waiting);
        Ok(waiting.find_map(|record| record.last_error.clone()))
    }

    async fn next_due_us(&self) -> Result<Option<i64>, OutboxError> {
        let held = self.held.lock().expect("nobody panics while holding it");
        Ok(held.open.iter().filter_map(|group| held.next_of(group)).map(|(due_us, _)| due_us).min())
    }
}

/// Whether two records say the same. One that became an invoice item meanwhile still stands for what it was made from.
pub fn is_same(known: &StripeRecord, new: &StripeRecord) -> bool {
    let (old, new) = (&known.content, &new.content);
    let changed_course = old.kind != new.kind || known.generation > 0;
    old.tenant == new.tenant
        && old.customer == new.customer
        && old.amount_minor == new.amount_minor
        && old.currency == new.currency
        && (changed_course || (old.request == new.request && old.usage == new.usage))
}
