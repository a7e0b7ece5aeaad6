//! The columns of some rows, typed.

use arrow::array::{
    Array, AsArray, Decimal128Array, Int32Array, Int64Array, PrimitiveArray, RecordBatch,
    TimestampMicrosecondArray,
};
use arrow::datatypes::{Decimal128Type, Int32Type, Int64Type, TimestampMicrosecondType};

use super::QuantitiesError;
use super::dictionary::Texts;
use super::files::LakeFile;

/// What the folds need of a row.
pub(super) const FOLDED: [&str; 6] = ["tenant", "meter", "time", "value", "resource", "dimensions"];
/// What session meters need beside it.
pub(super) const SIGNALS: [&str; 2] = ["signal", "signal_time"];
/// What tells the order in which rows arrived, beside their time.
pub(super) const ARRIVED: [&str; 5] = ["arrival", "topic", "partition", "offset", "batch_index"];

/// Some rows, as the folds read them.
#[derive(Debug, Clone)]
pub(super) struct Rows {
    pub tenant: Texts,
    pub meter: Texts,
    pub time: TimestampMicrosecondArray,
    pub value: Decimal128Array,
    pub resource: Texts,
    pub dimensions: Texts,
    pub signals: Option<(Texts, TimestampMicrosecondArray)>,
}

/// What orders rows of the same time.
#[derive(Debug, Clone)]
pub(super) struct Arrival {
    pub arrived: TimestampMicrosecondArray,
    pub topic: Texts,
    pub partition: Int32Array,
    pub offset: Int64Array,
    pub batch_index: Int32Array,
}

impl Rows {
    pub fn of(file: &LakeFile, batch: &RecordBatch, has_sessions: bool) -> Result<Self, QuantitiesError> {
        let signals = if has_sessions {
            Some((texts(file, batch, "signal")?, times(file, batch, "signal_time")?))
        } else {
            None
        };
        Ok(Self {
            tenant: texts(file, batch, "tenant")?,
            meter: texts(file, batch, "meter")?,
            time: times(file, batch, "time")?,
            value: file.column(batch, "value")?.as_primitive::<Decimal128Type>().clone(),
            resource: texts(file, batch, "resource")?,
            dimensions: texts(file, batch, "dimensions")?,
            signals,
        })
    }

    pub fn len(&self) -> usize {
        self.time.len()
    }

    pub fn tenant_of(&self, row: usize) -> &str {
        text(&self.tenant, row)
    }

    /// Where the rows of all tenants up to this one end, looked for from a row on; rows are in the order of tenants.
    pub fn end_of(&self, last: &str, from: usize) -> usize {
        let (mut low, mut high) = (from, self.len());
        while low < high {
            let middle = low.midpoint(high);
            if self.tenant_of(middle) <= last {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    }
}

impl Arrival {
    pub fn of(file: &LakeFile, batch: &RecordBatch) -> Result<Self, QuantitiesError> {
        Ok(Self {
            arrived: times(file, batch, "arrival")?,
            topic: texts(file, batch, "topic")?,
            partition: file.column(batch, "partition")?.as_primitive::<Int32Type>().clone(),
            offset: file.column(batch, "offset")?.as_primitive::<Int64Type>().clone(),
            batch_index: file.column(batch, "batch_index")?.as_primitive::<Int32Type>().clone(),
        })
    }

    /// The event that a row belongs to, and its place in the order of arrival.
    pub fn of_row(&self, row: usize) -> ArrivalOf<'_> {
        ArrivalOf {
            arrival_us: self.arrived.value(row),
            topic: text(&self.topic, row),
            partition: self.partition.value(row),
            offset: self.offset.value(row),
            batch_index: self.batch_index.value(row),
        }
    }
}

/// When and from where an event came; in this order the first of two counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ArrivalOf<'r> {
    pub arrival_us: i64,
    pub topic: &'r str,
    pub partition: i32,
    pub offset: i64,
    pub batch_index: i32,
}

/// A text of a column; empty where there is none.
pub(super) fn text(column: &Texts, row: usize) -> &str {
    if column.is_null(row) {
        return "";
    }
    let texts = column.values().as_string::<i32>();
    texts.value(column.keys().value(row) as usize)
}

fn texts(file: &LakeFile, batch: &RecordBatch, name: &'static str) -> Result<Texts, QuantitiesError> {
    Ok(file.column(batch, name)?.as_dictionary::<Int32Type>().clone())
}

fn times(
    file: &LakeFile,
    batch: &RecordBatch,
    name: &'static str,
) -> Result<PrimitiveArray<TimestampMicrosecondType>, QuantitiesError> {
    Ok(file.column(batch, name)?.as_primitive::<TimestampMicrosecondType>().clone())
}
