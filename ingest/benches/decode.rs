//! How many CloudEvents a second one core turns into columns of `usage_events`.
//!
//! Beside it, on the same bytes in the same rounds: `serde_json` into a `Value`, which is what most consumers
//! do before they have looked at anything. The two take turns, and the median round of each counts.
//!
//!     cargo bench -p ingest --bench decode

use std::hint::black_box;
use std::time::{Duration, Instant};

use ingest::columns::UsageColumns;
use ingest::decode::{DecodeLimits, Decoded, Decoder};
use ingest::raw_message::{Coordinates, RawMessage};
use rating::catalog::Catalog;

const EVENTS: usize = 100_000;
const ROUNDS: usize = 9;
/// Rows between two batches, so that the builders neither grow without end nor stay small.
const BATCH_ROWS: usize = 16_384;
/// 2026-05-01T12:00:00Z
const ARRIVAL_US: i64 = 1_777_636_800_000_000;

/// Events of redline's sampler: 350 bytes each, all different.
fn events() -> Vec<String> {
    let event = |number: usize| {
        format!(
            "{{\"specversion\":\"1.0\",\"id\":\"{number:08x}-5b1d-4c0e-9a52-3f6d9c7be021\",\"source\":\"/sampler/eu-central-1\",\
             \"type\":\"redline.storage.sampled\",\"subject\":\"licence-{:08x}\",\"time\":\"2026-05-01T{:02}:{:02}:{:02}.{:03}Z\",\
             \"datacontenttype\":\"application/json\",\"data\":{{\"folder\":\"5d41402a{:08x}\",\"bytes\":{},\
             \"storage_class\":\"hot\",\"ownership\":\"vendor\",\"files\":{},\"region\":\"eu\"}}}}",
            number % 5_000,
            number % 12,
            number % 60,
            number * 7 % 60,
            number % 1_000,
            number % 20_000,
            1_500_000_000 + number * 4_099,
            100 + number % 900,
        )
    };
    (0..EVENTS).map(event).collect()
}

fn decode_all(decoder: &Decoder, meters: &[String], events: &[String]) -> Duration {
    let started = Instant::now();
    let mut columns = UsageColumns::default();
    for (offset, event) in events.iter().enumerate() {
        let at = Coordinates { topic: "usage", partition: 0, offset: offset as i64 };
        let payload = Some(event.as_bytes());
        let message =
            RawMessage { at, stamped_at_us: Some(ARRIVAL_US), key: None, payload, headers: Vec::new() };
        decoder.decode(&message, ARRIVAL_US, &mut |decoded| match decoded {
            Decoded::Event(event) => columns.push(&event, meters, at, ARRIVAL_US),
            other => panic!("the benchmark's events are good: {other:?}"),
        });
        if columns.rows() >= BATCH_ROWS {
            black_box(columns.finish());
        }
    }
    black_box(columns.finish());
    started.elapsed()
}

fn parse_all(events: &[String]) -> Duration {
    let started = Instant::now();
    for event in events {
        black_box(serde_json::from_str::<serde_json::Value>(event).expect("the benchmark's events are JSON"));
    }
    started.elapsed()
}

fn events_per_second(mut rounds: Vec<Duration>) -> f64 {
    rounds.sort_unstable();
    EVENTS as f64 / rounds[rounds.len() / 2].as_secs_f64()
}

fn main() {
    let catalog = include_str!("../../testdata/catalogs/redline.yaml");
    let catalog = Catalog::parse(catalog, "redline.yaml").expect("the example catalog has no mistakes");
    let meters: Vec<String> = catalog.meters.iter().map(|meter| meter.key.clone()).collect();
    let decoder = Decoder::new(&catalog, DecodeLimits::default());
    let events = events();
    let bytes: usize = events.iter().map(String::len).sum();

    let (mut decoded, mut parsed) = (Vec::new(), Vec::new());
    // The first round of each warms the caches and the allocator.
    for round in 0..=ROUNDS {
        let (decode, parse) = (decode_all(&decoder, &meters, &events), parse_all(&events));
        if round > 0 {
            decoded.push(decode);
            parsed.push(parse);
        }
    }
    let (decoded, parsed) = (events_per_second(decoded), events_per_second(parsed));
    println!("{EVENTS} events of {} bytes, one core, median of {ROUNDS} rounds", bytes / EVENTS);
    println!("CloudEvent to UsageColumns  {:>6.2} M events/s", decoded / 1e6);
    println!("serde_json into a Value     {:>6.2} M events/s", parsed / 1e6);
    println!("ratio                       {:>6.2}", decoded / parsed);
}
