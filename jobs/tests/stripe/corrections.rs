//! Corrections of usage that was told: taken back within a day, carried over afterwards, and never counted twice.

use std::collections::BTreeMap;
use std::time::Duration;

use jobs::stripe::plan::{IssuedInvoice, Retold, can_cancel, plan_with};
use jobs::stripe::{Clock as _, MemoryOutbox, Outbox as _, RecordKind, RecordState, StripeRecord};
use rating::exact::Exact;
use rating::invoice::tax::Untaxed;
use rating::invoice::{Adjustment, Cause, Invoice, InvoiceKind, InvoiceParts, adjustments};
use rating::money::Amount;
use rating::period::{BillingCycle, TimeZone};

use crate::fake::{Fault, Faults};
use crate::world::{Days, World, catalog};

const HOUR: Duration = Duration::from_hours(1);

async fn pushed(hours_later: u32) -> (World, MemoryOutbox, StripeRecord) {
    let world = World::with_tenants(1, 4).await;
    let outbox = world.outbox().await;
    world.driver(&outbox, 1).drain().await.unwrap();
    world.clock.advance(HOUR * hours_later);
    let told = outbox.list(Some(RecordState::Confirmed)).await.unwrap();
    let told = told.into_iter().find(|record| record.content.meter.as_deref() == Some("kilo_calls")).unwrap();
    (world, outbox, told)
}

/// What May's invoice tells of April's calls, when these come to so many thousandths more.
fn corrected(world: &World, told: &StripeRecord, difference: i64, cents: i64) -> Vec<StripeRecord> {
    let april = &world.invoices["W-00001"];
    let old = april.lines.iter().find(|line| line.key.price == "calls").unwrap();
    let mut now = old.clone();
    now.trail.billable = &old.trail.billable + &Exact::ratio(i128::from(difference), 1000).unwrap();
    now.amount = old.amount + Amount::new(cents, 2);
    let lines = adjustments(std::slice::from_ref(old), std::slice::from_ref(&now)).unwrap();
    let line = |change: Adjustment| change.line("Calls", old.currency, "W-00001", Cause::LateEvent).unwrap();
    let period = BillingCycle::CALENDAR_MONTH.period_after(&april.period, &TimeZone::UTC).unwrap();
    let parts = InvoiceParts {
        kind: InvoiceKind::OfPeriod,
        tenant: april.tenant.clone(),
        currency: april.currency,
        lines: lines.into_iter().map(line).collect(),
        period,
        warnings: Vec::new(),
        provenance: april.provenance.clone(),
    };
    let may = Invoice::assemble(parts, &mut [], &Untaxed).unwrap();
    let mut retold = Retold { now: BTreeMap::from([(now.key.clone(), now)]), ..Retold::default() };
    if can_cancel(told, world.clock.now_us()) {
        retold.told.insert(told.key.clone(), told.clone());
    }
    let issued = IssuedInvoice { number: "W-2", invoice: &may, pdf_link: None };
    plan_with(&issued, &catalog(1), &Days, &retold).unwrap()
}

async fn drained(world: &World, outbox: &MemoryOutbox) {
    let driver = world.driver(outbox, 2);
    for _ in 0..60 {
        driver.drain().await.unwrap();
        let held = outbox.list(None).await.unwrap();
        if held.iter().all(|record| record.state == RecordState::Confirmed) {
            return;
        }
        world.clock.advance(HOUR);
    }
    panic!("{:?}", outbox.list(Some(RecordState::NeedsAttention)).await.unwrap());
}

/// Stripe's figure for all time, and what is on the customer's next invoice.
fn in_stripe(world: &World) -> (i64, i64) {
    let state = world.fake.state();
    let items = state.items.iter().filter(|item| {
        item.metadata["meterhouse_key"].contains("W-2") || item.metadata["meterhouse_key"].starts_with("mh_")
    });
    let pending = items.filter(|item| item.invoice.is_none()).map(|item| item.amount).sum();
    (state.counted("kilo_calls", "cus_0", 0, i64::MAX), pending)
}

#[tokio::test]
async fn within_a_day_the_event_is_replaced() {
    for difference in [500, -500] {
        let (world, outbox, told) = pushed(2).await;
        let (before, pending) = in_stripe(&world);
        let records = corrected(&world, &told, difference, difference / 10);
        let kinds: Vec<RecordKind> = records.iter().map(|record| record.content.kind).collect();
        assert_eq!(kinds, [RecordKind::MeterEventCancel, RecordKind::MeterEvent]);
        outbox.insert(&records).await.unwrap();
        // The same correction again changes nothing.
        assert_eq!(outbox.insert(&corrected(&world, &told, difference, difference / 10)).await.unwrap(), 0);
        world.fake.state().faults = Faults::only(Fault::ErrorAfter, 300);
        drained(&world, &outbox).await;
        assert_eq!(in_stripe(&world), (before + difference, pending));
        assert_eq!(world.fake.state().events.iter().filter(|event| event.is_cancelled).count(), 1);
    }
}

#[tokio::test]
async fn after_a_day_the_difference_goes_as_money() {
    for (difference, cents) in [(500, 50), (-500, -50)] {
        let (world, outbox, told) = pushed(30).await;
        let (before, pending) = in_stripe(&world);
        let records = corrected(&world, &told, difference, cents);
        assert_eq!(records.len(), 1);
        outbox.insert(&records).await.unwrap();
        drained(&world, &outbox).await;
        assert_eq!(in_stripe(&world), (before, pending + cents));
    }
}

/// Another price for the same calls changes no figure of Stripe's; and what went as money before is not taken back again.
#[tokio::test]
async fn only_usage_that_stands_in_stripe_as_it_was_billed_is_replaced() {
    let (world, _, mut told) = pushed(2).await;
    let kinds = |records: &[StripeRecord]| -> Vec<RecordKind> {
        records.iter().map(|record| record.content.kind).collect()
    };
    assert_eq!(kinds(&corrected(&world, &told, 0, 50)), [RecordKind::InvoiceItem]);
    told.content.amount_minor = told.content.amount_minor.map(|amount| amount + 1);
    assert_eq!(kinds(&corrected(&world, &told, 500, 50)), [RecordKind::InvoiceItem]);
}

/// A cancellation that waited too long gives the money back instead, and the new event still counts.
#[tokio::test]
async fn a_cancellation_that_comes_too_late_is_paid_back() {
    let (world, outbox, told) = pushed(22).await;
    let (before, pending) = in_stripe(&world);
    let records = corrected(&world, &told, 500, 50);
    outbox.insert(&records).await.unwrap();
    world.clock.advance(HOUR * 5);
    drained(&world, &outbox).await;
    let new_value = told.content.usage.as_ref().unwrap().value + 500;
    let paid_back = -told.content.amount_minor.unwrap();
    assert_eq!(in_stripe(&world), (before + new_value, pending + paid_back));
}

#[tokio::test]
async fn nothing_changed_is_nothing_to_tell() {
    let (world, _, told) = pushed(2).await;
    assert_eq!(corrected(&world, &told, 0, 0), []);
}
