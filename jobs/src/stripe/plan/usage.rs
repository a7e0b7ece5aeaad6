//! Usage lines as meter events or usage records: values, times and keys.

use std::collections::{BTreeSet, HashMap};

use rating::catalog::{StripeAction, StripeGranularity, StripeQuantity, StripeSending, StripeUsage};
use rating::exact::Exact;
use rating::line::{LineItem, LineKey};
use rating::money::allocate;
use rating::period::Span;

use super::{Plan, PlanError};
use crate::stripe::amount;
use crate::stripe::record::{RecordContent, RecordKind, SentUsage, StripeRecord, bounded};
use crate::stripe::request;

const MINUTE_S: i64 = 60;
/// Events of one instant are followed by what takes them back and what stands instead.
pub(super) const SEQUENCE_STEP: i64 = 4;

/// The second to which an event was told, whatever became of it since.
pub fn second_of(record: &StripeRecord) -> i64 {
    record.sequence.div_euclid(SEQUENCE_STEP)
}

/// How many events of a meter fall on the end of the same span. Each gets a minute of its own, because Stripe can be
/// asked for its sums by the minute.
#[derive(Debug, Default)]
pub(super) struct Slots(HashMap<(String, i64), i64>);

impl Slots {
    /// The second for the next event of a meter in a span: inside it, at its end.
    pub(super) fn next(&mut self, meter: &str, span: Span) -> i64 {
        let start_s = span.start_us.div_euclid(1_000_000);
        let last_s = (span.end_us - 1).div_euclid(1_000_000);
        let slot = self.0.entry((meter.to_owned(), last_s)).or_default();
        let minutes = ((last_s - start_s) / MINUTE_S).max(1);
        let at_s = last_s - (*slot % minutes) * MINUTE_S;
        *slot += 1;
        at_s
    }

    /// The same where some seconds are taken already; in a span that is full, one of them.
    pub(super) fn next_free(&mut self, meter: &str, span: Span, taken: Option<&BTreeSet<i64>>) -> i64 {
        let minutes = (span.length_us() / 60_000_000).max(1);
        for _ in 1..minutes {
            let at_s = self.next(meter, span);
            if taken.is_none_or(|taken| !taken.contains(&at_s)) {
                return at_s;
            }
        }
        self.next(meter, span)
    }
}

/// Who goes one at a time: events of a customer and meter.
pub(super) fn group_of(customer: &str, meter: &str) -> String {
    format!("{customer}/{meter}")
}

/// What of a line Stripe counts.
pub(super) fn quantity_of(line: &LineItem, how: StripeUsage) -> &Exact {
    match how.quantity {
        StripeQuantity::Billable => &line.trail.billable,
        StripeQuantity::Measured => &line.trail.conversion.converted,
    }
}

/// The key of a line's usage in a part of its span.
pub(super) fn record_key(customer: &str, line: &LineKey, part: Span) -> String {
    bounded(&format!("{customer}/{line}/{}", part.start_us.div_euclid(1_000_000)))
}

impl Plan<'_> {
    pub(super) fn usage_records(
        &self,
        line: &LineItem,
        sending: &StripeSending,
        slots: &mut Slots,
    ) -> Result<Vec<StripeRecord>, PlanError> {
        let (kind, meter, api_version, how) = match sending {
            StripeSending::MeterEvents { event_name, usage } => {
                (RecordKind::MeterEvent, event_name.clone(), "", usage)
            }
            StripeSending::UsageRecords { api_version, usage } => {
                (RecordKind::UsageRecord, self.subscription_item(line)?, api_version.as_str(), usage)
            }
            StripeSending::Invoices => return Ok(Vec::new()),
        };
        let base = format!("{}/{}", self.customer.customer, line.key);
        let total = quantity_of(line, *how);
        if total.is_negative() {
            // Usage that is given back has no place in a meter; its amount has one on the next invoice.
            let amount_minor = self.minor_units(line.amount, &base)?;
            let description = self.description(line);
            return Ok(vec![self.pending_item(&base, amount_minor, description)]);
        }
        let figures = self.figures(line, total, *how)?;
        let mut records = Vec::new();
        for figure in figures {
            let is_set = how.action == StripeAction::Set;
            if figure.value == 0 && figure.amount_minor == 0 && !is_set {
                continue;
            }
            let at_s = slots.next(&meter, figure.span);
            let key = record_key(&self.customer.customer, &line.key, figure.span);
            let request = match kind {
                RecordKind::MeterEvent => {
                    request::meter_event(&meter, &self.customer.customer, figure.value, at_s, &key)
                }
                _ => {
                    let action = if is_set { "set" } else { "increment" };
                    request::usage_record(&meter, figure.value, at_s, action, api_version)
                }
            };
            let content = RecordContent {
                meter: Some(meter.clone()),
                usage: Some(SentUsage { value: figure.value, at_s, is_set }),
                amount_minor: Some(figure.amount_minor),
                ..self.content(kind, request, self.description(line))
            };
            let group = group_of(&self.customer.customer, &meter);
            records.push(StripeRecord::new(key, group, at_s * SEQUENCE_STEP, content));
        }
        Ok(records)
    }

    /// As the customer reads it where usage becomes an invoice item.
    pub(super) fn description(&self, line: &LineItem) -> String {
        format!("{} (invoice {})", line.description, self.issued.number)
    }

    fn subscription_item(&self, line: &LineItem) -> Result<String, PlanError> {
        let item = self.customer.subscription_items.get(&line.key.price);
        item.cloned().ok_or_else(|| PlanError::NoSubscriptionItem {
            number: self.number(),
            line: line.key.to_string(),
            price: line.key.price.clone(),
        })
    }

    /// The line's quantity as whole numbers, each with its span and its part of the line's amount.
    fn figures(&self, line: &LineItem, total: &Exact, how: StripeUsage) -> Result<Vec<Figure>, PlanError> {
        let granularity = match how.granularity {
            StripeGranularity::Period => None,
            StripeGranularity::Day => Some("day"),
            StripeGranularity::Hour => Some("hour"),
        };
        let spans = match granularity {
            None => vec![(line.key.span, Exact::ONE)],
            Some(granularity) => self.usage.by_span(line, how.granularity).ok_or_else(|| {
                PlanError::NoSpans { number: self.number(), line: line.key.to_string(), granularity }
            })?,
        };
        self.figures_of(line, total, how, spans)
    }

    /// The same with the line's spans and what each weighs.
    pub(super) fn figures_of(
        &self,
        line: &LineItem,
        total: &Exact,
        how: StripeUsage,
        spans: Vec<(Span, Exact)>,
    ) -> Result<Vec<Figure>, PlanError> {
        let weights: Vec<Exact> = spans.iter().map(|(_, weight)| weight.max(&Exact::ZERO).clone()).collect();
        let mut values = amount::spread(total, &weights, how.scale)
            .map_err(|source| self.amount_error(&line.key.to_string(), source))?;
        let amounts = self.amounts(line, &weights, how.action)?;
        if how.action == StripeAction::Set {
            // What is set is how far the period has come; its last figure is the whole.
            let mut so_far = 0;
            for value in &mut values {
                so_far += *value;
                *value = so_far;
            }
        }
        let figure = |(((span, _), value), amount_minor)| Figure { span, value, amount_minor };
        Ok(spans.into_iter().zip(values).zip(amounts).map(figure).collect())
    }

    /// What each figure costs by our own price. Of figures that replace each other, the last one carries it all.
    fn amounts(
        &self,
        line: &LineItem,
        weights: &[Exact],
        action: StripeAction,
    ) -> Result<Vec<i64>, PlanError> {
        let whole = self.minor_units(line.amount, &line.key.to_string())?;
        let mut last_only = vec![0; weights.len()];
        if let Some(last) = last_only.last_mut() {
            *last = whole;
        }
        let has_weight = weights.iter().any(Exact::is_positive);
        if action == StripeAction::Set || !has_weight {
            return Ok(last_only);
        }
        let digits = amount::payable_digits(self.currency());
        let parts = allocate(line.amount, weights, digits)
            .map_err(|source| PlanError::OutOfRange { number: self.number(), source })?;
        parts.into_iter().map(|part| self.minor_units(part, &line.key.to_string())).collect()
    }
}

/// What one part of a line is told as.
pub(super) struct Figure {
    pub span: Span,
    pub value: i64,
    pub amount_minor: i64,
}
