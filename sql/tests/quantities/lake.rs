//! Small lakes in memory, written by hand: some days compacted, some not.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryArray, BooleanArray, Decimal128Array, Int32Array, Int64Array, RecordBatch, StringArray,
    TimestampMicrosecondArray,
};
use object_store::ObjectStoreExt;
use object_store::path::Path;
use parquet::arrow::ArrowWriter;
use parquet::file::properties::WriterProperties;
use serde_json::json;
use sql::lake::{Lake, Table, TableHandle, VALUE_PRECISION, VALUE_SCALE};

use crate::corrected::{self, Correction};
use crate::random::Random;
use crate::{DAY_US, Event, FIRST_DAY, oracle};

#[derive(Clone)]
pub struct World {
    pub lake: Lake,
    pub table: TableHandle,
    version: u64,
    /// The rows of each day as they lie there, and their files.
    days: BTreeMap<i64, (Vec<Event>, Vec<String>)>,
}

impl World {
    pub async fn write(events: &[Event], random: &mut Random) -> World {
        let lake = Lake::open("memory:///").unwrap();
        let table = lake.table(Table::UsageEvents);
        table.create_if_missing().await.unwrap();
        let mut world = World { lake, table, version: 0, days: BTreeMap::new() };
        for (day, events) in by_day(events) {
            let files = files_of_day(events.clone(), random);
            let mut paths = Vec::new();
            for (name, rows) in files {
                paths.push(world.add(day, &name, &rows, &[], random).await);
            }
            world.days.insert(day, (events, paths));
        }
        world
    }

    /// Events that come later, as ingest would add them.
    pub async fn arrive(&mut self, events: &[Event], random: &mut Random) {
        for (day, events) in by_day(events) {
            let path = self.add(day, "part", &events, &[], random).await;
            let known = self.days.entry(day).or_default();
            known.0.extend(events);
            known.1.push(path);
        }
    }

    /// Puts a day in order, and sometimes takes out an event that another day is said to have, too.
    pub async fn compact(&mut self, random: &mut Random) {
        let day = *self.days.keys().nth(random.below(self.days.len() as u64) as usize).unwrap();
        let (rows, paths) = self.days.remove(&day).unwrap();
        let mut sorted = oracle::counting(&rows);
        if sorted.len() > 1 && random.chance(40) {
            sorted.remove(random.below(sorted.len() as u64) as usize);
        }
        sort(&mut sorted);
        let lost = rows.len() - sorted.len();
        let notes =
            json!({ "commitInfo": { "meterhouseCompaction": { "duplicateRows": lost, "conflictRows": 0 } } });
        let removes = paths.iter().map(|path| {
            json!({ "remove": { "path": path, "dataChange": false, "partitionValues": { "event_day": day_text(day) } } })
        });
        let actions: Vec<String> =
            std::iter::once(notes).chain(removes).map(|action| action.to_string()).collect();
        let path = self.add(day, "sorted", &sorted, &actions, random).await;
        self.days.insert(day, (sorted, vec![path]));
    }

    /// Voids and amendments, in files of their own.
    pub async fn correct(&mut self, corrections: &[Correction], random: &mut Random) {
        let mut by_day: BTreeMap<i64, Vec<Correction>> = BTreeMap::new();
        for correction in corrections {
            let day = correction.time_us.div_euclid(DAY_US);
            by_day.entry(day).or_default().push(correction.clone());
        }
        for (day, own) in by_day {
            self.version += 1;
            let name = format!("corrections-{}", self.version);
            let rows = corrected::batch(&own);
            append_batch(&self.table, day, &name, rows, &[], self.version, random).await;
        }
    }

    async fn add(
        &mut self,
        day: i64,
        name: &str,
        rows: &[Event],
        others: &[String],
        random: &mut Random,
    ) -> String {
        self.version += 1;
        let name = format!("{name}-{}", self.version);
        append(&self.table, day, &name, rows, others, self.version, random).await
    }
}

fn by_day(events: &[Event]) -> BTreeMap<i64, Vec<Event>> {
    let mut days: BTreeMap<i64, Vec<Event>> = BTreeMap::new();
    for event in events {
        days.entry(event.time_us.div_euclid(DAY_US)).or_default().push(event.clone());
    }
    days
}

fn sort(events: &mut [Event]) {
    events.sort_by(|left, right| {
        let key = |event: &Event| {
            (event.tenant.clone(), event.meter, event.time_us, event.arrival_us, event.offset)
        };
        key(left).cmp(&key(right))
    });
}

fn day_text(day: i64) -> String {
    format!("2026-05-{:02}", day - i64::from(FIRST_DAY) + 1)
}

fn files_of_day(events: Vec<Event>, random: &mut Random) -> Vec<(String, Vec<Event>)> {
    if random.chance(50) {
        let mut sorted = oracle::counting(&events);
        sort(&mut sorted);
        let cut = random.below(sorted.len() as u64 + 1) as usize;
        let rest = sorted.split_off(cut);
        let files = [("sorted-b".to_owned(), sorted), ("sorted-a".to_owned(), rest)];
        return files.into_iter().filter(|(_, rows)| !rows.is_empty()).collect();
    }
    let mut files: BTreeMap<String, Vec<Event>> = BTreeMap::new();
    for event in events {
        files.entry(format!("part-{}", random.below(3))).or_default().push(event);
    }
    files.into_iter().collect()
}

async fn append(
    table: &TableHandle,
    day: i64,
    name: &str,
    rows: &[Event],
    others: &[String],
    version: u64,
    random: &mut Random,
) -> String {
    append_batch(table, day, name, (batch(rows), rows.to_vec()), others, version, random).await
}

async fn append_batch(
    table: &TableHandle,
    day: i64,
    name: &str,
    (batch, rows): (RecordBatch, Vec<Event>),
    others: &[String],
    version: u64,
    random: &mut Random,
) -> String {
    let properties =
        WriterProperties::builder().set_max_row_group_row_count(Some(1 + random.below(40) as usize)).build();
    let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), Some(properties)).unwrap();
    writer.write(&batch).unwrap();
    let bytes = writer.into_inner().unwrap();
    let day_text = day_text(day);
    let path = format!("event_day={day_text}/{name}.parquet");
    let bound = |text: &dyn Fn(&Event) -> Option<String>, largest: bool| {
        let texts = rows.iter().filter_map(text);
        if largest { texts.max() } else { texts.min() }
    };
    let bounds = |largest: bool| {
        json!({
            "tenant": bound(&|event| Some(event.tenant.clone()), largest),
            "meter": bound(&|event| event.meter.map(str::to_owned), largest),
            "time": bound(&|event| Some(format!("{:020}", event.time_us)), largest),
        })
    };
    let statistics =
        json!({ "numRecords": rows.len(), "minValues": bounds(false), "maxValues": bounds(true) });
    let add = json!({ "add": {
        "path": path, "partitionValues": { "event_day": day_text }, "size": bytes.len(),
        "modificationTime": 0, "dataChange": others.is_empty(), "stats": statistics.to_string(),
    }});
    table.store().put(&Path::from(path.as_str()), bytes.into()).await.unwrap();
    let entry = Path::from(format!("_delta_log/{version:020}.json"));
    let lines: Vec<String> = others.iter().cloned().chain([add.to_string()]).collect();
    table.store().put(&entry, lines.join("\n").into()).await.unwrap();
    path
}

pub fn batch(rows: &[Event]) -> RecordBatch {
    let schema = Table::UsageEvents.file_schema();
    let texts = |text: &dyn Fn(&Event) -> Option<String>| -> ArrayRef {
        Arc::new(rows.iter().map(text).collect::<StringArray>())
    };
    let times = |time: &dyn Fn(&Event) -> Option<i64>| -> ArrayRef {
        Arc::new(rows.iter().map(time).collect::<TimestampMicrosecondArray>().with_timezone("UTC"))
    };
    let columns = schema.fields().iter().map(|field| -> ArrayRef {
        match field.name().as_str() {
            "identity" => Arc::new(BinaryArray::from_iter_values(rows.iter().map(|event| event.identity))),
            "tenant" => texts(&|event| Some(event.tenant.clone())),
            "meter" => texts(&|event| event.meter.map(str::to_owned)),
            "time" => times(&|event| Some(event.time_us)),
            "signal_time" => times(&|event| event.signal_time_us),
            "arrival" => times(&|event| Some(event.arrival_us)),
            "value" => {
                let values = rows.iter().map(|event| event.value).collect::<Decimal128Array>();
                Arc::new(values.with_precision_and_scale(VALUE_PRECISION, VALUE_SCALE).unwrap())
            }
            "resource" => texts(&|event| event.resource.clone()),
            "dimensions" => texts(&Event::dimension_text),
            "signal" => texts(&|event| event.signal.map(str::to_owned)),
            "data" => texts(&|_| None),
            "time_given" => Arc::new(BooleanArray::from(vec![true; rows.len()])),
            "partition" | "batch_index" => Arc::new(Int32Array::from(vec![0; rows.len()])),
            "offset" => Arc::new(Int64Array::from_iter_values(rows.iter().map(|event| event.offset))),
            _ => texts(&|_| Some("x".to_owned())),
        }
    });
    RecordBatch::try_new(Arc::clone(&schema), columns.collect()).unwrap()
}
