//! A group of days that fits into memory: every file is read once, and all of it is at hand at once.
//!
//! While a group's files are stored and committed, which is mostly waiting, the next group is already read
//! and sorted (`Ahead`). Which of its events count is found out only after the commit.

use sql::lake::{DataFile, TableHandle};
use tokio::task::JoinHandle;

use super::conflict::{ConflictRejects, judge};
use super::filter::DayFilter;
use super::identity::{Identities, RowSet, lost_rows};
use super::rows::{columns_error, fetch};
use super::sort::{sorted_day, without};
use super::whole::WholeRows;
use super::write::encode_days;
use super::{Attempt, CompactError, Compactor, Group, NewDays, size};
use crate::threads::{blocking, both};

/// A group's rows, with what can be found out about them before it is known which events count.
#[derive(Debug)]
struct Prepared {
    whole: WholeRows,
    identities: Identities,
    /// Each day's rows in their order, lost ones included.
    orders: Vec<(i32, Vec<u32>)>,
}

/// The group that is probably next, being prepared.
#[derive(Debug)]
pub(super) struct Ahead {
    inputs: Vec<DataFile>,
    preparing: JoinHandle<Result<Prepared, CompactError>>,
}

impl Drop for Ahead {
    fn drop(&mut self) {
        self.preparing.abort();
    }
}

impl Compactor {
    pub(super) async fn rewrite_in_memory(&mut self, group: &Group<'_>) -> Result<Attempt, CompactError> {
        let table = self.usage.handle().clone();
        let threads = self.settings.threads;
        let Prepared { whole, identities, mut orders } = self.prepared(group).await?;
        let elsewhere = self.filters.elsewhere(&identities.new_identities(), &group.others).await?;
        let resolution = identities.resolve(&elsewhere, self.window());
        if !resolution.days_with_later.is_empty() {
            return Ok(Attempt::Needs(resolution.days_with_later));
        }
        let verdicts = judge(&whole, &resolution.lost, &group.others, &table).await?;
        let mut rejects = ConflictRejects::default();
        self.record(&mut rejects, &verdicts).await?;
        let mut lost = RowSet::default();
        lost.add(lost_rows(&resolution.lost));
        let (files, filters) = blocking(|| {
            for (_, rows) in &mut orders {
                without(rows, &lost, &whole);
            }
            let filter = |day: &i32| (*day, DayFilter::build(&identities.prefixes_of_day(*day, &lost)));
            let filters = || group.days.iter().map(filter).collect::<Vec<_>>();
            let (encoded, filters) = both(threads, || encode_days(&whole, orders, threads), filters);
            drop((whole, identities));
            Ok::<_, CompactError>((encoded?.into_files(self.settings.file_size_bytes)?, filters))
        })?;
        if let Err(error) = self.prepare_next().await {
            // It is about other days, which say it again when it is their turn.
            tracing::debug!(error = &error as &dyn std::error::Error, "the next days are not prepared ahead");
        }
        Ok(Attempt::Done(Box::new(NewDays {
            files: self.upload(files).await?,
            filters,
            rejects: rejects.finish()?,
            lost_rows: lost.count(),
            conflict_rows: verdicts.conflict_rows,
        })))
    }

    async fn prepared(&mut self, group: &Group<'_>) -> Result<Prepared, CompactError> {
        if let Some(mut ahead) = self.ahead.take().filter(|ahead| ahead.inputs == group.inputs) {
            return (&mut ahead.preparing).await.expect("preparing a group does not panic");
        }
        let table = self.usage.handle().clone();
        prepare(table, group.days.to_vec(), group.inputs.clone(), self.settings.threads).await
    }

    /// Begins with the group that comes next unless this one's commit changes something.
    async fn prepare_next(&mut self) -> Result<(), CompactError> {
        let Some(days) = self.waiting.last() else { return Ok(()) };
        let inputs = self.group(days).inputs;
        let table = self.usage.handle().clone();
        let budget = self.settings.budget();
        if size::memory_bytes(&table, &inputs, budget).await? <= budget {
            let preparing = prepare(table, days.clone(), inputs.clone(), self.settings.threads);
            self.ahead = Some(Ahead { inputs, preparing: tokio::spawn(preparing) });
        }
        Ok(())
    }
}

async fn prepare(
    table: TableHandle,
    days: Vec<i32>,
    inputs: Vec<DataFile>,
    threads: usize,
) -> Result<Prepared, CompactError> {
    let sources = fetch(&table, &inputs).await?;
    let work = move || {
        let whole = WholeRows::read(&sources, threads)?;
        drop(sources);
        let order = |day: &i32| Ok((*day, sorted_day(&whole, *day)?));
        let orders = || days.iter().map(order).collect::<Result<Vec<_>, CompactError>>();
        let (identities, orders) = both(threads, || Identities::of(&whole), orders);
        let identities = identities.ok_or_else(|| columns_error(&inputs[0]))?;
        Ok(Prepared { orders: orders?, whole, identities })
    };
    tokio::task::spawn_blocking(work).await.expect("preparing a group does not panic")
}
