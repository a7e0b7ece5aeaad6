//! Roll-ups from the command line, over tables that ingest and compaction wrote.

use std::path::Path;
use std::process::Command;

const CATALOG: &str = "
catalog: test
currency: USD
meters:
  stored: { kind: gauge, event_type: stored, value: $.bytes, resource: $.disk, unit: byte, dimensions: { region: $.region } }
  writes: { kind: delta, event_type: stored, unit: request }
  disks: { kind: unique, event_type: stored, resource: $.disk, unit: disk }
other_tenants: { subscriptions: [] }
";

#[track_caller]
pub fn run(folder: &Path, arguments: &[&str], code: i32) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_meterhouse"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("METERHOUSE_") {
            command.env_remove(name);
        }
    }
    let command = command.current_dir(folder).args(arguments).env("METERHOUSE_LAKE", folder.join("lake"));
    let output = command.output().expect("the program starts");
    let messages = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {messages}");
    String::from_utf8(output.stdout).unwrap()
}

fn ingest(folder: &Path, name: &str, events: &[(u32, &str, &str, u32)]) {
    let line = |(id, tenant, time, bytes): &(u32, &str, &str, u32)| {
        format!(
            r#"{{"specversion":"1.0","id":"{id}","source":"/s","type":"stored","subject":"{tenant}","time":"2026-05-{time}Z","data":{{"bytes":{bytes},"disk":"d{}","region":"eu"}}}}"#,
            id % 2
        )
    };
    let lines: Vec<String> = events.iter().map(line).collect();
    std::fs::write(folder.join(name), lines.join("\n")).unwrap();
    run(folder, &["ingest", "--file", name], 0);
}

/// What quantities say from events, they must say from everywhere.
#[track_caller]
fn assert_same(folder: &Path, is_rolled: bool) {
    let of = |from: &str, code: i32| {
        run(folder, &["quantities", "--period", "2026-05", "--format", "csv", "--from", from], code)
    };
    let events = of("events", 0);
    assert!(events.lines().count() > 10, "{events}");
    assert_eq!(of("auto", 0), events);
    if is_rolled {
        let composes = |line: &&str| !line.contains(",p95,") && !line.contains(",sum_of_peaks,");
        let expected: Vec<&str> = events.lines().filter(composes).collect();
        assert_eq!(of("rollups", 0).lines().collect::<Vec<_>>(), expected);
    } else {
        of("rollups", 3);
    }
}

#[test]
fn a_late_event_rolls_its_tenant_anew() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    std::fs::write(folder.join("catalog.yaml"), CATALOG).unwrap();
    let first = [
        (1, "acme", "01T10:00:00", 100),
        (2, "acme", "03T10:30:00", 50),
        (3, "beta", "02T00:00:00", 7),
        (4, "beta", "04T23:59:59", 9),
    ];
    ingest(folder, "first.ndjson", &first);
    let rollup = |arguments: &[&str]| {
        let arguments = [&["rollup", "--format", "json"], arguments].concat();
        let report: serde_json::Value = serde_json::from_str(&run(folder, &arguments, 0)).unwrap();
        let figure = |name: &str| report[0][name].as_u64().unwrap();
        (figure("days"), figure("tenants"), figure("tenant_days"))
    };
    assert_eq!(rollup(&["--dry-run"]), (4, 2, 7));
    assert_eq!(rollup(&[]), (4, 2, 7));
    assert_same(folder, true);
    assert_eq!(rollup(&[]), (0, 0, 0));

    run(folder, &["compact"], 0);
    assert_eq!(rollup(&[]), (0, 0, 0), "compaction changes nothing");
    assert_same(folder, true);

    // Its disk has another sample on the third day, so the days from then on open as they did.
    ingest(folder, "late.ndjson", &[(6, "acme", "02T08:00:00", 70)]);
    assert_same(folder, false);
    assert_eq!(rollup(&[]), (2, 1, 2));
    assert_same(folder, true);
    run(folder, &["compact"], 0);
    assert_eq!(rollup(&["--from", "2026-05-03"]), (2, 2, 4));
    assert_same(folder, true);
    let sql =
        "SELECT count(*) AS n FROM lake.usage_daily WHERE meter IS NULL AND usage_day = DATE '2026-05-03'";
    assert_eq!(run(folder, &["sql", "--format", "csv", sql], 0), "n\n2\n");
}

#[test]
fn a_run_that_was_cut_short_is_taken_back() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    std::fs::write(folder.join("catalog.yaml"), CATALOG).unwrap();
    let mut id = 100;
    let mut late = |folder: &Path| {
        id += 2;
        ingest(folder, &format!("{id}.ndjson"), &[(id, "acme", "02T08:00:00", id)]);
        run(folder, &["rollup"], 0);
    };
    let first =
        [(1, "acme", "01T10:00:00", 100), (3, "beta", "01T00:00:00", 7), (5, "beta", "03T00:00:00", 8)];
    ingest(folder, "first.ndjson", &first);
    run(folder, &["rollup"], 0);
    // So often that the days' files are put together, and each time the last of the commits is lost.
    for _ in 0..11 {
        late(folder);
        let log = folder.join("lake/usage_daily/_delta_log");
        let newest = std::fs::read_dir(&log).unwrap().map(|entry| entry.unwrap().path()).max().unwrap();
        std::fs::remove_file(newest).unwrap();
        run(folder, &["rollup"], 0);
        assert_same(folder, true);
    }
    let sql = "SELECT tenant, count(*) AS n FROM usage_hourly WHERE meter = 'writes' GROUP BY 1 ORDER BY 1";
    assert_eq!(run(folder, &["sql", "--format", "csv", sql], 0), "tenant,n\nacme,2\nbeta,2\n");
}
