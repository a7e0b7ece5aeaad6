//! Days on which an event that was sent twice may still count twice (DESIGN.md 3.2).
//!
//! Whoever counts knows an event again by its identity and time. A producer that sends no time and repeats itself gets another
//! one from Kafka each time; those twins are found by `compact` alone. `close` compacts first; this is for who rates by hand.

use std::collections::BTreeSet;

use ::sql::lake::{DataFile, FileRead, Lake, Table, TableSnapshot};
use anyhow::Result;
use arrow::array::AsArray;
use futures::TryStreamExt;
use jiff::ToSpan as _;
use jiff::civil::Date;
use rating::period::{Period, PeriodChoice};

use super::drafts::{Problem, ProblemKind};
use super::unbilled::EVERYBODY;

const DAY_US: i64 = 86_400_000_000;

/// A warning where days of these periods are not compacted and hold events that came without a time.
pub(super) async fn warning<'p>(
    lake: &Lake,
    snapshot: &TableSnapshot,
    choice: PeriodChoice,
    periods: impl Iterator<Item = &'p Period>,
) -> Result<Option<Problem>> {
    let spans: Vec<_> = periods.map(|period| period.span).collect();
    let is_rated = |file: &&DataFile| {
        let start_us = i64::from(file.day) * DAY_US;
        spans.iter().any(|span| span.start_us < start_us + DAY_US && start_us < span.end_us)
    };
    let arrived = |file: &&DataFile| !file.is_sorted() && !file.is_correction();
    let mut days = BTreeSet::new();
    for file in snapshot.files.iter().filter(arrived).filter(is_rated) {
        if !days.contains(&file.day) && has_untimed(lake, file).await? {
            days.insert(file.day);
        }
    }
    let Some(first) = days.first() else { return Ok(None) };
    let first = Date::constant(1970, 1, 1).saturating_add(first.days());
    Ok(Some(Problem {
        tenant: EVERYBODY.to_owned(),
        period: choice.to_string(),
        kind: ProblemKind::Warning,
        text: format!(
            "{} days from {first} on are not compacted and hold events without a time of their own: one that was sent twice \
             counts twice until `meterhouse compact` has run",
            days.len()
        ),
    }))
}

/// Whether events of a file have their time from Kafka.
async fn has_untimed(lake: &Lake, file: &DataFile) -> Result<bool> {
    let read = FileRead { columns: Some(&["time_given"]), ..FileRead::default() };
    let mut batches = lake.table(Table::UsageEvents).read_file(file, read).await?;
    while let Some(batch) = batches.try_next().await? {
        let given = batch.column(0).as_boolean();
        if given.true_count() < given.len() {
            return Ok(true);
        }
    }
    Ok(false)
}
