//! What a query can name: its description, the tables beside the lake, tables as they were, and sessions of one tenant.

mod answers;
mod world;

use std::sync::Arc;

use answers::cells;

use arrow::array::{
    ArrayRef, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray, new_null_array,
};
use arrow::datatypes::DataType;
use object_store::ObjectStoreExt;
use object_store::path::Path;
use rating::catalog::Catalog;
use serde_json::json;
use sql::lake::{Lake, Table};
use sql::relation::{BookRows, BookSource, BookTable, Relation, RelationKind, Whose, markdown};
use sql::session::{LakeSession, SessionSettings, Sources, open_session_over};
use world::{COMMITTED_MS, FIRST_DAY, World, row};

const CATALOG: &str = "
catalog: small
currency: USD
meters:
  stored:
    kind: gauge
    event_type: sampled
    value: $.bytes
    resource: $.folder
    unit: byte
plans:
  small:
    prices:
      storage:
        meter: stored
        measure: average
        unit: GB
        included: 1
        per_unit: 0.10
    quotas:
      room: { meter: stored, measure: last, unit: GB, limit: 10, alert_at: [80, 100], when_reached: refuse }
  large:
    prices:
      base: { flat: 29 }
      storage: { meter: stored, measure: peak, unit: GB, per_unit: 0.08 }
costs:
  disk: { meter: stored, measure: average, unit: GB, per_unit: 0.023 }
tenants:
  acme:
    name: Acme
    subscriptions: [{ plan: small, from: 2026-01-01 }]
    overrides:
      - { plan: small, price: storage, from: 2026-05-01, until: 2026-06-01, per_unit: 0.05 }
  zeta:
    subscriptions: [{ plan: large, from: 2026-02-01 }]
";

/// Two records, and one run.
#[derive(Debug)]
struct TwoRecords;

impl BookSource for TwoRecords {
    fn rows(&self, table: BookTable, _tenant: Option<&str>) -> BookRows {
        let rows = if table == BookTable::Runs { vec!["compact"] } else { vec!["acme", "zeta"] };
        let schema = table.schema();
        let columns = schema.fields().iter().map(|field| -> ArrayRef {
            match field.data_type() {
                _ if field.is_nullable() => new_null_array(field.data_type(), rows.len()),
                DataType::Int64 => Arc::new(Int64Array::from(vec![7; rows.len()])),
                DataType::Timestamp(..) => {
                    Arc::new(TimestampMicrosecondArray::from(vec![7; rows.len()]).with_timezone("UTC"))
                }
                _ => Arc::new(StringArray::from(rows.clone())),
            }
        });
        let batch = RecordBatch::try_new(table.schema(), columns.collect()).map_err(Into::into);
        Box::pin(futures::stream::iter([batch]))
    }
}

fn sources() -> Sources {
    let catalog = Arc::new(Catalog::parse(CATALOG, "small.yaml").unwrap());
    // 2026-05-20
    Sources {
        catalog: Some(catalog),
        book: Some(Arc::new(TwoRecords)),
        now_us: 1_779_235_200_000_000,
        ..Sources::default()
    }
}

async fn session(lake: &Lake, tenant: Option<&str>) -> LakeSession {
    let settings =
        SessionSettings { tenant: tenant.map(str::to_owned), threads: 2, ..SessionSettings::default() };
    open_session_over(lake, &settings, &sources()).await.unwrap()
}

/// Acme holds 3 GB from noon of 1 May, and zeta 5 GB.
async fn two_tenants() -> World {
    let mut world = World::new().await;
    let gigabytes = |count: i128| count * 1_000_000_000_000_000_000;
    world.append(FIRST_DAY, &[row("acme", 12, gigabytes(3)), row("zeta", 12, gigabytes(5))]).await;
    world
}

#[tokio::test]
async fn the_readme_lists_every_relation() {
    let session = session(&Lake::open("memory:///empty").unwrap(), None).await;
    let found = markdown(&session.relations);
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/README.md");
    let readme = std::fs::read_to_string(path).unwrap();
    let (start, end) = ("<!-- relations -->\n", "<!-- end of relations -->");
    let before = readme.split_once(start).expect("the README has a place for them").0;
    let after = readme.split_once(end).expect("the README has a place for them").1;
    let wanted = format!("{before}{start}{found}{end}{after}");
    if std::env::var_os("METERHOUSE_WRITE_EXPECTED").is_some() {
        std::fs::write(path, &wanted).unwrap();
        return;
    }
    assert!(
        readme == wanted,
        "sql/README.md is not up to date: run this test with METERHOUSE_WRITE_EXPECTED=1"
    );
}

#[tokio::test]
async fn every_column_says_what_it_means() {
    let session = session(&Lake::open("memory:///empty").unwrap(), None).await;
    for relation in &*session.relations {
        assert!(!relation.description.is_empty(), "{}", relation.name);
        for column in &relation.columns {
            assert!(!column.meaning.is_empty(), "{}.{}", relation.name, column.name);
        }
        let provider = session.context.table_provider(relation.name.as_str()).await.unwrap();
        let schema = provider.schema();
        let names: Vec<&String> = schema.fields().iter().map(|field| field.name()).collect();
        assert!(relation.columns.iter().map(|column| &column.name).eq(names), "{}", relation.name);
        assert_eq!(relation.schema().fields().len(), relation.columns.len());
    }
    for table in Table::ALL {
        assert!(session.relations.iter().any(|relation| relation.name == table.name()), "{}", table.name());
    }
    let comment = "SELECT comment FROM information_schema.column_comments
                   WHERE table_name = 'usage_events' AND column_name = 'tenant'";
    assert_eq!(cells(&session, comment).await, ["who is billed"]);
    let comment = "SELECT kind, comment FROM information_schema.table_comments WHERE table_name = 'runs'";
    assert_eq!(cells(&session, comment).await, ["table one row for each time a job ran, from the book"]);
    assert!(!cells(&session, "SHOW TABLES").await.is_empty());
    assert!(!cells(&session, "DESCRIBE usage_daily").await.is_empty());
}

#[tokio::test]
async fn the_catalog_is_there_as_tables() {
    let session = session(&Lake::open("memory:///empty").unwrap(), None).await;
    for (query, expected) in [
        ("SELECT tenant, name, time_zone FROM tenants ORDER BY 1", vec!["acme Acme UTC", "zeta zeta UTC"]),
        (
            "SELECT tenant, plan, starts, ends FROM subscriptions ORDER BY 1",
            vec!["acme small 2026-01-01T00:00:00Z ", "zeta large 2026-02-01T00:00:00Z "],
        ),
        (
            "SELECT plan, version, starts, currency, prices FROM plans",
            vec!["small 1  USD 1", "large 1  USD 2"],
        ),
        (
            "SELECT plan, tenant, price, model, unit_price, flat, unit FROM prices",
            vec![
                "small  storage per_unit 0.100000000000  GB",
                "small acme storage per_unit 0.050000000000  GB",
                "large  base flat  29.000000000000 ",
                "large  storage per_unit 0.080000000000  GB",
                "  disk per_unit 0.023000000000  GB",
            ],
        ),
        (
            "SELECT plan, tenant, price, quantity, unit FROM allowances",
            vec!["small  storage 1.000000000000 GB", "small acme storage 1.000000000000 GB"],
        ),
        (
            "SELECT tenant, quota, quantity, unit, unit_size, when_reached FROM limits",
            vec!["acme room 10.000000000000 GB 1000000000.000000000000 refuse"],
        ),
        ("SELECT meter, kind, unit FROM meters", vec!["stored gauge byte"]),
    ] {
        assert_eq!(cells(&session, query).await, expected, "{query}");
    }
}

#[tokio::test]
async fn quantities_are_a_table_of_the_periods_that_a_query_names() {
    let session = session(&two_tenants().await.lake, None).await;
    let of =
        |from: &str| format!("SELECT tenant, period, value FROM {from} AND measure = 'peak' ORDER BY 1, 2");
    let may = ["acme 2026-05-01 3000000000.000000000000", "zeta 2026-05-01 5000000000.000000000000"];
    assert_eq!(cells(&session, &of("quantities WHERE period = '2026-05-01'")).await, may);
    assert_eq!(cells(&session, &of("quantities('2026-05') WHERE true")).await, may);
    let two = of("quantities WHERE period IN ('2026-06-01', '2026-05-01') AND tenant = 'zeta'");
    assert_eq!(cells(&session, &two).await, [may[1], "zeta 2026-06-01 5000000000.000000000000"]);
    // A day of the middle names no other period, and the month is not what the column holds.
    let once = of("quantities WHERE period IN ('2026-05-01', '2026-05-15')");
    assert_eq!(cells(&session, &once).await, may);
    let month = session.query("SELECT * FROM quantities WHERE period IN ('2026-05', '2026-05-01')").await;
    let error = month.unwrap().collect().await.unwrap_err().to_string();
    assert!(error.contains("write period = '2026-05-01', or FROM quantities('2026-05')"), "{error}");
    let error = session.query("SELECT * FROM quantities").await.unwrap().collect().await.unwrap_err();
    assert!(error.to_string().contains("must name a period"), "{error}");
}

/// May has 744 hours, of which acme held its 3 GB for 732: 2.951612903 on average. It has 1 GB free, and its own price.
#[tokio::test]
async fn charges_are_what_usage_costs() {
    let session = session(&two_tenants().await.lake, None).await;
    let query =
        "SELECT tenant, kind, price, measure, round(quantity, 9) AS q, round(billable, 9) AS b, unit, amount
                 FROM charges('2026-05') ORDER BY tenant, kind, price";
    assert_eq!(
        cells(&session, query).await,
        [
            "acme by_average storage average 2.951612903 1.951612903 GB 0.100000000000",
            "acme by_peak storage peak 3.000000000 2.000000000 GB 0.100000000000",
            "acme charge storage average 2.951612903 1.951612903 GB 0.100000000000",
            // 2.951612903 * 0.023 = 0.0679
            "acme cost disk average 2.951612903 2.951612903 GB 0.070000000000",
            "acme limit room last 3.000000000 10.000000000 GB ",
            // 5 * 732 / 744 = 4.919354839, times 0.08 = 0.3935
            "zeta by_average storage average 4.919354839 4.919354839 GB 0.390000000000",
            "zeta by_peak storage peak 5.000000000 5.000000000 GB 0.400000000000",
            "zeta charge base    29.000000000000".replace("base    29", "base     29").as_str(),
            "zeta charge storage peak 5.000000000 5.000000000 GB 0.400000000000",
            // 4.919354839 * 0.023 = 0.1131
            "zeta cost disk average 4.919354839 4.919354839 GB 0.110000000000",
        ]
    );
    let own = crate::session(&two_tenants().await.lake, Some("acme")).await;
    let kinds = "SELECT DISTINCT tenant, kind FROM charges('2026-05') ORDER BY kind";
    assert_eq!(cells(&own, kinds).await, ["acme by_average", "acme by_peak", "acme charge", "acme limit"]);
}

#[tokio::test]
async fn a_table_is_there_as_it_was() {
    let mut world = two_tenants().await;
    world.append(FIRST_DAY + 1, &[row("acme", 1, 1)]).await;
    let session = session(&world.lake, None).await;
    for (at, expected) in [
        ("2", "3"),
        ("1", "2"),
        ("0", "0"),
        ("'2100-01-01T00:00:02Z'", "3"),
        ("'2100-01-01T00:00:01.999Z'", "2"),
        ("'2099-12-31'", "0"),
        ("'1999-12-31'", "0"),
    ] {
        let query = format!("SELECT count(*) FROM usage_events_at({at})");
        assert_eq!(cells(&session, &query).await, [expected], "{at}");
    }
    for wrong in ["", "'when'", "1.5", "-1", "1, 2"] {
        let query = format!("SELECT count(*) FROM usage_events_at({wrong})");
        assert!(session.query(&query).await.is_err(), "{wrong}");
    }
    let settings = SessionSettings { as_of_us: Some(4_102_444_801_000_000), ..SessionSettings::default() };
    let then = open_session_over(&world.lake, &settings, &sources()).await.unwrap();
    assert_eq!(cells(&then, "SELECT count(*) FROM usage_events").await, ["2"]);
    let settings = SessionSettings { as_of_us: Some(0), ..settings };
    let before = open_session_over(&world.lake, &settings, &sources()).await.unwrap();
    assert_eq!(cells(&before, "SELECT count(*) FROM usage_events").await, ["0"]);
}

/// A commit is no earlier than those before it, whatever its writer's clock said.
#[tokio::test]
async fn clocks_that_differ_do_not_move_versions() {
    let world = World::new().await;
    let handle = world.lake.table(Table::UsageEvents);
    for (before, second) in [1, 10, 3, 12, 13, 14].into_iter().enumerate() {
        let entry = Path::from(format!("_delta_log/{:020}.json", before + 1));
        let info = json!({ "commitInfo": { "timestamp": COMMITTED_MS + second * 1_000 } });
        handle.store().put(&entry, info.to_string().into()).await.unwrap();
    }
    for (second, expected) in [(0, 0), (1, 1), (5, 1), (9, 1), (10, 3), (11, 3), (12, 4), (99, 6)] {
        let found = handle.version_at((COMMITTED_MS + second * 1_000) * 1_000).await.unwrap();
        assert_eq!(found, Some(expected), "{second}");
    }
}

#[tokio::test]
async fn a_tenants_session_shows_that_tenant_only() {
    let session = session(&two_tenants().await.lake, Some("acme")).await;
    for (query, expected) in [
        ("SELECT count(*) FROM usage_events", vec!["1"]),
        ("SELECT tenant FROM usage_events", vec!["acme"]),
        ("SELECT value / 1000000000 FROM usage_events LIMIT 1", vec!["3.0000000000000"]),
        ("SELECT count(*) FROM usage_events WHERE tenant = 'zeta'", vec!["0"]),
        ("SELECT max(value) FROM usage_events WHERE tenant <> 'acme' OR true", vec!["3000000000.000000000"]),
        ("SELECT DISTINCT tenant FROM usage_events_at(1)", vec!["acme"]),
        ("SELECT DISTINCT tenant FROM quantities('2026-05')", vec!["acme"]),
        ("SELECT DISTINCT tenant FROM quantities WHERE period = '2026-05-01'", vec!["acme"]),
        ("SELECT count(*) FROM quantities('2026-05') WHERE tenant = 'zeta'", vec!["0"]),
        ("SELECT tenant FROM tenants", vec!["acme"]),
        ("SELECT tenant FROM subscriptions", vec!["acme"]),
        ("SELECT tenant FROM limits", vec!["acme"]),
        ("SELECT plan FROM plans", vec!["small"]),
        ("SELECT DISTINCT plan FROM prices", vec!["small"]),
        ("SELECT DISTINCT plan FROM allowances", vec!["small"]),
        ("SELECT tenant FROM stripe_records", vec!["acme"]),
        ("SELECT count(*) FROM information_schema.tables WHERE table_name = 'runs'", vec!["0"]),
        ("SELECT count(*) FROM information_schema.table_comments WHERE table_name = 'runs'", vec!["0"]),
        ("SELECT count(*) FROM lake.usage_daily", vec!["0"]),
        (
            "SELECT files IS NULL AND rows = 1 AND bytes IS NULL AND compacted IS NULL FROM usage_days",
            vec!["true"],
        ),
    ] {
        assert_eq!(cells(&session, query).await, expected, "{query}");
    }
    assert!(session.query("SELECT * FROM runs").await.is_err());
    // They name the server's folders.
    let open = crate::session(&two_tenants().await.lake, None).await;
    assert_eq!(
        cells(&open, "SELECT concat(files, ' ', rows) FROM usage_days WHERE NOT compacted").await,
        ["1 2"]
    );
    let settings = "SELECT * FROM information_schema.df_settings";
    assert!(session.query(settings).await.is_err());
    assert!(
        crate::session(&Lake::open("memory:///empty").unwrap(), None).await.query(settings).await.is_ok()
    );
    assert!(session.relations.iter().all(|relation| relation.name != "runs"));
}

/// Nothing of a query may touch other tenants' rows, be it only to fail on them or to tell how many there are.
#[tokio::test]
async fn a_tenants_session_cannot_tell_what_others_have() {
    let mut world = two_tenants().await;
    // 5 GB is 5e9: the division fails exactly on zeta's row.
    let probe = "SELECT 1 / (CAST(value AS BIGINT) - 5000000000) FROM usage_events";
    let open = session(&world.lake, None).await;
    assert!(open.query(probe).await.unwrap().collect().await.is_err());
    let restricted = session(&world.lake, Some("acme")).await;
    assert_eq!(cells(&restricted, probe).await, ["0"]);
    for condition in [
        "WHERE 1 / (CAST(value AS BIGINT) - 5000000000) <= 0",
        "WHERE CAST(CASE tenant WHEN 'zeta' THEN 'secret' ELSE '1' END AS INT) = 1",
    ] {
        let query = format!("SELECT count(*) FROM usage_events {condition}");
        assert_eq!(cells(&restricted, &query).await, ["1"]);
    }
    let plan = "EXPLAIN VERBOSE SELECT count(*) FROM usage_events WHERE value > 1";
    let before = cells(&restricted, plan).await.concat();
    assert!(!before.contains("parquet"), "{before}");
    world.append(FIRST_DAY, &[row("zeta", 13, 1), row("zeta", 14, 1)]).await;
    let after = cells(&session(&world.lake, Some("acme")).await, plan).await.concat();
    assert_eq!(before, after);
}

#[test]
fn a_relation_without_tenants_is_the_vendors() {
    let relation = Relation {
        name: "secret".to_owned(),
        kind: RelationKind::Table,
        description: String::new(),
        columns: Vec::new(),
    };
    assert_eq!(relation.whose(), Whose::Vendor);
    for table in Table::ALL {
        assert_eq!(Relation::of_lake_table(table).whose(), Whose::TenantColumn, "{}", table.name());
    }
}
