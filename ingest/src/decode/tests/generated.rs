//! Random messages out of a catalog's meters: whole events, then damaged in many ways.
//!
//! Everything is decided by a list of numbers. Zero is always the plainest choice and a list that has run
//! out goes on with zeros, so that `proptest` shrinks a failure to the few decisions that matter.

use base64::Engine as _;
use rating::catalog::{Catalog, Meter, Path};

use super::message::{ARRIVAL_US, Message, STAMPED_US};
use crate::decode::DecodeLimits;

/// The decisions that are left.
#[derive(Debug)]
pub struct Choices<'c>(pub std::slice::Iter<'c, u16>);

impl Choices<'_> {
    fn below(&mut self, bound: usize) -> usize {
        usize::from(self.0.next().copied().unwrap_or(0)) % bound
    }

    /// True once in so many times.
    fn once_in(&mut self, times: usize) -> bool {
        self.below(times) == times - 1
    }

    fn one_of<T: Copy>(&mut self, options: &[T]) -> T {
        options[self.below(options.len())]
    }
}

/// JSON in the making. Keys and leaves are written as they are, so they can be wrong.
#[derive(Debug, Clone)]
enum Json {
    Leaf(String),
    Object(Pairs),
}

type Pairs = Vec<(String, Json)>;

impl Json {
    fn text(&self, gap: &str) -> String {
        match self {
            Self::Leaf(text) => text.clone(),
            Self::Object(pairs) => {
                let pairs =
                    pairs.iter().map(|(key, value)| format!("{gap}\"{key}\"{gap}:{gap}{}", value.text(gap)));
                format!("{{{}{gap}}}", pairs.collect::<Vec<_>>().join(","))
            }
        }
    }

    /// Puts a leaf at a path of keys.
    fn put(&mut self, keys: &[String], leaf: String) {
        let Self::Object(pairs) = self else { return };
        let (key, rest) = keys.split_first().expect("paths have keys");
        let at = pairs.iter().position(|(name, _)| name == key).unwrap_or_else(|| {
            pairs.push((key.clone(), Self::Object(Vec::new())));
            pairs.len() - 1
        });
        if rest.is_empty() {
            pairs[at].1 = Self::Leaf(leaf);
        } else {
            pairs[at].1.put(rest, leaf);
        }
    }

    fn count(&self) -> usize {
        match self {
            Self::Leaf(_) => 0,
            Self::Object(pairs) => pairs.iter().map(|(_, value)| 1 + value.count()).sum(),
        }
    }

    /// Finds the pair of this number, counting from front to back, and hands it over with its object.
    fn at_pair(&mut self, number: &mut usize, change: &mut dyn FnMut(&mut Pairs, usize)) -> bool {
        let Self::Object(pairs) = self else { return false };
        for at in 0..pairs.len() {
            if *number == 0 {
                change(pairs, at);
                return true;
            }
            *number -= 1;
            if pairs[at].1.at_pair(number, change) {
                return true;
            }
        }
        false
    }
}

/// A message of this catalog's events, and the bounds to read it with.
pub fn message(catalog: &Catalog, choices: &mut Choices<'_>) -> (Message, DecodeLimits) {
    let mut limits = DecodeLimits::default();
    if choices.once_in(40) {
        limits.message_bytes_max = 250;
    }
    let mut message = match choices.below(8) {
        0..=3 => structured(catalog, choices),
        4 | 5 => binary(catalog, choices),
        _ => batch(catalog, choices),
    };
    message.stamped_at_us = match choices.below(12) {
        9 => None,
        10 => Some(ARRIVAL_US + limits.future_tolerance_us + choices.below(2) as i64),
        11 => Some(choices.one_of(&[i64::MAX, i64::MIN, 0, limits.earliest_time_us])),
        _ => Some(STAMPED_US),
    };
    if choices.once_in(60) {
        message.payload = None;
    }
    (message, limits)
}

fn structured(catalog: &Catalog, choices: &mut Choices<'_>) -> Message {
    let text = event(catalog, choices).text(choices.one_of(&["", "", " ", "\n\t", "\u{c}"]));
    let message = Message::of(damaged(text.into_bytes(), choices));
    match choices.below(12) {
        0..=6 => message,
        7 => message.with("content-type", "application/cloudevents+json; charset=utf-8"),
        8 => message.with("Content-Type", "APPLICATION/CLOUDEVENTS"),
        9 => message.with("content-type", "application/json").with("ce_id", "e"),
        10 => message.with("content-type", choices.one_of(MEDIA_TYPES)),
        _ => Message { headers: vec![("ce_specversion".to_owned(), None)], ..message },
    }
}

fn batch(catalog: &Catalog, choices: &mut Choices<'_>) -> Message {
    let elements: Vec<String> = (0..choices.below(4))
        .map(|_| match choices.below(12) {
            11 => choices
                .one_of(&["null", "7", "[]", "[{}]", "{}", "\"\"", " {\"id\":\"\\ud800\"} ", "]", ","])
                .to_owned(),
            _ => event(catalog, choices).text(""),
        })
        .collect();
    let text = format!(
        "{}[{}]",
        choices.one_of(&["", " ", "\n"]),
        elements.join(choices.one_of(&[",", " , ", ",\n"]))
    );
    let message = Message::of(damaged(text.into_bytes(), choices));
    match choices.below(4) {
        0 | 1 => message,
        2 => message.with("CONTENT-TYPE", "application/cloudevents-batch+json;x=y"),
        _ => message.with("content-type", choices.one_of(MEDIA_TYPES)),
    }
}

const MEDIA_TYPES: &[&str] = &[
    "application/cloudevents-batch",
    "application/cloudevents-batch+avro",
    "application/cloudevents+xml",
    "application/cloudevents+JSON",
    "application/cloudevents-batch+json",
    "application/cloudevent",
    "text/json",
    "",
    "application/vnd.x+json",
    "application/x-json",
    " application/json ;",
    "text/plain",
    "application/avro",
];

fn binary(catalog: &Catalog, choices: &mut Choices<'_>) -> Message {
    let Json::Object(attributes) = event(catalog, choices) else { unreachable!("an event is an object") };
    let mut message = Message::of("");
    for (name, value) in attributes {
        if name == "data" {
            message.payload = Some(damaged(value.text(" ").into_bytes(), choices));
            continue;
        }
        // A text stands in a header without its quotes.
        let text = value.text("");
        let content = serde_json::from_str::<String>(&text).unwrap_or(text);
        let header = match name.as_str() {
            "datacontenttype" => "content-type".to_owned(),
            other => format!("ce_{other}"),
        };
        message = message.with(header, content);
    }
    for _ in 0..choices.below(3) {
        let at = choices.below(message.headers.len().max(1));
        let Some((header, value)) = message.headers.get_mut(at) else { break };
        match choices.below(8) {
            0 => *header = header.to_uppercase(),
            1 => *value = None,
            2 => *value = Some(b"\xff\xfe".to_vec()),
            3 => *value = Some(Vec::new()),
            4 => *value = Some(choices.one_of(MEDIA_TYPES).as_bytes().to_vec()),
            5 => header.insert(choices.below(2), 'x'),
            6 => {
                let twice = message.headers[at].clone();
                message.headers.insert(choices.below(at + 1), twice);
            }
            _ => drop(message.headers.remove(at)),
        }
    }
    message
}

/// An event as JSON: whole, then changed a few times or not at all.
fn event(catalog: &Catalog, choices: &mut Choices<'_>) -> Json {
    let changes = choices.one_of(&[0, 0, 1, 0, 2, 1, 3]);
    let at = choices.below(catalog.meters.len() + 1);
    let event_type = catalog.meters.get(at).map_or("unmetered", |meter| meter.event_type.as_str());
    let meters: Vec<&Meter> = catalog.meters.iter().filter(|meter| meter.event_type == event_type).collect();
    let quoted = |text: &str| Json::Leaf(format!("\"{text}\""));
    let mut attributes = vec![
        ("specversion".to_owned(), quoted("1.0")),
        ("id".to_owned(), quoted("e-1")),
        ("source".to_owned(), quoted("/s")),
        ("type".to_owned(), quoted(event_type)),
        ("subject".to_owned(), quoted("acme")),
    ];
    if !choices.once_in(4) {
        attributes.push(("time".to_owned(), Json::Leaf(good_time(choices))));
    }
    if choices.once_in(3) {
        attributes.push(("datacontenttype".to_owned(), quoted("application/json")));
    }
    let mut data = Json::Object(Vec::new());
    for (path, role) in meters.iter().flat_map(|meter| places(meter)).chain([(&catalog.tenant, Role::Text)]) {
        // Now and then something is left out, which a meter may or may not mind.
        if choices.once_in(25) {
            continue;
        }
        let leaf = good_leaf(role, choices);
        match path {
            Path::Data(keys) => data.put(keys, leaf),
            Path::Attribute(name) if attributes.iter().any(|(known, _)| known == name) => {}
            Path::Attribute(name) => attributes.push((name.clone(), Json::Leaf(leaf))),
        }
    }
    match choices.below(16) {
        14 => {}
        15 => {
            let encoded = base64::engine::general_purpose::STANDARD.encode(data.text(" "));
            attributes.push(("data_base64".to_owned(), quoted(&encoded)));
        }
        _ => attributes.insert(choices.below(attributes.len()), ("data".to_owned(), data)),
    }
    let mut event = Json::Object(attributes);
    for _ in 0..changes {
        change(&mut event, choices);
    }
    event
}

/// What a meter expects at a place.
#[derive(Debug, Clone, Copy)]
enum Role<'m> {
    Text,
    Figure,
    Time,
    Word(&'m [String]),
}

fn places(meter: &Meter) -> Vec<(&Path, Role<'_>)> {
    let mut places: Vec<(&Path, Role<'_>)> = Vec::new();
    places.extend(meter.value.iter().map(|path| (path, Role::Figure)));
    places.extend(meter.resource.iter().chain(meter.dimensions.values()).map(|path| (path, Role::Text)));
    if let Some(session) = &meter.session {
        let words = [&session.start, &session.stop, &session.heartbeat];
        places.extend(session.signal.iter().flat_map(|path| words.map(|words| (path, Role::Word(words)))));
        places.extend(session.started_at.iter().chain(&session.ended_at).map(|path| (path, Role::Time)));
        places.extend(session.duration_seconds.iter().map(|path| (path, Role::Figure)));
    }
    places.extend(meter.only_when.iter().map(|condition| (&condition.path, Role::Word(&condition.any_of))));
    places
}

fn good_leaf(role: Role<'_>, choices: &mut Choices<'_>) -> String {
    match role {
        Role::Text => {
            choices.one_of(&["\"a\"", "\"b-2\"", "7", "\"é \\\"q\\\" \\n\"", "true", "\"\""]).to_owned()
        }
        Role::Time => good_time(choices),
        Role::Word(words) if !words.is_empty() && !choices.once_in(5) => {
            format!("\"{}\"", words[choices.below(words.len())])
        }
        Role::Word(_) => choices.one_of(&["\"other\"", "1", "true", "null"]).to_owned(),
        Role::Figure => match choices.below(6) {
            0 | 1 => choices.below(60_000).to_string(),
            2 => format!("{}.{:09}", choices.below(60_000), choices.below(60_000)),
            3 => format!("\"{}\"", choices.below(60_000)),
            4 => format!("{}e{}", choices.below(100), choices.below(10)),
            _ => format!("{}000000000000.5", choices.below(60_000)),
        },
    }
}

fn good_time(choices: &mut Choices<'_>) -> String {
    let second = ARRIVAL_US / 1_000_000 - 60 * choices.below(20_000) as i64;
    let time = jiff::Timestamp::from_second(second).expect("near the arrival").to_string();
    let local = time.trim_end_matches('Z');
    match choices.below(6) {
        0..=2 => format!("\"{time}\""),
        3 => format!("\"{local}.{:03}Z\"", choices.below(1000)),
        4 => format!("\"{local}.{}+00:00\"", choices.below(60_000)),
        _ => format!("\"{local}{}\"", choices.one_of(&["+00:30", "-00:05", "+23:59", "-00:00", "z"])),
    }
}

/// One of the ways in which producers get an event wrong.
fn change(event: &mut Json, choices: &mut Choices<'_>) {
    let mut number = choices.below(event.count().max(1));
    event.at_pair(&mut number, &mut |pairs, at| match choices.below(9) {
        0 => drop(pairs.remove(at)),
        1 => {
            let mut twice = pairs[at].clone();
            if choices.once_in(2) {
                twice.1 = Json::Leaf(bad_leaf(choices));
            }
            pairs.insert(choices.below(pairs.len() + 1), twice);
        }
        2 => pairs[at].0 = other_key(&pairs[at].0, choices),
        3 => pairs[at].1 = Json::Leaf(choices.one_of(&["null", "{}", "[]", "[null]", "\"\""]).to_owned()),
        4 => {
            let inner = pairs[at].1.clone();
            pairs[at].1 = Json::Object(vec![(pairs[at].0.clone(), inner)]);
        }
        5 => {
            let depth = 90 + choices.below(10);
            pairs[at].1 = Json::Leaf("[".repeat(depth) + &"]".repeat(depth));
        }
        _ => pairs[at].1 = Json::Leaf(bad_leaf(choices)),
    });
}

fn other_key(key: &str, choices: &mut Choices<'_>) -> String {
    match choices.below(6) {
        0 => choices
            .one_of(&["id", "subject", "data", "time", "type", "data_base64", "specversion"])
            .to_owned(),
        1 => choices.one_of(&["\\ud800", "\\udc00\\ud800", "\\u0000", "", "\\q", "a\nb"]).to_owned(),
        2 => key.to_uppercase(),
        // The same key in another spelling.
        _ => key.chars().flat_map(|c| ["\\u".to_owned(), format!("{:04x}", c as u32)]).collect(),
    }
}

/// Mostly JSON, seldom what is wanted.
fn bad_leaf(choices: &mut Choices<'_>) -> String {
    const FIGURES: &[&str] = &[
        "1e400",
        "\"NaN\"",
        "NaN",
        "\"12,5\"",
        "0.30000000000000004",
        "-0",
        "true",
        "1e29",
        "\"007\"",
        "007",
        "\" 1\"",
        "99999999999999999999999999999.999999999",
        "99999999999999999999999999999.9999999995",
        "1E-10",
        "5e-10",
        "-5e-10",
        "\"+1\"",
        "1.",
        "-",
        "\"1e99999999999999999999\"",
        "1e-99999999999999999999",
        "0e999",
        "-1",
        "\"\\u0031\"",
    ];
    const TEXTS: &[&str] = &[
        "\"\"",
        "\"\\ud83d\"",
        "\"\\ud83d\\ude00\"",
        "\"\\udead\"",
        "\"\\ud83d\\u0041\"",
        "\"\\/\\b\\f\"",
        "\"\t\"",
        "\"\u{2028}\"",
        "\"\\u00\"",
        "'a'",
        "\"on\"",
        "\"off\"",
        "\"active\"",
        "\"1.0\"",
        "\"0.3\"",
        "1.0",
        "\"counted\"",
        "\"bnVsbA==\"",
        "\"e30\"",
    ];
    const TIMES: &[&str] = &[
        "\"9999-12-31T23:59:59Z\"",
        "\"0000-01-01T00:00:00Z\"",
        "\"2000-01-01T00:00:00Z\"",
        "\"1999-12-31T23:59:59.999999999Z\"",
        "\"2026-05-01T12:05:00Z\"",
        "\"2026-05-01T12:05:00.000001Z\"",
        "\"2026-05-01 11:00:00+02:00\"",
        "\"20260501T110000.0Z\"",
        "\"2026-05-01T11:00:00+0200\"",
        "\"2026-05-01T11:00:60Z\"",
        "\"2026-02-29T00:00:00Z\"",
        "\"2026-05-01T11:00:00.0123456789Z\"",
        "\"2026-05-01T11:00:00,5Z\"",
        "\"2026-05-01T11:00:00.Z\"",
        "\"2026-05-01t11:00:00-23:59\"",
        "\"2026-05-01T11:00:00+02:00:01\"",
    ];
    match choices.below(5) {
        0 => choices.one_of(FIGURES).to_owned(),
        1 => choices.one_of(TEXTS).to_owned(),
        2 => choices.one_of(TIMES).to_owned(),
        3 => choices.one_of(&["null", "{}", "[]", "{\"a\":1}", "[1,[2]]", "[1,]", "{\"a\"}"]).to_owned(),
        _ => {
            let mut digits: String =
                (0..=choices.below(42)).map(|_| choices.one_of(&["0", "9", "1", "4", "5"])).collect();
            if choices.once_in(2) {
                digits.insert(1 + choices.below(digits.len()), '.');
            }
            let exponent = choices.one_of(&[0, 3, -3, 12, -12, 30, -30, 60, -60]);
            format!("{}{digits}e{exponent}", choices.one_of(&["", "-"]))
        }
    }
}

/// The bytes as they are, or with a few of them overwritten, cut off or added.
fn damaged(mut bytes: Vec<u8>, choices: &mut Choices<'_>) -> Vec<u8> {
    match choices.below(24) {
        20 | 21 => {
            for _ in 0..=choices.below(2) {
                if !bytes.is_empty() {
                    let at = choices.below(bytes.len());
                    bytes[at] = choices.one_of(b"\"\\{}[],:0-9eE.ntu \x00\x1f\x7f\x80\xc3\xff");
                }
            }
        }
        22 => bytes.truncate(choices.below(bytes.len() + 1)),
        23 => bytes
            .extend_from_slice(choices.one_of(&[" ", "}", "]", "x", "\0", "{}", "\u{c}", ","]).as_bytes()),
        _ => {}
    }
    bytes
}
