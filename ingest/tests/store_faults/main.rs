//! Exactly once over a store that fails: the committing code and the whole file ingest, with errors before and
//! after the effect, broken replies, delayed writes and writers that die; and over the real S3 and GCS servers.

mod buckets;
mod faulty_store;
mod files;
mod random;
mod writers;

use std::sync::Arc;
use std::time::{Duration, Instant};

use faulty_store::{Dial, FaultyStore, HoldingStore, Injected, exists};
use ingest::commit::{CommitError, LogSettings, Position, TableLog};
use ingest::pipeline::IngestError;
use object_store::ObjectStore;
use object_store::memory::InMemory;
use object_store::path::Path;
use random::{Random, seed};
use sql::lake::{Lake, Table};
use writers::{Plan, commit_of, file_of, settings_for_tests};

fn lake_on(store: Arc<dyn ObjectStore>) -> Lake {
    Lake::open("memory:///").unwrap().with_store(|_| store)
}

fn faulty(shared: &Arc<dyn ObjectStore>, seed: u64, percent: u64, injected: &Injected) -> (Lake, Dial) {
    let store = FaultyStore::new(Arc::clone(shared), seed, percent, injected);
    let dial = store.dial();
    (lake_on(Arc::new(store)), dial)
}

fn print_injected(injected: &Injected) {
    let injected = injected.lock().unwrap();
    println!("{} faults injected: {injected:?}", injected.values().sum::<u64>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_writers_commit_each_message_once() {
    let seed = seed("concurrent_writers_commit_each_message_once");
    let injected = Injected::default();
    let started = Instant::now();
    let (mut rounds, mut commits, mut fenced, mut deaths, mut store_errors) = (0, 0, 0, 0, 0);
    // Bounded by time, so that a slow machine runs fewer rounds; the first three always.
    while rounds < 3 || started.elapsed() < Duration::from_secs(8) {
        let plan = Plan {
            seed: seed.wrapping_add(rounds),
            writers: 3,
            sources: 4,
            messages: 60,
            deaths_percent: 20,
            life_us_max: 600,
            settings: settings_for_tests(),
        };
        let percent = [20, 5, 30][rounds as usize % 3];
        let shared: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
        let lakes = (0..plan.writers as u64)
            .map(|number| faulty(&shared, plan.seed.wrapping_mul(7).wrapping_add(number), percent, &injected))
            .collect();
        let counters = writers::run(plan, lakes, &lake_on(shared)).await;
        rounds += 1;
        commits += counters.commits.into_inner();
        fenced += counters.fenced.into_inner();
        deaths += counters.deaths.into_inner();
        store_errors += counters.store_errors.into_inner();
    }
    println!(
        "{rounds} rounds: {commits} commits, {fenced} refused, {deaths} deaths, {store_errors} gave up on the store"
    );
    print_injected(&injected);
    assert!(fenced > 0 && deaths > 0, "the writers never met");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_writers_at_the_same_position_exactly_one_wins() {
    let seed = seed("of_two_writers_at_the_same_position_exactly_one_wins");
    let injected = Injected::default();
    let shared: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    let clean = lake_on(Arc::clone(&shared));
    clean.table(Table::UsageEvents).create_if_missing().await.unwrap();
    let application = "meterhouse/kafka/race/0".to_owned();
    let names = [application.clone()];
    let mut logs = Vec::new();
    for number in 0..2 {
        let (lake, dial) = faulty(&shared, seed.wrapping_add(number), 0, &injected);
        let mut log =
            TableLog::open_with(lake.table(Table::UsageEvents), settings_for_tests()).await.unwrap();
        log.positions(&names).await.unwrap();
        dial.turn(25);
        logs.push(log);
    }
    let [mut left, mut right]: [TableLog; 2] = logs.try_into().unwrap();
    let mut wins = [0, 0];
    for round in 0..60_i64 {
        let expected = (round > 0).then_some(round);
        // Only a writer that knows the position can compete for the next one.
        for log in [&mut left, &mut right] {
            assert_eq!(log.positions(&names).await.unwrap()[&application], expected);
        }
        let position = Position { application: application.clone(), expected, next: round + 1 };
        let (first, second) = (file_of(&[(0, round)]), file_of(&[(0, round)]));
        let commits = (commit_of(&first, vec![position.clone()]), commit_of(&second, vec![position]));
        let (first, second) = tokio::join!(left.commit(&commits.0), right.commit(&commits.1));
        let outcome = (first.is_ok(), second.is_ok());
        assert!(outcome.0 != outcome.1, "round {round}: {first:?} and {second:?}");
        let loser = if outcome.0 { second } else { first };
        assert!(matches!(loser, Err(CommitError::Fenced { .. })), "round {round}: {loser:?}");
        wins[usize::from(outcome.1)] += 1;
    }
    println!("wins: {wins:?}");
    print_injected(&injected);
    let snapshot = clean.table(Table::UsageEvents).snapshot(None).await.unwrap();
    assert_eq!((snapshot.files.len(), snapshot.version), (60, 60));
}

/// A log entry that arrives after its writer gave up, before and after somebody else committed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_entry_that_lands_after_its_writer_gave_up() {
    for other_commits_first in [false, true] {
        let shared: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
        let holding = Arc::new(HoldingStore::new(Arc::clone(&shared)));
        let settings = LogSettings { patience: Duration::from_millis(30), ..settings_for_tests() };
        let clean = lake_on(shared).table(Table::UsageEvents);
        let mut other = TableLog::open_with(clean.clone(), settings).await.unwrap();
        let slow = lake_on(Arc::clone(&holding) as Arc<dyn ObjectStore>).table(Table::UsageEvents);
        let mut slow = TableLog::open_with(slow, settings).await.unwrap();

        let application = "meterhouse/kafka/late/0".to_owned();
        let names = [application.clone()];
        let position = |expected, next| vec![Position { application: application.clone(), expected, next }];
        for log in [&mut slow, &mut other] {
            assert_eq!(log.positions(&names).await.unwrap()[&application], None);
        }
        let late = file_of(&[(0, 0)]);
        slow.upload(std::slice::from_ref(&late)).await.unwrap();
        holding.hold();
        let error = slow.commit(&commit_of(&late, position(None, 1))).await.unwrap_err();
        assert!(matches!(error, CommitError::Store { .. }), "{error:?}");
        let quick = file_of(&[(0, 0), (0, 1)]);
        if other_commits_first {
            other.commit(&commit_of(&quick, position(None, 2))).await.unwrap();
        }
        let written = holding.let_go().await;
        assert_eq!(written[0], !other_commits_first);
        assert!(written[1..].iter().all(|written| !written), "the same entry landed twice");
        assert!(exists(slow.store().as_ref(), &Path::from(late.add.path.as_str())).await);

        // Whoever builds on the position before is refused, also the one whose entry it was.
        for log in [&mut slow, &mut other] {
            let error = log.commit(&commit_of(&quick, position(None, 2))).await.unwrap_err();
            assert!(matches!(error, CommitError::Fenced { .. }), "{error:?}");
        }
        let stands_at = if other_commits_first { 2 } else { 1 };
        assert_eq!(slow.positions(&names).await.unwrap()[&application], Some(stands_at));
        let files = clean.snapshot(None).await.unwrap().files;
        let winner = if other_commits_first { &quick } else { &late };
        assert_eq!(files.iter().map(|file| &file.path).collect::<Vec<_>>(), [&winner.add.path]);
    }
}

/// Whoever was away for long reads what the others wrote, and writes once after it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_writer_that_was_away_catches_up_before_it_writes_again() {
    let lake = lake_on(Arc::new(InMemory::new()));
    let open = || TableLog::open_with(lake.table(Table::UsageEvents), settings_for_tests());
    let (mut away, mut fenced, mut busy) =
        (open().await.unwrap(), open().await.unwrap(), open().await.unwrap());
    let application = "meterhouse/kafka/away/0".to_owned();
    let position = |expected, next| vec![Position { application: application.clone(), expected, next }];
    fenced.positions(std::slice::from_ref(&application)).await.unwrap();
    busy.positions(std::slice::from_ref(&application)).await.unwrap();
    for number in 0..40 {
        let moved = position((number > 0).then_some(number), number + 1);
        busy.commit(&commit_of(&file_of(&[(0, number)]), moved)).await.unwrap();
    }
    let file = file_of(&[(1, 0)]);
    let committed = away.commit(&commit_of(&file, vec![])).await.unwrap();
    assert_eq!((committed.version, committed.attempts), (41, 2));
    let error = fenced.commit(&commit_of(&file, position(None, 7))).await.unwrap_err();
    assert!(matches!(error, CommitError::Fenced { found: Some(1), .. }), "{error:?}");
}

/// A message that somebody else has taken for usage does not end among the rejects as well.
#[test]
fn rejects_of_an_owner_that_is_late_are_refused_with_its_usage() {
    let lake = lake_on(Arc::new(InMemory::new()));
    assert_eq!(files::rows_after_two_owners(&lake), (1, 0));
}

#[test]
fn file_ingest_over_a_failing_store() {
    let seed = seed("file_ingest_over_a_failing_store");
    let injected = Injected::default();
    let mut random = Random::new(seed);
    for percent in [20, 5, 20, 35, 20] {
        let shared: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
        let (lake, _) = faulty(&shared, random.next(), percent, &injected);
        files::ingest_and_check(&lake, &lake_on(shared), random.next());
    }
    print_injected(&injected);
}

/// A batch that waits behind one that cannot be committed is not waited for for ever.
#[test]
fn a_failed_commit_ends_the_wait_for_those_behind_it() {
    let lake = lake_on(Arc::new(InMemory::new()));
    let (answer, answered) = std::sync::mpsc::channel();
    std::thread::spawn(move || answer.send(files::wait_behind_a_failed_commit(&lake)));
    let waited = answered.recv_timeout(Duration::from_secs(20)).expect("it waits and waits");
    assert!(matches!(waited, Err(IngestError::Commit(CommitError::TableChanged(..)))), "{waited:?}");
}
