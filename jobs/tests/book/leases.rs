//! Leases, and the history of runs.

use std::collections::BTreeMap;
use std::time::Duration;

use jobs::book::{BookError, Outcome};

use crate::place::Place;

const MINUTE: Duration = Duration::from_mins(1);

pub async fn a_lease_has_one_holder(place: &Place) {
    let (book, clock) = place.open_with_clock().await;
    let first = book.acquire_lease("close", "one", MINUTE).await.unwrap();
    let held = book.acquire_lease("close", "two", MINUTE).await.unwrap_err();
    assert!(matches!(&held, BookError::Held { holder, .. } if holder == "one"), "{held}");
    assert!(held.passes());
    // Others are others.
    assert_eq!(book.acquire_lease("Close", "two", MINUTE).await.unwrap().token, 1);

    clock.pass_seconds(50);
    book.renew_lease(&first, MINUTE).await.unwrap();
    clock.pass_seconds(50);
    assert!(book.acquire_lease("close", "two", MINUTE).await.is_err());
    clock.pass_seconds(10);
    let second = book.acquire_lease("close", "two", MINUTE).await.unwrap();
    assert_eq!((first.token, second.token), (1, 2));

    book.release_lease(&first).await.unwrap();
    assert!(book.acquire_lease("close", "one", MINUTE).await.is_err(), "not its own any more");
    book.release_lease(&second).await.unwrap();
    assert!(
        matches!(book.begin_as(&second).await, Err(BookError::Fenced { .. })),
        "given back is given back"
    );
    assert_eq!(book.acquire_lease("close", "one", MINUTE).await.unwrap().token, 3);
    let leases = book.leases().await.unwrap();
    let shown: Vec<_> = leases.iter().map(|lease| (lease.lease.as_str(), lease.token)).collect();
    assert_eq!(shown, [("Close", 1), ("close", 3)]);
}

pub async fn a_holder_that_wakes_late_cannot_write(place: &Place) {
    let (book, clock) = place.open_with_clock().await;
    let first = book.acquire_lease("issue", "one", MINUTE).await.unwrap();
    clock.pass_seconds(61);
    // Nobody else came: its writes are still right, and it may go on.
    book.begin_as(&first).await.unwrap().roll_back().await.unwrap();
    book.renew_lease(&first, MINUTE).await.unwrap();
    clock.pass_seconds(61);
    let second = book.acquire_lease("issue", "two", MINUTE).await.unwrap();
    for refused in [book.begin_as(&first).await.map(drop), book.renew_lease(&first, MINUTE).await] {
        let message = refused.unwrap_err().to_string();
        assert_eq!(message, "the lease `issue` was lost: token 1 was followed by 2, and nothing was written");
    }
    book.begin_as(&second).await.unwrap().commit().await.unwrap();
}

pub async fn a_lease_is_not_taken_from_under_a_transaction(place: &Place) {
    let (book, clock) = place.open_with_clock().await;
    let first = book.acquire_lease("issue", "one", MINUTE).await.unwrap();
    let writing = book.begin_as(&first).await.unwrap();
    clock.pass_seconds(61);
    let other = place.open().await.with_clock(clock.0.clone());
    let (asked, asking) = tokio::sync::oneshot::channel();
    let taking = tokio::spawn(async move {
        asked.send(()).unwrap();
        other.acquire_lease("issue", "two", MINUTE).await
    });
    asking.await.unwrap();
    let number = writing.next_numbers("acme", 1).await.unwrap();
    assert!(!taking.is_finished());
    writing.commit().await.unwrap();
    assert_eq!(taking.await.unwrap().unwrap().token, 2);
    assert_eq!(number, 1);
    assert!(matches!(book.begin_as(&first).await, Err(BookError::Fenced { newest: 2, .. })));
}

pub async fn runs_are_remembered(place: &Place) {
    let (book, clock) = place.open_with_clock().await;
    let mut run = book.start_run("close", "2026-05-01", "close", "host:1", MINUTE).await.unwrap();
    assert!(matches!(
        book.start_run("close", "2026-05-01", "close", "host:2", MINUTE).await,
        Err(BookError::Held { .. })
    ));
    run.inputs = BTreeMap::from([("usage_events".to_owned(), "17".to_owned())]);
    run.counts = BTreeMap::from([("invoices".to_owned(), i64::MAX), ("ü".to_owned(), -1)]);
    run.outcome = Outcome::Failed;
    run.error = vec!["cannot issue".to_owned(), "disk full \u{0} 'quoted' \\ 🦀".to_owned()];
    clock.pass_seconds(5);
    book.end_run(&run).await.unwrap();
    clock.pass_seconds(1);
    let second = book.start_run("close", "2026-05-01", "close", "host:2", MINUTE).await.unwrap();
    book.start_run("vacuum", "", "vacuum", "host:2", MINUTE).await.unwrap();

    let runs = book.runs(Some("close"), 10).await.unwrap();
    assert_eq!(runs[0], second);
    run.ended_at_us = Some(run.started_at_us + 5_000_000);
    assert_eq!(runs[1], run);
    assert_eq!(runs.len(), 2);
    assert_eq!(book.runs(None, 10).await.unwrap().len(), 3);
    assert_eq!(book.runs(None, 1).await.unwrap().len(), 1);
    assert_eq!(book.runs_named(&run.run_id[..13]).await.unwrap(), [run]);
}

pub async fn a_run_that_never_ended_is_marked(place: &Place) {
    let (book, clock) = place.open_with_clock().await;
    let mut first = book.start_run("push", "", "push", "host:1", MINUTE).await.unwrap();
    clock.pass_seconds(61);
    let second = book.start_run("push", "", "push", "host:2", MINUTE).await.unwrap();
    let outcomes = |runs: Vec<jobs::book::Run>| runs.iter().map(|run| run.outcome).collect::<Vec<_>>();
    let abandoned = [Outcome::Running, Outcome::Abandoned];
    assert_eq!(outcomes(book.runs(None, 9).await.unwrap()), abandoned);
    // It was only asleep: it may say what stopped it, which is that it was overtaken, and takes nothing from the one that followed.
    first.outcome = Outcome::Failed;
    first.error = vec!["another compaction is at work on this lake".to_owned()];
    book.end_run(&first).await.unwrap();
    assert_eq!(outcomes(book.runs(None, 9).await.unwrap()), [Outcome::Running, Outcome::Overtaken]);
    book.begin_as(&second.fence).await.unwrap().commit().await.unwrap();
}

pub async fn an_occurrence_is_claimed_once(place: &Place) {
    let book = place.open().await;
    assert_eq!(book.last_occurrence("compact").await.unwrap(), None);
    let claims: Vec<_> = (0..8)
        .map(|scheduler| {
            let book = book.clone();
            tokio::spawn(async move {
                let name = format!("host:{scheduler}");
                loop {
                    match book.claim_occurrence("compact", 1_000, &name).await {
                        Err(error) if error.passes() => {}
                        claimed => return claimed.unwrap(),
                    }
                }
            })
        })
        .collect();
    let mut count = 0;
    for claim in claims {
        count += usize::from(claim.await.unwrap());
    }
    assert_eq!(count, 1);
    for (due_at_us, is_claimed) in [(1_000, false), (999, false), (1_001, true), (1_001, false)] {
        assert_eq!(
            book.claim_occurrence("compact", due_at_us, "x").await.unwrap(),
            is_claimed,
            "{due_at_us}"
        );
    }
    assert_eq!(book.last_occurrence("compact").await.unwrap().unwrap().due_at_us, 1_001);
    assert_eq!(book.last_occurrence("vacuum").await.unwrap(), None);
}

pub async fn an_occurrence_that_was_not_begun_is_taken_over_once(place: &Place) {
    let (book, clock) = place.open_with_clock().await;
    assert!(book.claim_occurrence_to_run("compact", 1_000, "first").await.unwrap());
    let lost = book.last_occurrence("compact").await.unwrap().unwrap();
    assert_eq!(lost.starting_since_us, Some(clock.now_us()));
    let mut count = 0;
    for scheduler in ["second", "third"] {
        count += usize::from(book.take_over_occurrence("compact", &lost, scheduler).await.unwrap());
    }
    assert_eq!(count, 1);
    let taken = book.last_occurrence("compact").await.unwrap().unwrap();
    assert_eq!((taken.due_at_us, taken.claimed_by.as_str()), (1_000, "second"));
    book.occurrence_began("compact", 1_000).await.unwrap();
    let begun = book.last_occurrence("compact").await.unwrap().unwrap();
    assert_eq!(begun.starting_since_us, None);
    for seen in [&lost, &taken, &begun] {
        assert!(!book.take_over_occurrence("compact", seen, "fourth").await.unwrap());
    }
    // What is only skipped is not to be begun; the beginning of an earlier run says nothing of a later one.
    assert!(book.claim_occurrence("compact", 2_000, "first").await.unwrap());
    assert_eq!(book.last_occurrence("compact").await.unwrap().unwrap().starting_since_us, None);
    assert!(book.claim_occurrence_to_run("compact", 3_000, "first").await.unwrap());
    book.occurrence_began("compact", 2_000).await.unwrap();
    assert!(book.last_occurrence("compact").await.unwrap().unwrap().starting_since_us.is_some());
}
