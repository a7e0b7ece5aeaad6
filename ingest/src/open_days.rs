//! The columns of each day that a batch has rows of, and how much they hold together.

use sql::lake::Table;

use crate::batch::{EncoderStopped, ToEncoder};
use crate::columns::UsageColumns;
use crate::day_file::FileKind;
use crate::encoder_queue::EncoderSender;
use crate::event::UsageEvent;
use crate::raw_message::Coordinates;
use crate::timestamp::day_of;

/// Columns are handed to the encoder when they hold this many rows: few enough that they are still in the
/// processor's cache then, and that the allocator gives their memory out again without clearing it.
const CHUNK_ROWS: usize = 2 * 1024;
/// So many bytes of text are handed on though the rows are few: what waits for the encoder is bounded by the number of
/// chunks, and a column's texts are addressed with 31 bits.
const CHUNK_BYTES: usize = 4 * 1024 * 1024;

/// Files of one kind in the making. The days are few, and the next row's day is mostly the last.
#[derive(Debug)]
pub(crate) struct OpenDays {
    kind: FileKind,
    days: Vec<OpenDay>,
    rows: usize,
    bytes: usize,
}

#[derive(Debug)]
struct OpenDay {
    day: i32,
    columns: UsageColumns,
    bytes: usize,
}

impl OpenDays {
    pub fn new(kind: FileKind) -> Self {
        Self { kind, days: Vec::new(), rows: 0, bytes: 0 }
    }

    /// How many days are open; those that were handed on and may get more rows count too.
    pub fn count(&self) -> usize {
        self.days.len()
    }

    pub fn rows(&self) -> usize {
        self.rows
    }

    /// How much room the texts of the rows take.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    pub fn has(&self, day: i32) -> bool {
        self.days.iter().rev().any(|open| open.day == day)
    }

    /// Adds the rows of an event; answers with how many they are, and with the day if its columns are full.
    pub fn push(
        &mut self,
        event: &UsageEvent<'_>,
        meters: &[String],
        at: Coordinates<'_>,
        arrival_us: i64,
    ) -> (usize, Option<i32>) {
        let day = day_of(event.time_us);
        let place = self.days.iter().rposition(|open| open.day == day).unwrap_or_else(|| {
            self.days.push(OpenDay { day, columns: UsageColumns::default(), bytes: 0 });
            self.days.len() - 1
        });
        let open = &mut self.days[place];
        let before = open.columns.rows();
        open.columns.push(event, meters, at, arrival_us);
        let rows = open.columns.rows() - before;
        let bytes = text_bytes(event);
        open.bytes += bytes;
        self.rows += rows;
        self.bytes += bytes;
        let is_full = open.columns.rows() >= CHUNK_ROWS || open.bytes >= CHUNK_BYTES;
        (rows, is_full.then_some(day))
    }

    pub fn hand_on_day(&mut self, day: i32, encoder: &EncoderSender) -> Result<(), EncoderStopped> {
        let place = self.days.iter().rposition(|open| open.day == day);
        place.map_or(Ok(()), |place| self.hand_on_at(place, encoder))
    }

    /// Hands on what all days hold, and closes them.
    pub fn hand_on(&mut self, encoder: &EncoderSender) -> Result<(), EncoderStopped> {
        (0..self.days.len()).try_for_each(|place| self.hand_on_at(place, encoder))
    }

    fn hand_on_at(&mut self, place: usize, encoder: &EncoderSender) -> Result<(), EncoderStopped> {
        let open = &mut self.days[place];
        if open.columns.rows() == 0 {
            return Ok(());
        }
        self.rows -= open.columns.rows();
        self.bytes -= std::mem::take(&mut open.bytes);
        let (day, kind, rows) = (open.day, self.kind, open.columns.finish());
        let chunk = ToEncoder::Rows { table: Table::UsageEvents, day, kind, rows };
        encoder.send(chunk)
    }

    /// Forgets all days and their rows.
    pub fn clear(&mut self) {
        *self = Self::new(self.kind);
    }
}

/// What the texts of an event take in its rows: its data stands in one of them, the rest in each.
fn text_bytes(event: &UsageEvent<'_>) -> usize {
    let of_each = event.source.len() + event.id.len() + event.tenant.len() + event.event_type.len();
    let of_readings = event.readings.iter().map(|reading| {
        reading.resource.as_ref().map_or(0, |text| text.len())
            + reading.dimensions.as_ref().map_or(0, String::len)
    });
    event.data.as_ref().map_or(0, |data| data.len())
        + of_each * event.readings.len().max(1)
        + of_readings.sum::<usize>()
}
