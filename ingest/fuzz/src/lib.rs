//! The parsers of `ingest`, mounted from their files, and what every fuzz target checks about them.
//!
//! The files are mounted and the crate is not linked, because linking it would build Delta Lake, DataFusion
//! and librdkafka with the fuzzer's instrumentation: an hour instead of a minute. The oracle and the random
//! events are those of the decoder's own tests.

// `decimal` asks the lake's schema how many digits a value has.
extern crate self as sql;

pub mod lake {
    //! The two figures of `sql::lake` that the parsers use; the tables themselves need all of arrow.
    pub const VALUE_PRECISION: u8 = 38;
    pub const VALUE_SCALE: i8 = 9;
}

#[path = "../../src/decimal.rs"]
pub mod decimal;
#[path = "../../src/decode/mod.rs"]
pub mod decode;
#[path = "../../src/event.rs"]
pub mod event;
#[path = "../../src/decode/tests/generated.rs"]
pub mod generated;
#[path = "../../src/json/mod.rs"]
pub mod json;
#[path = "../../src/decode/tests/message.rs"]
pub mod message;
#[path = "../../src/decode/tests/oracle/mod.rs"]
pub mod oracle;
#[path = "../../src/raw_message.rs"]
pub mod raw_message;
#[path = "../../src/rejected.rs"]
pub mod rejected;
#[path = "../../src/timestamp.rs"]
pub mod timestamp;

use std::sync::LazyLock;

use rating::catalog::Catalog;
use serde_json::value::RawValue;

use decode::{DecodeLimits, Decoded, Decoder};
use event::Identity;
use message::{ARRIVAL_US, Message};
use oracle::{Oracle, Outcome};

/// The catalog that says most about decoding, the four examples, and one whose tenant stands in the data.
pub static CATALOGS: LazyLock<[Catalog; 6]> = LazyLock::new(|| {
    [
        include_str!("../../src/decode/tests/workshop.yaml"),
        include_str!("../../../testdata/catalogs/redline.yaml"),
        include_str!("../../../testdata/catalogs/onmemos.yaml"),
        include_str!("../../../testdata/catalogs/zemfyre.yaml"),
        include_str!("../../../testdata/catalogs/documents.yaml"),
        "{catalog: t, tenant: $.account.id, meters: {used: {kind: delta, event_type: used, value: $.amount, unit: piece}}}",
    ]
    .map(|text| Catalog::parse(text, "fuzz.yaml").unwrap_or_else(|errors| panic!("{errors}")))
});

static DECODERS: LazyLock<Vec<Decoder>> =
    LazyLock::new(|| CATALOGS.iter().map(|catalog| Decoder::new(catalog, DecodeLimits::default())).collect());

/// Decodes a message by the catalog of this number and holds every result against the rules and the oracle.
pub fn check_message(number: usize, message: &Message) {
    check_message_within(number, DecodeLimits::default(), message);
}

/// The same within other limits than the usual.
pub fn check_message_within(number: usize, limits: DecodeLimits, message: &Message) {
    let catalog = &CATALOGS[number % CATALOGS.len()];
    let own = (limits != DecodeLimits::default()).then(|| Decoder::new(catalog, limits));
    let decoder = own.as_ref().unwrap_or(&DECODERS[number % CATALOGS.len()]);
    let raw = message.raw();
    let mut outcomes = Vec::new();
    decoder.decode(&raw, ARRIVAL_US, &mut |decoded| {
        check_result(&decoded);
        outcomes.push(Outcome::of(&decoded, catalog));
    });
    let expected = Oracle { catalog, limits, arrival_us: ARRIVAL_US }.decode(&raw);
    assert_eq!(outcomes, expected, "catalog {}", catalog.name);
}

/// What holds for every result, whatever it was made from.
fn check_result(decoded: &Decoded<'_>) {
    match decoded {
        Decoded::Tombstone => {}
        Decoded::Rejected(rejected) => {
            let detail = &rejected.why.detail;
            assert!(!detail.is_empty() && detail.len() < 1000, "{detail}");
            assert!(!detail.contains(char::is_control), "{detail:?}");
        }
        Decoded::Event(event) => {
            assert_eq!(event.identity, Identity::of(&event.source, &event.id));
            assert!(
                ![&event.source, &event.id, &event.tenant, &event.event_type]
                    .iter()
                    .any(|text| text.is_empty())
            );
            if let Some(data) = &event.data {
                assert!(data.starts_with('{') && serde_json::from_str::<&RawValue>(data).is_ok(), "{data}");
            }
            for reading in &event.readings {
                assert!(reading.value.is_none_or(|value| value.unsigned_abs() < 10u128.pow(38)));
            }
        }
    }
}
