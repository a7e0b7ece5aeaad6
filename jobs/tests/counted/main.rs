//! The commands that count, run as people run them, against answers that were worked out by hand.

mod closed;
mod quantities;
mod quotas;

use std::path::Path;
use std::process::Command;

/// Runs the program in a folder with a lake and a catalog; answers with stdout and stderr.
#[track_caller]
fn run(folder: &Path, arguments: &[&str], code: i32) -> (String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_meterhouse"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("METERHOUSE_") {
            command.env_remove(name);
        }
    }
    let command = command.current_dir(folder).args(arguments).env("METERHOUSE_LAKE", folder.join("lake"));
    let output = command.output().expect("the program starts");
    let messages = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {messages}");
    (String::from_utf8(output.stdout).unwrap(), messages)
}

fn folder(catalog: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("catalog.yaml"), catalog).unwrap();
    folder
}

/// An event that carries a value and names a resource.
fn event(id: &str, kind: &str, tenant: &str, time: &str, value: &str) -> String {
    format!(
        r#"{{"specversion":"1.0","id":"{id}","source":"/s","type":"{kind}","subject":"{tenant}","time":"{time}Z","data":{{"v":{value},"disk":"a"}}}}"#
    )
}

fn ingest(folder: &Path, name: &str, events: &[String]) {
    std::fs::write(folder.join(name), events.join("\n")).unwrap();
    run(folder, &["ingest", "--file", name], 0);
}

/// Some columns of CSV, without its header.
fn columns(csv: &str, wanted: &[&str]) -> Vec<String> {
    let mut lines = csv.lines();
    let names: Vec<&str> = lines.next().unwrap().split(',').collect();
    let places: Vec<usize> =
        wanted.iter().map(|name| names.iter().position(|own| own == name).unwrap()).collect();
    let pick = |line: &str| {
        let cells: Vec<&str> = line.split(',').collect();
        places.iter().map(|place| cells[*place]).collect::<Vec<_>>().join(" ")
    };
    lines.map(pick).collect()
}
