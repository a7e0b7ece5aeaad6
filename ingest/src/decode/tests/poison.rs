//! Events that no producer should send: each gives its reason and a detail that a person can act on, never a
//! crash, never a stall (DESIGN.md 3.3).

use super::{Message, REDLINE, catalog, event, results};

/// Named events of redline, as JSON text, with the reject that they become.
fn check(cases: &[(&str, String, &str)]) {
    let catalog = catalog(REDLINE);
    for (name, text, expected) in cases {
        let expected = format!("reject 0: {expected}");
        assert_eq!(results(&catalog, &Message::of(text.as_str())), [expected], "{name}");
    }
}

#[test]
fn no_json() {
    check(&[
        ("nothing", String::new(), "invalid_json: the text ends where a value should be at byte 0"),
        ("white space", " \n\t".to_owned(), "invalid_json: the text ends where a value should be at byte 3"),
        ("a word", "hello".to_owned(), "invalid_json: expected a value at byte 0"),
        ("XML", "<event/>".to_owned(), "invalid_json: expected a value at byte 0"),
        ("a byte order mark", format!("\u{feff}{}", event(&[])), "invalid_json: expected a value at byte 0"),
        ("cut off", "{\"id\":\"e".to_owned(), "invalid_json: the text ends inside a string at byte 8"),
        (
            "cut off in an escape",
            "{\"id\":\"\\u00".to_owned(),
            "invalid_json: \\u needs four hexadecimal digits at byte 7",
        ),
        (
            "a comma too many",
            "{\"id\":\"e\",}".to_owned(),
            "invalid_json: expected a key in double quotes at byte 10",
        ),
        ("single quotes", "{'id':'e'}".to_owned(), "invalid_json: expected a key in double quotes at byte 1"),
        ("two events", event(&[]) + &event(&[]), "invalid_json: text after the end of the value at byte 222"),
        (
            "a list with more behind it",
            "[1] 2".to_owned(),
            "invalid_json: text after the end of the value at byte 4",
        ),
        (
            "a text with more behind it",
            "\"a\" 2".to_owned(),
            "invalid_json: text after the end of the value at byte 4",
        ),
        ("NaN", event(&[("data", r#"{"bytes":NaN}"#)]), "invalid_json: expected a value at byte 195"),
        (
            "Infinity",
            event(&[("data", r#"{"bytes":-Infinity}"#)]),
            "invalid_json: expected a digit at byte 196",
        ),
        ("a plus sign", event(&[("data", r#"{"bytes":+1}"#)]), "invalid_json: expected a value at byte 195"),
        (
            "leading zeros",
            event(&[("data", r#"{"bytes":007}"#)]),
            "invalid_json: a digit after a leading zero at byte 196",
        ),
        (
            "hexadecimal",
            event(&[("data", r#"{"bytes":0x10}"#)]),
            "invalid_json: expected ',' or '}' at byte 196",
        ),
        (
            "a comment",
            event(&[("data", r#"{"bytes":1/*MB*/}"#)]),
            "invalid_json: expected ',' or '}' at byte 196",
        ),
        (
            "a line break in a text",
            event(&[("id", "\"a\nb\"")]),
            "invalid_json: control character in a string at byte 28",
        ),
        (
            "a zero byte",
            event(&[("id", "\"a\0b\"")]),
            "invalid_json: control character in a string at byte 28",
        ),
    ]);
}

#[test]
fn no_event() {
    check(&[
        ("a number", "7".to_owned(), "not_a_cloudevent: expected a JSON object"),
        ("a text", "\"event\"".to_owned(), "not_a_cloudevent: expected a JSON object"),
        ("null", "null".to_owned(), "not_a_cloudevent: expected a JSON object"),
        ("an empty object", "{}".to_owned(), "not_a_cloudevent: specversion is missing: not a CloudEvent"),
        (
            "somebody else's JSON",
            r#"{"user":"u","bytes":7}"#.to_owned(),
            "not_a_cloudevent: specversion is missing: not a CloudEvent",
        ),
        (
            "no specversion",
            event(&[("specversion", "")]),
            "not_a_cloudevent: specversion is missing: not a CloudEvent",
        ),
        (
            "a null one",
            event(&[("specversion", "null")]),
            "not_a_cloudevent: specversion is missing: not a CloudEvent",
        ),
        (
            "an old one",
            event(&[("specversion", "\"0.3\"")]),
            "attribute_invalid: specversion is `0.3`, only 1.0 is read",
        ),
        (
            "an empty one",
            event(&[("specversion", "\"\"")]),
            "attribute_invalid: specversion is ``, only 1.0 is read",
        ),
        (
            "1.00",
            event(&[("specversion", "1.00")]),
            "attribute_invalid: specversion is `1.00`, only 1.0 is read",
        ),
        (
            "a list",
            event(&[("specversion", "[]")]),
            "attribute_invalid: `specversion` is neither text nor a number",
        ),
        ("no id", event(&[("id", "")]), "attribute_missing: id is missing"),
        ("an empty id", event(&[("id", "\"\"")]), "attribute_missing: id is missing"),
        ("a null id", event(&[("id", "null")]), "attribute_missing: id is missing"),
        ("an object as id", event(&[("id", "{}")]), "attribute_invalid: `id` is neither text nor a number"),
        ("no source", event(&[("source", "")]), "attribute_missing: source is missing"),
        ("an empty source", event(&[("source", "\"\"")]), "attribute_missing: source is missing"),
        ("no type", event(&[("type", "")]), "attribute_missing: type is missing"),
        ("an empty type", event(&[("type", "\"\"")]), "attribute_missing: type is missing"),
        (
            "no subject",
            event(&[("subject", "")]),
            "tenant_missing: nothing stands where the catalog looks for the tenant",
        ),
        (
            "half a pair as id",
            event(&[("id", r#""\ud83d""#)]),
            "invalid_json: half of a surrogate pair in a string at byte 6",
        ),
        (
            "the other half",
            event(&[("subject", r#""a\ude00""#)]),
            "invalid_json: half of a surrogate pair in a string at byte 7",
        ),
        (
            "half a pair as key",
            event(&[(r"\ud83d", "1")]),
            "invalid_json: half of a surrogate pair in a string at byte 6",
        ),
    ]);
}

#[test]
fn no_time() {
    let time = |time: &str| event(&[("time", &format!("\"{time}\""))]);
    let invalid = |text: &str| format!("time_invalid: time is `{text}`, expected RFC 3339");
    let too_old = "time_too_old: before the earliest time that is accepted";
    for text in [
        "",
        "now",
        "2026-05-01",
        "2026-05-01T11:00",
        "2026-05-01T11:00:00",
        "2026-05-01T11:00:00+02",
        "2026-05-01T11:00:00+0200",
        "2026-05-01T11:00:00+02:00:30",
        "2026-05-01T11:00:00+24:00",
        "2026-05-01T11:00:00 Z",
        "2026-05-01T11:00:00Z ",
        "2026-05-01T11:00:00,5Z",
        "2026-05-01T11:00:00.Z",
        "20260501T110000.000Z",
        "20260501T110000+0200",
        "+002026-05-01T11:00:00Z",
        "2026-05-01T11:00:00Z[UTC]",
        "2026-02-29T11:00:00Z",
        "2026-13-01T11:00:00Z",
        "2026-00-01T11:00:00Z",
        "2026-05-32T11:00:00Z",
        "2026-05-01T24:00:00Z",
        "2026-05-01T11:60:00Z",
        "2026-05-01T11:00:61Z",
        "2026-05-01_11:00:00Z",
        "12026-05-01T11:00:00Z",
        "-001-05-01T11:00:00Z",
        "２026-05-01T11:00:00Z",
        "1777636800",
    ] {
        check(&[(text, time(text), &invalid(text))]);
    }
    check(&[
        ("a number", event(&[("time", "1777636800")]), &invalid("1777636800")),
        (
            "a list",
            event(&[("time", "[2026,5,1]")]),
            "attribute_invalid: `time` is neither text nor a number",
        ),
        ("year 9999", time("9999-12-31T23:59:59Z"), "time_in_future: 251624663999 s ahead of our clock"),
        (
            "with an offset",
            time("9999-12-31T23:59:59-12:00"),
            "time_in_future: 251624707199 s ahead of our clock",
        ),
        ("year 0000", time("0000-01-01T00:00:00Z"), too_old),
        ("with an offset", time("0000-01-01T00:00:00+12:00"), too_old),
        ("year 1970", time("1970-01-01T00:00:00Z"), too_old),
    ]);
}

#[test]
fn no_value() {
    let value = |value: &str| event(&[("data", &format!("{{\"folder\":\"f\",\"bytes\":{value}}}"))]);
    let meter = "meter storage_bytes";
    let long = format!("\"{}\"", "9".repeat(100));
    check(&[
        ("none", value("null"), &format!("value_missing: {meter} finds no value")),
        (
            "NaN",
            value("\"NaN\""),
            &format!("value_not_a_number: {meter} finds the value `NaN`, which is not a number"),
        ),
        (
            "a comma",
            value("\"12,5\""),
            &format!("value_not_a_number: {meter} finds the value `12,5`, which is not a number"),
        ),
        (
            "empty",
            value("\"\""),
            &format!("value_not_a_number: {meter} finds the value ``, which is not a number"),
        ),
        (
            "a boolean",
            value("false"),
            &format!("value_not_a_number: {meter} finds the value `false`, which is not a number"),
        ),
        (
            "a list",
            value("[1]"),
            &format!("value_not_a_number: {meter} finds an object or array as its value"),
        ),
        (
            "1e400",
            value("1e400"),
            &format!("value_out_of_range: {meter} finds the value `1e400`, which is out of range"),
        ),
        (
            "a hundred nines",
            value(&long),
            &format!(
                "value_out_of_range: {meter} finds the value `{}…`, which is out of range",
                "9".repeat(60)
            ),
        ),
        (
            "control characters are shown as escapes",
            value(r#""1\u0000\n\u202e2""#),
            &format!(
                "value_not_a_number: {meter} finds the value `1\\0\\n\\u{{202e}}2`, which is not a number"
            ),
        ),
        ("half a pair", value(r#""\udead""#), "invalid_json: half of a surrogate pair in a string at byte 6"),
    ]);
}

#[test]
fn no_data() {
    let no_base64 = "attribute_invalid: data_base64 is not base64";
    let base64 = |text: &str| event(&[("data", ""), ("data_base64", text)]);
    check(&[
        ("a text", event(&[("data", "\"bytes=7\"")]), "data_not_an_object: data is `\"bytes=7\"`"),
        ("a list", event(&[("data", "[{\"bytes\":7}]")]), "data_not_an_object: data is `[{\"bytes\":7}]`"),
        ("a boolean", event(&[("data", "true")]), "data_not_an_object: data is `true`"),
        (
            "both kinds",
            event(&[("data_base64", "\"e30=\"")]),
            "duplicate_key: both data and data_base64 are given",
        ),
        ("no base64", base64("\"{}\""), no_base64),
        ("base64 without padding", base64("\"e30\""), no_base64),
        ("base64 of the other alphabet", base64("\"eyJhIjoi_18ifQ==\""), no_base64),
        ("a number", base64("7"), no_base64),
        ("an object", base64("{}"), no_base64),
        ("base64 of a list", base64("\"W10=\""), "data_not_an_object: data is `[]`"),
        ("base64 of null", base64("\"bnVsbA==\""), "data_not_an_object: data is `null`"),
        (
            "base64 of nothing",
            base64("\"\""),
            "invalid_json: the text ends where a value should be at byte 0",
        ),
        (
            "base64 of two values",
            base64("\"W10gMQ==\""),
            "invalid_json: text after the end of the value at byte 3",
        ),
        ("base64 of Avro", base64("\"T2JqAf8=\""), "invalid_utf8: no UTF-8 from byte 4 on"),
    ]);
}

#[test]
fn keys_that_stand_twice() {
    let twice = |json: &str| event(&[]).replacen('{', &format!("{{{json},"), 1);
    check(&[
        ("id", twice(r#""id":"e-0""#), "duplicate_key: `id` is given twice"),
        ("the same id", twice(r#""id":"e-1""#), "duplicate_key: `id` is given twice"),
        (
            "subject, spelled otherwise",
            twice(r#""\u0073ubject":"x""#),
            "duplicate_key: `subject` is given twice",
        ),
        ("specversion", twice(r#""specversion":"0.3""#), "duplicate_key: `specversion` is given twice"),
        ("data", twice(r#""data":{}"#), "duplicate_key: `data` is given twice"),
        ("data that is null", twice(r#""data":null"#), "duplicate_key: `data` is given twice"),
        (
            "a figure",
            event(&[("data", r#"{"bytes":1,"folder":"f","bytes":2}"#)]),
            "duplicate_key: `bytes` stands twice in the data",
        ),
    ]);
    let catalog = catalog(REDLINE);
    for (name, text) in [
        ("a null attribute is none", twice(r#""id":null"#)),
        ("an attribute that nobody reads", twice(r#""x":1,"x":2"#)),
        ("a key that nobody reads", event(&[("data", r#"{"x":1,"bytes":1,"folder":"f","x":2}"#)])),
        ("half a pair where nobody reads", event(&[("data", r#"{"x":"\ud800","bytes":1,"folder":"f"}"#)])),
    ] {
        let line = results(&catalog, &Message::of(text)).remove(0);
        assert!(line.starts_with("event 0: "), "{name}: {line}");
    }
}
