//! The golden folders: each system's path as numbered files. Every stage is fed file N and must give file N+1, so that a
//! failure names its stage. `testdata/golden/README.md` says how the numbers were checked by hand.
//!
//! With `METERHOUSE_BLESS=1` the files from 2 on are written anew, to be read before they are committed.

mod duckdb;
mod lake;
mod stages;
mod texts;

use std::path::{Path, PathBuf};

use rating::catalog::Catalog;
use rating::period::PeriodChoice;
use serde::Deserialize;

const SYSTEMS: [&str; 4] = ["redline", "onmemos", "zemfyre", "documents"];

/// `0_run.json`: what the path is rated with.
#[derive(Debug, Deserialize)]
struct Run {
    catalog: String,
    period: String,
    tenants: Vec<String>,
}

/// A system's folder.
struct Golden {
    name: &'static str,
    folder: PathBuf,
    run: Run,
    catalog: Catalog,
    catalog_text: String,
}

impl Golden {
    fn open(name: &'static str) -> Golden {
        let testdata = Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata");
        let folder = testdata.join("golden").join(name);
        let run = std::fs::read_to_string(folder.join("0_run.json")).unwrap();
        let run: Run = serde_json::from_str(&run).unwrap();
        let text = std::fs::read_to_string(testdata.join("catalogs").join(&run.catalog)).unwrap();
        let catalog = Catalog::parse(&text, &run.catalog).unwrap_or_else(|error| panic!("{error}"));
        Golden { name, folder, run, catalog, catalog_text: text }
    }

    /// What stands in the catalog where a line's price comes from.
    fn catalog_line(&self, place: Option<&str>) -> String {
        let (file, number) = place.unwrap().split_once(':').unwrap();
        assert_eq!(file, self.run.catalog);
        let number: usize = number.parse().unwrap();
        self.catalog_text.lines().nth(number - 1).unwrap().trim().to_owned()
    }

    fn period(&self) -> PeriodChoice {
        self.run.period.parse().unwrap()
    }

    fn read(&self, file: &str) -> String {
        std::fs::read_to_string(self.folder.join(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
    }

    fn lines(&self, file: &str) -> Vec<String> {
        self.read(file).lines().map(str::to_owned).collect()
    }

    /// The stage's outcome must be what the file says.
    fn check(&self, file: &str, found: &str) {
        let path = self.folder.join(file);
        if std::env::var_os("METERHOUSE_BLESS").is_some() {
            std::fs::write(&path, found).unwrap();
        }
        let expected = std::fs::read_to_string(&path).unwrap_or_default();
        let same = expected.lines().zip(found.lines()).take_while(|(left, right)| left == right).count();
        assert!(
            expected == found,
            "{}: the stage before {file} gives something else from line {}:\nexpected {}\nfound    {}",
            self.name,
            same + 1,
            expected.lines().nth(same).unwrap_or("the end"),
            found.lines().nth(same).unwrap_or("the end"),
        );
    }
}

fn each(stage: fn(&Golden)) {
    for name in SYSTEMS {
        stage(&Golden::open(name));
    }
}

// In the order of the path; while blessing, run them with `--test-threads=1`.

#[test]
fn stage_1_messages_are_decoded() {
    each(stages::decode);
}

#[test]
fn stage_2_events_become_rows() {
    each(stages::rows);
}

#[test]
fn stage_3_rows_are_sorted_and_deduplicated() {
    each(stages::compact);
}

#[test]
fn stage_4_rows_become_quantities() {
    each(stages::quantities);
}

#[test]
fn stage_5_quantities_become_lines() {
    each(stages::lines);
}

#[test]
fn stage_6_lines_become_invoices() {
    each(stages::invoices);
}

#[test]
fn stage_7_invoices_become_requests_to_stripe() {
    each(stages::stripe_requests);
}
