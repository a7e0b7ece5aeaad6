//! A Parquet file in the making: rows of one table and one day, encoded as they come.
//!
//! Owns the layout of the lake's files: which columns carry dictionaries, the compression, and the
//! statistics that the table's log keeps of each file. No sort order is declared in a file, because
//! distributed engines plan wrongly over files that declare one. Compacted files have the same layout, but
//! are put together from columns that are encoded apart from each other (`sorted_file`).

use std::collections::HashMap;
use std::io::Write;

use arrow::array::RecordBatch;
use bytes::Bytes;
use deltalake_core::kernel::Add;
use jiff::civil::Date;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::metadata::ParquetMetaData;
use parquet::file::properties::{EnabledStatistics, WriterProperties, WriterPropertiesBuilder};
use parquet::file::statistics::{Statistics, ValueStatistics};
use parquet::schema::types::ColumnPath;
use serde_json::{Map, Value, json};
use sql::lake::{DataFile, Table};
use uuid::Uuid;

/// Rows per row group: small enough to decode in cache-sized steps, large enough to compress well.
const ROW_GROUP_ROWS: usize = 512 * 1024;

/// Rows per row group of what arrives: all pages of a group are kept until it ends, and the memory of few is
/// taken again for the next group before the allocator returns it to the system.
const ARRIVED_ROW_GROUP_ROWS: usize = 128 * 1024;

/// Roll-ups lie in the order of their tenants and are read for single ones, too.
const ROLL_UP_ROW_GROUP_ROWS: usize = 4 * 1024;

/// Columns of mostly distinct values, where a dictionary only costs time.
pub(crate) const WITHOUT_DICTIONARY: [&str; 6] = ["identity", "id", "data", "payload", "key", "document"];
/// Columns of usage events by whose bounds nobody skips anything; finding them costs more than encoding most columns.
pub(crate) const WITHOUT_BOUNDS: [&str; 10] =
    ["identity", "id", "data", "value", "source", "event_type", "resource", "dimensions", "signal", "topic"];
/// Digests, which no compression makes smaller.
const INCOMPRESSIBLE: [&str; 1] = ["identity"];
/// Columns of growing or repeated numbers, which take little room as differences.
const AS_DIFFERENCES: [&str; 6] = ["time", "offset", "arrival", "signal_time", "partition", "batch_index"];
/// Bytes that a file in the making holds in one piece. A single buffer would be copied whenever it grows.
const PIECE_BYTES: usize = 4 * 1024 * 1024;
/// Pages of this size stay in the processor's cache while they are made, and the allocator gives their memory out
/// again without clearing it.
const PAGE_BYTES: usize = 256 * 1024;

/// What the name of a file says about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum FileKind {
    /// Rows in the order of their arrival, duplicates included.
    Arrived,
    /// Voids and amendments, in the order of their arrival; compaction leaves them as they are.
    Corrections,
    /// A compacted day's rows: sorted, without duplicates.
    Sorted,
    /// Rejects that a replay is moving, all of them, into the usage table.
    Replaying,
    /// Drafts of invoices, or their lines.
    Drafts,
    /// Roll-ups of a day, or what it opens with.
    RollUp,
}

impl FileKind {
    fn prefix(self) -> &'static str {
        match self {
            Self::Arrived => "part",
            Self::Corrections => "corrections",
            Self::Sorted => "sorted",
            Self::Replaying => "replaying",
            Self::Drafts => "drafts",
            Self::RollUp => "rollup",
        }
    }

    /// Whether a file's path within its table says that it is compacted.
    pub fn of(path: &str) -> Self {
        match path.rsplit('/').next() {
            Some(name) if name.starts_with("corrections-") => Self::Corrections,
            Some(name) if name.starts_with("sorted-") => Self::Sorted,
            Some(name) if name.starts_with("replaying-") => Self::Replaying,
            Some(name) if name.starts_with("drafts-") => Self::Drafts,
            Some(name) if name.starts_with("rollup-") => Self::RollUp,
            _ => Self::Arrived,
        }
    }
}

/// A file that is being written, in memory.
pub struct DayFileWriter {
    table: Table,
    day: i32,
    kind: FileKind,
    rows: usize,
    writer: ArrowWriter<Pieces>,
}

/// What was written so far.
#[derive(Debug, Default)]
pub(crate) struct Pieces {
    whole: Vec<Bytes>,
    open: Vec<u8>,
}

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if self.open.len() + bytes.len() > PIECE_BYTES {
            let open = std::mem::replace(&mut self.open, Vec::with_capacity(PIECE_BYTES));
            self.whole.push(open.into());
        }
        self.open.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl std::fmt::Debug for DayFileWriter {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { table, day, rows, .. } = self;
        write!(formatter, "DayFileWriter({table:?}, day {day}, {rows} rows)")
    }
}

/// A whole file with what the table's log says of it; not stored yet.
#[derive(Debug, Clone)]
pub struct FinishedFile {
    /// What it holds, in pieces.
    pub pieces: Vec<Bytes>,
    /// Days since 1970-01-01.
    pub day: i32,
    pub rows: usize,
    pub add: Add,
}

impl DayFileWriter {
    pub fn new(table: Table, day: i32, kind: FileKind) -> Result<Self, ParquetError> {
        let properties = writer_properties();
        let properties = match kind {
            FileKind::Arrived => arrived_properties(properties),
            FileKind::RollUp => properties.set_max_row_group_row_count(Some(ROLL_UP_ROW_GROUP_ROWS)),
            FileKind::Corrections | FileKind::Sorted | FileKind::Replaying | FileKind::Drafts => properties,
        };
        let properties = properties.build();
        let writer = ArrowWriter::try_new(Pieces::default(), table.file_schema(), Some(properties))?;
        Ok(Self { table, day, kind, rows: 0, writer })
    }

    pub fn write(&mut self, batch: &RecordBatch) -> Result<(), ParquetError> {
        self.rows += batch.num_rows();
        self.writer.write(batch)
    }

    pub fn rows(&self) -> usize {
        self.rows
    }

    /// How large the file would be about now.
    pub fn bytes(&self) -> usize {
        self.writer.bytes_written() + self.writer.in_progress_size()
    }

    pub fn finish(mut self, now_ms: i64) -> Result<FinishedFile, ParquetError> {
        let metadata = self.writer.finish()?;
        let pieces = std::mem::take(self.writer.inner_mut());
        Ok(FinishedFile::new(self.table, self.day, self.kind, pieces, &metadata, now_ms))
    }
}

impl FinishedFile {
    pub(crate) fn new(
        table: Table,
        day: i32,
        kind: FileKind,
        Pieces { whole: mut pieces, open }: Pieces,
        metadata: &ParquetMetaData,
        now_ms: i64,
    ) -> Self {
        pieces.push(open.into());
        let rows = metadata.file_metadata().num_rows() as usize;
        let text = day_text(day);
        let column = table.partition_column();
        let add = Add {
            path: format!("{column}={text}/{}-{}.parquet", kind.prefix(), Uuid::new_v4()),
            partition_values: HashMap::from([(column.to_owned(), Some(text))]),
            size: pieces.iter().map(Bytes::len).sum::<usize>() as i64,
            modification_time: now_ms,
            data_change: kind != FileKind::Sorted,
            stats: Some(log_statistics(table, rows, metadata).to_string()),
            ..Add::default()
        };
        Self { pieces, day, rows, add }
    }

    /// As the table has it once it is committed.
    pub fn data_file(&self) -> DataFile {
        DataFile {
            path: self.add.path.clone(),
            size_bytes: self.add.size as u64,
            rows: self.rows as u64,
            day: self.day,
            modified_at_ms: self.add.modification_time,
            statistics: self.add.stats.clone(),
        }
    }
}

pub(crate) fn writer_properties() -> WriterPropertiesBuilder {
    let mut properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(1).expect("1 is a level")))
        .set_data_page_size_limit(PAGE_BYTES)
        .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
        .set_statistics_enabled(EnabledStatistics::Chunk)
        .set_created_by(format!("meterhouse {}", env!("CARGO_PKG_VERSION")));
    for column in WITHOUT_DICTIONARY {
        properties = properties
            .set_column_dictionary_enabled(ColumnPath::from(column), false)
            // Nobody skips by the bounds of values that are all different and in no order.
            .set_column_statistics_enabled(ColumnPath::from(column), EnabledStatistics::None);
    }
    for column in INCOMPRESSIBLE {
        properties = properties.set_column_compression(ColumnPath::from(column), Compression::UNCOMPRESSED);
    }
    for column in AS_DIFFERENCES {
        properties = properties
            .set_column_dictionary_enabled(ColumnPath::from(column), false)
            .set_column_encoding(ColumnPath::from(column), Encoding::DELTA_BINARY_PACKED);
    }
    properties
}

/// Compaction soon writes these rows anew and small; until then time counts, not room.
fn arrived_properties(properties: WriterPropertiesBuilder) -> WriterPropertiesBuilder {
    let mut properties = properties
        .set_compression(Compression::SNAPPY)
        .set_max_row_group_row_count(Some(ARRIVED_ROW_GROUP_ROWS))
        // Most ids are random, and what is left to gain is not worth looking for.
        .set_column_compression(ColumnPath::from("id"), Compression::UNCOMPRESSED)
        // Figures repeat seldom, and looking each up costs more than its sixteen bytes.
        .set_column_dictionary_enabled(ColumnPath::from("value"), false);
    for column in WITHOUT_BOUNDS {
        properties =
            properties.set_column_statistics_enabled(ColumnPath::from(column), EnabledStatistics::None);
    }
    properties
}

/// A day as it stands in paths and partition values.
pub fn day_text(day: i32) -> String {
    let epoch = Date::constant(1970, 1, 1);
    epoch.checked_add(jiff::Span::new().days(day)).map_or_else(|_| day.to_string(), |date| date.to_string())
}

/// Row count and bounds of the columns that readers skip files by, in the form of the Delta protocol.
fn log_statistics(table: Table, rows: usize, metadata: &ParquetMetaData) -> Value {
    let (mut smallest, mut largest, mut nulls) = (Map::new(), Map::new(), Map::new());
    let schema = metadata.file_metadata().schema_descr();
    for name in table.statistics_columns() {
        let Some(at) = (0..schema.num_columns()).find(|at| schema.column(*at).name() == *name) else {
            continue;
        };
        let chunks: Option<Vec<&Statistics>> =
            metadata.row_groups().iter().map(|group| group.column(at).statistics()).collect();
        let Some(chunks) = chunks else { continue };
        let null_count: Option<u64> = chunks.iter().map(|chunk| chunk.null_count_opt()).sum();
        nulls.insert((*name).to_owned(), json!(null_count));
        if let Some((low, high)) = bounds(&chunks) {
            smallest.insert((*name).to_owned(), low);
            largest.insert((*name).to_owned(), high);
        }
    }
    json!({ "numRecords": rows, "minValues": smallest, "maxValues": largest, "nullCount": nulls })
}

fn bounds(chunks: &[&Statistics]) -> Option<(Value, Value)> {
    match chunks.first()? {
        Statistics::Int64(_) => {
            let low = chunks.iter().filter_map(|chunk| int64(chunk)?.min_opt().copied()).min()?;
            let high = chunks.iter().filter_map(|chunk| int64(chunk)?.max_opt().copied()).max()?;
            // The protocol keeps times to the millisecond, so the bounds are widened to whole ones.
            let text = |ms: i64| jiff::Timestamp::from_millisecond(ms).ok().map(|at| json!(at.to_string()));
            Some((text(low.div_euclid(1_000))?, text(high.div_euclid(1_000) + 1)?))
        }
        Statistics::ByteArray(_) => {
            let texts = |pick: fn(&Statistics) -> Option<&[u8]>| {
                let bytes = chunks.iter().filter_map(|chunk| pick(chunk));
                bytes.map(|bytes| std::str::from_utf8(bytes).ok()).collect::<Option<Vec<_>>>()
            };
            let low = texts(Statistics::min_bytes_opt)?.into_iter().min()?;
            let high = texts(Statistics::max_bytes_opt)?.into_iter().max()?;
            Some((json!(low), json!(high)))
        }
        _ => None,
    }
}

fn int64(chunk: &Statistics) -> Option<&ValueStatistics<i64>> {
    match chunk {
        Statistics::Int64(values) => Some(values),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::columns::UsageColumns;
    use crate::event::{Identity, UsageEvent};
    use crate::raw_message::Coordinates;

    #[test]
    fn a_file_says_its_day_rows_and_bounds() {
        let mut columns = UsageColumns::default();
        for (tenant, time_us) in [("beta", 86_400_000_001), ("acme", 86_400_500_999)] {
            let event = UsageEvent {
                identity: Identity::of("s", tenant),
                source: "s".into(),
                id: tenant.into(),
                tenant: tenant.into(),
                event_type: "t".into(),
                time_us,
                time_given: true,
                data: None,
                batch_index: 0,
                readings: smallvec::SmallVec::new(),
            };
            columns.push(&event, &[], Coordinates { topic: "t", partition: 0, offset: 1 }, 0);
        }
        let mut writer = DayFileWriter::new(Table::UsageEvents, 1, FileKind::Arrived).unwrap();
        writer.write(&columns.finish()).unwrap();
        let file = writer.finish(7).unwrap();
        assert!(file.add.path.starts_with("event_day=1970-01-02/part-"), "{}", file.add.path);
        assert_eq!(FileKind::of(&file.add.path), FileKind::Arrived);
        let statistics: Value = serde_json::from_str(file.add.stats.as_deref().unwrap()).unwrap();
        let expected = json!({
            "numRecords": 2,
            "minValues": { "time": "1970-01-02T00:00:00Z", "tenant": "acme" },
            "maxValues": { "time": "1970-01-02T00:00:00.501Z", "tenant": "beta" },
            "nullCount": { "time": 0, "tenant": 0, "meter": 2 },
        });
        assert_eq!(statistics, expected);
    }
}
