//! A pass over one day, which goes on from what the day before left: how roll-ups are made.

use std::collections::BTreeSet;
use std::sync::Arc;

use rating::catalog::{Catalog, MeterKind};
use rating::period::Period;
use rating::usage::{DAY_US, Demand, Wanted, day_span};

use super::shares::TenantShare;
use super::tenants::{Openings, TenantDay, TenantFolds};
use super::{Asked, Day, QuantitiesError, UsageScan};
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

impl DayScan {
    /// What the day came to for each tenant that has events or carries something, in the order of their names.
    pub async fn run(&self) -> Result<Vec<TenantDay>, QuantitiesError> {
        let scan = self.usage_scan();
        let days = Arc::new(scan.open_days(Some(self.day)).await?);
        let shares = TenantShare::split(&days, self.threads.max(1), self.tenants.as_ref());
        let tasks: Vec<_> = shares
            .into_iter()
            .map(|share| {
                let (scan, openings, days) = (scan.clone(), Arc::clone(&self.openings), Arc::clone(&days));
                tokio::spawn(fold_share(scan, share, openings, days, day_span(self.day).end_us))
            })
            .collect();
        let mut tenants = Vec::new();
        for task in tasks {
            tenants.extend(task.await.map_err(QuantitiesError::Stopped)??);
        }
        tenants.sort_by(|left, right| left.tenant.cmp(&right.tenant));
        Ok(tenants)
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
            until_us: i64::from(self.day) * DAY_US + DAY_US,
            threads: self.threads,
            memory: None,
        }
    }
}

async fn fold_share(
    scan: UsageScan,
    share: TenantShare,
    openings: Arc<Openings>,
    days: Arc<Vec<Day>>,
    end_us: i64,
) -> Result<Vec<TenantDay>, QuantitiesError> {
    let has_sessions =
        scan.catalog.meters.iter().any(|meter| matches!(meter.kind, MeterKind::Session { .. }));
    let mut folds = TenantFolds::new(scan, share);
    folds.open(&openings);
    for day in days.iter() {
        day.fold(has_sessions, &mut folds).await?;
    }
    Ok(folds.finish_day(end_us))
}
