//! The same invariants over real servers: S3 when METERHOUSE_TEST_S3 is set, GCS when METERHOUSE_TEST_GCS is, as
//! `deploy/services up s3 gcs` prints them.

use std::sync::Arc;
use std::time::Instant;

use sql::lake::Lake;

use super::faulty_store::{FaultyStore, Injected};
use super::random::seed;
use super::writers::{Plan, settings_for_tests};
use super::{files, print_injected, writers};

/// A lake of its own below the bucket that the variable names.
fn lake_of(variable: &str) -> Option<String> {
    let bucket = std::env::var(variable).ok().filter(|text| !text.is_empty());
    if bucket.is_none() {
        println!("skipped: {variable} is not set");
    }
    bucket.map(|bucket| format!("{}/faults-{}", bucket.trim_end_matches('/'), uuid::Uuid::new_v4()))
}

fn commit_over(variable: &str) {
    let Some(url) = lake_of(variable) else { return };
    let seed = seed(variable);
    let started = Instant::now();
    let injected = Injected::default();
    let plan = Plan {
        seed,
        writers: 3,
        sources: 3,
        messages: 80,
        deaths_percent: 20,
        life_us_max: 20_000,
        settings: settings_for_tests(),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let writers_url = format!("{url}/writers");
    let clean = Lake::open(&writers_url).unwrap();
    // A few faults on top of what the server itself does with racing conditional writes.
    let lakes = (0..plan.writers as u64).map(|number| {
        let lake = Lake::open(&writers_url).unwrap();
        let store = FaultyStore::new(Arc::clone(lake.root_store()), seed ^ number, 5, &injected);
        let dial = store.dial();
        (lake.with_store(|_| Arc::new(store)), dial)
    });
    let counters = runtime.block_on(writers::run(plan, lakes.collect(), &clean));
    println!("{variable}: {counters:?} in {:.1} s", started.elapsed().as_secs_f64());
    print_injected(&injected);
    let lake = Lake::open(&format!("{url}/files")).unwrap();
    files::ingest_and_check(&lake, &lake, seed);
    println!("{variable}: {:.1} s in all", started.elapsed().as_secs_f64());
}

#[test]
fn commits_over_s3() {
    commit_over("METERHOUSE_TEST_S3");
}

#[test]
fn commits_over_gcs() {
    commit_over("METERHOUSE_TEST_GCS");
}
