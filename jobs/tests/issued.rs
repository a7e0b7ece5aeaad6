//! Issuing as people meet it: numbers without gaps, invoices that never change, papers, and rating them again from a
//! copied bucket alone.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

const CATALOG: &str = "
catalog: shop
currency: EUR
meters:
  stored: { kind: gauge, event_type: stored, value: $.gb, resource: $.disk, unit: GB }
  calls: { kind: delta, event_type: called, value: $.n, unit: request }
plans:
  basic:
    prices:
      base: { description: Basic plan, flat: 10 }
      calls: { description: Calls, meter: calls, package: { size: 100, price: 0.5 } }
      storage: { description: Storage, meter: stored, measure: average, per_unit: 0.2 }
tenants:
  acme: { subscriptions: [{ plan: basic, from: 2026-01-01 }] }
  globex: { subscriptions: [{ plan: basic, from: 2026-01-01 }] }
";

const JANUARY: &str = r#"
{"specversion":"1.0","id":"1","source":"/s","type":"stored","subject":"acme","time":"2026-01-01T00:00:00Z","data":{"gb":10,"disk":"d"}}
{"specversion":"1.0","id":"2","source":"/s","type":"called","subject":"acme","time":"2026-01-12T00:00:00Z","data":{"n":150}}
{"specversion":"1.0","id":"3","source":"/s","type":"called","subject":"globex","time":"2026-01-20T00:00:00Z","data":{"n":20}}
"#;

/// Runs the program in a folder of its own and expects an exit code; what it said on stdout and stderr.
#[track_caller]
fn run(folder: &Path, arguments: &[&str], code: i32) -> (String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_meterhouse"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("METERHOUSE_") {
            command.env_remove(name);
        }
    }
    command.env("METERHOUSE_LAKE", folder.join("lake")).env("METERHOUSE_LOG", "warn");
    command.env("METERHOUSE_ISSUER_NAME", "The Shop");
    let output = command.current_dir(folder).args(arguments).output().expect("the program starts");
    let messages = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {messages}");
    (String::from_utf8(output.stdout).unwrap(), messages)
}

/// A folder in which January's drafts wait.
fn rated() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("catalog.yaml"), CATALOG).unwrap();
    std::fs::write(folder.path().join("events.ndjson"), JANUARY.trim_start()).unwrap();
    run(folder.path(), &["ingest", "--file", "events.ndjson"], 0);
    run(folder.path(), &["rate", "--period", "2026-01"], 0);
    folder
}

const ISSUE: [&str; 5] = ["issue", "--period", "2026-01", "--format", "csv"];
// 10 + 2 packages + 10 GB at 0.20; 10 + 1 package.
const ISSUED: &str = "number,tenant,period,currency,total,due
000001,acme,2026-01-01,EUR,13.00,13.00
000002,globex,2026-01-01,EUR,10.50,10.50
";
const NOTHING: &str = "number,tenant,period,currency,total,due\n";

#[test]
fn drafts_are_issued_once_and_stay() {
    let folder = rated();
    let folder = folder.path();
    let (foreseen, messages) = run(folder, &[&ISSUE[..], &["--dry-run"]].concat(), 0);
    assert_eq!(foreseen, ISSUED.replace("000001", "-").replace("000002", "-"));
    assert!(messages.contains("2 invoices would be issued"), "{messages}");
    assert_eq!(run(folder, &ISSUE, 0).0, ISSUED);
    let (again, messages) = run(folder, &ISSUE, 0);
    assert_eq!(again, NOTHING);
    assert!(messages.contains("2 were issued before"), "{messages}");

    let by_number = run(folder, &["invoice", "show", "000001", "--format", "json"], 0).0;
    let by_tenant =
        run(folder, &["invoice", "show", "--tenant", "acme", "--period", "2026-01", "--format", "json"], 0);
    assert_eq!(by_number, by_tenant.0);
    let (text, _) = run(folder, &["invoice", "show", "000001"], 0);
    assert!(text.starts_with("Invoice 000001 (issued), id 2026-01-01-"), "{text}");
    let (_, messages) = run(folder, &["invoice", "show", "000003"], 1);
    assert!(messages.contains("there is no invoice `000003`"), "{messages}");

    // What comes later changes drafts, never what was issued.
    let late = JANUARY.replace("\"id\":\"3\"", "\"id\":\"4\"").replace("\"n\":20", "\"n\":1000");
    std::fs::write(folder.join("late.ndjson"), late.trim_start()).unwrap();
    run(folder, &["ingest", "--file", "late.ndjson"], 0);
    run(folder, &["rate", "--period", "2026-01"], 0);
    assert_eq!(run(folder, &ISSUE, 0).0, NOTHING);
    assert_eq!(run(folder, &["invoice", "show", "000001", "--format", "json"], 0).0, by_number);
    assert!(run(folder, &["verify", "000002"], 0).0.contains("the same to the byte"));
}

#[test]
fn papers_lie_beside_the_lake() {
    let folder = rated();
    run(folder.path(), &ISSUE, 0);
    let papers = folder.path().join("lake/papers/2026-01-01");
    let read = |name: &str| std::fs::read(papers.join(name)).unwrap();
    assert!(read("invoice_000001.pdf").starts_with(b"%PDF-"));
    for (name, amount) in
        [("invoice_000001.html", "13.00"), ("invoice_000001.csv", "10.00"), ("invoice_000001.json", "13.00")]
    {
        assert!(String::from_utf8(read(name)).unwrap().contains(amount), "{name}");
    }
    assert_eq!(std::fs::read_dir(&papers).unwrap().count(), 8);
}

#[test]
fn a_copied_bucket_is_enough_to_rate_again() {
    let folder = rated();
    let folder = folder.path();
    run(folder, &ISSUE, 0);
    let copy = tempfile::tempdir().unwrap();
    let copied = Command::new("cp").arg("-r").arg(folder.join("lake")).arg(copy.path()).status().unwrap();
    assert!(copied.success());
    let offline = ["verify", "--period", "2026-01", "--offline", "lake", "--format", "csv"];
    let (results, _) = run(copy.path(), &offline, 0);
    let expected = "number,tenant,period,result
000001,acme,2026-01-01,the same to the byte
000002,globex,2026-01-01,the same to the byte
";
    assert_eq!(results, expected);

    // Somebody takes acme's calls out of the copy.
    let commit = copy.path().join("lake/usage_events/_delta_log/00000000000000000001.json");
    let actions = std::fs::read_to_string(&commit).unwrap();
    let kept: Vec<&str> = actions.lines().filter(|line| !line.contains("event_day=2026-01-12/")).collect();
    assert_eq!(kept.len() + 1, actions.lines().count());
    std::fs::write(&commit, kept.join("\n")).unwrap();
    let (results, messages) = run(copy.path(), &offline, 4);
    let wrong: Vec<&str> =
        results.lines().skip(1).filter(|line| !line.ends_with("the same to the byte")).collect();
    assert!(wrong.len() == 1 && wrong[0].starts_with("000001,acme,"), "{results}");
    assert!(messages.contains("2 invoices rated again, 1 differ"), "{messages}");
}

#[test]
fn a_period_closes_once() {
    let folder = rated();
    let folder = folder.path();
    run(folder, &["close", "--period", "2026-01"], 0);
    run(folder, &["close", "--period", "2026-01"], 0);
    run(folder, &["close", "--period", "2026-02"], 0);
    let (rows, _) = run(
        folder,
        &["sql", "--format", "csv", "SELECT number, tenant, period, state FROM invoices ORDER BY number"],
        0,
    );
    let expected = "number,tenant,period,state
000001,acme,2026-01-01,issued
000002,globex,2026-01-01,issued
000003,acme,2026-02-01,issued
000004,globex,2026-02-01,issued
";
    assert_eq!(rows, expected);
    let (runs, _) = run(folder, &["runs", "--format", "csv"], 0);
    let jobs: BTreeSet<&str> = runs.lines().skip(1).filter_map(|line| line.split(',').nth(1)).collect();
    assert!(["compact", "rate", "issue"].iter().all(|job| jobs.contains(job)), "{runs}");
}

#[test]
fn nothing_is_issued_before_its_time() {
    let folder = rated();
    // A grace period of a hundred years.
    let (rows, messages) = run(folder.path(), &[&ISSUE[..], &["--grace", "876000 h"]].concat(), 0);
    assert_eq!(rows, NOTHING);
    assert!(messages.contains("2 drafts wait"), "{messages}");
    let (_, messages) = run(folder.path(), &["verify", "--period", "2026-01"], 1);
    assert!(messages.contains("there is no such issued invoice"), "{messages}");
}
