//! Asks Stripe whether it has something, by what we put on everything we create.
//!
//! Invoices and items carry our key in their metadata and are listed at once. Meter events and usage records cannot be
//! listed: there Stripe's sum over the minute of the event, or over the billing period, is compared with what our own
//! records of that customer and meter add up to, with and without the record in question.

use std::collections::BTreeSet;

use rust_decimal::Decimal;
use serde_json::Value;

use super::clock::Clock;
use super::judge::Found;
use super::outbox::{Outbox, OutboxError};
use super::reading::{ItemUsage, ReadError, Reading};
use super::record::{RecordKind, RecordState, StripeRecord};
use super::request::KEY_METADATA;

/// Clocks differ, and a claim is stored before the call.
const CREATED_MARGIN_S: i64 = 3600;
const MINUTE_S: i64 = 60;
/// Beyond this many uncertain records within one minute, nobody can say which of them are in a sum.
const UNCERTAIN_MAX: usize = 12;

#[derive(Debug)]
pub(super) enum LookError {
    Read(ReadError),
    Outbox(OutboxError),
}

impl From<OutboxError> for LookError {
    fn from(error: OutboxError) -> Self {
        Self::Outbox(error)
    }
}

impl From<ReadError> for LookError {
    fn from(error: ReadError) -> Self {
        Self::Read(error)
    }
}

#[derive(Debug)]
pub(super) struct Looker<'d, C, O> {
    pub reading: &'d Reading<C>,
    pub outbox: &'d O,
}

impl<C: Clock, O: Outbox> Looker<'_, C, O> {
    /// Whether Stripe has what the record says.
    pub async fn find(&self, record: &StripeRecord) -> Result<Found, LookError> {
        match record.content.kind {
            RecordKind::MeterEvent | RecordKind::MeterEventCancel => self.find_in_meter(record).await,
            RecordKind::UsageRecord => self.find_in_usage(record).await,
            RecordKind::Invoice => self.find_listed("/invoices", record).await,
            RecordKind::InvoiceItem => self.find_listed("/invoiceitems", record).await,
            RecordKind::InvoiceFinalize | RecordKind::InvoiceCheck => Ok(Found::Absent),
        }
    }

    async fn find_listed(&self, path: &str, record: &StripeRecord) -> Result<Found, LookError> {
        let since_s = record.first_sent_us.unwrap_or_default().div_euclid(1_000_000) - CREATED_MARGIN_S;
        let ours = |object: &Value| object["metadata"][KEY_METADATA].as_str() == Some(&record.key);
        let listed = self.reading.created_since(path, &record.content.customer, since_s, ours).await?;
        Ok(match listed.iter().find(|object| ours(object)) {
            Some(object) => Found::There { stripe_id: object["id"].as_str().map(str::to_owned) },
            None => Found::Absent,
        })
    }

    async fn find_in_meter(&self, record: &StripeRecord) -> Result<Found, LookError> {
        let Some(event_name) = record.content.meter.as_deref() else {
            return Ok(Found::Unexplained("the record names no meter".to_owned()));
        };
        let Some(meter) = self.reading.meter_id(event_name).await? else {
            return Ok(Found::Unexplained(format!("stripe has no active meter for `{event_name}`")));
        };
        let group = self.outbox.group(&record.group).await?;
        let target = match record.content.kind {
            RecordKind::MeterEventCancel => {
                group.iter().find(|other| Some(&other.key) == record.content.refers_to.as_ref())
            }
            _ => Some(record),
        };
        let Some(usage) = target.and_then(|target| target.content.usage.as_ref()) else {
            return Ok(Found::Unexplained("the record has no usage".to_owned()));
        };
        let start_s = usage.at_s.div_euclid(MINUTE_S) * MINUTE_S;
        let window = (start_s, start_s + MINUTE_S);
        let Some(counted) = self.reading.counted(&meter, &record.content.customer, window).await? else {
            return Ok(Found::Unexplained("stripe's sum is no number".to_owned()));
        };
        Ok(compare(record, &group, window, counted))
    }

    async fn find_in_usage(&self, record: &StripeRecord) -> Result<Found, LookError> {
        let (Some(item), Some(usage)) = (&record.content.meter, &record.content.usage) else {
            return Ok(Found::Unexplained("the record names no subscription item".to_owned()));
        };
        let api_version = record.content.request.api_version.as_deref();
        let periods = self.reading.item_usage(item, api_version).await?;
        let own = periods.into_iter().find(|period| (period.start_s..period.end_s).contains(&usage.at_s));
        let ItemUsage { start_s, end_s, total } =
            own.unwrap_or(ItemUsage { start_s: i64::MIN, end_s: i64::MAX, total: Decimal::ZERO });
        let group = self.outbox.group(&record.group).await?;
        Ok(compare(record, &group, (start_s, end_s), total))
    }
}

/// Which of with and without the record Stripe's sum agrees with. Records that Stripe took and may not have counted yet
/// are allowed to be in it or not.
fn compare(record: &StripeRecord, group: &[StripeRecord], window: (i64, i64), counted: Decimal) -> Found {
    let cancelled = |key: &str| {
        group.iter().find(|other| {
            other.content.kind == RecordKind::MeterEventCancel
                && other.content.refers_to.as_deref() == Some(key)
                && (other.is_told() || other.key == record.key)
        })
    };
    let mut certain = 0_i64;
    let mut uncertain = Vec::new();
    let mut own = 0_i64;
    for other in group {
        let Some(usage) = &other.content.usage else { continue };
        let is_usage = matches!(other.content.kind, RecordKind::MeterEvent | RecordKind::UsageRecord);
        if !is_usage || !(window.0..window.1).contains(&usage.at_s) {
            continue;
        }
        let cancel = cancelled(&other.key);
        if other.key == record.key {
            own = usage.value;
        } else if cancel.is_some_and(|cancel| cancel.key == record.key) {
            // What the cancellation in question takes back: there, unless it is not.
            certain += usage.value;
            own = -usage.value;
        } else if let Some(cancel) = cancel {
            if cancel.state != RecordState::Confirmed {
                uncertain.push(usage.value);
            }
        } else if other.state == RecordState::Confirmed {
            certain += usage.value;
        } else if other.state == RecordState::Sent || other.first_sent_us.is_some() {
            uncertain.push(usage.value);
        }
    }
    let is_set = record.content.usage.as_ref().is_some_and(|usage| usage.is_set);
    if is_set {
        // The last figure stands alone.
        (certain, uncertain) = (0, Vec::new());
    }
    let (there, absent) =
        (reaches(counted, certain + own, &uncertain), reaches(counted, certain, &uncertain));
    match (there, absent) {
        (true, _) if own == 0 => Found::There { stripe_id: None },
        (true, false) => Found::There { stripe_id: None },
        (false, true) => Found::Absent,
        // Of a figure that is set, another one says that it was not.
        (false, false) if is_set => Found::Absent,
        (true, true) => {
            Found::Unexplained(format!("stripe counted {counted}, which several records explain"))
        }
        (false, false) => Found::Unexplained(format!(
            "stripe counted {counted}; with this it would be {}, without it {certain}",
            certain + own
        )),
    }
}

/// Whether the sum is the base with some of the uncertain values.
fn reaches(sum: Decimal, base: i64, uncertain: &[i64]) -> bool {
    let mut sums = BTreeSet::from([base]);
    for value in uncertain.iter().take(UNCERTAIN_MAX) {
        let with: Vec<i64> = sums.iter().map(|sum| sum + value).collect();
        sums.extend(with);
    }
    sums.iter().any(|reached| Decimal::from(*reached) == sum)
}
