//! Roll-ups against events, on random lakes that grow, are compacted and get late events: after each run both must say
//! the same, and roll-ups made step by step must say the same as roll-ups made at once.

#[allow(dead_code, reason = "here the engine is the second opinion")]
#[path = "../../../sql/tests/quantities/corrected.rs"]
mod corrected;
#[path = "../../../sql/tests/quantities/event.rs"]
mod event;
#[path = "../../../sql/tests/quantities/lake.rs"]
mod lake;
#[allow(dead_code, reason = "here the engine is the second opinion")]
#[path = "../../../sql/tests/quantities/oracle.rs"]
mod oracle;
#[path = "../../../sql/tests/quantities/random.rs"]
mod random;

mod commands;
mod hours;
mod rated;

use std::collections::BTreeMap;
use std::sync::Arc;

use jobs::rollup::{RollUpReport, RollUpSettings, roll_up};
use rating::catalog::Catalog;
use rating::period::{Period, Span};
use rating::quantity::Quantity;
use rating::quantity::session::SessionOddities;
use rating::usage::{Demand, Usage, View, Wanted};
use sql::quantities::{Answers, Asked, HELD_BYTES_MAX, READ_BYTES_MAX, TenantShare, UsageScan};
use sql::rollups::{RollUps, Source, day_questions};

pub use event::*;
use lake::World;
use random::Random;

const HOUR_US: i64 = 3_600_000_000;

/// Questions about some days, with spans that start and end anywhere.
fn demand(tenant: &str, random: &mut Random, catalog: &Catalog) -> Demand {
    let at = |day: i64, micros: u64| (i64::from(FIRST_DAY) + day) * DAY_US + micros as i64;
    let mut instant = |from: i64, days: u64| match random.below(3) {
        0 => at(from, random.below(days) * DAY_US as u64),
        1 => at(from, random.below(days * 48) * HOUR_US as u64 / 2),
        _ => at(from, random.below(days * DAY_US as u64)),
    };
    let whole = Span { start_us: instant(-2, 5), end_us: instant(4, 6) };
    let cuts: Vec<i64> = (0..3).map(|_| instant(-2, 10)).collect();
    let mut spans = whole.split_at(&cuts[..random.below(4) as usize]);
    if spans.len() > 2 {
        spans.remove(1); // A gap, as between two subscriptions.
    }
    let period = Period { span: whole, name: "2026-05-01".to_owned(), end_date: "2026-05-06".to_owned() };
    let mut demand = Demand { tenant: tenant.to_owned(), period, wanted: Vec::new() };
    for meter in &catalog.meters {
        for (only, by) in [
            (BTreeMap::new(), vec!["class", "region"]),
            (BTreeMap::new(), vec![]),
            (BTreeMap::from([("region".to_owned(), vec!["r0".to_owned(), "r2".to_owned()])]), vec!["class"]),
        ] {
            let by = by.into_iter().map(str::to_owned).collect();
            let view = View { meter: meter.key.clone(), only, by };
            for spans in [vec![whole], spans.clone()] {
                let all = random.chance(20);
                let rules = meter.kind.rules();
                let measures = rules.measures().filter(|measure| all || measure.composes()).collect();
                demand.ask(Wanted { view: view.clone(), spans, measures, transactions: false });
            }
        }
    }
    demand
}

struct Case {
    world: World,
    catalog: Arc<Catalog>,
    demands: Arc<Vec<Demand>>,
    questions: i64,
    /// What may be held of days that are not compacted.
    held_bytes_max: usize,
}

impl Case {
    fn settings(&self, threads: usize) -> RollUpSettings {
        let (catalog, demands) = (Arc::clone(&self.catalog), Arc::clone(&self.demands));
        let of_periods = Arc::clone(&self.demands);
        RollUpSettings {
            catalog: Arc::clone(&self.catalog),
            periods_of: Arc::new(move |tenant, after_us, until_us| {
                let is_asked = |demand: &&Demand| {
                    let end_us = demand.period.span.end_us;
                    demand.tenant == tenant && after_us < end_us && end_us <= until_us
                };
                of_periods.iter().filter(is_asked).cloned().collect()
            }),
            questions_of: Arc::new(move |tenant, day| {
                let own = demands.iter().filter(|demand| demand.tenant == tenant);
                day_questions(&catalog, own, day)
            }),
            questions: self.questions,
            from: None,
            threads,
            dry_run: false,
        }
    }

    async fn roll_up(&self, threads: usize) -> RollUpReport {
        roll_up(&self.world.lake, &self.settings(threads), |_| ()).await.unwrap()
    }

    async fn scan(&self) -> UsageScan {
        let demands = Arc::clone(&self.demands);
        UsageScan {
            table: self.world.table.clone(),
            snapshot: Arc::new(self.world.table.snapshot(None).await.unwrap()),
            catalog: Arc::clone(&self.catalog),
            demand_of: Arc::new(move |tenant: &str| {
                let own = demands.iter().find(|demand| demand.tenant == tenant);
                own.cloned().map_or(Asked::NotSetUp, Asked::Demand)
            }),
            tenants: None,
            share: TenantShare::default(),
            until_us: self.demands.iter().map(|demand| demand.period.span.end_us).max().unwrap(),
            threads: 2,
            memory: None,
            held_bytes_max: self.held_bytes_max,
            read_bytes_max: READ_BYTES_MAX,
        }
    }

    /// From roll-ups as from events; says how many tenants needed no event.
    async fn check(&self, covers_all: bool, what: &str) -> usize {
        let scan = self.scan().await;
        let events = scan.run().await.unwrap();
        assert_eq!(events.failed, [], "{what}");
        let roll_ups = RollUps::open(&self.world.lake).await.unwrap();
        let found = RollUps::answer(roll_ups.as_ref(), &scan, Source::Auto).await.unwrap();
        assert_eq!(found.answers.failed, [], "{what}");
        assert_same(&quantities(&found.answers, |_| true), &quantities(&events, |_| true), what);
        assert_eq!(oddities(&found.answers), oddities(&events), "{what}");
        assert_eq!(found.answers.not_set_up, events.not_set_up, "{what}");
        assert_eq!(tenants(&found.answers), tenants(&events), "{what}");
        if covers_all {
            // The meter of complete sessions tells of earlier days, so a tenant that asks for it cannot do without events.
            let without = self.without("jobs").scan().await;
            let found = RollUps::answer(roll_ups.as_ref(), &without, Source::RollUps).await.unwrap();
            let days = roll_ups.clone().map(without_periods);
            let of_days = RollUps::answer(days.as_ref(), &without, Source::RollUps).await.unwrap();
            let (all, what_of_days) = (|_: &Quantity| true, format!("{what}, from days"));
            assert_same(&quantities(&of_days.answers, all), &quantities(&found.answers, all), &what_of_days);
            assert_eq!(oddities(&of_days.answers), oddities(&found.answers), "{what_of_days}");
            assert_eq!(tenants(&of_days.answers), tenants(&found.answers), "{what_of_days}");
            assert_eq!(found.answers.failed, [], "{what}");
            assert_eq!(found.event_tenants, 0, "{what}");
            let composes = |quantity: &Quantity| quantity.measure.composes() && quantity.meter != "jobs";
            assert_same(&quantities(&found.answers, composes), &quantities(&events, composes), what);
            return found.rolled_tenants;
        }
        found.rolled_tenants
    }

    /// What each tenant's day opens with.
    async fn rolled(&self) -> BTreeMap<(i32, String), String> {
        let roll_ups = RollUps::open(&self.world.lake).await.unwrap().unwrap();
        let mut states = BTreeMap::new();
        for day in roll_ups.state.first_day..=roll_ups.state.last_day + 1 {
            for (tenant, state) in roll_ups.carried_into(day, None).await.unwrap().states {
                states.insert((day, tenant), state);
            }
        }
        states
    }

    fn without(&self, meter: &str) -> Case {
        let strip = |demand: &Demand| Demand {
            wanted: demand.wanted.iter().filter(|wanted| wanted.view.meter != meter).cloned().collect(),
            ..demand.clone()
        };
        Case {
            world: self.world.clone(),
            catalog: Arc::clone(&self.catalog),
            demands: Arc::new(self.demands.iter().map(strip).collect()),
            questions: self.questions,
            held_bytes_max: self.held_bytes_max,
        }
    }
}

/// The same roll-ups, in which all is put together from days.
fn without_periods(mut roll_ups: RollUps) -> RollUps {
    roll_ups.periods_files.files.clear();
    roll_ups
}

fn assert_same(rolled: &[Quantity], events: &[Quantity], what: &str) {
    let differ = rolled.iter().zip(events).find(|(rolled, events)| rolled != events);
    assert!(differ.is_none(), "{what}: rolled and from events: {differ:#?}");
    assert_eq!(rolled.len(), events.len(), "{what}");
}

/// All of them in their order, with their samples and what was carried in.
fn quantities(answers: &Answers, is_meant: impl Fn(&Quantity) -> bool) -> Vec<Quantity> {
    let all = answers.usages.iter().flat_map(|usage: &Usage| usage.quantities(|_| String::new()));
    all.filter(|quantity| is_meant(quantity)).collect()
}

/// Who was there before the period ended.
fn tenants(answers: &Answers) -> Vec<&str> {
    answers.usages.iter().map(|usage| usage.demand.tenant.as_str()).collect()
}

fn oddities(answers: &Answers) -> Vec<String> {
    let odd = answers.usages.iter().flat_map(|usage| {
        let own = usage.session_oddities.iter().filter(|(_, odd)| **odd != SessionOddities::default());
        own.map(|(meter, odd)| format!("{} {meter} {odd:?}", usage.demand.tenant))
    });
    odd.collect()
}

fn seed() -> u64 {
    std::env::var("METERHOUSE_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(20_261_121)
}

fn rounds() -> u64 {
    let cases = std::env::var("METERHOUSE_CASES").ok().and_then(|text| text.parse::<u64>().ok());
    cases.map_or(12, |cases| cases / 1_000).max(1)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn roll_ups_say_what_events_say() {
    let catalog = Arc::new(Catalog::parse(CATALOG, "random.yaml").unwrap());
    let (mut rolled, mut periods) = (0, 0);
    for round in 0..rounds() {
        let mut random = Random::new(seed() + round);
        let mut events = random.events();
        let late = events.split_off(events.len() - (events.len() / 3).min(events.len()));
        let demands: Vec<Demand> =
            (0..4).map(|number| demand(&format!("t{number}"), &mut random, &catalog)).collect();
        let mut case = Case {
            world: World::write(&events, &mut random).await,
            catalog: Arc::clone(&catalog),
            demands: Arc::new(demands),
            questions: 1,
            held_bytes_max: if random.chance(50) { 2_000 } else { HELD_BYTES_MAX },
        };
        let place = |step: &str| format!("seed {}, round {round}, {step}", seed());
        case.roll_up(1 + random.below(3) as usize).await;
        rolled += case.check(true, &place("at first")).await;
        assert_eq!(case.roll_up(2).await.tenant_days, 0, "{}", place("nothing new"));
        for (step, portion) in late.chunks(8 + random.below(40) as usize).enumerate() {
            match random.below(5) {
                4 => {
                    let corrections = random.corrections(&events, 10_000 + 1_000 * step as i64);
                    case.world.correct(&corrections, &mut random).await;
                }
                0 => case.world.compact(&mut random).await,
                1 => {
                    let demands = (0..4).map(|number| demand(&format!("t{number}"), &mut random, &catalog));
                    case.demands = Arc::new(demands.collect());
                    case.questions += 1;
                }
                _ => {}
            }
            case.world.arrive(portion, &mut random).await;
            if random.chance(30) {
                case.check(false, &place(&format!("step {step}, not rolled yet"))).await;
            }
            if random.chance(70) {
                case.roll_up(1 + random.below(3) as usize).await;
                rolled += case.check(true, &place(&format!("step {step}"))).await;
                if random.chance(20) {
                    case.check_hours(&place(&format!("hours of step {step}"))).await;
                }
            }
        }
        case.roll_up(1).await;
        rolled += case.check(true, &place("at last")).await;
        case.check_hours(&place("hours at last")).await;
        let roll_ups = RollUps::open(&case.world.lake).await.unwrap().unwrap();
        periods += roll_ups.periods_files.files.iter().map(|file| file.rows).sum::<u64>();
        let (by_steps, anew) = (case.rolled().await, RollUpSettings { from: Some(0), ..case.settings(2) });
        roll_up(&case.world.lake, &anew, |_| ()).await.unwrap();
        let at_once = case.rolled().await;
        assert_eq!(by_steps, at_once, "{}", place("made at once"));
        case.check_hours(&place("hours made at once")).await;
        case.check(true, &place("made at once")).await;
    }
    assert!(periods > 10 * rounds(), "only {periods} rows of periods");
    assert!(rolled > 3 * rounds() as usize, "only {rolled} tenants were rolled");
}
