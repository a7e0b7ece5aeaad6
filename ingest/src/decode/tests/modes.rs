//! The three ways in which a message carries events (DESIGN.md 3.1), and what the envelope becomes.

use super::{
    ARRIVAL_US, DecodeLimits, Decoded, Decoder, Message, REDLINE, STAMPED_US, TENANT_IN_DATA, WORKSHOP,
    catalog, decode_each, event, event_of, readings, results, results_within,
};
use crate::event::Identity;

const DATA: &str = r#"{"folder":"f-1","bytes":1500000000}"#;

/// The usual event as a line, with its place in a batch.
fn usual(batch_index: i32, id: &str) -> String {
    format!(
        "event {batch_index}: /sampler/eu-1 {id} licence-1 redline.storage.sampled 2026-05-01T11:00:00Z given {DATA}"
    )
}

fn binary() -> Message {
    Message::of(DATA)
        .with("ce_specversion", "1.0")
        .with("ce_id", "e-1")
        .with("ce_source", "/sampler/eu-1")
        .with("ce_type", "redline.storage.sampled")
        .with("ce_subject", "licence-1")
        .with("ce_time", "2026-05-01T11:00:00Z")
}

fn spelled(message: &Message, spelling: fn(&str) -> String) -> Message {
    let mut message = message.clone();
    for (name, _) in &mut message.headers {
        *name = spelling(name);
    }
    message
}

#[test]
fn structured_mode() {
    let catalog = catalog(REDLINE);
    let text = event(&[]);
    for (name, message) in [
        ("no headers at all", Message::of(text.as_str())),
        ("its content type", Message::of(text.as_str()).with("content-type", "application/cloudevents+json")),
        (
            "with a charset",
            Message::of(text.as_str()).with("content-type", "application/cloudevents+json; charset=UTF-8"),
        ),
        (
            "in capitals",
            Message::of(text.as_str()).with("Content-Type", "APPLICATION/CLOUDEVENTS+JSON ;charset=utf-8"),
        ),
        ("without a format", Message::of(text.as_str()).with("content-type", "application/cloudevents")),
        ("as plain JSON", Message::of(text.as_str()).with("content-type", "application/json")),
        ("as plain text", Message::of(text.as_str()).with("content-type", "text/plain")),
        ("an empty content type", Message::of(text.as_str()).with("content-type", "")),
        (
            "structured wins over ce_ headers",
            binary_with_payload(&text).with("content-type", "application/cloudevents+json"),
        ),
        ("with white space around", Message::of(format!("\r\n\t {text} \n"))),
        (
            "specversion as a number",
            Message::of(event(&[("specversion", "1.0"), ("ignored", "[1, {\"a\": null}]")])),
        ),
        ("escaped keys and values", Message::of(text.replace("\"id\":\"e-1\"", r#""\u0069d":"\u0065-1""#))),
    ] {
        assert_eq!(results(&catalog, &message), [usual(0, "e-1")], "{name}");
    }
}

fn binary_with_payload(payload: &str) -> Message {
    let mut message = binary();
    message.payload = Some(payload.as_bytes().to_vec());
    message
}

#[test]
fn batch_mode() {
    let catalog = catalog(REDLINE);
    let two = format!("[{}, {}]", event(&[]), event(&[("id", "\"e-2\"")]));
    for (name, message) in [
        ("looks like a list", Message::of(format!("  \n{two}"))),
        (
            "its content type",
            Message::of(two.as_str()).with("content-type", "application/cloudevents-batch+json"),
        ),
        (
            "with a charset, in capitals",
            Message::of(two.as_str())
                .with("CONTENT-TYPE", "Application/CloudEvents-Batch+JSON; charset=utf-8"),
        ),
        ("without a format", Message::of(two.as_str()).with("content-type", "application/cloudevents-batch")),
    ] {
        assert_eq!(results(&catalog, &message), [usual(0, "e-1"), usual(1, "e-2")], "{name}");
    }
    assert_eq!(results(&catalog, &Message::of("[]")), [""; 0], "an empty batch holds nothing");
    assert_eq!(
        results(&catalog, &Message::of(two).with("content-type", "application/cloudevents+json")),
        ["reject 0: not_a_cloudevent: expected a JSON object"],
        "a list where one event is announced"
    );
}

#[test]
fn binary_mode() {
    let catalog = catalog(REDLINE);
    let with_type = |media_type: &str| binary().with("content-type", media_type);
    for (name, message) in [
        ("without a content type", binary()),
        ("JSON", with_type("application/json")),
        ("JSON with a charset", with_type("application/json; charset=utf-8")),
        ("JSON in capitals", spelled(&with_type("Application/JSON;CHARSET=UTF-8"), str::to_uppercase)),
        ("a vendor's JSON", with_type("application/vnd.redline.v2+json")),
        ("the content type as an attribute", binary().with("ce_datacontenttype", "application/json")),
        ("headers in capitals", spelled(&binary(), str::to_uppercase)),
        ("headers in mixed case", spelled(&binary(), |name| name.replace("ce_", "Ce_").replace("id", "Id"))),
        ("headers of others", binary().with("traceparent", b"\xff\xfe").with("ce", "x").with("cé_", "y")),
        ("an extension nobody asked for", binary().with("ce_region", b"\xff").with("ce_region", b"\xfe")),
    ] {
        assert_eq!(results(&catalog, &message), [usual(0, "e-1")], "{name}");
    }
}

#[test]
fn binary_mode_without_data() {
    let catalog = catalog(WORKSHOP);
    for (name, payload) in [("empty", ""), ("white space", " \n"), ("null", " null ")] {
        let mut message = binary_with_payload(payload);
        message.headers[3].1 = Some(b"counted".to_vec());
        assert_eq!(
            results(&catalog, &message),
            ["event 0: /sampler/eu-1 e-1 licence-1 counted 2026-05-01T11:00:00Z given -"],
            "{name}"
        );
        assert_eq!(readings(&catalog, &message), ["counted | 1000000000 | - | - | - | -"], "{name}");
    }
}

#[test]
fn a_message_without_a_value_is_a_tombstone_in_every_mode() {
    let catalog = catalog(REDLINE);
    for message in [Message::of(""), binary(), Message::of("").with("content-type", "application/avro")] {
        let message = Message { payload: None, ..message };
        assert_eq!(results(&catalog, &message), ["tombstone"]);
    }
}

#[test]
fn data_in_base64_and_data_that_is_null() {
    let catalog = catalog(REDLINE);
    let line = |data: &str| {
        format!("event 0: /sampler/eu-1 e-1 licence-1 redline.unmetered 2026-05-01T11:00:00Z given {data}")
    };
    let unmetered = ("type", "\"redline.unmetered\"");
    for (name, changes, data) in [
        ("base64", [("data", ""), ("data_base64", r#""eyJieXRlcyI6IDd9""#)], r#"{"bytes": 7}"#),
        ("base64 beside null", [("data", "null"), ("data_base64", r#""e30=""#)], "{}"),
        ("null base64", [("data", r#"{ "a" : 1 }"#), ("data_base64", "null")], r#"{ "a" : 1 }"#),
        ("null", [("data", "null"), ("data_base64", "")], "-"),
        ("both null", [("data", "null"), ("data_base64", "null")], "-"),
        ("none", [("data", ""), ("data_base64", "")], "-"),
    ] {
        let text = event(&[unmetered, changes[0], changes[1]]);
        assert_eq!(results(&catalog, &Message::of(text)), [line(data)], "{name}");
    }
    let sampled = event(&[("data", ""), ("data_base64", r#""eyJieXRlcyI6NywiZm9sZGVyIjoiZiJ9""#)]);
    assert_eq!(
        readings(&catalog, &Message::of(sampled)),
        ["storage_bytes | 7000000000 | f | - | - | -"],
        "a meter reads decoded data"
    );
}

#[test]
fn data_is_kept_as_it_came() {
    let data = "{ \"bytes\" : 1.50e1 ,\n\t\"folder\":\"\\u00e9/é\", \"x\":[1,2,{\"y\":null}] }";
    let line = results(&catalog(REDLINE), &Message::of(event(&[("data", data)])));
    assert!(line[0].ends_with(data), "{line:?}");
}

#[test]
fn an_event_that_no_meter_takes_is_kept_without_readings() {
    let catalog = catalog(REDLINE);
    let message = Message::of(event_of("redline.licence.renewed", r#"{"years":2}"#));
    assert_eq!(
        results(&catalog, &message),
        [
            r#"event 0: /sampler/eu-1 e-1 licence-1 redline.licence.renewed 2026-05-01T11:00:00Z given {"years":2}"#
        ]
    );
    assert_eq!(readings(&catalog, &message), [""; 0]);
}

#[test]
fn the_tenant_stands_where_the_catalog_says() {
    let redline = catalog(REDLINE);
    let in_data = catalog(TENANT_IN_DATA);
    let missing = "reject 0: tenant_missing: nothing stands where the catalog looks for the tenant";
    let used = |tenant: &str| format!(r#"{{"account":{{"id":{tenant}}},"amount":1}}"#);
    let event_for = |tenant: &str, data: &str| {
        format!("event 0: /sampler/eu-1 e-1 {tenant} used 2026-05-01T11:00:00Z given {data}")
    };
    for (name, catalog, text, expected) in [
        ("no subject", &redline, event(&[("subject", "")]), missing.to_owned()),
        ("empty subject", &redline, event(&[("subject", "\"\"")]), missing.to_owned()),
        ("null subject", &redline, event(&[("subject", "null")]), missing.to_owned()),
        ("in the data", &in_data, event_of("used", &used("\"acme\"")), event_for("acme", &used("\"acme\""))),
        ("a number in the data", &in_data, event_of("used", &used("1207")), event_for("1207", &used("1207"))),
        ("empty in the data", &in_data, event_of("used", &used("\"\"")), missing.to_owned()),
        ("null in the data", &in_data, event_of("used", &used("null")), missing.to_owned()),
        ("an object in the data", &in_data, event_of("used", &used("{}")), missing.to_owned()),
        ("no data", &in_data, event_of("used", ""), missing.to_owned()),
        ("no account", &in_data, event_of("used", r#"{"account":7}"#), missing.to_owned()),
    ] {
        assert_eq!(results(catalog, &Message::of(text)), [expected], "{name}");
    }
    let unmetered = Message::of(event_of("unknown", r#"{"account":{"id":"acme"}}"#));
    assert!(results(&in_data, &unmetered)[0].contains(" acme unknown "), "an event that feeds no meter");
}

#[test]
fn an_event_without_a_time_takes_the_message_s() {
    let catalog = catalog(REDLINE);
    let stamped = |stamped_at_us, time: &str| {
        let message = Message { stamped_at_us, ..Message::of(event(&[("time", time), ("data", "")])) };
        results(&catalog, &Message { payload: Some(swap_type(&message)), ..message }).remove(0)
    };
    let line = |time: &str| format!("event 0: /sampler/eu-1 e-1 licence-1 other {time} -");
    assert_eq!(stamped(Some(STAMPED_US), ""), line("2026-05-01T11:59:00Z stamped"));
    assert_eq!(stamped(Some(STAMPED_US), "null"), line("2026-05-01T11:59:00Z stamped"));
    assert_eq!(stamped(None, "\"2026-05-01T11:59:00Z\""), line("2026-05-01T11:59:00Z given"));
    assert_eq!(stamped(None, ""), "reject 0: time_missing: the event has no time, and its source keeps none");
    assert_eq!(stamped(Some(i64::MAX), "").split(": ").nth(1), Some("time_in_future"));
    assert_eq!(stamped(Some(i64::MIN), "").split(": ").nth(1), Some("time_too_old"));
}

/// The same event of a type that no meter takes.
fn swap_type(message: &Message) -> Vec<u8> {
    let text = String::from_utf8(message.payload.clone().unwrap()).unwrap();
    text.replace("redline.storage.sampled", "other").into_bytes()
}

#[test]
fn times_are_taken_within_their_bounds_and_not_a_microsecond_beyond() {
    let catalog = catalog(REDLINE);
    let limits = DecodeLimits {
        future_tolerance_us: 300_000_000,
        earliest_time_us: 946_684_800_000_000,
        ..DecodeLimits::default()
    };
    assert_eq!(limits, DecodeLimits::default(), "the bounds that the table below counts from");
    for (time, expected) in [
        ("2026-05-01T12:05:00Z", "event 0"),
        ("2026-05-01T12:05:00.000000999Z", "event 0"),
        ("2026-05-01T12:05:00.000001Z", "reject 0: time_in_future: 300 s ahead of our clock"),
        ("2026-05-01T14:05:00.000001+02:00", "reject 0: time_in_future: 300 s ahead of our clock"),
        ("2026-05-02T12:00:00Z", "reject 0: time_in_future: 86400 s ahead of our clock"),
        ("2000-01-01T00:00:00Z", "event 0"),
        ("2000-01-01T01:00:00+01:00", "event 0"),
        ("1999-12-31T23:59:59.999999Z", "reject 0: time_too_old: before the earliest time that is accepted"),
    ] {
        let text = event(&[("time", &format!("\"{time}\""))]);
        let line = results_within(&catalog, limits, &Message::of(text)).remove(0);
        assert!(line == expected || line.starts_with(&format!("{expected}: ")), "{time}: {line}");
    }
    let tight = DecodeLimits { future_tolerance_us: 0, earliest_time_us: ARRIVAL_US, ..limits };
    for (time, expected) in [
        ("2026-05-01T12:00:00Z", "event 0"),
        ("2026-05-01T12:00:00.000001Z", "reject 0: time_in_future"),
        ("2026-05-01T11:59:59.999999Z", "reject 0: time_too_old"),
    ] {
        let text = event(&[("time", &format!("\"{time}\""))]);
        let line = results_within(&catalog, tight, &Message::of(text)).remove(0);
        assert!(line.starts_with(&format!("{expected}: ")), "{time}: {line}");
    }
}

#[test]
fn a_reject_names_as_much_of_its_event_as_could_be_read() {
    let decoder = Decoder::new(&catalog(REDLINE), DecodeLimits::default());
    let named = |message: &Message| {
        let mut all = Vec::new();
        decode_each(&decoder, message, |decoded| {
            let Decoded::Rejected(rejected) = decoded else { panic!("{decoded:?}") };
            let names = [&rejected.source, &rejected.id, &rejected.tenant, &rejected.event_type];
            let names: Vec<&str> = names.into_iter().map(|name| name.as_deref().unwrap_or("-")).collect();
            all.push((names.join(" "), String::from_utf8_lossy(rejected.payload).into_owned()));
        });
        assert_eq!(all.len(), 1);
        all.remove(0)
    };
    let whole = "/sampler/eu-1 e-1 licence-1 redline.storage.sampled";
    let no_value = event(&[("data", "{}")]);
    for (name, text, expected) in [
        ("a meter's refusal", no_value.clone(), whole),
        ("an old version", event(&[("specversion", "\"0.3\"")]), whole),
        ("no id", event(&[("id", "")]), "/sampler/eu-1 - licence-1 redline.storage.sampled"),
        ("cut off", no_value[..no_value.len() - 5].to_owned(), whole),
        ("cut off early", r#"{"id":"e-1","source":"#.to_owned(), "- e-1 - -"),
        ("no event", "[1]".to_owned(), "- - - -"),
    ] {
        let payload = text.trim_matches(['[', ']']).to_owned();
        assert_eq!(named(&Message::of(text)), (expected.to_owned(), payload), "{name}");
    }
    let mut message = binary();
    message.payload = Some(b"{".to_vec());
    assert_eq!(named(&message), (whole.to_owned(), "{".to_owned()), "binary");
}

#[test]
fn two_events_are_the_same_by_source_and_id_in_any_mode() {
    let decoder = Decoder::new(&catalog(REDLINE), DecodeLimits::default());
    let mut identities = Vec::new();
    for message in [binary(), Message::of(event(&[])), Message::of(format!("[{}]", event(&[])))] {
        decode_each(&decoder, &message, |decoded| {
            let Decoded::Event(event) = decoded else { panic!("{decoded:?}") };
            identities.push(event.identity);
        });
    }
    assert_eq!(identities, [Identity::of("/sampler/eu-1", "e-1"); 3]);
}
