//! The recount after a round: book, lake and Stripe against what was sent, counted anew.

use std::collections::{BTreeMap, BTreeSet};

use arrow::array::AsArray;
use futures::TryStreamExt;
use jobs::book::{BookOutbox, IssuedDocument};
use jobs::issue::{StoredDocument, stored_documents};
use jobs::stripe::{Outbox as _, RecordKind, StripeRecord};
use rust_decimal::Decimal;
use sql::lake::{Lake, Table};

use crate::world::{Plan, Round};

/// What a round ends with.
pub struct Ended {
    documents: Vec<IssuedDocument>,
    stored: Vec<StoredDocument>,
    records: Vec<StripeRecord>,
    rejected: BTreeMap<String, u64>,
    rows: u64,
}

impl Ended {
    pub fn read(round: &Round<'_>) -> Self {
        round.runtime.block_on(async {
            let book = round.place().open().await;
            for finding in book.check().await.unwrap() {
                assert!(finding.broken.is_empty(), "{}: {:?}", finding.rule, finding.broken);
            }
            let mut documents = Vec::new();
            for document in book.documents(None, None).await.unwrap() {
                let number = &document.document.printed_number;
                documents.push(book.document(number).await.unwrap().expect("it was listed"));
            }
            let records = BookOutbox::new(&book).list(None).await.unwrap();
            book.close().await.unwrap();
            let lake = Lake::open(round.folder().join("lake").to_str().unwrap()).unwrap();
            let stored = stored_documents(&lake, None, None).await.unwrap();
            let mut rejected = BTreeMap::new();
            for reason in texts(&lake, Table::RejectedMessages, "reason").await {
                *rejected.entry(reason).or_default() += 1;
            }
            let rows = texts(&lake, Table::UsageEvents, "tenant").await.len() as u64;
            Self { documents, stored, records, rejected, rows }
        })
    }
}

async fn texts(lake: &Lake, table: Table, column: &str) -> Vec<String> {
    let handle = lake.table(table);
    let snapshot = handle.snapshot(None).await.unwrap();
    let columns = [column];
    let mut batches = handle.read_batches(&snapshot.files, Some(&columns));
    let mut texts = Vec::new();
    while let Some(batch) = batches.try_next().await.unwrap() {
        let column = batch.column_by_name(column).unwrap().as_string::<i32>();
        texts.extend(column.iter().map(|text| text.unwrap_or_default().to_owned()));
    }
    texts
}

/// Everything that must hold, whatever happened on the way.
pub fn check(round: &Round<'_>, what: &str) {
    let ended = Ended::read(round);
    check_invoices(round, &ended, what);
    check_events(round, &ended, what);
    check_stripe(round, &ended, what);
    check_records(round, &ended, what);
}

/// One invoice for each tenant and period, numbers from 1 on, and the amounts that we find by counting.
fn check_invoices(round: &Round<'_>, ended: &Ended, what: &str) {
    let tenants = round.template.tenants;
    assert_eq!(ended.documents.len(), tenants, "{what}: invoices");
    let mut numbers: Vec<i64> = ended.documents.iter().map(|issued| issued.document.number).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (1..=tenants as i64).collect::<Vec<_>>(), "{what}: numbers");
    let stored: BTreeMap<&str, &StoredDocument> =
        ended.stored.iter().map(|stored| (stored.invoice.tenant.as_str(), stored)).collect();
    assert_eq!((ended.stored.len(), stored.len()), (tenants, tenants), "{what}: invoices in the lake");
    let period = round.template.period_start.to_string();
    let mut seen = BTreeSet::new();
    for issued in &ended.documents {
        let document = &issued.document;
        assert!(seen.insert(&document.tenant), "{what}: {} has two invoices", document.tenant);
        assert_eq!(document.period, period, "{what}");
        let due = Decimal::new(round.template.sent.due_cents(number_of(&document.tenant)), 2);
        assert_eq!(document.due, due, "{what}: {}", document.tenant);
        assert_eq!(document.lines.iter().map(|line| line.amount).sum::<Decimal>(), document.total, "{what}");
        let stored = stored[document.tenant.as_str()];
        assert_eq!(
            stored.number.as_deref(),
            Some(document.printed_number.as_str()),
            "{what}: the lake's mark"
        );
        assert_eq!(stored.digest, document.digest, "{what}: {}", document.tenant);
        let lines = stored.invoice.lines.iter().map(|line| line.amount).sum::<Decimal>();
        assert_eq!((stored.invoice.due, lines), (due, document.total), "{what}: {}", document.tenant);
    }
}

/// Each event that was sent is rated, rejected, deferred or voided.
fn check_events(round: &Round<'_>, ended: &Ended, what: &str) {
    let sent = &round.template.sent;
    let mut rated = 0;
    for stored in &ended.stored {
        let quantities = stored.invoice.lines.iter().filter_map(|line| line.quantity.as_ref());
        let own: u64 = quantities.map(|quantity| quantity.samples.count).sum();
        assert_eq!(own, sent.events[number_of(&stored.invoice.tenant)], "{what}: {}", stored.invoice.tenant);
        rated += own;
    }
    // Beside what counts stand the event that was taken back or amended, and the correction itself.
    let rows = rated + sent.deferred + 2 * (sent.voided + sent.amended);
    assert_eq!(ended.rows, rows, "{what}: each event stands in the lake once");
    assert!(sent.voided > 0 && sent.amended > 0, "{what}: nothing was taken back or amended");
    let conflicts = ended.rejected.get("conflict").copied().unwrap_or_default();
    let rejected: u64 = ended.rejected.values().sum();
    assert_eq!((conflicts, rejected - conflicts), (sent.conflicts, sent.poison), "{what}: rejects");
}

/// Every line is in Stripe once, with our figures.
fn check_stripe(round: &Round<'_>, ended: &Ended, what: &str) {
    let state = round.fake.state();
    assert_eq!(state.mismatches, 0, "{what}: a key came with another content");
    for issued in &ended.documents {
        let document = &issued.document;
        let tenant = number_of(&document.tenant);
        let (customer, calls) = (format!("cus_{tenant}"), round.template.sent.calls[tenant]);
        let counted = |meter: &str| state.counted(meter, &customer, 0, i64::MAX);
        let due_cents = round.template.sent.due_cents(tenant);
        let plan = Plan::of(tenant);
        let (metered, daily, recorded, invoiced) = match plan {
            Plan::Metered => (calls, 0, 0, Some(plan.base_cents())),
            Plan::Daily => (0, calls, 0, Some(plan.base_cents())),
            Plan::Recorded => (0, 0, calls, None),
            Plan::Invoiced => (0, 0, 0, Some(due_cents)),
            Plan::Plain => (0, 0, 0, None),
        };
        let theirs = (counted("calls"), counted("daily_calls"), state.used(&format!("si_{tenant}")));
        assert_eq!(theirs, (metered, daily, recorded), "{what}: {plan:?} {customer}");
        let own: Vec<_> = state.invoices.iter().filter(|invoice| invoice.customer == customer).collect();
        assert_eq!(own.len(), usize::from(invoiced.is_some()), "{what}: invoices of {customer}");
        for invoice in own {
            assert_eq!(Some(state.total(&invoice.id)), invoiced, "{what}: {customer}");
            assert_eq!(invoice.status, "open", "{what}: {customer}");
            assert_eq!(invoice.metadata["meterhouse_number"], document.printed_number, "{what}: {customer}");
        }
        if plan == Plan::Daily {
            let events = state.events.iter().filter(|event| event.customer == customer).count();
            assert_eq!(events, round.template.sent.days[tenant], "{what}: days of {customer}");
        }
    }
}

/// What the outbox has is what Stripe has, each once.
fn check_records(round: &Round<'_>, ended: &Ended, what: &str) {
    let untold: Vec<_> =
        ended.records.iter().filter(|record| !record.is_told()).map(|record| &record.key).collect();
    assert!(untold.is_empty(), "{what}: {untold:?}");
    let count = |kind| ended.records.iter().filter(|record| record.content.kind == kind).count();
    let state = round.fake.state();
    for (kind, theirs) in [
        (RecordKind::MeterEvent, state.events.len()),
        (RecordKind::UsageRecord, state.usage.len()),
        (RecordKind::Invoice, state.invoices.len()),
        (RecordKind::InvoiceItem, state.items.len()),
    ] {
        assert_eq!(count(kind), theirs, "{what}: {}", kind.name());
        assert!(theirs > 0, "{what}: no {}", kind.name());
    }
    let keys: BTreeSet<&str> =
        state.items.iter().map(|item| item.metadata["meterhouse_key"].as_str()).collect();
    assert_eq!(keys.len(), state.items.len(), "{what}: an item is there twice");
}

fn number_of(tenant: &str) -> usize {
    tenant.trim_start_matches('t').parse().unwrap()
}
