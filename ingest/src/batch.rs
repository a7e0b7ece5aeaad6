//! A batch: decoded rows by day, together with the stretch of each partition that they came from.
//!
//! `Batcher` runs on the thread that reads messages. It decodes each one straight into columns and hands
//! full columns on to the encoder; `seal` ends the batch, which is then committed as one.

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use arrow::array::RecordBatch;
use crossbeam_channel::Sender;
use rating::catalog::Catalog;
use sql::lake::Table;

use crate::columns::RejectedColumns;
use crate::day_file::FileKind;
use crate::decode::{Decoded, Decoder};
use crate::encoder_queue::EncoderSender;
use crate::open_days::OpenDays;
use crate::raw_message::{Coordinates, Headers, RawMessage};
use crate::settings::IngestSettings;
use crate::timestamp::day_of;
use crate::unfinished::{StoredRejects, Unfinished};

/// All days together hand on their columns when they hold this many rows,
const OPEN_ROWS_MAX: usize = 64 * 1024;
/// or so many bytes of text.
const OPEN_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Rejects are handed on when they are so many,
const REJECTED_CHUNK_ROWS: usize = 2 * 1024;
/// or so many bytes: they keep whole messages.
const REJECTED_CHUNK_BYTES: usize = 8 * 1024 * 1024;

/// What the topic of a message out of a file begins with.
pub const FILE_PREFIX: &str = "file:";

/// What happened to the messages of a batch.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    pub messages: u64,
    pub events: u64,
    pub rows: u64,
    /// Events that no meter takes.
    pub unmetered: u64,
    pub rejected: u64,
    pub tombstones: u64,
    /// Offsets without a message: transaction markers, aborted or compacted messages.
    pub skipped_offsets: u64,
}

impl Counts {
    pub fn add(&mut self, other: Self) {
        self.messages += other.messages;
        self.events += other.events;
        self.rows += other.rows;
        self.unmetered += other.unmetered;
        self.rejected += other.rejected;
        self.tombstones += other.tombstones;
        self.skipped_offsets += other.skipped_offsets;
    }
}

/// A partition of a topic.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PartitionName {
    pub topic: Arc<str>,
    pub partition: i32,
}

impl PartitionName {
    pub fn is(&self, topic: &str, partition: i32) -> bool {
        self.partition == partition && *self.topic == *topic
    }

    /// The name under which the lake's tables keep how far this partition was read; none for a file,
    /// which may be read again at any time.
    pub fn application(&self) -> Option<String> {
        // No topic's name holds a colon.
        let is_file = self.topic.starts_with(FILE_PREFIX);
        (!is_file).then(|| format!("{}{}", Self::applications_of(&self.topic), self.partition))
    }

    /// What the names of a topic's partitions begin with there, and no other topic's.
    pub fn applications_of(topic: &str) -> String {
        format!("meterhouse/kafka/{topic}/")
    }

    /// The name under which the reject table counts `Unfinished::rounds`.
    pub fn rounds_application(&self) -> Option<String> {
        self.application().map(|application| format!("{application}/rounds"))
    }
}

/// The offsets `[start, end)` of a partition that a batch covers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stretch {
    pub name: PartitionName,
    /// What the usage table says before this batch: `start`, or nothing if the partition was never read.
    pub expected: Option<i64>,
    pub start: i64,
    pub end: i64,
    /// What the reject table says before this batch.
    pub rejects_expected: Option<i64>,
    /// How many of the rejects are new to the reject table.
    pub rejects_recorded: u64,
    /// What the reject table says of `Unfinished::rounds` before this batch.
    pub rounds_expected: Option<i64>,
    pub counts: Counts,
}

impl Stretch {
    /// What the reject table says after this batch, if it records rejects.
    pub fn rejects_next(&self) -> i64 {
        self.end.max(self.rejects_expected.unwrap_or(0))
    }

    /// What the reject table says of `Unfinished::rounds` after this batch, if it begins behind the position of that
    /// table and records rejects. It does so wherever it ends: another owner may have begun at the same place and ended
    /// before that position, which then has not moved.
    pub fn rounds_next(&self) -> Option<i64> {
        let is_behind = self.rejects_expected.is_some_and(|settled| settled > self.start);
        is_behind.then(|| self.rounds_expected.unwrap_or(0) + 1)
    }
}

/// What the reading thread tells the encoder.
#[derive(Debug)]
pub enum ToEncoder {
    Rows {
        table: Table,
        day: i32,
        kind: FileKind,
        rows: RecordBatch,
    },
    Seal(Seal),
    /// Forget the rows since the last seal; what comes then is counted here.
    Discard(EncodedBytes),
}

/// What the encoder holds of a batch, in bytes. Each batch has a counter of its own: one that is full already when
/// the next batch begins would end that one after a single message.
pub type EncodedBytes = Arc<AtomicUsize>;

/// The end of a batch.
#[derive(Debug)]
pub struct Seal {
    /// Batches of an older generation than the committer's are dropped.
    pub generation: u64,
    pub stretches: Vec<Stretch>,
    pub counts: Counts,
    pub opened: Instant,
    /// Told when the batch is committed or dropped.
    pub done: Option<Sender<()>>,
    /// What comes then is counted here.
    pub next_bytes: EncodedBytes,
}

/// Where a partition's reading stands.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PartitionState {
    /// What the usage table says, once the batches so far are committed.
    pub committed: Option<i64>,
    /// What the reject table says, once the batches so far are committed.
    pub rejects_committed: Option<i64>,
    /// The next offset to take.
    pub next: i64,
    /// What is stored of the messages to come.
    pub unfinished: Option<Unfinished>,
}

impl PartitionState {
    /// A partition of which nothing is stored.
    pub fn starting_at(next: i64) -> Self {
        Self { next, ..Self::default() }
    }
}

/// A partition that this process reads, and its part of the batch.
#[derive(Debug)]
struct PartitionSlot {
    name: PartitionName,
    state: PartitionState,
    stretch: Option<Stretch>,
}

impl PartitionSlot {
    /// The rejects that are stored, if there may be some of the message at this offset.
    fn stored_rejects(&self, offset: i64) -> Option<&StoredRejects> {
        self.state
            .unfinished
            .as_ref()
            .map(|unfinished| &unfinished.rejects)
            .filter(|stored| stored.has(offset))
    }

    fn extend(&mut self, offset: i64, counts: Counts, rejects_recorded: u64) {
        let stretch = self.stretch.get_or_insert_with(|| Stretch {
            name: self.name.clone(),
            expected: self.state.committed,
            start: self.state.next,
            end: self.state.next,
            rejects_expected: self.state.rejects_committed,
            rejects_recorded: 0,
            rounds_expected: self.state.unfinished.as_ref().and_then(|unfinished| unfinished.rounds),
            counts: Counts::default(),
        });
        stretch.end = offset + 1;
        stretch.rejects_recorded += rejects_recorded;
        stretch.counts.add(counts);
        self.state.next = offset + 1;
    }

    /// Ends this partition's part of the batch.
    fn seal(&mut self) -> Option<Stretch> {
        let stretch = self.stretch.take()?;
        self.state.committed = Some(stretch.end);
        if stretch.rejects_recorded > 0 {
            self.state.rejects_committed = Some(stretch.rejects_next());
            if let (Some(unfinished), Some(rounds)) = (&mut self.state.unfinished, stretch.rounds_next()) {
                unfinished.rounds = Some(rounds);
            }
        }
        if self.state.rejects_committed.is_none_or(|rejects| rejects <= stretch.end) {
            self.state.unfinished = None;
        }
        Some(stretch)
    }
}

/// Collects decoded messages into a batch.
#[derive(Debug)]
pub struct Batcher {
    decoder: Decoder,
    meters: Vec<String>,
    settings: IngestSettings,
    days: OpenDays,
    /// Voids and amendments, which have files of their own.
    corrections: OpenDays,
    rejected: RejectedColumns,
    rejected_bytes: usize,
    partitions: Vec<PartitionSlot>,
    /// The last message's partition, because the next one's is mostly the same.
    last: usize,
    counts: Counts,
    opened: Option<Instant>,
    encoder: EncoderSender,
    encoded_bytes: EncodedBytes,
}

/// The columns of a batch while a message is put into them.
struct OpenRows<'b, 'm> {
    days: &'b mut OpenDays,
    corrections: &'b mut OpenDays,
    rejected: &'b mut RejectedColumns,
    rejected_bytes: &'b mut usize,
    meters: &'b [String],
    message: &'b RawMessage<'m>,
    arrival_us: i64,
    counts: Counts,
    rejects_recorded: u64,
    /// A day whose columns are full.
    full_day: Option<i32>,
    open_days_max: usize,
    encoder: &'b EncoderSender,
    /// Whether the encoder took all that was handed on meanwhile.
    handed_on: Result<(), EncoderStopped>,
}

impl OpenRows<'_, '_> {
    fn keep(&mut self, decoded: &Decoded<'_>) {
        match decoded {
            Decoded::Event(event) => {
                let is_correction = event.is_correction();
                let days = if is_correction { &mut *self.corrections } else { &mut *self.days };
                // One message may hold thousands of events, each of another day, and each day takes its room.
                if days.count() >= self.open_days_max && !days.has(day_of(event.time_us)) {
                    self.handed_on = self.handed_on.and_then(|()| days.hand_on(self.encoder));
                    days.clear();
                }
                let (rows, full_day) = days.push(event, self.meters, self.message.at, self.arrival_us);
                self.counts.events += 1;
                self.counts.unmetered += u64::from(event.readings.is_empty());
                self.counts.rows += rows as u64;
                // Corrections are few, and wait until all days are handed on.
                if full_day.is_some() && !is_correction {
                    self.full_day = full_day;
                }
            }
            Decoded::Rejected(reject) => {
                self.counts.rejected += 1;
                self.rejects_recorded += 1;
                *self.rejected_bytes += reject.payload.len() + header_bytes(&self.message.headers);
                self.rejected.push(reject, self.message, self.arrival_us);
            }
            Decoded::Tombstone => self.counts.tombstones += 1,
        }
    }
}

fn header_bytes(headers: &Headers<'_>) -> usize {
    headers.iter().map(|(name, value)| name.len() + value.map_or(0, <[u8]>::len)).sum()
}

/// The encoder stopped; its own error says why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EncoderStopped;

impl Batcher {
    pub fn new(
        catalog: &Catalog,
        settings: &IngestSettings,
        encoder: EncoderSender,
        encoded_bytes: EncodedBytes,
    ) -> Self {
        Self {
            decoder: Decoder::new(catalog, settings.limits),
            meters: catalog.meters.iter().map(|meter| meter.key.clone()).collect(),
            settings: settings.clone(),
            days: OpenDays::new(FileKind::Arrived),
            corrections: OpenDays::new(FileKind::Corrections),
            rejected: RejectedColumns::default(),
            rejected_bytes: 0,
            partitions: Vec::new(),
            last: 0,
            counts: Counts::default(),
            opened: None,
            encoder,
            encoded_bytes,
        }
    }

    pub fn is_empty(&self) -> bool {
        self.opened.is_none()
    }

    /// From now on reads these partitions and no others. The batch must have been sealed or discarded.
    pub fn assign(&mut self, partitions: impl IntoIterator<Item = (PartitionName, PartitionState)>) {
        assert!(self.is_empty(), "partitions change only between batches");
        let slot = |(name, state)| PartitionSlot { name, state, stretch: None };
        self.partitions = partitions.into_iter().map(slot).collect();
        self.last = 0;
    }

    /// The partitions that are read, with the next offset of each.
    pub fn partitions(&self) -> impl Iterator<Item = (&PartitionName, i64)> {
        self.partitions.iter().map(|slot| (&slot.name, slot.state.next))
    }

    fn find(&mut self, at: Coordinates<'_>) -> Option<usize> {
        let is_it = |slot: &PartitionSlot| slot.name.is(at.topic, at.partition);
        if !self.partitions.get(self.last).is_some_and(is_it) {
            self.last = self.partitions.iter().position(is_it)?;
        }
        Some(self.last)
    }

    /// Takes the next message of a partition. One of a partition that was given up, or that was taken
    /// already, is passed over.
    pub fn take(&mut self, message: &RawMessage<'_>, arrival_us: i64) -> Result<(), EncoderStopped> {
        let Some(at) = self.find(message.at) else { return Ok(()) };
        let slot = &self.partitions[at];
        if message.at.offset < slot.state.next {
            return Ok(());
        }
        self.opened.get_or_insert_with(Instant::now);
        let skipped_offsets = (message.at.offset - slot.state.next) as u64;
        let mut rows = OpenRows {
            days: &mut self.days,
            corrections: &mut self.corrections,
            rejected: &mut self.rejected,
            rejected_bytes: &mut self.rejected_bytes,
            meters: &self.meters,
            message,
            arrival_us,
            counts: Counts { messages: 1, skipped_offsets, ..Counts::default() },
            rejects_recorded: 0,
            full_day: None,
            // More than end a batch after a message.
            open_days_max: 2 * self.settings.open_days_max.max(1),
            encoder: &self.encoder,
            handed_on: Ok(()),
        };
        match slot.stored_rejects(message.at.offset) {
            None => self.decoder.decode(message, arrival_us, &mut |decoded| rows.keep(&decoded)),
            Some(stored) => {
                stored.decode_rest(&self.decoder, message, arrival_us, &mut |decoded| match decoded {
                    Some(decoded) => rows.keep(&decoded),
                    None => rows.counts.rejected += 1,
                });
            }
        }
        let OpenRows { counts, rejects_recorded, full_day, handed_on, .. } = rows;
        self.counts.add(counts);
        self.partitions[at].extend(message.at.offset, counts, rejects_recorded);
        handed_on?;
        self.hand_on(full_day, day_of(arrival_us))
    }

    /// Gives full columns to the encoder; waits if it is behind, which bounds memory.
    fn hand_on(&mut self, full_day: Option<i32>, today: i32) -> Result<(), EncoderStopped> {
        if let Some(day) = full_day {
            self.days.hand_on_day(day, &self.encoder)?;
        }
        // Rows spread over many days are handed on before any day is full.
        let (rows, bytes) =
            (self.days.rows() + self.corrections.rows(), self.days.bytes() + self.corrections.bytes());
        if rows >= OPEN_ROWS_MAX || bytes >= OPEN_BYTES_MAX {
            self.hand_on_days()?;
        }
        if self.rejected.rows() >= REJECTED_CHUNK_ROWS || self.rejected_bytes >= REJECTED_CHUNK_BYTES {
            self.hand_on_rejected(today)?;
        }
        Ok(())
    }

    fn hand_on_days(&mut self) -> Result<(), EncoderStopped> {
        self.days.hand_on(&self.encoder)?;
        self.corrections.hand_on(&self.encoder)
    }

    fn hand_on_rejected(&mut self, today: i32) -> Result<(), EncoderStopped> {
        if self.rejected.rows() == 0 {
            return Ok(());
        }
        self.rejected_bytes = 0;
        let rows = self.rejected.finish();
        let kind = FileKind::Arrived;
        self.send(ToEncoder::Rows { table: Table::RejectedMessages, day: today, kind, rows })
    }

    fn send(&self, message: ToEncoder) -> Result<(), EncoderStopped> {
        self.encoder.send(message)
    }

    /// Whether the batch should be committed now, by its age or its size.
    pub fn is_due(&self) -> bool {
        self.opened.is_some_and(|opened| opened.elapsed() >= self.settings.flush_age) || self.is_full()
    }

    /// Whether the batch should be committed for its size; cheap enough to ask after each message.
    pub fn is_full(&self) -> bool {
        self.counts.rows as usize >= self.settings.flush_rows
            || self.days.count() + self.corrections.count() > self.settings.open_days_max
            || self.encoded_bytes.load(Ordering::Relaxed) >= self.settings.file_size_bytes
    }

    /// Ends the batch. Does nothing if it is empty and nobody waits for it.
    pub fn seal(
        &mut self,
        generation: u64,
        today: i32,
        done: Option<Sender<()>>,
    ) -> Result<(), EncoderStopped> {
        if self.is_empty() && done.is_none() {
            return Ok(());
        }
        self.hand_on_days()?;
        self.hand_on_rejected(today)?;
        self.days.clear();
        self.corrections.clear();
        let stretches = self.partitions.iter_mut().filter_map(PartitionSlot::seal).collect();
        let opened = self.opened.take().unwrap_or_else(Instant::now);
        let counts = std::mem::take(&mut self.counts);
        let next_bytes = self.count_anew();
        self.send(ToEncoder::Seal(Seal { generation, stretches, counts, opened, done, next_bytes }))
    }

    /// The counter of the batch that begins now.
    fn count_anew(&mut self) -> EncodedBytes {
        self.encoded_bytes = EncodedBytes::default();
        Arc::clone(&self.encoded_bytes)
    }

    /// Drops the batch and gives all partitions up: its messages will be read again, here or elsewhere.
    pub fn discard(&mut self) -> Result<(), EncoderStopped> {
        self.partitions.clear();
        self.days.clear();
        self.corrections.clear();
        let _ = self.rejected.finish();
        self.rejected_bytes = 0;
        self.counts = Counts::default();
        self.opened = None;
        let next_bytes = self.count_anew();
        self.send(ToEncoder::Discard(next_bytes))
    }
}
