//! Whatever stands in the file, parsing ends with a catalog or with mistakes, never with a panic; and what was
//! parsed survives being written down in its canonical form.

use proptest::prelude::*;

use super::examples::{DOCUMENTS, ONMEMOS, REDLINE, ZEMFYRE, parsed};
use crate::catalog::mistake::Mistakes;
use crate::catalog::{Catalog, canonical, diff, yaml};

const EXAMPLES: [&str; 4] = [REDLINE, ONMEMOS, ZEMFYRE, DOCUMENTS];

/// Texts that YAML, numbers, dates and paths are likely to trip over.
const STRANGE: [&str; 26] = [
    "",
    "~",
    "null",
    "-0",
    "-1",
    "1e400",
    ".nan",
    ".inf",
    "99999999999999999999999999999",
    "0.0000000000001",
    "[]",
    "{}",
    "[[[[",
    "}",
    "*a",
    "&a x",
    "!!int 1",
    "2026-02-30",
    "9999-12-31T23:59:59Z",
    "-9999-01-01",
    "$",
    "$.",
    "\"",
    "'",
    "\u{feff}\u{2028}",
    "💥\t",
];

#[derive(Debug, Clone)]
enum Edit {
    /// Overwrites, inserts or removes a byte somewhere.
    Byte {
        at: usize,
        byte: u8,
        how: u8,
    },
    DropLine {
        line: usize,
    },
    RepeatLine {
        line: usize,
        after: usize,
    },
    Indent {
        line: usize,
        by: usize,
    },
    /// Puts something strange in place of all that follows a colon.
    Value {
        line: usize,
        strange: usize,
    },
}

fn edit() -> impl Strategy<Value = Edit> {
    let anywhere = any::<usize>;
    prop_oneof![
        (anywhere(), any::<u8>(), 0..3_u8).prop_map(|(at, byte, how)| Edit::Byte { at, byte, how }),
        anywhere().prop_map(|line| Edit::DropLine { line }),
        (anywhere(), anywhere()).prop_map(|(line, after)| Edit::RepeatLine { line, after }),
        (anywhere(), 0..12_usize).prop_map(|(line, by)| Edit::Indent { line, by }),
        (anywhere(), 0..STRANGE.len()).prop_map(|(line, strange)| Edit::Value { line, strange }),
    ]
}

fn mangled(text: &str, edits: &[Edit]) -> String {
    let mut text = text.to_owned();
    for edit in edits {
        text = apply(&text, edit);
    }
    text
}

fn apply(text: &str, edit: &Edit) -> String {
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let count = lines.len().max(1);
    if lines.is_empty() {
        lines.push(String::new());
    }
    match *edit {
        Edit::Byte { at, byte, how } => {
            let mut bytes = text.as_bytes().to_vec();
            let at = at % (bytes.len() + 1);
            match how {
                0 if at < bytes.len() => bytes[at] = byte,
                1 if at < bytes.len() => {
                    bytes.remove(at);
                }
                _ => bytes.insert(at, byte),
            }
            return String::from_utf8_lossy(&bytes).into_owned();
        }
        Edit::DropLine { line } => {
            lines.remove(line % count);
        }
        Edit::RepeatLine { line, after } => {
            let line = lines[line % count].clone();
            lines.insert(after % count, line);
        }
        Edit::Indent { line, by } => {
            let line = &mut lines[line % count];
            *line = format!("{}{}", " ".repeat(by), line.trim_start());
        }
        Edit::Value { line, strange } => {
            let line = &mut lines[line % count];
            if let Some(colon) = line.rfind(':') {
                line.truncate(colon + 1);
                line.push(' ');
                line.push_str(STRANGE[strange]);
            }
        }
    }
    lines.join("\n")
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn mangled_catalogs_never_panic(which in 0..EXAMPLES.len(), edits in prop::collection::vec(edit(), 1..8)) {
        let text = mangled(EXAMPLES[which], &edits);
        match Catalog::parse(&text, "mangled.yaml") {
            // What still is a catalog can be compared with what it was.
            Ok(catalog) => { diff(&parsed(EXAMPLES[which], "example.yaml"), &catalog); }
            Err(errors) => {
                prop_assert!(!errors.mistakes.is_empty());
                let lines = text.lines().count();
                for mistake in &errors.mistakes {
                    prop_assert!((1..=lines + 1).contains(&mistake.place.line), "{mistake:?} of {lines} lines");
                    prop_assert!(mistake.place.column >= 1 && mistake.place.width >= 1, "{mistake:?}");
                }
                prop_assert!(errors.to_string().ends_with("in mangled.yaml"));
            }
        }
    }

    #[test]
    fn any_text_is_read_or_refused(text in any::<String>()) {
        let _ = Catalog::parse(&text, "any.yaml");
    }
}

#[test]
fn the_canonical_form_is_the_same_catalog() {
    for example in EXAMPLES {
        let mut mistakes = Mistakes::new(example);
        let node = yaml::read(example, &mut mistakes).expect("a document");
        let form = canonical::form(&node);
        let (before, after) = (parsed(example, "example.yaml"), parsed(&form, "canonical.json"));
        assert_eq!(before.hash, after.hash);
        assert_eq!(diff(&before, &after), Vec::<String>::new());
        assert_eq!(before.meters, after.meters);
    }
}

#[test]
fn only_content_changes_the_hash() {
    let hash = |text: &str| parsed(text, "example.yaml").hash;
    assert_eq!(hash(ZEMFYRE), hash(&format!("# more words\n\n{ZEMFYRE}")));
    assert_eq!(hash(ZEMFYRE), hash(&ZEMFYRE.replace("catalog: zemfyre", "catalog:   'zemfyre'")));
    assert_ne!(hash(ZEMFYRE), hash(&ZEMFYRE.replace("per_unit: 0.20", "per_unit: 0.21")));
}

#[test]
fn deep_nesting_is_refused() {
    for opening in ["[", "{a: ", "- ", "? "] {
        let errors = Catalog::parse(&opening.repeat(100_000), "deep.yaml").expect_err("nested too deeply");
        assert!(!errors.mistakes.is_empty());
    }
}
