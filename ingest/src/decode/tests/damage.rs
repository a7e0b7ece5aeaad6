//! Messages that no producer should send, whatever event is in them: damaged, huge, deep, or not JSON at
//! all. Like the events of `poison`, each gives its reason, never a crash and never a stall.

use super::{DecodeLimits, Message, REDLINE, WORKSHOP, catalog, event, event_of, results, results_within};
use crate::json::DEPTH_MAX;

#[test]
fn bytes_that_are_no_text() {
    let catalog = catalog(REDLINE);
    let structured = event(&[]).into_bytes();
    let broken = |at: usize, byte: u8| {
        let mut bytes = structured.clone();
        bytes[at] = byte;
        bytes
    };
    for (name, payload, at) in [
        ("the first byte", broken(0, 0xff), 0),
        ("in a text", broken(40, 0xc3), 40),
        ("the last byte", broken(structured.len() - 1, 0x80), structured.len() - 1),
        ("UTF-16", "{}".encode_utf16().flat_map(|unit| (unit | 0xff00).to_be_bytes()).collect(), 0),
        ("an encoded surrogate", [b"{\"a\":\"".as_slice(), b"\xed\xa0\x80\"}"].concat(), 6),
        ("Latin-1", b"{\"a\":\"\xe9\"}".to_vec(), 6),
        ("in a batch", b"[{}, \"\xff\"]".to_vec(), 6),
    ] {
        let expected = format!("reject 0: invalid_utf8: no UTF-8 from byte {at} on");
        assert_eq!(results(&catalog, &Message::of(payload)), [expected], "{name}");
    }
}

#[test]
fn batches_that_are_damaged() {
    let catalog = catalog(REDLINE);
    let good = |id: &str| event(&[("id", &format!("\"{id}\""))]);
    let kept = |line: &String| line.split(" 2026").next().unwrap().to_owned();
    for (name, bad, reject) in [
        ("no value", event(&[("data", "{}")]), "value_missing: meter storage_bytes finds no value"),
        ("no event", "17".to_owned(), "not_a_cloudevent: expected a JSON object"),
        ("null", "null".to_owned(), "not_a_cloudevent: expected a JSON object"),
        ("a batch in the batch", "[{}]".to_owned(), "not_a_cloudevent: expected a JSON object"),
        (
            "half a pair",
            event(&[("id", r#""\ud800""#)]),
            "invalid_json: half of a surrogate pair in a string at byte 6",
        ),
    ] {
        let text = format!("[{},\n{bad} , {}]", good("a"), good("c"));
        let lines = results(&catalog, &Message::of(text));
        assert_eq!(
            lines.iter().map(kept).collect::<Vec<_>>(),
            [
                "event 0: /sampler/eu-1 a licence-1 redline.storage.sampled".to_owned(),
                format!("reject 1: {reject}"),
                "event 2: /sampler/eu-1 c licence-1 redline.storage.sampled".to_owned(),
            ],
            "only the bad element is rejected: {name}"
        );
    }
    let (a, c) = (good("a"), good("c"));
    for (name, text, expected) in [
        ("broken in the middle", format!("[{a}, {{\"id\" 7}}, {c}]"), "expected ':' after a key at byte 229"),
        ("a comma is missing", format!("[{a} {c}]"), "expected ',' or ']' at byte 222"),
        ("cut off", format!("[{a}, {c}"), "expected ',' or ']' at byte 443"),
        ("a comma too many", format!("[{a},]"), "expected a value at byte 222"),
        ("text behind it", format!("[{a}] x"), "text after the end of the value at byte 223"),
    ] {
        let expected = format!("reject 0: invalid_json: {expected}");
        assert_eq!(results(&catalog, &Message::of(text)), [expected], "none of it is taken: {name}");
    }
    let batch = |text: &str| Message::of(text).with("content-type", "application/cloudevents-batch+json");
    for (text, expected) in [
        (event(&[]).as_str(), "not_a_cloudevent: expected a JSON array of events"),
        ("{", "invalid_json: expected a key in double quotes at byte 1"),
        ("", "invalid_json: the text ends where a value should be at byte 0"),
        ("null", "not_a_cloudevent: expected a JSON array of events"),
    ] {
        assert_eq!(results(&catalog, &batch(text)), [format!("reject 0: {expected}")], "{text}");
    }
}

#[test]
fn content_that_is_not_read() {
    let catalog = catalog(REDLINE);
    let plain = Message::of(event(&[]));
    let binary = Message::of("bytes=7").with("ce_specversion", "1.0").with("ce_id", "e");
    for (message, media_type, expected) in [
        (
            &plain,
            "application/cloudevents+avro",
            "CloudEvents as `application/cloudevents+avro`, only JSON is read",
        ),
        (
            &plain,
            "application/cloudevents+xml; charset=utf-8",
            "CloudEvents as `application/cloudevents+xml`, only JSON is read",
        ),
        (
            &plain,
            "application/cloudevents-batch+avro",
            "CloudEvents as `application/cloudevents-batch+avro`, only JSON is read",
        ),
        (
            &plain,
            "application/cloudevents-stream",
            "CloudEvents as `application/cloudevents-stream`, only JSON is read",
        ),
        (
            &plain,
            "application/cloudevents+json+gzip",
            "CloudEvents as `application/cloudevents+json+gzip`, only JSON is read",
        ),
        (&binary, "text/plain", "data is `text/plain`, only JSON is read"),
        (&binary, "application/avro", "data is `application/avro`, only JSON is read"),
        (&binary, "application/x-protobuf", "data is `application/x-protobuf`, only JSON is read"),
        (&binary, "application/jsonp", "data is `application/jsonp`, only JSON is read"),
        (&binary, "", "data is ``, only JSON is read"),
    ] {
        let message = message.clone().with("content-type", media_type);
        let expected = format!("reject 0: unsupported_content: {expected}");
        assert_eq!(results(&catalog, &message), [expected], "{media_type}");
    }
}

#[test]
fn header_soup() {
    let catalog = catalog(REDLINE);
    let binary = |payload: &[u8]| {
        Message::of(payload)
            .with("ce_specversion", "1.0")
            .with("ce_id", "e-1")
            .with("ce_source", "s")
            .with("ce_type", "other")
            .with("ce_subject", "t")
    };
    let mut soup = binary(b"{}");
    for number in 0..800u32 {
        let name = match number % 5 {
            0 => format!("ce_{number}"),
            1 => format!("x-é-{number}"),
            2 => "\u{0}\n".repeat(number as usize % 7),
            3 => "ce_".to_owned(),
            _ => "c".repeat(number as usize),
        };
        let value = (number % 3 != 0).then(|| vec![number as u8 | 0x80; number as usize]);
        soup.headers.insert(number as usize / 2, (name, value));
    }
    assert_eq!(results(&catalog, &soup), ["event 0: s e-1 t other 2026-05-01T11:59:00Z stamped {}"]);
    soup.headers.retain(|(name, _)| name != "ce_specversion");
    assert_eq!(
        results(&catalog, &soup),
        ["reject 0: not_a_cloudevent: specversion is missing: not a CloudEvent"],
        "without its version it is no event in binary mode"
    );
    let nulled = |name: &str| {
        let mut message = binary(b"{}");
        message.headers.iter_mut().find(|(header, _)| header == name).unwrap().1 = None;
        message
    };
    for (name, message, expected) in [
        ("an id twice", binary(b"{}").with("ce_id", "e-2"), "duplicate_key: `id` is given twice"),
        ("in capitals", binary(b"{}").with("CE_ID", "e-1"), "duplicate_key: `id` is given twice"),
        (
            "the content type as header and attribute",
            binary(b"{}").with("ce_datacontenttype", "text/json").with("content-type", "text/json"),
            "duplicate_key: `datacontenttype` is given twice",
        ),
        ("an id in Latin-1", binary(b"{}").with("ce_time", b"\xe9"), "invalid_utf8: no UTF-8 from byte 0 on"),
        ("an id without a value", nulled("ce_id"), "attribute_missing: id is missing"),
        (
            "a subject without a value",
            nulled("ce_subject"),
            "tenant_missing: nothing stands where the catalog looks for the tenant",
        ),
        (
            "a version without a value",
            nulled("ce_specversion"),
            "not_a_cloudevent: specversion is missing: not a CloudEvent",
        ),
        (
            "a bad time",
            binary(b"{}").with("ce_time", "soon"),
            "time_invalid: time is `soon`, expected RFC 3339",
        ),
        ("no JSON", binary(b"{"), "invalid_json: expected a key in double quotes at byte 1"),
        ("no text", binary(b"{\"a\":\"\xff\"}"), "invalid_utf8: no UTF-8 from byte 6 on"),
        ("no object", binary(b"[1]"), "data_not_an_object: data is `[1]`"),
        ("two objects", binary(b"{} {}"), "invalid_json: text after the end of the value at byte 3"),
    ] {
        assert_eq!(results(&catalog, &message), [format!("reject 0: {expected}")], "{name}");
    }
}

#[test]
fn messages_of_ten_megabytes() {
    let catalog = catalog(REDLINE);
    let roomy = DecodeLimits { message_bytes_max: 64 << 20, ..DecodeLimits::default() };
    let blown_up = event(&[("comment", &format!("\"{}\"", "x\\n".repeat(3_400_000)))]);
    let size = blown_up.len();
    assert!(size > 10_000_000);
    let too_large = |size: usize| format!("reject 0: too_large: {size} bytes, at most 1048576 are accepted");
    assert_eq!(results(&catalog, &Message::of(blown_up.as_str())), [too_large(size)]);
    assert!(results_within(&catalog, roomy, &Message::of(blown_up))[0].starts_with("event 0: "));
    for (open, mode) in [("[", "a list"), ("{\"a\":", "an object")] {
        let deep = open.repeat(10_000_000 / open.len());
        assert_eq!(results(&catalog, &Message::of(deep.as_str())), [too_large(deep.len())]);
        let at = DEPTH_MAX as usize * open.len();
        let expected = format!("reject 0: invalid_json: nested too deep at byte {at}");
        assert_eq!(results_within(&catalog, roomy, &Message::of(deep)), [expected], "{mode}");
    }
    let long_figure = event(&[("data", &format!(r#"{{"folder":"f","bytes":{}}}"#, "1".repeat(5_000_000)))]);
    let line = results_within(&catalog, roomy, &Message::of(long_figure)).remove(0);
    let expected = "reject 0: value_out_of_range: meter storage_bytes finds the value `1111";
    assert!(line.starts_with(expected) && line.len() < 200, "{line}");
    let long_fraction = format!(r#"{{"folder":"f","bytes":0.{}}}"#, "0".repeat(5_000_000));
    let line = results_within(&catalog, roomy, &Message::of(event(&[("data", &long_fraction)]))).remove(0);
    assert!(line.starts_with("event 0: "));
}

#[test]
fn the_largest_message_is_as_large_as_the_limit() {
    let catalog = catalog(REDLINE);
    let text = event(&[]);
    for (limit, accepted) in [(text.len(), true), (text.len() - 1, false)] {
        let limits = DecodeLimits { message_bytes_max: limit, ..DecodeLimits::default() };
        let line = results_within(&catalog, limits, &Message::of(text.as_str())).remove(0);
        assert_eq!(line.starts_with("event 0: "), accepted, "{line}");
    }
}

#[test]
fn nesting_is_bounded_wherever_it_stands() {
    let catalog = catalog(WORKSHOP);
    let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
    let limit = DEPTH_MAX as usize;
    let accepted = |text: String| results(&catalog, &Message::of(text))[0].starts_with("event 0: ");
    for (name, shell, text) in [
        (
            "in an extension",
            1,
            (|inner: &str| event(&[("type", "\"x\""), ("y", inner)])) as fn(&str) -> String,
        ),
        ("in the data", 2, |inner| event_of("nested_elsewhere", &format!("{{\"x\":{inner}}}"))),
        ("in a batch", 3, |inner| format!("[{}]", event_of("x", &format!("{{\"x\":{inner}}}")))),
    ] {
        assert!(accepted(text(&nested(limit - shell))), "{name}");
        assert!(!accepted(text(&nested(limit - shell + 1))), "{name}");
    }
    let deepest_seen = event_of("dimensions", &format!("{{\"a\":1,\"x\":{}}}", nested(limit - 2)));
    assert!(accepted(deepest_seen), "where meters read beside it");
}
