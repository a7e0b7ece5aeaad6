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
    Invoices,
    InvoiceLines,
    UsageHourly,
    UsageDaily,
    UsagePeriods,
    UsageCarried,
}

impl Table {
    pub const ALL: [Self; 8] = [
        Self::UsageEvents,
        Self::RejectedMessages,
        Self::Invoices,
        Self::InvoiceLines,
        Self::UsageHourly,
        Self::UsageDaily,
        Self::UsagePeriods,
        Self::UsageCarried,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::UsageEvents => "usage_events",
            Self::RejectedMessages => "rejected_messages",
            Self::Invoices => "invoices",
            Self::InvoiceLines => "invoice_lines",
            Self::UsageHourly => "usage_hourly",
            Self::UsageDaily => "usage_daily",
            Self::UsagePeriods => "usage_periods",
            Self::UsageCarried => "usage_carried",
        }
    }

    /// The column by whose value the table's files are put into folders.
    pub fn partition_column(self) -> &'static str {
        match self {
            Self::UsageEvents => "event_day",
            Self::RejectedMessages => "rejected_day",
            Self::Invoices | Self::InvoiceLines => "period_month",
            Self::UsageHourly | Self::UsageDaily | Self::UsageCarried => "usage_day",
            Self::UsagePeriods => "last_day",
        }
    }

    /// The column whose UTC day the partition column always is, so that bounds on one are bounds on the
    /// other. Rejects have none: a batch that crosses midnight keeps them under the day on which it ended. Invoices
    /// have none: their months are those of the tenants' own calendars.
    pub fn partitioned_time_column(self) -> Option<&'static str> {
        match self {
            Self::UsageEvents => Some("time"),
            Self::RejectedMessages
            | Self::Invoices
            | Self::InvoiceLines
            | Self::UsageHourly
            | Self::UsageDaily
            | Self::UsagePeriods
            | Self::UsageCarried => None,
        }
    }

    pub fn description(self) -> &'static str {
        match self {
            Self::UsageEvents => "one row per usage event and meter that it feeds",
            Self::RejectedMessages => "messages that could not be counted, with their bytes and the reason",
            Self::Invoices => "one row per invoice, with all that explains it",
            Self::InvoiceLines => "one row per invoice line",
            Self::UsageHourly => {
                "what each tenant used of each meter in each clock hour (UTC), with its dimensions and over all of them; an hour \
                 without a row had nothing"
            }
            Self::UsageDaily => {
                "roll-ups: a row per tenant, day, question and its part of the day, and one per tenant and day that says \
                 what is there; of each tenant and day only the highest generation counts"
            }
            Self::UsagePeriods => {
                "roll-ups: what each tenant's billing periods came to that have ended, put together from its days; a row per \
                 question and span, and one per tenant and period that says what is there"
            }
            Self::UsageCarried => {
                "what each tenant's day opens with; of each tenant and day only the highest generation counts"
            }
        }
    }

    /// Columns whose smallest and largest values are kept per file; decimals are left out, because
    /// readers keep statistics of decimals as floats.
    pub fn statistics_columns(self) -> &'static [&'static str] {
        match self {
            Self::UsageEvents => &["time", "tenant", "meter"],
            Self::RejectedMessages => &["arrival"],
            Self::Invoices | Self::InvoiceLines => &["tenant", "invoice"],
            Self::UsageHourly => &["tenant", "meter", "hour"],
            Self::UsageDaily | Self::UsagePeriods | Self::UsageCarried => &["tenant"],
        }
    }

    /// Every column with its type, whether it may be null, and what it means; the partition column first.
    pub fn columns(self) -> &'static [Column] {
        match self {
            Self::UsageEvents => USAGE_EVENTS,
            Self::RejectedMessages => REJECTED_MESSAGES,
            Self::Invoices => INVOICES,
            Self::InvoiceLines => INVOICE_LINES,
            Self::UsageHourly => USAGE_HOURLY,
            Self::UsageDaily => USAGE_DAILY,
            Self::UsagePeriods => USAGE_PERIODS,
            Self::UsageCarried => USAGE_CARRIED,
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

const INVOICES: &[Column] = &[
    column(
        "period_month",
        ColumnKind::Date,
        "first day of the month in which the period starts, in the tenant's calendar; the table's partition",
    ),
    column("invoice", ColumnKind::Text, "the invoice's id, the same for every draft of a tenant and period"),
    optional(
        "kind",
        ColumnKind::Text,
        "invoice, or credit_note: what takes back a part of an issued invoice; null where an older program wrote it",
    ),
    column(
        "state",
        ColumnKind::Text,
        "draft: computed anew by every `meterhouse rate`; issued: it never changes again",
    ),
    optional("number", ColumnKind::Text, "the number that it was issued under; null for a draft"),
    column("tenant", ColumnKind::Text, "who is billed"),
    column("period", ColumnKind::Text, "the local day on which the period starts"),
    column("period_end", ColumnKind::Text, "the local day on which the next period starts"),
    column("period_start_time", ColumnKind::Time, "when the period starts"),
    column("period_end_time", ColumnKind::Time, "when it ends; not included"),
    column("currency", ColumnKind::Text, "ISO 4217 code"),
    column("lines", ColumnKind::Integer, "how many lines it has"),
    column("total", ColumnKind::Value, "sum of the rounded lines"),
    column("credited", ColumnKind::Value, "what credits paid"),
    column("taxed", ColumnKind::Value, "taxes"),
    column("due", ColumnKind::Value, "total - credited + taxed"),
    column("warnings", ColumnKind::Integer, "how many warnings it carries"),
    column("table_id", ColumnKind::Text, "identity of the table of usage events that it was made from"),
    column("table_version", ColumnKind::Long, "version of that table"),
    column("catalog_hash", ColumnKind::Text, "hash of the catalog that it was made with"),
    column("book_hash", ColumnKind::Text, "hash of the book's snapshot; empty without a book"),
    column("program_version", ColumnKind::Text, "version of the program that made it"),
    column("digest", ColumnKind::Text, "BLAKE3 of `document`"),
    column("document", ColumnKind::Text, "the whole invoice as canonical JSON"),
];

const INVOICE_LINES: &[Column] = &[
    column(
        "period_month",
        ColumnKind::Date,
        "first day of the month in which the period starts, in the tenant's calendar; the table's partition",
    ),
    column("invoice", ColumnKind::Text, "the id of the invoice"),
    column("invoice_digest", ColumnKind::Text, "the digest of the invoice"),
    column("line", ColumnKind::Integer, "the line's number on the invoice, from 1"),
    column("line_key", ColumnKind::Text, "what the line is about; the same in every run"),
    column("tenant", ColumnKind::Text, "who is billed"),
    column("period", ColumnKind::Text, "the local day on which the period starts"),
    column("subscription", ColumnKind::Text, "the subscription; empty for one-off purchases"),
    column("price", ColumnKind::Text, "the price's name in the catalog"),
    column("price_source", ColumnKind::Text, "file and line of the price when the line was first made"),
    column("description", ColumnKind::Text, "what people read"),
    column("span_start", ColumnKind::Time, "from when the line counts"),
    column("span_end", ColumnKind::Time, "until when; not included"),
    optional("meter", ColumnKind::Text, "the meter; null for fees"),
    optional("measure", ColumnKind::Text, "how the meter is measured"),
    optional("dimensions", ColumnKind::Text, "the values that the line stands for, as a JSON object"),
    optional("unit", ColumnKind::Text, "the meter's unit"),
    optional("quantity", ColumnKind::Value, "the metered quantity, to 9 decimals; null if it is too large"),
    optional("quantity_exact", ColumnKind::Text, "the same without rounding: a decimal, or a ratio"),
    optional("samples", ColumnKind::Long, "how many samples it was measured from"),
    optional("billable_unit", ColumnKind::Text, "the unit of the price"),
    optional("billable", ColumnKind::Value, "what the price was applied to, to 9 decimals"),
    optional("billable_exact", ColumnKind::Text, "the same without rounding"),
    column("currency", ColumnKind::Text, "ISO 4217 code"),
    column("amount", ColumnKind::Value, "what the line costs"),
];

const USAGE_HOURLY: &[Column] = &[
    column("usage_day", ColumnKind::Date, "the UTC day of `hour`; the table's partition"),
    column("tenant", ColumnKind::Text, "whose usage it is"),
    column("meter", ColumnKind::Text, "the meter"),
    optional(
        "dimensions",
        ColumnKind::Text,
        "the values of the meter's dimensions as a JSON object with sorted keys; null in the row over all of them, which \
         every meter has: add up either kind of rows, never both",
    ),
    column("hour", ColumnKind::Time, "when the clock hour (UTC) starts"),
    column("samples", ColumnKind::Long, "how many samples the hour has"),
    optional("first_sample", ColumnKind::Time, "the first of them"),
    optional("last_sample", ColumnKind::Time, "the last of them"),
    optional("opening", ColumnKind::Value, "gauge: the sum over the resources when the hour starts"),
    optional("closing", ColumnKind::Value, "gauge: the sum over the resources when it ends"),
    optional("net_change", ColumnKind::Value, "gauge: closing - opening"),
    optional("highest", ColumnKind::Value, "gauge: the highest sum over the resources"),
    optional("lowest", ColumnKind::Value, "gauge: the lowest sum over the resources"),
    optional(
        "integral",
        ColumnKind::Value,
        "gauge: level times time, in units times microseconds; divided by 3600000000 it is the hour's average",
    ),
    optional("sum", ColumnKind::Value, "delta: all values added"),
    optional("max", ColumnKind::Value, "delta: the highest value"),
    optional("increase", ColumnKind::Value, "cumulative: growth, resets seen through"),
    optional("resets", ColumnKind::Long, "cumulative: how often a counter dropped"),
    optional("billed_us", ColumnKind::Long, "session: billed time in microseconds"),
    optional("started", ColumnKind::Long, "session: how many began"),
    optional("resource_hours", ColumnKind::Long, "unique: distinct resources in the hour"),
];

const USAGE_DAILY: &[Column] = &[
    column("usage_day", ColumnKind::Date, "the UTC day; the table's partition"),
    column("tenant", ColumnKind::Text, "whose usage it is"),
    column("generation", ColumnKind::Long, "the run of `meterhouse rollup` that wrote the row"),
    optional(
        "questions",
        ColumnKind::Text,
        "only in the row that says what is there: a JSON array of the questions that this generation answers",
    ),
    optional("meter", ColumnKind::Text, "the meter; null in the row that says what is there"),
    optional(
        "view",
        ColumnKind::Text,
        "how the meter is looked at, as JSON: which values only, and by which dimensions",
    ),
    optional("dimensions", ColumnKind::Text, "the dimensions' values as a JSON object; {} for all together"),
    optional("segment_start", ColumnKind::Time, "from when the row counts"),
    optional("segment_end", ColumnKind::Time, "until when; not included"),
    column(
        "samples",
        ColumnKind::Long,
        "how many samples; in the row that says what is there, rows of usage_events",
    ),
    optional("first_sample", ColumnKind::Time, "the first of them"),
    optional("last_sample", ColumnKind::Time, "the last of them"),
    optional("opening", ColumnKind::Value, "gauge: the level that is carried in"),
    optional("closing", ColumnKind::Value, "gauge: the level at the end"),
    optional("highest", ColumnKind::Value, "gauge: the highest level"),
    optional("lowest", ColumnKind::Value, "gauge: the lowest level"),
    optional("integral", ColumnKind::Value, "gauge: level times time, in units times microseconds"),
    optional("negative_samples", ColumnKind::Long, "gauge, cumulative: samples below zero"),
    optional("sum", ColumnKind::Value, "delta: all values added"),
    optional("max", ColumnKind::Value, "delta: the highest value"),
    optional("busiest_hour", ColumnKind::Value, "delta: the highest sum of one clock hour"),
    optional("increase", ColumnKind::Value, "cumulative: growth, resets seen through"),
    optional("largest_step", ColumnKind::Value, "cumulative: the highest growth between two samples"),
    optional("resets", ColumnKind::Long, "cumulative: how often a counter dropped"),
    optional("billed_us", ColumnKind::Long, "session: billed time in microseconds"),
    optional("started", ColumnKind::Long, "session: how many began"),
    optional(
        "stops_without_start",
        ColumnKind::Long,
        "session, of the whole meter: stops of what was not running, and heartbeats that began nothing",
    ),
    optional(
        "ends_before_start",
        ColumnKind::Long,
        "session, of the whole meter: ends that lie before their start",
    ),
    optional("timed_out", ColumnKind::Long, "session, of the whole meter: ended without a stop"),
    optional("resource_hours", ColumnKind::Long, "unique: distinct pairs of resource and clock hour"),
    optional("resources", ColumnKind::Text, "unique: the resources that were seen, as a JSON array"),
];

const USAGE_PERIODS: &[Column] = &[
    column("last_day", ColumnKind::Date, "the UTC day in which the period ends; the table's partition"),
    column("tenant", ColumnKind::Text, "whose usage it is"),
    optional(
        "questions",
        ColumnKind::Text,
        "only in the row that says what is there: the questions that are answered, as a JSON object, each with what \
         should not happen to sessions, if anything did",
    ),
    optional("meter", ColumnKind::Text, "the meter; null in the row that says what is there"),
    optional(
        "view",
        ColumnKind::Text,
        "how the meter is looked at, as JSON: which values only, and by which dimensions",
    ),
    optional("dimensions", ColumnKind::Text, "the dimensions' values as a JSON object; {} for all together"),
    column("segment_start", ColumnKind::Time, "from when the row counts; the period's start, or a span's"),
    column("segment_end", ColumnKind::Time, "until when; not included"),
    column("samples", ColumnKind::Long, "how many samples"),
    optional("first_sample", ColumnKind::Time, "the first of them"),
    optional("last_sample", ColumnKind::Time, "the last of them"),
    optional("opening", ColumnKind::Value, "gauge: the level that is carried in"),
    optional("closing", ColumnKind::Value, "gauge: the level at the end"),
    optional("highest", ColumnKind::Value, "gauge: the highest level"),
    optional("lowest", ColumnKind::Value, "gauge: the lowest level"),
    optional("integral", ColumnKind::Value, "gauge: level times time, in units times microseconds"),
    optional("negative_samples", ColumnKind::Long, "gauge, cumulative: samples below zero"),
    optional("sum", ColumnKind::Value, "delta: all values added"),
    optional("max", ColumnKind::Value, "delta: the highest value"),
    optional("busiest_hour", ColumnKind::Value, "delta: the highest sum of one clock hour"),
    optional("increase", ColumnKind::Value, "cumulative: growth, resets seen through"),
    optional("largest_step", ColumnKind::Value, "cumulative: the highest growth between two samples"),
    optional("resets", ColumnKind::Long, "cumulative: how often a counter dropped"),
    optional("billed_us", ColumnKind::Long, "session: billed time in microseconds"),
    optional("started", ColumnKind::Long, "session: how many began"),
    optional("resource_hours", ColumnKind::Long, "unique: distinct pairs of resource and clock hour"),
    optional("distinct_resources", ColumnKind::Long, "unique: how many resources were seen"),
];

const USAGE_CARRIED: &[Column] = &[
    column("usage_day", ColumnKind::Date, "the UTC day that opens with it; the table's partition"),
    column("tenant", ColumnKind::Text, "whose usage it is"),
    column("generation", ColumnKind::Long, "the run of `meterhouse rollup` that wrote the row"),
    column(
        "state",
        ColumnKind::Text,
        "by meter, as JSON: levels and counters with their last samples, and sessions that go on",
    ),
];
