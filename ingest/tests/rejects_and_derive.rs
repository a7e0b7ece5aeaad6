//! What can be done with what is stored: meters that came later are derived, rejects are shown and replayed.

mod world;

use std::collections::BTreeMap;

use arrow::array::RecordBatch;
use deltalake_core::kernel::Action;
use ingest::columns::RejectedColumns;
use ingest::commit::{Commit, CommitError, MAINTENANCE, Position, TableLog};
use ingest::day_file::{DayFileWriter, FileKind};
use ingest::day_files::RewriteError;
use ingest::decode::DecodeLimits;
use ingest::derive::{DeriveError, DeriveReport, DeriveRequest, derive};
use ingest::raw_message::{Coordinates, RawMessage};
use ingest::rejected::{Refusal, RejectReason, Rejected};
use ingest::rejects::{RejectFilter, RejectQuery, rejects};
use ingest::replay::{Replay, ReplayReport, ReplayRequest, replay};
use sql::lake::Table;
use world::{World, catalog, event};

const FIRST: &str = "
  stored: { kind: gauge, event_type: stored, value: $.bytes, unit: byte }
";
const LATER: &str = "
  stored: { kind: gauge, event_type: stored, value: $.bytes, unit: byte }
  files:
    { kind: gauge, event_type: stored, value: $.files, resource: $.folder, unit: file, when_missing: skip,
      dimensions: { by: subject, class: $.class } }
  pings: { kind: delta, event_type: ping, unit: request }
  seen: { kind: unique, event_type: seen, resource: $.device, unit: device }
  seen_twice: { kind: delta, event_type: seen, value: $.times, unit: request }
  never: { kind: delta, event_type: unmetered, unit: request, only_when: { $.wanted: [yes] } }
";

fn events() -> Vec<String> {
    let mut events = Vec::new();
    for id in 0..40 {
        let data = format!(r#"{{"bytes":{id}.5,"folder":"f{}","class":"hot"{}}}"#, id % 4, {
            if id % 3 == 0 { String::new() } else { format!(r#","files":{id}"#) }
        });
        events.push(event("stored", id, &data));
        events.push(event("ping", 100 + id, "null"));
        events.push(event("seen", 200 + id, &format!(r#"{{"device":"d{}","times":2}}"#, id % 7)));
        events.push(event("unmetered", 300 + id, r#"{"wanted":"no"}"#));
        events.push(event("unknown", 400 + id, r#"{"any":"thing"}"#));
    }
    // The same events once more: copies that only compaction takes out.
    events.extend(events[..5].to_vec());
    events
}

/// Everything about the rows but when they arrived; the row of an event that carries its data is not fixed.
const ROWS: &str = "SELECT u.id, u.event_day, u.tenant, u.event_type, u.meter, u.time, u.value, u.resource,
    u.dimensions, u.topic, u.\"offset\", u.batch_index, d.data, d.bearers
    FROM usage_events u JOIN (
        SELECT topic, \"offset\", max(data) AS data, count(data) AS bearers FROM usage_events GROUP BY 1, 2
    ) d ON u.topic = d.topic AND u.\"offset\" = d.\"offset\" ORDER BY u.\"offset\", u.meter";

async fn derive_all(world: &World, meters: &str) -> DeriveReport {
    derive(&world.lake(), &catalog(meters), &DeriveRequest::default(), |_| ()).await.unwrap()
}

#[test]
fn deriving_gives_what_ingest_would_have_given() {
    let (world, oracle) = (World::new(), World::new());
    world.ingest("events.ndjson", FIRST, &events());
    oracle.ingest("events.ndjson", LATER, &events());
    world.block_on(async {
        assert_eq!(world.count("SELECT count(*) FROM usage_events WHERE meter IS NULL").await, 164);
        let preview = DeriveRequest { dry_run: true, ..DeriveRequest::default() };
        let version = world.version(Table::UsageEvents).await;
        let foreseen = derive(&world.lake(), &catalog(LATER), &preview, |_| ()).await.unwrap();
        assert_eq!(world.version(Table::UsageEvents).await, version);

        let report = derive_all(&world, LATER).await;
        assert_eq!(report, foreseen);
        assert_eq!(
            report.rows,
            BTreeMap::from([
                ("files".to_owned(), 26),
                ("pings".to_owned(), 41),
                ("seen".to_owned(), 41),
                ("seen_twice".to_owned(), 41),
            ])
        );
        assert_eq!((report.days, report.days_changed, report.newly_metered), (3, 3, 82));
        assert_eq!(world.table(ROWS).await, oracle.table(ROWS).await);
        assert_eq!(world.count("SELECT count(*) FROM usage_events WHERE meter IS NULL").await, 82);

        let version = world.version(Table::UsageEvents).await;
        let again = derive_all(&world, LATER).await;
        assert_eq!((again.rows_in_all(), again.days_changed), (0, 0));
        assert_eq!(world.version(Table::UsageEvents).await, version);
    });
}

/// Read again, a file's lines have the same coordinates; only their arrival tells the copies apart, of which compaction takes
/// whole events.
#[test]
fn of_a_file_that_was_read_twice_both_copies_are_derived() {
    let (world, oracle) = (World::new(), World::new());
    for _ in 0..2 {
        world.ingest("events.ndjson", FIRST, &events());
        oracle.ingest("events.ndjson", LATER, &events());
    }
    let copies = "SELECT \"offset\", meter, value, count(*) AS rows, count(DISTINCT arrival) AS arrivals \
                  FROM usage_events GROUP BY 1, 2, 3 ORDER BY 1, 2, 3";
    world.block_on(async {
        // Parts so small that the copies of an event do not always fall into the same.
        let request = DeriveRequest { rows_remembered: 7, ..DeriveRequest::default() };
        let report = derive(&world.lake(), &catalog(LATER), &request, |_| ()).await.unwrap();
        assert_eq!(report.rows_in_all(), 2 * (26 + 3 * 41));
        assert_eq!(world.table(copies).await, oracle.table(copies).await);
        assert_eq!(world.count("SELECT count(*) FROM usage_events WHERE meter = 'seen'").await, 82);
        assert_eq!(derive_all(&world, LATER).await.rows_in_all(), 0);
    });
}

/// Voids and amendments of `events`: some of meters that come later, some that feed none.
fn corrections() -> Vec<String> {
    let amended = |id: u32, target: u32, event_type: &str, data: &str, more: &str| {
        let data =
            format!(r#"{{"source":"/test","id":"{target}","type":"{event_type}","data":{data}{more}}}"#);
        event("meterhouse.amend", id, &data)
    };
    let mut corrections = vec![
        amended(501, 1, "stored", r#"{"bytes":7,"files":3,"folder":"g","class":"cold"}"#, ""),
        amended(502, 2, "stored", r#"{"bytes":8}"#, ""),
        amended(503, 103, "ping", "null", ""),
        amended(504, 204, "seen", r#"{"device":"x","times":9}"#, r#","time":"2026-05-01T00:00:00Z""#),
        amended(505, 305, "unmetered", r#"{"wanted":"yes"}"#, ""),
        amended(506, 406, "unknown", r#"{"any":"other"}"#, ""),
        event("meterhouse.void", 507, r#"{"source":"/test","id":"7"}"#),
    ];
    corrections.push(corrections[0].clone());
    corrections
}

/// An amended event counts by what its amendment says, so that has to be derived as well.
#[test]
fn amendments_are_derived_as_the_events_that_they_amend() {
    let (world, oracle) = (World::new(), World::new());
    let all = [events(), corrections()].concat();
    world.ingest("events.ndjson", FIRST, &all);
    oracle.ingest("events.ndjson", LATER, &all);
    world.block_on(async {
        let preview = DeriveRequest { dry_run: true, ..DeriveRequest::default() };
        let foreseen = derive(&world.lake(), &catalog(LATER), &preview, |_| ()).await.unwrap();
        // Those without a time of their own may be about any day.
        let first_day = DeriveRequest {
            meters: Some(vec!["seen_twice".to_owned(), "pings".to_owned()]),
            days: Some(20_574..=20_574),
            ..DeriveRequest::default()
        };
        let first = derive(&world.lake(), &catalog(LATER), &first_day, |_| ()).await.unwrap();
        let of_amendments = world.cells(AMENDED_ROWS).await;
        assert_eq!(of_amendments, ["501 stored", "501 stored", "502 stored", "503 pings", "504 seen_twice"]);
        let rest = derive_all(&world, LATER).await;
        assert_eq!(first.rows_in_all() + rest.rows_in_all(), foreseen.rows_in_all());
        assert_eq!(world.cells(AMENDED_ROWS).await.len(), 9);
        assert_eq!(world.table(ROWS).await, oracle.table(ROWS).await);

        let version = world.version(Table::UsageEvents).await;
        assert_eq!(derive_all(&world, LATER).await.rows_in_all(), 0);
        assert_eq!(world.version(Table::UsageEvents).await, version);
    });
}

const AMENDED_ROWS: &str = "SELECT id, meter FROM usage_events
    WHERE event_type = 'meterhouse.amend' AND meter IS NOT NULL ORDER BY id, meter";

#[test]
fn only_the_asked_meters_and_days_are_derived() {
    let (world, oracle) = (World::new(), World::new());
    oracle.ingest("events.ndjson", LATER, &events());
    world.ingest("events.ndjson", FIRST, &events());
    world.block_on(async {
        let request = DeriveRequest {
            meters: Some(vec!["seen_twice".to_owned()]),
            days: Some(20_574..=20_574),
            // A day of many times more rows than may be remembered is gone through in parts.
            rows_remembered: 7,
            ..DeriveRequest::default()
        };
        let report = derive(&world.lake(), &catalog(LATER), &request, |_| ()).await.unwrap();
        let on_first_day = world
            .count(
                "SELECT count(*) FROM usage_events WHERE meter = 'seen_twice' AND event_day = '2026-05-01'",
            )
            .await;
        assert_eq!((report.rows_in_all(), report.days), (on_first_day, 1));
        assert!(on_first_day > 0);
        // What the first run left out is added beside its rows, and the data stays where it is.
        let request = DeriveRequest { rows_remembered: 5, ..DeriveRequest::default() };
        derive(&world.lake(), &catalog(LATER), &request, |_| ()).await.unwrap();
        assert_eq!(world.table(ROWS).await, oracle.table(ROWS).await);
    });
}

#[test]
fn meters_that_cannot_be_derived_stop_the_run_before_it_starts() {
    let world = World::new();
    world.ingest("events.ndjson", FIRST, &events());
    let region = format!(
        "{LATER}  by_region: {{ kind: delta, event_type: seen, unit: request, dimensions: {{ region: region }} }}\n"
    );
    world.block_on(async {
        let version = world.version(Table::UsageEvents).await;
        let all = derive(&world.lake(), &catalog(&region), &DeriveRequest::default(), |_| ()).await;
        let error = all.unwrap_err().to_string();
        assert!(error.contains("`by_region`") && error.contains("`region`"), "{error}");
        let unknown = DeriveRequest { meters: Some(vec!["sein".to_owned()]), ..DeriveRequest::default() };
        let error = derive(&world.lake(), &catalog(&region), &unknown, |_| ()).await.unwrap_err();
        assert!(error.to_string().contains("`sein`"), "{error}");
        assert_eq!(world.version(Table::UsageEvents).await, version);
        let others = DeriveRequest { meters: Some(vec!["seen".to_owned()]), ..DeriveRequest::default() };
        let report = derive(&world.lake(), &catalog(&region), &others, |_| ()).await.unwrap();
        assert_eq!(report.rows_in_all(), 41);
    });
}

#[test]
fn what_a_meter_refuses_is_reported_and_leaves_the_event_as_it_is() {
    let world = World::new();
    world.ingest("events.ndjson", FIRST, &events());
    let strict = format!(
        "{FIRST}  files: {{ kind: gauge, event_type: stored, value: $.files, unit: file }}\n  \
        odd: {{ kind: delta, event_type: seen, value: $.nothing, unit: request }}\n"
    );
    world.block_on(async {
        let report = derive_all(&world, &strict).await;
        assert_eq!(report.rows_in_all(), 26);
        let refused = |meter: &str| &report.refused[&(meter.to_owned(), "value_missing")];
        assert_eq!((refused("files").count, refused("odd").count), (15, 41));
        assert!(refused("files").example.starts_with("file:events.ndjson partition 0 offset "));
        assert_eq!(world.count("SELECT count(*) FROM usage_events WHERE meter IS NULL").await, 164);
        assert_eq!(derive_all(&world, &strict).await.rows_in_all(), 0);
    });
}

#[test]
fn a_derivation_that_another_owner_overtook_is_refused() {
    let world = World::new();
    world.ingest("events.ndjson", FIRST, &events());
    world.block_on(async {
        let overtake = |_: &DeriveReport| {
            let other = async {
                let mut log = TableLog::open(world.lake().table(Table::UsageEvents)).await.unwrap();
                let expected = log.positions(&[MAINTENANCE.to_owned()]).await.unwrap()[MAINTENANCE];
                let next = expected.unwrap_or(0) + 1;
                let positions = vec![Position { application: MAINTENANCE.to_owned(), expected, next }];
                log.commit(&Commit { operation: "OPTIMIZE", positions, ..Commit::default() }).await.unwrap();
            };
            tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(other));
        };
        let result = derive(&world.lake(), &catalog(LATER), &DeriveRequest::default(), overtake).await;
        let error = result.unwrap_err();
        let is_fenced =
            matches!(&error, DeriveError::Rewrite(RewriteError::Commit(CommitError::Fenced { .. })));
        assert!(is_fenced, "{error}");
        derive_all(&world, LATER).await;
        assert_eq!(world.count("SELECT count(*) FROM usage_events WHERE meter = 'seen'").await, 41);
    });
}

fn request() -> ReplayRequest {
    ReplayRequest {
        filter: RejectFilter::default(),
        include_uncommitted: false,
        dry_run: false,
        limits: DecodeLimits::default(),
        now_us: jiff::Timestamp::now().as_microsecond(),
    }
}

/// Twelve events: four good, four whose value is called otherwise, four that no fix helps.
fn mixed() -> Vec<String> {
    let mut events = Vec::new();
    for id in 0..4 {
        events.push(event("stored", id, &format!(r#"{{"bytes":{id}}}"#)));
        events.push(event("stored", 10 + id, &format!(r#"{{"size":{id}}}"#)));
        events.push(
            event("stored", 20 + id, r#"{"neither":1}"#)
                .replace("\"1.0\"", if id == 3 { "\"2.0\"" } else { "\"1.0\"" }),
        );
    }
    events
}
const FIXED: &str = "
  stored: { kind: gauge, event_type: stored, value: $.size, unit: byte }
";

async fn replay_all(world: &World, request: &ReplayRequest) -> ReplayReport {
    replay(&world.lake(), &catalog(FIXED), request, |_| ()).await.unwrap()
}

#[test]
fn rejects_are_summed_up_by_reason() {
    let (world, nothing) = (World::new(), World::new());
    let mut lines = mixed();
    lines.push(format!("{{\"a\": \u{1} {}", "x".repeat(5_000)));
    world.ingest("events.ndjson", FIRST, &lines);
    world.block_on(async {
        let query = RejectQuery { samples: 2, preview_characters: 40, ..RejectQuery::default() };
        let summaries = rejects(&world.lake(), &query).await.unwrap();
        let counts: Vec<_> =
            summaries.iter().map(|it| (it.reason.as_str(), it.count, it.samples.len())).collect();
        assert_eq!(counts, [("value_missing", 7, 2), ("attribute_invalid", 1, 1), ("invalid_json", 1, 1)]);
        let sample = &summaries[2].samples[0];
        assert_eq!((sample.offset, sample.payload_bytes), (13, lines[12].len()));
        assert!(
            sample.preview.starts_with("{\"a\": \\u{1} xxx") && sample.preview.ends_with('…'),
            "{}",
            sample.preview
        );
        assert_eq!(summaries[0].samples[0].tenant.as_deref(), Some("acme"));
        assert!(summaries[0].first_arrival_us <= summaries[0].last_arrival_us);
        let filter = RejectFilter { reasons: vec![RejectReason::InvalidJson], ..RejectFilter::default() };
        let one = rejects(&world.lake(), &RejectQuery { filter, ..RejectQuery::default() }).await.unwrap();
        assert_eq!((one.len(), one[0].samples.len()), (1, 0));
        let filter =
            RejectFilter { since_us: Some(request().now_us + 86_400_000_000), ..RejectFilter::default() };
        assert!(
            rejects(&world.lake(), &RejectQuery { filter, ..RejectQuery::default() })
                .await
                .unwrap()
                .is_empty()
        );
        assert!(rejects(&nothing.lake(), &query).await.unwrap().is_empty());
    });
}

#[test]
fn replaying_moves_what_decodes_now_and_keeps_the_rest() {
    let world = World::new();
    world.ingest("events.ndjson", FIRST, &mixed());
    world.block_on(async {
        let versions = world.versions().await;
        let foreseen = replay_all(&world, &ReplayRequest { dry_run: true, ..request() }).await;
        assert_eq!(world.versions().await, versions);
        let report = replay_all(&world, &request()).await;
        assert_eq!(report, foreseen);
        assert_eq!((report.selected, report.events, report.rows), (8, 4, 4));
        assert_eq!(report.still_rejected, BTreeMap::from([("value_missing", 3), ("attribute_invalid", 1)]));
        assert_eq!(world.count("SELECT count(*) FROM usage_events").await, 8);
        assert_eq!(world.count("SELECT count(*) FROM rejected_messages").await, 4);
        let moved = "SELECT id, value, \"offset\" FROM usage_events WHERE CAST(id AS INT) >= 10 ORDER BY 1";
        assert_eq!(world.table(moved).await.lines().count(), 4 + 4);

        let versions = world.versions().await;
        let again = replay_all(&world, &request()).await;
        assert_eq!((again.events, again.selected), (0, 4));
        assert_eq!(world.versions().await, versions, "nothing changed, so nothing is committed");
    });
}

#[test]
fn a_crash_between_the_steps_neither_doubles_nor_loses() {
    let expected = (8, 4);
    for steps in 0..4 {
        let world = World::new();
        world.ingest("events.ndjson", FIRST, &mixed());
        world.block_on(async {
            let mut first = Replay::open(&world.lake(), &catalog(FIXED), request()).await.unwrap();
            let files = first.finish_earlier().await.unwrap();
            let moving = if steps > 0 { first.set_aside(&files[0]).await.unwrap() } else { Vec::new() };
            if steps > 1 {
                first.take_in(&moving[0]).await.unwrap();
            }
            if steps > 2 {
                first.remove(&moving[0]).await.unwrap();
            }
            drop(first);
            // What a person is told is right even before the next run.
            let rejected: u64 = rejects(&world.lake(), &RejectQuery::default())
                .await
                .unwrap()
                .iter()
                .map(|summary| summary.count)
                .sum();
            let used = world.count("SELECT count(*) FROM usage_events").await;
            assert_eq!(used + rejected, 12, "after {steps} steps");
            if steps == 2 {
                // With the old catalog nothing decodes, and what was taken in stays taken in.
                replay(&world.lake(), &catalog(FIRST), &request(), |_| ()).await.unwrap();
            }
            let report = replay_all(&world, &request()).await;
            assert_eq!(report.events, if steps < 2 { 4 } else { 0 }, "after {steps} steps");
            let found = (
                world.count("SELECT count(*) FROM usage_events").await,
                world.count("SELECT count(*) FROM rejected_messages").await,
            );
            assert_eq!(found, expected, "after {steps} steps");
            let ids = "SELECT count(DISTINCT id) FROM
                (SELECT id FROM usage_events UNION ALL SELECT id FROM rejected_messages)";
            assert_eq!(world.count(ids).await, 12);
        });
    }
}

#[test]
fn of_two_replays_at_once_one_is_refused_and_nothing_counts_twice() {
    let world = World::new();
    world.ingest("events.ndjson", FIRST, &mixed());
    world.block_on(async {
        let mut first = Replay::open(&world.lake(), &catalog(FIXED), request()).await.unwrap();
        let mut second = Replay::open(&world.lake(), &catalog(FIXED), request()).await.unwrap();
        let files = first.finish_earlier().await.unwrap();
        let same = second.finish_earlier().await.unwrap();
        let moving = first.set_aside(&files[0]).await.unwrap();
        assert!(second.set_aside(&same[0]).await.is_err());
        let mut third = Replay::open(&world.lake(), &catalog(FIXED), request()).await.unwrap();
        first.take_in(&moving[0]).await.unwrap();
        assert!(third.take_in(&moving[0]).await.is_err());
        first.remove(&moving[0]).await.unwrap();
        assert!(third.remove(&moving[0]).await.is_err());
        assert_eq!(world.count("SELECT count(*) FROM usage_events").await, 8);
    });
}

/// Stores rejects as ingest would, of a topic that it has committed up to an offset.
async fn store(world: &World, rejects: &[(Rejected<'_>, RawMessage<'_>)], committed: Option<i64>) {
    let mut log = TableLog::open(world.lake().table(Table::RejectedMessages)).await.unwrap();
    let mut columns = RejectedColumns::default();
    for (rejected, message) in rejects {
        columns.push(rejected, message, request().now_us);
    }
    let batch: RecordBatch = columns.finish();
    let today = (request().now_us / 86_400_000_000) as i32;
    let mut writer = DayFileWriter::new(Table::RejectedMessages, today, FileKind::Arrived).unwrap();
    writer.write(&batch).unwrap();
    let file = writer.finish(0).unwrap();
    log.upload(std::slice::from_ref(&file)).await.unwrap();
    let actions = vec![Action::Add(file.add)];
    log.commit(&Commit { operation: "WRITE", actions, ..Commit::default() }).await.unwrap();
    if let Some(next) = committed {
        let mut usage = TableLog::open(world.lake().table(Table::UsageEvents)).await.unwrap();
        let application = "meterhouse/kafka/usage/0".to_owned();
        let expected = usage.positions(std::slice::from_ref(&application)).await.unwrap()[&application];
        let positions = vec![Position { application, expected, next }];
        usage.commit(&Commit { operation: "WRITE", positions, ..Commit::default() }).await.unwrap();
    }
}

fn rejected<'m>(
    reason: RejectReason,
    offset: i64,
    batch_index: i32,
    payload: &'m str,
    headers: Vec<(&'m str, Option<&'m [u8]>)>,
) -> (Rejected<'m>, RawMessage<'m>) {
    let payload = payload.as_bytes();
    let at = Coordinates { topic: "usage", partition: 0, offset };
    let message = RawMessage {
        at,
        stamped_at_us: Some(1_777_600_000_000_000),
        key: None,
        payload: Some(payload),
        headers,
    };
    let why = Refusal::new(reason, "said ingest");
    let rejected =
        Rejected { why, batch_index, payload, source: None, id: None, tenant: None, event_type: None };
    (rejected, message)
}

#[test]
fn offsets_that_ingest_has_not_committed_are_left_to_it() {
    let world = World::new();
    let payloads: Vec<String> = (0..3).map(|id| event("stored", id, r#"{"size":1}"#)).collect();
    let messages: Vec<_> = (0..)
        .zip(&payloads)
        .map(|(offset, payload)| rejected(RejectReason::ValueMissing, offset, 0, payload, vec![]))
        .collect();
    world.block_on(async {
        store(&world, &messages, None).await;
        assert_eq!(replay_all(&world, &request()).await.uncommitted, 3);
        store(&world, &[], Some(2)).await;
        let report = replay_all(&world, &request()).await;
        assert_eq!((report.uncommitted, report.events), (1, 2));
        let report = replay_all(&world, &ReplayRequest { include_uncommitted: true, ..request() }).await;
        assert_eq!((report.uncommitted, report.events), (0, 1));
        assert_eq!(world.count("SELECT count(*) FROM usage_events").await, 3);
    });
}

#[test]
fn every_mode_is_replayed_as_it_came_and_conflicts_never() {
    let world = World::new();
    let batch_type: Vec<(&str, Option<&[u8]>)> =
        vec![("content-type", Some(b"application/cloudevents-batch+json"))];
    let binary: Vec<(&str, Option<&[u8]>)> = vec![
        ("ce_specversion", Some(b"1.0")),
        ("ce_id", Some(b"binary")),
        ("ce_source", Some(b"/test")),
        ("ce_type", Some(b"stored")),
        ("ce_subject", Some(b"acme")),
    ];
    let good = |id| event("stored", id, r#"{"size":7}"#);
    let (first, second, conflict) = (good(1), good(2), good(3));
    let batch = format!("[{}, {}, {}, [1]]", good(4), event("stored", 5, "{}"), good(6));
    let bare_batch = format!("[{}]", good(7));
    // A single event that is sent as a batch: ingest refuses it, and so does a replay.
    let no_batch = good(8);
    let messages = vec![
        rejected(RejectReason::ValueMissing, 0, 0, r#"{"size":3}"#, binary),
        rejected(RejectReason::ValueMissing, 1, 0, &first, batch_type.clone()),
        rejected(RejectReason::ValueMissing, 1, 2, &second, batch_type.clone()),
        rejected(RejectReason::TooLarge, 2, 0, &batch, batch_type.clone()),
        rejected(RejectReason::TooLarge, 3, 0, &bare_batch, vec![]),
        rejected(RejectReason::NotACloudEvent, 4, 0, &bare_batch, batch_type.clone()),
        rejected(RejectReason::Conflict, 5, 0, &conflict, vec![]),
        rejected(RejectReason::NotACloudEvent, 6, 0, &no_batch, batch_type.clone()),
        rejected(RejectReason::TooLarge, 7, 0, &no_batch, batch_type),
    ];
    world.block_on(async {
        store(&world, &messages, Some(100)).await;
        let report = replay_all(&world, &request()).await;
        assert_eq!((report.selected, report.conflicts, report.events), (9, 1, 6));
        let still = BTreeMap::from([("value_missing", 1), ("not_a_cloudevent", 4)]);
        assert_eq!(report.still_rejected, still);
        let rows = "SELECT id, \"offset\", batch_index, time_given FROM usage_events ORDER BY 2, 3";
        assert_eq!(
            world.cells(rows).await,
            ["binary 0 0 false", "1 1 0 true", "2 1 2 true", "4 2 0 true", "6 2 2 true", "7 3 0 true"]
        );
        let left = "SELECT reason, \"offset\", batch_index FROM rejected_messages ORDER BY 2, 3";
        let expected = [
            "value_missing 2 1",
            "not_a_cloudevent 2 3",
            "not_a_cloudevent 4 0",
            "conflict 5 0",
            "not_a_cloudevent 6 0",
            "not_a_cloudevent 7 0",
        ];
        assert_eq!(world.cells(left).await, expected);
        let again = replay_all(&world, &request()).await;
        assert_eq!((again.events, world.cells(left).await), (0, expected.map(str::to_owned).to_vec()));
    });
}

#[test]
fn only_selected_rejects_are_replayed() {
    let world = World::new();
    world.ingest("events.ndjson", FIRST, &mixed());
    world.ingest("more.ndjson", FIRST, &[event("stored", 50, r#"{"size":1}"#)]);
    world.block_on(async {
        for (filter, events) in [
            (RejectFilter { reasons: vec![RejectReason::InvalidJson], ..RejectFilter::default() }, 0),
            (RejectFilter { topic: Some("file:none".to_owned()), ..RejectFilter::default() }, 0),
            (RejectFilter { since_us: Some(i64::MAX / 2), ..RejectFilter::default() }, 0),
            (RejectFilter { topic: Some("file:more.ndjson".to_owned()), ..RejectFilter::default() }, 1),
            (RejectFilter::default(), 4),
        ] {
            let report = replay_all(&world, &ReplayRequest { filter: filter.clone(), ..request() }).await;
            assert_eq!(report.events, events, "{filter:?}");
        }
    });
}
