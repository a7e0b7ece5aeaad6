//! Compacted days: their rows stream through the folds as they lie.
//!
//! Owns reading days side by side. Each has its rows in the order of tenants, so all of them are read up to one tenant,
//! then all up to a later one, and so on. The folds of the few tenants in between stay in the processor's caches over a whole
//! month of days, and what is over for good can be ended on the way. The other order, one day of all tenants after
//! another, fetches every fold from memory for each day anew: with 10,000 tenants that took longer than folding.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::RecordBatch;
use datafusion::execution::memory_pool::MemoryReservation;
use futures::TryStreamExt;
use futures::stream::BoxStream;
use tokio::task::coop::consume_budget;

use super::files::LakeFile;
use super::rows::{FOLDED, Rows, SIGNALS};
use super::tenants::{Dictionaries, TenantFolds};
use super::{Day, QuantitiesError};

/// What reading a day takes beside its row group: pages, dictionaries and a batch of rows.
const READER_BYTES: usize = 2 * 1024 * 1024;

/// Cuts days into those that are read side by side, as many at a time as so many bytes allow, or fewer where the query has
/// less memory. A day whose rows are not in order stands alone.
pub(super) fn together<'d>(
    days: &'d [Day],
    columns: &[&'static str],
    mut bytes_max: usize,
    memory: Option<&MemoryReservation>,
) -> Result<Vec<&'d [Day]>, QuantitiesError> {
    let bytes: Vec<usize> = days.iter().map(|day| reader_bytes(day, columns)).collect();
    loop {
        let groups = cut(days, &bytes, bytes_max);
        let needed = groups.iter().map(|group| bytes[group.clone()].iter().sum()).max().unwrap_or(0);
        // As much again is left for the folds, and for what the query makes of the rows.
        match memory.map_or(Ok(()), |memory| memory.try_resize(2 * needed)) {
            Ok(()) => {
                memory.map_or(Ok(()), |memory| memory.try_resize(needed)).map_err(QuantitiesError::Memory)?;
                return Ok(groups.into_iter().map(|group| &days[group]).collect());
            }
            Err(error) if groups.len() == days.len() => return Err(QuantitiesError::Memory(error)),
            Err(_) => bytes_max = bytes_max.min(needed) / 2,
        }
    }
}

/// About what it takes to read a day.
fn reader_bytes(day: &Day, columns: &[&'static str]) -> usize {
    let row_group = |file: &Arc<LakeFile>| file.row_group_bytes_max(columns) as usize;
    READER_BYTES + day.files.iter().map(row_group).max().unwrap_or(0)
}

fn cut(days: &[Day], bytes: &[usize], bytes_max: usize) -> Vec<Range<usize>> {
    let mut groups: Vec<Range<usize>> = Vec::new();
    let mut together = 0;
    for (at, day) in days.iter().enumerate() {
        together += bytes[at];
        match groups.last_mut() {
            Some(group) if day.is_in_order() && days[at - 1].is_in_order() && together <= bytes_max => {
                group.end = at + 1;
            }
            _ => {
                groups.push(at..at + 1);
                together = bytes[at];
            }
        }
    }
    groups
}

/// What is read of such days.
pub(super) fn columns(has_sessions: bool) -> Vec<&'static str> {
    let mut columns = FOLDED.to_vec();
    if has_sessions {
        columns.extend(SIGNALS);
    }
    columns
}

/// Days that are read side by side.
pub(super) struct DaysInOrder<'d> {
    readers: Vec<Reader<'d>>,
}

impl<'d> DaysInOrder<'d> {
    pub async fn open(
        days: &'d [Day],
        has_sessions: bool,
        folds: &TenantFolds,
    ) -> Result<Self, QuantitiesError> {
        let mut readers = Vec::with_capacity(days.len());
        for day in days {
            readers.push(Reader::open(day, has_sessions, folds).await?);
        }
        Ok(Self { readers })
    }

    /// Folds the rows of some more tenants and answers with the last of them; nothing when all are folded.
    pub async fn fold_next(&mut self, folds: &mut TenantFolds) -> Result<Option<String>, QuantitiesError> {
        // A batch of whoever has most to come, so that the others have not much more than a batch each.
        let longest = self.readers.iter().filter(|reader| reader.batch.is_some());
        let Some(last) = longest.max_by_key(|reader| reader.rows_left).and_then(Reader::last_tenant) else {
            return Ok(None);
        };
        let last = last.to_owned();
        for reader in &mut self.readers {
            folds.begin_day(reader.day.number);
            reader.fold_until(&last, folds).await?;
        }
        Ok(Some(last))
    }
}

/// A day on its way into the folds.
struct Reader<'d> {
    day: &'d Day,
    has_sessions: bool,
    /// The files that are not opened yet, with the row groups that are read of them.
    files: std::vec::IntoIter<(&'d LakeFile, Vec<usize>)>,
    open: Option<(&'d LakeFile, Batches)>,
    /// Rows of which some are not folded yet, and from where on.
    batch: Option<(Rows, usize)>,
    dictionaries: Dictionaries,
    rows_left: usize,
}

type Batches = BoxStream<'static, Result<RecordBatch, QuantitiesError>>;

impl<'d> Reader<'d> {
    async fn open(day: &'d Day, has_sessions: bool, folds: &TenantFolds) -> Result<Self, QuantitiesError> {
        let mut rows_left = 0;
        let mut files = Vec::new();
        for file in day.files.iter().map(AsRef::as_ref) {
            let row_groups = folds.share().row_groups(file);
            rows_left += file.rows_of(&row_groups);
            if !row_groups.is_empty() {
                files.push((file, row_groups));
            }
        }
        let files = files.into_iter();
        let dictionaries = Dictionaries::default();
        let mut reader = Self { day, has_sessions, files, open: None, batch: None, dictionaries, rows_left };
        reader.read_batch().await?;
        Ok(reader)
    }

    fn last_tenant(&self) -> Option<&str> {
        self.batch.as_ref().map(|(rows, _)| rows.tenant_of(rows.len() - 1))
    }

    /// Folds the rows of all tenants up to this one.
    async fn fold_until(&mut self, last: &str, folds: &mut TenantFolds) -> Result<(), QuantitiesError> {
        while let Some((rows, from)) = &mut self.batch {
            let end = rows.end_of(last, *from);
            if end > *from {
                folds.take_in_order(rows, *from..end, &mut self.dictionaries)?;
                folds.hand_over().await;
            }
            if end < rows.len() {
                *from = end;
                return Ok(());
            }
            self.rows_left = self.rows_left.saturating_sub(rows.len());
            self.read_batch().await?;
        }
        Ok(())
    }

    /// Takes up the next rows, if there are any.
    async fn read_batch(&mut self) -> Result<(), QuantitiesError> {
        self.batch = None;
        consume_budget().await;
        loop {
            let Some((file, batches)) = &mut self.open else {
                let Some((file, row_groups)) = self.files.next() else { return Ok(()) };
                self.open = Some((file, file.read(&columns(self.has_sessions), row_groups)?));
                continue;
            };
            match batches.try_next().await? {
                None => self.open = None,
                Some(batch) if batch.num_rows() == 0 => {}
                Some(batch) => {
                    self.batch = Some((Rows::of(file, &batch, self.has_sessions)?, 0));
                    return Ok(());
                }
            }
        }
    }
}
