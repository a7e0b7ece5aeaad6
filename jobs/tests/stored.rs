//! What a person does with a lake, from the command line: look at rejects, fix the catalog, replay, derive, query.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

const CATALOG: &str = "
catalog: test
meters:
  stored: { kind: gauge, event_type: stored, value: $.size, unit: byte }
";
const FIXED: &str = "
catalog: test
meters:
  stored: { kind: gauge, event_type: stored, value: $.bytes, unit: byte, dimensions: { region: $.region } }
  events: { kind: delta, event_type: stored, unit: request }
";
const REGIONAL: &str =
    "  regional: { kind: delta, event_type: stored, unit: request, dimensions: { r: region } }\n";

fn meterhouse(folder: &Path, arguments: &[&str], input: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_meterhouse"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("METERHOUSE_") {
            command.env_remove(name);
        }
    }
    command.current_dir(folder).args(arguments).env("METERHOUSE_LAKE", folder.join("lake"));
    let streams = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = streams.spawn().expect("the program starts");
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

#[track_caller]
fn run(folder: &Path, arguments: &[&str], code: i32) -> String {
    let output = meterhouse(folder, arguments, "");
    let messages = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {messages}");
    String::from_utf8(output.stdout).unwrap()
}

fn event(id: u32, data: &str) -> String {
    format!(
        r#"{{"specversion":"1.0","id":"{id}","source":"/s","type":"stored","subject":"acme","time":"2026-05-01T00:00:00Z","data":{data}}}"#
    )
}

#[test]
fn a_wrong_catalog_is_fixed_and_nothing_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    std::fs::write(folder.join("catalog.yaml"), CATALOG).unwrap();
    let events = [
        event(1, r#"{"size":0.1,"bytes":0.1}"#),
        event(2, r#"{"bytes":0.2,"region":"eu"}"#),
        "nonsense".to_owned(),
    ];
    std::fs::write(folder.join("events.ndjson"), events.join("\n")).unwrap();

    assert_eq!(
        run(folder, &["sql", "--format", "csv", "SELECT count(*) AS n FROM usage_events"], 0),
        "n\n0\n"
    );
    run(folder, &["ingest", "--file", "events.ndjson"], 3);
    let rejects = run(folder, &["rejects", "--format", "csv"], 0);
    assert!(rejects.contains("\ninvalid_json,1,") && rejects.contains("\nvalue_missing,1,"), "{rejects}");
    let samples =
        run(folder, &["rejects", "--samples", "1", "--reason", "invalid_json", "--format", "json"], 0);
    let samples: serde_json::Value = serde_json::from_str(&samples).unwrap();
    assert_eq!((&samples[0]["payload"], &samples[0]["offset"]), (&"nonsense".into(), &3.into()));

    std::fs::write(folder.join("catalog.yaml"), FIXED).unwrap();
    let foreseen = run(folder, &["replay", "--dry-run", "--format", "csv"], 3);
    assert_eq!(run(folder, &["replay", "--format", "csv"], 3), foreseen);
    assert!(foreseen.contains("events counted,,1\n") && foreseen.contains("still rejected,invalid_json,1\n"));
    let derived = run(folder, &["derive", "--format", "csv"], 0);
    assert_eq!(derived, "meter,outcome,events,example\nevents,derived,1,\n");
    assert_eq!(run(folder, &["derive", "--format", "csv"], 0), "meter,outcome,events,example\n");

    let query =
        "SELECT meter, count(*) AS n, sum(value) AS total, max(dimension(dimensions, 'region')) AS region
                 FROM usage_events WHERE value < 5.5 GROUP BY meter ORDER BY meter";
    let expected = "meter,n,total,region\nevents,2,2.000000000,\nstored,2,0.300000000,eu\n";
    assert_eq!(run(folder, &["sql", "--format", "csv", query], 0), expected);
    let json: serde_json::Value =
        serde_json::from_str(&run(folder, &["sql", "--format", "json", query], 0)).unwrap();
    assert_eq!((&json[0]["region"], &json[1]["region"]), (&serde_json::Value::Null, &"eu".into()));
    let table = run(folder, &["sql", query], 0);
    assert!(table.contains("stored") && table.contains("   0.3 "), "{table}");
    let piped = meterhouse(folder, &["sql", "--format", "csv"], "SELECT 1 AS one");
    assert_eq!(String::from_utf8(piped.stdout).unwrap(), "one\n1\n");
    let old = "SELECT count(*) AS n FROM usage_events";
    assert_eq!(
        run(folder, &["sql", "--usage-version", "1", "--format", "json", old], 0).trim(),
        r#"[{"n":1}]"#
    );
}

#[test]
fn deriving_and_compacting_do_not_disturb_each_other() {
    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let catalog = |meters: &str| format!("catalog: test\nmeters:\n{meters}");
    let first =
        "  stored: { kind: gauge, event_type: stored, value: $.size, when_missing: skip, unit: byte }\n";
    let later = format!("{first}  events: {{ kind: delta, event_type: stored, unit: request }}\n");
    let mut events: Vec<String> =
        (0..50).map(|id| event(id, if id % 2 == 0 { r#"{"size":1}"# } else { r#"{"other":1}"# })).collect();
    events.extend(events[10..20].to_vec());
    for (folder, meters) in folders.iter().zip([first, &later]) {
        std::fs::write(folder.path().join("events.ndjson"), events.join("\n")).unwrap();
        std::fs::write(folder.path().join("catalog.yaml"), catalog(meters)).unwrap();
        run(folder.path(), &["ingest", "--file", "events.ndjson"], 0);
    }
    let [derived, oracle] = folders.each_ref().map(tempfile::TempDir::path);
    std::fs::write(derived.join("catalog.yaml"), catalog(&later)).unwrap();
    for (arguments, compacts) in [
        // Every second event had no meter; the copies of ten are there twice until they are compacted.
        (&["derive", "--meter", "stored"][..], false),
        (&["compact"], true),
        (&["derive"], false),
        (&["derive"], false),
        (&["compact"], true),
    ] {
        run(derived, arguments, 0);
        if compacts {
            run(oracle, arguments, 0);
        }
    }
    let query = "SELECT id, meter, value, data, \"offset\", batch_index FROM usage_events ORDER BY id, meter";
    let rows = "SELECT count(*) AS n, count(DISTINCT id) AS events, count(data) AS data FROM usage_events";
    for folder in [derived, oracle] {
        assert_eq!(run(folder, &["sql", "--format", "csv", rows], 0), "n,events,data\n75,50,50\n");
    }
    let bearers =
        |folder| run(folder, &["sql", "--format", "csv", query], 0).replace(r#""{""size"":1}""#, "");
    assert_eq!(bearers(derived), bearers(oracle));
}

#[test]
fn what_cannot_be_done_is_said_and_nothing_changes() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    std::fs::write(folder.join("catalog.yaml"), format!("{FIXED}{REGIONAL}")).unwrap();
    let output = meterhouse(folder, &["derive"], "");
    let message = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(message.contains("`regional`") && message.contains("`region`"), "{message}");
    for (arguments, code) in [
        (&["sql", "DROP TABLE usage_events"][..], 1),
        (&["sql", "SELECT nothing FROM usage_events"], 1),
        (&["sql", "--usage-version", "7", "SELECT 1"], 1),
        (&["sql", ""], 1),
        (&["rejects", "--reason", "bad_luck"], 2),
        (&["rejects", "--since", "lately"], 2),
        (&["rejects"], 0),
        (&["replay"], 0),
    ] {
        run(folder, arguments, code);
    }
}
