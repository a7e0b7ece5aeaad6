//! Corrections of usage that Stripe was told: taken back and said anew as long as it allows that.
//!
//! Afterwards the difference goes as an amount on the customer's next invoice there (`Plan::amount_of_usage`): only an amount
//! is what our own document says, whatever allowance or tier further usage would fall into. Lines that went as invoice items
//! need nothing here: their adjustments are lines of our next document, and go with it.

use std::collections::BTreeMap;

use rating::catalog::{StripeCustomer, StripeGranularity, StripeSending};
use rating::line::{LineItem, LineKey};

use crate::stripe::record::{RecordContent, RecordKind, SentUsage, StripeRecord, bounded};
use crate::stripe::request;

use super::usage::{SEQUENCE_STEP, quantity_of, record_key};
use super::{Plan, PlanError};
use crate::stripe::amount;

/// Another figure for usage that was told.
#[derive(Debug, Clone, Copy)]
pub struct Correction<'a> {
    /// As the outbox has it now.
    pub told: &'a StripeRecord,
    pub new_value: i64,
    /// What the new value costs by our own price.
    pub new_amount_minor: i64,
    /// The document that carries the adjustment.
    pub invoice_number: &'a str,
}

/// What the corrections of one document may take back in Stripe, and the corrected lines as they are now.
#[derive(Debug, Clone, Default)]
pub struct Retold {
    /// By key: meter events that can be cancelled, or were for this document.
    pub told: BTreeMap<String, StripeRecord>,
    pub now: BTreeMap<LineKey, LineItem>,
}

/// The meter event that told all of a line's usage; nothing where it went in another way or in parts.
pub fn told_key(line: &LineItem, sending: &StripeSending, customer: &StripeCustomer) -> Option<String> {
    match sending {
        StripeSending::MeterEvents { usage, .. } if usage.granularity == StripeGranularity::Period => {
            Some(record_key(&customer.customer, &line.key, line.key.span))
        }
        _ => None,
    }
}

/// The key under which a document takes that event back.
pub fn cancel_key(told_key: &str, invoice_number: &str) -> String {
    bounded(&format!("{told_key}/cancel/{invoice_number}"))
}

/// Whether a meter event can be cancelled: Stripe has it, and it was sent less than a day ago.
pub fn can_cancel(told: &StripeRecord, now_us: i64) -> bool {
    told.content.kind == RecordKind::MeterEvent
        && told.is_told()
        && told.first_sent_us.is_some()
        && told.may_retry(now_us)
}

impl Plan<'_> {
    /// The event of a corrected line cancelled and told anew; nothing where the difference has to go as an amount.
    pub(super) fn retold(
        &self,
        line: &LineItem,
        sending: &StripeSending,
        retold: &Retold,
    ) -> Result<Option<Vec<StripeRecord>>, PlanError> {
        let StripeSending::MeterEvents { usage: how, .. } = sending else { return Ok(None) };
        let told = told_key(line, sending, self.customer).and_then(|key| retold.told.get(&key));
        let (Some(told), Some(corrects)) = (told, &line.corrects) else { return Ok(None) };
        let what = line.key.to_string();
        // Another correction went as an amount meanwhile.
        if told.content.amount_minor != Some(self.minor_units(corrects.old, &what)?) {
            return Ok(None);
        }
        let new_value = match retold.now.get(&line.key) {
            Some(now) => amount::scaled(quantity_of(now, *how), how.scale)
                .map_err(|source| self.amount_error(&what, source))?,
            None => 0,
        };
        let is_other = told.content.usage.as_ref().is_some_and(|usage| usage.value != new_value);
        if new_value < 0 || !is_other {
            return Ok(None);
        }
        let new_amount_minor = self.minor_units(corrects.new, &what)?;
        let invoice_number = self.issued.number;
        Ok(Some(correct(&Correction { told, new_value, new_amount_minor, invoice_number })))
    }
}

/// The event is cancelled and another one stands instead.
pub fn correct(correction: &Correction<'_>) -> Vec<StripeRecord> {
    let told = correction.told;
    let content = &told.content;
    let Some(usage) = &content.usage else { return Vec::new() };
    let meter = content.meter.clone().unwrap_or_default();
    let sequence = usage.at_s * SEQUENCE_STEP;
    let cancel_key = cancel_key(&told.key, correction.invoice_number);
    let cancel = RecordContent {
        kind: RecordKind::MeterEventCancel,
        invoice_number: correction.invoice_number.to_owned(),
        usage: None,
        // Given back in money, should it come too late.
        amount_minor: content.amount_minor.map(|amount| -amount),
        after: None,
        refers_to: Some(told.key.clone()),
        request: request::meter_event_cancel(&meter, told.identifier().unwrap_or(&told.key)),
        ..content.clone()
    };
    let mut records = vec![StripeRecord::new(cancel_key.clone(), told.group.clone(), sequence + 1, cancel)];
    if correction.new_value > 0 || usage.is_set {
        let key = bounded(&format!("{}/instead/{}", told.key, correction.invoice_number));
        let new = RecordContent {
            invoice_number: correction.invoice_number.to_owned(),
            usage: Some(SentUsage { value: correction.new_value, ..usage.clone() }),
            amount_minor: Some(correction.new_amount_minor),
            after: Some(cancel_key),
            request: request::meter_event(&meter, &content.customer, correction.new_value, usage.at_s, &key),
            ..content.clone()
        };
        records.push(StripeRecord::new(key, told.group.clone(), sequence + 2, new));
    }
    records
}
