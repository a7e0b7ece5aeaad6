//! Rows of the lake's tables as the types that they were stored from.

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{Int32Type, Int64Type, TimestampMicrosecondType};

use crate::decode::KeptEvent;
use crate::event::Identity;
use crate::raw_message::{Coordinates, RawMessage};

/// A batch that `TableHandle::read_file` gave, so that its columns have the types of the table. Asking
/// for a column that was not read is a mistake in the program.
#[derive(Debug, Clone, Copy)]
pub struct StoredRows<'b>(pub &'b RecordBatch);

/// Reads one column out of `StoredRows`.
impl<'b> StoredRows<'b> {
    fn column(self, name: &str) -> &'b dyn Array {
        self.0.column_by_name(name).unwrap_or_else(|| panic!("the column {name} was not read"))
    }

    pub fn len(self) -> usize {
        self.0.num_rows()
    }

    pub fn text(self, name: &str, row: usize) -> &'b str {
        self.column(name).as_string::<i32>().value(row)
    }

    pub fn optional_text(self, name: &str, row: usize) -> Option<&'b str> {
        let column = self.column(name).as_string::<i32>();
        column.is_valid(row).then(|| column.value(row))
    }

    pub fn optional_bytes(self, name: &str, row: usize) -> Option<&'b [u8]> {
        let column = self.column(name).as_binary::<i32>();
        column.is_valid(row).then(|| column.value(row))
    }

    pub fn time_us(self, name: &str, row: usize) -> i64 {
        self.column(name).as_primitive::<TimestampMicrosecondType>().value(row)
    }

    pub fn optional_time_us(self, name: &str, row: usize) -> Option<i64> {
        let column = self.column(name).as_primitive::<TimestampMicrosecondType>();
        column.is_valid(row).then(|| column.value(row))
    }

    pub fn batch_index(self, row: usize) -> i32 {
        self.column("batch_index").as_primitive::<Int32Type>().value(row)
    }

    pub fn coordinates(self, row: usize) -> Coordinates<'b> {
        Coordinates {
            topic: self.text("topic", row),
            partition: self.column("partition").as_primitive::<Int32Type>().value(row),
            offset: self.column("offset").as_primitive::<Int64Type>().value(row),
        }
    }

    /// None if what stands there is no identity.
    pub fn identity(self, row: usize) -> Option<Identity> {
        Some(Identity(self.column("identity").as_binary::<i32>().value(row).try_into().ok()?))
    }

    pub fn kept_event(self, row: usize) -> KeptEvent<'b> {
        KeptEvent {
            source: self.text("source", row),
            id: self.text("id", row),
            tenant: self.text("tenant", row),
            event_type: self.text("event_type", row),
            time_us: self.time_us("time", row),
            time_given: self.column("time_given").as_boolean().value(row),
            arrival_us: self.time_us("arrival", row),
            data: self.optional_text("data", row),
        }
    }

    /// The message of a reject, with headers that were read back from their JSON.
    pub fn message(self, row: usize, headers: &'b [(String, Option<Vec<u8>>)]) -> RawMessage<'b> {
        RawMessage {
            at: self.coordinates(row),
            stamped_at_us: self.optional_time_us("stamped", row),
            key: self.optional_bytes("key", row),
            payload: self.optional_bytes("payload", row),
            headers: headers.iter().map(|(name, value)| (name.as_str(), value.as_deref())).collect(),
        }
    }
}
