//! What a batcher holds back and hands on.

use std::fmt::Write as _;

use super::*;
use crate::encoder_queue::{EncoderReceiver, encoder_queue};

/// A batcher that reads a partition from its first offset on, and what it hands on.
fn batcher() -> (Batcher, EncoderReceiver) {
    let meter = "{ kind: gauge, event_type: t, value: $.n, unit: byte }";
    let catalog = Catalog::parse(&format!("catalog: c\nmeters:\n  m: {meter}\n"), "c.yaml").unwrap();
    let (encoder, handed_on) = encoder_queue(10_000, usize::MAX);
    let mut batcher = Batcher::new(&catalog, &IngestSettings::default(), encoder, EncodedBytes::default());
    let name = PartitionName { topic: "usage".into(), partition: 0 };
    batcher.assign([(name, PartitionState::starting_at(0))]);
    (batcher, handed_on)
}

/// An event of a day after 2000-01-01, padded.
fn event(id: usize, day: usize, padding: usize) -> String {
    let time = jiff::civil::date(2000, 1, 1).checked_add(jiff::Span::new().days(day as i64)).unwrap();
    let padding = "x".repeat(padding);
    format!(
        r#"{{"specversion":"1.0","id":"{id}","source":"/s","type":"t","subject":"a","time":"{time}T00:00:00Z","data":{{"n":1,"p":"{padding}"}}}}"#
    )
}

fn take(batcher: &mut Batcher, offset: i64, payload: &str) {
    let message = RawMessage {
        at: Coordinates { topic: "usage", partition: 0, offset },
        stamped_at_us: None,
        key: None,
        payload: Some(payload.as_bytes()),
        headers: Headers::default(),
    };
    batcher.take(&message, 1_777_600_000_000_000).unwrap();
}

/// The rows and bytes of each chunk that was handed on.
fn chunks(handed_on: &EncoderReceiver) -> Vec<(usize, usize)> {
    let chunk = |message| match message {
        ToEncoder::Rows { rows, .. } => Some((rows.num_rows(), rows.get_array_memory_size())),
        ToEncoder::Seal(_) | ToEncoder::Discard(_) => None,
    };
    handed_on.drain().filter_map(chunk).collect()
}

#[test]
fn large_events_are_handed_on_before_they_are_many() {
    let (mut batcher, handed_on) = batcher();
    // One day fills up; then none does, but all together.
    for (days, in_all) in [(1, 4 << 20), (60, 32 << 20)] {
        for id in 0..600 {
            take(&mut batcher, id as i64, &event(id, id % days, 100_000));
            let open = batcher.days.bytes();
            assert!(open <= in_all, "{open} bytes wait in {days} days");
        }
        let chunks = chunks(&handed_on);
        assert!(chunks.iter().all(|(_, bytes)| *bytes < 12 << 20), "{chunks:?}");
        let rows: usize = chunks.iter().map(|(rows, _)| rows).sum();
        assert_eq!(rows + batcher.days.rows(), 600);
        batcher.discard().unwrap();
        let name = PartitionName { topic: "usage".into(), partition: 0 };
        batcher.assign([(name, PartitionState::starting_at(0))]);
    }
}

#[test]
fn one_message_of_many_days_keeps_few_of_them_open() {
    let (mut batcher, handed_on) = batcher();
    let mut message = String::from("[");
    for day in 0..1_000 {
        write!(message, "{},", event(day, day, 0)).unwrap();
    }
    message.push_str(&event(1_000, 0, 0));
    message.push(']');
    take(&mut batcher, 0, &message);
    assert!(batcher.days.count() <= 128, "{} days are open", batcher.days.count());
    batcher.seal(0, 0, None).unwrap();
    let rows: usize = chunks(&handed_on).iter().map(|(rows, _)| rows).sum();
    assert_eq!(rows, 1_001);
}

#[test]
fn days_of_corrections_end_a_batch_too() {
    let (mut batcher, _handed_on) = batcher();
    for day in 0..=64 {
        assert!(!batcher.is_full(), "after {day} days");
        let void = event(day, day, 0)
            .replace(r#""type":"t""#, r#""type":"meterhouse.void""#)
            .replace(r#""n":1"#, r#""source":"/s","id":"1""#);
        take(&mut batcher, day as i64, &void);
    }
    assert!(batcher.is_full());
}

/// The encoder is behind: it counts the last batch still.
#[test]
fn a_batch_does_not_end_because_the_one_before_was_full() {
    let (mut batcher, _handed_on) = batcher();
    take(&mut batcher, 0, &event(0, 0, 0));
    let counted = Arc::clone(&batcher.encoded_bytes);
    counted.fetch_add(IngestSettings::default().file_size_bytes, Ordering::Relaxed);
    assert!(batcher.is_full());
    batcher.seal(0, 0, None).unwrap();
    take(&mut batcher, 1, &event(1, 0, 0));
    assert!(!batcher.is_full());
    counted.fetch_add(1, Ordering::Relaxed);
    batcher.encoded_bytes.fetch_add(IngestSettings::default().file_size_bytes, Ordering::Relaxed);
    assert!(batcher.is_full());
}

/// Two owners begin behind the rejects of one that died; the first ends before their end, the second after it.
#[test]
fn whoever_begins_behind_stored_rejects_counts_a_round() {
    for (start, end, expected) in [(100, 150, Some(4)), (100, 300, Some(4)), (200, 300, None)] {
        let stretch = Stretch {
            name: PartitionName { topic: "usage".into(), partition: 0 },
            expected: Some(start),
            start,
            end,
            rejects_expected: Some(200),
            rejects_recorded: 1,
            rounds_expected: Some(3),
            counts: Counts::default(),
        };
        assert_eq!(stretch.rounds_next(), expected, "{start} to {end}");
    }
}
