//! Everything that must be refused, through a real broker: with its reason, never a crash, and never a stall of what
//! comes after it.

use std::collections::BTreeMap;

use ingest::rejects::{RejectQuery, rejects};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::BaseRecord;
use sql::lake::Table;

use crate::world::{World, event};

const PARTITIONS: i32 = 3;

struct Poison {
    name: &'static str,
    reason: &'static str,
    payload: Vec<u8>,
    headers: Vec<(&'static str, Vec<u8>)>,
}

fn with_data(data: &str) -> String {
    event(1).replace(r#"{"bytes":1}"#, data)
}

/// An event that is valid but for its length.
fn long(bytes: usize) -> Vec<u8> {
    let padding = "x".repeat(bytes);
    with_data(&format!(r#"{{"bytes":1,"padding":"{padding}"}}"#)).into_bytes()
}

fn poisons() -> Vec<Poison> {
    let text = |name, reason, payload: String| Poison {
        name,
        reason,
        payload: payload.into_bytes(),
        headers: Vec::new(),
    };
    let mut all = vec![
        text("half an event", "invalid_json", event(1)[..40].to_owned()),
        text("no JSON at all", "invalid_json", "BEGIN;".to_owned()),
        text("deep nesting", "invalid_json", "[".repeat(500_000)),
        text("no id", "attribute_missing", event(1).replace(r#""id":"1","#, "")),
        text("no subject", "tenant_missing", event(1).replace(r#""subject":"acme","#, "")),
        text("NaN", "invalid_json", with_data(r#"{"bytes":NaN}"#)),
        text("NaN as text", "value_not_a_number", with_data(r#"{"bytes":"NaN"}"#)),
        text("1e400", "value_out_of_range", with_data(r#"{"bytes":1e400}"#)),
        text("no value", "value_missing", with_data("{}")),
        text("the year 9999", "time_in_future", event(1).replace("2026-05", "9999-12")),
        text("no time", "time_invalid", event(1).replace("T00:00:00Z", "T25:00:00Z")),
    ];
    let bytes = |name, reason, payload| Poison { name, reason, payload, headers: Vec::new() };
    all.push(bytes("bytes that are no text", "invalid_utf8", event(1).replace("acme", "\u{1}").into_bytes()));
    let at = all.last_mut().unwrap().payload.iter().position(|byte| *byte == 1).unwrap();
    all.last_mut().unwrap().payload[at] = 0xff;
    all.push(bytes("10 MB", "too_large", long(10_000_000)));
    all.push(bytes("30 MB", "too_large", long(30_000_000)));
    let soup =
        (0..2_000).map(|at| (["ce_id", "ce_", "", "content-type", "ce_time"][at % 5], vec![0xff; at % 9]));
    let headers = std::iter::once(("ce_specversion", b"1.0".to_vec())).chain(soup).collect();
    all.push(Poison { name: "header soup", reason: "invalid_utf8", payload: b"{}".to_vec(), headers });
    all
}

#[test]
fn poison_is_refused_with_its_reason_and_holds_nothing_up() {
    let Some(broker) = std::env::var("METERHOUSE_TEST_KAFKA").ok().filter(|text| !text.is_empty()) else {
        println!("skipped: METERHOUSE_TEST_KAFKA is not set");
        return;
    };
    let topic = format!("poison-{}", std::process::id());
    let mut world = World::on(&broker, None);
    world.group.clone_from(&topic);
    let admin: AdminClient<DefaultClientContext> =
        ClientConfig::new().set("bootstrap.servers", &broker).create().unwrap();
    let new = NewTopic::new(&topic, PARTITIONS, TopicReplication::Fixed(1));
    world.runtime.block_on(admin.create_topics([&new], &AdminOptions::new())).unwrap();
    let poisons = poisons();
    // Each partition has all of it, between events that count.
    for partition in 0..PARTITIONS {
        let to = || BaseRecord::<[u8], [u8]>::to(&topic).partition(partition);
        world.send(to().payload(event(100).as_bytes()));
        world.send(to());
        for (at, poison) in poisons.iter().enumerate() {
            let headers = poison.headers.iter().fold(OwnedHeaders::new(), |headers, (key, value)| {
                headers.insert(Header { key, value: Some(value) })
            });
            world.send(to().payload(&poison.payload).headers(headers));
            world.send(to().payload(event(200 + at as u32).as_bytes()));
        }
        world.flush();
    }
    let report = world.ingest(&[&topic], vec![]).unwrap();
    let each = PARTITIONS as u64 * poisons.len() as u64;
    assert_eq!(report.counts.rejected, each, "{report:?}");
    assert_eq!(report.counts.events, each + PARTITIONS as u64);
    assert_eq!(report.counts.tombstones, PARTITIONS as u64);
    assert_eq!((world.rows(Table::UsageEvents), world.rows(Table::RejectedMessages)), (each + 3, each));

    let mut expected: BTreeMap<&str, u64> = BTreeMap::new();
    for poison in &poisons {
        *expected.entry(poison.reason).or_default() += PARTITIONS as u64;
    }
    let query = RejectQuery { samples: 20, preview_characters: 60, ..RejectQuery::default() };
    let found = world.runtime.block_on(rejects(&world.lake(), &query)).unwrap();
    let counts: BTreeMap<&str, u64> = found.iter().map(|it| (it.reason.as_str(), it.count)).collect();
    let names: Vec<&str> = poisons.iter().map(|poison| poison.name).collect();
    assert_eq!(counts, expected, "of {names:?}: {found:#?}");
    world.runtime.block_on(admin.delete_topics(&[&topic], &AdminOptions::new())).unwrap();
}
