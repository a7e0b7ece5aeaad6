//! The frame in which jobs run.

use std::time::Duration;

use anyhow::{Context, anyhow};
use jobs::book::{Book, BookError, Outcome, Run};
use jobs::cli::TryAgain;
use jobs::run::{RunSpec, with_run};

use crate::place::Place;

fn spec(lease_duration: Duration) -> RunSpec<'static> {
    RunSpec { job: "close", period: "2026-05-01", lease: "close", lease_duration }
}

const MINUTE: Duration = Duration::from_mins(1);

async fn only_run(book: &Book) -> Run {
    let mut runs = book.runs(None, 10).await.unwrap();
    assert_eq!(runs.len(), 1, "{runs:?}");
    runs.remove(0)
}

pub async fn a_run_tells_what_it_did(place: &Place) {
    let book = place.open().await;
    let answer = with_run(&book, spec(MINUTE), async |run| {
        run.input("usage_events", 17);
        run.count("invoices", 2_u64);
        run.count("invoices", 3_u64);
        run.count("too_many", u64::MAX);
        let writing = run.begin().await?;
        let number = writing.next_numbers("vendor", 1).await?;
        writing.commit().await?;
        assert_eq!(run.fence().token, 1);
        Ok(number)
    })
    .await
    .unwrap();
    assert_eq!(answer, 1);
    let run = only_run(&book).await;
    assert_eq!((run.outcome, run.period.as_str(), run.error.len()), (Outcome::Done, "2026-05-01", 0));
    assert_eq!(run.inputs["usage_events"], "17");
    assert_eq!((run.counts["invoices"], run.counts["too_many"]), (3, i64::MAX));
    assert!(run.ended_at_us.unwrap() >= run.started_at_us);
    // Its lease was given back: the next need not wait for it to run out.
    with_run(&book, spec(MINUTE), async |run| {
        run.has_rejects();
        Ok(())
    })
    .await
    .unwrap();
    assert_eq!(book.runs(None, 1).await.unwrap()[0].outcome, Outcome::DoneWithRejects);
}

pub async fn a_failed_run_keeps_its_whole_error_chain(place: &Place) {
    let book = place.open().await;
    let failed = with_run(&book, spec(MINUTE), async |run| {
        run.count("invoices", 1);
        let disk: Result<(), _> = Err(anyhow!("disk full"));
        disk.context("cannot write part 7").context("cannot issue")
    })
    .await
    .unwrap_err();
    assert_eq!(format!("{failed:#}"), "cannot issue: cannot write part 7: disk full");
    let run = only_run(&book).await;
    assert_eq!((run.outcome, run.counts["invoices"]), (Outcome::Failed, 1));
    assert_eq!(run.error, ["cannot issue", "cannot write part 7", "disk full"]);

    let other = book.clone();
    let panicked = tokio::spawn(async move {
        with_run(&other, spec(MINUTE), async |run| {
            let known: Result<i32, _> = run.run_id().parse();
            Ok(known.expect("an id is no number"))
        })
        .await
    });
    assert!(panicked.await.unwrap_err().is_panic());
    let run = book.runs(None, 1).await.unwrap().remove(0);
    assert_eq!((run.outcome, run.error.len()), (Outcome::Failed, 1));
    assert!(run.error[0].starts_with("panicked: an id is no number"), "{:?}", run.error);
}

pub async fn two_runs_do_not_meet(place: &Place) {
    let book = place.open().await;
    let second = with_run(&book, spec(MINUTE), async |_| {
        Ok(with_run(&book, spec(MINUTE), async |_| Ok(())).await.unwrap_err())
    })
    .await
    .unwrap();
    assert!(second.downcast_ref::<TryAgain>().is_some());
    let text = format!("{second:#}");
    assert!(text.contains("another `close` is at work") && text.contains("holds the lease"), "{text}");
    assert_eq!(only_run(&book).await.outcome, Outcome::Done, "what never began is no run");
}

pub async fn a_run_that_lost_its_lease_is_stopped(place: &Place) {
    let (book, clock) = place.open_with_clock().await;
    let duration = Duration::from_millis(30);
    let other = place.open().await.with_clock(clock.0.clone());
    let stopped = with_run(&book, spec(duration), async |run| {
        clock.pass_seconds(1);
        // It may be renewed in between as often as it likes: a clock that runs on ends it.
        loop {
            match other.acquire_lease("close", "other", MINUTE).await {
                Ok(fence) => break assert_eq!(fence.token, 2),
                Err(BookError::Held { .. }) => clock.pass_seconds(1),
                Err(error) => panic!("{error}"),
            }
        }
        assert!(matches!(run.begin().await, Err(BookError::Fenced { .. })));
        std::future::pending::<anyhow::Result<()>>().await
    })
    .await
    .unwrap_err();
    assert!(stopped.downcast_ref::<TryAgain>().is_some());
    assert!(format!("{stopped:#}").contains("the lease `close` was lost"), "{stopped:#}");
    assert_eq!(only_run(&book).await.outcome, Outcome::Overtaken);
    // The one that followed is not disturbed.
    let leases = book.leases().await.unwrap();
    assert_eq!((leases[0].token, leases[0].holder.as_deref()), (2, Some("other")));
}

pub async fn a_long_run_keeps_its_lease(place: &Place) {
    let book = place.open().await;
    let duration = Duration::from_millis(60);
    with_run(&book, spec(duration), async |_| {
        let before_us = book.leases().await?[0].expires_at_us;
        // Until it has been renewed often enough to have run out several times over.
        while book.leases().await?[0].expires_at_us < before_us + 5 * 60_000 {
            tokio::task::yield_now().await;
        }
        let refused = book.acquire_lease("close", "other", MINUTE).await;
        assert!(matches!(refused, Err(BookError::Held { .. })), "{refused:?}");
        Ok(())
    })
    .await
    .unwrap();
    assert_eq!(only_run(&book).await.fence.token, 1);
}
