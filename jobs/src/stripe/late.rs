//! Usage that reaches Stripe when the invoice that it belongs to is closed there: it is counted, and charged to nobody.
//!
//! Owns the limit and the warnings: of settings that cannot be in time, and of figures that are not. Does not own when things
//! are sent: usage is told once its invoice is issued, `grace` after the period's end.

use std::collections::BTreeMap;

use jiff::SignedDuration;
use rating::catalog::{Catalog, StripeSending};

use super::record::{RecordKind, StripeRecord};

/// Stripe finalizes the invoice of a subscription's period an hour after its end, or later if its settings say so, but at the
/// latest so long after.
pub const FINALIZED_AFTER_HOURS_MAX: i64 = 72;
/// What closing and pushing may take.
const HOURS_TO_PUSH: i64 = 1;

/// Why usage of this catalog will not be in time, where it cannot be.
pub fn warning(catalog: &Catalog, grace: SignedDuration) -> Option<String> {
    if catalog.tenants.iter().all(|tenant| tenant.stripe.is_none()) {
        return None;
    }
    let plans = catalog.plans.iter().flat_map(|plan| &plan.versions).flat_map(|version| &version.prices);
    let items = catalog.items.iter().filter_map(|item| item.price.as_ref());
    let sent: Vec<&StripeSending> = plans.chain(items).filter_map(|price| price.stripe.as_ref()).collect();
    let hours = grace.as_hours();
    if hours + HOURS_TO_PUSH >= FINALIZED_AFTER_HOURS_MAX
        && sent.iter().any(|sent| matches!(sent, StripeSending::MeterEvents { .. }))
    {
        return Some(format!(
            "usage goes to Stripe as meter events {hours} h after a period's end (`grace` in [issuer]), and Stripe closes the \
             period's invoice after {FINALIZED_AFTER_HOURS_MAX} h at the latest: what comes later is charged to nobody. Set \
             `grace` lower, and Stripe's own delay (billing settings, finalization grace period) higher than `grace`"
        ));
    }
    let has_records = sent.iter().any(|sent| matches!(sent, StripeSending::UsageRecords { .. }));
    has_records.then(|| {
        "usage goes to Stripe as usage records, which it takes of its current billing period only: what it refuses goes as an \
         amount on the customer's next invoice there. Let Stripe's billing periods end later than ours, or use `mode: invoices`"
            .to_owned()
    })
}

/// How many figures of usage are told when Stripe has closed their invoice, with the number of the first one's of ours. `told_us`
/// says when a record is told, as far as it is.
pub fn too_late<'r>(
    records: impl Iterator<Item = &'r StripeRecord>,
    told_us: impl Fn(&StripeRecord) -> Option<i64>,
) -> Option<(usize, &'r str)> {
    // Figures by the hour or day end where their last one does.
    let mut lanes: BTreeMap<(&str, &str), Vec<(i64, &StripeRecord)>> = BTreeMap::new();
    for record in records.filter(|record| record.content.kind == RecordKind::MeterEvent) {
        let content = &record.content;
        if let (Some(meter), Some(usage)) = (&content.meter, &content.usage) {
            lanes.entry((&content.invoice_number, meter)).or_default().push((usage.at_s, record));
        }
    }
    let mut late = lanes.values().flat_map(|lane| {
        let end_s = lane.iter().map(|(at_s, _)| *at_s).max().unwrap_or_default();
        let closed_us = (end_s + 1 + FINALIZED_AFTER_HOURS_MAX * 3600) * 1_000_000;
        let is_late = |record: &StripeRecord| told_us(record).is_some_and(|told_us| told_us >= closed_us);
        lane.iter().map(|(_, record)| *record).filter(|record| is_late(record)).collect::<Vec<_>>()
    });
    let first = late.next()?;
    Some((1 + late.count(), &first.content.invoice_number))
}

#[cfg(test)]
mod tests {
    use super::*;

    const CATALOG: &str = "
catalog: c
currency: EUR
stripe: { mode: meter_events }
meters:
  calls: { kind: delta, event_type: c, unit: call }
plans:
  plan: { prices: { calls: { meter: calls, per_unit: 1 } } }
tenants:
  acme: { stripe: { customer: cus_1 }, subscriptions: [{ plan: plan, from: 2026-01-01 }] }
";

    #[test]
    fn only_settings_that_cannot_be_in_time_are_warned_of() {
        let warned = |text: &str, hours: i64| {
            let catalog = Catalog::parse(text, "late.yaml").unwrap_or_else(|mistakes| panic!("{mistakes}"));
            warning(&catalog, SignedDuration::from_hours(hours))
        };
        assert!(warned(CATALOG, 72).is_some_and(|text| text.contains("72 h after a period's end")));
        assert_eq!(warned(CATALOG, 48), None);
        let recorded = CATALOG
            .replace("mode: meter_events", "mode: usage_records")
            .replace("customer: cus_1", "customer: cus_1, subscription_items: { calls: si_1 }");
        assert!(warned(&recorded, 1).is_some_and(|text| text.contains("current billing period")));
        assert_eq!(warned(&CATALOG.replace("mode: meter_events", "mode: invoices"), 100), None);
        let untold = CATALOG.replace("stripe: { customer: cus_1 }, ", "");
        assert_eq!(warned(&untold, 100), None);
    }
}
