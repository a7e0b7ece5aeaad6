//! The Stripe outbox, kept in the book.
//!
//! Owns that a record is written once, in the transaction of what it tells about; that one of a group is handed out at a
//! time; and that what an overtaken claim stores has no effect. Does not own what a record says, nor its states:
//! `stripe` does, and this is the implementation of its `Outbox`.
//!
//! Two things guard a claim. Its number grows with each, so a sender that slept finds its record in other hands whatever
//! its clock says. And within a job every call shows the job's lease, like any write of it.

use std::collections::{BTreeMap, BTreeSet};

use sea_orm::sea_query::{Expr, Query};
use sea_orm::{ColumnTrait, ConnectionTrait, EntityTrait, ExprTrait, QueryFilter, QueryOrder, QuerySelect};

use super::Book;
use super::entity::{fact, outbox};
use super::error::{BookError, InStep};
use super::lease::Fence;
use super::migrate::BOOK_ID;
use super::writing::{Sharing, Writing, check_code, check_long, check_name};
use crate::stripe::outbox::{Claim, is_same};
use crate::stripe::{Outbox, OutboxError, RecordState, StripeRecord};

/// So many keys are asked for in one statement.
const KEYS_MAX: usize = 10_000;

/// The book's outbox as the Stripe driver sees it.
#[derive(Debug, Clone)]
pub struct BookOutbox {
    book: Book,
    fence: Option<Fence>,
}

impl BookOutbox {
    /// For a job: every change shows its lease.
    pub fn of_run(book: &Book, fence: &Fence) -> Self {
        Self { book: book.clone(), fence: Some(fence.clone()) }
    }

    /// For a person's command, which holds no lease.
    pub fn new(book: &Book) -> Self {
        Self { book: book.clone(), fence: None }
    }

    /// Takes back what earlier runs of the job had handed out when they died or lost the lease; how many records that
    /// are. What such a run still stores is refused, and what it still sends is recognised by its key.
    pub async fn take_over(&self) -> Result<u64, BookError> {
        let Some(fence) = &self.fence else { return Ok(0) };
        let writing = self.begin(Sharing::Alone).await?;
        let update = outbox::Entity::update_many()
            .col_expr(outbox::Column::ClaimedUntilUs, Expr::value(0_i64))
            .filter(outbox::Column::ClaimedUntilUs.gt(0))
            .filter(outbox::Column::LeaseToken.lt(fence.token));
        let taken = update.exec(&writing.transaction).await.in_step("take over records of the outbox")?;
        writing.commit().await?;
        Ok(taken.rows_affected)
    }

    async fn begin(&self, sharing: Sharing) -> Result<Writing, BookError> {
        let writing = self.book.begin().await?;
        match (&self.fence, sharing) {
            (Some(fence), sharing) => writing.check(fence, sharing).await?,
            (None, Sharing::WithOthers) => {}
            (None, Sharing::Alone) => {
                let lock = fact::Entity::find_by_id(BOOK_ID.to_owned()).lock_exclusive();
                lock.one(&writing.transaction).await.in_step("lock the outbox")?;
            }
        }
        Ok(writing)
    }
}

impl Writing {
    /// Puts records into the outbox; how many of them are new. One that is there already is left alone, whatever became
    /// of it; one that is there with another content is refused.
    pub async fn put_into_outbox(&self, records: &[StripeRecord]) -> Result<usize, BookError> {
        let step = "write to the outbox";
        let mut new: BTreeMap<&str, &StripeRecord> = BTreeMap::new();
        for record in records {
            check_record(record)?;
            let earlier = new.insert(&record.key, record);
            if earlier.is_some_and(|earlier| !is_same(earlier, record)) {
                return Err(differs(&record.key));
            }
        }
        let keys: Vec<&str> = new.keys().copied().collect();
        for some in keys.chunks(KEYS_MAX) {
            let query = outbox::Entity::find().filter(outbox::Column::RecordKey.is_in(some.iter().copied()));
            for row in query.all(&self.transaction).await.in_step(step)? {
                let known = from_row(row)?;
                if new.remove(known.key.as_str()).is_some_and(|record| !is_same(&known, record)) {
                    return Err(differs(&known.key));
                }
            }
        }
        let rows = new.values().map(|record| row_of(record, self.now_us)).collect::<Result<Vec<_>, _>>()?;
        let count = rows.len();
        self.insert::<_, outbox::ActiveModel>(rows, step).await?;
        Ok(count)
    }

    async fn claim(&self, claim: Claim, lease_token: Option<i64>) -> Result<Vec<StripeRecord>, BookError> {
        let step = "hand out records of the outbox";
        // A group may have one that waits and one that is to be confirmed, so twice as many are looked at.
        let mut rows = due(claim).all(&self.transaction).await.in_step(step)?;
        let busy = busy_until(&self.transaction).await?;
        rows.sort_by_key(|row| {
            let busy_us = busy.get(&row.call_group).copied().unwrap_or_default();
            let is_waiting = row.state == state_code(RecordState::Waiting);
            (Ord::max(row.next_attempt_us, busy_us), !is_waiting)
        });
        let mut groups = BTreeSet::new();
        let mut records = Vec::new();
        for row in rows {
            if records.len() < claim.limit && groups.insert(row.call_group.clone()) {
                records.push(from_row(row)?);
            }
        }
        for state in [RecordState::Waiting, RecordState::Sent] {
            let of_state = records.iter().filter(|record| record.state == state);
            let keys: Vec<&str> = of_state.map(|record| record.key.as_str()).collect();
            for some in keys.chunks(KEYS_MAX) {
                let mut update = outbox::Entity::update_many()
                    .col_expr(outbox::Column::Claim, Expr::col(outbox::Column::Claim).add(1))
                    .col_expr(outbox::Column::ClaimedUntilUs, Expr::value(claim.until_us))
                    .col_expr(outbox::Column::LeaseToken, Expr::value(lease_token))
                    .col_expr(outbox::Column::ChangedAtUs, Expr::value(self.now_us))
                    .filter(outbox::Column::RecordKey.is_in(some.iter().copied()));
                if state == RecordState::Waiting {
                    let first = Expr::col(outbox::Column::FirstSentUs).if_null(Expr::value(claim.now_us));
                    update = update
                        .col_expr(outbox::Column::Attempts, Expr::col(outbox::Column::Attempts).add(1))
                        .col_expr(outbox::Column::FirstSentUs, first);
                }
                update.exec(&self.transaction).await.in_step(step)?;
            }
        }
        for record in &mut records {
            record.claim += 1;
            record.claimed_until_us = claim.until_us;
            if record.state == RecordState::Waiting {
                record.attempts += 1;
                record.first_sent_us.get_or_insert(claim.now_us);
            }
        }
        Ok(records)
    }

    async fn store(&self, records: &[StripeRecord]) -> Result<usize, BookError> {
        let mut stored = 0;
        for record in records {
            check_record(record)?;
            let row = row_of(record, self.now_us)?;
            let update = outbox::Entity::update_many()
                .col_expr(outbox::Column::Kind, Expr::value(row.kind))
                .col_expr(outbox::Column::AmountMinor, Expr::value(row.amount_minor))
                .col_expr(outbox::Column::UsageValue, Expr::value(row.usage_value))
                .col_expr(outbox::Column::Content, Expr::value(row.content))
                .col_expr(outbox::Column::State, Expr::value(row.state))
                .col_expr(outbox::Column::Attempts, Expr::value(row.attempts))
                .col_expr(outbox::Column::Generation, Expr::value(row.generation))
                .col_expr(outbox::Column::FirstSentUs, Expr::value(row.first_sent_us))
                .col_expr(outbox::Column::NextAttemptUs, Expr::value(row.next_attempt_us))
                .col_expr(outbox::Column::MustLookUp, Expr::value(row.must_look_up))
                .col_expr(outbox::Column::LastError, Expr::value(row.last_error))
                .col_expr(outbox::Column::StripeId, Expr::value(row.stripe_id))
                .col_expr(outbox::Column::ClaimedUntilUs, Expr::value(0_i64))
                .col_expr(outbox::Column::ChangedAtUs, Expr::value(self.now_us))
                .filter(outbox::Column::RecordKey.eq(&record.key))
                .filter(outbox::Column::Claim.eq(record.claim));
            let updated = update.exec(&self.transaction).await.in_step("store a record of the outbox")?;
            stored += usize::from(updated.rows_affected > 0);
        }
        Ok(stored)
    }
}

impl Book {
    /// How many records are in each state.
    pub async fn outbox_counts(&self) -> Result<BTreeMap<RecordState, u64>, BookError> {
        let query = outbox::Entity::find()
            .select_only()
            .column(outbox::Column::State)
            .column_as(outbox::Column::RecordKey.count(), "records")
            .group_by(outbox::Column::State);
        let rows: Vec<(String, i64)> =
            query.into_tuple().all(&self.connection).await.in_step("count the outbox")?;
        rows.into_iter().map(|(state, count)| Ok((state_of(&state)?, count.unsigned_abs()))).collect()
    }

    async fn next_outbox_due_us(&self) -> Result<Option<i64>, BookError> {
        let step = "look what is due in the outbox";
        let heads =
            heads().select_only().column(outbox::Column::CallGroup).column(outbox::Column::NextAttemptUs);
        let heads: Vec<(String, i64)> = heads.into_tuple().all(&self.connection).await.in_step(step)?;
        let busy = busy_until(&self.connection).await?;
        let due = |(group, next_us): (String, i64)| {
            Ord::max(next_us, busy.get(&group).copied().unwrap_or_default())
        };
        Ok(heads.into_iter().map(due).min())
    }
}

impl Outbox for BookOutbox {
    async fn insert(&self, records: &[StripeRecord]) -> Result<usize, OutboxError> {
        let inserted = async {
            let writing = self.begin(Sharing::WithOthers).await?;
            let count = writing.put_into_outbox(records).await?;
            writing.commit().await?;
            Ok(count)
        };
        inserted.await.map_err(to_outbox_error)
    }

    async fn claim(&self, claim: Claim) -> Result<Vec<StripeRecord>, OutboxError> {
        let claimed = async {
            // Two that choose at the same time would choose the same.
            let writing = self.begin(Sharing::Alone).await?;
            let token = self.fence.as_ref().map(|fence| fence.token);
            let records = writing.claim(claim, token).await?;
            writing.commit().await?;
            Ok(records)
        };
        claimed.await.map_err(to_outbox_error)
    }

    async fn store(&self, records: &[StripeRecord]) -> Result<usize, OutboxError> {
        let stored = async {
            let writing = self.begin(Sharing::WithOthers).await?;
            let count = writing.store(records).await?;
            writing.commit().await?;
            Ok(count)
        };
        stored.await.map_err(to_outbox_error)
    }

    async fn find(&self, key: &str) -> Result<Option<StripeRecord>, OutboxError> {
        let row = outbox::Entity::find_by_id(key.to_owned()).one(&self.book.connection).await;
        let row = row.in_step("read the outbox").map_err(to_outbox_error)?;
        row.map(from_row).transpose().map_err(to_outbox_error)
    }

    async fn group(&self, group: &str) -> Result<Vec<StripeRecord>, OutboxError> {
        let query = outbox::Entity::find()
            .filter(outbox::Column::CallGroup.eq(group))
            .order_by_asc(outbox::Column::Sequence)
            .order_by_asc(outbox::Column::RecordKey);
        self.read(query).await.map_err(to_outbox_error)
    }

    async fn list(&self, state: Option<RecordState>) -> Result<Vec<StripeRecord>, OutboxError> {
        let mut query = outbox::Entity::find().order_by_asc(outbox::Column::RecordKey);
        if let Some(state) = state {
            query = query.filter(outbox::Column::State.eq(state_code(state)));
        }
        self.read(query).await.map_err(to_outbox_error)
    }

    async fn counts(&self) -> Result<BTreeMap<RecordState, u64>, OutboxError> {
        self.book.outbox_counts().await.map_err(to_outbox_error)
    }

    async fn waiting_because(&self) -> Result<Option<String>, OutboxError> {
        let query = outbox::Entity::find()
            .filter(outbox::Column::State.eq(state_code(RecordState::Waiting)))
            .filter(outbox::Column::LastError.is_not_null())
            .order_by_asc(outbox::Column::RecordKey)
            .limit(1);
        let first = self.read(query).await.map_err(to_outbox_error)?.pop();
        Ok(first.and_then(|record| record.last_error))
    }

    async fn next_due_us(&self) -> Result<Option<i64>, OutboxError> {
        self.book.next_outbox_due_us().await.map_err(to_outbox_error)
    }
}

impl BookOutbox {
    /// Up to so many records in the order of their keys, after this one; of one tenant, or of all.
    pub async fn after(
        &self,
        key: Option<&str>,
        tenant: Option<&str>,
        count_max: u64,
    ) -> Result<Vec<StripeRecord>, BookError> {
        let mut query = outbox::Entity::find().order_by_asc(outbox::Column::RecordKey).limit(count_max);
        if let Some(key) = key {
            query = query.filter(outbox::Column::RecordKey.gt(key));
        }
        if let Some(tenant) = tenant {
            query = query.filter(outbox::Column::Tenant.eq(tenant));
        }
        self.read(query).await
    }

    async fn read(&self, query: sea_orm::Select<outbox::Entity>) -> Result<Vec<StripeRecord>, BookError> {
        let rows = query.all(&self.book.connection).await.in_step("read the outbox")?;
        rows.into_iter().map(from_row).collect()
    }
}

/// Until when groups are, or were, handed out.
async fn busy_until(connection: &impl ConnectionTrait) -> Result<BTreeMap<String, i64>, BookError> {
    let query = outbox::Entity::find()
        .select_only()
        .column(outbox::Column::CallGroup)
        .column_as(outbox::Column::ClaimedUntilUs.max(), "until_us")
        .filter(outbox::Column::ClaimedUntilUs.gt(0))
        .group_by(outbox::Column::CallGroup);
    let rows: Vec<(String, i64)> =
        query.into_tuple().all(connection).await.in_step("look what is handed out of the outbox")?;
    Ok(rows.into_iter().collect())
}

/// Of each group the first that waits, and of those that are to be confirmed the one that is due first.
fn heads() -> sea_orm::Select<outbox::Entity> {
    let waiting = state_code(RecordState::Waiting);
    let sent = state_code(RecordState::Sent);
    let first_waiting = before(waiting, outbox::Column::Sequence).not();
    let first_sent = before(sent, outbox::Column::NextAttemptUs).not();
    outbox::Entity::find().filter(
        (outbox::Column::State.eq(waiting).and(first_waiting))
            .or(outbox::Column::State.eq(sent).and(first_sent)),
    )
}

/// Heads of groups whose time has come and of which none is handed out.
fn due(claim: Claim) -> sea_orm::Select<outbox::Entity> {
    let busy = Query::select()
        .expr(Expr::value(1))
        .from_as(outbox::Entity, "other")
        .and_where(other(outbox::Column::CallGroup).eq(own(outbox::Column::CallGroup)))
        .and_where(other(outbox::Column::ClaimedUntilUs).gt(claim.now_us))
        .take();
    heads()
        .filter(outbox::Column::NextAttemptUs.lte(claim.now_us))
        .filter(Expr::exists(busy).not())
        .order_by_asc(outbox::Column::NextAttemptUs)
        // What waits goes before what is to be confirmed.
        .order_by_desc(outbox::Column::State)
        .order_by_asc(outbox::Column::RecordKey)
        .limit(2 * claim.limit as u64)
}

/// Whether a record of the same group and state comes before this one.
fn before(state: &str, order: outbox::Column) -> Expr {
    let key = outbox::Column::RecordKey;
    let is_before = other(order).lt(own(order)).or(other(order).eq(own(order)).and(other(key).lt(own(key))));
    let earlier = Query::select()
        .expr(Expr::value(1))
        .from_as(outbox::Entity, "other")
        .and_where(other(outbox::Column::CallGroup).eq(own(outbox::Column::CallGroup)))
        .and_where(other(outbox::Column::State).eq(state))
        .and_where(is_before)
        .take();
    Expr::exists(earlier)
}

fn own(column: outbox::Column) -> Expr {
    Expr::col((outbox::Entity, column))
}

fn other(column: outbox::Column) -> Expr {
    Expr::col(("other", column))
}

fn check_record(record: &StripeRecord) -> Result<(), BookError> {
    let content = &record.content;
    check_name("an outbox record's key", &record.key)?;
    check_name("a group of calls", &record.group)?;
    check_name("a tenant", &content.tenant)?;
    check_name("a customer", &content.customer)?;
    check_name("a meter", content.meter.as_deref().unwrap_or_default())?;
    check_code("a period", &content.period)?;
    check_name("an invoice's number", &content.invoice_number)?;
    check_code("a currency", &content.currency)?;
    check_name("a Stripe object", record.stripe_id.as_deref().unwrap_or_default())?;
    check_long("an error", record.last_error.as_deref().unwrap_or_default())
}

fn row_of(record: &StripeRecord, now_us: i64) -> Result<outbox::Model, BookError> {
    let content = &record.content;
    Ok(outbox::Model {
        record_key: record.key.clone(),
        call_group: record.group.clone(),
        sequence: record.sequence,
        kind: content.kind.name().to_owned(),
        tenant: content.tenant.clone(),
        customer: content.customer.clone(),
        meter: content.meter.clone(),
        period: content.period.clone(),
        invoice_number: content.invoice_number.clone(),
        currency: content.currency.clone(),
        amount_minor: content.amount_minor,
        usage_value: content.usage.as_ref().map(|usage| usage.value),
        content: serde_json::to_string(content).map_err(|error| damaged(error.to_string()))?,
        state: state_code(record.state).to_owned(),
        attempts: i64::from(record.attempts),
        generation: i64::from(record.generation),
        first_sent_us: record.first_sent_us,
        next_attempt_us: record.next_attempt_us,
        must_look_up: i64::from(record.must_look_up),
        last_error: record.last_error.clone(),
        stripe_id: record.stripe_id.clone(),
        claim: record.claim,
        claimed_until_us: record.claimed_until_us,
        lease_token: None,
        created_at_us: now_us,
        changed_at_us: now_us,
    })
}

fn from_row(row: outbox::Model) -> Result<StripeRecord, BookError> {
    let count = |value: i64| u32::try_from(value).map_err(|_| damaged(format!("a count of {value}")));
    Ok(StripeRecord {
        key: row.record_key,
        group: row.call_group,
        sequence: row.sequence,
        content: serde_json::from_str(&row.content).map_err(|error| damaged(error.to_string()))?,
        state: state_of(&row.state)?,
        attempts: count(row.attempts)?,
        generation: count(row.generation)?,
        first_sent_us: row.first_sent_us,
        next_attempt_us: row.next_attempt_us,
        must_look_up: row.must_look_up != 0,
        last_error: row.last_error,
        stripe_id: row.stripe_id,
        claim: row.claim,
        claimed_until_us: row.claimed_until_us,
    })
}

fn state_code(state: RecordState) -> &'static str {
    match state {
        RecordState::Waiting => "waiting",
        RecordState::Sent => "sent",
        RecordState::Confirmed => "confirmed",
        RecordState::Rejected => "rejected",
        RecordState::NeedsAttention => "needs_attention",
    }
}

fn state_of(code: &str) -> Result<RecordState, BookError> {
    let state = RecordState::ALL.into_iter().find(|state| state_code(*state) == code);
    state.ok_or_else(|| damaged(format!("a record in the state `{code}`")))
}

fn differs(key: &str) -> BookError {
    BookError::OutboxDiffers { key: key.to_owned() }
}

fn damaged(problem: String) -> BookError {
    BookError::Damaged { table: "outbox", problem }
}

fn to_outbox_error(error: BookError) -> OutboxError {
    match error {
        BookError::OutboxDiffers { key } => OutboxError::OtherContent { key },
        other => OutboxError::Unreachable(Box::new(other)),
    }
}
