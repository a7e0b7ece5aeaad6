//! From a real Kafka producer through the real consumer into a lake, on librdkafka's own mock cluster, and with
//! METERHOUSE_TEST_KAFKA on a real broker, too.

mod gaps;
mod poison;
mod raw_produce;
mod world;

use std::time::{Duration, Instant};

use ingest::decode::DecodeLimits;
use ingest::pipeline::{IngestReport, now_us};
use ingest::rejects::RejectFilter;
use ingest::replay::{ReplayRequest, replay};
use rating::catalog::Catalog;
use sql::lake::Table;

use world::{CATALOG, World, event};

#[test]
fn every_message_lands_once_however_often_ingest_runs() {
    let world = World::new(&[("usage", 4), ("more", 1)]);
    for id in 0..40 {
        world.produce("usage", (id % 4) as i32, &event(id));
    }
    world.produce("more", 0, &event(100));
    world.produce("more", 0, "no event");
    let report = world.ingest(&["usage", "more"], vec![]).unwrap();
    assert_eq!((report.counts.messages, report.counts.events, report.counts.rejected), (42, 41, 1));
    assert_eq!((world.rows(Table::UsageEvents), world.rows(Table::RejectedMessages)), (41, 1));
    let days: Vec<i32> = world.snapshot(Table::UsageEvents).files.iter().map(|file| file.day).collect();
    assert_eq!(days, [20_574, 20_575, 20_576]);

    let report = world.ingest(&["usage", "more"], vec![]).unwrap();
    assert_eq!(report, IngestReport::default());

    world.produce("usage", 2, &event(101));
    let report = world.ingest(&["usage", "more"], vec![]).unwrap();
    assert_eq!((report.counts.messages, report.commits), (1, 1));
    assert_eq!(world.rows(Table::UsageEvents), 42);
}

/// A name that is not text panics in the library that reads it.
#[test]
fn a_header_whose_name_is_not_text_makes_a_reject() {
    let world = World::new(&[("usage", 1)]);
    let content_type = (&b"content-type"[..], &b"application/cloudevents+json"[..]);
    let broker = world.brokers.clone();
    let produce = |headers: &[(&[u8], &[u8])], id| {
        raw_produce::produce(&broker, "usage", 0, headers, event(id).as_bytes());
    };
    produce(&[content_type], 0);
    produce(&[(b"x-\xff", b"1"), content_type], 1);
    produce(&[content_type], 2);
    let report = world.ingest(&["usage"], vec![]).unwrap();
    assert_eq!((report.counts.messages, report.counts.events, report.counts.rejected), (3, 2, 1));

    let sample = world.only_reject();
    assert_eq!((sample.offset, sample.preview.as_str()), (1, event(1).replace('\n', "\\n").as_str()));
    assert_eq!(sample.detail, "the name of one of the message's headers is not UTF-8");
    // It is kept with what could be read of its headers, and a replay comes to the same end.
    let request = ReplayRequest {
        filter: RejectFilter::default(),
        include_uncommitted: false,
        dry_run: false,
        limits: DecodeLimits::default(),
        now_us: now_us(),
    };
    let catalog = Catalog::parse(CATALOG, "test.yaml").unwrap();
    let replayed = world.runtime.block_on(replay(&world.lake(), &catalog, &request, |_| ())).unwrap();
    assert_eq!((replayed.selected, replayed.events), (1, 0));
    assert_eq!(world.only_reject(), sample);
}

/// A process that owns hundreds of partitions takes them within the time that the group allows, and moves each.
#[test]
fn a_topic_of_256_partitions_is_read_beside_another() {
    let world = World::new(&[("usage", 256), ("more", 3)]);
    let message = |at: u32| ("usage", (at % 256) as i32, event(at));
    let others =
        |at: u32| ("more", (at % 3) as i32, if at.is_multiple_of(2) { event(at) } else { "no event".into() });
    world.produce_all((0..700).map(message).chain((1_000..1_010).map(others)));
    let report = world.ingest(&["usage", "more"], vec![]).unwrap();
    assert_eq!((report.counts.messages, report.counts.events, report.counts.rejected), (710, 705, 5));
    assert_eq!((world.rows(Table::UsageEvents), world.rows(Table::RejectedMessages)), (705, 5));
    world.produce_all((2_000..2_256).map(message));
    let started = Instant::now();
    let report = world.ingest(&["usage", "more"], vec![]).unwrap();
    assert_eq!((report.counts.messages, report.counts.events), (256, 256));
    assert!(started.elapsed() < Duration::from_mins(1), "took {:?}", started.elapsed());
    assert_eq!(world.ingest(&["usage", "more"], vec![]).unwrap(), IngestReport::default());
}
