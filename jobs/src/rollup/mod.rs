//! Roll-ups: `usage_hourly`, `usage_daily`, `usage_periods` and `usage_carried` brought up to the newest `usage_events`.
//!
//! Owns: which tenants' days are folded anew (`due`), folding them from what the day before left (`rolling`), the rows
//! that come of it (`rows`), periods that have ended (`periods`), and writing them (`write`, `plain`). A touched day is folded from its own opening; the days
//! after it follow until one opens as it did before. Each table changes in one commit, `usage_daily` last, and of two runs
//! at once the slower is refused.
//!
//! What a run that was cut short left in the other tables belongs to no roll-ups, and the next run takes it back.
//!
//! In memory are what all tenants carry over one midnight, and the rows of a few tenants of one day.

mod command;
mod due;
mod periods;
mod plain;
mod rolling;
mod rows;
mod write;

use std::collections::BTreeMap;
use std::sync::Arc;

use ::sql::lake::{Lake, Table};
use ::sql::rollups::{PeriodQuestions, RollUpState, RollUps, rules_of};
use anyhow::Result;
use rating::catalog::Catalog;
use rating::usage::{Demand, Wanted};

pub use command::{RollupArgs, roll_up_as_run, run};
use due::Due;
use rolling::Rolling;
use write::Writer;

/// The questions about a tenant's day.
pub type QuestionsOf = Arc<dyn Fn(&str, i32) -> Vec<Wanted> + Send + Sync>;

/// What is asked of a tenant's periods that end after one instant and not after another, one after the other.
pub type PeriodsOf = Arc<dyn Fn(&str, i64, i64) -> Vec<Demand> + Send + Sync>;

/// What is rolled, and how.
#[derive(Clone)]
pub struct RollUpSettings {
    pub catalog: Arc<Catalog>,
    pub questions_of: QuestionsOf,
    pub periods_of: PeriodsOf,
    /// Changes when the questions may.
    pub questions: i64,
    /// Folds every tenant anew from this day on.
    pub from: Option<i32>,
    pub threads: usize,
    pub dry_run: bool,
}

impl std::fmt::Debug for RollUpSettings {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { questions, from, threads, dry_run, .. } = self;
        write!(
            formatter,
            "RollUpSettings({questions:x}, from {from:?}, {threads} threads, dry run {dry_run})"
        )
    }
}

impl RollUpSettings {
    /// For the questions of the catalog's prices and meters.
    pub fn of_catalog(catalog: Arc<Catalog>, threads: usize) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(catalog.hash.as_bytes()).update(env!("CARGO_PKG_VERSION").as_bytes());
        let hash = hasher.finalize();
        let (head, _) = hash.as_bytes().split_first_chunk().expect("a hash has more than eight bytes");
        let periods = Arc::new(PeriodQuestions::new(&catalog));
        let days = Arc::clone(&periods);
        Self {
            catalog,
            questions_of: Arc::new(move |tenant, day| days.of_day(tenant, day)),
            periods_of: Arc::new(move |tenant, after_us, until_us| {
                periods.of_periods(tenant, after_us, until_us)
            }),
            questions: i64::from_le_bytes(*head) >> 1,
            from: None,
            threads,
            dry_run: false,
        }
    }
}

/// What a run did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RollUpReport {
    /// The version of `usage_events` that is rolled now.
    pub version: u64,
    pub days: usize,
    /// Whose days were folded, each with the first of them.
    pub tenants: BTreeMap<String, i32>,
    pub tenant_days: usize,
    pub rows: usize,
    /// Tenants whose days cannot be folded, with the reason where this run found it.
    pub failed: BTreeMap<String, String>,
}

/// Brings the roll-ups of a lake up to its newest events. `progress` is told of each finished day.
pub async fn roll_up(
    lake: &Lake,
    settings: &RollUpSettings,
    mut progress: impl FnMut(&RollUpReport),
) -> Result<RollUpReport> {
    let mut writer = Writer::open(lake, settings.dry_run).await?;
    let before = RollUps::open(lake).await?;
    let usage = lake.table(Table::UsageEvents).snapshot(None).await?;
    let Some(due) = Due::find(lake, &usage, before, settings).await? else {
        return Ok(RollUpReport { version: usage.version, ..RollUpReport::default() });
    };
    writer.begin(&due).await?;
    let mut rolling = Rolling::new(lake, settings, &usage, &due, &mut writer);
    for day in due.first_due().unwrap_or(due.last_day + 1)..=due.last_day {
        if rolling.roll_day(day).await? {
            progress(rolling.report());
        }
    }
    let report = rolling.finish();
    let state = RollUpState {
        run: due.run(),
        usage_version: usage.version,
        first_day: due.first_day,
        last_day: due.last_day,
        carried_version: 0,
        hourly_version: 0,
        periods_version: 0,
        rules: rules_of(&settings.catalog),
        questions: settings.questions,
    };
    if let Some(roll_ups) = writer.roll_ups(state, &usage) {
        periods::put_together(&roll_ups, settings, &report.tenants, &mut writer).await?;
    }
    writer.commit(state, due.kept.as_ref()).await?;
    Ok(report)
}
