//! Corrections of usage that Stripe was told: taken back and said anew as long as it allows that.
//!
//! A line that was told by the day or hour is told anew for each part whose figure is another one now; all of it, or where
//! one of these events is too old to be taken back, nothing. Then the difference goes as an amount on the customer's next
//! invoice there (`Plan::amount_of_usage`): only an amount is what our own document says, whatever allowance or tier further
//! usage would fall into. Lines that went as invoice items need nothing here: their adjustments are lines of our next
//! document, and go with it.

use std::collections::{BTreeMap, BTreeSet};

use rating::catalog::{StripeAction, StripeCustomer, StripeSending, StripeUsage};
use rating::exact::Exact;
use rating::line::{LineItem, LineKey};
use rating::period::{Span, TimeZone};

use crate::stripe::record::{RecordContent, RecordKind, SentUsage, StripeRecord, bounded};
use crate::stripe::request;

use super::parts::parts;
use super::usage::{Figure, SEQUENCE_STEP, Slots, group_of, quantity_of, record_key};
use super::{Plan, PlanError};

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
    /// By key: meter events of corrected lines that Stripe has.
    pub told: BTreeMap<String, StripeRecord>,
    /// Which of them can be cancelled, or were for this document.
    pub cancellable: BTreeSet<String>,
    pub now: BTreeMap<LineKey, LineItem>,
    /// How the quantity of those lines came about, where they are told by the day or hour.
    pub parts: BTreeMap<LineKey, Vec<(Span, Exact)>>,
    /// By group: the seconds to which something was told. A minute holds one event.
    pub taken: BTreeMap<String, BTreeSet<i64>>,
    /// By key: the seconds of events that this document told where there were none before, if it was issued.
    pub added: BTreeMap<String, i64>,
}

/// The meter events that may have told a line's usage, in the order of their parts of it; none where it goes in another way.
pub fn told_keys(
    line: &LineItem,
    sending: &StripeSending,
    customer: &StripeCustomer,
    zone: &TimeZone,
) -> Vec<String> {
    let StripeSending::MeterEvents { usage, .. } = sending else { return Vec::new() };
    let parts = parts(line.key.span, usage.granularity, zone);
    parts.into_iter().map(|part| record_key(&customer.customer, &line.key, part)).collect()
}

/// The key under which a document takes that event back.
pub fn cancel_key(told_key: &str, invoice_number: &str) -> String {
    bounded(&format!("{told_key}/cancel/{invoice_number}"))
}

/// The key of what a document says of the same usage instead, or where nothing was told before.
pub fn instead_key(told_key: &str, invoice_number: &str) -> String {
    bounded(&format!("{told_key}/instead/{invoice_number}"))
}

/// Whether a meter event can be cancelled: Stripe has it, and it was sent less than a day ago.
pub fn can_cancel(told: &StripeRecord, now_us: i64) -> bool {
    told.content.kind == RecordKind::MeterEvent
        && told.is_told()
        && told.first_sent_us.is_some()
        && told.may_retry(now_us)
}

impl Plan<'_> {
    /// The events of a corrected line cancelled and told anew; nothing where the difference has to go as an amount.
    pub(super) fn retold(
        &self,
        line: &LineItem,
        sending: &StripeSending,
        retold: &Retold,
        slots: &mut Slots,
    ) -> Result<Option<Vec<StripeRecord>>, PlanError> {
        let StripeSending::MeterEvents { event_name, usage: how } = sending else { return Ok(None) };
        let Some(corrects) = &line.corrects else { return Ok(None) };
        let keys = told_keys(line, sending, self.customer, &self.tenant.time_zone);
        let told = || keys.iter().filter_map(|key| retold.told.get(key));
        let billed: i64 = told().filter_map(|told| told.content.amount_minor).sum();
        let what = line.key.to_string();
        // Another correction went as an amount meanwhile, or a part of it did at once.
        if told().next().is_none() || billed != self.minor_units(corrects.old, &what)? {
            return Ok(None);
        }
        let Some(figures) = self.figures_now(line, *how, retold)? else { return Ok(None) };
        let (mut records, mut is_other) = (Vec::new(), false);
        for (key, figure) in keys.iter().zip(figures) {
            let Some(told) = retold.told.get(key) else {
                is_other |= figure.value != 0;
                records.extend(self.told_first(
                    line,
                    (event_name.as_str(), *how),
                    key,
                    &figure,
                    retold,
                    slots,
                ));
                continue;
            };
            let was = told.content.usage.as_ref().map_or(0, |usage| usage.value);
            if (was, told.content.amount_minor) == (figure.value, Some(figure.amount_minor)) {
                continue;
            }
            if !retold.cancellable.contains(key) {
                return Ok(None);
            }
            is_other |= was != figure.value;
            records.extend(correct(&Correction {
                told,
                new_value: figure.value,
                new_amount_minor: figure.amount_minor,
                invoice_number: self.issued.number,
            }));
        }
        Ok(is_other.then_some(records))
    }

    /// What each part of a corrected line would be told as now; nothing if that is not known, or cannot be told.
    fn figures_now(
        &self,
        line: &LineItem,
        how: StripeUsage,
        retold: &Retold,
    ) -> Result<Option<Vec<Figure>>, PlanError> {
        let whole = parts(line.key.span, how.granularity, &self.tenant.time_zone);
        let Some(now) = retold.now.get(&line.key) else {
            let nothing = |span| Figure { span, value: 0, amount_minor: 0 };
            return Ok(Some(whole.into_iter().map(nothing).collect()));
        };
        let total = quantity_of(now, how);
        let parts = match retold.parts.get(&line.key) {
            _ if total.is_negative() => return Ok(None),
            // In another time zone than that of then, days are others.
            Some(parts) if !parts.iter().map(|(span, _)| span).eq(&whole) => return Ok(None),
            Some(parts) => parts.clone(),
            None if whole.len() == 1 => vec![(line.key.span, Exact::ONE)],
            None => return Ok(None),
        };
        self.figures_of(now, total, how, parts).map(Some)
    }

    /// Usage of a part of a line of which nothing was told before.
    fn told_first(
        &self,
        line: &LineItem,
        (meter, how): (&str, StripeUsage),
        told_key: &str,
        figure: &Figure,
        retold: &Retold,
        slots: &mut Slots,
    ) -> Option<StripeRecord> {
        let is_set = how.action == StripeAction::Set;
        if figure.value == 0 && figure.amount_minor == 0 && !is_set {
            return None;
        }
        let key = instead_key(told_key, self.issued.number);
        let group = group_of(&self.customer.customer, meter);
        let at_s = retold.added.get(&key).copied();
        let taken = retold.taken.get(&group);
        let at_s = at_s.unwrap_or_else(|| slots.next_free(meter, figure.span, taken));
        let request = request::meter_event(meter, &self.customer.customer, figure.value, at_s, &key);
        let content = RecordContent {
            meter: Some(meter.to_owned()),
            usage: Some(SentUsage { value: figure.value, at_s, is_set }),
            amount_minor: Some(figure.amount_minor),
            period: line.key.period.clone(),
            ..self.content(RecordKind::MeterEvent, request, self.description(line))
        };
        Some(StripeRecord::new(key, group, at_s * SEQUENCE_STEP, content))
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
        let key = instead_key(&told.key, correction.invoice_number);
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
