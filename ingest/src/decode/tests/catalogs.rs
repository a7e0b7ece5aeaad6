//! The four worked catalogs: one realistic event per event type, and exactly what each meter reads from it.

use std::collections::BTreeSet;

use super::{
    DOCUMENTS, Message, ONMEMOS, REDLINE, ReadingCase, ZEMFYRE, catalog, check_readings, event_of, readings,
};

const REDLINE_CASES: [ReadingCase; 5] = [
    (
        "a folder's level",
        "redline.storage.sampled",
        r#"{"folder": "5d41402a", "bytes": 1500000000, "storage_class": "hot", "ownership": "vendor"}"#,
        &[
            r#"storage_bytes | 1500000000000000000 | 5d41402a | {"ownership":"vendor","storage_class":"hot"} | - | -"#,
        ],
    ),
    (
        "a read: requests and egress",
        "redline.storage.accessed",
        r#"{"requests": 12, "egress_bytes": 48000000, "ownership": "vendor"}"#,
        &[
            r#"storage_requests | 12000000000 | - | {"ownership":"vendor"} | - | -"#,
            r#"egress_bytes | 48000000000000000 | - | {"ownership":"vendor"} | - | -"#,
        ],
    ),
    (
        "a write: no egress",
        "redline.storage.accessed",
        r#"{"requests": 1, "ownership": "tenant"}"#,
        &[r#"storage_requests | 1000000000 | - | {"ownership":"tenant"} | - | -"#],
    ),
    (
        "a float's digits are rounded to the billionth",
        "redline.api.used",
        r#"{"seconds": 12.300000000049999}"#,
        &["api_seconds | 12300000000 | - | - | - | -"],
    ),
    (
        "a clean-up",
        "redline.storage.cleaned",
        r#"{"bytes": 250000000, "policy": "older_than_90_days"}"#,
        &[r#"cleaned_bytes | 250000000000000000 | - | {"policy":"older_than_90_days"} | - | -"#],
    ),
];

const ONMEMOS_CASES: [ReadingCase; 7] = [
    (
        "a session starts",
        "onmemos.session.changed",
        r#"{"session_id": "s-81", "status": "active", "user_type": "pro", "size": "medium"}"#,
        &[r#"session_time | - | s-81 | {"size":"medium","user_type":"pro"} | start | -"#],
    ),
    (
        "a session lives",
        "onmemos.session.changed",
        r#"{"session_id": "s-81", "status": "alive", "user_type": "pro", "size": "medium"}"#,
        &[r#"session_time | - | s-81 | {"size":"medium","user_type":"pro"} | heartbeat | -"#],
    ),
    (
        "a session is completed",
        "onmemos.session.changed",
        r#"{"session_id": "s-81", "status": "completed", "user_type": "pro", "size": "medium"}"#,
        &[r#"session_time | - | s-81 | {"size":"medium","user_type":"pro"} | stop | -"#],
    ),
    (
        "a session is cancelled",
        "onmemos.session.changed",
        r#"{"session_id": "s-81", "status": "cancelled", "size": "gpu"}"#,
        &[r#"session_time | - | s-81 | {"size":"gpu"} | stop | -"#],
    ),
    (
        "a bucket's level",
        "onmemos.storage.sampled",
        r#"{"volume": "bucket-u17", "bytes": 20000000000, "storage_type": "gcs_bucket"}"#,
        &[r#"storage_bytes | 20000000000000000000 | bucket-u17 | {"storage_type":"gcs_bucket"} | - | -"#],
    ),
    (
        "a space is bought",
        "onmemos.space.purchased",
        r#"{"space_id": "sp-4", "template": "ml_ready"}"#,
        &[r#"spaces_bought | 1000000000 | - | {"template":"ml_ready"} | - | -"#],
    ),
    (
        "a call with a passport",
        "onmemos.api.called",
        r#"{"passport": "pp-3", "path": "/v1/sessions"}"#,
        &[r#"api_requests | 1000000000 | - | {"passport":"pp-3"} | - | -"#],
    ),
];

const ZEMFYRE_CASES: [ReadingCase; 8] = [
    (
        "a device is seen",
        "zemfyre.device.seen",
        r#"{"device_id": "thermo-0042"}"#,
        &["devices_active | - | thermo-0042 | - | - | -"],
    ),
    (
        "an agent's report feeds seventeen meters",
        "zemfyre.agent.report",
        r#"{"devices": {"total": 48},
            "mqtt": {"broker": "broker-1", "messages_received": 910233, "messages_sent": 1820466,
                     "bytes_received": 182046600, "bytes_sent": 364093200, "bytes_total": 546139800,
                     "clients_connected": 45},
            "websocket": {"connection_seconds": 41250.5, "messages": 8800, "bytes": 1760000},
            "influxdb": {"points_written": 172800, "queries": 340},
            "postgresql": {"rows": 1250000},
            "object_storage": {"files": 5120},
            "compute": {"cpu_core_seconds": 1380.25, "memory_gb_hours": 3.75, "container_seconds": 21600}}"#,
        &[
            "devices_total | 48000000000 | - | - | - | -",
            "mqtt_messages_received | 910233000000000 | broker-1 | - | - | -",
            "mqtt_messages_sent | 1820466000000000 | broker-1 | - | - | -",
            "mqtt_bytes_received | 182046600000000000 | broker-1 | - | - | -",
            "mqtt_bytes_sent | 364093200000000000 | broker-1 | - | - | -",
            "mqtt_bytes | 546139800000000000 | broker-1 | - | - | -",
            "mqtt_connections | 45000000000 | broker-1 | - | - | -",
            "websocket_time | 41250500000000 | - | - | - | -",
            "websocket_messages | 8800000000000 | - | - | - | -",
            "websocket_bytes | 1760000000000000 | - | - | - | -",
            "influxdb_points | 172800000000000 | - | - | - | -",
            "influxdb_queries | 340000000000 | - | - | - | -",
            "postgresql_rows | 1250000000000000 | - | - | - | -",
            "object_storage_files | 5120000000000 | - | - | - | -",
            "compute_cpu_time | 1380250000000 | - | - | - | -",
            "compute_memory_time | 3750000000 | - | - | - | -",
            "container_uptime | 21600000000000 | - | - | - | -",
        ],
    ),
    (
        "messages of one quality of service",
        "zemfyre.agent.qos",
        r#"{"qos": 1, "messages": 3120}"#,
        &[r#"mqtt_messages_by_qos | 3120000000000 | - | {"qos":"1"} | - | -"#],
    ),
    (
        "the public API is billed by call",
        "zemfyre.agent.http",
        r#"{"category": "public", "requests": 1840, "bytes_in": 920000, "bytes_out": 7360000, "bytes_total": 8280000}"#,
        &[
            r#"http_requests | 1840000000000 | - | {"category":"public"} | - | -"#,
            "api_calls | 1840000000000 | - | - | - | -",
            r#"http_bytes_in | 920000000000000 | - | {"category":"public"} | - | -"#,
            r#"http_bytes_out | 7360000000000000 | - | {"category":"public"} | - | -"#,
            "http_bytes | 8280000000000000 | - | - | - | -",
        ],
    ),
    (
        "what devices call is not",
        "zemfyre.agent.http",
        r#"{"category": "device", "requests": 3, "bytes_in": 1, "bytes_out": 2, "bytes_total": 3}"#,
        &[
            r#"http_requests | 3000000000 | - | {"category":"device"} | - | -"#,
            r#"http_bytes_in | 1000000000 | - | {"category":"device"} | - | -"#,
            r#"http_bytes_out | 2000000000 | - | {"category":"device"} | - | -"#,
            "http_bytes | 3000000000 | - | - | - | -",
        ],
    ),
    (
        "PostgreSQL's store",
        "zemfyre.agent.storage",
        r#"{"store": "postgresql", "bytes": 734003200}"#,
        &[
            "storage_bytes | 734003200000000000 | postgresql | - | - | -",
            "postgresql_bytes | 734003200000000000 | - | - | - | -",
        ],
    ),
    (
        "InfluxDB's store",
        "zemfyre.agent.storage",
        r#"{"store": "influxdb", "bytes": 0}"#,
        &["storage_bytes | 0 | influxdb | - | - | -", "influxdb_bytes | 0 | - | - | - | -"],
    ),
    (
        "the object store",
        "zemfyre.agent.storage",
        r#"{"store": "object_storage", "bytes": 1}"#,
        &[
            "storage_bytes | 1000000000 | object_storage | - | - | -",
            "object_storage_bytes | 1000000000 | - | - | - | -",
        ],
    ),
];

const DOCUMENTS_CASES: [ReadingCase; 3] = [
    (
        "a user's new total",
        "documents.storage.changed",
        r#"{"bytes": 3500000000, "document": "d-901", "action": "uploaded"}"#,
        &["storage_bytes | 3500000000000000000 | - | - | - | -"],
    ),
    (
        "storage is bought",
        "documents.storage.purchased",
        r#"{"purchase_id": "b-12", "gb": 50}"#,
        &["storage_bought | 50000000000 | - | - | - | -"],
    ),
    (
        "a trial's document expires",
        "documents.storage.expired",
        r#"{"document": "d-17", "bytes": 1200000, "policy": "trial"}"#,
        &[r#"expired_bytes | 1200000000000000 | - | {"policy":"trial"} | - | -"#],
    ),
];

const ALL: [(&str, &[ReadingCase]); 4] = [
    (REDLINE, &REDLINE_CASES),
    (ONMEMOS, &ONMEMOS_CASES),
    (ZEMFYRE, &ZEMFYRE_CASES),
    (DOCUMENTS, &DOCUMENTS_CASES),
];

#[test]
fn each_event_feeds_exactly_its_meters() {
    for (text, cases) in ALL {
        check_readings(&catalog(text), cases);
    }
}

#[test]
fn every_meter_of_the_catalogs_is_fed_by_some_case() {
    for (text, cases) in ALL {
        let fed: BTreeSet<&str> =
            cases.iter().flat_map(|(.., lines)| *lines).filter_map(|line| line.split(" | ").next()).collect();
        let catalog = catalog(text);
        let defined: BTreeSet<&str> = catalog.meters.iter().map(|meter| meter.key.as_str()).collect();
        assert_eq!(fed, defined, "{}", catalog.name);
    }
}

/// The README's tables say, per event type, which meters an example feeds: they must not lie.
#[test]
fn the_examples_of_the_readme_feed_the_meters_it_names() {
    let readme = include_str!("../../../../testdata/catalogs/README.md");
    let catalogs = [REDLINE, ONMEMOS, ZEMFYRE, DOCUMENTS].map(catalog);
    let long_example = readme.rsplit_once("```json\n").unwrap().1.split_once("```").unwrap().0;
    let mut examples = 0;
    for row in readme.lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<&str> = row.trim_matches('|').split(" | ").collect();
        let event_type = cells[0].trim().trim_matches('`');
        let data = cells[2].trim().trim_end_matches(" |").trim_matches('`');
        let data = if data.starts_with('{') { data } else { long_example };
        let catalog = catalogs.iter().find(|catalog| event_type.starts_with(&catalog.name)).unwrap();
        let fed = readings(catalog, &Message::of(event_of(event_type, data)));
        let fed: BTreeSet<&str> = fed.iter().map(|line| line.split(" | ").next().unwrap()).collect();
        // What stands in backticks, but for the words of a condition.
        let named: BTreeSet<&str> =
            cells[1].split('`').skip(1).step_by(2).filter(|word| catalog.meter(word).is_some()).collect();
        if event_type == "zemfyre.agent.storage" {
            assert!(fed.is_subset(&named) && fed.len() == 2, "{event_type}: {fed:?}");
        } else {
            assert_eq!(fed, named, "{event_type}");
        }
        examples += 1;
    }
    assert_eq!(examples, 16);
}
