//! What meters read: places, conditions, missing values, digits and dimensions.

use super::{Message, ReadingCase, WORKSHOP, catalog, check_readings, event, readings};

#[test]
fn attributes_and_extensions_are_places() {
    let catalog = catalog(WORKSHOP);
    let base = [("type", "\"attributes\""), ("data", "")];
    for (name, changes, level, schema) in [
        (
            "texts",
            vec![("level", "\"4.5\""), ("region", "\"eu\""), ("dataschema", "\"/v1\"")],
            r#"level | 4500000000 | /sampler/eu-1 | {"area":"eu","kind":"attributes","owner":"licence-1"} | - | -"#,
            r#"level_schema | 1000000000 | - | {"at":"2026-05-01T11:00:00Z","media":"application/json","name":"e-1","schema":"/v1"} | - | -"#,
        ),
        (
            "numbers and booleans",
            vec![("level", "-3"), ("region", "true"), ("datacontenttype", ""), ("id", "17")],
            r#"level | -3000000000 | /sampler/eu-1 | {"area":"true","kind":"attributes","owner":"licence-1"} | - | -"#,
            r#"level_schema | 1000000000 | - | {"at":"2026-05-01T11:00:00Z","name":"17"} | - | -"#,
        ),
        (
            "null is absent",
            vec![("level", "0"), ("region", "null"), ("time", "null"), ("datacontenttype", "null")],
            r#"level | 0 | /sampler/eu-1 | {"kind":"attributes","owner":"licence-1"} | - | -"#,
            r#"level_schema | 1000000000 | - | {"name":"e-1"} | - | -"#,
        ),
    ] {
        let text = event(&[&changes[..], &base].concat());
        assert_eq!(readings(&catalog, &Message::of(text)), [level, schema], "{name}");
    }
    let headers = Message::of("")
        .with("ce_specversion", "1.0")
        .with("ce_id", "e-1")
        .with("ce_source", "s")
        .with("ce_type", "attributes")
        .with("ce_subject", "t")
        .with("CE_Region", "eu")
        .with("ce_level", "12");
    assert_eq!(
        readings(&catalog, &headers),
        [
            r#"level | 12000000000 | s | {"area":"eu","kind":"attributes","owner":"t"} | - | -"#,
            r#"level_schema | 1000000000 | - | {"name":"e-1"} | - | -"#,
        ],
        "binary mode"
    );
}

const CASES: [ReadingCase; 35] = [
    ("each event counts one", "counted", r#"{"anything": 7}"#, &["counted | 1000000000 | - | - | - | -"]),
    ("and so it does without data", "counted", "", &["counted | 1000000000 | - | - | - | -"]),
    // ---- keys
    (
        "nested keys, and keys that hold dots",
        "nested",
        r#"{"a":{"name":"n","b":{"c":1,"x":9}},"a.b":{"c":2},"b":"flat"}"#,
        &[
            "nested | 1000000000 | - | - | - | -",
            "dotted | 2000000000 | - | - | - | -",
            r#"parent | - | n | {"b":"flat"} | - | -"#,
        ],
    ),
    (
        "escaped keys are the keys they spell",
        "nested",
        r#"{"\u0061":{"name":"n","\u0062":{"\u0063":1}}}"#,
        &["nested | 1000000000 | - | - | - | -", "parent | - | n | - | - | -"],
    ),
    (
        "a path through a text finds nothing",
        "nested",
        r#"{"a":{"name":"n","b":"c"}}"#,
        &["value_missing: meter nested finds no value"],
    ),
    (
        "a path through a list finds nothing",
        "nested",
        r#"{"a":{"name":"n","b":[{"c":1}]}}"#,
        &["value_missing: meter nested finds no value"],
    ),
    (
        "one meter's refusal rejects the whole event",
        "nested",
        r#"{"a":{"b":{"c":1}}}"#,
        &["resource_missing: meter parent has no resource"],
    ),
    (
        "a key that leads to a figure stands once",
        "nested",
        r#"{"a":{"name":"n","b":{"c":1}},"a":{"name":"n","b":{"c":2}}}"#,
        &["duplicate_key: `a` stands twice in the data"],
    ),
    (
        "the same below it, however it is spelled",
        "nested",
        r#"{"a":{"name":"n","b":{"c":1,"\u0063":2}}}"#,
        &["duplicate_key: `c` stands twice in the data"],
    ),
    (
        "other keys may stand as often as they like",
        "nested",
        r#"{"x":1,"x":2,"a":{"name":"n","b":{"c":1,"d":1,"d":2}}}"#,
        &["nested | 1000000000 | - | - | - | -", "parent | - | n | - | - | -"],
    ),
    // ---- conditions
    (
        "all conditions hold",
        "conditions",
        r#"{"category":"public","zone":"eu","n":5}"#,
        &["public_in_eu | 5000000000 | - | - | - | -", "not_internal | 1000000000 | - | - | - | -"],
    ),
    (
        "one of them does not",
        "conditions",
        r#"{"category":"public","zone":"us","n":5}"#,
        &["not_internal | 1000000000 | - | - | - | -"],
    ),
    (
        "a number is compared by its text",
        "conditions",
        r#"{"category":1,"zone":"eu","n":5}"#,
        &["public_in_eu | 5000000000 | - | - | - | -", "not_internal | 1000000000 | - | - | - | -"],
    ),
    (
        "1.0 is another text than 1",
        "conditions",
        r#"{"category":1.0,"zone":"eu"}"#,
        &["not_internal | 1000000000 | - | - | - | -"],
    ),
    (
        "a boolean is compared by its text",
        "conditions",
        r#"{"category":true,"zone":"eu","n":5}"#,
        &["public_in_eu | 5000000000 | - | - | - | -", "not_internal | 1000000000 | - | - | - | -"],
    ),
    ("an excepted value", "conditions", r#"{"category":"internal","zone":"eu"}"#, &[]),
    ("an absent path equals no value", "conditions", "{}", &["not_internal | 1000000000 | - | - | - | -"]),
    ("nor does null", "conditions", r#"{"category":null}"#, &["not_internal | 1000000000 | - | - | - | -"]),
    (
        "nor a list",
        "conditions",
        r#"{"category":["internal"]}"#,
        &["not_internal | 1000000000 | - | - | - | -"],
    ),
    (
        "a value is only wanted where the conditions hold",
        "conditions",
        r#"{"category":"public","zone":"eu"}"#,
        &["value_missing: meter public_in_eu finds no value"],
    ),
    // ---- missing
    (
        "value and resource",
        "required",
        r#"{"v":1,"r":"a"}"#,
        &["required_value | 1000000000 | a | - | - | -"],
    ),
    ("no value", "required", r#"{"r":"a"}"#, &["value_missing: meter required_value finds no value"]),
    (
        "a null value",
        "required",
        r#"{"v":null,"r":"a"}"#,
        &["value_missing: meter required_value finds no value"],
    ),
    ("no data at all", "required", "", &["value_missing: meter required_value finds no value"]),
    ("no resource", "required", r#"{"v":1}"#, &["resource_missing: meter required_value has no resource"]),
    (
        "a list as resource",
        "required",
        r#"{"v":1,"r":[]}"#,
        &["resource_missing: meter required_value finds an object or array as its resource"],
    ),
    (
        "a missing value is skipped",
        "skipped",
        r#"{"r":"a"}"#,
        &["beside_skipped | 1000000000 | - | - | - | -"],
    ),
    (
        "a missing resource is skipped",
        "skipped",
        r#"{"v":1}"#,
        &["beside_skipped | 1000000000 | - | - | - | -"],
    ),
    (
        "what is skipped is what is missing, not what is wrong",
        "skipped",
        r#"{"v":{"amount":1},"r":"a"}"#,
        &["value_not_a_number: meter skipped_value finds an object or array as its value"],
    ),
    (
        "a wrong resource is not missing either",
        "skipped",
        r#"{"v":1,"r":{"id":1}}"#,
        &["resource_missing: meter skipped_value finds an object or array as its resource"],
    ),
    ("a unique meter skips too", "skipped_unique", "{}", &[]),
    // ---- dimensions
    (
        "dimensions come sorted, as texts",
        "dimensions",
        r#"{"z":true,"m":1.50,"a":"q\"\\\n\u0001é"}"#,
        &[
            "dimensions | 1000000000 | - | {\"alpha\":\"q\\\"\\\\\\u000a\\u0001é\",\"mid\":\"1.50\",\"zeta\":\"true\"} | - | -",
        ],
    ),
    (
        "absent and null dimensions are left out, empty ones are not",
        "dimensions",
        r#"{"z":null,"m":""}"#,
        &[r#"dimensions | 1000000000 | - | {"mid":""} | - | -"#],
    ),
    ("no dimensions at all", "dimensions", "{}", &["dimensions | 1000000000 | - | - | - | -"]),
    (
        "an object is no dimension",
        "dimensions",
        r#"{"z":{}}"#,
        &["dimension_invalid: meter dimensions finds an object or array as its dimension zeta"],
    ),
];

#[test]
fn meters_read_what_the_catalog_says() {
    check_readings(&catalog(WORKSHOP), &CASES);
}

#[test]
fn conditions_and_extensions() {
    let catalog = catalog(WORKSHOP);
    let text = |changes: &[(&str, &str)]| {
        event(&[&[("type", "\"conditions\""), ("data", r#"{"category":"admin"}"#)], changes].concat())
    };
    for (name, changes, expected) in [
        (
            "the extension holds",
            vec![("region", "\"north\"")],
            vec!["by_extension | 1000000000 | - | - | - | -"],
        ),
        ("it says something else", vec![("region", "\"south\"")], vec![]),
        ("it is absent", vec![], vec![]),
        (
            "the exception holds",
            vec![("region", "\"north\""), ("data", r#"{"category":"admin","zone":"us"}"#)],
            vec![],
        ),
    ] {
        // A later change of the same attribute stands behind the first: put it in front.
        let changes: Vec<_> = changes.into_iter().rev().collect();
        let text = if changes.iter().any(|(key, _)| *key == "data") {
            event(&[&changes[..], &[("type", "\"conditions\"")]].concat())
        } else {
            text(&changes)
        };
        assert_eq!(readings(&catalog, &Message::of(text)), expected, "{name}");
    }
}

/// Figures as they come, in billionths: exactly, or rounded half away from zero where the meter says so.
#[test]
fn values_are_exact() {
    let catalog = catalog(WORKSHOP);
    let too_precise = "value_too_precise: meter exact finds the value `{}`, which has more than 9 decimals (see excess_digits)";
    let out_of_range = "value_out_of_range: meter {m} finds the value `{}`, which is out of range";
    let no_number = "value_not_a_number: meter {m} finds the value `{}`, which is not a number";
    for (figure, exact, rounded) in [
        ("0", "0", "0"),
        ("-0", "0", "0"),
        ("-0.0e5", "0", "0"),
        ("1", "1000000000", "1000000000"),
        ("-1.5", "-1500000000", "-1500000000"),
        ("0.000000001", "1", "1"),
        ("1E-9", "1", "1"),
        ("1e3", "1000000000000", "1000000000000"),
        ("12.30e-1", "1230000000", "1230000000"),
        ("0.3000000000000", "300000000", "300000000"),
        ("0.30000000000000004", too_precise, "300000000"),
        ("0.0000000004", too_precise, "0"),
        ("0.0000000005", too_precise, "1"),
        ("-0.0000000005", too_precise, "-1"),
        ("1.9999999995", too_precise, "2000000000"),
        ("4.9e-10", too_precise, "0"),
        ("5e-10", too_precise, "1"),
        ("9e-11", too_precise, "0"),
        ("1e-400", too_precise, "0"),
        ("9007199254740993", "9007199254740993000000000", "9007199254740993000000000"),
        ("18446744073709551615", "18446744073709551615000000000", "18446744073709551615000000000"),
        (
            "99999999999999999999999999999.999999999",
            "99999999999999999999999999999999999999",
            "99999999999999999999999999999999999999",
        ),
        ("99999999999999999999999999999.9999999995", too_precise, out_of_range),
        ("100000000000000000000000000000", out_of_range, out_of_range),
        ("1e29", out_of_range, out_of_range),
        ("1e400", out_of_range, out_of_range),
        ("-1e400", out_of_range, out_of_range),
        ("1e99999999999999999999", out_of_range, out_of_range),
        ("1e-99999999999999999999", too_precise, "0"),
        ("0e99999999999999999999", "0", "0"),
        ("true", no_number, no_number),
    ] {
        for (meter, expected) in [("exact", exact), ("rounded", rounded)] {
            for text in [figure.to_owned(), format!("\"{figure}\"")] {
                let message = Message::of(super::event_of(meter, &format!("{{\"v\":{text}}}")));
                let expected = if expected.contains(':') {
                    expected.replace("{m}", meter).replace("{}", figure)
                } else {
                    format!("{meter} | {expected} | - | - | - | -")
                };
                assert_eq!(readings(&catalog, &message), [expected], "{meter} {text}");
            }
        }
    }
}

#[test]
fn texts_that_are_no_numbers_are_no_values() {
    let catalog = catalog(WORKSHOP);
    for text in [
        "", " ", " 1", "1 ", "+1", "1.", ".5", "1e", "e5", "1e+", "--1", "-", "0x10", "1_000", "1,000",
        "12,5", "1.2.3", "1e5.0", "NaN", "nan", "Infinity", "-inf", "١٢", "１", "1\u{a0}", "½", "1e5e5",
        "null",
    ] {
        let mut data = String::from("{\"v\":");
        crate::json::push_json_string(&mut data, text);
        data.push('}');
        let line = readings(&catalog, &Message::of(super::event_of("exact", &data))).remove(0);
        assert!(line.starts_with("value_not_a_number: meter exact finds the value `"), "{text:?}: {line}");
    }
}
