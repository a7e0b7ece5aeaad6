//! A small lake whose rows are written with chosen arrivals, and what one reads back from it.

use std::collections::BTreeMap;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{Decimal128Type, Int32Type, Int64Type, TimestampMicrosecondType};
use deltalake_core::kernel::Action;
use ingest::columns::UsageColumns;
use ingest::commit::{Commit, TableLog};
use ingest::day_file::{DayFileWriter, FileKind};
use ingest::event::{Identity, Reading, UsageEvent};
use ingest::raw_message::Coordinates;
use jobs::compact::{CompactError, CompactReport, CompactSettings, compact};
use object_store::ObjectStoreExt;
use object_store::path::Path;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use sql::lake::{DataFile, Lake, Table, TableSnapshot};

/// 2026-05-01.
pub const FIRST_DAY: i32 = 20_574;
pub const DAY_US: i64 = 86_400_000_000;

pub fn meters() -> Vec<String> {
    ["cpu", "disk", "memory", "network"].map(str::to_owned).to_vec()
}

/// An event as ingest would have decoded it. The offset is its name in the tests.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(clippy::struct_field_names, reason = "the column is called so")]
pub struct Event {
    pub offset: i64,
    pub id: String,
    pub tenant: String,
    pub event_type: String,
    /// Days since `FIRST_DAY`.
    pub day: i32,
    pub second: i64,
    pub time_given: bool,
    pub data: String,
    pub meters: Vec<usize>,
    pub arrival: i64,
}

/// An event of meter 0, on the first day, which arrives in the order of the offsets.
pub fn event(offset: i64, id: &str) -> Event {
    Event {
        offset,
        id: id.to_owned(),
        tenant: "acme".to_owned(),
        event_type: "sample".to_owned(),
        day: 0,
        second: 10,
        time_given: true,
        data: r#"{"v":1}"#.to_owned(),
        meters: vec![0],
        arrival: offset,
    }
}

impl Event {
    pub fn on(self, day: i32) -> Self {
        Self { day, ..self }
    }

    pub fn at_second(self, second: i64) -> Self {
        Self { second, ..self }
    }

    pub fn untimed(self) -> Self {
        Self { time_given: false, ..self }
    }

    pub fn tenant(self, tenant: &str) -> Self {
        Self { tenant: tenant.to_owned(), ..self }
    }

    pub fn event_type(self, event_type: &str) -> Self {
        Self { event_type: event_type.to_owned(), ..self }
    }

    pub fn data(self, data: &str) -> Self {
        Self { data: data.to_owned(), ..self }
    }

    pub fn meters(self, meters: &[usize]) -> Self {
        Self { meters: meters.to_vec(), ..self }
    }

    pub fn arrived(self, arrival: i64) -> Self {
        Self { arrival, ..self }
    }

    pub fn time_us(&self) -> i64 {
        i64::from(FIRST_DAY + self.day) * DAY_US + self.second * 1_000_000
    }

    fn value(&self, meter: usize) -> i128 {
        i128::from(self.offset) * 1_000 + meter as i128
    }

    /// The rows that this event must have in the lake.
    pub fn rows(&self) -> Vec<Row> {
        let row = |meter: Option<usize>, data: Option<&str>| Row {
            tenant: self.tenant.clone(),
            meter: meter.map(|meter| meters()[meter].clone()),
            time_us: self.time_us(),
            arrival: self.arrival,
            offset: self.offset,
            day: FIRST_DAY + self.day,
            id: self.id.clone(),
            event_type: self.event_type.clone(),
            time_given: self.time_given,
            value: meter.map(|meter| self.value(meter)),
            data: data.map(str::to_owned),
        };
        if self.meters.is_empty() {
            return vec![row(None, Some(&self.data))];
        }
        let data = |at: usize| (at == 0).then_some(self.data.as_str());
        self.meters.iter().enumerate().map(|(at, meter)| row(Some(*meter), data(at))).collect()
    }

    pub fn push(&self, columns: &mut UsageColumns) {
        let reading = |meter: &usize| Reading {
            meter: *meter,
            value: Some(self.value(*meter)),
            resource: Some("r".into()),
            dimensions: None,
            signal: None,
            signal_time_us: None,
        };
        let event = UsageEvent {
            identity: Identity::of("/test", &self.id),
            source: "/test".into(),
            id: (&self.id).into(),
            tenant: (&self.tenant).into(),
            event_type: (&self.event_type).into(),
            time_us: self.time_us(),
            time_given: self.time_given,
            data: Some((&self.data).into()),
            batch_index: 0,
            readings: self.meters.iter().map(reading).collect(),
        };
        let at = Coordinates { topic: "usage", partition: 0, offset: self.offset };
        columns.push(&event, &meters(), at, self.arrival);
    }
}

/// A row of the lake; rows sort as compacted files must.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Row {
    pub tenant: String,
    pub meter: Option<String>,
    pub time_us: i64,
    pub arrival: i64,
    pub offset: i64,
    pub day: i32,
    pub id: String,
    pub event_type: String,
    pub time_given: bool,
    pub value: Option<i128>,
    pub data: Option<String>,
}

pub struct TestLake {
    pub folder: tempfile::TempDir,
    pub lake: Lake,
    pub runtime: tokio::runtime::Runtime,
}

impl TestLake {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let lake = Lake::open(folder.path().join("lake").to_str().unwrap()).unwrap();
        Self::over(lake, folder)
    }

    /// Without files, for tests that make many lakes.
    pub fn in_memory() -> Self {
        Self::over(Lake::open("memory:///").unwrap(), tempfile::tempdir().unwrap())
    }

    fn over(lake: Lake, folder: tempfile::TempDir) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        Self { folder, lake, runtime }
    }

    /// Commits one batch, as ingest does: a file per day.
    pub fn ingest(&self, events: &[Event]) {
        self.runtime.block_on(append(&self.lake, events));
    }

    pub fn compact_with(&self, settings: CompactSettings) -> Result<CompactReport, CompactError> {
        self.runtime.block_on(compact(&self.lake, settings, |_| ()))
    }

    pub fn compact(&self) -> CompactReport {
        self.compact_with(CompactSettings::default()).unwrap()
    }

    pub fn snapshot(&self, table: Table, version: Option<u64>) -> TableSnapshot {
        self.runtime.block_on(self.lake.table(table).snapshot(version)).unwrap()
    }

    pub fn version(&self) -> u64 {
        self.snapshot(Table::UsageEvents, None).version
    }

    fn batches(&self, table: Table, file: &DataFile) -> Vec<RecordBatch> {
        let store = self.lake.table(table).store().clone();
        let path = Path::from(file.path.as_str());
        let bytes = self.runtime.block_on(async { store.get(&path).await.unwrap().bytes().await.unwrap() });
        let reader = ParquetRecordBatchReaderBuilder::try_new(bytes).unwrap().build().unwrap();
        reader.map(Result::unwrap).collect()
    }

    /// The rows of a file in their order.
    pub fn rows_of(&self, file: &DataFile) -> Vec<Row> {
        let batches = self.batches(Table::UsageEvents, file);
        let rows: Vec<Row> = batches.iter().flat_map(|batch| rows_of_batch(batch, file.day)).collect();
        assert_eq!(rows.len() as u64, file.rows);
        rows
    }

    /// Every row of a version, sorted.
    pub fn rows_at(&self, version: Option<u64>) -> Vec<Row> {
        let files = self.snapshot(Table::UsageEvents, version).files;
        let mut rows: Vec<Row> = files.iter().flat_map(|file| self.rows_of(file)).collect();
        rows.sort();
        rows
    }

    /// The events of the newest version by their offsets; each must have all its rows as they were.
    pub fn events_left(&self, all: &[Event]) -> Vec<i64> {
        let mut rows: BTreeMap<i64, Vec<Row>> = BTreeMap::new();
        for row in self.rows_at(None) {
            rows.entry(row.offset).or_default().push(row);
        }
        for (offset, rows) in &rows {
            let event = all.iter().find(|event| event.offset == *offset).expect("only what was ingested");
            assert_eq!(*rows, sorted(event.rows()), "rows of event {offset}");
        }
        rows.into_keys().collect()
    }

    /// The offsets of the conflicts that were recorded, in order.
    pub fn conflicts(&self) -> Vec<i64> {
        let files = self.snapshot(Table::RejectedMessages, None).files;
        let mut offsets = Vec::new();
        for batch in files.iter().flat_map(|file| self.batches(Table::RejectedMessages, file)) {
            let reasons = batch.column_by_name("reason").unwrap().as_string::<i32>();
            assert!(reasons.iter().all(|reason| reason == Some("conflict")));
            offsets.extend(batch.column_by_name("offset").unwrap().as_primitive::<Int64Type>().values());
        }
        offsets.sort_unstable();
        offsets
    }

    /// The reject table's rows as (offset, detail, payload).
    pub fn conflict_texts(&self) -> Vec<(i64, String, String)> {
        let files = self.snapshot(Table::RejectedMessages, None).files;
        let mut texts = Vec::new();
        for batch in files.iter().flat_map(|file| self.batches(Table::RejectedMessages, file)) {
            let offsets = batch.column_by_name("offset").unwrap().as_primitive::<Int64Type>();
            let details = batch.column_by_name("detail").unwrap().as_string::<i32>();
            let payloads = batch.column_by_name("payload").unwrap().as_binary::<i32>();
            texts.extend((0..batch.num_rows()).map(|row| {
                let payload = String::from_utf8(payloads.value(row).to_vec()).unwrap();
                (offsets.value(row), details.value(row).to_owned(), payload)
            }));
        }
        texts.sort();
        texts
    }

    /// Every file must be a compacted one, and those of a day, one after the other, sorted.
    pub fn assert_sorted(&self) {
        let mut days: BTreeMap<i32, Vec<Vec<Row>>> = BTreeMap::new();
        for file in self.snapshot(Table::UsageEvents, None).files {
            assert_eq!(FileKind::of(&file.path), FileKind::Sorted, "{}", file.path);
            days.entry(file.day).or_default().push(self.rows_of(&file));
        }
        for (day, mut files) in days {
            files.sort_by(|left, right| left.first().cmp(&right.first()));
            assert!(files.concat().is_sorted(), "day {day} is not sorted: {files:#?}");
        }
    }
}

pub async fn append(lake: &Lake, events: &[Event]) {
    let mut log = TableLog::open(lake.table(Table::UsageEvents)).await.unwrap();
    lake.table(Table::RejectedMessages).create_if_missing().await.unwrap();
    let mut days: BTreeMap<i32, UsageColumns> = BTreeMap::new();
    for event in events {
        event.push(days.entry(FIRST_DAY + event.day).or_default());
    }
    let mut files = Vec::new();
    for (day, mut columns) in days {
        let mut writer = DayFileWriter::new(Table::UsageEvents, day, FileKind::Arrived).unwrap();
        writer.write(&columns.finish()).unwrap();
        files.push(writer.finish(0).unwrap());
    }
    log.upload(&files).await.unwrap();
    let actions = files.iter().map(|file| Action::Add(file.add.clone())).collect();
    log.commit(&Commit { operation: "WRITE", actions, ..Commit::default() }).await.unwrap();
}

pub fn sorted<T: Ord>(mut rows: Vec<T>) -> Vec<T> {
    rows.sort();
    rows
}

fn rows_of_batch(batch: &RecordBatch, day: i32) -> Vec<Row> {
    let column = |name: &str| batch.column_by_name(name).unwrap();
    let text = |name: &str, row: usize| {
        let column = column(name).as_string::<i32>();
        column.is_valid(row).then(|| column.value(row).to_owned())
    };
    let micros = |name: &str, row: usize| column(name).as_primitive::<TimestampMicrosecondType>().value(row);
    let values = column("value").as_primitive::<Decimal128Type>();
    let row = |row: usize| {
        assert_eq!(text("topic", row).as_deref(), Some("usage"));
        assert_eq!(column("partition").as_primitive::<Int32Type>().value(row), 0);
        let id = text("id", row).unwrap();
        assert_eq!(column("identity").as_binary::<i32>().value(row), Identity::of("/test", &id).0);
        Row {
            tenant: text("tenant", row).unwrap(),
            meter: text("meter", row),
            time_us: micros("time", row),
            arrival: micros("arrival", row),
            offset: column("offset").as_primitive::<Int64Type>().value(row),
            day,
            id,
            event_type: text("event_type", row).unwrap(),
            time_given: column("time_given").as_boolean().value(row),
            value: values.is_valid(row).then(|| values.value(row)),
            data: text("data", row),
        }
    };
    (0..batch.num_rows()).map(row).collect()
}
