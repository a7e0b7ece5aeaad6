//! The encoding thread: columns become Parquet files, one per table and day of a batch.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crossbeam_channel::{Receiver, Sender};
use parquet::errors::ParquetError;
use sql::lake::Table;

use crate::batch::{Seal, ToEncoder};
use crate::day_file::{DayFileWriter, FileKind, FinishedFile};

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
    from_batcher: &Receiver<ToEncoder>,
    to_committer: &Sender<SealedBatch>,
    encoded_bytes: &Arc<AtomicUsize>,
) -> Result<(), ParquetError> {
    let mut writers: BTreeMap<WriterKey, DayFileWriter> = BTreeMap::new();
    for message in from_batcher {
        match message {
            ToEncoder::Rows { table, day, kind, rows } => {
                let writer = match writers.entry((table, day, kind)) {
                    std::collections::btree_map::Entry::Occupied(entry) => entry.into_mut(),
                    std::collections::btree_map::Entry::Vacant(entry) => {
                        entry.insert(DayFileWriter::new(table, day, kind)?)
                    }
                };
                let before = writer.bytes();
                writer.write(&rows)?;
                encoded_bytes.fetch_add(writer.bytes().saturating_sub(before), Ordering::Relaxed);
            }
            ToEncoder::Discard => {
                writers.clear();
                encoded_bytes.store(0, Ordering::Relaxed);
            }
            ToEncoder::Seal(seal) => {
                let sealed = finish(std::mem::take(&mut writers), seal)?;
                encoded_bytes.store(0, Ordering::Relaxed);
                if to_committer.send(sealed).is_err() {
                    return Ok(()); // The committer stopped and has said why.
                }
            }
        }
    }
    Ok(())
}

fn finish(writers: BTreeMap<WriterKey, DayFileWriter>, seal: Seal) -> Result<SealedBatch, ParquetError> {
    let now_ms = jiff::Timestamp::now().as_millisecond();
    let mut batch = SealedBatch { seal, usage: Vec::new(), rejected: Vec::new() };
    for ((table, ..), writer) in writers {
        let file = writer.finish(now_ms)?;
        match table {
            Table::UsageEvents => batch.usage.push(file),
            Table::RejectedMessages => batch.rejected.push(file),
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
    Ok(batch)
}
