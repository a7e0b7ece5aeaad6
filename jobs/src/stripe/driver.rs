//! Drains the outbox: claims what is due, tells Stripe, stores what came of it, until nothing is due any more.
//!
//! Owns: the order of claim, call and store, how many calls are under way at once, and when it is over. Does not own:
//! what an answer means (`judge`). It may be stopped anywhere: whatever was not stored is claimed again once the claim
//! has lapsed, and Stripe recognises what it has.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::stream::{FuturesUnordered, StreamExt};
use ingest::crash_point::crash_point;

use super::client::Client;
use super::clock::{Clock, Dice};
use super::judge::{self, Fatal, Found, Problem, Reply};
use super::look_up::{LookError, Looker};
use super::outbox::{Claim, Outbox, OutboxError};
use super::reading::{ReadError, Reading};
use super::record::{RecordKind, RecordState, StripeRecord};
use super::request::{self, StripeRequest};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DriverSettings {
    /// Calls under way at once, each of another group.
    pub calls_max: usize,
    /// How long others leave a claimed record alone; longer than any call.
    pub claim_length: Duration,
    /// How long to wait for what comes due, before leaving it to the next run.
    pub patience: Duration,
}

impl Default for DriverSettings {
    fn default() -> Self {
        Self { calls_max: 64, claim_length: Duration::from_mins(5), patience: Duration::from_mins(1) }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum PushError {
    #[error(transparent)]
    Outbox(#[from] OutboxError),
    #[error(transparent)]
    Fatal(#[from] Fatal),
}

/// What a run did.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Drained {
    /// Attempts, of whatever outcome.
    pub attempts: u64,
    /// Records by the state in which they were left.
    pub left: BTreeMap<RecordState, u64>,
    /// Claims that somebody else had taken over.
    pub overtaken: u64,
    /// When the next one is due, if any is left.
    pub next_due_us: Option<i64>,
}

#[derive(Debug)]
pub struct Driver<C, O> {
    reading: Reading<C>,
    outbox: O,
    clock: Arc<C>,
    dice: Dice,
    settings: DriverSettings,
}

impl<C: Clock, O: Outbox> Driver<C, O> {
    pub fn new(client: Client<C>, outbox: O, clock: Arc<C>, dice: Dice, settings: DriverSettings) -> Self {
        Self { reading: Reading::new(client), outbox, clock, dice, settings }
    }

    pub fn outbox(&self) -> &O {
        &self.outbox
    }

    fn looker(&self) -> Looker<'_, C, O> {
        Looker { reading: &self.reading, outbox: &self.outbox }
    }

    /// Tells Stripe everything that is due, until nothing is due within the patience.
    pub async fn drain(&self) -> Result<Drained, PushError> {
        self.drain_and_tell(&|_| ()).await
    }

    /// The same; `progress` is told how many more attempts have come to an end.
    pub async fn drain_and_tell(&self, progress: &(dyn Fn(u64) + Sync)) -> Result<Drained, PushError> {
        let mut drained = Drained::default();
        let mut flights = FuturesUnordered::new();
        let mut landed = Vec::new();
        loop {
            let free = self.settings.calls_max.saturating_sub(flights.len() + landed.len());
            // Claims cost a transaction each: several at once, unless there is nothing else to do.
            if free * 2 >= self.settings.calls_max {
                let now_us = self.clock.now_us();
                let until_us = now_us + self.settings.claim_length.as_micros() as i64;
                let claim = self.outbox.claim(Claim { now_us, until_us, limit: free });
                let claimed = beside(&mut flights, &mut landed, claim).await?;
                crash_point("after_claim");
                flights.extend(claimed.into_iter().map(|record| self.attempt(record, now_us)));
            }
            if landed.is_empty() {
                match flights.next().await {
                    Some(first) => landed.push(first),
                    None if self.wait_for_more(&mut drained).await? => continue,
                    None => return Ok(drained),
                }
            }
            while let Some(Some(more)) = flights.next().now_or_never() {
                landed.push(more);
            }
            let batch = std::mem::take(&mut landed);
            progress(batch.len() as u64);
            beside(&mut flights, &mut landed, self.store(batch, &mut drained)).await?;
        }
    }

    async fn store(&self, landed: Vec<Landed>, drained: &mut Drained) -> Result<(), PushError> {
        drained.attempts += landed.len() as u64;
        let (records, outcomes): (Vec<_>, Vec<_>) = landed.into_iter().unzip();
        crash_point("before_store");
        let stored = self.outbox.store(&records).await?;
        crash_point("after_store");
        drained.overtaken += (records.len() - stored) as u64;
        outcomes.into_iter().collect()
    }

    /// Waits for the next record if it is due soon; otherwise counts what is left.
    async fn wait_for_more(&self, drained: &mut Drained) -> Result<bool, PushError> {
        let next_due_us = self.outbox.next_due_us().await?;
        let wait_us = next_due_us.map(|due_us| (due_us - self.clock.now_us()).max(0));
        if let Some(wait_us) = wait_us
            && wait_us <= self.settings.patience.as_micros() as i64
        {
            self.clock.sleep(Duration::from_micros(wait_us.unsigned_abs())).await;
            return Ok(true);
        }
        drained.next_due_us = next_due_us;
        drained.left = self.outbox.counts().await?;
        Ok(false)
    }

    /// One turn of a claimed record: what can be done about it now.
    async fn attempt(&self, mut record: StripeRecord, claimed_us: i64) -> Landed {
        let outcome = match record.state {
            RecordState::Sent => self.confirm(&mut record).await,
            _ if record.must_look_up && !reads_first(&record) => self.look_up(&mut record).await,
            _ if reads_first(&record) || record.may_retry(claimed_us) => {
                self.send(&mut record, claimed_us).await
            }
            _ if claimed_us < record.look_up_from_us() => {
                record.next_attempt_us = record.look_up_from_us();
                Ok(())
            }
            _ => self.look_up(&mut record).await,
        };
        (record, outcome)
    }

    async fn send(&self, record: &mut StripeRecord, claimed_us: i64) -> Result<(), PushError> {
        let is_first = record.first_sent_us == Some(claimed_us);
        if is_first && record.is_outdated(claimed_us) {
            // Stored before it is sent: whoever finds it after a crash must not take it for the meter event that it was.
            become_amount(record, claimed_us);
            return Ok(());
        }
        let Some(request) = self.ready(record).await? else {
            return Ok(());
        };
        if reads_first(record) {
            return self.close_invoice(record, &request).await;
        }
        // Whoever slept so long may find the record told by others, and even the key forgotten.
        if self.clock.now_us() >= record.claimed_until_us {
            return Ok(());
        }
        let reply = self.call(&request).await;
        judge::sent(record, reply, self.clock.now_us(), &self.dice)?;
        if record.state == RecordState::Rejected && record.is_outdated(claimed_us) {
            // An earlier attempt died between its claim and its call, and meanwhile the usage grew too old.
            become_amount(record, claimed_us);
        }
        Ok(())
    }

    /// The request with the id of the object it speaks of, if what must come before it has come.
    async fn ready(&self, record: &mut StripeRecord) -> Result<Option<StripeRequest>, OutboxError> {
        if let Some(key) = &record.content.after {
            let before = self.outbox.find(key).await?;
            if !before.is_some_and(|before| before.is_told()) {
                record.state = RecordState::NeedsAttention;
                record.last_error = Some(format!("stripe was not told {key}, which comes before this"));
                return Ok(None);
            }
        }
        let request = record.request();
        let Some(key) = record.content.refers_to.as_ref().filter(|_| request.names_stripe_id()) else {
            return Ok(Some(request));
        };
        let object = self.outbox.find(key).await?.and_then(|object| object.stripe_id);
        if object.is_none() {
            record.state = RecordState::NeedsAttention;
            record.last_error = Some(format!("nobody knows stripe's id of {key}"));
        }
        Ok(object.map(|id| request.about(&id)))
    }

    /// Finalizes a draft only if it equals ours; one that is final already is compared.
    async fn close_invoice(
        &self,
        record: &mut StripeRecord,
        request: &StripeRequest,
    ) -> Result<(), PushError> {
        let path = request.path.trim_end_matches("/finalize").to_owned();
        let read = StripeRequest { path, ..request::read_invoice() };
        let invoice = match self.reading.read(&read).await {
            Ok(invoice) => invoice,
            Err(error) => return self.put_off(record, error.into()),
        };
        let is_draft = invoice["status"] == "draft";
        let differs = judge::invoice_differs(record, &invoice).is_some();
        if differs || !is_draft || record.content.kind == RecordKind::InvoiceCheck {
            judge::compare_invoice(record, &invoice);
            return Ok(());
        }
        let reply = self.call(request).await;
        Ok(judge::sent(record, reply, self.clock.now_us(), &self.dice)?)
    }

    async fn confirm(&self, record: &mut StripeRecord) -> Result<(), PushError> {
        match self.looker().find(record).await {
            Ok(found) => judge::confirmed(record, found, self.clock.now_us()),
            Err(error) => return self.put_off(record, error),
        }
        Ok(())
    }

    async fn look_up(&self, record: &mut StripeRecord) -> Result<(), PushError> {
        let found = match self.looker().find(record).await {
            Ok(found) => found,
            Err(error) => return self.put_off(record, error),
        };
        // Of what Stripe counts later, an absence says nothing before everything of ours has arrived.
        let now_us = self.clock.now_us();
        let counts_later = record.content.usage.is_some();
        if found == Found::Absent && counts_later && now_us < record.look_up_from_us() {
            record.next_attempt_us = record.look_up_from_us();
            return Ok(());
        }
        judge::looked_up(record, found, now_us);
        Ok(())
    }

    /// A question to Stripe that failed has changed nothing.
    fn put_off(&self, record: &mut StripeRecord, error: LookError) -> Result<(), PushError> {
        let (text, after_us) = match error {
            LookError::Outbox(error) => return Err(error.into()),
            LookError::Read(ReadError::Answered(answer)) => {
                let problem = Problem::of(&answer);
                if matches!(answer.status, 401 | 403) {
                    return Err(Fatal::Key(problem.message).into());
                }
                (problem.to_string(), answer.retry_after_us)
            }
            LookError::Read(error) => (judge::chain(&error), None),
        };
        judge::not_looked(record, text, after_us, self.clock.now_us(), &self.dice);
        Ok(())
    }

    async fn call(&self, request: &StripeRequest) -> Reply {
        match self.reading.client().call(request).await {
            Ok(answer) => Reply::Answer(answer),
            Err(error) => Reply::Failed(error),
        }
    }
}

/// A record after its turn.
type Landed = (StripeRecord, Result<(), PushError>);

/// Works on the outbox and lets the calls go on meanwhile. They ask the outbox too, and one that nobody wakes may hold the
/// very connection that the work waits for.
async fn beside<T>(
    flights: &mut FuturesUnordered<impl Future<Output = Landed>>,
    landed: &mut Vec<Landed>,
    work: impl Future<Output = T>,
) -> T {
    let mut work = std::pin::pin!(work);
    loop {
        tokio::select! {
            done = &mut work => return done,
            Some(one) = flights.next() => landed.push(one),
        }
    }
}

/// Usage that the meter no longer takes goes as an amount, at the next turn.
fn become_amount(record: &mut StripeRecord, now_us: i64) {
    record.state = RecordState::Waiting;
    record.next_attempt_us = now_us;
    record.become_invoice_item("stripe takes meter events of the last 35 days only");
}

/// The last step of an invoice reads it before each attempt, however long ago the last one was.
fn reads_first(record: &StripeRecord) -> bool {
    matches!(record.content.kind, RecordKind::InvoiceFinalize | RecordKind::InvoiceCheck)
}
