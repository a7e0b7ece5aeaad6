//! The tables' schemas. Plain types only, so that every Delta reader understands them: no deletion
//! vectors, no column mapping, no nested types.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};

/// Decimal digits of a stored value, and how many of them are decimals.
pub const VALUE_PRECISION: u8 = 38;
pub const VALUE_SCALE: i8 = 9;

/// A Delta table of the lake.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Table {
    UsageEvents,
    RejectedMessages,
}

impl Table {
    pub const ALL: [Self; 2] = [Self::UsageEvents, Self::RejectedMessages];

    pub fn name(self) -> &'static str {
        match self {
            Self::UsageEvents => "usage_events",
            Self::RejectedMessages => "rejected_messages",
        }
    }

    /// The column by whose value the table's files are put into folders.
    pub fn partition_column(self) -> &'static str {
        match self {
            Self::UsageEvents => "event_day",
            Self::RejectedMessages => "rejected_day",
        }
    }

    /// The column whose UTC day the partition column always is, so that bounds on one are bounds on the
    /// other. Rejects have none: a batch that crosses midnight keeps them under the day on which it ended.
    pub fn partitioned_time_column(self) -> Option<&'static str> {
        match self {
            Self::UsageEvents => Some("time"),
            Self::RejectedMessages => None,
        }
    }

    pub fn description(self) -> &'static str {
        match self {
            Self::UsageEvents => "one row per usage event and meter that it feeds",
            Self::RejectedMessages => "messages that could not be counted, with their bytes and the reason",
        }
    }

    /// Columns whose smallest and largest values are kept per file; decimals are left out, because
    /// readers keep statistics of decimals as floats.
    pub fn statistics_columns(self) -> &'static [&'static str] {
        match self {
            Self::UsageEvents => &["time", "tenant", "meter"],
            Self::RejectedMessages => &["arrival"],
        }
    }

    /// Every column with its type, whether it may be null, and what it means; the partition column first.
    pub fn columns(self) -> &'static [Column] {
        match self {
            Self::UsageEvents => USAGE_EVENTS,
            Self::RejectedMessages => REJECTED_MESSAGES,
        }
    }

    /// The whole schema, partition column included.
    pub fn schema(self) -> SchemaRef {
        Arc::new(Schema::new(self.columns().iter().map(Column::field).collect::<Vec<_>>()))
    }

    /// The schema of the table's Parquet files: without the partition column.
    pub fn file_schema(self) -> SchemaRef {
        let fields = self.columns().iter().filter(|column| column.name != self.partition_column());
        Arc::new(Schema::new(fields.map(Column::field).collect::<Vec<_>>()))
    }
}

/// A column of a table.
#[derive(Debug, Clone, Copy)]
pub struct Column {
    pub name: &'static str,
    pub kind: ColumnKind,
    pub nullable: bool,
    pub meaning: &'static str,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ColumnKind {
    Boolean,
    Bytes,
    Date,
    Integer,
    Long,
    Text,
    Time,
    Value,
}

impl ColumnKind {
    pub fn arrow_type(self) -> DataType {
        match self {
            Self::Boolean => DataType::Boolean,
            Self::Bytes => DataType::Binary,
            Self::Date => DataType::Date32,
            Self::Integer => DataType::Int32,
            Self::Long => DataType::Int64,
            Self::Text => DataType::Utf8,
            Self::Time => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
            Self::Value => DataType::Decimal128(VALUE_PRECISION, VALUE_SCALE),
        }
    }
}

impl Column {
    fn field(&self) -> Field {
        Field::new(self.name, self.kind.arrow_type(), self.nullable)
    }
}

const fn column(name: &'static str, kind: ColumnKind, meaning: &'static str) -> Column {
    Column { name, kind, nullable: false, meaning }
}

const fn optional(name: &'static str, kind: ColumnKind, meaning: &'static str) -> Column {
    Column { name, kind, nullable: true, meaning }
}

const USAGE_EVENTS: &[Column] = &[
    column("event_day", ColumnKind::Date, "the UTC day of `time`; the table's partition"),
    column("identity", ColumnKind::Bytes, "first 16 bytes of the BLAKE3 hash of source and id"),
    column("source", ColumnKind::Text, "the CloudEvent's source"),
    column("id", ColumnKind::Text, "the CloudEvent's id; source and id together name the event"),
    column("tenant", ColumnKind::Text, "who is billed"),
    column("event_type", ColumnKind::Text, "the CloudEvent's type"),
    optional("meter", ColumnKind::Text, "the meter that this row feeds; null if no meter took the event"),
    column("time", ColumnKind::Time, "when the usage happened"),
    column(
        "time_given",
        ColumnKind::Boolean,
        "whether the event named its time; if not, Kafka's timestamp stands in",
    ),
    optional("value", ColumnKind::Value, "the level, amount, counter or duration that the meter reads"),
    optional("resource", ColumnKind::Text, "the resource or session that the value belongs to"),
    optional("dimensions", ColumnKind::Text, "the meter's dimensions as a JSON object with sorted keys"),
    optional("signal", ColumnKind::Text, "for sessions: start, stop, heartbeat or complete"),
    optional(
        "signal_time",
        ColumnKind::Time,
        "for sessions: when it began (start, complete) or ended (stop), if the event says so",
    ),
    optional("data", ColumnKind::Text, "the event's data as it came (JSON)"),
    column("topic", ColumnKind::Text, "the Kafka topic, or the file, that it came from"),
    column("partition", ColumnKind::Integer, "the Kafka partition; 0 for a file"),
    column("offset", ColumnKind::Long, "the Kafka offset, or the line of the file"),
    column("batch_index", ColumnKind::Integer, "the event's place in a batch message; 0 otherwise"),
    column("arrival", ColumnKind::Time, "when ingest read it"),
];

const REJECTED_MESSAGES: &[Column] = &[
    column("rejected_day", ColumnKind::Date, "the UTC day on which it was stored; the table's partition"),
    column("reason", ColumnKind::Text, "why it was rejected, as a word to group by"),
    column("detail", ColumnKind::Text, "why it was rejected, as a sentence"),
    column("topic", ColumnKind::Text, "the Kafka topic, or the file, that it came from"),
    column("partition", ColumnKind::Integer, "the Kafka partition; 0 for a file"),
    column("offset", ColumnKind::Long, "the Kafka offset, or the line of the file"),
    column("batch_index", ColumnKind::Integer, "the event's place in a batch message; 0 otherwise"),
    optional("stamped", ColumnKind::Time, "the message's Kafka timestamp"),
    column("arrival", ColumnKind::Time, "when ingest read it"),
    optional("key", ColumnKind::Bytes, "the message's key"),
    optional("headers", ColumnKind::Text, "the message's headers as a JSON array of name and base64 value"),
    optional("payload", ColumnKind::Bytes, "the message's bytes"),
    optional("source", ColumnKind::Text, "the CloudEvent's source, where it could be read"),
    optional("id", ColumnKind::Text, "the CloudEvent's id, where it could be read"),
    optional("tenant", ColumnKind::Text, "who would have been billed, where it could be read"),
    optional("event_type", ColumnKind::Text, "the CloudEvent's type, where it could be read"),
];
