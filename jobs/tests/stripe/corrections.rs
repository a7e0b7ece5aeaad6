//! Corrections of usage that was told: taken back within a day, carried over afterwards, and never counted twice.

use std::collections::BTreeMap;
use std::time::Duration;

use jobs::stripe::plan::{IssuedInvoice, Retold, UsageBySpan, can_cancel, plan, plan_with};
use jobs::stripe::{Clock as _, MemoryOutbox, Outbox as _, RecordKind, RecordState, StripeRecord};
use rating::catalog::StripeGranularity;
use rating::exact::Exact;
use rating::invoice::tax::Untaxed;
use rating::invoice::{Adjustment, Cause, Invoice, InvoiceKind, InvoiceParts, adjustments};
use rating::line::LineItem;
use rating::money::Amount;
use rating::period::{BillingCycle, Span, TimeZone};

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
    let old = world.invoices["W-00001"].lines.iter().find(|line| line.key.price == "calls").unwrap();
    let more = Exact::ratio(i128::from(difference), 1000).unwrap();
    let now = grown(old, &more, cents);
    let mut retold = Retold { now: BTreeMap::from([(now.key.clone(), now.clone())]), ..Retold::default() };
    retold.told.insert(told.key.clone(), told.clone());
    if can_cancel(told, world.clock.now_us()) {
        retold.cancellable.insert(told.key.clone());
    }
    told_anew(world, old, &now, &retold)
}

/// A line with more usage.
fn grown(line: &LineItem, more: &Exact, cents: i64) -> LineItem {
    let mut now = line.clone();
    now.trail.billable = &line.trail.billable + more;
    now.amount = line.amount + Amount::new(cents, 2);
    now
}

/// What May's invoice tells of a line of April's.
fn told_anew(world: &World, old: &LineItem, now: &LineItem, retold: &Retold) -> Vec<StripeRecord> {
    let april = &world.invoices["W-00001"];
    let lines = adjustments(std::slice::from_ref(old), std::slice::from_ref(now)).unwrap();
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
    let issued = IssuedInvoice { number: "W-2", invoice: &may, pdf_link: None };
    plan_with(&issued, &catalog(1), &Days, retold).unwrap()
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

/// One region's traffic of April, pushed some hours ago, and what its days come to now: half as much again on the last but one,
/// something on the first, of which nothing was told, and nothing on the second, of which something was.
async fn pushed_by_days(hours_later: u32) -> (World, MemoryOutbox, LineItem, LineItem, Retold) {
    let world = World::with_tenants(1, 4).await;
    let outbox = world.outbox().await;
    world.driver(&outbox, 1).drain().await.unwrap();
    world.clock.advance(HOUR * hours_later);
    let lines = &world.invoices["W-00001"].lines;
    let old = lines.iter().find(|line| line.key.price == "traffic").unwrap().clone();
    let mut days = Days.by_span(&old, StripeGranularity::Day).unwrap();
    for (day, weight) in [(0, 3_i64), (1, 0), (28, 6)] {
        days[day].1 = Exact::from(weight);
    }
    let now = grown(&old, &Exact::from(700_i64), 4900);
    let mut retold = Retold::default();
    for record in outbox.list(None).await.unwrap() {
        let Some(usage) = record.content.usage.clone() else { continue };
        retold.taken.entry(record.group.clone()).or_default().insert(usage.at_s);
        if can_cancel(&record, world.clock.now_us()) {
            retold.cancellable.insert(record.key.clone());
        }
        retold.told.insert(record.key.clone(), record);
    }
    retold.parts.insert(now.key.clone(), days);
    retold.now.insert(now.key.clone(), now.clone());
    (world, outbox, old, now, retold)
}

#[tokio::test]
async fn within_a_day_each_day_that_changed_is_replaced() {
    let (world, outbox, old, now, retold) = pushed_by_days(2).await;
    let (_, pending) = in_stripe(&world);
    let records = told_anew(&world, &old, &now, &retold);
    outbox.insert(&records).await.unwrap();
    world.fake.state().faults = Faults::only(Fault::ErrorAfter, 300);
    drained(&world, &outbox).await;
    // What would have been told if all had been known at once.
    let mut april = world.invoices["W-00001"].clone();
    *april.lines.iter_mut().find(|line| line.key == now.key).unwrap() = now.clone();
    let issued = IssuedInvoice { number: "W-00001", invoice: &april, pdf_link: None };
    let at_once = plan(&issued, &catalog(1), &OneLineNow(&now, &retold.parts[&now.key])).unwrap();
    let day_of = |at_s: i64| at_s.div_euclid(86_400);
    let mut days: BTreeMap<i64, i64> = BTreeMap::new();
    for record in at_once.iter().filter(|record| record.content.meter.as_deref() == Some("traffic_mb")) {
        let usage = record.content.usage.as_ref().unwrap();
        *days.entry(day_of(usage.at_s)).or_default() += usage.value;
    }
    let state = world.fake.state();
    for (day, value) in &days {
        let theirs = state.counted("traffic_mb", "cus_0", day * 86_400, (day + 1) * 86_400);
        assert_eq!(theirs, *value, "day {day}");
    }
    assert_eq!(state.counted("traffic_mb", "cus_0", 0, i64::MAX), days.values().sum::<i64>());
    // Nothing as money, a minute for each event, and no more taken back than had to be.
    let cancels = records.iter().filter(|record| record.content.kind == RecordKind::MeterEventCancel).count();
    let standing: Vec<_> =
        state.events.iter().filter(|event| event.name == "traffic_mb" && !event.is_cancelled).collect();
    let mut minutes: Vec<i64> = standing.iter().map(|event| event.at_s.div_euclid(60)).collect();
    minutes.sort_unstable();
    assert!(minutes.is_sorted_by(|one, next| one < next), "two events in one minute");
    assert_eq!(state.events.iter().filter(|event| event.is_cancelled).count(), cancels);
    assert!(cancels > 2, "{cancels}");
    let new =
        records.iter().filter(|record| record.content.usage.is_some() && record.content.after.is_none());
    assert!(new.count() > 0, "a day of which nothing was told before has its event");
    drop(state);
    assert_eq!(in_stripe(&world).1, pending);
}

/// The weights of one line, and those of always for the others.
struct OneLineNow<'a>(&'a LineItem, &'a [(Span, Exact)]);

impl UsageBySpan for OneLineNow<'_> {
    fn by_span(&self, line: &LineItem, granularity: StripeGranularity) -> Option<Vec<(Span, Exact)>> {
        if line.key == self.0.key { Some(self.1.to_vec()) } else { Days.by_span(line, granularity) }
    }
}

/// One day of them cannot be taken back any more: the whole difference goes as money, and no day is told anew.
#[tokio::test]
async fn days_of_which_one_is_too_old_go_as_money() {
    let kinds = |records: Vec<StripeRecord>| -> Vec<RecordKind> {
        records.iter().map(|record| record.content.kind).collect()
    };
    let (world, _, old, now, mut retold) = pushed_by_days(2).await;
    let anew = told_anew(&world, &old, &now, &retold);
    let cancelled = anew.iter().find_map(|record| record.content.refers_to.as_ref()).unwrap();
    assert!(retold.cancellable.remove(cancelled));
    assert_eq!(kinds(told_anew(&world, &old, &now, &retold)), [RecordKind::InvoiceItem]);
    let (world, _, old, now, retold) = pushed_by_days(30).await;
    assert_eq!(kinds(told_anew(&world, &old, &now, &retold)), [RecordKind::InvoiceItem]);
    // Nor where it is not known how the new figure came about.
    let (world, _, old, now, mut retold) = pushed_by_days(2).await;
    retold.parts.clear();
    assert_eq!(kinds(told_anew(&world, &old, &now, &retold)), [RecordKind::InvoiceItem]);
}
