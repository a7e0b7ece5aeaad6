//! The events behind a line, from the version of the lake that its invoice names.
//!
//! Owns which rows those are: the line's tenant, meter and values within its span; before them, what a level, a counter or
//! a session carries into it; each event once, the first to arrive (DESIGN.md 3.2); and none that was voided, but what an
//! amendment says instead.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use ::sql::lake::{AMEND, Lake, Table, VOID};
use ::sql::quantities::{AmendedReading, Correction, EventCorrections};
use ::sql::session::{SessionSettings, open_session};
use anyhow::{Context, Result};
use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{Decimal128Type, Int32Type, Int64Type, TimestampMicrosecondType};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use datafusion::prelude::{col, lit};
use datafusion::scalar::ScalarValue;
use futures::TryStreamExt;
use rating::catalog::{Catalog, MeterKind};
use rating::exact::Exact;
use rating::line::LineItem;
use rating::quantity::Dimensions;
use rating::usage::View;

use crate::invoice::StoredInvoice;
use crate::output::Rows;

use super::{filter_of, time};

const COLUMNS: [&str; 14] = [
    "identity",
    "source",
    "id",
    "time",
    "value",
    "resource",
    "dimensions",
    "signal",
    "signal_time",
    "topic",
    "partition",
    "offset",
    "batch_index",
    "arrival",
];

/// An event as it was counted.
#[derive(Debug, Clone)]
pub struct Counted {
    time_us: i64,
    /// When a session's event says that it happened.
    happened_us: i64,
    is_carried: bool,
    resource: String,
    dimensions: Dimensions,
    signal: Option<String>,
    value_nano: Option<i128>,
    value: String,
    source: String,
    id: String,
    identity: Vec<u8>,
    topic: String,
    partition: i32,
    offset: i64,
    batch_index: i32,
    arrival_us: i64,
}

#[derive(Debug, Default)]
pub struct CountedEvents {
    /// In the order in which they were counted.
    pub events: Vec<Counted>,
    /// Rows of events that had been counted already.
    pub repeated: usize,
    /// Events of the meter that were taken back.
    pub voided: usize,
    /// Events that count with other content than they came with.
    pub amended: usize,
}

pub async fn counted(
    lake: &Lake,
    catalog: &Catalog,
    stored: &StoredInvoice,
    line: &LineItem,
) -> Result<CountedEvents> {
    let Some(used) = &line.quantity else { return Ok(CountedEvents::default()) };
    let provenance = &stored.invoice.provenance;
    if provenance.table_version < 0 {
        return Ok(CountedEvents::default());
    }
    let meter = catalog.meter(&used.meter).with_context(|| format!("there is no meter {}", used.meter))?;
    let versions = BTreeMap::from([(Table::UsageEvents, provenance.table_version.cast_unsigned())]);
    let session = open_session(lake, &SessionSettings { versions, ..SessionSettings::default() }).await?;
    let is_of_line = col("tenant").eq(lit(&stored.invoice.tenant)).and(col("meter").eq(lit(&used.meter)));
    let is_of_line = is_of_line.and(col("event_type").in_list(vec![lit(VOID), lit(AMEND)], true));
    let end = ScalarValue::TimestampMicrosecond(Some(line.key.span.end_us), Some("UTC".into()));
    let mut filter = is_of_line;
    if !matches!(meter.kind, MeterKind::Session { .. }) {
        // What a session tells may be stored under a later time than that of which it tells.
        filter = filter.and(col("time").lt(lit(end)));
    }
    if matches!(meter.kind, MeterKind::Delta | MeterKind::Unique) {
        let start = ScalarValue::TimestampMicrosecond(Some(line.key.span.start_us), Some("UTC".into()));
        filter = filter.and(col("time").gt_eq(lit(start)));
    }
    let table = session.context.table(Table::UsageEvents.name()).await?;
    let mut batches = table.filter(filter)?.select_columns(&COLUMNS)?.execute_stream().await?;
    let mut events = Vec::new();
    while let Some(batch) = batches.try_next().await? {
        read(&batch, &mut events)?;
    }
    let view = View {
        meter: used.meter.clone(),
        only: filter_of(catalog, stored, line)?,
        by: used.dimensions.keys().cloned().collect(),
    };
    let mut found = CountedEvents { repeated: once(&mut events), events, ..CountedEvents::default() };
    let table = lake.table(Table::UsageEvents);
    let snapshot = table.snapshot(Some(provenance.table_version.cast_unsigned())).await?;
    let tenant = BTreeSet::from([stored.invoice.tenant.clone()]);
    let corrections = EventCorrections::load(&table, &snapshot.files, Some(&tenant)).await?;
    found.correct(&corrections, &stored.invoice.tenant, &used.meter)?;
    found.choose(&meter.kind, &view, line);
    Ok(found)
}

/// Leaves each event once, in the order of time and arrival; says how many rows went.
fn once(events: &mut Vec<Counted>) -> usize {
    let rows = events.len();
    events.sort_by(|left, right| left.arrived().cmp(&right.arrived()));
    let mut seen = HashSet::new();
    events.retain(|event| seen.insert((event.identity.clone(), event.time_us)));
    events
        .sort_by(|left, right| (left.happened_us, left.arrived()).cmp(&(right.happened_us, right.arrived())));
    rows - events.len()
}

impl CountedEvents {
    /// Takes out what was voided, and puts in what amendments say.
    fn correct(&mut self, corrections: &EventCorrections, tenant: &str, meter: &str) -> Result<()> {
        if corrections.is_empty() {
            return Ok(());
        }
        let mut amended = BTreeSet::new();
        for event in std::mem::take(&mut self.events) {
            let Some(correction) = corrections.of(&event.identity, tenant) else {
                self.events.push(event);
                continue;
            };
            if !correction.is_amendment() {
                self.voided += 1;
            } else if correction.time_us.is_none() && amended.insert(event.identity.clone()) {
                self.amended += 1;
                let own = correction.readings.iter().filter(|reading| reading.meter == meter);
                let own = own.map(|reading| event.amended(reading, event.time_us));
                self.events.extend(own.collect::<Result<Vec<_>>>()?);
            }
        }
        for (own_tenant, time_us, correction) in corrections.with_own_time() {
            let own =
                correction.readings.iter().filter(|reading| own_tenant == tenant && reading.meter == meter);
            for reading in own {
                self.amended += 1;
                self.events.push(Counted::of(correction).amended(reading, time_us)?);
            }
        }
        self.events.sort_by(|left, right| {
            (left.happened_us, left.arrived()).cmp(&(right.happened_us, right.arrived()))
        });
        Ok(())
    }

    /// Says what is not among the events.
    pub fn tell(&self) {
        if self.repeated > 0 {
            eprintln!("{} rows of events that came twice were passed over", self.repeated);
        }
        if self.voided > 0 {
            eprintln!("{} events of the meter were voided", self.voided);
        }
        if self.amended > 0 {
            eprintln!("{} events of the meter were amended and count with their new content", self.amended);
        }
    }

    /// Gives what is told of a running session the values that it has: a stop ends it there whatever the event names, and
    /// a heartbeat that names none keeps it there.
    fn place_in_sessions(&mut self) {
        let mut running: BTreeMap<String, Dimensions> = BTreeMap::new();
        for event in &mut self.events {
            let is_bare = event.dimensions.is_empty();
            match (event.signal.as_deref(), running.get(&event.resource)) {
                (Some("stop"), Some(own)) => {
                    event.dimensions = own.clone();
                    running.remove(&event.resource);
                }
                (Some("stop"), None) => {}
                (Some("heartbeat"), Some(own)) if is_bare => event.dimensions = own.clone(),
                _ => {
                    running.insert(event.resource.clone(), event.dimensions.clone());
                }
            }
        }
    }

    /// Keeps what lies in the line's span, and before it what is carried in: of each resource the last event.
    fn choose(&mut self, kind: &MeterKind, view: &View, line: &LineItem) {
        let span = line.key.span;
        let group = |event: &Counted| {
            view.takes(&event.dimensions) && view.group(&event.dimensions) == line.key.dimensions
        };
        let is_session = matches!(kind, MeterKind::Session { .. });
        if is_session {
            self.place_in_sessions();
        }
        // A session that moves to other values is shown there as well as here; its own events tell.
        let carried_of = |event: &Counted| {
            (event.resource.clone(), if is_session { None } else { Some(event.dimensions.clone()) })
        };
        let mut carried: BTreeMap<_, Counted> = BTreeMap::new();
        let mut within = Vec::new();
        for mut event in std::mem::take(&mut self.events).into_iter().filter(|event| group(event)) {
            if span.contains(event.happened_us) {
                within.push(event);
            } else if event.happened_us < span.start_us {
                event.is_carried = true;
                carried.insert(carried_of(&event), event);
            }
        }
        let goes_on = |event: &Counted| match (kind, event.signal.as_deref()) {
            (MeterKind::Gauge { expires_after }, _) => {
                let expired = expires_after.is_some_and(|after| {
                    i128::from(event.happened_us) + after.as_micros() < i128::from(span.start_us)
                });
                event.value_nano != Some(0) && !expired
            }
            (MeterKind::Cumulative, _) => true,
            (_, Some("stop")) => false,
            (_, Some("complete")) => {
                let length_us = event.value_nano.unwrap_or_default() / 1_000;
                i128::from(event.happened_us) + length_us > i128::from(span.start_us)
            }
            _ => is_session,
        };
        self.events = carried.into_values().filter(goes_on).collect();
        self.events.sort_by_key(|event| event.happened_us);
        self.events.extend(within);
    }

    pub fn rows(&self) -> Rows {
        let mut rows = Rows::new(&[
            "time",
            "carried",
            "resource",
            "dimensions",
            "signal",
            "value",
            "source",
            "id",
            "topic",
            "partition",
            "offset",
            "batch_index",
        ]);
        for event in &self.events {
            let dimensions = event.dimensions.iter().map(|(name, value)| format!("{name}={value}"));
            rows.push(vec![
                time(event.happened_us).into(),
                event.is_carried.into(),
                event.resource.clone().into(),
                dimensions.collect::<Vec<_>>().join(", ").into(),
                event.signal.clone().into(),
                event.value.clone().into(),
                event.source.clone().into(),
                event.id.clone().into(),
                event.topic.clone().into(),
                event.partition.into(),
                event.offset.into(),
                event.batch_index.into(),
            ]);
        }
        rows
    }
}

impl Counted {
    /// The event that an amendment with a time of its own stands for.
    fn of(correction: &Correction) -> Self {
        let arrived = &correction.arrived;
        Self {
            time_us: 0,
            happened_us: 0,
            is_carried: false,
            resource: String::new(),
            dimensions: Dimensions::new(),
            signal: None,
            value_nano: None,
            value: String::new(),
            source: correction.source.clone(),
            id: correction.id.clone(),
            identity: Vec::new(),
            topic: arrived.topic.clone(),
            partition: arrived.partition,
            offset: arrived.offset,
            batch_index: arrived.batch_index,
            arrival_us: arrived.arrival_us,
        }
    }

    /// The same event with other content.
    fn amended(&self, reading: &AmendedReading, time_us: i64) -> Result<Self> {
        Ok(Self {
            time_us,
            happened_us: reading.signal_time_us.unwrap_or(time_us),
            resource: reading.resource.clone(),
            dimensions: dimensions(Some(&reading.dimensions))?,
            signal: Some(reading.signal.clone()).filter(|signal| !signal.is_empty()),
            value_nano: reading.value_nano,
            value: reading.value_nano.map(|nano| Exact::from_nano(nano).to_string()).unwrap_or_default(),
            ..self.clone()
        })
    }

    fn arrived(&self) -> (i64, &str, i32, i64, i32) {
        (self.arrival_us, &self.topic, self.partition, self.offset, self.batch_index)
    }
}

fn read(batch: &RecordBatch, events: &mut Vec<Counted>) -> Result<()> {
    let column = |name: &str| batch.column_by_name(name).with_context(|| format!("no column {name}"));
    let texts = |name: &str| -> Result<Vec<Option<String>>> {
        let column = arrow::compute::cast(column(name)?, &arrow::datatypes::DataType::Utf8)?;
        Ok(column.as_string::<i32>().iter().map(|text| text.map(str::to_owned)).collect())
    };
    let identity = arrow::compute::cast(column("identity")?, &arrow::datatypes::DataType::Binary)?;
    let times =
        |name: &str| Ok::<_, anyhow::Error>(column(name)?.as_primitive::<TimestampMicrosecondType>().clone());
    let (happened, signalled, arrival) = (times("time")?, times("signal_time")?, times("arrival")?);
    let values = column("value")?.as_primitive::<Decimal128Type>().clone();
    let options = FormatOptions::default();
    let shown = ArrayFormatter::try_new(&values, &options)?;
    let (partition, batch_index) = (column("partition")?, column("batch_index")?);
    let offset = column("offset")?.as_primitive::<Int64Type>();
    let (sources, ids, topics) = (texts("source")?, texts("id")?, texts("topic")?);
    let (resources, dimensions, signals) = (texts("resource")?, texts("dimensions")?, texts("signal")?);
    for row in 0..batch.num_rows() {
        let dimensions = self::dimensions(dimensions[row].as_deref())?;
        let has_value = values.is_valid(row);
        events.push(Counted {
            time_us: happened.value(row),
            happened_us: if signalled.is_valid(row) { signalled.value(row) } else { happened.value(row) },
            is_carried: false,
            resource: resources[row].clone().unwrap_or_default(),
            dimensions,
            signal: signals[row].clone(),
            value_nano: has_value.then(|| values.value(row)),
            value: if has_value { plain(&shown.value(row).to_string()) } else { String::new() },
            source: sources[row].clone().unwrap_or_default(),
            id: ids[row].clone().unwrap_or_default(),
            identity: identity.as_binary::<i32>().value(row).to_vec(),
            topic: topics[row].clone().unwrap_or_default(),
            partition: partition.as_primitive::<Int32Type>().value(row),
            offset: offset.value(row),
            batch_index: batch_index.as_primitive::<Int32Type>().value(row),
            arrival_us: arrival.value(row),
        });
    }
    Ok(())
}

fn dimensions(text: Option<&str>) -> Result<Dimensions> {
    match text {
        None | Some("") => Ok(Dimensions::new()),
        Some(text) => serde_json::from_str(text).with_context(|| format!("cannot read dimensions {text}")),
    }
}

/// A decimal without the zeros that its column adds.
fn plain(text: &str) -> String {
    if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        text.to_owned()
    }
}
