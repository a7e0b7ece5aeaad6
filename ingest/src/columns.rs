//! Rows of the lake in the making: Arrow builders for `usage_events` and `rejected_messages`.
//!
//! A row is written once, column by column, straight from the borrowed event; nothing is copied twice.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayBuilder, ArrayRef, ArrowPrimitiveType, BinaryBuilder, BooleanBuilder, Decimal128Builder,
    Int32Builder, Int64Builder, PrimitiveBuilder, RecordBatch, StringBuilder, TimestampMicrosecondBuilder,
};
use arrow::datatypes::{DataType, SchemaRef};
use base64::Engine as _;
use sql::lake::{Table, VALUE_PRECISION, VALUE_SCALE};

use crate::event::{Reading, UsageEvent};
use crate::json::push_json_string;
use crate::raw_message::{Coordinates, Headers, RawMessage};
use crate::rejected::Rejected;

/// Builders of `usage_events`, in the order of the table's columns.
#[derive(Debug)]
pub struct UsageColumns {
    schema: SchemaRef,
    rows: usize,
    identity: BinaryBuilder,
    source: StringBuilder,
    id: StringBuilder,
    tenant: StringBuilder,
    event_type: StringBuilder,
    meter: StringBuilder,
    time: TimestampMicrosecondBuilder,
    time_given: BooleanBuilder,
    value: Decimal128Builder,
    resource: StringBuilder,
    dimensions: StringBuilder,
    signal: StringBuilder,
    signal_time: TimestampMicrosecondBuilder,
    data: StringBuilder,
    topic: StringBuilder,
    partition: Int32Builder,
    offset: Int64Builder,
    batch_index: Int32Builder,
    arrival: TimestampMicrosecondBuilder,
}

fn time_builder() -> TimestampMicrosecondBuilder {
    TimestampMicrosecondBuilder::new().with_timezone("UTC")
}

impl Default for UsageColumns {
    fn default() -> Self {
        Self {
            schema: Table::UsageEvents.file_schema(),
            rows: 0,
            identity: BinaryBuilder::new(),
            source: StringBuilder::new(),
            id: StringBuilder::new(),
            tenant: StringBuilder::new(),
            event_type: StringBuilder::new(),
            meter: StringBuilder::new(),
            time: time_builder(),
            time_given: BooleanBuilder::new(),
            value: Decimal128Builder::new()
                .with_data_type(DataType::Decimal128(VALUE_PRECISION, VALUE_SCALE)),
            resource: StringBuilder::new(),
            dimensions: StringBuilder::new(),
            signal: StringBuilder::new(),
            signal_time: time_builder(),
            data: StringBuilder::new(),
            topic: StringBuilder::new(),
            partition: Int32Builder::new(),
            offset: Int64Builder::new(),
            batch_index: Int32Builder::new(),
            arrival: time_builder(),
        }
    }
}

impl UsageColumns {
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Adds one row per reading, or one without a meter if the event feeds none.
    ///
    /// The event's data stands in its first row only: the rows of one event share their coordinates, and
    /// an agent's report of thirty figures is kept once, not thirty times.
    pub fn push(&mut self, event: &UsageEvent<'_>, meters: &[String], at: Coordinates<'_>, arrival_us: i64) {
        if event.readings.is_empty() {
            self.push_row(event, None, meters, event.data.as_deref(), at, arrival_us);
        }
        for (position, reading) in event.readings.iter().enumerate() {
            let data = event.data.as_deref().filter(|_| position == 0);
            self.push_row(event, Some(reading), meters, data, at, arrival_us);
        }
    }

    fn push_row(
        &mut self,
        event: &UsageEvent<'_>,
        reading: Option<&Reading<'_>>,
        meters: &[String],
        data: Option<&str>,
        at: Coordinates<'_>,
        arrival_us: i64,
    ) {
        self.rows += 1;
        self.identity.append_value(event.identity.0);
        self.source.append_value(&event.source);
        self.id.append_value(&event.id);
        self.tenant.append_value(&event.tenant);
        self.event_type.append_value(&event.event_type);
        self.meter.append_option(reading.and_then(|reading| meters.get(reading.meter)));
        self.time.append_value(event.time_us);
        self.time_given.append_value(event.time_given);
        self.value.append_option(reading.and_then(|reading| reading.value));
        self.resource.append_option(reading.and_then(|reading| reading.resource.as_deref()));
        self.dimensions.append_option(reading.and_then(|reading| reading.dimensions.as_deref()));
        self.signal.append_option(reading.and_then(|reading| Some(reading.signal?.name())));
        self.signal_time.append_option(reading.and_then(|reading| reading.signal_time_us));
        self.data.append_option(data);
        self.topic.append_value(at.topic);
        self.partition.append_value(at.partition);
        self.offset.append_value(at.offset);
        self.batch_index.append_value(event.batch_index);
        self.arrival.append_value(arrival_us);
    }

    /// The rows so far as a batch; the builders are empty again.
    pub fn finish(&mut self) -> RecordBatch {
        self.rows = 0;
        let columns: Vec<ArrayRef> = vec![
            finish_bytes(&mut self.identity),
            finish_text(&mut self.source),
            finish_text(&mut self.id),
            finish_text(&mut self.tenant),
            finish_text(&mut self.event_type),
            finish_text(&mut self.meter),
            finish_numbers(&mut self.time),
            Arc::new(self.time_given.finish()),
            finish_numbers(&mut self.value),
            finish_text(&mut self.resource),
            finish_text(&mut self.dimensions),
            finish_text(&mut self.signal),
            finish_numbers(&mut self.signal_time),
            finish_text(&mut self.data),
            finish_text(&mut self.topic),
            finish_numbers(&mut self.partition),
            finish_numbers(&mut self.offset),
            finish_numbers(&mut self.batch_index),
            finish_numbers(&mut self.arrival),
        ];
        RecordBatch::try_new(Arc::clone(&self.schema), columns).expect("builders stand in the schema's order")
    }
}

/// The next chunk takes about the room that the last one took: builders that have it from the start neither
/// grow nor copy.
fn finish_text(builder: &mut StringBuilder) -> ArrayRef {
    let (rows, bytes) = (builder.len(), builder.values_slice().len());
    Arc::new(std::mem::replace(builder, StringBuilder::with_capacity(more(rows), more(bytes))).finish())
}

fn finish_bytes(builder: &mut BinaryBuilder) -> ArrayRef {
    let (rows, bytes) = (builder.len(), builder.values_slice().len());
    Arc::new(std::mem::replace(builder, BinaryBuilder::with_capacity(more(rows), more(bytes))).finish())
}

fn finish_numbers<T: ArrowPrimitiveType>(builder: &mut PrimitiveBuilder<T>) -> ArrayRef {
    let rows = builder.len();
    let array = builder.finish();
    *builder = PrimitiveBuilder::with_capacity(more(rows)).with_data_type(array.data_type().clone());
    Arc::new(array)
}

fn more(room: usize) -> usize {
    room + room / 16
}

/// Builders of `rejected_messages`, in the order of the table's columns.
#[derive(Debug)]
pub struct RejectedColumns {
    schema: SchemaRef,
    rows: usize,
    reason: StringBuilder,
    detail: StringBuilder,
    topic: StringBuilder,
    partition: Int32Builder,
    offset: Int64Builder,
    batch_index: Int32Builder,
    stamped: TimestampMicrosecondBuilder,
    arrival: TimestampMicrosecondBuilder,
    key: BinaryBuilder,
    headers: StringBuilder,
    payload: BinaryBuilder,
    source: StringBuilder,
    id: StringBuilder,
    tenant: StringBuilder,
    event_type: StringBuilder,
}

impl Default for RejectedColumns {
    fn default() -> Self {
        Self {
            schema: Table::RejectedMessages.file_schema(),
            rows: 0,
            reason: StringBuilder::new(),
            detail: StringBuilder::new(),
            topic: StringBuilder::new(),
            partition: Int32Builder::new(),
            offset: Int64Builder::new(),
            batch_index: Int32Builder::new(),
            stamped: time_builder(),
            arrival: time_builder(),
            key: BinaryBuilder::new(),
            headers: StringBuilder::new(),
            payload: BinaryBuilder::new(),
            source: StringBuilder::new(),
            id: StringBuilder::new(),
            tenant: StringBuilder::new(),
            event_type: StringBuilder::new(),
        }
    }
}

impl RejectedColumns {
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Adds a reject. Key and headers are kept with a whole message; an event of a batch carries all of its
    /// attributes itself.
    pub fn push(&mut self, rejected: &Rejected<'_>, message: &RawMessage<'_>, arrival_us: i64) {
        let is_whole = message.payload.is_none_or(|payload| payload.len() == rejected.payload.len());
        self.rows += 1;
        self.reason.append_value(rejected.why.reason.name());
        self.detail.append_value(&rejected.why.detail);
        self.topic.append_value(message.at.topic);
        self.partition.append_value(message.at.partition);
        self.offset.append_value(message.at.offset);
        self.batch_index.append_value(rejected.batch_index);
        self.stamped.append_option(message.stamped_at_us);
        self.arrival.append_value(arrival_us);
        self.key.append_option(message.key.filter(|_| is_whole));
        self.headers.append_option(headers_json(&message.headers).filter(|_| is_whole));
        self.payload.append_value(rejected.payload);
        self.source.append_option(rejected.source.as_deref());
        self.id.append_option(rejected.id.as_deref());
        self.tenant.append_option(rejected.tenant.as_deref());
        self.event_type.append_option(rejected.event_type.as_deref());
    }

    /// The rows so far as a batch; the builders are empty again.
    pub fn finish(&mut self) -> RecordBatch {
        self.rows = 0;
        let columns: Vec<ArrayRef> = vec![
            Arc::new(self.reason.finish()),
            Arc::new(self.detail.finish()),
            Arc::new(self.topic.finish()),
            Arc::new(self.partition.finish()),
            Arc::new(self.offset.finish()),
            Arc::new(self.batch_index.finish()),
            Arc::new(self.stamped.finish()),
            Arc::new(self.arrival.finish()),
            Arc::new(self.key.finish()),
            Arc::new(self.headers.finish()),
            Arc::new(self.payload.finish()),
            Arc::new(self.source.finish()),
            Arc::new(self.id.finish()),
            Arc::new(self.tenant.finish()),
            Arc::new(self.event_type.finish()),
        ];
        RecordBatch::try_new(Arc::clone(&self.schema), columns).expect("builders stand in the schema's order")
    }
}

/// Headers as `[["name","base64 of the value"],["other",null]]`; none if there are none.
fn headers_json(headers: &Headers<'_>) -> Option<String> {
    if headers.is_empty() {
        return None;
    }
    let mut array = String::from("[");
    for (name, value) in headers {
        array.push_str(if array.len() == 1 { "[" } else { ",[" });
        push_json_string(&mut array, name);
        match value {
            Some(value) => {
                array.push_str(",\"");
                base64::engine::general_purpose::STANDARD.encode_string(value, &mut array);
                array.push_str("\"]");
            }
            None => array.push_str(",null]"),
        }
    }
    array.push(']');
    Some(array)
}

/// Reads back what `headers_json` wrote.
pub fn headers_from_json(text: &str) -> Option<Vec<(String, Option<Vec<u8>>)>> {
    let pairs: Vec<(String, Option<String>)> = serde_json::from_str(text).ok()?;
    let decode = |value: String| base64::engine::general_purpose::STANDARD.decode(value).ok();
    pairs
        .into_iter()
        .map(|(name, value)| Some((name, value.map(|value| decode(value).ok_or(())).transpose().ok()?)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_survive_their_json() {
        let kept: [(&str, Option<&[u8]>); 3] =
            [("ce_\"id", Some(b"\x00\xff")), ("empty", Some(b"")), ("none", None)];
        let headers = kept.iter().map(|(name, value)| (*name, *value)).collect::<Headers<'_>>();
        let read = headers_from_json(&headers_json(&headers).unwrap()).unwrap();
        let read: Vec<_> = read.iter().map(|(name, value)| (name.as_str(), value.as_deref())).collect();
        assert_eq!(read, kept);
        assert_eq!(headers_json(&Headers::new()), None);
    }

    #[test]
    fn empty_builders_make_empty_batches_of_the_right_schema() {
        assert_eq!(UsageColumns::default().finish().num_rows(), 0);
        assert_eq!(RejectedColumns::default().finish().num_rows(), 0);
    }
}
