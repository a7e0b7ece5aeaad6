//! What is Stripe's: its sums of meters and subscription items, its invoices and their items, against the outbox.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use anyhow::Result;
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use rust_decimal::Decimal;
use serde_json::Value;

use super::Difference;
use super::compare::of;
use crate::stripe::request::KEY_METADATA;
use crate::stripe::{Clock, Reading, RecordKind, SentUsage, StripeRecord};

const DAY_S: i64 = 86_400;
/// Questions under way at once, each of another customer and meter.
const QUESTIONS_MAX: usize = 32;

/// Compares what the outbox says Stripe was told with what Stripe shows. `all` is the whole outbox, where `records` are those
/// of one period: Stripe's sums and lists know nothing of our periods.
pub async fn compare_stripe<C: Clock>(
    reading: &Reading<C>,
    records: &[StripeRecord],
    all: &[StripeRecord],
) -> Result<Vec<Difference>> {
    let mut lanes: BTreeMap<(&str, &str), BTreeMap<&str, Vec<&StripeRecord>>> = BTreeMap::new();
    let mut customers: BTreeMap<&str, Vec<&StripeRecord>> = BTreeMap::new();
    for record in records {
        let content = &record.content;
        customers.entry(&content.customer).or_default().push(record);
        if let (RecordKind::MeterEvent | RecordKind::UsageRecord, Some(meter), true) =
            (content.kind, &content.meter, record.is_told())
        {
            let periods = lanes.entry((&content.customer, meter)).or_default();
            periods.entry(&content.period).or_default().push(record);
        }
    }
    let counting = Counting::of(all);
    let usage = lanes.values().map(|periods| compare_periods(reading, periods, &counting));
    let mut differences = side_by_side(usage).await?;
    let objects = Objects::of(all);
    let invoices = customers.iter().map(|(customer, own)| compare_customer(reading, customer, own, &objects));
    differences.extend(side_by_side(invoices).await?);
    Ok(differences)
}

/// Works on several questions at once: one after the other, those of 10,000 tenants would be waited for all night.
async fn side_by_side(
    questions: impl Iterator<Item = impl Future<Output = Result<Vec<Difference>>>>,
) -> Result<Vec<Difference>> {
    let found: Vec<Vec<Difference>> = stream::iter(questions).buffered(QUESTIONS_MAX).try_collect().await?;
    Ok(found.into_iter().flatten().collect())
}

/// One customer's usage of one meter, by our periods.
async fn compare_periods<C: Clock>(
    reading: &Reading<C>,
    periods: &BTreeMap<&str, Vec<&StripeRecord>>,
    counting: &Counting<'_>,
) -> Result<Vec<Difference>> {
    let mut differences = Vec::new();
    for lane in periods.values() {
        compare_usage(reading, lane, counting, &mut differences).await?;
    }
    Ok(differences)
}

async fn compare_customer<C: Clock>(
    reading: &Reading<C>,
    customer: &str,
    own: &[&StripeRecord],
    objects: &Objects<'_>,
) -> Result<Vec<Difference>> {
    let mut differences = Vec::new();
    for (path, kind) in [("/invoices", RecordKind::Invoice), ("/invoiceitems", RecordKind::InvoiceItem)] {
        compare_objects(reading, (customer, own), objects, (path, kind), &mut differences).await?;
    }
    Ok(differences)
}

/// All usage of ours that Stripe counts, by customer and meter: told, and not taken back.
#[derive(Debug)]
struct Counting<'r>(BTreeMap<(&'r str, &'r str), Vec<&'r SentUsage>>);

impl<'r> Counting<'r> {
    fn of(all: &'r [StripeRecord]) -> Self {
        let told = || all.iter().filter(|record| record.is_told());
        let cancelled: HashSet<&str> = told()
            .filter(|record| record.content.kind == RecordKind::MeterEventCancel)
            .filter_map(|record| record.content.refers_to.as_deref())
            .collect();
        let mut counting: BTreeMap<(&str, &str), Vec<&SentUsage>> = BTreeMap::new();
        for record in told().filter(|record| !cancelled.contains(record.key.as_str())) {
            let content = &record.content;
            if let (RecordKind::MeterEvent | RecordKind::UsageRecord, Some(meter), Some(usage)) =
                (content.kind, &content.meter, &content.usage)
            {
                counting.entry((content.customer.as_str(), meter.as_str())).or_default().push(usage);
            }
        }
        Self(counting)
    }

    /// What Stripe makes of a window: the sum of it, or the last figure where they replace each other.
    fn expected(&self, customer: &str, meter: &str, window: (i64, i64)) -> Decimal {
        let own = self.0.get(&(customer, meter)).into_iter().flatten();
        let usages: Vec<_> = own.filter(|usage| (window.0..window.1).contains(&usage.at_s)).collect();
        let last = usages.iter().filter(|usage| usage.is_set).max_by_key(|usage| usage.at_s);
        let value = last.map_or_else(|| usages.iter().map(|usage| usage.value).sum(), |usage| usage.value);
        Decimal::from(value)
    }
}

/// One customer's usage of one meter around one period of ours.
async fn compare_usage<C: Clock>(
    reading: &Reading<C>,
    lane: &[&StripeRecord],
    counting: &Counting<'_>,
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
    // Whole days around our events, so that somebody else's beside them show up; ours of neighbouring periods count, too.
    let mut window = (first_s.div_euclid(DAY_S) * DAY_S, (last_s.div_euclid(DAY_S) + 1) * DAY_S);
    let theirs = if content.kind == RecordKind::MeterEvent {
        match reading.meter_id(meter).await? {
            Some(id) => reading.counted(&id, &content.customer, window).await?,
            None => None,
        }
    } else {
        let periods = reading.item_usage(meter, content.request.api_version.as_deref()).await?;
        let own = periods.into_iter().find(|period| (period.start_s..period.end_s).contains(&last_s));
        if let Some(period) = &own {
            window = (period.start_s, period.end_s);
        }
        Some(own.map(|period| period.total).unwrap_or_default())
    };
    let ours = counting.expected(&content.customer, meter, window);
    if theirs != Some(ours) {
        let theirs = theirs.map_or("no such meter".to_owned(), |sum| sum.normalize().to_string());
        let what = format!("outbox and stripe: usage of {meter} by {}", content.customer);
        differences.push(of(lane[0], &what, &ours.to_string(), &theirs));
    }
    Ok(())
}

/// What the whole outbox knows of objects in Stripe.
#[derive(Debug)]
struct Objects<'r> {
    keys: HashSet<&'r str>,
    /// The last step of each invoice, by the key of its draft.
    closes: HashMap<&'r str, &'r StripeRecord>,
    /// When anything was sent first.
    since_us: Option<i64>,
}

impl<'r> Objects<'r> {
    fn of(all: &'r [StripeRecord]) -> Self {
        let is_close = |kind| matches!(kind, RecordKind::InvoiceFinalize | RecordKind::InvoiceCheck);
        let closes = all.iter().filter(|record| is_close(record.content.kind));
        Self {
            keys: all.iter().map(|record| record.key.as_str()).collect(),
            closes: closes.filter_map(|own| Some((own.content.refers_to.as_deref()?, own))).collect(),
            since_us: all.iter().filter_map(|record| record.first_sent_us).min(),
        }
    }
}

/// A customer's invoices or items: each of ours once and as it was left, and none that carries a key of ours unknown to us.
async fn compare_objects<C: Clock>(
    reading: &Reading<C>,
    (customer, own): (&str, &[&StripeRecord]),
    objects: &Objects<'_>,
    (path, kind): (&str, RecordKind),
    differences: &mut Vec<Difference>,
) -> Result<()> {
    let ours: BTreeMap<&str, &StripeRecord> = own
        .iter()
        .filter(|record| record.is_told() && record.content.kind == kind && record.stripe_id.is_some())
        .map(|record| (record.key.as_str(), *record))
        .collect();
    let Some(since_us) = ours.values().filter_map(|record| record.first_sent_us).min().or(objects.since_us)
    else {
        return Ok(());
    };
    let since_s = since_us.div_euclid(1_000_000) - DAY_S;
    let listed = reading.created_since(path, customer, since_s, |_| false).await?;
    let mut seen: BTreeSet<&str> = BTreeSet::new();
    for object in &listed {
        let Some(key) = object["metadata"][KEY_METADATA].as_str() else { continue };
        let id = object["id"].as_str().unwrap_or_default();
        let Some(record) = ours.get(key) else {
            if !objects.keys.contains(key) {
                let what =
                    format!("outbox and stripe: {} with a key that the outbox does not hold", kind.name());
                differences.push(of(own[0], &what, "none", &format!("{id} ({key})")));
            }
            continue;
        };
        if !seen.insert(key) {
            let what = format!("outbox and stripe: {} is there twice", kind.name());
            differences.push(of(record, &what, record.stripe_id.as_deref().unwrap_or_default(), id));
            continue;
        }
        if kind == RecordKind::Invoice {
            compare_invoice(record, objects, object, differences);
        } else {
            compare_amount(record, record.content.amount_minor, object["amount"].as_i64(), differences);
        }
    }
    for (key, record) in &ours {
        if !seen.contains(key) {
            let what = format!("outbox and stripe: {} is missing", kind.name());
            differences.push(of(record, &what, record.stripe_id.as_deref().unwrap_or_default(), "none"));
        }
    }
    Ok(())
}

/// The last step of an invoice knows its total, and what it left the invoice as.
fn compare_invoice(
    record: &StripeRecord,
    objects: &Objects<'_>,
    object: &Value,
    differences: &mut Vec<Difference>,
) {
    let Some(close) = objects.closes.get(record.key.as_str()).filter(|close| close.is_told()) else { return };
    compare_amount(record, close.content.amount_minor, object["total"].as_i64(), differences);
    let status = object["status"].as_str().unwrap_or("none");
    let is_final = close.content.kind == RecordKind::InvoiceFinalize;
    if status == "void" || (is_final && status == "draft") {
        let ours = if is_final { "finalized" } else { "draft" };
        differences.push(of(record, "outbox and stripe: status of invoice", ours, status));
    }
}

fn compare_amount(
    record: &StripeRecord,
    ours: Option<i64>,
    theirs: Option<i64>,
    differences: &mut Vec<Difference>,
) {
    if ours != theirs {
        let shown = |amount: Option<i64>| amount.map_or("none".to_owned(), |amount| amount.to_string());
        let what = format!("outbox and stripe: amount of {} in smallest units", record.content.kind.name());
        differences.push(of(record, &what, &shown(ours), &shown(theirs)));
    }
}
