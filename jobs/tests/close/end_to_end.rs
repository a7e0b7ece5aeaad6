//! The commands as a person runs them: close, push, reconcile, and what they say when Stripe has something else.

use std::process::Output;
use std::sync::Arc;
use std::sync::atomic::AtomicI64;
use std::time::Instant;

use jobs::book::{BookOutbox, Outcome};
use jobs::push::push_as_run;
use jobs::stripe::Outbox as _;

use crate::check::check;
use crate::place::{Kind, runtime};
use crate::world::{Plan, Round, Template, event};

fn run(round: &Round<'_>, arguments: &[&str], code: i32) -> (String, String) {
    let output: Output = round.command(arguments).output().expect("the program starts");
    let (printed, messages) =
        (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {messages}{printed}");
    (printed, messages)
}

#[test]
fn a_period_is_closed_pushed_and_reconciled() {
    let runtime = runtime();
    let template = Template::new(12);
    let round = template.round(&runtime, Kind::Sqlite);
    let period = round.period();
    let close = ["close", "--period", &period, "--grace", "0 s", "--without-papers"];
    run(&round, &["compact"], 3);
    run(&round, &["rate", "--period", &period], 0);
    let (_, foreseen) = run(&round, &["issue", "--period", &period, "--grace", "0 s", "--dry-run"], 0);
    assert!(foreseen.contains("for stripe there would be: "), "{foreseen}");
    let (_, messages) = run(&round, &close, 0);
    let kinds = messages.lines().find_map(|line| line.strip_prefix("in the outbox for stripe: ")).unwrap();
    assert!(foreseen.contains(kinds.split(';').next().unwrap()), "{foreseen}\n{messages}");
    // Nothing was sent yet, and a dry run sends nothing either.
    let requests = round.folder().join("requests.json");
    run(&round, &["push", "--dry-run", requests.to_str().unwrap()], 0);
    assert_eq!(round.fake.state().calls, 0);
    let requests: serde_json::Value = serde_json::from_slice(&std::fs::read(requests).unwrap()).unwrap();
    let (differences, _) = run(&round, &["reconcile", "--offline", "--format", "json"], 4);
    let differences: Vec<serde_json::Value> = serde_json::from_str(&differences).unwrap();
    assert_eq!(differences.len(), requests.as_array().unwrap().len(), "each request is a difference");

    run(&round, &["push"], 0);
    check(&round, "after the push");
    let calls = round.fake.state().calls;
    run(&round, &["push"], 0);
    assert_eq!(round.fake.state().calls, calls, "there is nothing left to tell");
    let (differences, messages) = run(&round, &["reconcile"], 0);
    assert!(messages.contains("0 differences"), "{differences}{messages}");
    run(&round, &["reconcile", "--period", &period], 0);
    let (runs, _) = run(&round, &["runs", "--format", "csv"], 0);
    for job in ["close", "compact", "rate", "issue", "push", "reconcile"] {
        assert!(runs.contains(&format!(",{job},")), "{runs}");
    }
    tamper(&round);
}

/// Somebody changes something, here or there; each is found and named.
fn tamper(round: &Round<'_>) {
    let reconciled = |code| {
        let (text, _) = run(round, &["reconcile", "--format", "json"], code);
        serde_json::from_str::<Vec<serde_json::Value>>(&text).unwrap()
    };
    {
        let mut state = round.fake.state();
        state.items.retain(|item| item.id != "ii_0");
        state.events[0].value += 1;
    }
    let found = reconciled(4);
    let says = |what: &str| found.iter().any(|row| row["compared"].as_str().unwrap().contains(what));
    assert!(says("invoice_item is missing") && says("usage of"), "{found:?}");
    round.fake.state().events[0].value -= 1;
    assert!(reconciled(4).len() < found.len());

    // An invoice of the book that the lake no longer has.
    std::fs::rename(round.folder().join("lake/invoices"), round.folder().join("gone")).unwrap();
    let found = reconciled(4);
    let gone = found.iter().filter(|row| row["compared"] == "book and lake: invoice").count();
    assert_eq!(gone, round.template.tenants, "{found:?}");
}

#[test]
fn what_stripe_refuses_is_listed_and_sent_again() {
    let runtime = runtime();
    let template = Template::new(4);
    let round = template.round(&runtime, Kind::Sqlite);
    let period = round.period();
    // The customer of the first is gone from Stripe: its records are refused, the others are told.
    round.fake.state().customers.remove("cus_0");
    let close = ["close", "--period", &period, "--grace", "0 s", "--without-papers", "--push"];
    let (_, messages) = run(&round, &close, 3);
    assert!(messages.contains("rejected: meter_event of tenant t0") && messages.contains("no such customer"));
    let (_, messages) = run(&round, &["reconcile"], 4);
    assert!(messages.contains("differences"), "{messages}");
    round.fake.state().customers.insert("cus_0".to_owned());
    run(&round, &["push", "--retry"], 0);
    check(&round, "after another try");
    run(&round, &["reconcile"], 0);
}

/// Stripe takes no single thousandth of a dinar, so some drafts cannot be told; they are listed, and the others get their
/// numbers, without gaps.
#[test]
fn what_stripe_cannot_be_told_stays_a_draft() {
    let runtime = runtime();
    let template = Template::new(16);
    let round = template.round(&runtime, Kind::Sqlite);
    let period = round.period();
    let dinars = template.catalog().replace("currency: EUR", "currency: KWD").replace("0.25", "0.001");
    let catalog = round.folder().join("dinars.yaml");
    std::fs::write(&catalog, dinars).unwrap();
    let can_be_told =
        |tenant: &usize| Plan::of(*tenant) == Plan::Plain || template.sent.calls[*tenant] % 10 == 0;
    let issued = (0..template.tenants).filter(can_be_told).count();
    let close = ["close", "--period", &period, "--grace", "0 s", "--without-papers"];
    let output = round.command(&close).env("METERHOUSE_CATALOG", &catalog).output().unwrap();
    let messages = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(3), "{messages}");
    let held_back = messages.matches("stays a draft: invoice (draft): ").count();
    assert_eq!((held_back, issued > 4), (template.tenants - issued, true), "{messages}");
    let numbers = || {
        runtime.block_on(async {
            let book = round.place().open().await;
            let documents = book.documents(None, None).await.unwrap();
            documents.into_iter().map(|issued| issued.document.number as usize).collect::<Vec<_>>()
        })
    };
    assert_eq!(numbers(), (1..=issued).collect::<Vec<_>>());
    // Once the reason is gone, the rest follows.
    run(&round, &close, 0);
    assert_eq!(numbers(), (1..=template.tenants).collect::<Vec<_>>());
}

#[test]
fn without_a_key_nothing_is_begun() {
    let runtime = runtime();
    let template = Template::new(4);
    let round = template.round(&runtime, Kind::Sqlite);
    for arguments in [&["push"][..], &["close", "--period", "2026-01", "--push"]] {
        let output = round.command(arguments).env_remove("METERHOUSE_STRIPE_KEY").output().unwrap();
        let messages = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{messages}");
        assert!(messages.contains("METERHOUSE_STRIPE_KEY"), "{messages}");
    }
    let (runs, _) = run(&round, &["runs", "--format", "csv"], 0);
    assert_eq!(runs.lines().count(), 1, "{runs}");
}

/// A close that tells Stripe compares in the end: exit code 4 if Stripe has something else than we do.
#[test]
fn a_close_ends_with_a_comparison() {
    let runtime = runtime();
    let template = Template::new(8);
    let round = template.round(&runtime, Kind::Sqlite);
    let period = round.period();
    let close =
        ["close", "--period", &period, "--grace", "0 s", "--without-papers", "--push", "--format", "csv"];
    let (_, messages) = run(&round, &close, 0);
    assert!(messages.contains(" 0 differences"), "{messages}");
    round.fake.state().items.retain(|item| item.id != "ii_0");
    let (differences, messages) = run(&round, &close, 4);
    assert!(differences.contains("invoice_item is missing"), "{differences}{messages}");
    let (runs, _) = run(&round, &["runs", "--job", "close", "--format", "csv"], 0);
    let outcomes: Vec<bool> = runs.lines().skip(1).map(|run| run.contains("done_with_rejects")).collect();
    assert_eq!(outcomes, [true, false], "{runs}");
    let (runs, _) = run(&round, &["runs", "--job", "reconcile", "--format", "csv"], 0);
    assert_eq!(runs.lines().count(), 3, "{runs}");
}

/// Stripe took the events and has counted none yet: that is no difference for who asks about what is settled.
#[test]
fn what_stripe_has_not_counted_yet_is_left_out_where_that_is_wanted() {
    let runtime = runtime();
    let template = Template::new(8);
    let round = template.round(&runtime, Kind::Sqlite);
    let period = round.period();
    run(&round, &["close", "--period", &period, "--grace", "0 s", "--without-papers", "--push"], 0);
    for event in &mut round.fake.state().events {
        event.value = 0;
    }
    run(&round, &["reconcile"], 4);
    run(&round, &["reconcile", "--settled"], 0);
}

/// When something was first sent decides on every machine whether it may be sent again, so all go by the book's clock.
#[test]
fn when_a_record_was_sent_is_told_by_the_books_clock() {
    let runtime = runtime();
    let template = Template::new(4);
    let round = template.round(&runtime, Kind::Sqlite);
    let period = round.period();
    run(&round, &["close", "--period", &period, "--grace", "0 s", "--without-papers"], 0);
    runtime.block_on(async {
        let hours_us = 2 * 3_600_000_000;
        let now_us = jiff::Timestamp::now().as_microsecond() + hours_us;
        let book = round.place().open().await.with_clock(Arc::new(AtomicI64::new(now_us)));
        let pushed = push_as_run(&book, &round.config(), false).await.unwrap();
        assert!(pushed.drained.attempts > 0 && pushed.refused.is_empty(), "{pushed:?}");
        for record in BookOutbox::new(&book).list(None).await.unwrap() {
            let ahead_us = record.first_sent_us.unwrap() - now_us;
            assert!(ahead_us.abs() < hours_us / 4, "{}: {ahead_us} us from the book's time", record.key);
        }
        book.close().await.unwrap();
    });
}

/// A service manager asks a close to stop: it says so, is recorded, and the next goes on.
#[test]
fn a_close_stops_between_its_steps_when_it_is_asked_to() {
    let runtime = runtime();
    let template = Template::new(24);
    let undisturbed = template.round(&runtime, Kind::Sqlite);
    let started = Instant::now();
    undisturbed.finish(false);
    let length = started.elapsed();
    let mut interrupted = 0;
    for part in 1..=8 {
        let round = template.round(&runtime, Kind::Sqlite);
        let mut process = round.close(false, &[]);
        if process.ended_within(length * part / 9).is_some() {
            continue;
        }
        process.signal("TERM");
        let status = process.end();
        // Before it listens, the signal ends it as it ends any process.
        let is_early = std::os::unix::process::ExitStatusExt::signal(&status) == Some(15);
        let outcomes: Vec<Outcome> = runtime.block_on(async {
            let book = round.place().open().await;
            let runs = book.runs(None, 100).await.unwrap();
            book.close().await.unwrap();
            runs.into_iter().map(|run| run.outcome).collect()
        });
        if !is_early && status.code() != Some(0) {
            assert_eq!(status.code(), Some(75), "{}", process.log_end());
            assert!(!outcomes.contains(&Outcome::Running), "{outcomes:?}");
            assert!(outcomes.contains(&Outcome::Interrupted), "{outcomes:?}");
            interrupted += 1;
        }
        round.finish(false);
        check(&round, &format!("asked to stop after {part} parts of nine"));
    }
    assert!(interrupted > 0, "none was interrupted");
}

/// Every request is accepted by Stripe's own stand-in, which remembers nothing: what reads back what it sent needs somebody
/// to look.
#[test]
fn stripe_mock_accepts_what_a_close_sends() {
    let Some(address) = std::env::var("METERHOUSE_TEST_STRIPE_MOCK").ok().filter(|text| !text.is_empty())
    else {
        println!("skipped: METERHOUSE_TEST_STRIPE_MOCK is not set");
        return;
    };
    let runtime = runtime();
    let template = Template::new(12);
    let round = template.round(&runtime, Kind::Sqlite);
    let period = round.period();
    run(&round, &["close", "--period", &period, "--grace", "0 s", "--without-papers"], 0);
    let output = round
        .command(&["push", "--format", "json"])
        .env("METERHOUSE_STRIPE_URL", address)
        .env("METERHOUSE_STRIPE_KEY", "sk_test_123")
        .output()
        .unwrap();
    let messages = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(3), "{messages}");
    for line in messages.lines().filter(|line| line.contains(" of tenant ")) {
        // Usage records are unknown to its version, and its invoices have totals of their own.
        let is_known =
            line.contains("rejected: usage_record") || line.contains("invoice's total in stripe is");
        assert!(is_known, "{messages}");
    }
    assert!(messages.contains("needs attention: invoice_finalize"), "{messages}");
}

/// Two periods closed on one day: what the second corrects of the first is cancelled in Stripe and told anew, by days where it
/// was told so. A day of which nothing was told has an event of its own, which here is too old for Stripe's meters.
#[test]
fn usage_that_was_told_today_is_told_anew() {
    let runtime = runtime();
    let template = Template::new(12);
    let round = template.round(&runtime, Kind::Sqlite);
    let before = template.period_start.yesterday().unwrap().to_string();
    let close = |period: &str| {
        run(&round, &["close", "--period", period, "--grace", "0 s", "--without-papers", "--push"], 0);
    };
    run(&round, &["compact"], 3);
    // Stripe's billing period has not ended since either.
    round.fake.state().billing.1 = 120;
    close(&before);
    let mut late: Vec<String> = ["t4", "t0"].map(|tenant| late_event(&template, tenant, 100)).into();
    let days_before_s = Template::start_s(template.period_start) - 10 * 86_400;
    late.push(event("t8-late", "t8", days_before_s, 50));
    std::fs::write(round.folder().join("late.ndjson"), late.join("\n")).unwrap();
    run(&round, &["ingest", "--file", "late.ndjson"], 0);
    close(&round.period());
    {
        let state = round.fake.state();
        let start_s = Template::start_s(template.period_start);
        assert_eq!(state.counted("calls", "cus_4", 0, start_s), 877);
        assert_eq!(state.counted("daily_calls", "cus_0", 0, start_s), 877);
        assert_eq!(state.counted("daily_calls", "cus_8", 0, start_s), 777);
        // Of what stays as it was nothing is taken back.
        assert_eq!(state.events.iter().filter(|event| event.is_cancelled).count(), 2);
        let pending = state.items.iter().filter(|item| item.invoice.is_none());
        let pending: Vec<(&str, i64)> = pending.map(|item| (item.customer.as_str(), item.amount)).collect();
        // A call costs 0.25.
        assert_eq!(pending, [("cus_8", 1250)]);
    }
    run(&round, &["reconcile"], 0);
    run(&round, &["verify", "--period", &round.period()], 0);
}

/// In the hour before the period, as the template's own event there.
fn late_event(template: &Template, tenant: &str, n: i64) -> String {
    event(&format!("{tenant}-late"), tenant, Template::start_s(template.period_start) - 1800, n)
}
