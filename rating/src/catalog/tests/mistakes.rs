//! Bad catalogs and what they are told, word for word: `testdata/catalogs/mistakes/<name>.yaml` and `.txt`.
//!
//! With `METERHOUSE_BLESS=1` the expected texts are written anew, to be read before they are committed.

use std::path::{Path as FilePath, PathBuf};

use crate::catalog::Catalog;

fn folder() -> PathBuf {
    FilePath::new(env!("CARGO_MANIFEST_DIR")).join("../testdata/catalogs/mistakes")
}

#[test]
fn every_bad_catalog_is_told_all_that_is_wrong() {
    let bless = std::env::var_os("METERHOUSE_BLESS").is_some();
    let mut names: Vec<String> = std::fs::read_dir(folder())
        .expect("the folder of bad catalogs")
        .filter_map(|file| file.ok()?.file_name().to_str()?.strip_suffix(".yaml").map(str::to_owned))
        .collect();
    names.sort();
    assert!(names.len() >= 20, "bad catalogs are missing");
    for name in names {
        let text = std::fs::read_to_string(folder().join(format!("{name}.yaml"))).expect("a bad catalog");
        let errors = Catalog::parse(&text, &format!("{name}.yaml")).expect_err(&name);
        let shown = format!("{errors}\n");
        let expected = folder().join(format!("{name}.txt"));
        if bless {
            std::fs::write(&expected, &shown).expect("the expected text is written");
        }
        let expected = std::fs::read_to_string(&expected).unwrap_or_default();
        assert!(shown == expected, "{name}: told\n{shown}\nexpected\n{expected}");
    }
}

#[test]
fn a_lone_carriage_return_ends_a_line() {
    let errors =
        Catalog::parse("catalog: a\r\nmeters:\r  b: 7\n", "old.yaml").expect_err("a meter that is none");
    let places: Vec<_> =
        errors.mistakes.iter().map(|mistake| (mistake.place.line, mistake.source_line.as_str())).collect();
    assert_eq!(places, [(3, "  b: 7")]);
}
