//! Amendments of a day: what meters that came later read from the new data of the events that were amended.
//!
//! An amended event counts by the rows of its amendment alone, so what is derived from the event itself does not count.
//! The new rows carry the identity, coordinates and arrival of their amendment, and stand in a further file of
//! corrections; whoever reads those puts the rows of one amendment together, whichever file they stand in.

use std::collections::{HashMap, HashSet};
use std::ops::RangeInclusive;

use futures::TryStreamExt;
use sql::lake::{AMEND, DataFile, FileRead};

use super::day::{DayChange, EVENT_COLUMNS, Output};
use super::known::{EventKey, Topics};
use super::{DeriveError, DeriveReport, DeriveRequest, Wanted};
use crate::commit::TableLog;
use crate::day_file::FileKind;
use crate::decode::{Decoder, KeptAmendment};
use crate::event::UsageEvent;
use crate::stored_rows::StoredRows;

pub(super) struct AmendmentDerivation<'d> {
    pub decoder: &'d Decoder,
    pub wanted: &'d Wanted,
    pub log: &'d TableLog,
    /// Files of corrections of one day.
    pub files: &'d [DataFile],
    pub day: i32,
}

/// Which meters amendments have rows of, by their keys. Corrections are few.
#[derive(Default)]
struct KnownAmendments {
    topics: Topics,
    meters: HashMap<EventKey, HashSet<String>>,
}

impl AmendmentDerivation<'_> {
    pub async fn run(
        &self,
        request: &DeriveRequest,
        report: &mut DeriveReport,
    ) -> Result<DayChange, DeriveError> {
        let mut known = self.known().await?;
        let mut output = Output::new(self.log.handle(), FileKind::Corrections, self.day, request.dry_run);
        for file in self.files {
            let read = FileRead { columns: Some(&EVENT_COLUMNS), ..FileRead::default() };
            let mut batches = self.log.handle().read_file(file, read).await?;
            while let Some(batch) = batches.try_next().await? {
                let rows = StoredRows(&batch);
                for row in (0..rows.len()).filter(|row| is_header(rows, *row)) {
                    if self.is_asked(rows, row, request.days.as_ref()) {
                        let key = known.key(rows, row, file)?;
                        let has = known.meters.remove(&key).unwrap_or_default();
                        self.add_rows(rows, row, &has, &mut output, report).await?;
                    }
                }
            }
        }
        Ok(DayChange {
            rows_added: output.rows_added(),
            stored: output.finish().await?,
            ..DayChange::default()
        })
    }

    /// An amendment without a time of its own counts on the day of its event, which need not be this one.
    fn is_asked(&self, rows: StoredRows<'_>, row: usize, days: Option<&RangeInclusive<i32>>) -> bool {
        !rows.kept_event(row).time_given || days.is_none_or(|days| days.contains(&self.day))
    }

    async fn known(&self) -> Result<KnownAmendments, DeriveError> {
        let mut known = KnownAmendments::default();
        for file in self.files {
            let read = FileRead { columns: Some(&EVENT_COLUMNS), ..FileRead::default() };
            let mut batches = self.log.handle().read_file(file, read).await?;
            while let Some(batch) = batches.try_next().await? {
                let rows = StoredRows(&batch);
                for row in 0..rows.len() {
                    if let Some(meter) = rows.optional_text("meter", row) {
                        let key = known.key(rows, row, file)?;
                        known.meters.entry(key).or_default().insert(meter.to_owned());
                    }
                }
            }
        }
        Ok(known)
    }

    /// Adds the rows that an amendment lacks.
    async fn add_rows(
        &self,
        rows: StoredRows<'_>,
        row: usize,
        has: &HashSet<String>,
        output: &mut Output,
        report: &mut DeriveReport,
    ) -> Result<(), DeriveError> {
        let kept = rows.kept_event(row);
        let Some(amendment) = KeptAmendment::of(kept) else { return Ok(()) };
        let Some(meters) = self.wanted.by_event_type.get(amendment.event_type()) else { return Ok(()) };
        let lacks = |meter: usize| meters.contains(&meter) && !has.contains(&self.wanted.keys[meter]);
        let read = self.decoder.read_amendment(&amendment, lacks);
        let readings = report.sort(read, rows.coordinates(row), &self.wanted.keys);
        let Some(identity) = rows.identity(row).filter(|_| !readings.is_empty()) else { return Ok(()) };
        let event = UsageEvent {
            identity,
            source: kept.source.into(),
            id: kept.id.into(),
            tenant: kept.tenant.into(),
            event_type: kept.event_type.into(),
            time_us: kept.time_us,
            time_given: kept.time_given,
            // It stands in the amendment's first row.
            data: None,
            batch_index: rows.batch_index(row),
            readings,
        };
        Ok(output.push(&event, rows.coordinates(row), kept.arrival_us, &self.wanted.keys).await?)
    }
}

impl KnownAmendments {
    fn key(&mut self, rows: StoredRows<'_>, row: usize, file: &DataFile) -> Result<EventKey, DeriveError> {
        let identity = rows.identity(row).ok_or_else(|| DeriveError::Identity(file.path.clone()))?;
        Ok(self.topics.key(identity, rows, row))
    }
}

/// Whether the row is an amendment's own: the one that holds its data.
fn is_header(rows: StoredRows<'_>, row: usize) -> bool {
    rows.text("event_type", row) == AMEND && rows.optional_text("meter", row).is_none()
}
