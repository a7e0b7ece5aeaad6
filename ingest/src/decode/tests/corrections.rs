//! Voids and amendments: what they name, and what the meters read from an amendment.

use super::{Message, REDLINE, TENANT_IN_DATA, catalog, event, readings};
use crate::event::Identity;
use rating::catalog::Catalog;

const SESSIONS: &str = "
catalog: sessions
meters:
  told_whole: { kind: session, event_type: ran, resource: $.run, session: { duration_seconds: $.seconds }, unit: second }
";

fn hexadecimal(source: &str, id: &str) -> String {
    use std::fmt::Write;
    Identity::of(source, id).0.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a string takes everything");
        text
    })
}

fn correction(kind: &str, data: &str) -> String {
    event(&[("type", &format!("\"meterhouse.{kind}\"")), ("data", data)])
}

fn check(catalog: &Catalog, name: &str, text: String, expected: &[String]) {
    assert_eq!(readings(catalog, &Message::of(text)), expected, "{name}");
}

#[test]
fn a_correction_names_its_event_and_reads_as_if_it_had_come_right() {
    let catalog = catalog(REDLINE);
    let target = hexadecimal("/a", "1");
    check(
        &catalog,
        "void",
        correction("void", r#"{"source":"/a","id":"1"}"#),
        &[format!("correction | - | {target} | - | void | -")],
    );
    let amended =
        r#"{"source":"/a","id":"1","type":"redline.storage.sampled","data":{"folder":"f","bytes":12}}"#;
    check(
        &catalog,
        "amend",
        correction("amend", amended),
        &[
            format!("correction | - | {target} | - | amend | -"),
            "storage_bytes | 12000000000 | f | - | - | -".to_owned(),
        ],
    );
    let event_type = r#"{"source":"/a","id":"1","type":"nobody.knows","data":{}}"#;
    check(
        &catalog,
        "an event that feeds nothing any more",
        correction("amend", event_type),
        &[format!("correction | - | {target} | - | amend | -")],
    );
    let void = r#"{"source":"/a","id":"1","type":"meterhouse.void","data":{}}"#;
    check(
        &catalog,
        "a void in disguise",
        correction("amend", void),
        &["attribute_invalid: a void or an amendment cannot be amended itself".to_owned()],
    );
    for (name, data, missing) in [
        ("nothing", "{}", "source"),
        ("no id", r#"{"source":"/a"}"#, "id"),
        ("an empty source", r#"{"source":"","id":"1"}"#, "source"),
        ("no type", r#"{"source":"/a","id":"1","data":{}}"#, "type"),
        ("no data", r#"{"source":"/a","id":"1","type":"t"}"#, "data"),
    ] {
        let detail = format!(
            "attribute_missing: the data of a correction names no `{missing}` of the event that it corrects"
        );
        check(&catalog, name, correction("amend", data), &[detail]);
    }
}

#[test]
fn what_is_named_twice_names_nothing() {
    let catalog = catalog(REDLINE);
    for (kind, data, key) in [
        ("void", r#"{"source":"/a","id":"1","id":"2"}"#, "id"),
        ("void", r#"{"source":null,"id":"1","source":"/a"}"#, "source"),
        ("amend", r#"{"source":"/a","id":"1","type":"t","data":{"n":1},"d\u0061ta":{"n":2}}"#, "data"),
    ] {
        let refused = format!("duplicate_key: the data of a correction has `{key}` twice");
        check(&catalog, data, correction(kind, data), &[refused]);
    }
}

#[test]
fn a_time_is_named_where_the_data_cannot_be_read_without() {
    let catalog = catalog(SESSIONS);
    let target = hexadecimal("/a", "1");
    let amended = |more: &str| {
        let data = r#""source":"/a","id":"1","type":"ran","data":{"run":"r","seconds":60}"#;
        correction("amend", &format!("{{{data}{more}}}"))
    };
    let refused =
        "attribute_invalid: a meter needs the time to read the amended data: name it as `time` beside `data`";
    check(&catalog, "without", amended(""), &[refused.to_owned()]);
    check(
        &catalog,
        "with",
        amended(r#","time":"2026-04-01T00:01:00Z""#),
        &[
            format!("correction | - | {target} | - | amend | -"),
            "told_whole | 60000000000 | r | - | complete | 2026-04-01T00:00:00Z".to_owned(),
        ],
    );
    let future = amended(r#","time":"2027-04-01T00:01:00Z""#);
    let lines = readings(&catalog, &Message::of(future));
    assert!(lines[0].starts_with("time_in_future: "), "{lines:?}");
}

#[test]
fn the_tenant_stands_where_the_catalog_looks_for_it() {
    let catalog = catalog(TENANT_IN_DATA);
    let target = hexadecimal("/a", "1");
    check(
        &catalog,
        "void",
        correction("void", r#"{"source":"/a","id":"1","account":{"id":"acme"}}"#),
        &[format!("correction | - | {target} | - | void | -")],
    );
    let amended = r#"{"source":"/a","id":"1","type":"used","data":{"account":{"id":"acme"},"amount":2}}"#;
    check(
        &catalog,
        "amend",
        correction("amend", amended),
        &[
            format!("correction | - | {target} | - | amend | -"),
            "used | 2000000000 | - | - | - | -".to_owned(),
        ],
    );
    let lines = readings(&catalog, &Message::of(correction("void", r#"{"source":"/a","id":"1"}"#)));
    assert!(lines[0].starts_with("tenant_missing: "), "{lines:?}");
}
