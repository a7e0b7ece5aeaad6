//! The encoding thread: columns become Parquet files, one per table and day of a batch (several where the days are many).

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use arrow::array::RecordBatch;
use crossbeam_channel::Sender;
use parquet::errors::ParquetError;
use sql::lake::Table;

use crate::batch::{EncodedBytes, Seal, ToEncoder};
use crate::day_file::{DayFileWriter, FileKind, FinishedFile};
use crate::encoder_queue::EncoderReceiver;

/// A batch whose files are whole, ready to be stored and committed.
#[derive(Debug)]
pub struct SealedBatch {
    pub seal: Seal,
    pub usage: Vec<FinishedFile>,
    pub rejected: Vec<FinishedFile>,
}

/// A batch has a file for each.
type WriterKey = (Table, i32, FileKind);

/// Encodes until the reading thread hangs up.
pub fn encode(
    from_batcher: &EncoderReceiver,
    to_committer: &Sender<SealedBatch>,
    mut encoded_bytes: EncodedBytes,
    open_files_max: usize,
) -> Result<(), ParquetError> {
    let mut files = OpenFiles::default();
    // What is written has its room until then.
    while let Some((message, _place)) = from_batcher.receive() {
        match message {
            ToEncoder::Rows { table, day, kind, rows } => {
                let bytes = files.write((table, day, kind), &rows, open_files_max)?;
                encoded_bytes.fetch_add(bytes, Ordering::Relaxed);
            }
            ToEncoder::Discard(next_bytes) => {
                files = OpenFiles::default();
                encoded_bytes = next_bytes;
            }
            ToEncoder::Seal(seal) => {
                encoded_bytes = Arc::clone(&seal.next_bytes);
                let sealed = std::mem::take(&mut files).seal(seal)?;
                if to_committer.send(sealed).is_err() {
                    return Ok(()); // The committer stopped and has said why.
                }
            }
        }
    }
    Ok(())
}

/// The files of a batch.
#[derive(Debug, Default)]
struct OpenFiles {
    writers: BTreeMap<WriterKey, DayFileWriter>,
    /// Those that are whole already. A day may have several.
    usage: Vec<FinishedFile>,
    rejected: Vec<FinishedFile>,
}

impl OpenFiles {
    /// Adds rows to a file; answers with how much it has grown.
    fn write(
        &mut self,
        key: WriterKey,
        rows: &RecordBatch,
        open_files_max: usize,
    ) -> Result<usize, ParquetError> {
        if self.writers.len() >= open_files_max && !self.writers.contains_key(&key) {
            self.finish()?;
        }
        let (table, day, kind) = key;
        let writer = match self.writers.entry(key) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => entry.insert(DayFileWriter::new(table, day, kind)?),
        };
        let before = writer.bytes();
        writer.write(rows)?;
        Ok(writer.bytes().saturating_sub(before))
    }

    /// Makes all files whole. A writer takes much more room than the file of a few rows that comes of it.
    fn finish(&mut self) -> Result<(), ParquetError> {
        let now_ms = jiff::Timestamp::now().as_millisecond();
        for ((table, ..), writer) in std::mem::take(&mut self.writers) {
            let file = writer.finish(now_ms)?;
            match table {
                Table::UsageEvents => self.usage.push(file),
                Table::RejectedMessages => self.rejected.push(file),
                Table::Invoices
                | Table::InvoiceLines
                | Table::UsageHourly
                | Table::UsageDaily
                | Table::UsagePeriods
                | Table::UsageCarried => {
                    unreachable!("ingest writes only what arrived")
                }
            }
        }
        Ok(())
    }

    fn seal(mut self, seal: Seal) -> Result<SealedBatch, ParquetError> {
        self.finish()?;
        Ok(SealedBatch { seal, usage: self.usage, rejected: self.rejected })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::columns::UsageColumns;
    use crate::event::{Identity, Readings, UsageEvent};
    use crate::raw_message::Coordinates;

    #[test]
    fn many_days_are_not_all_open_at_once() {
        let mut files = OpenFiles::default();
        for day in 0..100 {
            let mut columns = UsageColumns::default();
            let event = UsageEvent {
                identity: Identity::of("s", "1"),
                source: "s".into(),
                id: "1".into(),
                tenant: "acme".into(),
                event_type: "t".into(),
                time_us: i64::from(day) * 86_400_000_000,
                time_given: true,
                data: None,
                batch_index: 0,
                readings: Readings::new(),
            };
            columns.push(&event, &[], Coordinates { topic: "t", partition: 0, offset: 1 }, 0);
            let key = (Table::UsageEvents, day, FileKind::Arrived);
            assert!(files.write(key, &columns.finish(), 8).unwrap() > 0);
            assert!(files.writers.len() <= 8, "{} files are open", files.writers.len());
        }
        files.finish().unwrap();
        assert_eq!((files.usage.len(), files.usage.iter().map(|file| file.rows).sum::<usize>()), (100, 100));
    }
}
