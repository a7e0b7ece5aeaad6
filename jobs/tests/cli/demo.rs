//! The first command of a newcomer, twice.

use crate::{meterhouse, stderr, stdout};

const SYSTEMS: [&str; 4] = ["redline", "onmemos", "zemfyre", "documents"];

/// The tables of one system's invoices, without what says how many of them are new.
fn invoices(output: &str) -> Vec<&str> {
    output.lines().filter(|line| line.starts_with(" 0000")).collect()
}

#[test]
fn the_demo_bills_four_systems_and_can_be_run_again() {
    let folder = tempfile::tempdir().unwrap();
    let first = meterhouse(folder.path(), &["demo"]);
    assert_eq!(first.status.code(), Some(0), "{}", stderr(&first));
    let said = stdout(&first);
    for system in SYSTEMS {
        assert!(said.contains(&format!("{system}: 4 invoices issued, 0 were there before")), "{said}");
        let papers = folder.path().join("meterhouse-demo").join(system).join("lake/papers");
        assert!(papers.is_dir(), "{}", papers.display());
    }
    assert!(!said.contains("all of it was here"), "{said}");

    let again = meterhouse(folder.path(), &["demo"]);
    assert_eq!(again.status.code(), Some(0), "{}", stderr(&again));
    let said_again = stdout(&again);
    for system in SYSTEMS {
        assert!(
            said_again.contains(&format!("{system}: 0 invoices issued, 4 were there before")),
            "{said_again}"
        );
    }
    let known = said_again.matches("all of it was here from an earlier run; nothing was counted twice");
    assert_eq!(known.count(), SYSTEMS.len(), "{said_again}");
    assert_eq!(invoices(&said).len(), 4 * SYSTEMS.len(), "{said}");
    assert_eq!(invoices(&said), invoices(&said_again));
    assert!(invoices(&said_again).iter().all(|line| line.ends_with("the same to the byte")), "{said_again}");

    // The commands that it names next are those of a user in this folder.
    let next = said_again.split_once("What next:").expect("says what next").1;
    let lines: Vec<&str> = next.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    assert_eq!(lines.len(), 3, "{next}");
    for line in lines {
        let arguments = line.split_once(' ').expect("the program's name first").1;
        let arguments: Vec<String> = split(arguments);
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let shown = meterhouse(folder.path(), &arguments);
        assert_eq!(shown.status.code(), Some(0), "{line}: {}", stderr(&shown));
        assert!(!stdout(&shown).is_empty(), "{line}");
    }
}

/// A line as a shell takes it, double quotes and all.
fn split(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    for (index, part) in line.split('"').enumerate() {
        match index % 2 {
            0 => words.extend(part.split_whitespace().map(str::to_owned)),
            _ => words.push(part.to_owned()),
        }
    }
    words
}
