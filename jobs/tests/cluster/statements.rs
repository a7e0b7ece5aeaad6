//! Statements of many shapes: the same rows in one process as on a cluster.
//!
//! Both sessions are this process's own, several statements at once. What the program itself adds is tested beside them.

use std::path::Path;

use arrow::array::RecordBatch;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use futures::{StreamExt, TryStreamExt};
use jobs::config::{Config, Environment};
use jobs::reporting;
use sql::session::{Engine, LakeSession, Parameters, SessionSettings};

use crate::processes::Cluster;
use crate::world::lake;

/// Statements that are cut into steps in different ways, and that may be answered in any order.
const IN_ANY_ORDER: &[&str] = &[
    "SELECT count(*) FROM usage_events",
    "SELECT tenant, meter, count(*), sum(value), min(time), max(value), avg(value) FROM usage_events GROUP BY 1, 2",
    "SELECT DISTINCT tenant, event_day FROM usage_events",
    "SELECT count(DISTINCT tenant), count(DISTINCT resource) FROM usage_events",
    "SELECT tenant, time, id, lag(value) OVER (PARTITION BY tenant, meter ORDER BY time, \"offset\", meter), \
        lead(value) OVER (PARTITION BY tenant, meter ORDER BY time, \"offset\", meter), \
        sum(value) OVER (PARTITION BY tenant ORDER BY time, \"offset\", meter ROWS UNBOUNDED PRECEDING) FROM usage_events",
    "SELECT id, row_number() OVER (ORDER BY time, \"offset\", meter), ntile(3) OVER (ORDER BY time, \"offset\", meter) FROM usage_events",
    "SELECT t.name, count(e.id) FROM tenants t LEFT JOIN usage_events e ON e.tenant = t.tenant GROUP BY 1",
    "SELECT e.id, d.day FROM usage_events e FULL JOIN (SELECT DISTINCT event_day AS day FROM usage_events WHERE event_day > '2026-03-05') d \
        ON e.event_day = d.day",
    "SELECT tenant FROM tenants WHERE tenant NOT IN (SELECT tenant FROM usage_events)",
    "SELECT tenant FROM tenants t WHERE EXISTS (SELECT 1 FROM usage_events e WHERE e.tenant = t.tenant AND e.value > 0)",
    "SELECT id FROM usage_events WHERE value > (SELECT avg(value) FROM usage_events)",
    "SELECT a.id, b.id FROM usage_events a CROSS JOIN usage_events b WHERE a.id < b.id AND a.event_day = b.event_day",
    "SELECT tenant, count(*) FROM usage_events GROUP BY 1 UNION ALL SELECT 'all', count(*) FROM usage_events \
        UNION ALL SELECT tenant, 0 FROM tenants",
    "SELECT tenant FROM usage_events INTERSECT SELECT tenant FROM tenants",
    "SELECT tenant FROM tenants EXCEPT SELECT tenant FROM usage_events",
    "WITH by_day AS (SELECT tenant, event_day, max(value) AS top FROM usage_events GROUP BY 1, 2) \
        SELECT tenant, string_agg(CAST(top AS text), ' ' ORDER BY event_day) FROM by_day GROUP BY tenant",
    "SELECT tenant, time_weighted_average(time, value, resource), peak(time, value, resource), p95(time, value, resource), \
        counter_increase(time, value, resource) FROM usage_events WHERE value IS NOT NULL GROUP BY tenant",
    "SELECT id, to_gib(value), to_gb(value), dimension(dimensions, 'storage_class'), period_start(tenant, time), \
        period_end(tenant, time) FROM usage_events",
    "SELECT tenant, price('professional', 'storage', count(*)) FROM usage_events GROUP BY tenant",
    "SELECT count(*) FROM usage_events_at(0)",
    "SELECT * FROM quantities('2026-03')",
    "SELECT * FROM charges('2026-03')",
    "SELECT tenant, meter, measure, value FROM quantities WHERE period IN ('2026-03-01', '2026-02-01') AND measure = 'peak'",
    "SELECT t.name, sum(c.amount) FROM charges('2026-03') c JOIN tenants t ON t.tenant = c.tenant GROUP BY 1",
    "SELECT tenant, count(*) FROM quantities('2026-03') WHERE tenant = 'licence-5d41402a' GROUP BY 1",
    "SELECT * FROM usage_hourly",
    "SELECT * FROM usage_daily",
    "SELECT * FROM rejected_messages",
    "SELECT tenant, due FROM invoices",
    "SELECT l.tenant, l.meter, l.amount FROM invoice_lines l JOIN usage_events e ON e.tenant = l.tenant",
    "SELECT job, outcome, (SELECT count(*) FROM usage_events) FROM runs",
    "SELECT tenant, plan FROM subscriptions",
    "SELECT table_name FROM information_schema.tables",
    "SELECT 1 + 1",
];

/// Statements whose order is theirs: an offset and a meter are of one row alone.
const IN_ORDER: &[&str] = &[
    "SELECT tenant, id, value FROM usage_events ORDER BY value DESC, \"offset\", meter LIMIT 5",
    "SELECT tenant, id, value FROM usage_events ORDER BY tenant, time, \"offset\", meter OFFSET 3",
    "SELECT tenant, event_day, sum(value) FROM usage_events GROUP BY ROLLUP (tenant, event_day) ORDER BY 1, 2, 3",
];

/// What the messages of this folder have none of: who is set up has usage, and none was rejected.
const WITHOUT_ROWS: [&str; 3] = ["NOT IN", "EXCEPT", "rejected_messages"];

const STATEMENTS_AT_ONCE: usize = 4;

async fn session(folder: &Path, engine: Engine) -> LakeSession {
    let setting = |name: &str, file: &str| (name.to_owned(), folder.join(file).display().to_string());
    let environment = Environment::from([
        setting("METERHOUSE_LAKE", "lake"),
        setting("METERHOUSE_CATALOG", "catalog.yaml"),
    ]);
    let config = Config::load(None, &environment).unwrap();
    let settings = SessionSettings { threads: 4, engine, ..SessionSettings::default() };
    reporting::open(&config, &settings).await.unwrap()
}

async fn rows(session: &LakeSession, statement: &str) -> Result<Vec<String>, String> {
    let frame = session.query_with(statement, &Parameters::new()).await.map_err(|error| error.to_string())?;
    let batches = session.answer(frame).await.map_err(|error| error.to_string())?;
    let batches: Vec<RecordBatch> = batches.try_collect().await.map_err(|error| error.to_string())?;
    let mut rows: Vec<String> = batches.iter().flat_map(texts).collect();
    if !IN_ORDER.contains(&statement) {
        rows.sort();
    }
    Ok(rows)
}

fn texts(batch: &RecordBatch) -> Vec<String> {
    let options = FormatOptions::default().with_null("nothing");
    let columns = batch.columns().iter().map(|column| ArrayFormatter::try_new(column, &options));
    let columns: Vec<ArrayFormatter<'_>> = columns.collect::<Result<_, _>>().unwrap();
    let row = |row| columns.iter().map(|column| column.value(row).to_string()).collect::<Vec<_>>();
    (0..batch.num_rows()).map(|at| row(at).join(" | ")).collect()
}

#[test]
fn statements_are_answered_as_in_one_process() {
    let cluster = Cluster::start();
    let folder = lake("redline");
    let address = cluster.address.parse().unwrap();
    let different = jobs::cli::runtime().unwrap().block_on(async {
        let here = session(folder.path(), Engine::Here).await;
        let there = session(folder.path(), Engine::Cluster(address)).await;
        let compared = IN_ANY_ORDER.iter().chain(IN_ORDER).map(async |statement| {
            let (here, there) = (rows(&here, statement).await, rows(&there, statement).await);
            let found = here.as_ref().unwrap_or_else(|error| panic!("{statement}: {error}"));
            let may_be_empty = WITHOUT_ROWS.iter().any(|part| statement.contains(part));
            assert!(may_be_empty || !found.is_empty(), "{statement}");
            (here != there).then(|| format!("{statement}\n  here:  {here:?}\n  there: {there:?}"))
        });
        let compared = futures::stream::iter(compared).buffer_unordered(STATEMENTS_AT_ONCE);
        compared.filter_map(std::future::ready).collect::<Vec<String>>().await
    });
    assert!(different.is_empty(), "{}", different.join("\n"));
}
