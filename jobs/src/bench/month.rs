//! Days of usage events, written straight as the files of a lake: faster than any ingest, for measuring what reads it.
//!
//! Every tenant has five resources. Of its rows 45 % are levels of storage, 40 % traffic in three categories, and 5 %
//! each counters, session signals and sightings of devices. The catalog asks of them what prices usually ask: average and peak
//! of the level, sum, count and largest of the amounts by category, growth of the counters, session time, devices seen.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryBuilder, BooleanArray, Decimal128Builder, Int32Array, Int64Builder, RecordBatch,
    StringBuilder, TimestampMicrosecondBuilder,
};
use object_store::ObjectStoreExt;
use object_store::path::Path;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use parquet::schema::types::ColumnPath;
use serde_json::json;
use sql::lake::{Lake, Table, TableHandle, VALUE_PRECISION, VALUE_SCALE};

pub const CATALOG: &str = r"
catalog: month
currency: USD
meters:
  devices: { kind: unique, event_type: month, resource: $.r, unit: device }
  messages: { kind: cumulative, event_type: month, value: $.v, resource: $.r, unit: message }
  sessions: { kind: session, event_type: month, resource: $.r, session: { signal: $.s, start: on, stop: off }, unit: second }
  storage: { kind: gauge, event_type: month, value: $.v, resource: $.r, unit: byte }
  traffic: { kind: delta, event_type: month, value: $.v, dimensions: { category: $.c }, unit: byte }
plans:
  all:
    prices:
      average: { description: Average storage, meter: storage, measure: average, unit: GB, per_unit: 0.02 }
      peak: { description: Peak storage, meter: storage, measure: peak, unit: GB, per_unit: 0.01 }
      traffic: { description: Traffic, meter: traffic, split_by: [category], unit: GB, per_unit: 0.05 }
      requests: { description: Requests, meter: traffic, measure: count, split_by: [category], per_unit: 0.0001 }
      largest: { description: Largest transfer, meter: traffic, measure: max, split_by: [category], unit: GB, per_unit: 0.001 }
      messages: { description: Messages, meter: messages, per_unit: 0.000001 }
      sessions: { description: Session time, meter: sessions, per_unit: 0.00001 }
      devices: { description: Devices, meter: devices, measure: unique_resources, per_unit: 0.5 }
other_tenants: { subscriptions: [{ plan: all, from: 2025-01-01 }] }
";

/// 2026-05-01
pub const FIRST_DAY: i32 = 20_574;
pub const DAYS: i32 = 31;
pub const PERIOD: &str = "2026-05";
pub const DAY_US: i64 = 86_400_000_000;
const ROW_GROUP_ROWS: usize = 128 * 1024;
const PART_ROWS: usize = 512 * 1024;

/// The catalog's meters alone, for who has plans of his own.
pub fn meters() -> &'static str {
    CATALOG.split_once("plans:").map_or(CATALOG, |(meters, _)| meters)
}

/// When the month begins and ends.
pub fn month_us() -> (i64, i64) {
    let start_us = i64::from(FIRST_DAY) * DAY_US;
    (start_us, start_us + i64::from(DAYS) * DAY_US)
}

/// What the days look like.
#[derive(Debug, Clone, Copy)]
pub struct UsageDays {
    pub events: u64,
    pub tenants: u64,
    pub first_day: i32,
    pub days: i32,
    /// Compacted, or as it arrived.
    pub is_sorted: bool,
}

/// What goes wrong while a lake is written.
type Failure = Box<dyn std::error::Error + Send + Sync>;

#[derive(Debug, Clone, Copy)]
struct Row {
    tenant: u32,
    /// Its place in the alphabet.
    meter: u8,
    time_us: i64,
    value: i64,
    resource: u32,
    category: u8,
}

/// Numbers that look random and are the same each time.
fn mixed(seed: u64) -> u64 {
    let mixed = (seed ^ (seed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^ (mixed >> 31)
}

impl UsageDays {
    /// A month of compacted days.
    pub fn month(events: u64, tenants: u64) -> Self {
        Self { events, tenants, first_day: FIRST_DAY, days: DAYS, is_sorted: true }
    }

    /// Writes the table's files and its log.
    pub async fn write(&self, lake: &Lake) -> Result<(), Failure> {
        let table = lake.table(Table::UsageEvents);
        table.create_if_missing().await?;
        let mut version = 0;
        for day in 0..self.days {
            let rows = self.rows_of_day(day);
            let (name, chunk) = if self.is_sorted { ("sorted", rows.len()) } else { ("part", PART_ROWS) };
            for (number, rows) in rows.chunks(chunk.max(1)).enumerate() {
                version += 1;
                append(&table, self.first_day + day, &format!("{name}-{number}"), rows, version).await?;
            }
        }
        Ok(())
    }

    fn rows_of_day(&self, day: i32) -> Vec<Row> {
        let per_tenant = self.events / u64::from(self.days.unsigned_abs()) / self.tenants;
        let start_us = i64::from(self.first_day + day) * DAY_US;
        let mut rows = Vec::with_capacity((per_tenant * self.tenants) as usize);
        for tenant in 0..self.tenants {
            for event in 0..per_tenant {
                let random = mixed(
                    (tenant * u64::from(self.days.unsigned_abs()) + u64::from(day.unsigned_abs()))
                        * per_tenant
                        + event
                        + 1,
                );
                let meter = match event * 20 / per_tenant {
                    twentieth @ 0..=2 => twentieth as u8,
                    3..=11 => 3,
                    _ => 4,
                };
                let time_us = start_us + (random >> 16) as i64 % DAY_US;
                rows.push(Row {
                    tenant: tenant as u32,
                    meter,
                    time_us,
                    value: (random >> 40) as i64 * 1_000_000_000,
                    resource: (random % 5) as u32,
                    category: (random % 3) as u8,
                });
            }
        }
        if self.is_sorted {
            rows.sort_unstable_by_key(|row| (row.tenant, row.meter, row.time_us));
        } else {
            rows.sort_unstable_by_key(|row| row.time_us);
        }
        rows
    }
}

/// Commits one more level of a tenant's storage, which comes late.
pub async fn append_late(table: &TableHandle, tenant: u32, day: i32) -> Result<(), Failure> {
    let version = table.snapshot(None).await?.version + 1;
    let time_us = i64::from(day) * DAY_US + DAY_US / 2 + version as i64;
    let row = Row { tenant, meter: 3, time_us, value: 7_000_000_000, resource: 1, category: 0 };
    append(table, day, &format!("late-{version}"), &[row], version).await
}

async fn append(
    table: &TableHandle,
    day: i32,
    name: &str,
    rows: &[Row],
    version: u64,
) -> Result<(), Failure> {
    let bytes = encode(rows, day)?;
    let date = jiff::civil::date(1970, 1, 1).checked_add(jiff::Span::new().days(day))?;
    let path = format!("event_day={date}/{name}.parquet");
    let bound = |pick: fn(&[Row]) -> Option<u32>| pick(rows).map(tenant_name);
    let add = json!({ "add": {
        "path": path, "partitionValues": { "event_day": date.to_string() }, "size": bytes.len(),
        "modificationTime": 0, "dataChange": true,
        "stats": json!({
            "numRecords": rows.len(),
            "minValues": { "tenant": bound(|rows| rows.iter().map(|row| row.tenant).min()) },
            "maxValues": { "tenant": bound(|rows| rows.iter().map(|row| row.tenant).max()) },
        }).to_string(),
    }});
    table.store().put(&Path::from(path.as_str()), bytes.into()).await?;
    let entry = Path::from(format!("_delta_log/{version:020}.json"));
    table.store().put(&entry, add.to_string().into()).await?;
    Ok(())
}

fn tenant_name(number: u32) -> String {
    format!("tenant-{number:06}")
}

fn encode(rows: &[Row], day: i32) -> Result<Vec<u8>, ParquetError> {
    let mut properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(1)?))
        .set_max_row_group_row_count(Some(ROW_GROUP_ROWS));
    for column in ["identity", "id"] {
        properties = properties.set_column_dictionary_enabled(ColumnPath::from(column), false);
    }
    for column in ["time", "offset", "arrival"] {
        properties = properties
            .set_column_dictionary_enabled(ColumnPath::from(column), false)
            .set_column_encoding(ColumnPath::from(column), Encoding::DELTA_BINARY_PACKED);
    }
    let schema = Table::UsageEvents.file_schema();
    let mut writer = ArrowWriter::try_new(Vec::new(), Arc::clone(&schema), Some(properties.build()))?;
    for (chunk, rows) in rows.chunks(ROW_GROUP_ROWS / 4).enumerate() {
        let first = (chunk * (ROW_GROUP_ROWS / 4)) as u64;
        let columns = schema.fields().iter().map(|field| column(field.name(), rows, first, day));
        writer.write(&RecordBatch::try_new(Arc::clone(&schema), columns.collect())?)?;
    }
    writer.into_inner()
}

fn column(name: &str, rows: &[Row], first: u64, day: i32) -> ArrayRef {
    const METERS: [&str; 5] = ["devices", "messages", "sessions", "storage", "traffic"];
    let texts = |text: &dyn Fn(usize, &Row) -> Option<String>| -> ArrayRef {
        let mut builder = StringBuilder::new();
        rows.iter().enumerate().for_each(|(at, row)| builder.append_option(text(at, row)));
        Arc::new(builder.finish())
    };
    let times = |time: &dyn Fn(&Row) -> Option<i64>| -> ArrayRef {
        let mut builder = TimestampMicrosecondBuilder::new().with_timezone("UTC");
        for row in rows {
            builder.append_option(time(row));
        }
        Arc::new(builder.finish())
    };
    match name {
        "identity" => {
            let mut builder = BinaryBuilder::new();
            for at in 0..rows.len() as u64 {
                let seed = u64::from(day.unsigned_abs()) << 40 | (first + at + 1);
                builder.append_value([mixed(seed).to_le_bytes(), mixed(!seed).to_le_bytes()].concat());
            }
            Arc::new(builder.finish())
        }
        "tenant" => texts(&|_, row| Some(tenant_name(row.tenant))),
        "meter" => texts(&|_, row| Some(METERS[row.meter as usize].to_owned())),
        "time" => times(&|row| Some(row.time_us)),
        "signal_time" => times(&|_| None),
        "arrival" => times(&|row| Some(row.time_us + 1_000_000)),
        "value" => {
            let mut builder = Decimal128Builder::new();
            for row in rows {
                builder.append_option(matches!(row.meter, 1 | 3 | 4).then_some(i128::from(row.value)));
            }
            let values = builder.finish().with_precision_and_scale(VALUE_PRECISION, VALUE_SCALE);
            Arc::new(values.expect("small values fit"))
        }
        // Every other signal of a session's slot starts it: one after the other, five at a time.
        "resource" => texts(&|_, row| match row.meter {
            4 => None,
            _ => Some(format!("r-{}-{}", row.tenant, row.resource)),
        }),
        "signal" => texts(&|at, row| {
            (row.meter == 2).then(|| {
                if (at + row.resource as usize).is_multiple_of(2) { "start" } else { "stop" }.to_owned()
            })
        }),
        "dimensions" => {
            texts(&|_, row| (row.meter == 4).then(|| format!(r#"{{"category":"c{}"}}"#, row.category)))
        }
        "data" => texts(&|_, _| None),
        "time_given" => Arc::new(BooleanArray::from(vec![true; rows.len()])),
        "partition" | "batch_index" => Arc::new(Int32Array::from(vec![0; rows.len()])),
        "offset" => {
            let mut builder = Int64Builder::new();
            (0..rows.len() as u64).for_each(|at| builder.append_value((first + at) as i64));
            Arc::new(builder.finish())
        }
        _ => texts(&|_, _| Some("month".to_owned())),
    }
}
