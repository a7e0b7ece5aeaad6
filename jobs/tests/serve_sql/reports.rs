//! The reports with known answers, asked by psycopg (in simple statements, and with bound values in text and in binary) and by psql.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::golden::{blocks, lake};
use crate::world::{PASSWORD, World, program};

/// A report's text, and its parameters with their values where nobody gives any.
fn report(name: &str) -> (String, BTreeMap<String, String>) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../sql/reports/{name}.sql"));
    let text = std::fs::read_to_string(path).unwrap();
    let (header, query): (Vec<&str>, Vec<&str>) = text.lines().partition(|line| line.starts_with("-- "));
    let parameters = header.iter().filter_map(|line| {
        let (name, rest) = line.strip_prefix("-- parameter ")?.split_once(" = ")?;
        let value = rest.split_once(": ")?.0;
        Some((name.to_owned(), if value == "issuer" { "Northlight Systems" } else { value }.to_owned()))
    });
    (query.join("\n"), parameters.collect())
}

fn cases(system: &str) -> Vec<Value> {
    let reports = blocks(system).into_iter().filter_map(|(command, expected)| {
        let mut words = command.strip_prefix("report ")?.split_whitespace();
        let name = words.next()?;
        let (query, mut parameters) = report(name);
        parameters.extend(
            words
                .map(|word| word.split_once('=').unwrap())
                .map(|(name, value)| (name.to_owned(), value.to_owned())),
        );
        Some(json!({ "name": name, "query": query, "parameters": parameters, "expected": expected }))
    });
    reports.collect()
}

#[test]
fn clients_run_every_report() {
    let Some(python) = std::env::var_os("METERHOUSE_TEST_PYTHON") else {
        println!("skipped: METERHOUSE_TEST_PYTHON is not set");
        return;
    };
    let psql = program("METERHOUSE_TEST_PSQL", "psql");
    let mut names: Vec<Value> = Vec::new();
    for system in ["redline", "onmemos", "zemfyre"] {
        let world = World { folder: lake(system) };
        let cases = cases(system);
        names.extend(cases.iter().map(|case| case["name"].clone()));
        std::fs::write(world.path("cases.json"), json!(cases).to_string()).unwrap();
        let served = world.serve("");
        let place = format!(
            "host=127.0.0.1 port={} user=anna dbname=meterhouse password='{PASSWORD}'",
            served.address.port()
        );
        let output = Command::new(&python)
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/serve_sql/reports.py"))
            .args([&place, world.path("cases.json").to_str().unwrap()])
            .arg(psql.clone().unwrap_or_default())
            .env_remove("PGOPTIONS")
            .output()
            .unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(String::from_utf8_lossy(&output.stdout), format!("{} reports\n", cases.len()), "{errors}");
    }
    names.sort_by_key(ToString::to_string);
    names.dedup();
    assert_eq!(names.len(), 13, "{names:?}");
}
