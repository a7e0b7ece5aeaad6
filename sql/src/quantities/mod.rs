//! The engine: what every tenant used, from one pass over the lake (DESIGN.md 3.5).
//!
//! Owns: which files and row groups are read, in which order their rows reach the folds of `rating::usage`, that an
//! event counts once (3.2), and how the tenants are spread over the cores. Does not own: the arithmetic (`rating`), nor
//! what is asked (the caller's demands).
//!
//! Each tenant's days are read in their order, in one task, so that the only thing in memory is each tenant's state. Compacted
//! days stream through as they lie, side by side. A day with newly arrived files is put in order in memory first, as much of it
//! at a time as the caller gives room for, and events that came twice are left out, as compaction would do it.
//!
//! Whoever drops a pass stops it: its tasks end with it, and give way often enough (`tokio`'s budget, spent with each batch
//! and tenant) to notice.

mod answers;
mod arrived;
mod charges;
mod corrections;
mod day_scan;
mod dictionary;
mod exec;
mod files;
mod function;
mod left_out;
mod passes;
mod period;
mod rows;
mod shares;
mod so_far;
mod sorted;
mod table;
mod tenants;
mod twice;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::error::ArrowError;
use datafusion::common::runtime::SpawnedTask;
use datafusion::error::DataFusionError;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryPool, MemoryReservation};
use parquet::errors::ParquetError;
use rating::catalog::Catalog;
use rating::period::PeriodError;
use rating::usage::{BadDimensions, Demand};

use crate::lake::{DataFile, LakeError, TableHandle, TableSnapshot};

pub use answers::{Answers, TenantFailure, TenantProblem};
pub(crate) use charges::columns as charge_columns;
pub use charges::{ChargeKind, ChargeKinds};
pub use corrections::{AmendedReading, Arrived, Correction, EventCorrections};
pub use day_scan::{DayQuestionsOf, DayScan, TenantDays};
pub(crate) use dictionary::is_same_dictionary;
pub use exec::QuantitiesExec;
pub use function::{QuantitiesFunction, Told};
#[cfg(feature = "cluster")]
pub(crate) use left_out::of_message as left_out_of_message;
pub use left_out::{LeftOut, LeftOutTenant};
pub(crate) use period::demand_of_terms;
pub use period::{Narrowed, PeriodScan, Question};
pub use shares::TenantShare;
pub(crate) use table::columns as quantity_columns;
pub use table::{NOT_SET_UP, PROBLEM, QUANTITIES, QuantityRows};

use corrections::AddedRow;
use files::LakeFile;
use passes::Pass;
use sorted::DaysInOrder;
use tenants::TenantFolds;
pub(crate) use tenants::signals_in_order;
pub use tenants::{
    Openings, Portion, RolledDay, RolledOddities, RolledSeries, TenantCarried, TenantDay,
    tells_of_earlier_days,
};
use twice::RowsTwice;

/// What is asked of a tenant.
#[derive(Debug, Clone, PartialEq)]
pub enum Asked {
    Demand(Demand),
    /// The tenant is set up but has no such period.
    Nothing,
    NotSetUp,
}

pub type DemandOf = Arc<dyn Fn(&str) -> Asked + Send + Sync>;

/// A pass over the usage events of one table version.
#[derive(Clone)]
pub struct UsageScan {
    pub table: TableHandle,
    pub snapshot: Arc<TableSnapshot>,
    pub catalog: Arc<Catalog>,
    pub demand_of: DemandOf,
    /// Only these tenants; none for all.
    pub tenants: Option<BTreeSet<String>>,
    /// Only tenants of this share; by default all are.
    pub share: TenantShare,
    /// No span that is asked for ends later than this.
    pub until_us: i64,
    /// So many tenants' shares are folded at once.
    pub threads: usize,
    /// Where the folds' memory is counted, if anywhere.
    pub memory: Option<Arc<dyn MemoryPool>>,
    /// About how much of days that are not compacted may be held in memory; see `HELD_BYTES_MAX`.
    pub held_bytes_max: usize,
    /// About how much each task may hold of compacted days that it reads side by side; see `READ_BYTES_MAX`.
    pub read_bytes_max: usize,
}

/// What is held of days that are not compacted, unless the caller says otherwise.
pub const HELD_BYTES_MAX: usize = 768 * 1024 * 1024;

/// What is held of compacted days, unless the caller says otherwise: row groups as they are stored, and what reading them takes.
pub const READ_BYTES_MAX: usize = 192 * 1024 * 1024;

/// With less a pass would read each file hundreds of times.
const HELD_BYTES_MIN: usize = 1024 * 1024;

impl std::fmt::Debug for UsageScan {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { snapshot, tenants, threads, .. } = self;
        write!(formatter, "UsageScan(version {}, {tenants:?}, {threads} threads)", snapshot.version)
    }
}

/// The lake cannot be read, or does not hold what it should; no tenant has an answer.
#[derive(Debug, thiserror::Error)]
pub enum QuantitiesError {
    #[error(transparent)]
    Lake(#[from] LakeError),
    #[error("cannot read {path}")]
    Parquet {
        path: String,
        #[source]
        source: ParquetError,
    },
    #[error("cannot read rows of usage_events")]
    Arrow(#[from] ArrowError),
    #[error("{path} has no column {column} of the expected type")]
    Column { path: String, column: &'static str },
    #[error("tenant {tenant}, meter {meter}")]
    Dimensions {
        tenant: String,
        meter: String,
        #[source]
        source: BadDimensions,
    },
    #[error(transparent)]
    Period(#[from] PeriodError),
    #[error("the tenants' quantities need more memory than the session may use")]
    Memory(#[source] DataFusionError),
    #[error(
        "roll-ups do not cover version {version} of usage_events; run `meterhouse rollup`, or answer from events"
    )]
    NotRolled { version: u64 },
    #[error("what days left to the next cannot be read from usage_carried")]
    Carried(#[source] serde_json::Error),
    #[error("a part of the work stopped")]
    Stopped(#[source] tokio::task::JoinError),
}

/// The files of one day.
#[derive(Debug, Clone)]
struct Day {
    /// Days since 1970-01-01.
    number: i32,
    files: Vec<Arc<LakeFile>>,
    /// Whether the files follow each other in the order of tenant, meter, time and arrival, with each event once.
    is_sorted: bool,
    /// Rows that do not count, by the place of their file.
    twice: Arc<RowsTwice>,
    /// What stands in the place of amended events.
    added: Arc<Vec<AddedRow>>,
    /// How a day is taken up whose rows have to be put in order.
    passes: Arc<Vec<Pass>>,
}

impl UsageScan {
    /// Leaves out all tenants but those of a share.
    fn keep_to(&mut self, share: &TenantShare) {
        self.share = share.clone();
        let (share, demand_of) = (share.clone(), Arc::clone(&self.demand_of));
        self.demand_of =
            Arc::new(move |tenant| if share.holds(tenant) { demand_of(tenant) } else { Asked::Nothing });
    }

    /// Takes what the pass will hold of days that are not compacted out of a query's memory; less where it has less.
    fn reserve_held_days(
        &mut self,
        pool: &Arc<dyn MemoryPool>,
    ) -> Result<MemoryReservation, QuantitiesError> {
        let reservation = MemoryConsumer::new("days that are not compacted").register(pool);
        let files = &self.snapshot.files;
        let has_corrections = files.iter().any(DataFile::is_correction);
        let arrived: BTreeSet<i32> =
            files.iter().filter(|file| !file.is_sorted()).map(|file| file.day).collect();
        // Rows that may have to be put in order in memory.
        let is_held =
            |file: &&DataFile| self.may_matter(file.day) && (has_corrections || arrived.contains(&file.day));
        let rows: u64 = files.iter().filter(is_held).map(|file| file.rows).sum();
        let needed = (rows as usize).saturating_mul(arrived::ROW_BYTES + twice::ROW_BYTES);
        let mut bytes = needed.min(self.held_bytes_max);
        // As much again is left for the folds, and for what the query makes of the rows.
        while let Err(error) = reservation.try_resize(2 * bytes) {
            if bytes <= HELD_BYTES_MIN {
                return Err(QuantitiesError::Memory(error));
            }
            bytes = (bytes / 2).max(HELD_BYTES_MIN);
        }
        reservation.try_resize(bytes).map_err(QuantitiesError::Memory)?;
        self.held_bytes_max = bytes.max(HELD_BYTES_MIN);
        Ok(reservation)
    }

    /// Reads everything that the demands need and answers them, in the order of the tenants' names.
    pub async fn run(&self) -> Result<Answers, QuantitiesError> {
        let days = self.open_days(None).await?;
        let shares = self.share.split(&days, self.threads.max(1), self.tenants.as_ref());
        let days = Arc::new(days);
        let tasks: Vec<_> = shares
            .into_iter()
            .map(|share| SpawnedTask::spawn(fold_share(self.clone(), share, Arc::clone(&days))))
            .collect();
        let mut answers = Answers::default();
        for task in tasks {
            answers.add(task.await.map_err(QuantitiesError::Stopped)??);
        }
        answers.sort();
        Ok(answers)
    }

    /// `only_day` if no other is read: the snapshot has nothing else of other days than their corrections.
    async fn open_days(&self, only_day: Option<i32>) -> Result<Vec<Day>, QuantitiesError> {
        let table = &self.table;
        let corrections = EventCorrections::load(table, &self.snapshot.files, self.tenants.as_ref()).await?;
        let mut by_day: BTreeMap<i32, Vec<DataFile>> = BTreeMap::new();
        let usage = self.snapshot.files.iter().filter(|file| !file.is_correction());
        for file in usage.filter(|file| self.may_matter(file.day)) {
            by_day.entry(file.day).or_default().push(file.clone());
        }
        let mut days = Vec::new();
        for (day, mut files) in by_day {
            let is_sorted = files.iter().all(DataFile::is_sorted);
            if is_sorted {
                files.retain(|file| self.may_hold_tenants(file));
                files.sort_by_cached_key(DataFile::bounds_in_order);
            }
            let mut opened = Vec::new();
            for file in files {
                opened.push(Arc::new(LakeFile::open(&self.table, file).await?));
            }
            let files = opened;
            days.push(Day { files, is_sorted, ..Day::without_files(day) });
        }
        twice::find(&mut days, self.threads.max(1), self.held_bytes_max).await?;
        if !corrections.is_empty() {
            let mut by_day = days.into_iter().map(|day| (day.number, day)).collect();
            let is_read = |day: i32| only_day.is_none_or(|only| only == day) && self.may_matter(day);
            corrections.apply(&mut by_day, is_read).await?;
            days = by_day.into_values().collect();
        }
        let rows_max = (self.held_bytes_max / arrived::ROW_BYTES) as u64;
        for day in days.iter_mut().filter(|day| !day.is_in_order()) {
            day.passes = Arc::new(passes::of_day(day.number, &day.files, rows_max).await?);
        }
        Ok(days)
    }

    /// A session may tell on a later day when it began or ended; all else happened on the day of its row.
    fn may_matter(&self, day: i32) -> bool {
        let is_later = i64::from(day) * DAY_US >= self.until_us;
        !is_later || self.catalog.meters.iter().any(|meter| !tenants::signals_in_order(meter))
    }

    /// Before compaction an event may lie there twice and under different tenants, so that every file of the day counts.
    fn may_hold_tenants(&self, file: &DataFile) -> bool {
        self.tenants.as_ref().is_none_or(|tenants| file.may_hold_any(tenants))
    }
}

const DAY_US: i64 = 86_400_000_000;

async fn fold_share(
    scan: UsageScan,
    share: TenantShare,
    days: Arc<Vec<Day>>,
) -> Result<Answers, QuantitiesError> {
    let reservation = |name| scan.memory.as_ref().map(|pool| MemoryConsumer::new(name).register(pool));
    let (reading, reservation) = (reservation("compacted days"), reservation("QuantitiesExec"));
    let read_bytes_max = scan.read_bytes_max;
    let mut folds = TenantFolds::new(scan, share);
    let has_sessions = folds.has_sessions();
    let groups = sorted::together(&days, &sorted::columns(has_sessions), read_bytes_max, reading.as_ref())?;
    let mut answers = Answers::default();
    let mut steps = 0;
    let mut count = |folds: &TenantFolds| -> Result<(), QuantitiesError> {
        steps += 1;
        // Looking at all of them takes a while, so where they are many they are looked at now and then.
        if let Some(reservation) = &reservation
            && steps > folds.tenant_count() / 1024
        {
            steps = 0;
            reservation.try_resize(folds.size_bytes()).map_err(QuantitiesError::Memory)?;
        }
        Ok(())
    };
    for (at, group) in groups.iter().enumerate() {
        match group {
            [day] if !day.is_in_order() => {
                folds.begin_day(day.number);
                arrived::fold_day(day, has_sessions, &mut folds).await?;
                count(&folds)?;
            }
            group => {
                let mut days = DaysInOrder::open(group, has_sessions, &folds).await?;
                while let Some(last) = days.fold_next(&mut folds).await? {
                    count(&folds)?;
                    if at + 1 == groups.len() {
                        folds.finish_until(&last, &mut answers).await;
                    }
                }
            }
        }
    }
    folds.finish(&mut answers).await;
    Ok(answers)
}

impl Day {
    fn without_files(number: i32) -> Self {
        Self {
            number,
            files: Vec::new(),
            is_sorted: true,
            twice: Arc::default(),
            added: Arc::default(),
            passes: Arc::default(),
        }
    }

    /// Whether all rows count, in the order in which they lie.
    fn is_in_order(&self) -> bool {
        self.is_sorted && self.twice.is_nothing() && self.added.is_empty()
    }

    /// Folds the day alone.
    async fn fold(&self, has_sessions: bool, folds: &mut TenantFolds) -> Result<(), QuantitiesError> {
        if !self.is_in_order() {
            folds.begin_day(self.number);
            return arrived::fold_day(self, has_sessions, folds).await;
        }
        let mut days = DaysInOrder::open(std::slice::from_ref(self), has_sessions, folds).await?;
        while days.fold_next(folds).await?.is_some() {}
        Ok(())
    }
}
