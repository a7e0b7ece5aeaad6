//! The Stripe outbox, kept in the book: by cases, and against the one in memory.

use std::collections::BTreeSet;
use std::time::Duration;

use jobs::book::{Book, BookError, BookOutbox};
use jobs::stripe::outbox::Claim;
use jobs::stripe::record::{RecordContent, SentUsage};
use jobs::stripe::{
    MemoryOutbox, Method, Outbox, OutboxError, RecordKind, RecordState, StripeRecord, StripeRequest,
};

use crate::place::Place;

const SEED: u64 = 20_260_521;

pub fn record(key: &str, group: &str, sequence: i64) -> StripeRecord {
    let content = RecordContent {
        kind: RecordKind::MeterEvent,
        tenant: "acme".to_owned(),
        customer: "cus_1".to_owned(),
        meter: Some("storage".to_owned()),
        period: "2026-05-01".to_owned(),
        invoice_number: "V-000001".to_owned(),
        description: "größe \"1\" \\ \u{0} 🦀".to_owned(),
        usage: Some(SentUsage { value: 17, at_s: 1_780_000_000, is_set: false }),
        amount_minor: Some(i64::MAX),
        currency: "usd".to_owned(),
        after: None,
        refers_to: None,
        request: StripeRequest {
            method: Method::Post,
            ..StripeRequest::get("/billing/meter_events", &[("payload[value]", "17"), ("x", "ü&=")])
        },
    };
    StripeRecord::new(key.to_owned(), group.to_owned(), sequence, content)
}

fn claim(now_us: i64) -> Claim {
    Claim { now_us, until_us: now_us + 100, limit: 1000 }
}

async fn claimed(outbox: &BookOutbox, now_us: i64) -> Vec<StripeRecord> {
    outbox.claim(claim(now_us)).await.unwrap()
}

fn keys(records: &[StripeRecord]) -> Vec<&str> {
    records.iter().map(|record| record.key.as_str()).collect()
}

pub async fn a_record_is_written_once(place: &Place) {
    let book = place.open().await;
    let outbox = BookOutbox::new(&book);
    let records = [record("a", "g", 1), record("b", "g", 2), record("a", "g", 1)];
    assert_eq!(outbox.insert(&records).await.unwrap(), 2);
    assert_eq!(outbox.insert(&records).await.unwrap(), 0);
    assert_eq!(outbox.find("a").await.unwrap().unwrap(), records[0]);
    assert_eq!(outbox.find("c").await.unwrap(), None);
    let mut other = record("b", "g", 2);
    other.content.amount_minor = Some(18);
    let mut twin = record("c", "g", 3);
    twin.content.customer.push_str("_other");
    for (name, key, records) in [
        ("than the book's", "b", [record("c", "g", 3), other]),
        ("than its twin", "c", [record("c", "g", 3), twin]),
    ] {
        let refused = outbox.insert(&records).await;
        assert!(matches!(refused, Err(OutboxError::OtherContent { key: told }) if told == key), "{name}");
        assert_eq!(outbox.find("c").await.unwrap(), None, "{name}: nothing of it is kept");
    }
    // It belongs to the transaction of what it tells about.
    let writing = book.begin().await.unwrap();
    assert_eq!(writing.put_into_outbox(&[record("c", "g", 3)]).await.unwrap(), 1);
    writing.roll_back().await.unwrap();
    assert_eq!(keys(&outbox.list(None).await.unwrap()), ["a", "b"]);
}

pub async fn of_a_group_one_is_sent_at_a_time(place: &Place) {
    let book = place.open().await;
    let outbox = BookOutbox::new(&book);
    outbox
        .insert(&[
            record("a2", "acme/storage", 2),
            record("b1", "acme/storage", 1),
            record("z", "acme/traffic", 9),
        ])
        .await
        .unwrap();
    let mut first = claimed(&outbox, 1000).await;
    assert_eq!(keys(&first), ["b1", "z"], "the first of each group");
    assert!(first.iter().all(|record| (record.attempts, record.first_sent_us) == (1, Some(1000))));
    assert_eq!(outbox.find("b1").await.unwrap().unwrap(), first[0], "known before it is handed out");
    assert_eq!(claimed(&outbox, 1001).await, [], "all groups are busy");
    assert_eq!(outbox.next_due_us().await.unwrap(), Some(1100));

    first[0].next_attempt_us = 2000;
    first[0].last_error = Some("429 \"slow down\" 🦀".to_owned());
    first[1].state = RecordState::Confirmed;
    first[1].stripe_id = Some("mtr_1".to_owned());
    assert_eq!(outbox.store(&first).await.unwrap(), 2);
    assert_eq!(claimed(&outbox, 1999).await, [], "one that waits holds up its group");
    assert_eq!(outbox.next_due_us().await.unwrap(), Some(2000));
    let mut again = claimed(&outbox, 2000).await;
    assert_eq!(keys(&again), ["b1"]);
    assert_eq!((again[0].attempts, again[0].first_sent_us, again[0].claim), (2, Some(1000), 2));
    again[0].become_invoice_item("too old");
    assert_eq!(outbox.store(&again).await.unwrap(), 1);
    let kept = outbox.find("b1").await.unwrap().unwrap();
    assert_eq!(kept, StripeRecord { claimed_until_us: 0, ..again[0].clone() });
    // What it was made from still stands for it.
    assert_eq!(outbox.insert(&[record("b1", "acme/storage", 1)]).await.unwrap(), 0);
    let counts: Vec<_> = book.outbox_counts().await.unwrap().into_iter().collect();
    assert_eq!(counts, [(RecordState::Waiting, 2), (RecordState::Confirmed, 1)]);
}

pub async fn an_overtaken_sender_stores_nothing(place: &Place) {
    let (book, clock) = place.open_with_clock().await;
    let minute = Duration::from_mins(1);
    let first = book.acquire_lease("push", "one", minute).await.unwrap();
    let slow = BookOutbox::of_run(&book, &first);
    slow.insert(&[record("a", "a", 1), record("b", "b", 1)]).await.unwrap();
    let mut held = claimed(&slow, 1000).await;
    // Its claim lapsed, though not yet its lease: another sender of the same run has the record.
    let taken_over = claimed(&slow, 1100).await;
    assert_eq!((taken_over.len(), taken_over[0].first_sent_us), (2, Some(1000)));
    held[0].state = RecordState::Rejected;
    assert_eq!(slow.store(&held).await.unwrap(), 0);
    // Its lease was taken over: not even what it holds rightly is stored.
    clock.pass_seconds(61);
    let second = book.acquire_lease("push", "two", minute).await.unwrap();
    let calls = [
        slow.store(&taken_over).await.map(drop),
        slow.claim(claim(9000)).await.map(drop),
        slow.insert(&[record("c", "c", 1)]).await.map(drop),
    ];
    for refused in calls {
        let Err(OutboxError::Unreachable(source)) = refused else { panic!("{refused:?}") };
        assert!(
            matches!(source.downcast_ref(), Some(BookError::Fenced { token: 1, newest: 2, .. })),
            "{source}"
        );
    }
    let fresh = BookOutbox::of_run(&book, &second);
    assert_eq!(keys(&claimed(&fresh, 1200).await), ["a", "b"]);
    assert!(fresh.list(Some(RecordState::Rejected)).await.unwrap().is_empty());
}

pub async fn a_record_is_handed_out_once(place: &Place) {
    let book = place.open().await;
    let fence = book.acquire_lease("push", "one", Duration::from_mins(1)).await.unwrap();
    let outbox = BookOutbox::of_run(&book, &fence);
    let records: Vec<_> =
        (0..40).map(|at| record(&format!("r{at:02}"), &format!("g{}", at % 8), at)).collect();
    outbox.insert(&records).await.unwrap();
    let senders: Vec<_> = (0..4)
        .map(|_| {
            let outbox = outbox.clone();
            tokio::spawn(async move {
                let mut sent = Vec::new();
                while outbox.next_due_us().await.unwrap().is_some() {
                    let mut records = outbox.claim(Claim { limit: 3, ..claim(1000) }).await.unwrap();
                    for record in &mut records {
                        record.state = RecordState::Confirmed;
                    }
                    assert_eq!(outbox.store(&records).await.unwrap(), records.len());
                    sent.extend(records.into_iter().map(|record| record.key));
                    tokio::task::yield_now().await;
                }
                sent
            })
        })
        .collect();
    let mut sent = Vec::new();
    for sender in senders {
        sent.extend(sender.await.unwrap());
    }
    assert_eq!(sent.len(), 40);
    assert_eq!(sent.iter().collect::<BTreeSet<_>>().len(), 40);
}

/// The same random calls to both must get the same answers.
pub async fn it_agrees_with_the_outbox_in_memory(place: &Place) {
    println!("seed {SEED}");
    let book: Book = place.open().await;
    let (ours, oracle) = (BookOutbox::new(&book), MemoryOutbox::default());
    let mut random = SEED;
    let mut below = |limit: u64| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) % limit
    };
    let (mut now_us, mut held) = (1000, Vec::new());
    for step in 0..150 {
        now_us += below(60) as i64 * 1000;
        let claim = Claim { now_us, until_us: now_us + 100_000, limit: 1000 };
        match below(4) {
            0 => {
                let records: Vec<_> = (0..below(4))
                    .map(|_| {
                        let number = below(40);
                        record(&format!("k{number}"), &format!("g{}", number % 5), number as i64 / 10)
                    })
                    .collect();
                assert_eq!(
                    ours.insert(&records).await.unwrap(),
                    oracle.insert(&records).await.unwrap(),
                    "{step}"
                );
            }
            1 => {
                let mut found = ours.claim(claim).await.unwrap();
                let mut wanted = oracle.claim(claim).await.unwrap();
                found.sort_by(|left, right| left.key.cmp(&right.key));
                wanted.sort_by(|left, right| left.key.cmp(&right.key));
                assert_eq!(found, wanted, "claim of step {step} at {now_us}");
                held.extend(found);
            }
            _ if held.is_empty() => {}
            _ => {
                let mut record = held.swap_remove(below(held.len() as u64) as usize);
                record.state = RecordState::ALL[below(5) as usize];
                // No two the same, so that the order of equals does not matter.
                record.next_attempt_us = now_us + below(300) as i64 * 1000 + step;
                record.must_look_up = below(2) == 0;
                record.last_error = (below(2) == 0).then(|| format!("failed in step {step}"));
                let records = [record];
                assert_eq!(
                    ours.store(&records).await.unwrap(),
                    oracle.store(&records).await.unwrap(),
                    "{step}"
                );
            }
        }
        assert_eq!(ours.next_due_us().await.unwrap(), oracle.next_due_us().await.unwrap(), "{step}");
        assert_eq!(ours.counts().await.unwrap(), oracle.counts().await.unwrap(), "{step}");
        let because = oracle.waiting_because().await.unwrap();
        assert_eq!(ours.waiting_because().await.unwrap(), because, "{step}");
    }
    assert_eq!(ours.list(None).await.unwrap(), oracle.list(None).await.unwrap());
    for group in 0..5 {
        let group = format!("g{group}");
        assert_eq!(ours.group(&group).await.unwrap(), oracle.group(&group).await.unwrap());
    }
}
