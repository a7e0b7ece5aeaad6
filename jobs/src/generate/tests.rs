//! Whatever is generated must be read by the decoder as it was meant, and be the same every time.

use std::collections::{BTreeMap, HashMap, HashSet};

use ingest::decode::{DecodeLimits, Decoded, Decoder};
use ingest::raw_message::{Coordinates, Headers, RawMessage};
use rdkafka::consumer::Consumer;

use super::*;

const CATALOGS: [(&str, &str); 4] = [
    ("redline", include_str!("../../../testdata/catalogs/redline.yaml")),
    ("onmemos", include_str!("../../../testdata/catalogs/onmemos.yaml")),
    ("zemfyre", include_str!("../../../testdata/catalogs/zemfyre.yaml")),
    ("documents", include_str!("../../../testdata/catalogs/documents.yaml")),
];

/// Every kind of path and condition that the four systems do not use.
const ODD: &str = "\
catalog: odd
tenant: $.customer.id
meters:
  rides:
    kind: session
    event_type: odd/ride
    resource: $.ride
    dimensions: { plan: $.plan, where: region }
    session: { started_at: $.began, duration_seconds: $.took }
    unit: second
  calls:
    kind: session
    event_type: odd/call
    resource: $.call
    session: { signal: phase, start: [ring], stop: [hang_up], started_at: $.began, ended_at: $.ended }
    unit: second
  level:
    kind: gauge
    event_type: odd/level
    value: $.\"a.b\".\"c d\"
    except: { $.kind: [test, other] }
    only_when: { source: /somewhere }
    when_missing: skip
    unit: byte
  seen:
    kind: unique
    event_type: odd/level
    resource: id
    unit: device
  sent:
    kind: cumulative
    event_type: odd/report
    value: $.bytes_out
    resource: $.host
    dimensions: { qos: $.qos }
    unit: byte
  received: { kind: cumulative, event_type: odd/report, value: $.bytes_in, resource: $.host, unit: byte }
  both: { kind: cumulative, event_type: odd/report, value: $.bytes_total, resource: $.host, unit: byte }
  errors: { kind: delta, event_type: odd/report, value: $.errors, when_missing: skip, unit: error }
tenants:
  jane:
    name: Jane
    subscriptions: []
";

fn catalog(name: &str) -> Catalog {
    let found = CATALOGS.iter().chain(&[("odd", ODD)]).find(|(known, _)| *known == name);
    Catalog::parse(found.expect("a known catalog").1, name).unwrap_or_else(|errors| panic!("{errors}"))
}

const START_US: i64 = 1_777_593_600_000_000; // 2026-05-01

fn shape(events: u64) -> Shape {
    Shape {
        seed: 1,
        tenants: 12,
        resources: 4,
        events,
        start_us: START_US,
        end_us: START_US + 31 * DAY_US,
        duplicates: Share(20_000),
        disorder: Share(30_000),
        poison: Share(10_000),
        event_bytes_min: 0,
    }
}

#[derive(Default)]
struct Collected(Vec<(String, Vec<u8>)>);

impl Sink for Collected {
    fn put(&mut self, key: &str, payload: &[u8]) -> Result<()> {
        self.0.push((key.to_owned(), payload.to_vec()));
        Ok(())
    }

    fn finish(&mut self) -> Result<()> {
        Ok(())
    }
}

fn collected(catalog_name: &str, shape: Shape) -> (Vec<(String, Vec<u8>)>, Generated) {
    let mut sink = Collected::default();
    let generated = generate(&catalog(catalog_name), shape, &mut sink).unwrap();
    (sink.0, generated)
}

fn decode(decoder: &Decoder, payload: &[u8], mut each: impl FnMut(Decoded<'_>)) {
    let message = RawMessage {
        at: Coordinates { topic: "test", partition: 0, offset: 0 },
        stamped_at_us: None,
        key: None,
        payload: Some(payload),
        headers: Headers::new(),
    };
    decoder.decode(&message, START_US + 40 * DAY_US, &mut |decoded| each(decoded));
}

#[test]
fn good_events_are_accepted_and_poison_is_rejected() {
    for name in ["redline", "onmemos", "zemfyre", "documents", "odd"] {
        let catalog = catalog(name);
        let decoder = Decoder::new(&catalog, DecodeLimits::default());
        let mut generator = Generator::new(&catalog, shape(20_000)).unwrap();
        let mut fed = vec![0u64; catalog.meters.len()];
        let mut reasons: BTreeMap<&str, u64> = BTreeMap::new();
        while let Some(Message { kind, key, payload }) = generator.next_message() {
            let text = String::from_utf8_lossy(payload).into_owned();
            decode(&decoder, payload, |decoded| match decoded {
                Decoded::Event(event) => {
                    assert_ne!(kind, MessageKind::Poison, "{name}: accepted poison {text}");
                    assert_eq!(event.tenant, key, "{name}: {text}");
                    for reading in &event.readings {
                        fed[reading.meter] += 1;
                    }
                }
                Decoded::Rejected(rejected) => {
                    assert_eq!(kind, MessageKind::Poison, "{name}: {:?}: {text}", rejected.why);
                    *reasons.entry(rejected.why.reason.name()).or_default() += 1;
                }
                Decoded::Tombstone => panic!("{name}: a tombstone"),
            });
        }
        for (meter, fed) in catalog.meters.iter().zip(fed) {
            let never = name == "odd" && meter.key == "level"; // its source is somebody else's
            assert!(never || fed > 0, "{name}: nothing feeds {}", meter.key);
        }
        assert!(reasons.len() >= 8, "{name}: poison of few kinds: {reasons:?}");
    }
}

#[test]
fn the_same_seed_gives_the_same_bytes() {
    for name in ["zemfyre", "onmemos"] {
        let (first, _) = collected(name, shape(3_000));
        let (second, _) = collected(name, shape(3_000));
        assert!(first == second, "{name}: two runs differ");
        let (other, _) = collected(name, Shape { seed: 2, ..shape(3_000) });
        assert!(first != other, "{name}: another seed gives the same");
    }
}

/// The bytes also stay the same from version to version: figures in documents and benchmarks rest on them.
#[test]
fn the_bytes_are_those_of_every_version() {
    let mut hasher = blake3::Hasher::new();
    for (key, payload) in collected("odd", shape(5_000)).0 {
        hasher.update(key.as_bytes());
        hasher.update(&payload);
    }
    assert_eq!(
        &hasher.finalize().to_hex()[..16],
        "b001c841668a3cdf",
        "if this is meant, say so in the change log"
    );
}

#[test]
fn counts_and_percentages_are_honoured() {
    for (name, events, duplicates, disorder, poison) in [
        ("redline", 10_000, Share(10_000), Share(20_000), Share(1_000)),
        ("onmemos", 9_999, Share(0), Share(0), Share(0)),
        ("zemfyre", 5_000, Share(1_000_000), Share(1_000_000), Share(1_000_000)),
        ("documents", 1, Share(1_000_000), Share(0), Share(0)),
    ] {
        let shape = Shape { duplicates, disorder, poison, ..shape(events) };
        let messages = shape.messages();
        let (_, generated) = collected(name, shape);
        let counts = (generated.events, generated.late, generated.duplicates, generated.poison);
        let expected = (events, disorder.of(events), duplicates.of(events), poison.of(events));
        assert_eq!(counts, expected, "{name}");
        assert_eq!(generated.messages(), messages, "{name}");
    }
}

#[test]
fn duplicates_are_exact_and_identities_else_differ() {
    let catalog = catalog("onmemos");
    let decoder = Decoder::new(&catalog, DecodeLimits::default());
    let mut generator = Generator::new(&catalog, shape(10_000)).unwrap();
    let mut seen = HashMap::new();
    while let Some(Message { kind, payload, .. }) = generator.next_message() {
        if kind == MessageKind::Poison {
            continue;
        }
        decode(&decoder, payload, |decoded| {
            let Decoded::Event(event) = decoded else { panic!("rejected") };
            match seen.insert(event.identity, payload.to_vec()) {
                Some(before) => assert_eq!(before, payload, "the same identity with other content"),
                // A late event may come after its own duplicate.
                None => assert_ne!((kind, seen.len() > 2_000), (MessageKind::Duplicate, false)),
            }
        });
    }
    assert_eq!(seen.len(), 10_000);
}

#[test]
fn time_only_goes_back_for_late_events_and_stays_in_the_period() {
    let catalog = catalog("onmemos");
    let decoder = Decoder::new(&catalog, DecodeLimits::default());
    let shape = Shape { duplicates: Share(0), poison: Share(0), ..shape(10_000) };
    let mut generator = Generator::new(&catalog, shape.clone()).unwrap();
    let (mut latest, mut went_back) = (i64::MIN, 0);
    while let Some(Message { kind, payload, .. }) = generator.next_message() {
        decode(&decoder, payload, |decoded| {
            let Decoded::Event(event) = decoded else { panic!("rejected") };
            assert!((shape.start_us..shape.end_us).contains(&event.time_us));
            assert!(kind == MessageKind::Late || event.time_us >= latest, "an event went back in time");
            went_back += u64::from(event.time_us < latest);
            latest = latest.max(event.time_us);
        });
    }
    // The very last of the late ones may find nobody to be later than.
    assert!(shape.disorder.of(10_000) - went_back < 10, "{went_back} went back");
}

#[test]
fn sessions_start_beat_and_stop() {
    let (messages, _) = collected(
        "onmemos",
        Shape { duplicates: Share(0), disorder: Share(0), poison: Share(0), ..shape(20_000) },
    );
    let mut phases: HashMap<String, Vec<String>> = HashMap::new();
    let mut dimensions: HashMap<String, HashSet<String>> = HashMap::new();
    for (_, payload) in &messages {
        let event: serde_json::Value = serde_json::from_slice(payload).unwrap();
        if event["type"] == "onmemos.session.changed" {
            let text = |key: &str| event["data"][key].as_str().unwrap().to_owned();
            phases.entry(text("session_id")).or_default().push(text("status"));
            dimensions.entry(text("session_id")).or_default().insert(text("size") + &text("user_type"));
        }
    }
    assert!(dimensions.values().all(|seen| seen.len() == 1), "a session changed its size");
    assert!(phases.values().all(|seen| seen[0] == "active"), "a session began without a start");
    let stopped = |seen: &&Vec<String>| ["completed", "cancelled"].contains(&&**seen.last().unwrap());
    let stops = phases.values().filter(stopped).count();
    assert!(stops * 10 > phases.len() * 9, "{stops} of {} sessions stop", phases.len());
    assert!(phases.values().any(|seen| seen.contains(&"alive".to_owned())));
}

#[test]
fn totals_are_the_sums_of_their_parts_and_counters_restart_together() {
    let (messages, _) = collected(
        "zemfyre",
        Shape { disorder: Share(0), duplicates: Share(0), poison: Share(0), ..shape(40_000) },
    );
    let mut before: HashMap<String, (u64, u64)> = HashMap::new();
    let (mut restarts, mut reports) = (0, 0);
    for (_, payload) in &messages {
        let event: serde_json::Value = serde_json::from_slice(payload).unwrap();
        if event["type"] == "zemfyre.agent.report" {
            reports += 1;
            let mqtt = &event["data"]["mqtt"];
            let number = |key: &str| mqtt[key].as_u64().unwrap();
            assert_eq!(number("bytes_total"), number("bytes_received") + number("bytes_sent"));
            let now = (number("bytes_received"), number("bytes_sent"));
            if let Some(was) = before.insert(mqtt["broker"].to_string(), now) {
                // A counter begins again with one increase.
                assert!(now.0 >= was.0 || now.1 < 1 << 29, "one of two counters restarted");
                restarts += u64::from(now.0 < was.0);
            }
        }
    }
    assert!(restarts > 0 && restarts * 100 < reports, "{restarts} restarts in {reports} reports");
}

#[test]
fn tenants_follow_zipf_and_events_are_padded() {
    let (messages, _) =
        collected("redline", Shape { event_bytes_min: 350, poison: Share(0), ..shape(50_000) });
    let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
    for (key, payload) in &messages {
        *counts.entry(key).or_default() += 1;
        assert!((350..364).contains(&payload.len()), "{} bytes", payload.len());
    }
    let names = shape(1).tenant_names(&catalog("redline"));
    let (first, second) = (counts[&*names[0]], counts[&*names[1]]);
    assert_eq!(names[11], "tenant-0012");
    assert!(first.abs_diff(2 * second) < first / 10, "{first} and {second}");
    assert_eq!(counts.len(), 12);
}

#[test]
fn what_cannot_be_made_is_said() {
    for (name, text, expected) in [
        (
            "a value where a type stands",
            "catalog: x\nmeters: { m: { kind: delta, event_type: t, value: type, unit: request } }\n",
            "what the catalog reads from the attribute `type` cannot stand there",
        ),
        (
            "a path through a value",
            "catalog: x\nmeters: { m: { kind: gauge, event_type: t, value: $.a, resource: $.a.b, unit: byte } }\n",
            "a path of the catalog ends at the key `a`",
        ),
    ] {
        let catalog = Catalog::parse(text, "x.yaml").unwrap_or_else(|errors| panic!("{errors}"));
        let error = Generator::new(&catalog, shape(10)).unwrap_err().to_string();
        assert!(error.contains(expected), "{name}: {error}");
    }
}

#[test]
fn counts_and_shares_as_people_write_them() {
    for (text, expected) in [
        ("100000", Some(100_000)),
        ("1_000", Some(1_000)),
        ("1e6", Some(1_000_000)),
        ("5M", Some(5_000_000)),
        ("20k", Some(20_000)),
        ("0", None),
        ("-1", None),
        ("1.5e6", None),
        ("1e99", None),
    ] {
        assert_eq!(count(text).ok(), expected, "{text}");
    }
    for (text, expected) in [
        ("1%", Some(10_000)),
        ("0.5", Some(5_000)),
        ("0.0001%", Some(1)),
        ("100%", Some(1_000_000)),
        ("0", Some(0)),
        ("101%", None),
        ("0.00001%", None),
        ("one", None),
        ("", None),
    ] {
        assert_eq!(share(text).ok(), expected.map(Share), "{text}");
    }
}

#[test]
fn a_kafka_topic_holds_what_was_sent() {
    let cluster = rdkafka::mocking::MockCluster::new(1).unwrap();
    cluster.create_topic("usage", 2, 1).unwrap();
    let environment =
        [("METERHOUSE_KAFKA_BROKERS".to_owned(), cluster.bootstrap_servers())].into_iter().collect();
    let settings = tempfile::NamedTempFile::new().unwrap();
    let config = crate::config::Config::load(Some(settings.path()), &environment).unwrap();
    let mut sink = Kafka::open(&config.kafka, "usage").unwrap();
    let generated = generate(&catalog("redline"), shape(1_000), &mut sink).unwrap();

    let consumer: rdkafka::consumer::BaseConsumer = config.kafka.client_config().create().unwrap();
    let kept: i64 = (0..2)
        .map(|partition| {
            let time_max = std::time::Duration::from_secs(5);
            let (low, high) = consumer.fetch_watermarks("usage", partition, time_max).unwrap();
            high - low
        })
        .sum();
    assert_eq!(kept as u64, generated.messages());
}
