//! Lakes of the golden folders, and the program as people run it.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

pub fn testdata() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata")
}

pub fn meterhouse(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_meterhouse"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("METERHOUSE_") {
            command.env_remove(name);
        }
    }
    command.current_dir(folder).args(arguments).env("METERHOUSE_LAKE", folder.join("lake"));
    command.env("METERHOUSE_ISSUER_NAME", "Northlight Systems").env("METERHOUSE_ISSUER_NUMBER_PREFIX", "R-");
    command.output().expect("the program starts")
}

#[track_caller]
pub fn run(folder: &Path, arguments: &[&str], codes: &[i32]) -> String {
    let output = meterhouse(folder, arguments);
    let messages = String::from_utf8(output.stderr).unwrap();
    let is_expected = output.status.code().is_some_and(|code| codes.contains(&code));
    assert!(is_expected, "{arguments:?} ended with {:?}: {messages}", output.status.code());
    String::from_utf8(output.stdout).unwrap()
}

/// A lake with the messages of a golden folder and the drafts of its period.
pub fn lake(system: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let golden = testdata().join("golden").join(system);
    let catalog = testdata().join(format!("catalogs/{system}.yaml"));
    std::fs::copy(catalog, folder.path().join("catalog.yaml")).unwrap();
    let messages = std::fs::read_to_string(golden.join("1_messages.jsonl")).unwrap();
    let messages = messages.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let events: Vec<String> =
        messages.filter_map(|message| Some(message.get("event")?.to_string())).collect();
    std::fs::write(folder.path().join("events.ndjson"), events.join("\n")).unwrap();
    run(folder.path(), &["ingest", "--file", "events.ndjson"], &[0, 3]);
    let run_of: Value =
        serde_json::from_str(&std::fs::read_to_string(golden.join("0_run.json")).unwrap()).unwrap();
    run(folder.path(), &["rate", "--period", run_of["period"].as_str().unwrap()], &[0, 3]);
    run(folder.path(), &["rollup"], &[0]);
    folder
}

/// The commands of a file of known answers, with these.
pub fn blocks(system: &str) -> Vec<(String, String)> {
    let text = std::fs::read_to_string(testdata().join(format!("reports/{system}.slt"))).unwrap();
    let blocks = text.split("\n\n").map(str::trim).filter(|block| !block.is_empty());
    let parts = blocks.map(|block| block.split_once("\n----").unwrap_or((block, "")));
    parts
        .map(|(command, expected)| (command.to_owned(), expected.trim_start_matches('\n').to_owned()))
        .collect()
}

/// What a block's command prints, with these arguments besides its own, and with no day of today in it.
pub fn answer(folder: &Path, command: &str, more: &[&str]) -> String {
    let today = jiff::Timestamp::now().strftime("%Y-%m-%d").to_string();
    printed(folder, command, more).replace(&today, "TODAY").trim_end().to_owned()
}

fn printed(folder: &Path, command: &str, more: &[&str]) -> String {
    let command: String =
        command.lines().filter(|line| !line.starts_with('#')).collect::<Vec<_>>().join("\n");
    if let Some(query) = command.strip_prefix("query") {
        return run(folder, &[&["sql", "--format", "csv", query], more].concat(), &[0]);
    }
    let mut words =
        command.strip_prefix("report ").expect("a block is a report or a query").split_whitespace();
    let mut arguments = vec!["report", words.next().expect("a report has a name"), "--format", "csv"];
    for parameter in words {
        arguments.extend(["--param", parameter]);
    }
    arguments.extend(more);
    run(folder, &arguments, &[0])
}
