//! A small lake that is written by hand: Parquet files and the entries of a Delta log.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryArray, BooleanArray, Decimal128Array, Int32Array, Int64Array, RecordBatch, StringArray,
    TimestampMicrosecondArray,
};
use arrow::datatypes::DataType;
use object_store::ObjectStoreExt;
use object_store::path::Path;
use parquet::arrow::ArrowWriter;
use serde_json::json;
use sql::lake::{Lake, Table, VALUE_PRECISION, VALUE_SCALE};

pub const DAY_US: i64 = 86_400_000_000;
/// 2026-05-01
pub const FIRST_DAY: i32 = 20_574;
/// 2100-01-01; version N was committed N seconds after it.
pub const COMMITTED_MS: i64 = 4_102_444_800_000;

#[derive(Debug, Clone)]
pub struct Row {
    pub tenant: &'static str,
    pub meter: Option<&'static str>,
    /// After the start of the day.
    pub time_us: i64,
    /// In billionths.
    pub value: i128,
    pub dimensions: Option<&'static str>,
}

pub fn row(tenant: &'static str, hour: i64, value: i128) -> Row {
    Row { tenant, meter: Some("stored"), time_us: hour * 3_600_000_000, value, dimensions: None }
}

#[derive(Debug)]
pub struct World {
    pub lake: Lake,
    pub version: u64,
    pub files: usize,
}

impl World {
    pub async fn new() -> Self {
        let lake = Lake::open("memory:///somewhere/lake").unwrap();
        lake.table(Table::UsageEvents).create_if_missing().await.unwrap();
        Self { lake, version: 0, files: 0 }
    }

    /// Writes rows as a file of a day and commits it. Returns the version.
    pub async fn append(&mut self, day: i32, rows: &[Row]) -> u64 {
        let handle = self.lake.table(Table::UsageEvents);
        let batch = usage_batch(day, rows);
        let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), None).unwrap();
        writer.write(&batch).unwrap();
        let bytes = writer.into_inner().unwrap();
        self.files += 1;
        self.version += 1;
        let day_text = format!("2026-05-{:02}", day - FIRST_DAY + 1);
        let path = format!("event_day={day_text}/part-{}.parquet", self.files);
        let tenants = rows.iter().map(|row| row.tenant);
        let add = json!({ "add": {
            "path": path,
            "partitionValues": { "event_day": day_text },
            "size": bytes.len(),
            "modificationTime": 0,
            "dataChange": true,
            "stats": json!({
                "numRecords": rows.len(),
                "minValues": { "tenant": tenants.clone().min() },
                "maxValues": { "tenant": tenants.max() },
                "nullCount": { "meter": rows.iter().filter(|row| row.meter.is_none()).count() },
            }).to_string(),
        }});
        handle.store().put(&Path::from(path.as_str()), bytes.into()).await.unwrap();
        let entry = Path::from(format!("_delta_log/{:020}.json", self.version));
        let info = json!({ "commitInfo": { "timestamp": COMMITTED_MS + self.version as i64 * 1_000 } });
        handle.store().put(&entry, format!("{info}\n{add}").into()).await.unwrap();
        self.version
    }
}

pub fn usage_batch(day: i32, rows: &[Row]) -> RecordBatch {
    let schema = Table::UsageEvents.file_schema();
    let count = rows.len();
    let columns = schema.fields().iter().map(|field| -> ArrayRef {
        let at = |row: &Row| i64::from(day) * DAY_US + row.time_us;
        let times = |values: Vec<Option<i64>>| -> ArrayRef {
            Arc::new(TimestampMicrosecondArray::from(values).with_timezone("UTC"))
        };
        match (field.name().as_str(), field.data_type()) {
            ("tenant", _) => Arc::new(StringArray::from_iter_values(rows.iter().map(|row| row.tenant))),
            ("meter", _) => Arc::new(rows.iter().map(|row| row.meter).collect::<StringArray>()),
            ("dimensions", _) => Arc::new(rows.iter().map(|row| row.dimensions).collect::<StringArray>()),
            ("time", _) => times(rows.iter().map(|row| Some(at(row))).collect()),
            (_, DataType::Decimal128(..)) => {
                let values = Decimal128Array::from_iter_values(rows.iter().map(|row| row.value));
                Arc::new(values.with_precision_and_scale(VALUE_PRECISION, VALUE_SCALE).unwrap())
            }
            (_, DataType::Binary) => {
                let identities = (0..count).map(|at| ((day as u128) << 32 | at as u128).to_be_bytes());
                Arc::new(BinaryArray::from_iter_values(identities))
            }
            (_, DataType::Boolean) => Arc::new(BooleanArray::from(vec![true; count])),
            (_, DataType::Int32) => Arc::new(Int32Array::from(vec![0; count])),
            (_, DataType::Int64) => Arc::new(Int64Array::from_iter_values(0..count as i64)),
            (_, DataType::Timestamp(..)) => times(vec![field.is_nullable().then_some(0).or(Some(1)); count]),
            _ => Arc::new(StringArray::from_iter_values(vec!["x"; count])),
        }
    });
    RecordBatch::try_new(Arc::clone(&schema), columns.collect()).unwrap()
}
