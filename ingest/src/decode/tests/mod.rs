//! What the decoder owes: tables of named cases, and its agreement with a slow and obvious oracle.
//!
//! A case's expectation is text, so that a table can be read without the code: one line per result or
//! reading, and a reject is its reason with its detail.

mod agreement;
mod catalogs;
mod corrections;
mod damage;
mod generated;
mod message;
mod meters;
mod modes;
mod oracle;
mod poison;
mod sessions;

use rating::catalog::Catalog;

use super::{DecodeLimits, Decoded, Decoder};
use crate::event::Identity;
use crate::timestamp::parse_time;
use message::{ARRIVAL_US, Message, STAMPED_US};

const REDLINE: &str = include_str!("../../../../testdata/catalogs/redline.yaml");
const ONMEMOS: &str = include_str!("../../../../testdata/catalogs/onmemos.yaml");
const ZEMFYRE: &str = include_str!("../../../../testdata/catalogs/zemfyre.yaml");
const DOCUMENTS: &str = include_str!("../../../../testdata/catalogs/documents.yaml");
/// One event type per thing that a catalog can say and the four examples do not.
const WORKSHOP: &str = include_str!("workshop.yaml");
/// Its tenant stands in the data.
const TENANT_IN_DATA: &str = "
catalog: tenant_in_data
tenant: $.account.id
meters:
  used: { kind: delta, event_type: used, value: $.amount, unit: piece }
";

fn catalog(text: &str) -> Catalog {
    Catalog::parse(text, "test.yaml").unwrap_or_else(|errors| panic!("{errors}"))
}

/// A structured event of redline's sampler, with attributes changed, added, or (by an empty text) dropped.
/// The changes are JSON.
fn event(changes: &[(&str, &str)]) -> String {
    let usual = [
        ("specversion", r#""1.0""#),
        ("id", r#""e-1""#),
        ("source", r#""/sampler/eu-1""#),
        ("type", r#""redline.storage.sampled""#),
        ("subject", r#""licence-1""#),
        ("time", r#""2026-05-01T11:00:00Z""#),
        ("datacontenttype", r#""application/json""#),
        ("data", r#"{"folder":"f-1","bytes":1500000000}"#),
    ];
    let changed = |name: &str| changes.iter().find(|(key, _)| *key == name).map(|(_, value)| *value);
    let kept = usual.iter().map(|(name, value)| (*name, changed(name).unwrap_or(value)));
    let added = changes.iter().filter(|(name, _)| usual.iter().all(|(usual, _)| usual != name)).copied();
    let attributes: Vec<String> = kept
        .chain(added)
        .filter(|(_, value)| !value.is_empty())
        .map(|(name, value)| format!("\"{name}\":{value}"))
        .collect();
    format!("{{{}}}", attributes.join(","))
}

/// An event of this type with this data.
fn event_of(event_type: &str, data: &str) -> String {
    event(&[("type", &format!("\"{event_type}\"")), ("data", data)])
}

/// Calls `each` for every result.
fn decode_each(decoder: &Decoder, message: &Message, mut each: impl FnMut(&Decoded<'_>)) {
    decoder.decode(&message.raw(), ARRIVAL_US, &mut |decoded| {
        if let Decoded::Event(event) = &decoded {
            assert_eq!(event.identity, Identity::of(&event.source, &event.id));
        }
        each(&decoded);
    });
}

/// A line per result: the event's envelope, or why it was rejected.
fn results(catalog: &Catalog, message: &Message) -> Vec<String> {
    results_within(catalog, DecodeLimits::default(), message)
}

fn results_within(catalog: &Catalog, limits: DecodeLimits, message: &Message) -> Vec<String> {
    let mut lines = Vec::new();
    decode_each(&Decoder::new(catalog, limits), message, |decoded| {
        lines.push(match decoded {
            Decoded::Tombstone => "tombstone".to_owned(),
            Decoded::Rejected(rejected) => {
                let (why, index) = (&rejected.why, rejected.batch_index);
                format!("reject {index}: {}: {}", why.reason.name(), why.detail)
            }
            Decoded::Event(event) => {
                let given = if event.time_given { "given" } else { "stamped" };
                let time = jiff::Timestamp::from_microsecond(event.time_us).unwrap();
                format!(
                    "event {}: {} {} {} {} {time} {given} {}",
                    event.batch_index,
                    event.source,
                    event.id,
                    event.tenant,
                    event.event_type,
                    event.data.as_deref().unwrap_or("-")
                )
            }
        });
    });
    lines
}

/// A line per reading: `meter | value in billionths | resource | dimensions | signal | signal's time`.
/// A reject is one line: `reason: detail`.
fn readings(catalog: &Catalog, message: &Message) -> Vec<String> {
    let mut lines = Vec::new();
    decode_each(&Decoder::new(catalog, DecodeLimits::default()), message, |decoded| match decoded {
        Decoded::Tombstone => lines.push("tombstone".to_owned()),
        Decoded::Rejected(rejected) => {
            lines.push(format!("{}: {}", rejected.why.reason.name(), rejected.why.detail));
        }
        Decoded::Event(event) => lines.extend(event.readings.iter().map(|reading| {
            let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
            let signal_time = reading.signal_time_us.map(|us| jiff::Timestamp::from_microsecond(us).unwrap());
            [
                catalog.meters.get(reading.meter).map_or("correction", |meter| meter.key.as_str()).to_owned(),
                or_dash(reading.value.map(|value| value.to_string())),
                or_dash(reading.resource.as_deref().map(str::to_owned)),
                or_dash(reading.dimensions.clone()),
                or_dash(reading.signal.map(|signal| signal.name().to_owned())),
                or_dash(signal_time.map(|time| time.to_string())),
            ]
            .join(" | ")
        })),
    });
    lines
}

/// Named cases that give readings: name, event type, data, expected lines.
type ReadingCase = (&'static str, &'static str, &'static str, &'static [&'static str]);

fn check_readings(catalog: &Catalog, cases: &[ReadingCase]) {
    for (name, event_type, data, expected) in cases {
        let message = Message::of(event_of(event_type, data));
        assert_eq!(readings(catalog, &message), *expected, "{name}");
    }
}

#[test]
fn the_arrival_is_the_instant_it_is_said_to_be() {
    assert_eq!(parse_time("2026-05-01T12:00:00Z"), Some(ARRIVAL_US));
}
