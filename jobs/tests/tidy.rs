//! Rules of the house that no compiler keeps: who may use whom, and how large a file may grow.

use std::fs;
use std::path::{Path, PathBuf};

const FLOORS: [&str; 4] = ["rating", "sql", "ingest", "jobs"];
/// STYLE says about 500; a little more is better than a cut in the wrong place.
const LINES_MAX: usize = 550;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn rust_files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            rust_files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

fn sources_of(floor: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    rust_files(&root().join(floor).join("src"), &mut found);
    assert!(!found.is_empty(), "{floor} has no sources");
    found
}

#[test]
fn no_floor_uses_one_above_it() {
    for (level, floor) in FLOORS.iter().enumerate() {
        let manifest = fs::read_to_string(root().join(floor).join("Cargo.toml")).unwrap();
        for above in &FLOORS[level + 1..] {
            let names_it = manifest
                .lines()
                .any(|line| line.strip_prefix(above).is_some_and(|rest| rest.starts_with(['.', ' ', '='])));
            assert!(!names_it, "{floor} must not use {above}");
        }
    }
}

#[test]
fn rating_does_no_io_reads_no_clock_and_knows_no_floats() {
    for path in sources_of("rating") {
        let text = fs::read_to_string(&path).unwrap();
        for forbidden in [
            "std::fs",
            "std::io",
            "std::net",
            "std::env",
            "std::time",
            "SystemTime",
            "Instant::now",
            "Timestamp::now",
            "Zoned::now",
            "async fn",
            "datafusion",
            "rand::",
            ": f64",
            ": f32",
            "as f64",
            "as f32",
        ] {
            // Tests read the example catalogs.
            let code = text.split("#[cfg(test)]").next().unwrap();
            let in_tests = path.components().any(|part| part.as_os_str() == "tests");
            assert!(in_tests || !code.contains(forbidden), "{} uses {forbidden}", path.display());
        }
    }
}

/// Clippy denies `unsafe` elsewhere; who adds a file here has measured what it wins, and says so in README.md.
#[test]
fn unsafe_stands_where_it_was_measured_and_nowhere_else() {
    let allowed = ["ingest/src/kafka/batch_consumer.rs", "jobs/src/memory.rs"];
    for floor in FLOORS {
        for path in sources_of(floor) {
            let text = fs::read_to_string(&path).unwrap();
            let is_allowed = allowed.iter().any(|file| path.ends_with(file));
            assert_eq!(text.contains("unsafe_code"), is_allowed, "{}", path.display());
        }
    }
}

#[test]
fn files_stay_readable() {
    for floor in FLOORS {
        for path in sources_of(floor) {
            let lines = fs::read_to_string(&path).unwrap().lines().count();
            assert!(lines <= LINES_MAX, "{} has {lines} lines: which step in it has a name?", path.display());
        }
    }
}

#[test]
fn every_module_says_what_it_is_for() {
    for floor in FLOORS {
        for path in sources_of(floor) {
            let text = fs::read_to_string(&path).unwrap();
            let is_test =
                path.components().any(|part| part.as_os_str() == "tests") || path.ends_with("tests.rs");
            assert!(is_test || text.starts_with("//!"), "{} does not begin with //!", path.display());
        }
    }
}

/// The fuzz targets are built by themselves, so that nobody notices at once when a parser that they mount moves, or uses a
/// library that they lack.
#[test]
fn fuzz_targets_find_the_parsers_and_what_these_use() {
    let folder = root().join("ingest/fuzz");
    let text = fs::read_to_string(folder.join("src/lib.rs")).unwrap();
    let mounted: Vec<PathBuf> = text
        .lines()
        .filter_map(|line| line.strip_prefix("#[path = \"")?.strip_suffix("\"]"))
        .map(|path| folder.join("src").join(path))
        .collect();
    assert!(mounted.len() > 8, "{mounted:?}");
    let manifest = fs::read_to_string(folder.join("Cargo.toml")).unwrap();
    let ingest = fs::read_to_string(root().join("ingest/Cargo.toml")).unwrap();
    let libraries = ingest.lines().filter_map(|line| line.strip_suffix(".workspace = true"));
    let lacking: Vec<String> = libraries
        .filter(|library| !manifest.contains(&format!("\n{library} = ")) && *library != "sql")
        .map(|library| format!("use {}", library.replace('-', "_")))
        .collect();
    for path in mounted {
        assert!(path.is_file(), "{} is mounted, but not there", path.display());
        let mut files = vec![path.clone()];
        if path.ends_with("mod.rs") {
            rust_files(path.parent().unwrap(), &mut files);
        }
        for file in files.iter().filter(|file| !file.components().any(|part| part.as_os_str() == "tests")) {
            let code = fs::read_to_string(file).unwrap();
            let missing = lacking.iter().find(|library| {
                code.lines().any(|line| {
                    line.strip_prefix(library.as_str()).is_some_and(|rest| rest.starts_with([':', ';']))
                })
            });
            assert!(missing.is_none(), "{} has `{}`", file.display(), missing.unwrap());
        }
    }
}
