//! Queries on a cluster of one scheduler and two executors: the same answers as in one process, or a clear error.

mod processes;
mod statements;
#[path = "../reports/world.rs"]
mod world;

use std::path::Path;
use std::process::{Command, Stdio};

use processes::{Cluster, Process};
use world::{answer, blocks, lake, meterhouse, run};

fn on<'c>(cluster: &'c Cluster) -> [&'c str; 4] {
    ["--engine", &cluster.address, "--threads", "4"]
}

/// The rows of a statement that says no order.
fn rows(folder: &Path, statement: &str, more: &[&str]) -> Vec<String> {
    let text = run(folder, &[&["sql", "--format", "csv", statement], more].concat(), &[0]);
    let mut rows: Vec<String> = text.lines().map(str::to_owned).collect();
    rows.sort();
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
fn parameters_are_given_to_statements() {
    let cluster = Cluster::start();
    let folder = lake("redline");
    let given = ["sql", "--format", "csv", "SELECT count(*) FROM quantities($period) WHERE tenant = $tenant"];
    let given = [&given[..], &["--param", "period=2026-03", "--param", "tenant=licence-5d41402a"]].concat();
    let here = run(folder.path(), &given, &[0]);
    assert_eq!(run(folder.path(), &[&given[..], &on(&cluster)].concat(), &[0]), here);
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
            let asked = ["quantities", "--period", period, "--format", "csv"];
            let here = run(folder.path(), &asked, &[0]);
            assert!(here.lines().count() > 3, "{here}");
            for threads in ["1", "3", "16"] {
                let there = [&asked[..], &["--engine", &cluster.address, "--threads", threads]].concat();
                assert_eq!(run(folder.path(), &there, &[0]), here, "{system}, compacted: {compacted}");
            }
        }
    }
}

/// Two levels of which each fits a column, and their sum does not.
const TOO_LARGE: &str = "99999999999999999999999999999";

#[test]
fn tenants_without_quantities_are_said_and_leave_the_others_theirs() {
    let folder = lake("redline");
    let folder = folder.path();
    let catalog = std::fs::read_to_string(folder.join("catalog.yaml")).unwrap();
    let (named, _) = catalog.split_once("other_tenants:").unwrap();
    std::fs::write(folder.join("catalog.yaml"), named).unwrap();
    let event = |tenant: &str, id: &str, bytes: &str| {
        format!(
            r#"{{"specversion":"1.0","id":"{id}","source":"/odd","type":"redline.storage.sampled","subject":"{tenant}","time":"2026-03-05T00:00:00Z","data":{{"bytes":{bytes},"folder":"{id}","storage_class":"hot","ownership":"vendor"}}}}"#
        )
    };
    let events = [
        event("stranger", "x1", "5"),
        event("licence-7d793037", "y1", TOO_LARGE),
        event("licence-7d793037", "y2", TOO_LARGE),
    ];
    std::fs::write(folder.join("odd.ndjson"), events.join("\n")).unwrap();
    run(folder, &["ingest", "--file", "odd.ndjson"], &[0]);
    let asked = ["quantities", "--period", "2026-03", "--format", "csv"];
    let said = |arguments: &[&str]| {
        let output = meterhouse(folder, arguments);
        assert_eq!(output.status.code(), Some(3), "{output:?}");
        let messages = String::from_utf8(output.stderr).unwrap();
        let of_tenants: Vec<String> =
            messages.lines().filter(|line| line.contains("tenant ")).map(str::to_owned).collect();
        (String::from_utf8(output.stdout).unwrap(), of_tenants)
    };
    let here = said(&asked);
    assert!(here.0.contains("licence-5d41402a") && !here.0.contains("licence-7d793037"), "{}", here.0);
    assert!(here.1.iter().any(|line| line.contains("stranger is not set up")), "{:?}", here.1);
    assert!(here.1.iter().any(|line| line.contains("licence-7d793037 cannot be rated: ")), "{:?}", here.1);
    let cluster = Cluster::start();
    for threads in ["1", "3"] {
        let there = [&asked[..], &["--engine", &cluster.address, "--threads", threads]].concat();
        assert_eq!(said(&there), here);
    }
    // What SQL has of it.
    let counted = "SELECT tenant, count(*) FROM quantities('2026-03') GROUP BY 1 ORDER BY 1";
    for asked in [
        &["sql", "--format", "csv", counted][..],
        &["report", "margin", "--format", "csv", "--param", "period=2026-03"],
    ] {
        let here = said(asked);
        assert!(here.0.contains("licence-5d41402a") && !here.0.contains("licence-7d793037"), "{}", here.0);
        assert!(
            here.1.iter().any(|line| line.contains("licence-7d793037 cannot be rated: ")),
            "{:?}",
            here.1
        );
        for threads in ["1", "3"] {
            let there = [asked, &["--engine", &cluster.address, "--threads", threads]].concat();
            assert_eq!(said(&there), here);
        }
    }
    // Who asks for that very tenant gets no answer that says nothing of it.
    let own = "SELECT count(*) FROM quantities('2026-03') WHERE tenant = 'licence-7d793037'";
    let failed = meterhouse(folder, &["sql", own, "--engine", &cluster.address]);
    let messages = String::from_utf8(failed.stderr).unwrap();
    assert_eq!(failed.status.code(), Some(1), "{messages}");
    assert!(messages.contains("licence-7d793037 cannot be rated: "), "{messages}");
    assert!(!messages.contains("DataFusionError"), "{messages}");
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
        divided.contains("on the cluster ballista://") && divided.contains(": divide by zero"),
        "{divided}"
    );
    let unknown = "SELECT price('none', 'storage', value) FROM usage_events WHERE value IS NOT NULL";
    let unknown = error(&["sql", unknown, "--engine", &cluster.address]);
    assert!(
        unknown.contains(": price(): there is no plan `none`; the table `plans` lists them\n"),
        "{unknown}"
    );
    assert!(!unknown.contains("DataFusionError"), "{unknown}");
    let analyzed = error(&["sql", &format!("EXPLAIN ANALYZE {count}"), "--engine", &cluster.address]);
    assert!(analyzed.contains("leave --engine out"), "{analyzed}");
    let from =
        error(&["quantities", "--period", "2026-03", "--from", "events", "--engine", &cluster.address]);
    assert!(from.contains("leave --from out"), "{from}");
}
