//! The engine against plain SQL (`sql/quantities`): window functions over the same rows, for the random lakes and for the
//! meters of the worked catalogs.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use arrow::array::AsArray;
use arrow::compute::cast;
use arrow::datatypes::DataType;
use datafusion::common::{ParamValues, ScalarValue};
use datafusion::datasource::MemTable;
use datafusion::prelude::{SessionConfig, SessionContext};
use rating::catalog::{Catalog, Meter};
use rating::exact::Exact;
use rating::period::{Period, Span};
use rating::quantity::{Dimensions, KindName, Measure, MeterKind};
use rating::usage::{Demand, View, Wanted};
use sql::quantities::{Asked, HELD_BYTES_MAX, READ_BYTES_MAX, TenantShare, UsageScan};

use crate::corrected::{self, Correction};
use crate::lake::{World, batch};
use crate::random::Random;
use crate::{CATALOG, DAY_US, Event, FIRST_DAY, demand, lines, oracle};

/// The random catalog's sessions with every rule that a session may have.
const STRICT: &str = r"
catalog: strict
currency: USD
meters:
  runs:
    kind: session
    event_type: a
    resource: $.r
    dimensions: { region: $.g, class: $.c }
    session: { signal: $.s, start: a, stop: b }
    heartbeat_timeout: 9h
    minimum: 20m
    increment: 7m
    unit: second
  jobs:
    kind: session
    event_type: a
    resource: $.r
    dimensions: { region: $.g, class: $.c }
    session: { started_at: $.s }
    minimum: 20m
    increment: 1h
    unit: second
";

fn query_of(kind: KindName) -> &'static str {
    match kind {
        KindName::Gauge => include_str!("../../quantities/gauge.sql"),
        KindName::Delta => include_str!("../../quantities/delta.sql"),
        KindName::Cumulative => include_str!("../../quantities/cumulative.sql"),
        KindName::Session => include_str!("../../quantities/session.sql"),
        KindName::Unique => include_str!("../../quantities/unique.sql"),
    }
}

fn parameters(tenant: &str, meter: &Meter, view: &View, span: Span, period: Span) -> ParamValues {
    let text = |text: String| ScalarValue::Utf8(Some(text));
    let number = |number: i64| ScalarValue::Int64(Some(number));
    assert!(view.only.len() <= 1, "the queries know one filter");
    let (only_name, only_values) = view.only.iter().next().unzip();
    assert!(view.by.len() <= 4, "the queries tell four dimensions apart");
    let by = |at: usize| view.by.get(at).cloned().unwrap_or_default();
    let mut values = vec![
        ("tenant", text(tenant.to_owned())),
        ("meter", text(meter.key.clone())),
        ("start_us", number(span.start_us)),
        ("end_us", number(span.end_us)),
        ("by_1", text(by(0))),
        ("by_2", text(by(1))),
        ("by_3", text(by(2))),
        ("by_4", text(by(3))),
        ("only_name", text(only_name.cloned().unwrap_or_default())),
        ("only_values", text(only_values.map(|values| values.join(",")).unwrap_or_default())),
    ];
    match meter.kind.rules() {
        MeterKind::Gauge { expires_after_us } => values.extend([
            ("period_us", number(period.end_us - period.start_us)),
            ("expires_after_us", number(expires_after_us.unwrap_or(0))),
        ]),
        MeterKind::Session(rules) => values.extend([
            ("timeout_us", number(rules.timeout_us.unwrap_or(0))),
            ("minimum_us", number(rules.minimum_us.unwrap_or(0))),
            ("increment_us", number(rules.increment_us.unwrap_or(1))),
        ]),
        MeterKind::Delta | MeterKind::Cumulative | MeterKind::Unique => {}
    }
    let values: Vec<_> = values.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    values.into()
}

async fn answer(
    session: &SessionContext,
    kind: KindName,
    parameters: ParamValues,
) -> Vec<(Dimensions, Measure, Exact)> {
    let frame = session.sql(query_of(kind)).await.unwrap().with_param_values(parameters).unwrap();
    let mut found = Vec::new();
    for batch in frame.collect().await.unwrap() {
        let texts = |at: usize| cast(batch.column(at), &DataType::Utf8).unwrap();
        let (dimensions, measures, numerators, denominators) = (texts(0), texts(1), texts(2), texts(3));
        for row in 0..batch.num_rows() {
            let text = |column: &arrow::array::ArrayRef| column.as_string::<i32>().value(row).to_owned();
            let number = |column| text(column).parse::<Exact>().unwrap();
            let value = number(&numerators).checked_div(&number(&denominators)).unwrap();
            let dimensions = serde_json::from_str(&text(&dimensions)).unwrap();
            found.push((dimensions, text(&measures).parse().unwrap(), value));
        }
    }
    found
}

/// What plain SQL says, a line for each quantity that is not zero.
async fn lines_by_sql(
    events: &[Event],
    corrections: &[Correction],
    catalog: &Catalog,
    demands: &[Demand],
) -> Vec<String> {
    // Planning takes longer than running here, and these queries gain nothing from a second look by the optimizer.
    let config = SessionConfig::new().with_target_partitions(1);
    let config = config.set_usize("datafusion.optimizer.max_passes", 1);
    let session = SessionContext::new_with_config(config);
    let rows = batch(events);
    let table = MemTable::try_new(rows.schema(), vec![vec![rows, corrected::batch(corrections).0]]).unwrap();
    session.register_table("usage_events", Arc::new(table)).unwrap();
    let counted = session.sql(include_str!("../../quantities/counted.sql")).await.unwrap();
    let counted = counted.cache().await.unwrap().into_view();
    session.register_table("counted_events", counted).unwrap();
    let mut found = BTreeSet::new();
    for demand in demands {
        for wanted in &demand.wanted {
            let meter = catalog.meter(&wanted.view.meter).unwrap();
            for span in &wanted.spans {
                let asked = parameters(&demand.tenant, meter, &wanted.view, *span, demand.period.span);
                for (dimensions, measure, value) in answer(&session, meter.kind.rules().name(), asked).await {
                    if !value.is_zero() {
                        let line =
                            oracle::line(&wanted.view, &demand.tenant, &dimensions, *span, measure, &value);
                        assert!(found.insert(line.clone()) || demand.wanted.len() > 1, "twice: {line}");
                    }
                }
            }
        }
    }
    found.into_iter().collect()
}

/// Compares both on one lake and answers with how many quantities of each measure there were.
async fn compare(
    events: &[Event],
    catalog: &Arc<Catalog>,
    demands: &[Demand],
    random: &mut Random,
    what: &str,
) -> BTreeMap<String, usize> {
    let mut world = World::write(events, random).await;
    let corrections = random.corrections(events, 100_000);
    world.correct(&corrections, random).await;
    let known = demands.to_vec();
    let scan = UsageScan {
        table: world.table.clone(),
        snapshot: Arc::new(world.table.snapshot(None).await.unwrap()),
        catalog: Arc::clone(catalog),
        demand_of: Arc::new(move |tenant: &str| {
            let own = known.iter().find(|demand| demand.tenant == tenant);
            own.cloned().map_or(Asked::NotSetUp, Asked::Demand)
        }),
        tenants: None,
        share: TenantShare::default(),
        until_us: demands.iter().map(|demand| demand.period.span.end_us).max().unwrap(),
        threads: 2,
        memory: None,
        held_bytes_max: HELD_BYTES_MAX,
        read_bytes_max: READ_BYTES_MAX,
    };
    let answers = scan.run().await.unwrap();
    assert_eq!(answers.failed, [], "{what}");
    let by_sql = lines_by_sql(events, &corrections, catalog, demands).await;
    let by_engine = lines(&answers.usages);
    let only_in = |these: &[String], those: &[String]| {
        these.iter().filter(|line| !those.contains(line)).take(10).cloned().collect::<Vec<_>>().join("\n")
    };
    assert!(
        by_engine == by_sql,
        "{what}\nthe engine alone says\n{}\nSQL alone says\n{}",
        only_in(&by_engine, &by_sql),
        only_in(&by_sql, &by_engine)
    );
    let mut counts = BTreeMap::new();
    for line in &by_sql {
        let measure = line.split(" = ").next().and_then(|start| start.rsplit(' ').next()).unwrap();
        *counts.entry(measure.to_owned()).or_default() += 1;
    }
    counts
}

fn seed() -> u64 {
    std::env::var("METERHOUSE_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(20_261_121)
}

/// A query takes some tens of milliseconds to plan, so that a round costs what hundreds cost the oracle.
fn rounds() -> u64 {
    let cases: Option<u64> = std::env::var("METERHOUSE_CASES").ok().and_then(|text| text.parse().ok());
    cases.map_or(12, |cases| (cases / 1_000).max(2))
}

fn assert_all_measures(counts: &BTreeMap<String, usize>, kinds: &[KindName]) {
    println!("{counts:?}");
    for measure in Measure::ALL.into_iter().filter(|measure| kinds.contains(&measure.kind())) {
        assert!(counts.get(measure.as_str()).is_some_and(|count| *count > 3), "too little of {measure}");
    }
}

fn add(sum: &mut BTreeMap<String, usize>, counts: BTreeMap<String, usize>) {
    for (measure, count) in counts {
        *sum.entry(measure).or_default() += count;
    }
}

/// A lake in which nearly everything is one tenant's: a query answers for one, so that many would only take longer.
fn busy_tenant(random: &mut Random) -> Vec<Event> {
    let mut events = random.events();
    while events.len() < 250 {
        events = random.events();
    }
    for event in &mut events {
        if event.tenant != "t4" {
            "t0".clone_into(&mut event.tenant);
        }
    }
    events
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn plain_sql_agrees_on_random_lakes() {
    let catalog = Arc::new(Catalog::parse(CATALOG, "random.yaml").unwrap());
    let strict = Arc::new(Catalog::parse(STRICT, "strict.yaml").unwrap());
    let mut compared = BTreeMap::new();
    for round in 0..rounds() {
        let mut random = Random::new(seed() + 7_000 + round);
        let events = busy_tenant(&mut random);
        for (name, catalog) in [("random", &catalog), ("strict", &strict)] {
            let what = format!("seed {}, round {round}, {name} catalog", seed());
            println!("{what}");
            // A third of the questions: with as many lakes all of them are asked, of more events.
            let mut demands = vec![demand("t0", &mut random, catalog)];
            demands[0].wanted.retain(|_| random.chance(34));
            let own: Vec<Event> = match name {
                "random" => events.clone(),
                // Rows of a meter that the catalog does not name are another test's matter.
                _ => events
                    .iter()
                    .filter(|event| matches!(event.meter, Some("runs" | "jobs")))
                    .cloned()
                    .collect(),
            };
            add(&mut compared, compare(&own, catalog, &demands, &mut random, &what).await);
        }
    }
    assert_all_measures(
        &compared,
        &[KindName::Gauge, KindName::Delta, KindName::Cumulative, KindName::Session, KindName::Unique],
    );
}

/// A week of one meter's events, like those that `Random` makes of its own meters.
fn events_of(meter: &Meter, random: &mut Random, first_offset: i64) -> Vec<Event> {
    let key: &'static str = meter.key.clone().leak();
    let mut names = meter.dimensions.keys().map(|name| -> &'static str { name.clone().leak() });
    let names = [names.next().unwrap_or(""), names.next().unwrap_or("")];
    let mut events: Vec<Event> = Vec::new();
    for offset in first_offset..first_offset + 60 {
        if let Some(last) = events.last().filter(|_| random.chance(5)) {
            let mut again = Event { offset, arrival_us: offset / 4, ..last.clone() };
            again.value = again.value.map(|value| value + i128::from(random.below(2)));
            events.push(again);
            continue;
        }
        let is_session = matches!(meter.kind.rules(), MeterKind::Session(_));
        let signal = ["start", "heartbeat", "heartbeat", "stop"][random.below(4) as usize];
        let mut identity = [0; 16];
        identity[..8].copy_from_slice(&random.next().to_le_bytes());
        identity[8..].copy_from_slice(&offset.to_le_bytes());
        let since_us = random.below(7 * DAY_US as u64) as i64 / 600_000_000 * 600_000_000;
        events.push(Event {
            identity,
            tenant: format!("t{}", random.below(2)),
            meter: Some(key),
            time_us: i64::from(FIRST_DAY) * DAY_US + since_us,
            value: (!is_session).then(|| i128::from(random.below(1 << 40)) * 1_000_003),
            resource: Some(format!("d{}", random.below(3))),
            dimensions: Some((random.below(3) as u8, random.below(2) as u8)),
            names,
            signal: is_session.then_some(signal),
            signal_time_us: None,
            arrival_us: offset / 4,
            offset,
        });
    }
    events
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn plain_sql_agrees_on_the_worked_catalogs() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata/catalogs");
    let mut random = Random::new(seed() + 9_000);
    let mut compared = BTreeMap::new();
    let start_us = (i64::from(FIRST_DAY) + 2) * DAY_US;
    let span = Span { start_us, end_us: start_us + 3 * DAY_US + 1_234_567 };
    for name in ["zemfyre", "documents", "redline", "onmemos"] {
        let text = std::fs::read_to_string(folder.join(format!("{name}.yaml"))).unwrap();
        let catalog = Arc::new(Catalog::parse(&text, name).unwrap());
        let mut events = Vec::new();
        for meter in &catalog.meters {
            events.extend(events_of(meter, &mut random, events.len() as i64));
        }
        let demands = ["t0", "t1"].map(|tenant| {
            let period = Period { span, name: "2026-05-03".to_owned(), end_date: "2026-05-06".to_owned() };
            let mut demand = Demand { tenant: tenant.to_owned(), period, wanted: Vec::new() };
            for meter in &catalog.meters {
                let by = meter.dimensions.keys().cloned().collect();
                let view = View { meter: meter.key.clone(), only: BTreeMap::new(), by };
                let measures = meter.kind.rules().measures().collect();
                demand.ask(Wanted { view, spans: vec![span], measures, transactions: false });
            }
            demand
        });
        let what = format!("seed {}, catalog {name}", seed());
        println!("{what}");
        let counts = compare(&events, &catalog, &demands, &mut random, &what).await;
        add(&mut compared, counts);
    }
    // Of these catalogs only one counts resources; the random lakes have more of it.
    assert_all_measures(
        &compared,
        &[KindName::Gauge, KindName::Delta, KindName::Cumulative, KindName::Session],
    );
}
