//! What `reconcile` finds: nothing where everything agrees, and each kind of difference where one was made.

use std::time::Duration;

use jobs::reconcile::{IssuedSides, SideOfInvoice, compare_ours, compare_stripe};
use jobs::stripe::clock::Dice;
use jobs::stripe::late::too_late;
use jobs::stripe::{Client, ClientSettings, Outbox as _, Reading, RecordKind, RecordState};
use rating::money::Currency;

use crate::fake::Faults;
use crate::world::{ISSUED_US, World};

fn issued(world: &World) -> Vec<IssuedSides> {
    let side = |invoice: &rating::invoice::Invoice| SideOfInvoice {
        due: invoice.due,
        digest: invoice.digest().unwrap(),
    };
    world
        .invoices
        .iter()
        .map(|(number, invoice)| IssuedSides {
            number: number.clone(),
            tenant: invoice.tenant.clone(),
            period: invoice.period.name.clone(),
            currency: Currency::from_code("EUR").unwrap(),
            book: side(invoice),
            lake: Some(side(invoice)),
            records: world
                .records
                .iter()
                .filter(|record| record.content.invoice_number == *number)
                .cloned()
                .collect(),
        })
        .collect()
}

async fn pushed() -> (World, Vec<jobs::stripe::StripeRecord>) {
    let world = World::with_tenants(6, 3).await;
    let outbox = world.outbox().await;
    world.driver(&outbox, 1).drain().await.unwrap();
    let records = outbox.list(None).await.unwrap();
    assert!(records.iter().all(|record| record.state == RecordState::Confirmed));
    (world, records)
}

#[tokio::test]
async fn sides_that_agree_have_no_differences() {
    let (world, records) = pushed().await;
    assert_eq!(compare_ours(&issued(&world), &records), []);
    let reading = Reading::new(world.fake.client());
    assert_eq!(compare_stripe(&reading, &records, &records).await.unwrap(), []);
    // What an item used in another of its billing periods is no part of this one.
    let recorded = records.iter().filter(|record| record.content.kind == RecordKind::UsageRecord);
    let recorded: Vec<_> = recorded.map(|record| (&record.content.meter, &record.content.usage)).collect();
    assert!(!recorded.is_empty());
    for (item, usage) in recorded {
        let (item, at_s) = (item.clone().unwrap(), usage.as_ref().unwrap().at_s);
        for other_s in [at_s - 62 * 86_400, at_s + 62 * 86_400] {
            world.fake.state().usage.insert((item.clone(), other_s), 99);
        }
    }
    assert_eq!(compare_stripe(&reading, &records, &records).await.unwrap(), []);
}

/// One customer and meter is asked for by one call at a time, others meanwhile; and a question that failed is asked again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn questions_are_asked_side_by_side_until_they_are_answered() {
    let (world, records) = pushed().await;
    let settings = ClientSettings { call_timeout: Duration::from_millis(200), ..world.fake.settings() };
    let reading = Reading::patient(Client::new(&settings, world.clock.clone()).unwrap(), Dice::new(1));
    {
        let mut state = world.fake.state();
        state.faults = Faults::each(8);
        (state.under_way_max, state.happened) = (0, std::collections::BTreeMap::new());
    }
    // By chance a round may see no fault.
    for _ in 0..5 {
        assert_eq!(compare_stripe(&reading, &records, &records).await.unwrap(), []);
    }
    let state = world.fake.state();
    assert!(state.happened.values().sum::<u64>() > 5, "{:?}", state.happened);
    assert!(state.under_way_max > 4 && state.collisions == 0, "{} at once", state.under_way_max);
}

#[tokio::test]
async fn each_difference_of_ours_is_named() {
    let (world, records) = pushed().await;
    let mut invoices = issued(&world);
    invoices[0].lake = None;
    invoices[1].lake.as_mut().unwrap().due += rust_decimal::Decimal::ONE;
    invoices[2].lake.as_mut().unwrap().digest = "0".repeat(64);
    let mut held = records.clone();
    let missing = held.remove(0);
    held[1].content.amount_minor = Some(1);
    held[2].state = RecordState::Waiting;
    let usage = held.iter_mut().rfind(|record| record.content.usage.is_some()).unwrap();
    usage.content.usage.as_mut().unwrap().value += 1;
    let mut orphan = held[5].clone();
    orphan.content.invoice_number = "X-1".to_owned();
    held.push(orphan);
    let differences = compare_ours(&invoices, &held);
    let found = |what: &str| differences.iter().filter(|difference| difference.what.contains(what)).count();
    assert_eq!(found("book and lake: invoice"), 1);
    assert_eq!(found("book and lake: amount due"), 1);
    assert_eq!(found("book and lake: content"), 1);
    assert_eq!(found("record is missing"), 1, "{}", missing.key);
    assert_eq!(found("amount in smallest units"), 1);
    assert_eq!(found("invoices and outbox: usage"), 1);
    assert_eq!(found("is waiting"), 1);
    assert_eq!(found("record without an invoice"), 1);
    assert_eq!(differences.len(), 8, "{differences:#?}");
}

#[tokio::test]
async fn each_difference_in_stripe_is_named() {
    let (world, records) = pushed().await;
    {
        let mut state = world.fake.state();
        // A lost event, usage of somebody else, an item changed, an item gone, and an invoice twice.
        state.events.iter_mut().find(|event| event.name == "kilo_calls").unwrap().is_counted = false;
        *state.usage.values_mut().last().unwrap() += 7;
        state.items[0].amount += 1;
        state.items.retain(|item| item.id != "ii_3");
        let mut twice = state.invoices[0].clone();
        twice.id = "in_twice".to_owned();
        state.invoices.push(twice);
    }
    let reading = Reading::new(world.fake.client());
    let differences = compare_stripe(&reading, &records, &records).await.unwrap();
    let found = |what: &str| differences.iter().filter(|difference| difference.what.contains(what)).count();
    assert_eq!(found("usage of kilo_calls"), 1, "{differences:#?}");
    assert_eq!(found("usage of si_"), 1);
    assert_eq!(found("amount of invoice_item"), 1);
    assert_eq!(found("invoice_item is missing"), 1);
    assert_eq!(found("invoice is there twice"), 1);
    // The totals of invoices whose items were changed differ, too.
    assert!((1..=2).contains(&found("amount of invoice in")), "{differences:#?}");
    let items = records.iter().filter(|record| record.content.kind == RecordKind::InvoiceItem).count();
    assert!(items > 10);
}

#[tokio::test]
async fn what_stripe_has_beyond_ours_is_named_and_how_invoices_stand() {
    let (world, records) = pushed().await;
    {
        let mut state = world.fake.state();
        // An item of a book that was lost, an invoice that somebody took back, and a draft that should be final.
        let mut unknown = state.items[0].clone();
        unknown.id = "ii_unknown".to_owned();
        unknown.metadata.insert("meterhouse_key".to_owned(), "of another book".to_owned());
        state.items.push(unknown);
        state.invoices[0].status = "void";
        state.invoices[1].status = "draft";
    }
    let reading = Reading::new(world.fake.client());
    let differences = compare_stripe(&reading, &records, &records).await.unwrap();
    let found = |what: &str| differences.iter().filter(|difference| difference.what.contains(what)).count();
    assert_eq!(found("invoice_item with a key that the outbox does not hold"), 1, "{differences:#?}");
    assert_eq!(found("status of invoice"), 2, "{differences:#?}");
    let theirs: Vec<&str> = differences.iter().map(|difference| difference.theirs.as_str()).collect();
    assert!(theirs.contains(&"void") && theirs.contains(&"draft"), "{theirs:?}");
    // A customer of whom nothing was told is asked for, too.
    let untold: Vec<_> = records.iter().filter(|record| !record.is_told()).collect();
    assert!(untold.is_empty());
}

/// Periods that end within a day of UTC share that day, and Stripe's sums know nothing of ours.
#[tokio::test]
async fn figures_of_a_neighbouring_period_are_no_difference() {
    let (world, mut records) = pushed().await;
    let told = records.iter().find(|record| record.content.meter.as_deref() == Some("traffic_mb")).unwrap();
    let mut next = told.clone();
    "next".clone_into(&mut next.key);
    next.content.period = "2026-05-01".to_owned();
    let usage = next.content.usage.as_mut().unwrap();
    // Some minutes beside it, on the same day of UTC.
    usage.at_s += 600;
    let (at_s, value) = (usage.at_s, usage.value);
    {
        let mut state = world.fake.state();
        let own = state.events.iter().find(|event| event.identifier == told.identifier().unwrap());
        let mut event = own.unwrap().clone();
        (event.identifier, event.at_s, event.value) = ("next".to_owned(), at_s, value);
        state.events.push(event);
    }
    let april = records.clone();
    records.push(next);
    let reading = Reading::new(world.fake.client());
    assert_eq!(compare_stripe(&reading, &records, &records).await.unwrap(), []);
    // The same where only one period is asked for.
    assert_eq!(compare_stripe(&reading, &april, &records).await.unwrap(), []);
    assert_eq!(compare_stripe(&reading, &april, &april).await.unwrap().len(), 1);
}

#[test]
fn usage_is_late_once_stripe_has_closed_its_invoice() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let world = runtime.block_on(World::with_tenants(3, 2));
    let events = world.records.iter().filter(|record| record.content.kind == RecordKind::MeterEvent).count();
    // Issued two days after April's end; figures by the day are late when the last of them is.
    let hours = |hours: i64| ISSUED_US + hours * 3_600_000_000;
    assert_eq!(too_late(world.records.iter(), |_| Some(hours(23))), None);
    assert_eq!(too_late(world.records.iter(), |_| Some(hours(24))), Some((events, "W-00001")));
    assert_eq!(too_late(world.records.iter(), |record| record.first_sent_us), None);
}
