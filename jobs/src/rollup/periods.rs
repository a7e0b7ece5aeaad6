//! The rows of `usage_periods`: what the periods came to that end before the roll-ups do.
//!
//! Owns which periods are put together: of each tenant whose days were folded, those that reach to the first of them.
//! Their rows from before are taken out, whether or not there are new ones.

use std::collections::BTreeMap;

use ::sql::lake::Table;
use ::sql::rollups::{PeriodRows, PeriodTotals, RollUps, last_day_of};
use anyhow::Result;
use ingest::day_file::FinishedFile;
use rating::usage::{Demand, day_span};

use super::RollUpSettings;
use super::rows::Files;
use super::write::Writer;

/// Tenants whose periods are put together at once.
const TENANTS_AT_ONCE: usize = 16 * 1024;
/// Rows that are encoded at once.
const BATCH_ROWS: usize = 4 * 1024;

/// Brings the periods up to roll-ups that are not committed yet; `folded` has the first day of each tenant that was folded.
pub(super) async fn put_together(
    roll_ups: &RollUps,
    settings: &RollUpSettings,
    folded: &BTreeMap<String, i32>,
    writer: &mut Writer,
) -> Result<()> {
    writer.take_out_periods(folded).await?;
    let mut files = PeriodFiles::default();
    let tenants: Vec<_> = folded.iter().collect();
    for tenants in tenants.chunks(TENANTS_AT_ONCE) {
        let until_us = day_span(roll_ups.state.last_day).end_us;
        let ended = |(tenant, first): &(&String, &i32)| {
            (settings.periods_of)(tenant, day_span(**first).start_us, until_us).into_iter()
        };
        let mut ended: Vec<_> = tenants.iter().map(ended).collect();
        // One period of each tenant after the other.
        loop {
            let demands: Vec<Demand> = ended.iter_mut().filter_map(Iterator::next).collect();
            if demands.is_empty() {
                break;
            }
            let found = roll_ups.period_totals(&settings.catalog, demands, settings.threads).await?;
            for totals in &found {
                files.push(totals)?;
            }
        }
    }
    writer.add_periods(files.finish()?).await
}

/// Files in the making, by the day in which their periods end.
#[derive(Debug, Default)]
struct PeriodFiles(BTreeMap<i32, (PeriodRows, Files)>);

impl PeriodFiles {
    fn push(&mut self, totals: &PeriodTotals) -> Result<()> {
        let day = last_day_of(totals.period);
        let new = || (PeriodRows::default(), Files::new(Table::UsagePeriods, day));
        let (rows, files) = self.0.entry(day).or_insert_with(new);
        // What does not fit into the table has no row that counts: who asks for it puts it together from days.
        if rows.push(totals).is_ok() && rows.len() >= BATCH_ROWS {
            files.write(&rows.finish()?)?;
        }
        Ok(())
    }

    fn finish(self) -> Result<Vec<FinishedFile>> {
        let mut finished = Vec::new();
        for (mut rows, mut files) in self.0.into_values() {
            files.write(&rows.finish()?)?;
            finished.extend(files.finish()?);
        }
        Ok(finished)
    }
}
