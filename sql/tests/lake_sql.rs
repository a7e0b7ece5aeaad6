//! SQL over small lakes that are written by hand.

mod answers;
mod world;

use std::collections::BTreeMap;

use answers::{answer, cells};
use arrow::array::{Array, Date32Array, RecordBatch, StringArray};
use futures::TryStreamExt;
use sql::lake::{FileRead, Lake, Table};
use sql::session::{LakeSession, SessionSettings, open_session};
use world::{FIRST_DAY, Row, World, row};

async fn session(world: &World) -> LakeSession {
    let settings = SessionSettings { threads: 2, ..SessionSettings::default() };
    open_session(&world.lake, &settings).await.unwrap()
}

/// The files that a query's plan would open.
async fn files_of(session: &LakeSession, filter: &str) -> Vec<String> {
    let plan =
        answer(session, &format!("EXPLAIN FORMAT INDENT SELECT value FROM usage_events WHERE {filter}"))
            .await;
    let mut files: Vec<String> = plan
        .split(|character: char| ",[]{} \n".contains(character))
        .filter_map(|word| word.strip_suffix(".parquet")?.split_once("event_day=2026-05-"))
        .map(|(_, path)| path.split_once("/part-").unwrap().0.to_owned())
        .collect();
    files.sort();
    files.dedup();
    files
}

async fn week() -> World {
    let mut world = World::new().await;
    for day in 0..7 {
        let rows =
            [row("acme", 1, 1_000_000_000), row(if day == 3 { "zeta" } else { "beta" }, 23, 500_000_000)];
        world.append(FIRST_DAY + day, &rows).await;
    }
    world
}

#[tokio::test]
async fn filters_on_time_day_and_tenant_pass_over_files() {
    let session = session(&week().await).await;
    for (filter, expected) in [
        ("event_day = '2026-05-03'", vec!["03"]),
        ("event_day >= DATE '2026-05-06'", vec!["06", "07"]),
        ("time >= '2026-05-06'", vec!["06", "07"]),
        ("time >= TIMESTAMP '2026-05-06T00:00:00Z'", vec!["06", "07"]),
        ("time >= to_timestamp('2026-05-06T00:00:00Z')", vec!["06", "07"]),
        ("time < '2026-05-02T00:00:00Z' AND value > 0.5", vec!["01"]),
        ("time BETWEEN '2026-05-02T12:00:00Z' AND '2026-05-03T00:00:00Z'", vec!["02", "03"]),
        ("time > '2026-05-02T23:59:59.999999Z' AND time < '2026-05-04T00:00:00Z'", vec!["03"]),
        ("tenant = 'zeta'", vec!["04"]),
        ("tenant IN ('zeta', 'zulu')", vec!["04"]),
        ("tenant = 'amy' AND time < '2026-05-02'", vec!["01"]),
        ("tenant > 'zeta'", vec![]),
        ("meter IS NULL", vec![]),
        ("time < '2020-01-01'", vec![]),
    ] {
        assert_eq!(files_of(&session, filter).await, expected, "{filter}");
    }
}

#[tokio::test]
async fn counts_and_rows_are_right_whatever_is_passed_over() {
    let session = session(&week().await).await;
    for (query, expected) in [
        ("SELECT count(*) FROM usage_events", vec!["14"]),
        ("SELECT count(meter), count(DISTINCT tenant) FROM usage_events", vec!["14 3"]),
        ("SELECT count(*) FROM usage_events WHERE time >= '2026-05-03T02:00:00Z'", vec!["9"]),
        ("SELECT count(*) FROM usage_events WHERE tenant = 'zeta'", vec!["1"]),
        ("SELECT event_day, tenant FROM usage_events WHERE tenant = 'zeta'", vec!["2026-05-04 zeta"]),
        ("SELECT tenant, event_day FROM usage_events ORDER BY time LIMIT 1", vec!["acme 2026-05-01"]),
        ("SELECT count(*) FROM (SELECT * FROM usage_events LIMIT 5)", vec!["5"]),
        ("SELECT count(*) FROM (SELECT 1 FROM usage_events WHERE tenant = 'acme' LIMIT 5)", vec!["5"]),
        ("SELECT min(event_day), max(time) FROM usage_events", vec!["2026-05-01 2026-05-07T23:00:00Z"]),
        ("SELECT count(*) FROM rejected_messages", vec!["0"]),
    ] {
        assert_eq!(cells(&session, query).await, expected, "{query}");
    }
}

#[tokio::test]
async fn decimals_stay_exact() {
    let mut world = World::new().await;
    let largest = 10i128.pow(37) - 1;
    world.append(FIRST_DAY, &[row("acme", 1, largest), row("acme", 2, 100_000_000), row("acme", 3, 1)]).await;
    let session = session(&world).await;
    for (query, expected) in [
        ("SELECT sum(value) FROM usage_events WHERE value < 1", "0.100000001"),
        ("SELECT count(*) FROM usage_events WHERE value = 0.1", "1"),
        ("SELECT count(*) FROM usage_events WHERE value > 9999999999999999999999999999.999999998", "1"),
        ("SELECT max(value) FROM usage_events", "9999999999999999999999999999.999999999"),
        ("SELECT arrow_typeof(0.1 + 0.2), 0.1 + 0.2", "Decimal128(2, 1) 0.3"),
    ] {
        assert_eq!(cells(&session, query).await, [expected], "{query}");
    }
}

#[tokio::test]
async fn a_session_stays_at_its_versions() {
    let mut world = World::new().await;
    let first = world.append(FIRST_DAY, &[row("acme", 1, 1)]).await;
    let at_first = session(&world).await;
    world.append(FIRST_DAY + 1, &[row("acme", 1, 1), row("acme", 2, 1)]).await;
    let count = "SELECT count(*) FROM usage_events";
    assert_eq!(cells(&at_first, count).await, ["1"]);
    assert_eq!(cells(&session(&world).await, count).await, ["3"]);
    let versions = BTreeMap::from([(Table::UsageEvents, first)]);
    let settings = SessionSettings { versions, ..SessionSettings::default() };
    let pinned = open_session(&world.lake, &settings).await.unwrap();
    assert_eq!(cells(&pinned, count).await, ["1"]);
    assert_eq!(pinned.snapshots[&Table::UsageEvents].version, first);
    let missing = SessionSettings {
        versions: BTreeMap::from([(Table::RejectedMessages, 3)]),
        ..SessionSettings::default()
    };
    let error = open_session(&world.lake, &missing).await.unwrap_err();
    assert!(error.to_string().contains("rejected_messages"), "{error}");
}

#[tokio::test]
async fn a_lake_without_tables_has_empty_ones() {
    let folder = tempfile::tempdir().unwrap();
    for address in [folder.path().join("lake").to_str().unwrap(), "memory:///nothing"] {
        let lake = Lake::open(address).unwrap();
        let session = open_session(&lake, &SessionSettings::default()).await.unwrap();
        assert_eq!(cells(&session, "SELECT count(*) FROM usage_events").await, ["0"]);
        assert!(session.snapshots.is_empty());
    }
}

#[tokio::test]
async fn dimensions_are_read_by_name() {
    let mut world = World::new().await;
    let with = |dimensions| Row { dimensions, ..row("acme", 1, 1_000_000_000) };
    let rows = [with(Some(r#"{"region":"eu"}"#)), with(Some(r#"{"region":"us"}"#)), with(None)];
    world.append(FIRST_DAY, &rows).await;
    let query = "SELECT dimension(dimensions, 'region') AS region, sum(value) FROM usage_events
                 GROUP BY region ORDER BY region NULLS LAST";
    let session = session(&world).await;
    assert_eq!(
        cells(&session, query).await,
        ["eu 1.000000000", "us 1.000000000", "1.000000000"]
            .map(|row| { if row.starts_with('1') { " 1.000000000".to_owned() } else { row.to_owned() } })
    );
    let constant = r#"SELECT dimension('{"a":"b"}', 'a')"#;
    assert_eq!(cells(&session, constant).await, ["b"]);
}

#[tokio::test]
async fn sessions_only_read() {
    let session = session(&week().await).await;
    for query in [
        "DROP TABLE usage_events",
        "CREATE TABLE mine AS SELECT 1",
        "CREATE EXTERNAL TABLE f STORED AS PARQUET LOCATION '/tmp/x.parquet'",
        "INSERT INTO usage_events SELECT * FROM usage_events",
        "COPY usage_events TO '/tmp/copy.parquet'",
        "SET datafusion.execution.batch_size = 1",
        "SELECT * FROM '/etc/passwd'",
    ] {
        assert!(session.query(query).await.is_err(), "{query}");
    }
    let tables = "SELECT count(*) FROM information_schema.tables WHERE table_schema = 'public'";
    assert_eq!(cells(&session, tables).await, [session.relations.len().to_string()]);
}

#[tokio::test]
async fn memory_is_bounded_and_spilling_keeps_the_answer() {
    let mut world = World::new().await;
    let rows: Vec<Row> =
        (0..60_000).map(|at| Row { time_us: at * 1_000, ..row("acme", 0, i128::from(at)) }).collect();
    world.append(FIRST_DAY, &rows).await;
    let folder = tempfile::tempdir().unwrap();
    let settings = SessionSettings {
        memory_limit_bytes: 6 * 1024 * 1024,
        threads: 1,
        spill_folder: Some(folder.path().to_owned()),
        ..SessionSettings::default()
    };
    let session = open_session(&world.lake, &settings).await.unwrap();
    let query = "SELECT max(n), sum(value) FROM
                 (SELECT row_number() OVER (ORDER BY value DESC, source, id, topic) AS n, value FROM usage_events)";
    assert_eq!(cells(&session, query).await, ["60000 1.799970000"]);
    let tiny = SessionSettings { memory_limit_bytes: 1024, ..settings };
    let session = open_session(&world.lake, &tiny).await.unwrap();
    let error = session.query(query).await.unwrap().collect().await.unwrap_err();
    assert!(error.to_string().to_lowercase().contains("resources exhausted"), "{error}");
}

#[tokio::test]
async fn files_are_read_without_an_engine() {
    let world = week().await;
    let handle = world.lake.table(Table::UsageEvents);
    let files = handle.snapshot(None).await.unwrap().files;
    let columns = ["event_day", "value", "tenant"];
    let batches: Vec<RecordBatch> =
        handle.read_batches(&files[2..4], Some(&columns)).try_collect().await.unwrap();
    assert_eq!(batches.iter().map(RecordBatch::num_rows).sum::<usize>(), 4);
    let days = batches[1].column(0).as_any().downcast_ref::<Date32Array>().unwrap();
    assert_eq!(days.value(0), FIRST_DAY + 3);
    assert_eq!(batches[0].schema().fields().iter().map(|field| field.name()).collect::<Vec<_>>(), columns);
    let read = FileRead { columns: Some(&["tenant"]), rows: Some(vec![0..0, 1..2]), ..FileRead::default() };
    let rows: Vec<RecordBatch> =
        handle.read_file(&files[3], read).await.unwrap().try_collect().await.unwrap();
    assert_eq!(rows.len(), 1);
    let tenants = rows[0].column(0).as_any().downcast_ref::<StringArray>().unwrap();
    assert_eq!((tenants.len(), tenants.value(0)), (1, "zeta"));
    assert!(
        handle.read_file(&files[0], FileRead { columns: Some(&["nothing"]), ..read_all() }).await.is_err()
    );
}

fn read_all<'r>() -> FileRead<'r> {
    FileRead::default()
}
