//! The rows that a day came to, encoded as tenants are finished: what waits for the commit are compressed files.
//!
//! Each share of the tenants has files of its own, so that a file holds a stretch of names and who looks for one tenant
//! passes over most row groups.

use std::collections::{BTreeMap, BTreeSet};

use ::sql::lake::Table;
use ::sql::quantities::{RolledDay, RolledSeries, TenantDay};
use ::sql::rollups::{CarriedRows, DailyRows, HourlyRows, TooLarge, question_keys};
use anyhow::Result;
use arrow::array::RecordBatch;
use ingest::day_file::{DayFileWriter, FileKind, FinishedFile};
use rating::catalog::Catalog;
use rating::quantity::session::SessionOddities;

/// Rows that are encoded at once.
const BATCH_ROWS: usize = 4 * 1024;
/// A file of `usage_hourly` ends at about so many rows: that is what is written anew when one of its tenants changes.
const HOURLY_FILE_ROWS: usize = 64 * 1024;
/// Likewise of `usage_periods`.
const PERIODS_FILE_ROWS: usize = 16 * 1024;

#[derive(Debug)]
pub(super) struct DayRows {
    pub day: i32,
    pub daily_rows: usize,
    generation: i64,
    shares: BTreeMap<usize, ShareRows>,
}

/// A day's new files of each table.
#[derive(Debug, Default)]
pub(super) struct DayFiles {
    pub hourly: Vec<FinishedFile>,
    pub daily: Vec<FinishedFile>,
    pub carried: Vec<FinishedFile>,
}

#[derive(Debug)]
struct ShareRows {
    daily: DailyRows,
    carried: CarriedRows,
    hourly: HourlyRows,
    daily_files: Files,
    carried_files: Files,
    hourly_files: Files,
}

/// Files of one table and day, one after the other.
#[derive(Debug)]
pub(super) struct Files {
    table: Table,
    day: i32,
    rows_max: usize,
    open: Option<DayFileWriter>,
    finished: Vec<FinishedFile>,
}

impl Files {
    pub fn new(table: Table, day: i32) -> Self {
        let rows_max = match table {
            Table::UsageHourly => HOURLY_FILE_ROWS,
            Table::UsagePeriods => PERIODS_FILE_ROWS,
            _ => usize::MAX,
        };
        Self { table, day, rows_max, open: None, finished: Vec::new() }
    }

    pub fn write(&mut self, rows: &RecordBatch) -> Result<()> {
        if rows.num_rows() == 0 {
            return Ok(());
        }
        let mut writer = match self.open.take() {
            Some(writer) => writer,
            None => DayFileWriter::new(self.table, self.day, FileKind::RollUp)?,
        };
        writer.write(rows)?;
        if writer.rows() >= self.rows_max {
            self.finished.push(writer.finish(jiff::Timestamp::now().as_millisecond())?);
        } else {
            self.open = Some(writer);
        }
        Ok(())
    }

    pub fn finish(mut self) -> Result<Vec<FinishedFile>> {
        if let Some(writer) = self.open.take() {
            self.finished.push(writer.finish(jiff::Timestamp::now().as_millisecond())?);
        }
        Ok(self.finished)
    }
}

impl DayRows {
    pub fn new(day: i32, generation: i64) -> Self {
        Self { day, daily_rows: 0, generation, shares: BTreeMap::new() }
    }

    fn share(&mut self, share: usize) -> &mut ShareRows {
        let (day, generation) = (self.day, self.generation);
        self.shares.entry(share).or_insert_with(|| ShareRows::new(day, generation))
    }

    /// What the tenant's next day opens with; comes after all other rows of the tenant.
    pub fn push_carried(&mut self, share: usize, tenant: &str, state: &str) -> Result<()> {
        let rows = self.share(share);
        rows.carried.push(tenant, state);
        let added = rows.flush(BATCH_ROWS)?;
        self.daily_rows += added;
        Ok(())
    }

    /// A day that answers nothing.
    pub fn push_unanswered(&mut self, share: usize, own: &TenantDay) {
        self.share(share).daily.push_marker(&own.tenant, own.rows, &[]);
    }

    pub fn push_vanished(&mut self, share: usize, tenant: &str) {
        self.share(share).daily.push_vanished(tenant);
    }

    /// The totals of a tenant's day, of which the first questions are those of the day and the others those of its hours.
    /// Answers with the reason where something does not fit into the tables.
    pub fn push_rolled(
        &mut self,
        share: usize,
        own: (&str, u64),
        rolled: &RolledDay,
        asked_of_day: usize,
        catalog: &Catalog,
    ) -> Result<(), String> {
        let (day, (tenant, usage_rows)) = (self.day, own);
        let rows = self.share(share);
        let pushed = rows.push_day(tenant, rolled, asked_of_day);
        let keys = match pushed {
            Ok(()) if !rolled.is_extreme => {
                question_keys(catalog, &rolled.wanted[..asked_of_day.min(rolled.wanted.len())], day)
            }
            _ => Vec::new(),
        };
        rows.daily.push_marker(tenant, usage_rows, &keys);
        pushed.and(rows.push_hours(tenant, rolled, asked_of_day))
    }

    pub fn finish(self) -> Result<(usize, DayFiles)> {
        let (mut files, mut daily_rows) = (DayFiles::default(), self.daily_rows);
        for mut share in self.shares.into_values() {
            daily_rows += share.flush(1)?;
            files.hourly.extend(share.hourly_files.finish()?);
            files.daily.extend(share.daily_files.finish()?);
            files.carried.extend(share.carried_files.finish()?);
        }
        Ok((daily_rows, files))
    }
}

impl ShareRows {
    fn new(day: i32, generation: i64) -> Self {
        Self {
            daily: DailyRows::new(generation),
            carried: CarriedRows::new(generation),
            hourly: HourlyRows::default(),
            daily_files: Files::new(Table::UsageDaily, day),
            carried_files: Files::new(Table::UsageCarried, day + 1),
            hourly_files: Files::new(Table::UsageHourly, day),
        }
    }

    fn push_day(&mut self, tenant: &str, rolled: &RolledDay, asked: usize) -> Result<(), String> {
        let mut known = BTreeSet::new();
        for series in rolled.series.iter().filter(|series| series.question < asked) {
            let view = &rolled.wanted[series.question].view;
            // Two questions may share a part of the day.
            if known.insert((view, series.span, &series.dimensions)) {
                let RolledSeries { dimensions, span, totals, seen, .. } = series;
                let pushed = self.daily.push_totals(tenant, view, dimensions, *span, totals, seen);
                pushed.map_err(|error| too_large(&view.meter, error))?;
            }
        }
        let mut known = BTreeSet::new();
        let is_odd = |own: &SessionOddities| *own != SessionOddities::default();
        for odd in rolled.oddities.iter().filter(|odd| odd.question < asked && is_odd(&odd.oddities)) {
            let view = &rolled.wanted[odd.question].view;
            if known.insert((view, odd.span)) {
                self.daily.push_oddities(tenant, view, odd.span, &odd.oddities);
            }
        }
        Ok(())
    }

    fn push_hours(&mut self, tenant: &str, rolled: &RolledDay, after: usize) -> Result<(), String> {
        for series in rolled.series.iter().filter(|series| series.question >= after) {
            let view = &rolled.wanted[series.question].view;
            let dimensions = (!view.by.is_empty()).then_some(&series.dimensions);
            let pushed = self.hourly.push(tenant, &view.meter, dimensions, series.span, &series.totals);
            pushed.map_err(|error| too_large(&view.meter, error))?;
        }
        Ok(())
    }

    /// Encodes what there is so many rows of; answers with how many rows of `usage_daily` that were.
    fn flush(&mut self, rows_min: usize) -> Result<usize> {
        let mut daily_rows = 0;
        if self.daily.len() >= rows_min {
            let rows = self.daily.finish()?;
            daily_rows = rows.num_rows();
            self.daily_files.write(&rows)?;
        }
        if self.hourly.len() >= rows_min {
            self.hourly_files.write(&self.hourly.finish()?)?;
        }
        if self.carried.len() >= rows_min.min(BATCH_ROWS / 8) {
            self.carried_files.write(&self.carried.finish()?)?;
        }
        Ok(daily_rows)
    }
}

fn too_large(meter: &str, error: TooLarge) -> String {
    format!("meter {meter}: {error}")
}
