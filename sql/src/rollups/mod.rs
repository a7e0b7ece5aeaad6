//! Roll-ups: what each tenant's UTC days came to, and quantities that are put together from them.
//!
//! Owns: the questions that a day has (`questions`), the rows of `usage_hourly`, `usage_daily`, `usage_periods` and
//! `usage_carried` (`columns`, `batch`), what whole periods came to (`periods`), which days new commits touched (`touched`), and answering demands from `usage_daily` (`answer`, in which
//! `part` reads the days and `plan` puts a tenant's together). Does not
//! own: folding a day (`quantities`) and writing (`jobs`). `usage_hourly` is for charts and reports: a plain table in
//! which a row is an hour of a meter, made from the same folds.
//!
//! What roll-ups cannot answer exactly is answered from events, for those tenants and meters that are asked for it:
//! - p95 needs the averages of all 5-minute buckets of a period, since even the highest twentieth of a month's are more
//!   than a whole day has. That is 288 numbers a day for each series and way to look at it, as much as most meters'
//!   events;
//! - the sum of peaks needs the highest level of each resource in each day: a row per resource and day, where all else
//!   needs a row per tenant and day;
//! - single transactions are the events themselves;
//! - sessions whose events tell of earlier days cannot be folded in the order of days.
//!
//! Every tenant that is known has a row in each day from its first on that says what is there, so a day without one
//! lies before all of the tenant's events.

mod answer;
mod batch;
mod columns;
mod days;
mod part;
mod periods;
mod plan;
mod questions;
mod touched;

use std::collections::HashMap;

use crate::lake::{Lake, LakeError, Table, TableHandle, TableSnapshot};
use crate::quantities::QuantitiesError;

pub use answer::{AnswersFrom, Source};
pub use columns::{CarriedRows, DailyRows, HourlyRows, PeriodRows, TooLarge};
pub use days::{CarriedDay, DayMarkers, Left, Marker};
pub use periods::{PeriodTotals, last_day_of};
pub use questions::{PeriodQuestions, day_questions, hour_questions, question_keys, rules_of};
pub use touched::{EVERY_DAY, Touch, tenants_of, touched};

/// The runs that wrote roll-ups; each moves it by one.
pub const RUNS: &str = "meterhouse/rollup";

/// How far the roll-ups have come, kept as positions in the log of `usage_daily`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RollUpState {
    pub run: i64,
    /// The version of `usage_events` that is rolled.
    pub usage_version: u64,
    /// Every day from this to the last is rolled; nothing was used before it.
    pub first_day: i32,
    pub last_day: i32,
    /// The versions of the other tables that belong to it.
    pub carried_version: u64,
    pub hourly_version: u64,
    pub periods_version: u64,
    /// A hash of the rules by which the meters count.
    pub rules: i64,
    /// A hash of what asks the questions: the catalog and this program.
    pub questions: i64,
}

const FIELDS: [&str; 9] = [
    RUNS,
    "meterhouse/rollup/usage_version",
    "meterhouse/rollup/first_day",
    "meterhouse/rollup/last_day",
    "meterhouse/rollup/carried_version",
    "meterhouse/rollup/rules",
    "meterhouse/rollup/questions",
    "meterhouse/rollup/hourly_version",
    "meterhouse/rollup/periods_version",
];

impl RollUpState {
    /// As positions of the log.
    pub fn positions(&self) -> Vec<(String, i64)> {
        let figures = [
            self.run,
            self.usage_version as i64,
            self.first_day.into(),
            self.last_day.into(),
            self.carried_version as i64,
            self.rules,
            self.questions,
            self.hourly_version as i64,
            self.periods_version as i64,
        ];
        FIELDS.iter().map(|field| (*field).to_owned()).zip(figures).collect()
    }

    fn of(positions: &HashMap<String, i64>) -> Option<Self> {
        let figure = |at: usize| positions.get(FIELDS[at]).copied();
        Some(Self {
            run: figure(0)?,
            usage_version: u64::try_from(figure(1)?).ok()?,
            first_day: i32::try_from(figure(2)?).ok()?,
            last_day: i32::try_from(figure(3)?).ok()?,
            carried_version: u64::try_from(figure(4)?).ok()?,
            rules: figure(5)?,
            questions: figure(6)?,
            hourly_version: u64::try_from(figure(7)?).ok()?,
            periods_version: u64::try_from(figure(8)?).ok()?,
        })
    }
}

/// The roll-ups of one moment.
#[derive(Debug, Clone)]
pub struct RollUps {
    pub state: RollUpState,
    pub daily: TableHandle,
    pub daily_files: TableSnapshot,
    pub carried: TableHandle,
    pub carried_files: TableSnapshot,
    pub periods: TableHandle,
    pub periods_files: TableSnapshot,
}

impl RollUps {
    /// Nothing where `meterhouse rollup` has not run yet.
    pub async fn open(lake: &Lake) -> Result<Option<Self>, QuantitiesError> {
        let (daily, carried) = (lake.table(Table::UsageDaily), lake.table(Table::UsageCarried));
        if !daily.exists().await? {
            return Ok(None);
        }
        let (version, positions) = daily.positions().await?;
        let Some(state) = RollUpState::of(&positions) else { return Ok(None) };
        let daily_files = daily.snapshot(Some(version)).await?;
        let periods = lake.table(Table::UsagePeriods);
        let others = async {
            let carried_files = carried.snapshot(Some(state.carried_version)).await?;
            Ok((carried_files, periods.snapshot(Some(state.periods_version)).await?))
        };
        let (carried_files, periods_files) = match others.await {
            Ok(snapshots) => snapshots,
            Err(LakeError::Missing(_)) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        Ok(Some(Self { state, daily, daily_files, carried, carried_files, periods, periods_files }))
    }
}
