//! Corrections of usage that Stripe was told: taken back and said anew while that is possible, else carried over.
//!
//! Lines that went as invoice items need nothing here: their adjustments are lines of our next invoice, and go with it.

use crate::stripe::record::{RecordContent, RecordKind, SentUsage, StripeRecord, bounded};
use crate::stripe::request::{self, ItemParts};

use super::usage::SEQUENCE_STEP;

/// Another figure for usage that was told.
#[derive(Debug, Clone, Copy)]
pub struct Correction<'a> {
    /// As the outbox has it now.
    pub told: &'a StripeRecord,
    pub new_value: i64,
    /// What the new value costs by our own price.
    pub new_amount_minor: i64,
    /// The invoice that carries the adjustment.
    pub invoice_number: &'a str,
    /// The second in the period under way to which a carried difference belongs.
    pub carried_at_s: i64,
    pub now_us: i64,
}

/// What Stripe must be told of a correction.
///
/// Within 24 hours of its sending, a meter event is cancelled and another one stands instead. Later, more usage goes as
/// a further event; less, or a figure that is set, as the difference in money on the customer's next invoice.
pub fn correct(correction: &Correction<'_>) -> Vec<StripeRecord> {
    let content = &correction.told.content;
    let Some(usage) = &content.usage else { return Vec::new() };
    let difference = correction.new_value - usage.value;
    let difference_minor = correction.new_amount_minor - content.amount_minor.unwrap_or_default();
    if difference == 0 && difference_minor == 0 {
        return Vec::new();
    }
    let told = correction.told;
    let can_cancel = content.kind == RecordKind::MeterEvent
        && told.is_told()
        && told.first_sent_us.is_some()
        && told.may_retry(correction.now_us);
    if can_cancel {
        return cancel_and_replace(correction, usage);
    }
    if difference > 0 && !usage.is_set {
        return vec![carried_usage(correction, difference, difference_minor)];
    }
    vec![carried_amount(correction, difference_minor)]
}

fn key_of(correction: &Correction<'_>, what: &str) -> String {
    bounded(&format!("{}/{what}/{}", correction.told.key, correction.invoice_number))
}

fn cancel_and_replace(correction: &Correction<'_>, usage: &SentUsage) -> Vec<StripeRecord> {
    let told = correction.told;
    let content = &told.content;
    let meter = content.meter.clone().unwrap_or_default();
    let sequence = usage.at_s * SEQUENCE_STEP;
    let cancel_key = key_of(correction, "cancel");
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
        let key = key_of(correction, "instead");
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

fn carried_usage(correction: &Correction<'_>, difference: i64, difference_minor: i64) -> StripeRecord {
    let told = correction.told;
    let content = &told.content;
    let key = key_of(correction, "more");
    let at_s = correction.carried_at_s;
    let meter = content.meter.clone().unwrap_or_default();
    let request = if content.kind == RecordKind::MeterEvent {
        request::meter_event(&meter, &content.customer, difference, at_s, &key)
    } else {
        let api_version = content.request.api_version.clone().unwrap_or_default();
        request::usage_record(&meter, difference, at_s, "increment", &api_version)
    };
    let content = RecordContent {
        invoice_number: correction.invoice_number.to_owned(),
        usage: Some(SentUsage { value: difference, at_s, is_set: false }),
        amount_minor: Some(difference_minor),
        after: None,
        request,
        ..content.clone()
    };
    StripeRecord::new(key, told.group.clone(), at_s * SEQUENCE_STEP, content)
}

fn carried_amount(correction: &Correction<'_>, difference_minor: i64) -> StripeRecord {
    let content = &correction.told.content;
    let key = key_of(correction, "difference");
    let description = format!("Correction: {}", content.description);
    let request = request::invoice_item(&ItemParts {
        key: &key,
        customer: &content.customer,
        currency: &content.currency,
        amount_minor: difference_minor,
        description: &description,
        on_our_invoice: false,
    });
    let group = format!("{}/items", content.customer);
    let content = RecordContent {
        kind: RecordKind::InvoiceItem,
        meter: None,
        invoice_number: correction.invoice_number.to_owned(),
        description,
        usage: None,
        amount_minor: Some(difference_minor),
        after: None,
        refers_to: None,
        request,
        ..content.clone()
    };
    StripeRecord::new(key, group, 0, content)
}
