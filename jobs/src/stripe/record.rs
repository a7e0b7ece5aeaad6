//! One thing that Stripe must be told, and how far that has come.
//!
//! Owns: the record's parts, its deterministic key, and the numbers of hours and days after which things change. Does
//! not own: what makes one record of an invoice (`plan`), or what an answer makes of it (`judge`).

use serde::{Deserialize, Serialize};

use super::request::{self, ItemParts, StripeRequest};

const HOUR_US: i64 = 3_600_000_000;
const DAY_S: i64 = 86_400;
/// Stripe may forget an idempotency key after 24 hours. Until an hour before, the same request can simply go again.
pub const RETRY_HOURS: i64 = 23;
/// From an hour after, nothing of ours is under way any more, and Stripe can be asked what came of it.
pub const LOOK_UP_HOURS: i64 = 25;
/// Stripe takes meter events of the last 35 days; one day is for the way there.
const EVENT_AGE_DAYS_MAX: i64 = 34;
/// Stripe's limit for the identifier of a meter event.
const IDENTIFIER_CHARACTERS_MAX: usize = 100;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RecordKind {
    /// Usage on a meter.
    MeterEvent,
    /// Takes a meter event back.
    MeterEventCancel,
    /// Usage of a subscription item, in an API before 2025-03-31.
    UsageRecord,
    /// A draft of an invoice.
    Invoice,
    /// An amount on that draft, or on the customer's next invoice.
    InvoiceItem,
    /// Compares the draft with ours and finalizes it.
    InvoiceFinalize,
    /// Compares the draft with ours and leaves it a draft.
    InvoiceCheck,
}

impl RecordKind {
    pub fn name(self) -> &'static str {
        match self {
            Self::MeterEvent => "meter_event",
            Self::MeterEventCancel => "meter_event_cancel",
            Self::UsageRecord => "usage_record",
            Self::Invoice => "invoice",
            Self::InvoiceItem => "invoice_item",
            Self::InvoiceFinalize => "invoice_finalize",
            Self::InvoiceCheck => "invoice_check",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RecordState {
    /// To be sent, perhaps again.
    Waiting,
    /// Stripe took it and has not counted it yet.
    Sent,
    /// Stripe has it.
    Confirmed,
    /// Stripe does not want it; somebody must look.
    Rejected,
    /// What Stripe has is not what we expect; somebody must look.
    NeedsAttention,
}

impl RecordState {
    pub const ALL: [Self; 5] =
        [Self::Waiting, Self::Sent, Self::Confirmed, Self::Rejected, Self::NeedsAttention];

    pub fn name(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Sent => "sent",
            Self::Confirmed => "confirmed",
            Self::Rejected => "rejected",
            Self::NeedsAttention => "needs attention",
        }
    }
}

/// Usage as Stripe will count it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SentUsage {
    pub value: i64,
    /// The second to which it belongs.
    pub at_s: i64,
    /// The last figure counts; otherwise figures are added up.
    pub is_set: bool,
}

/// What a record is about. None of it changes, except that usage may become an invoice item.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordContent {
    pub kind: RecordKind,
    pub tenant: String,
    pub customer: String,
    /// The event name of Stripe's meter, or the subscription item.
    pub meter: Option<String>,
    pub period: String,
    /// The number of our invoice.
    pub invoice_number: String,
    pub description: String,
    pub usage: Option<SentUsage>,
    /// In Stripe's smallest unit: the item's amount, the invoice's total, or what usage costs by our own price.
    pub amount_minor: Option<i64>,
    pub currency: String,
    /// The record that must have been told before, in the same group.
    pub after: Option<String>,
    /// The record whose object in Stripe this one speaks of; of a cancellation, the event that is taken back.
    pub refers_to: Option<String>,
    pub request: StripeRequest,
}

/// A record with its progress.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StripeRecord {
    /// The same for the same thing in every run.
    pub key: String,
    /// Records of one group go one at a time, in the order of `sequence`: those of one customer and meter, or of one
    /// invoice.
    pub group: String,
    pub sequence: i64,
    pub content: RecordContent,

    pub state: RecordState,
    /// Of the call under way, or the last.
    pub attempts: u32,
    /// Grows where Stripe must not take a request for the one before.
    pub generation: u32,
    /// Stored before anything is sent; none again when Stripe surely has nothing of it.
    pub first_sent_us: Option<i64>,
    pub next_attempt_us: i64,
    /// Whether Stripe must be asked before anything is sent again.
    pub must_look_up: bool,
    pub last_error: Option<String>,
    pub stripe_id: Option<String>,

    /// Grows with each claim: who stores with an older one was overtaken.
    pub claim: i64,
    pub claimed_until_us: i64,
}

impl StripeRecord {
    pub fn new(key: String, group: String, sequence: i64, content: RecordContent) -> Self {
        Self {
            key,
            group,
            sequence,
            content,
            state: RecordState::Waiting,
            attempts: 0,
            generation: 0,
            first_sent_us: None,
            next_attempt_us: 0,
            must_look_up: false,
            last_error: None,
            stripe_id: None,
            claim: 0,
            claimed_until_us: 0,
        }
    }

    /// Whether Stripe has it or took it.
    pub fn is_told(&self) -> bool {
        matches!(self.state, RecordState::Sent | RecordState::Confirmed)
    }

    /// The request of this generation, with its idempotency key.
    pub fn request(&self) -> StripeRequest {
        let mut request = self.content.request.clone();
        if request.idempotency_key.is_none() && request.method == super::Method::Post {
            let suffix = format!("~{}~{}", self.content.kind.name(), self.generation);
            request.idempotency_key = Some(format!("{}{suffix}", self.key));
        }
        request
    }

    /// Whether the same request may go again on the word of its idempotency key.
    pub fn may_retry(&self, now_us: i64) -> bool {
        self.first_sent_us.is_none_or(|first_us| now_us < first_us + RETRY_HOURS * HOUR_US)
    }

    /// When Stripe can be asked for sure what came of it.
    pub fn look_up_from_us(&self) -> i64 {
        self.first_sent_us.map_or(0, |first_us| first_us + LOOK_UP_HOURS * HOUR_US)
    }

    /// Whether Stripe would no longer take the event, or take the cancellation of one that was sent then.
    pub fn is_outdated(&self, now_us: i64) -> bool {
        let oldest_s = now_us.div_euclid(1_000_000) - EVENT_AGE_DAYS_MAX * DAY_S;
        self.content.kind == RecordKind::MeterEvent
            && self.content.usage.as_ref().is_some_and(|usage| usage.at_s < oldest_s)
    }

    /// Usage that Stripe's meters no longer take becomes an amount on the customer's next invoice, at what our own
    /// invoice says it costs. Only for what Stripe surely has not.
    pub fn become_invoice_item(&mut self, reason: &str) {
        let content = &mut self.content;
        let amount_minor = content.amount_minor.unwrap_or_default();
        content.kind = RecordKind::InvoiceItem;
        content.request = request::invoice_item(&ItemParts {
            key: &self.key,
            customer: &content.customer,
            currency: &content.currency,
            amount_minor,
            description: &content.description,
            on_our_invoice: false,
        });
        content.usage = None;
        content.refers_to = None;
        self.first_sent_us = None;
        self.must_look_up = false;
        self.generation += 1;
        self.last_error = Some(reason.to_owned());
        if amount_minor == 0 {
            // Nothing to charge is nothing to tell.
            self.state = RecordState::Confirmed;
        }
    }

    /// A new try after somebody has looked into it. What Stripe refused at the first call it has nothing of; about anything
    /// else, and above all about what it took once and did not count in time, it is asked first.
    pub fn start_over(&mut self, now_us: i64) {
        let is_object = matches!(self.content.kind, RecordKind::Invoice | RecordKind::InvoiceItem);
        if self.state == RecordState::Rejected && self.attempts <= 1 && !is_object {
            self.forget_sending();
        } else {
            self.must_look_up = self.first_sent_us.is_some();
        }
        self.state = RecordState::Waiting;
        self.attempts = 0;
        self.next_attempt_us = now_us;
    }

    /// Stripe has nothing of what was sent; the next request is another one.
    pub fn forget_sending(&mut self) {
        self.generation += 1;
        self.attempts = 0;
        self.first_sent_us = None;
        self.must_look_up = false;
        if self.content.kind == RecordKind::MeterEvent {
            let identifier = bounded(&format!("{}~{}", self.key, self.generation));
            self.content.request.set("identifier", identifier);
        }
    }

    pub fn identifier(&self) -> Option<&str> {
        self.content.request.parameter("identifier")
    }
}

/// A key that Stripe takes as the identifier of an event: the text itself where it is short and plain, its hash
/// otherwise.
pub fn bounded(text: &str) -> String {
    let is_plain = text.chars().all(|c| c.is_ascii_graphic());
    if is_plain && text.len() <= IDENTIFIER_CHARACTERS_MAX {
        return text.to_owned();
    }
    format!("mh_{}", blake3::hash(text.as_bytes()).to_hex())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_fit_and_differ() {
        let long = "x".repeat(101);
        assert_eq!(bounded("acme/2026-03-01"), "acme/2026-03-01");
        assert_eq!(bounded(&"x".repeat(100)), "x".repeat(100));
        assert_eq!(bounded(&long).len(), 67);
        assert_ne!(bounded(&long), bounded(&"x".repeat(102)));
        assert!(bounded("müller/2026").starts_with("mh_"));
        assert!(bounded("two words").starts_with("mh_"));
    }
}
