//! Of the events that came again: which are mere repeats, and which claim something else.
//!
//! An event's content is its tenant, type, data, and time if it names one. A repeat with the same
//! content is dropped and counted; one with other content is a conflict, is never billed, and goes to
//! `rejected_messages` as a CloudEvent made anew from its columns.

use std::collections::{BTreeMap, HashMap, HashSet};

use arrow::array::{Array, AsArray, BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{Int32Type, Int64Type, TimestampMicrosecondType};
use ingest::columns::RejectedColumns;
use ingest::day_file::{DayFileWriter, FileKind, FinishedFile};
use ingest::raw_message::{Coordinates, Headers, RawMessage};
use ingest::rejected::{Refusal, RejectReason, Rejected};
use ingest::timestamp::day_of;
use sql::lake::{DataFile, Table, TableHandle};

use super::CompactError;
use super::identity::{LostEvent, Place, identity_of};
use super::rows::{ArrivalColumns, ArrivalKey, FindRow, RowId, SourceFile, fetch, portions};

/// What `judge` has to know of a row.
pub const CONTENT_COLUMNS: [&str; 13] = [
    "identity",
    "source",
    "id",
    "tenant",
    "event_type",
    "time",
    "time_given",
    "data",
    "topic",
    "partition",
    "offset",
    "batch_index",
    "arrival",
];

/// Rejects are encoded when this many have come together, so that many conflicts take little memory.
const CHUNK_ROWS: usize = 8 * 1024;

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
    arrival: ArrivalKey<String>,
    detail: String,
}

/// What became of some lost events.
#[derive(Debug, Default)]
pub struct Verdicts {
    pub conflict_rows: u64,
    conflicts: Vec<Conflict>,
}

/// Compares each lost event with the one that counts.
pub async fn judge(
    rows: &impl FindRow,
    lost: &[LostEvent],
    others: &BTreeMap<i32, Vec<DataFile>>,
    table: &TableHandle,
) -> Result<Verdicts, CompactError> {
    let elsewhere = contents_elsewhere(lost, others, table).await?;
    let mut verdicts = Verdicts::default();
    for event in lost {
        let content = content(rows, &event.rows);
        let counted = match &event.winner {
            Place::Here(winner) => Some(self::content(rows, winner)),
            Place::OtherDay(day) => elsewhere.get(&(*day, event.identity)).cloned(),
        };
        if counted.as_ref() == Some(&content) {
            continue;
        }
        verdicts.conflict_rows += event.rows.len() as u64;
        let (batch, row) = rows.find(event.rows[0]);
        verdicts.conflicts.push(Conflict {
            source: text(batch, "source", row).unwrap_or_default(),
            id: text(batch, "id", row).unwrap_or_default(),
            detail: difference(counted.as_ref(), &content),
            content,
            arrival: ArrivalColumns::of_whole(batch).key(row).to_owned(),
        });
    }
    Ok(verdicts)
}

impl FindRow for [RecordBatch] {
    fn find(&self, row: RowId) -> (&RecordBatch, usize) {
        (&self[row.part()], row.row())
    }
}

/// The content of the events that were counted on other days.
async fn contents_elsewhere(
    lost: &[LostEvent],
    others: &BTreeMap<i32, Vec<DataFile>>,
    table: &TableHandle,
) -> Result<HashMap<(i32, u128), Content>, CompactError> {
    let mut wanted: HashMap<i32, HashSet<u128>> = HashMap::new();
    for event in lost {
        if let Place::OtherDay(day) = event.winner {
            wanted.entry(day).or_default().insert(event.identity);
        }
    }
    let mut contents = HashMap::new();
    for (day, identities) in wanted {
        let mut rows: HashMap<u128, Vec<RowId>> = HashMap::new();
        let mut batches = Vec::new();
        for portion in portions(others.get(&day).map_or(&[], Vec::as_slice)) {
            for source in fetch(table, portion).await? {
                for batch in source.read(Some(&CONTENT_COLUMNS))? {
                    let batch = keep(&batch?, &source, &identities)?;
                    for (row, identity) in identities_of(&batch, &source)?.enumerate() {
                        rows.entry(identity).or_default().push(RowId::new(batches.len(), row));
                    }
                    batches.push(batch);
                }
            }
        }
        let found = rows.into_iter().map(|(identity, rows)| ((day, identity), content(&batches[..], &rows)));
        contents.extend(found);
    }
    Ok(contents)
}

fn identities_of<'b>(
    batch: &'b RecordBatch,
    source: &SourceFile,
) -> Result<impl Iterator<Item = u128> + use<'b>, CompactError> {
    let column = batch.column_by_name("identity").and_then(|column| column.as_binary_opt::<i32>());
    let column = column.filter(|column| column.iter().all(|bytes| bytes.and_then(identity_of).is_some()));
    let column = column.ok_or_else(|| source.columns_error())?;
    Ok(column.iter().flatten().filter_map(identity_of))
}

/// The rows of a batch that are of some identities.
fn keep(
    batch: &RecordBatch,
    source: &SourceFile,
    identities: &HashSet<u128>,
) -> Result<RecordBatch, CompactError> {
    let mask: BooleanArray =
        identities_of(batch, source)?.map(|identity| Some(identities.contains(&identity))).collect();
    Ok(filter_record_batch(batch, &mask)?)
}

/// What the rows of one event say together: the data stands in only one of them.
fn content(rows: &(impl FindRow + ?Sized), event: &[RowId]) -> Content {
    let (batch, row) = rows.find(event[0]);
    let time_given = batch.column_by_name("time_given").is_some_and(|it| it.as_boolean().value(row));
    let time = batch.column_by_name("time").expect("read by the working schema");
    let time_us = time.as_primitive::<TimestampMicrosecondType>().value(row);
    let data = |row: &RowId| {
        let (batch, row) = rows.find(*row);
        text(batch, "data", row)
    };
    Content {
        tenant: text(batch, "tenant", row).unwrap_or_default(),
        event_type: text(batch, "event_type", row).unwrap_or_default(),
        time_us: time_given.then_some(time_us),
        data: event.iter().find_map(data),
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

/// The conflicts of a run's commit as a file for the reject table in the making, without those that the
/// table already holds because an earlier attempt got no further.
#[derive(Debug, Default)]
pub struct ConflictRejects {
    /// Where the conflicts came from that the table holds; read when there is a first one to compare.
    known: Option<HashSet<Origin>>,
    columns: RejectedColumns,
    writer: Option<DayFileWriter>,
}

impl ConflictRejects {
    pub async fn record(&mut self, verdicts: &Verdicts, rejected: &TableHandle) -> Result<(), CompactError> {
        if verdicts.conflicts.is_empty() {
            return Ok(());
        }
        if self.known.is_none() {
            self.known = Some(known_conflicts(rejected).await?);
        }
        for conflict in &verdicts.conflicts {
            let is_known =
                self.known.as_ref().is_some_and(|known| known.contains(&origin(&conflict.arrival.as_ref())));
            if !is_known {
                conflict.push(&mut self.columns);
            }
            if self.columns.rows() >= CHUNK_ROWS {
                self.encode()?;
            }
        }
        Ok(())
    }

    fn encode(&mut self) -> Result<(), CompactError> {
        let writer = match &mut self.writer {
            Some(writer) => writer,
            None => {
                let today = day_of(jiff::Timestamp::now().as_microsecond());
                self.writer.insert(DayFileWriter::new(Table::RejectedMessages, today, FileKind::Arrived)?)
            }
        };
        Ok(writer.write(&self.columns.finish())?)
    }

    pub fn finish(mut self) -> Result<Option<FinishedFile>, CompactError> {
        if self.columns.rows() > 0 {
            self.encode()?;
        }
        let now_ms = jiff::Timestamp::now().as_millisecond();
        Ok(self.writer.map(|writer| writer.finish(now_ms)).transpose()?)
    }
}

/// A digest of where and when a message arrived: a file's lines have their places again when it is read anew.
type Origin = [u8; 16];

fn origin(arrival: &ArrivalKey<&str>) -> Origin {
    let ArrivalKey { arrival_us, topic, partition, offset, batch_index } = arrival;
    let text = format!("{arrival_us} {partition} {offset} {batch_index} {topic}");
    blake3::hash(text.as_bytes()).as_bytes()[..16].try_into().expect("a digest has 32 bytes")
}

impl Conflict {
    fn push(&self, columns: &mut RejectedColumns) {
        let payload = self.cloud_event();
        let at = Coordinates {
            topic: &self.arrival.topic,
            partition: self.arrival.partition,
            offset: self.arrival.offset,
        };
        let message = RawMessage {
            at,
            stamped_at_us: None,
            key: None,
            payload: Some(&payload),
            headers: Headers::new(),
        };
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

async fn known_conflicts(rejected: &TableHandle) -> Result<HashSet<Origin>, CompactError> {
    let mut known = HashSet::new();
    for portion in portions(&rejected.snapshot(None).await?.files) {
        for source in fetch(rejected, portion).await? {
            let wanted = ["reason", "topic", "partition", "offset", "batch_index", "arrival"];
            for batch in source.read_plain(&wanted)? {
                let batch = batch?;
                let texts = |name: &str| batch.column_by_name(name).and_then(|it| it.as_string_opt::<i32>());
                let numbers =
                    |name: &str| batch.column_by_name(name).and_then(|it| it.as_primitive_opt::<Int32Type>());
                let offsets =
                    batch.column_by_name("offset").and_then(|it| it.as_primitive_opt::<Int64Type>());
                let arrivals = batch
                    .column_by_name("arrival")
                    .and_then(|it| it.as_primitive_opt::<TimestampMicrosecondType>());
                let (
                    Some(reasons),
                    Some(topics),
                    Some(partitions),
                    Some(offsets),
                    Some(indices),
                    Some(arrivals),
                ) = (
                    texts("reason"),
                    texts("topic"),
                    numbers("partition"),
                    offsets,
                    numbers("batch_index"),
                    arrivals,
                )
                else {
                    return Err(source.columns_error());
                };
                let conflicts =
                    (0..batch.num_rows()).filter(|row| reasons.value(*row) == RejectReason::Conflict.name());
                known.extend(conflicts.map(|row| {
                    origin(&ArrivalKey {
                        arrival_us: arrivals.value(row),
                        topic: topics.value(row),
                        partition: partitions.value(row),
                        offset: offsets.value(row),
                        batch_index: indices.value(row),
                    })
                }));
            }
        }
    }
    Ok(known)
}
