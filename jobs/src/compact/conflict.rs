//! Of the events that came again: which are mere repeats, and which claim something else.
//!
//! An event's content is its tenant, type, data, and time if it names one. A repeat with the same
//! content is dropped and counted; one with other content is a conflict, is never billed, and goes to
//! `rejected_messages` as a CloudEvent made anew from its columns.

use std::collections::{BTreeSet, HashMap, HashSet};

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{Int32Type, Int64Type, TimestampMicrosecondType};
use ingest::columns::RejectedColumns;
use ingest::day_file::{DayFileWriter, FileKind, FinishedFile};
use ingest::raw_message::{Coordinates, RawMessage};
use ingest::rejected::{Refusal, RejectReason, Rejected};
use sql::lake::{DataFile, Table, TableHandle};

use super::CompactError;
use super::identity::{LostEvent, RowId, Winner, identity_of};
use super::rows::{ArrivalColumns, ArrivalKey, fetch};

/// What an event says, apart from its identity.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Content {
    tenant: String,
    event_type: String,
    time_us: Option<i64>,
    data: Option<String>,
}

/// An event that contradicts one that was counted.
#[derive(Debug, Clone)]
struct Conflict {
    source: String,
    id: String,
    content: Content,
    arrival: ArrivalKey,
    detail: String,
}

/// What became of the lost events.
#[derive(Debug, Default)]
pub struct Verdicts {
    pub conflict_rows: u64,
    conflicts: Vec<Conflict>,
}

/// Compares each lost event with the one that counts.
pub async fn judge(
    batches: &[RecordBatch],
    lost: &[LostEvent],
    others: &std::collections::BTreeMap<i32, Vec<DataFile>>,
    table: &TableHandle,
) -> Result<Verdicts, CompactError> {
    let elsewhere = contents_elsewhere(lost, others, table).await?;
    let mut verdicts = Verdicts::default();
    for event in lost {
        let content = content(batches, &event.rows);
        let counted = match &event.winner {
            Winner::Here(rows) => Some(self::content(batches, rows)),
            Winner::OtherDay(_) => elsewhere.get(&event.identity).cloned(),
        };
        if counted.as_ref() == Some(&content) {
            continue;
        }
        verdicts.conflict_rows += event.rows.len() as u64;
        let first = event.rows[0];
        let batch = &batches[first.batch()];
        let arrival = ArrivalColumns::of(batch).expect("read by the working schema").key(first.row());
        verdicts.conflicts.push(Conflict {
            source: text(batch, "source", first.row()).unwrap_or_default(),
            id: text(batch, "id", first.row()).unwrap_or_default(),
            detail: difference(counted.as_ref(), &content),
            content,
            arrival,
        });
    }
    Ok(verdicts)
}

/// The content of the events that were counted on other days.
async fn contents_elsewhere(
    lost: &[LostEvent],
    others: &std::collections::BTreeMap<i32, Vec<DataFile>>,
    table: &TableHandle,
) -> Result<HashMap<u128, Content>, CompactError> {
    let mut wanted: HashMap<i32, HashSet<u128>> = HashMap::new();
    for event in lost {
        if let Winner::OtherDay(day) = event.winner {
            wanted.entry(day).or_default().insert(event.identity);
        }
    }
    let mut contents = HashMap::new();
    for (day, identities) in wanted {
        let mut batches = Vec::new();
        let mut rows: HashMap<u128, Vec<RowId>> = HashMap::new();
        for source in fetch(table, others.get(&day).map_or(&[][..], Vec::as_slice)).await? {
            for batch in source.read(None)? {
                let batch = batch?;
                let column =
                    batch.column_by_name("identity").and_then(|column| column.as_binary_opt::<i32>());
                let column = column.ok_or_else(|| source.columns_error())?;
                for row in 0..column.len() {
                    if let Some(identity) =
                        identity_of(column.value(row)).filter(|it| identities.contains(it))
                    {
                        rows.entry(identity).or_default().push(RowId::new(batches.len(), row));
                    }
                }
                batches.push(batch);
            }
        }
        contents.extend(rows.into_iter().map(|(identity, rows)| (identity, content(&batches, &rows))));
    }
    Ok(contents)
}

/// What the rows of one event say together: the data stands in only one of them.
fn content(batches: &[RecordBatch], rows: &[RowId]) -> Content {
    let first = rows[0];
    let batch = &batches[first.batch()];
    let time_given = batch.column_by_name("time_given").is_some_and(|it| it.as_boolean().value(first.row()));
    let time = batch.column_by_name("time").expect("read by the working schema");
    let time_us = time.as_primitive::<TimestampMicrosecondType>().value(first.row());
    Content {
        tenant: text(batch, "tenant", first.row()).unwrap_or_default(),
        event_type: text(batch, "event_type", first.row()).unwrap_or_default(),
        time_us: time_given.then_some(time_us),
        data: rows.iter().find_map(|row| text(&batches[row.batch()], "data", row.row())),
    }
}

/// A text of a row, whether its column is a dictionary or not.
fn text(batch: &RecordBatch, column: &str, row: usize) -> Option<String> {
    let column = batch.column_by_name(column)?;
    if column.is_null(row) {
        return None;
    }
    if let Some(dictionary) = column.as_dictionary_opt::<Int32Type>() {
        let value = dictionary.values().as_string_opt::<i32>()?.value(dictionary.keys().value(row) as usize);
        return Some(value.to_owned());
    }
    column.as_string_opt::<i32>().map(|texts| texts.value(row).to_owned())
}

fn difference(counted: Option<&Content>, content: &Content) -> String {
    let Some(counted) = counted else {
        return "an event with this source and id was counted before".to_owned();
    };
    let differing: Vec<&str> = [
        ("tenant", counted.tenant != content.tenant),
        ("type", counted.event_type != content.event_type),
        ("time", counted.time_us != content.time_us),
        ("data", counted.data != content.data),
    ]
    .into_iter()
    .filter_map(|(name, differs)| differs.then_some(name))
    .collect();
    format!("an event with this source and id was counted before, with another {}", differing.join(" and "))
}

impl Verdicts {
    /// The conflicts as a file for the reject table, without those that it already holds because an
    /// earlier attempt got no further.
    pub async fn new_rejects(&self, rejected: &TableHandle) -> Result<Option<FinishedFile>, CompactError> {
        if self.conflicts.is_empty() {
            return Ok(None);
        }
        let known = known_conflicts(rejected).await?;
        let mut columns = RejectedColumns::default();
        let now_us = jiff::Timestamp::now().as_microsecond();
        for conflict in self.conflicts.iter().filter(|conflict| !known.contains(&conflict.place())) {
            conflict.push(&mut columns);
        }
        if columns.rows() == 0 {
            return Ok(None);
        }
        let day = (now_us.div_euclid(86_400_000_000)) as i32;
        let mut writer = DayFileWriter::new(Table::RejectedMessages, day, FileKind::Arrived)?;
        writer.write(&columns.finish())?;
        Ok(Some(writer.finish(now_us / 1_000)?))
    }
}

type Place = (String, i32, i64, i32);

impl Conflict {
    fn place(&self) -> Place {
        let ArrivalKey { topic, partition, offset, batch_index, .. } = &self.arrival;
        (topic.to_string(), *partition, *offset, *batch_index)
    }

    fn push(&self, columns: &mut RejectedColumns) {
        let payload = self.cloud_event();
        let at = Coordinates {
            topic: &self.arrival.topic,
            partition: self.arrival.partition,
            offset: self.arrival.offset,
        };
        let message =
            RawMessage { at, stamped_at_us: None, key: None, payload: Some(&payload), headers: Vec::new() };
        let rejected = Rejected {
            why: Refusal::new(RejectReason::Conflict, &self.detail),
            batch_index: self.arrival.batch_index,
            payload: &payload,
            source: Some((&self.source).into()),
            id: Some((&self.id).into()),
            tenant: Some((&self.content.tenant).into()),
            event_type: Some((&self.content.event_type).into()),
        };
        columns.push(&rejected, &message, self.arrival.arrival_us);
    }

    /// The event in structured mode, as far as the lake kept it.
    fn cloud_event(&self) -> Vec<u8> {
        let mut event = serde_json::json!({
            "specversion": "1.0",
            "source": self.source,
            "id": self.id,
            "type": self.content.event_type,
            "subject": self.content.tenant,
        });
        if let Some(time) = self.content.time_us.and_then(|us| jiff::Timestamp::from_microsecond(us).ok()) {
            event["time"] = time.to_string().into();
        }
        if let Some(data) = self.content.data.as_deref().and_then(|data| serde_json::from_str(data).ok()) {
            event["data"] = data;
        }
        event.to_string().into_bytes()
    }
}

/// Where the conflicts that the reject table holds came from.
async fn known_conflicts(rejected: &TableHandle) -> Result<BTreeSet<Place>, CompactError> {
    let mut known = BTreeSet::new();
    let snapshot = rejected.snapshot(None).await?;
    for source in fetch(rejected, &snapshot.files).await? {
        let wanted = ["reason", "topic", "partition", "offset", "batch_index"];
        for batch in source.read_plain(&wanted)? {
            let batch = batch?;
            let texts = |name: &str| batch.column_by_name(name).and_then(|it| it.as_string_opt::<i32>());
            let numbers =
                |name: &str| batch.column_by_name(name).and_then(|it| it.as_primitive_opt::<Int32Type>());
            let offsets = batch.column_by_name("offset").and_then(|it| it.as_primitive_opt::<Int64Type>());
            let (Some(reasons), Some(topics), Some(partitions), Some(offsets), Some(indices)) =
                (texts("reason"), texts("topic"), numbers("partition"), offsets, numbers("batch_index"))
            else {
                return Err(source.columns_error());
            };
            let conflicts =
                (0..batch.num_rows()).filter(|row| reasons.value(*row) == RejectReason::Conflict.name());
            known.extend(conflicts.map(|row| {
                (topics.value(row).to_owned(), partitions.value(row), offsets.value(row), indices.value(row))
            }));
        }
    }
    Ok(known)
}
