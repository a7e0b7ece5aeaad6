//! What is Stripe's: its sums of meters and subscription items, its invoices and their items, against the outbox.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use anyhow::Result;
use rust_decimal::Decimal;
use serde_json::Value;

use super::Difference;
use super::compare::of;
use crate::stripe::request::KEY_METADATA;
use crate::stripe::{Clock, Reading, RecordKind, StripeRecord};

const DAY_S: i64 = 86_400;

/// Compares what the outbox says Stripe was told with what Stripe shows.
pub async fn compare_stripe<C: Clock>(
    reading: &Reading<C>,
    records: &[StripeRecord],
) -> Result<Vec<Difference>> {
    let mut differences = Vec::new();
    let mut lanes: BTreeMap<(&str, &str, &str), Vec<&StripeRecord>> = BTreeMap::new();
    let mut customers: BTreeMap<&str, Vec<&StripeRecord>> = BTreeMap::new();
    for record in records.iter().filter(|record| record.is_told()) {
        let content = &record.content;
        match (content.kind, &content.meter) {
            (RecordKind::MeterEvent | RecordKind::UsageRecord, Some(meter)) => {
                let lane = (content.customer.as_str(), meter.as_str(), content.period.as_str());
                lanes.entry(lane).or_default().push(record);
            }
            _ => customers.entry(&content.customer).or_default().push(record),
        }
    }
    let cancelled: HashSet<&str> = records
        .iter()
        .filter(|record| record.content.kind == RecordKind::MeterEventCancel && record.is_told())
        .filter_map(|record| record.content.refers_to.as_deref())
        .collect();
    for lane in lanes.values() {
        let mut counting = lane.clone();
        counting.retain(|record| !cancelled.contains(record.key.as_str()));
        compare_usage(reading, lane, &counting, &mut differences).await?;
    }
    for (customer, own) in customers {
        compare_objects(reading, customer, &own, "/invoices", RecordKind::Invoice, &mut differences).await?;
        compare_objects(reading, customer, &own, "/invoiceitems", RecordKind::InvoiceItem, &mut differences)
            .await?;
    }
    Ok(differences)
}

/// One customer's usage of one meter in one period of ours.
async fn compare_usage<C: Clock>(
    reading: &Reading<C>,
    lane: &[&StripeRecord],
    counting: &[&StripeRecord],
    differences: &mut Vec<Difference>,
) -> Result<()> {
    let usages = || lane.iter().filter_map(|record| record.content.usage.as_ref());
    let (Some(first_s), Some(last_s)) =
        (usages().map(|usage| usage.at_s).min(), usages().map(|usage| usage.at_s).max())
    else {
        return Ok(());
    };
    let content = &lane[0].content;
    let meter = content.meter.as_deref().unwrap_or_default();
    // Whole days around our events, so that somebody else's beside them show up.
    let window = (first_s.div_euclid(DAY_S) * DAY_S, (last_s.div_euclid(DAY_S) + 1) * DAY_S);
    let theirs = if content.kind == RecordKind::MeterEvent {
        match reading.meter_id(meter).await? {
            Some(id) => reading.counted(&id, &content.customer, window).await?,
            None => None,
        }
    } else {
        let periods = reading.item_usage(meter, content.request.api_version.as_deref()).await?;
        let own = periods.into_iter().filter(|period| (period.start_s..period.end_s).contains(&last_s));
        Some(own.map(|period| period.total).sum())
    };
    let ours = expected(counting);
    if theirs != Some(ours) {
        let theirs = theirs.map_or("no such meter".to_owned(), |sum| sum.normalize().to_string());
        let what = format!("outbox and stripe: usage of {meter} by {}", content.customer);
        differences.push(of(lane[0], &what, &ours.to_string(), &theirs));
    }
    Ok(())
}

/// What Stripe makes of these: their sum, or the last one where figures replace each other.
fn expected(counting: &[&StripeRecord]) -> Decimal {
    let usages = || counting.iter().filter_map(|record| record.content.usage.as_ref());
    let last = usages().filter(|usage| usage.is_set).max_by_key(|usage| usage.at_s);
    let value = last.map_or_else(|| usages().map(|usage| usage.value).sum(), |usage| usage.value);
    Decimal::from(value)
}

/// A customer's invoices or items: each of ours once, with its amount, and none that carries a key of ours unknown to us.
async fn compare_objects<C: Clock>(
    reading: &Reading<C>,
    customer: &str,
    own: &[&StripeRecord],
    path: &str,
    kind: RecordKind,
    differences: &mut Vec<Difference>,
) -> Result<()> {
    let ours: BTreeMap<&str, &StripeRecord> = own
        .iter()
        .filter(|record| record.content.kind == kind && record.stripe_id.is_some())
        .map(|record| (record.key.as_str(), *record))
        .collect();
    let Some(since_us) = ours.values().filter_map(|record| record.first_sent_us).min() else {
        return Ok(());
    };
    let since_s = since_us.div_euclid(1_000_000) - DAY_S;
    let listed = reading.created_since(path, customer, since_s, |_| false).await?;
    let mut seen: BTreeSet<&str> = BTreeSet::new();
    for object in &listed {
        let Some(key) = object["metadata"][KEY_METADATA].as_str() else { continue };
        let Some(record) = ours.get(key) else { continue };
        let id = object["id"].as_str().unwrap_or_default();
        if !seen.insert(key) {
            let what = format!("outbox and stripe: {} is there twice", kind.name());
            differences.push(of(record, &what, record.stripe_id.as_deref().unwrap_or_default(), id));
            continue;
        }
        compare_amount(record, own, object, differences);
    }
    for (key, record) in &ours {
        if !seen.contains(key) {
            let what = format!("outbox and stripe: {} is missing", kind.name());
            differences.push(of(record, &what, record.stripe_id.as_deref().unwrap_or_default(), "none"));
        }
    }
    Ok(())
}

fn compare_amount(
    record: &StripeRecord,
    own: &[&StripeRecord],
    object: &Value,
    differences: &mut Vec<Difference>,
) {
    let (ours, theirs) = if record.content.kind == RecordKind::Invoice {
        // The last step of an invoice knows its total.
        let is_close = |kind| matches!(kind, RecordKind::InvoiceFinalize | RecordKind::InvoiceCheck);
        let close = own.iter().find(|other| {
            is_close(other.content.kind) && other.content.refers_to.as_deref() == Some(&record.key)
        });
        let Some(close) = close else { return };
        (close.content.amount_minor, object["total"].as_i64())
    } else {
        (record.content.amount_minor, object["amount"].as_i64())
    };
    if ours != theirs {
        let shown = |amount: Option<i64>| amount.map_or("none".to_owned(), |amount| amount.to_string());
        let what = format!("outbox and stripe: amount of {} in smallest units", record.content.kind.name());
        differences.push(of(record, &what, &shown(ours), &shown(theirs)));
    }
}
