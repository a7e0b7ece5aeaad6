//! Voided and amended events: what does not count, and what counts in its place.
//!
//! Owns which correction of an event is in force (the last to arrive, each once, of the event's own tenant), and putting
//! it into the days of a pass: rows that are passed over, as if they had come twice, and rows that are added. Does not own
//! what corrections mean to a producer (`ingest`, `decode/correction`). Their files have a name of their own, so without
//! any of them nothing is read. With some, the identities are read of the row groups that may hold their tenants.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{Decimal128Type, Int32Type, Int64Type, TimestampMicrosecondType};
use futures::TryStreamExt;

use super::files::LakeFile;
use super::rows::{ARRIVED, Arrival, ArrivalOf, text};
use super::twice::RowsTwice;
use super::{DAY_US, Day, QuantitiesError};
use crate::lake::{AMEND, DataFile, FileRead, LakeError, TableHandle, VOID};

const COLUMNS: [&str; 18] = [
    "identity",
    "source",
    "id",
    "tenant",
    "event_type",
    "meter",
    "time",
    "time_given",
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

/// Corrections by the identity of the event that they are about, in hexadecimal, and by tenant.
#[derive(Debug, Clone, Default)]
pub struct EventCorrections {
    in_force: HashMap<String, BTreeMap<String, Correction>>,
    tenants: BTreeSet<String>,
}

/// When and from where an event came.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Arrived {
    pub arrival_us: i64,
    pub topic: String,
    pub partition: i32,
    pub offset: i64,
    pub batch_index: i32,
}

/// What became of an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Correction {
    pub arrived: Arrived,
    /// Where an amendment names a time of its own.
    pub time_us: Option<i64>,
    /// What counts instead; nothing after a void.
    pub readings: Vec<AmendedReading>,
    /// Its own name.
    pub source: String,
    pub id: String,
    is_amendment: bool,
    identity: String,
}

/// What one meter reads from an amended event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AmendedReading {
    pub meter: String,
    pub value_nano: Option<i128>,
    pub resource: String,
    pub dimensions: String,
    pub signal: String,
    pub signal_time_us: Option<i64>,
}

/// A row that a day has beside those of its files.
#[derive(Debug, Clone)]
pub(super) struct AddedRow {
    pub tenant: String,
    pub time_us: i64,
    pub arrived: Arrived,
    pub reading: AmendedReading,
}

/// Where an amended event stands.
struct Original {
    time_us: i64,
    arrived: Arrived,
}

impl EventCorrections {
    /// Reads the corrections among some files of a version; only those of some tenants, if not of all.
    pub async fn load(
        table: &TableHandle,
        files: &[DataFile],
        tenants: Option<&BTreeSet<String>>,
    ) -> Result<Self, LakeError> {
        let mut by_event: BTreeMap<Arrived, (String, String, Correction)> = BTreeMap::new();
        for file in files.iter().filter(|file| file.is_correction()) {
            let read = FileRead { columns: Some(&COLUMNS), ..FileRead::default() };
            let mut batches = table.read_file(file, read).await?;
            while let Some(batch) = batches.try_next().await? {
                read_corrections(&batch, &mut by_event);
            }
        }
        let mut corrections = Self::default();
        let mut known = BTreeSet::new();
        // In the order of arrival: of one that was sent twice the first counts, of several about one event the last.
        for (target, tenant, correction) in by_event.into_values() {
            if target.is_empty() || !known.insert(correction.identity.clone()) {
                continue;
            }
            // Only now: which one was the first does not depend on who is asked about.
            if tenants.is_some_and(|tenants| !tenants.contains(&tenant)) {
                continue;
            }
            corrections.tenants.insert(tenant.clone());
            corrections.in_force.entry(target).or_default().insert(tenant, correction);
        }
        Ok(corrections)
    }

    pub fn is_empty(&self) -> bool {
        self.in_force.is_empty()
    }

    /// What became of an event of a tenant.
    pub fn of(&self, identity: &[u8], tenant: &str) -> Option<&Correction> {
        self.in_force.get(&hexadecimal(identity))?.get(tenant)
    }

    /// Every amendment in force that names a time of its own, with its tenant.
    pub fn with_own_time(&self) -> impl Iterator<Item = (&str, i64, &Correction)> {
        let all = self.in_force.values().flatten();
        all.filter(|(_, correction)| correction.is_amendment)
            .filter_map(|(tenant, correction)| Some((tenant.as_str(), correction.time_us?, correction)))
    }

    /// Puts the corrections into the days: `days` in their order, by their day. Days without files are added for rows before
    /// the end.
    pub(super) async fn apply(
        &self,
        days: &mut BTreeMap<i32, Day>,
        is_read: impl Fn(i32) -> bool,
    ) -> Result<(), QuantitiesError> {
        if self.is_empty() {
            return Ok(());
        }
        let mut added: BTreeMap<i32, Vec<AddedRow>> = BTreeMap::new();
        for (day, files) in days.iter_mut() {
            let originals = self.leave_out(files).await?;
            let rows = added.entry(*day).or_default();
            for ((target, tenant), original) in originals {
                let correction = &self.in_force[&target][&tenant];
                if correction.time_us.is_none() {
                    rows.extend(correction.rows(&tenant, original.time_us, &original.arrived));
                }
            }
        }
        for (tenant, time_us, correction) in self.with_own_time() {
            let day = time_us.div_euclid(DAY_US) as i32;
            if is_read(day) {
                let rows = correction.rows(tenant, time_us, &correction.arrived);
                added.entry(day).or_default().extend(rows);
            }
        }
        for (day, mut rows) in added.into_iter().filter(|(_, rows)| !rows.is_empty()) {
            rows.sort_by(|left, right| left.arrived.cmp(&right.arrived));
            days.entry(day).or_insert_with(|| Day::without_files(day)).added = Arc::new(rows);
        }
        Ok(())
    }

    /// Marks a day's corrected rows as passed over; answers with the first to arrive of each corrected event.
    async fn leave_out(
        &self,
        day: &mut Day,
    ) -> Result<BTreeMap<(String, String), Original>, QuantitiesError> {
        let mut originals: BTreeMap<(String, String), Original> = BTreeMap::new();
        let mut left_out: Vec<(usize, u64)> = Vec::new();
        for (place, file) in day.files.iter().enumerate() {
            let mut first_row = 0;
            for (at, group) in file.row_groups().iter().enumerate() {
                let may_hold = group.tenants.as_ref().is_none_or(|(low, high)| {
                    self.tenants.range(low.clone()..).next().is_some_and(|tenant| tenant <= high)
                });
                if may_hold {
                    // A row that came twice is left out already, and does not tell where its event stands.
                    let is_counted = |row: u64| !day.twice.contains(place, row);
                    let leave_out = |row: u64| left_out.push((place, row));
                    self.look(file, (at, first_row), &mut originals, is_counted, leave_out).await?;
                }
                first_row += group.rows;
            }
        }
        if !left_out.is_empty() {
            let mut twice = RowsTwice::clone(&day.twice);
            for (place, row) in left_out {
                twice.add(place, row);
            }
            day.twice = Arc::new(twice);
        }
        Ok(originals)
    }

    async fn look(
        &self,
        file: &LakeFile,
        (group, mut first_row): (usize, u64),
        originals: &mut BTreeMap<(String, String), Original>,
        is_counted: impl Fn(u64) -> bool,
        mut leave_out: impl FnMut(u64),
    ) -> Result<(), QuantitiesError> {
        let columns = [["identity", "tenant", "time"].as_slice(), ARRIVED.as_slice()].concat();
        let mut batches = file.read(&columns, vec![group])?;
        while let Some(batch) = batches.try_next().await? {
            let identities = file.column(&batch, "identity")?;
            let identities = identities.as_binary::<i32>();
            let times = file.column(&batch, "time")?;
            let times = times.as_primitive::<TimestampMicrosecondType>();
            let tenants = file.column(&batch, "tenant")?;
            let tenants = tenants.as_dictionary::<Int32Type>();
            let arrival = Arrival::of(file, &batch)?;
            for row in 0..batch.num_rows() {
                let tenant = text(tenants, row);
                let is_corrected =
                    self.tenants.contains(tenant) && self.of(identities.value(row), tenant).is_some();
                if !is_corrected || !is_counted(first_row + row as u64) {
                    continue;
                }
                leave_out(first_row + row as u64);
                let arrived = Arrived::of(arrival.of_row(row));
                let key = (hexadecimal(identities.value(row)), tenant.to_owned());
                let is_first = originals.get(&key).is_none_or(|known| arrived < known.arrived);
                if is_first {
                    originals.insert(key, Original { time_us: times.value(row), arrived });
                }
            }
            first_row += batch.num_rows() as u64;
        }
        Ok(())
    }
}

impl Correction {
    /// Whether something may count in the event's place.
    pub fn is_amendment(&self) -> bool {
        self.is_amendment
    }

    fn rows(&self, tenant: &str, time_us: i64, arrived: &Arrived) -> Vec<AddedRow> {
        let row = |reading: &AmendedReading| AddedRow {
            tenant: tenant.to_owned(),
            time_us,
            arrived: arrived.clone(),
            reading: reading.clone(),
        };
        self.readings.iter().map(row).collect()
    }
}

impl Arrived {
    fn of(arrival: ArrivalOf<'_>) -> Self {
        let ArrivalOf { arrival_us, topic, partition, offset, batch_index } = arrival;
        Self { arrival_us, topic: topic.to_owned(), partition, offset, batch_index }
    }
}

/// Adds the rows of a batch to their events; the rows of one event share their place in Kafka.
fn read_corrections(batch: &RecordBatch, by_event: &mut BTreeMap<Arrived, (String, String, Correction)>) {
    let column = |name: &str| batch.column_by_name(name).expect("the column was read");
    let string = |name: &str, row: usize| {
        let column = column(name).as_string::<i32>();
        column.is_valid(row).then(|| column.value(row).to_owned())
    };
    let time = |name: &str, row: usize| {
        let column = column(name).as_primitive::<TimestampMicrosecondType>();
        column.is_valid(row).then(|| column.value(row))
    };
    let values = column("value").as_primitive::<Decimal128Type>();
    for row in 0..batch.num_rows() {
        let tenant = string("tenant", row).unwrap_or_default();
        let event_type = string("event_type", row).unwrap_or_default();
        if event_type != VOID && event_type != AMEND {
            continue;
        }
        let arrived = Arrived {
            arrival_us: time("arrival", row).unwrap_or_default(),
            topic: string("topic", row).unwrap_or_default(),
            partition: column("partition").as_primitive::<Int32Type>().value(row),
            offset: column("offset").as_primitive::<Int64Type>().value(row),
            batch_index: column("batch_index").as_primitive::<Int32Type>().value(row),
        };
        let is_amendment = event_type == AMEND;
        let (target, _, own) = by_event.entry(arrived.clone()).or_insert_with(|| {
            let named = column("time_given").as_boolean().value(row) && is_amendment;
            let correction = Correction {
                arrived,
                time_us: if named { time("time", row) } else { None },
                readings: Vec::new(),
                source: string("source", row).unwrap_or_default(),
                id: string("id", row).unwrap_or_default(),
                is_amendment,
                identity: hexadecimal(column("identity").as_binary::<i32>().value(row)),
            };
            (String::new(), tenant, correction)
        });
        let resource = string("resource", row).unwrap_or_default();
        match string("meter", row) {
            None => *target = resource,
            Some(meter) => own.readings.push(AmendedReading {
                meter,
                value_nano: values.is_valid(row).then(|| values.value(row)),
                resource,
                dimensions: string("dimensions", row).unwrap_or_default(),
                signal: string("signal", row).unwrap_or_default(),
                signal_time_us: time("signal_time", row),
            }),
        }
    }
}

fn hexadecimal(identity: &[u8]) -> String {
    use std::fmt::Write as _;
    identity.iter().fold(String::with_capacity(2 * identity.len()), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
