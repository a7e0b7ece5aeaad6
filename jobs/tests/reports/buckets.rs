//! Exports into real buckets: S3 when METERHOUSE_TEST_S3 is set, GCS when METERHOUSE_TEST_GCS is, as
//! `deploy/services up s3 gcs` prints them.

use bytes::Bytes;
use object_store::ObjectStoreExt;
use object_store::path::Path;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions};
use sql::lake::Lake;

use crate::{lake, run};

/// The rows of a file, in no order: what is scanned by several threads comes in any. Of Parquet their number and columns.
fn content(format: &str, bytes: &Bytes) -> Vec<String> {
    if format == "parquet" {
        let metadata = ArrowReaderMetadata::load(bytes, ArrowReaderOptions::new()).unwrap();
        let rows = metadata.metadata().file_metadata().num_rows();
        assert!(rows > 0, "it has no rows");
        return vec![format!("{rows} rows of {:?}", metadata.schema())];
    }
    let mut lines: Vec<String> = std::str::from_utf8(bytes).unwrap().lines().map(str::to_owned).collect();
    assert!(!lines.is_empty(), "it has no rows");
    lines.sort_unstable();
    lines
}

fn export_into(variable: &str) {
    let Some(bucket) = std::env::var(variable).ok().filter(|text| !text.is_empty()) else {
        println!("skipped: {variable} is not set");
        return;
    };
    let folder = lake("redline");
    let place = format!("{}/exports-{}", bucket.trim_end_matches('/'), uuid::Uuid::new_v4());
    let export = |name: &str, format: &str, to: &str| {
        run(folder.path(), &["export", name, "--period", "2026-03", "--format", format, "--to", to], &[0]);
    };
    for (name, format) in [("invoice_lines", "csv"), ("usage_events", "parquet"), ("margin", "ndjson")] {
        let file = format!("{name}.{format}");
        export(name, format, &file);
        export(name, format, &format!("{place}/{file}"));
        let here = std::fs::read(folder.path().join(&file)).unwrap();
        let lake = Lake::open(&place).unwrap();
        let store = lake.store();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let there = runtime.block_on(async {
            let stored = store.get(&Path::from(file.as_str())).await.unwrap().bytes().await.unwrap();
            store.delete(&Path::from(file.as_str())).await.unwrap();
            stored
        });
        assert_eq!(content(format, &there), content(format, &here.into()), "{place}/{file}");
    }
    let nowhere = format!("{bucket}-that-is-not-there/lines.csv");
    run(folder.path(), &["export", "plans", "--format", "csv", "--to", &nowhere], &[1]);
}

#[test]
fn exports_into_s3() {
    export_into("METERHOUSE_TEST_S3");
}

#[test]
fn exports_into_gcs() {
    export_into("METERHOUSE_TEST_GCS");
}
