//! Queries on a cluster of one scheduler and two executors: the same answers as in one process, or a clear error.

mod processes;
#[path = "../reports/world.rs"]
mod world;

use std::path::Path;
use std::process::{Command, Stdio};

use processes::{Cluster, Process};
use world::{answer, blocks, lake, meterhouse, run};

/// Statements that are cut into steps in different ways. Those that say no order may be answered in any.
const STATEMENTS: &[&str] = &[
    "SELECT count(*) FROM usage_events",
    "SELECT tenant, meter, count(*), sum(value), min(time), max(value), avg(value) FROM usage_events GROUP BY 1, 2",
    "SELECT DISTINCT tenant, event_day FROM usage_events",
    "SELECT count(DISTINCT tenant), count(DISTINCT resource) FROM usage_events",
    "SELECT tenant, id, value FROM usage_events ORDER BY value DESC, id LIMIT 5",
    "SELECT tenant, id, value FROM usage_events ORDER BY tenant, time, id OFFSET 3",
    "SELECT tenant, event_day, sum(value) FROM usage_events GROUP BY ROLLUP (tenant, event_day) ORDER BY 1, 2, 3",
    "SELECT tenant, time, id, lag(value) OVER (PARTITION BY tenant, meter ORDER BY time, id, value), \
        lead(value) OVER (PARTITION BY tenant, meter ORDER BY time, id, value), \
        sum(value) OVER (PARTITION BY tenant ORDER BY time, id, value ROWS UNBOUNDED PRECEDING) FROM usage_events",
    "SELECT id, row_number() OVER (ORDER BY time, id), ntile(3) OVER (ORDER BY time, id) FROM usage_events",
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

fn on<'c>(cluster: &'c Cluster) -> [&'c str; 4] {
    ["--engine", &cluster.address, "--threads", "4"]
}

/// The rows of a statement, in their order if it says one.
fn rows(folder: &Path, statement: &str, more: &[&str]) -> Vec<String> {
    let text = run(folder, &[&["sql", "--format", "csv", statement], more].concat(), &[0]);
    let mut rows: Vec<String> = text.lines().map(str::to_owned).collect();
    if !statement.contains(" ORDER BY value") && !statement.contains(" ORDER BY tenant, time, id OFFSET") {
        rows.sort();
    }
    rows
}

#[test]
fn reports_have_their_known_answers() {
    let cluster = Cluster::start();
    for system in ["redline", "onmemos", "zemfyre"] {
        let folder = lake(system);
        for (command, expected) in blocks(system) {
            assert_eq!(answer(folder.path(), &command, &on(&cluster)), expected, "{system}: {command}");
        }
    }
    let worked = |executor: &Process| executor.count("Finished task") > 0;
    assert!(cluster.executors.iter().all(worked), "one executor did everything");
}

#[test]
fn statements_are_answered_as_in_one_process() {
    let cluster = Cluster::start();
    let folder = lake("redline");
    let folder = folder.path();
    let mut different = Vec::new();
    for statement in STATEMENTS {
        let (here, there) = (rows(folder, statement, &[]), rows(folder, statement, &on(&cluster)));
        assert!(
            here.len() > 1
                || statement.contains("EXCEPT")
                || statement.contains("_messages")
                || statement.contains("NOT IN"),
            "{statement}"
        );
        if here != there {
            different.push(format!("{statement}\n  here:  {here:?}\n  there: {there:?}"));
        }
    }
    assert!(different.is_empty(), "{}", different.join("\n"));
    let given = ["sql", "--format", "csv", "SELECT count(*) FROM quantities($period) WHERE tenant = $tenant"];
    let given = [&given[..], &["--param", "period=2026-03", "--param", "tenant=licence-5d41402a"]].concat();
    assert_eq!(run(folder, &given, &[0]), run(folder, &[&given[..], &on(&cluster)].concat(), &[0]));
}

#[test]
fn quantities_are_the_same() {
    let cluster = Cluster::start();
    for (system, period) in [("redline", "2026-03"), ("onmemos", "2026-03"), ("zemfyre", "2026-03")] {
        let folder = lake(system);
        for compacted in [false, true] {
            if compacted {
                run(folder.path(), &["compact"], &[0, 3]);
            }
            for threads in ["1", "3", "16"] {
                let here = ["quantities", "--period", period, "--format", "csv"];
                let there = [&here[..], &["--engine", &cluster.address, "--threads", threads]].concat();
                let here = run(folder.path(), &here, &[0]);
                assert!(here.lines().count() > 3, "{here}");
                assert_eq!(run(folder.path(), &there, &[0]), here, "{system}, compacted: {compacted}");
            }
        }
    }
}

/// Cut into several steps, of which the longest takes a while.
const SLOW: &str = "SELECT a.tenant, count(*) FROM usage_events a, usage_events b, usage_events c, usage_events d \
                    WHERE concat(a.id, b.id) <> concat(c.id, d.id) GROUP BY 1 ORDER BY 1";

/// Asks, kills an executor when it says this, and gives what was answered, if anything was.
fn answer_of_one_lost(folder: &Path, said: &str) -> Option<String> {
    let mut cluster = Cluster::start();
    let arguments = [&["sql", "--format", "csv", SLOW][..], &on(&cluster)].concat();
    let query = Command::new(env!("CARGO_BIN_EXE_meterhouse"))
        .args(arguments)
        .current_dir(folder)
        .env("METERHOUSE_LAKE", folder.join("lake"))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    cluster.executors[0].message(said, 0);
    cluster.executors[0].kill();
    let ended = query.wait_with_output().unwrap();
    // The other one takes all that comes.
    let count = "SELECT tenant, count(*) FROM usage_events GROUP BY 1";
    assert_eq!(rows(folder, count, &on(&cluster)), rows(folder, count, &[]));
    if ended.status.success() {
        return Some(String::from_utf8(ended.stdout).unwrap());
    }
    let messages = String::from_utf8(ended.stderr).unwrap();
    assert_eq!(ended.status.code(), Some(1), "{messages}");
    assert!(messages.contains("on the cluster ballista://"), "{messages}");
    None
}

#[test]
fn a_lost_executor_makes_no_wrong_answer() {
    let folder = lake("redline");
    let right = run(folder.path(), &["sql", "--format", "csv", SLOW], &[0]);
    for said in ["Execute task", "Finished task"] {
        let answer = answer_of_one_lost(folder.path(), said);
        assert!(answer.is_none_or(|answer| answer == right), "killed after `{said}`");
    }
}

#[test]
fn errors_say_what_is_wrong() {
    let folder = lake("redline");
    let folder = folder.path();
    let error = |arguments: &[&str]| {
        let output = meterhouse(folder, arguments);
        assert_ne!(output.status.code(), Some(0), "{arguments:?}");
        String::from_utf8(output.stderr).unwrap()
    };
    // How many rows there are in all, the table's log says.
    let count = "SELECT tenant, count(*) FROM usage_events GROUP BY 1";
    let nobody = error(&["sql", count, "--engine", "ballista://127.0.0.1:1"]);
    assert!(nobody.contains("cannot reach the cluster's scheduler at 127.0.0.1:1"), "{nobody}");
    assert!(nobody.contains("is `meterhouse cluster scheduler` running there?"), "{nobody}");
    let wrong = error(&["sql", count, "--engine", "127.0.0.1:50050"]);
    assert!(wrong.contains("expected ballista://HOST:PORT"), "{wrong}");
    let everywhere = error(&["cluster", "executor", "--listen", "0.0.0.0:0"]);
    assert!(everywhere.contains("--advertise"), "{everywhere}");
    let cluster = Cluster::start();
    let divided =
        error(&["sql", "SELECT 1 / (value - value) FROM usage_events", "--engine", &cluster.address]);
    assert!(
        divided.contains("on the cluster ballista://") && divided.to_lowercase().contains("zero"),
        "{divided}"
    );
    let analyzed =
        error(&["sql", "EXPLAIN ANALYZE SELECT count(*) FROM usage_events", "--engine", &cluster.address]);
    assert!(analyzed.contains("leave --engine out"), "{analyzed}");
    let from =
        error(&["quantities", "--period", "2026-03", "--from", "events", "--engine", &cluster.address]);
    assert!(from.contains("leave --from out"), "{from}");
}
