//! The engine against a slow and obvious second opinion, on random lakes: compacted days and newly arrived files,
//! duplicates, conflicts, resources that change their dimensions, spans that start and end anywhere.

mod corrected;
mod event;
#[allow(dead_code, reason = "the tests of roll-ups change lakes, too")]
mod lake;
mod oracle;
mod random;
mod second_opinion;
mod stopped;

use std::collections::BTreeSet;
use std::sync::Arc;

use rating::catalog::Catalog;
use rating::period::{Period, Span};
use rating::quantity::Measure;
use rating::usage::{Demand, Usage, View, Wanted};
use sql::quantities::{Asked, HELD_BYTES_MAX, READ_BYTES_MAX, TenantShare, UsageScan};

pub use event::*;
use lake::World;
use random::Random;

fn views(meter: &str) -> Vec<View> {
    let view = |only: &[(&str, &[&str])], by: &[&str]| View {
        meter: meter.to_owned(),
        only: only
            .iter()
            .map(|(name, values)| {
                ((*name).to_owned(), values.iter().map(|text| (*text).to_owned()).collect())
            })
            .collect(),
        by: by.iter().map(|name| (*name).to_owned()).collect(),
    };
    vec![view(&[], &["class", "region"]), view(&[], &[]), view(&[("region", &["r0", "r2"])], &["class"])]
}

fn demand(tenant: &str, random: &mut Random, catalog: &Catalog) -> Demand {
    let at =
        |day: u64, hour: u64| (i64::from(FIRST_DAY) + day as i64) * DAY_US + hour as i64 * 3_600_000_000 + 7;
    let whole = Span { start_us: at(2, random.below(30)), end_us: at(5, random.below(30)) };
    let cuts: Vec<i64> =
        (0..random.below(3)).map(|_| whole.start_us + random.below(3 * DAY_US as u64) as i64).collect();
    let mut spans = whole.split_at(&cuts);
    if spans.len() > 2 {
        spans.remove(1); // A gap, as between two subscriptions.
    }
    let period = Period { span: whole, name: "2026-05-03".to_owned(), end_date: "2026-05-06".to_owned() };
    let mut demand = Demand { tenant: tenant.to_owned(), period, wanted: Vec::new() };
    for meter in &catalog.meters {
        for view in views(&meter.key) {
            for spans in [vec![whole], spans.clone()] {
                let measures: BTreeSet<Measure> = meter.kind.rules().measures().collect();
                demand.ask(Wanted { view: view.clone(), spans, measures, transactions: false });
            }
        }
    }
    demand
}

/// What the engine says, one line for each quantity.
fn lines(usages: &[Usage]) -> Vec<String> {
    let mut lines = Vec::new();
    for usage in usages {
        for (at, quantity) in usage.demand.wanted.iter().zip(&usage.answers).flat_map(|(wanted, series)| {
            series.iter().flat_map(move |series| {
                wanted.measures.iter().filter_map(move |measure| {
                    Some((wanted, usage.quantity(&wanted.view, series, *measure, "")?))
                })
            })
        }) {
            if quantity.value.is_zero() {
                continue;
            }
            lines.push(oracle::line(
                &at.view,
                &quantity.tenant,
                &quantity.dimensions,
                quantity.span,
                quantity.measure,
                &quantity.value,
            ));
        }
    }
    lines.sort();
    lines.dedup();
    lines
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_engine_agrees_with_the_second_opinion() {
    let catalog = Arc::new(Catalog::parse(CATALOG, "random.yaml").unwrap());
    let seed: u64 =
        std::env::var("METERHOUSE_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(20_261_121);
    let rounds: u64 = std::env::var("METERHOUSE_CASES")
        .ok()
        .and_then(|text| text.parse().ok())
        .map_or(60, |cases: u64| cases / 100);
    let mut compared = 0;
    for round in 0..rounds.max(1) {
        println!("seed {seed}, round {round}");
        let mut random = Random::new(seed + round);
        let events = random.events();
        let mut world = World::write(&events, &mut random).await;
        // Every other lake has events that were voided or amended.
        let corrections = if round % 2 == 0 { random.corrections(&events, 10_000) } else { Vec::new() };
        world.correct(&corrections, &mut random).await;
        let events = corrected::effective(&events, &corrections);
        let snapshot = Arc::new(world.table.snapshot(None).await.unwrap());
        let tenants: BTreeSet<String> = events.iter().map(|event| event.tenant.clone()).collect();
        let demands: Vec<Demand> =
            tenants.iter().map(|tenant| demand(tenant, &mut random, &catalog)).collect();
        let expected = oracle::lines(&events, &demands);
        compared += expected.len();
        for threads in [1, 2, 3] {
            let known = demands.clone();
            let scan = UsageScan {
                table: world.table.clone(),
                snapshot: Arc::clone(&snapshot),
                catalog: Arc::clone(&catalog),
                demand_of: Arc::new(move |tenant: &str| {
                    known
                        .iter()
                        .find(|demand| demand.tenant == tenant)
                        .cloned()
                        .map_or(Asked::NotSetUp, Asked::Demand)
                }),
                tenants: None,
                share: TenantShare::default(),
                until_us: demands.iter().map(|demand| demand.period.span.end_us).max().unwrap(),
                threads,
                memory: None,
                held_bytes_max: if threads == 2 { HELD_BYTES_MAX } else { 2_000 },
                // All days side by side, some of them, or each alone.
                read_bytes_max: match threads {
                    1 => READ_BYTES_MAX,
                    2 => 6_500_000,
                    _ => 0,
                },
            };
            let answers = scan.run().await.unwrap();
            assert_eq!(answers.failed, []);
            let found = lines(&answers.usages);
            let alone = |these: &[String], those: &[String]| {
                these.iter().filter(|line| !those.contains(line)).cloned().collect::<Vec<_>>()
            };
            let place = format!("seed {seed}, round {round}, {threads} threads");
            assert_eq!((alone(&found, &expected), alone(&expected, &found)), (vec![], vec![]), "{place}");
        }
    }
    assert!(compared > 100 * rounds.max(1) as usize, "only {compared} quantities to compare");
}
