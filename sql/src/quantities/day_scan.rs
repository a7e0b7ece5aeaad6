//! A pass over one day, which goes on from what the day before left: how roll-ups are made.

use std::collections::BTreeSet;
use std::sync::Arc;

use rating::catalog::Catalog;
use rating::period::Period;
use rating::usage::{DAY_US, Demand, Wanted, day_span};
use tokio::sync::mpsc::{Receiver, channel};
use tokio::task::JoinHandle;

use super::shares::TenantShare;
use super::tenants::{Openings, Portion, TenantFolds};
use super::{Asked, Day, HELD_BYTES_MAX, QuantitiesError, READ_BYTES_MAX, UsageScan};
use crate::lake::{DataFile, Table, TableHandle, TableSnapshot};

/// The questions about a tenant's day; no span of them reaches out of it.
pub type DayQuestionsOf = Arc<dyn Fn(&str) -> Vec<Wanted> + Send + Sync>;

/// A pass over the events of one UTC day.
#[derive(Clone)]
pub struct DayScan {
    pub table: TableHandle,
    pub catalog: Arc<Catalog>,
    pub day: i32,
    /// The day's files, of which there may be none, and those with corrections of any day.
    pub files: Vec<DataFile>,
    /// The tenants that are known so far, with what they carry into the day.
    pub openings: Arc<Openings>,
    pub questions_of: DayQuestionsOf,
    /// Only these tenants; none for all.
    pub tenants: Option<BTreeSet<String>>,
    pub threads: usize,
}

impl std::fmt::Debug for DayScan {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "DayScan(day {}, {} files)", self.day, self.files.len())
    }
}

/// Days of tenants as they are finished.
#[derive(Debug)]
pub struct TenantDays {
    portions: Receiver<Portion>,
    tasks: Vec<JoinHandle<Result<(), QuantitiesError>>>,
}

impl TenantDays {
    /// Some tenants, with the number of the share that they are of; within a share, those with rows come first and those
    /// that only carry something after them, both in the order of their names. Nothing when all were there.
    pub async fn next(&mut self) -> Result<Option<Portion>, QuantitiesError> {
        if let Some(portion) = self.portions.recv().await {
            return Ok(Some(portion));
        }
        for task in self.tasks.drain(..) {
            task.await.map_err(QuantitiesError::Stopped)??;
        }
        Ok(None)
    }
}

impl DayScan {
    /// What the day came to for each tenant that has events or carries something. Few tenants are in memory at a time
    /// where the day is sorted.
    pub async fn start(&self) -> Result<TenantDays, QuantitiesError> {
        let scan = self.usage_scan();
        let days = Arc::new(scan.open_days(Some(self.day)).await?);
        let shares = TenantShare::default().split(&days, self.threads.max(1), self.tenants.as_ref());
        let (to, portions) = channel(shares.len());
        let end_us = day_span(self.day).end_us;
        let tasks = shares.into_iter().enumerate().map(|(at, share)| {
            let mut folds = TenantFolds::new(scan.clone(), share);
            folds.hand_over_to(to.clone(), at, end_us);
            tokio::spawn(fold_share(folds, Arc::clone(&self.openings), Arc::clone(&days)))
        });
        Ok(TenantDays { portions, tasks: tasks.collect() })
    }

    fn usage_scan(&self) -> UsageScan {
        let (questions_of, day) = (Arc::clone(&self.questions_of), self.day);
        let demand_of = move |tenant: &str| {
            let period = Period { span: day_span(day), name: String::new(), end_date: String::new() };
            Asked::Demand(Demand { tenant: tenant.to_owned(), period, wanted: questions_of(tenant) })
        };
        let snapshot = TableSnapshot {
            table: Table::UsageEvents,
            version: 0,
            table_id: String::new(),
            files: self
                .files
                .iter()
                .filter(|file| file.day == self.day || file.is_correction())
                .cloned()
                .collect(),
        };
        UsageScan {
            table: self.table.clone(),
            snapshot: Arc::new(snapshot),
            catalog: Arc::clone(&self.catalog),
            demand_of: Arc::new(demand_of),
            tenants: self.tenants.clone(),
            share: TenantShare::default(),
            until_us: i64::from(self.day) * DAY_US + DAY_US,
            threads: self.threads,
            memory: None,
            held_bytes_max: HELD_BYTES_MAX,
            read_bytes_max: READ_BYTES_MAX,
        }
    }
}

async fn fold_share(
    mut folds: TenantFolds,
    openings: Arc<Openings>,
    days: Arc<Vec<Day>>,
) -> Result<(), QuantitiesError> {
    let has_sessions = folds.has_sessions();
    folds.open(&openings);
    for day in days.iter() {
        day.fold(has_sessions, &mut folds).await?;
    }
    folds.hand_over_rest().await;
    Ok(())
}
