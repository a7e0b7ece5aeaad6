//! What an answer makes of a record. Pure: the record before, the answer, the time, and the record after.
//!
//! It keeps the rule that a record is sent again only where Stripe recognises it, and that only what Stripe
//! said itself ends an attempt.

use serde_json::Value;

use super::backoff::{self, SECOND_US};
use super::client::{Answer, CallError};
use super::clock::Dice;
use super::record::{RecordKind, RecordState, StripeRecord};

/// Stripe counts meter events some time after it took them.
pub(super) const SETTLE_US: i64 = 15 * 60 * SECOND_US;
/// Looks at what was sent, each twice as long after the last, before it counts as lost: about a day in all.
pub(super) const CONFIRM_LOOKS_MAX: u32 = 6;

/// The whole push cannot go on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fatal {
    #[error("stripe does not accept the key: {0}")]
    Key(String),
}

/// What came back from a call for a record.
#[derive(Debug)]
pub(super) enum Reply {
    Answer(Answer),
    Failed(CallError),
}

/// What Stripe knows of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Found {
    There {
        stripe_id: Option<String>,
    },
    /// Surely not, and it will not come any more.
    Absent,
    /// Something that we cannot explain.
    Unexplained(String),
}

/// The record after a call that told Stripe about it.
pub(super) fn sent(record: &mut StripeRecord, reply: Reply, now_us: i64, dice: &Dice) -> Result<(), Fatal> {
    let answer = match reply {
        Reply::Answer(answer) => answer,
        Reply::Failed(error) => {
            let text = chain(&error);
            retry(record, text, None, now_us, dice);
            return Ok(());
        }
    };
    let problem = Problem::of(&answer);
    match answer.status {
        200..=299 => accepted(record, &answer, now_us),
        401 | 403 => {
            let first_sent_us = record.first_sent_us.filter(|_| record.attempts > 1);
            // The call had no effect: as if it had not been made.
            record.first_sent_us = first_sent_us;
            record.attempts -= 1;
            return Err(Fatal::Key(problem.message));
        }
        400 if is_known(record, &problem) => {
            record.last_error = None;
            told(record, now_us);
        }
        400 if record.content.kind == RecordKind::MeterEventCancel && problem.is_too_late() => {
            record.become_cancellation_in_money();
        }
        400 if record.content.kind == RecordKind::UsageRecord && problem.is_of_closed_period() => {
            leave_closed_period(record, &problem, now_us);
        }
        409 | 424 | 429 | 500..=599 => {
            // The same key would give the same error for as long as Stripe remembers it.
            if answer.is_replayed && answer.status >= 500 {
                replayed(record);
            }
            retry(record, problem.to_string(), answer.retry_after_us, now_us, dice);
        }
        _ if answer.should_retry == Some(true) => {
            retry(record, problem.to_string(), answer.retry_after_us, now_us, dice);
        }
        _ if problem.kind == "idempotency_error" => {
            record.state = RecordState::NeedsAttention;
            record.last_error = Some(format!("stripe knows the key with another content: {problem}"));
        }
        _ => {
            record.state = RecordState::Rejected;
            record.last_error = Some(problem.to_string());
        }
    }
    Ok(())
}

/// Stripe takes usage records of its current billing period only. What comes later goes as an amount, unless an earlier
/// attempt may have told it: then Stripe is asked first.
fn leave_closed_period(record: &mut StripeRecord, problem: &Problem, now_us: i64) {
    if record.attempts > 1 {
        record.must_look_up = true;
        record.last_error = Some(problem.to_string());
        record.next_attempt_us = record.look_up_from_us().max(now_us + SECOND_US);
        return;
    }
    record.next_attempt_us = now_us;
    record.become_invoice_item("stripe takes usage records of its current billing period only");
}

fn accepted(record: &mut StripeRecord, answer: &Answer, now_us: i64) {
    let body: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    record.last_error = None;
    if let Some(id) = body["id"].as_str() {
        record.stripe_id = Some(id.to_owned());
    }
    match record.content.kind {
        // Without its id nothing can be put on the invoice; asking finds it.
        RecordKind::Invoice if record.stripe_id.is_none() => {
            record.must_look_up = true;
            record.last_error = Some("stripe's answer names no id".to_owned());
            record.next_attempt_us = now_us + SECOND_US;
        }
        RecordKind::InvoiceFinalize | RecordKind::InvoiceCheck => compare_invoice(record, &body),
        _ => told(record, now_us),
    }
}

/// Stripe has it, or took it and will count it.
fn told(record: &mut StripeRecord, now_us: i64) {
    record.must_look_up = false;
    match record.content.kind {
        RecordKind::MeterEvent | RecordKind::MeterEventCancel => {
            record.state = RecordState::Sent;
            record.attempts = 0;
            record.next_attempt_us = now_us + SETTLE_US;
        }
        _ => record.state = RecordState::Confirmed,
    }
}

/// Whether Stripe refuses it because it has it.
fn is_known(record: &StripeRecord, problem: &Problem) -> bool {
    match record.content.kind {
        RecordKind::MeterEvent => {
            problem.code == "duplicate_meter_event"
                || problem.message.contains("already exists with identifier")
        }
        RecordKind::MeterEventCancel => problem.message.contains("already been cancel"),
        _ => false,
    }
}

/// What Stripe has answered to a key it will answer for a day. A meter event and what is set have a guard beside the
/// key and may go again under a new one; about anything else Stripe is asked first.
fn replayed(record: &mut StripeRecord) {
    let is_guarded = match record.content.kind {
        // The last two read the draft before each attempt.
        RecordKind::MeterEvent
        | RecordKind::MeterEventCancel
        | RecordKind::InvoiceFinalize
        | RecordKind::InvoiceCheck => true,
        RecordKind::UsageRecord => record.content.usage.as_ref().is_some_and(|usage| usage.is_set),
        RecordKind::Invoice | RecordKind::InvoiceItem => false,
    };
    if is_guarded {
        record.generation += 1;
    } else {
        record.must_look_up = true;
    }
}

fn retry(record: &mut StripeRecord, error: String, after_us: Option<i64>, now_us: i64, dice: &Dice) {
    record.last_error = Some(error);
    record.next_attempt_us = now_us + backoff::wait_us(record.attempts, after_us, dice);
}

/// A call about a record that has no effect of its own failed.
pub(super) fn not_looked(
    record: &mut StripeRecord,
    error: String,
    after_us: Option<i64>,
    now_us: i64,
    dice: &Dice,
) {
    // Attempts of what was sent count looks, and a failed question is none.
    let failures = if record.state == RecordState::Sent { 8 } else { record.attempts };
    record.last_error = Some(error);
    record.next_attempt_us = now_us + backoff::wait_us(failures, after_us, dice);
}

/// The record after Stripe was asked for it because nobody knew.
pub(super) fn looked_up(record: &mut StripeRecord, found: Found, now_us: i64) {
    match found {
        Found::There { stripe_id } => {
            record.stripe_id = stripe_id.or(record.stripe_id.take());
            record.last_error = None;
            told(record, now_us);
        }
        Found::Absent if record.content.kind == RecordKind::MeterEventCancel => {
            record.become_cancellation_in_money();
            record.next_attempt_us = now_us;
        }
        Found::Absent => {
            record.forget_sending();
            record.next_attempt_us = now_us;
        }
        Found::Unexplained(why) => {
            record.state = RecordState::NeedsAttention;
            record.last_error = Some(why);
        }
    }
}

/// The record after a look at whether Stripe counted what it took.
pub(super) fn confirmed(record: &mut StripeRecord, found: Found, now_us: i64) {
    record.attempts += 1;
    match found {
        Found::There { .. } => {
            record.state = RecordState::Confirmed;
            record.last_error = None;
        }
        _ if record.attempts < CONFIRM_LOOKS_MAX => {
            record.next_attempt_us = now_us + (SETTLE_US << record.attempts);
        }
        Found::Absent => {
            record.state = RecordState::Rejected;
            record.last_error = Some(
                "stripe took it and did not count it: see the meter's errors in its dashboard".to_owned(),
            );
        }
        Found::Unexplained(why) => {
            record.state = RecordState::NeedsAttention;
            record.last_error = Some(why);
        }
    }
}

/// Compares an invoice of Stripe with ours; only an equal one may be finalized.
pub(super) fn invoice_differs(record: &StripeRecord, invoice: &Value) -> Option<String> {
    let ours = record.content.amount_minor.unwrap_or_default();
    let theirs = invoice["total"].as_i64();
    let currency = invoice["currency"].as_str().unwrap_or_default();
    if theirs != Some(ours) {
        let theirs = theirs.map_or("none".to_owned(), |total| total.to_string());
        return Some(format!("the invoice's total in stripe is {theirs}, ours is {ours} (smallest units)"));
    }
    if !currency.eq_ignore_ascii_case(&record.content.currency) {
        return Some(format!("the invoice in stripe is in {currency}, ours in {}", record.content.currency));
    }
    None
}

pub(super) fn compare_invoice(record: &mut StripeRecord, invoice: &Value) {
    record.stripe_id = invoice["id"].as_str().map(str::to_owned).or(record.stripe_id.take());
    record.last_error = invoice_differs(record, invoice);
    record.state =
        if record.last_error.is_some() { RecordState::NeedsAttention } else { RecordState::Confirmed };
}

/// Stripe's error object.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Problem {
    pub status: u16,
    pub kind: String,
    pub code: String,
    pub message: String,
}

impl Problem {
    pub fn of(answer: &Answer) -> Self {
        let body: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        let text = |name: &str| body["error"][name].as_str().unwrap_or_default().to_owned();
        Self { status: answer.status, kind: text("type"), code: text("code"), message: text("message") }
    }

    /// Stripe has no code for it: its words are that timestamps must be after the last invoice period, or the current one's start.
    fn is_of_closed_period(&self) -> bool {
        let is_about_time = self.message.contains("timestamp");
        is_about_time && (self.message.contains("current period") || self.message.contains("billing period"))
    }

    fn is_too_late(&self) -> bool {
        self.code == "out_of_window" || self.message.contains("24 hours")
    }
}

impl std::fmt::Display for Problem {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "status {}", self.status)?;
        for part in [&self.code, &self.message] {
            if !part.is_empty() {
                write!(out, ": {part}")?;
            }
        }
        Ok(())
    }
}

pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

impl StripeRecord {
    /// A cancellation that comes too late gives the event's amount back on the customer's next invoice.
    fn become_cancellation_in_money(&mut self) {
        self.become_invoice_item("the event is older than 24 hours and cannot be cancelled any more");
        if self.content.amount_minor != Some(0) {
            self.state = RecordState::Waiting;
        }
    }
}
