//! What an event costs one core on its way from a message to a Parquet file of `usage_events`.
//!
//! Three steps, each timed with those before it: decoding, putting rows into columns, encoding the columns as ingest
//! does. Beside them, on the same bytes in the same rounds: `serde_json` into a `Value`, which is what most consumers
//! do before they have looked at anything. All take turns, and the median round of each counts.
//!
//!     cargo bench -p ingest --bench decode
//!
//! On a machine that others use too, count instructions instead of time: `valgrind --tool=callgrind` on the program
//! that cargo names, with one of `decode`, `columns`, `encode` and `parse` as its argument; it then runs only that.

use std::hint::black_box;
use std::time::{Duration, Instant};

use ingest::columns::UsageColumns;
use ingest::day_file::{DayFileWriter, FileKind};
use ingest::decode::{DecodeLimits, Decoded, Decoder};
use ingest::raw_message::{Coordinates, Headers, RawMessage};
use ingest::timestamp::day_of;
use rating::catalog::Catalog;
use sql::lake::Table;

const EVENTS: usize = 100_000;
const ROUNDS: usize = 9;
/// Rows of a chunk, as ingest hands them to the encoder.
const CHUNK_ROWS: usize = 2_048;
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

/// How far events are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Decode,
    Columns,
    Encode,
    Parse,
}

impl Step {
    const ALL: [Self; 4] = [Self::Decode, Self::Columns, Self::Encode, Self::Parse];

    fn name(self) -> &'static str {
        match self {
            Self::Decode => "decode",
            Self::Columns => "columns",
            Self::Encode => "encode",
            Self::Parse => "parse",
        }
    }

    fn label(self) -> &'static str {
        match self {
            Self::Decode => "CloudEvent decoded",
            Self::Columns => "… and put into columns",
            Self::Encode => "… and encoded as Parquet",
            Self::Parse => "serde_json into a Value",
        }
    }
}

struct Bench {
    decoder: Decoder,
    meters: Vec<String>,
    events: Vec<String>,
}

impl Bench {
    fn run(&self, step: Step) -> Duration {
        let started = Instant::now();
        match step {
            Step::Parse => self.parse_all(),
            Step::Decode => self.decode_all(|decoded, _| drop(black_box(decoded))),
            Step::Columns => self.fill(|columns| drop(black_box(columns.finish()))),
            Step::Encode => {
                let day = day_of(ARRIVAL_US);
                let writer = DayFileWriter::new(Table::UsageEvents, day, FileKind::Arrived);
                let mut writer = writer.expect("the table's schema suits Parquet");
                self.fill(|columns| writer.write(&columns.finish()).expect("the columns suit the file"));
                black_box(writer.finish(0).expect("memory takes every file"));
            }
        }
        started.elapsed()
    }

    fn decode_all(&self, mut each: impl FnMut(Decoded<'_>, Coordinates<'_>)) {
        for (offset, event) in self.events.iter().enumerate() {
            let at = Coordinates { topic: "usage", partition: 0, offset: offset as i64 };
            let payload = Some(event.as_bytes());
            let headers = Headers::new();
            let message = RawMessage { at, stamped_at_us: Some(ARRIVAL_US), key: None, payload, headers };
            self.decoder.decode(&message, ARRIVAL_US, &mut |decoded| each(decoded, at));
        }
    }

    /// Puts all events into columns; `take` gets them when they are full, and at the end.
    fn fill(&self, mut take: impl FnMut(&mut UsageColumns)) {
        let mut columns = UsageColumns::default();
        self.decode_all(|decoded, at| match decoded {
            Decoded::Event(event) => {
                columns.push(&event, &self.meters, at, ARRIVAL_US);
                if columns.rows() >= CHUNK_ROWS {
                    take(&mut columns);
                }
            }
            other => panic!("the benchmark's events are good: {other:?}"),
        });
        take(&mut columns);
    }

    fn parse_all(&self) {
        for event in &self.events {
            let value = serde_json::from_str::<serde_json::Value>(event);
            black_box(value.expect("the benchmark's events are JSON"));
        }
    }
}

fn median_us(rounds: &mut [Duration]) -> f64 {
    rounds.sort_unstable();
    rounds[rounds.len() / 2].as_secs_f64() * 1e6 / EVENTS as f64
}

fn main() {
    let catalog = include_str!("../../testdata/catalogs/redline.yaml");
    let catalog = Catalog::parse(catalog, "redline.yaml").expect("the example catalog has no mistakes");
    let bench = Bench {
        decoder: Decoder::new(&catalog, DecodeLimits::default()),
        meters: catalog.meters.iter().map(|meter| meter.key.clone()).collect(),
        events: events(),
    };
    let named = std::env::args().nth(1);
    if let Some(step) = Step::ALL.into_iter().find(|step| Some(step.name()) == named.as_deref()) {
        bench.run(step);
        return;
    }
    let mut rounds = Step::ALL.map(|_| Vec::new());
    // The first round of each warms the caches and the allocator.
    for round in 0..=ROUNDS {
        for (step, taken) in Step::ALL.into_iter().zip(&mut rounds) {
            let duration = bench.run(step);
            if round > 0 {
                taken.push(duration);
            }
        }
    }
    let bytes: usize = bench.events.iter().map(String::len).sum();
    println!("{EVENTS} events of {} bytes, one core, median of {ROUNDS} rounds", bytes / EVENTS);
    for (step, taken) in Step::ALL.into_iter().zip(&mut rounds) {
        let us = median_us(taken);
        println!("{:<26} {us:>6.3} us an event {:>6.2} M events/s", step.label(), 1.0 / us);
    }
}
