//! Roll-ups: `usage_daily` and `usage_carried` brought up to the newest `usage_events`.
//!
//! Owns: which tenants' days are folded anew (`due`), folding them from what the day before left, and writing what
//! came of it (`write`). A touched day is folded from its own opening; the days after it follow until one opens as it did
//! before. Both tables change in one commit each, `usage_daily` last, and of two runs at once the slower is refused.
//!
//! What a run that was cut short left in `usage_carried` belongs to no roll-ups, and the next run takes it out.

mod command;
mod due;
mod write;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use ::sql::lake::{Lake, Table, TableSnapshot};
use ::sql::quantities::{DayScan, Openings, RolledDay, TenantDay};
use ::sql::rollups::{
    CarriedRows, DailyRows, PeriodQuestions, RollUpState, RollUps, Touch, carried_text, question_keys,
    rules_of,
};
use anyhow::{Context, Result};
use rating::catalog::Catalog;
use rating::quantity::session::SessionOddities;
use rating::usage::Wanted;

pub use command::{RollupArgs, run};
use due::Due;
use write::Writer;

/// The questions about a tenant's day.
pub type QuestionsOf = Arc<dyn Fn(&str, i32) -> Vec<Wanted> + Send + Sync>;

/// What is rolled, and how.
#[derive(Clone)]
pub struct RollUpSettings {
    pub catalog: Arc<Catalog>,
    pub questions_of: QuestionsOf,
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
        let periods = PeriodQuestions::new(Arc::clone(&catalog));
        Self {
            catalog,
            questions_of: Arc::new(move |tenant, day| periods.of_day(tenant, day)),
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
    pub tenants: BTreeSet<String>,
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
    let mut rolling = Rolling {
        settings,
        usage: &usage,
        lake,
        carried: Openings::new(),
        failed: BTreeSet::new(),
        writer: &mut writer,
        report: RollUpReport { version: usage.version, ..RollUpReport::default() },
        due: &due,
    };
    for day in due.first_due().unwrap_or(due.last_day + 1)..=due.last_day {
        if rolling.roll_day(day).await? {
            progress(&rolling.report);
        }
    }
    let report = rolling.report;
    let state = RollUpState {
        run: due.run(),
        usage_version: usage.version,
        first_day: due.first_day,
        last_day: due.last_day,
        carried_version: 0,
        rules: rules_of(&settings.catalog),
        questions: settings.questions,
    };
    writer.commit(state, due.kept.as_ref()).await?;
    Ok(report)
}

struct Rolling<'r> {
    settings: &'r RollUpSettings,
    lake: &'r Lake,
    usage: &'r TableSnapshot,
    due: &'r Due,
    writer: &'r mut Writer,
    /// What goes into the next day of the tenants that are folded on.
    carried: Openings,
    /// Tenants that are folded on and whose days cannot be folded.
    failed: BTreeSet<String>,
    report: RollUpReport,
}

impl Rolling<'_> {
    /// Folds what is due of a day; says whether anything was.
    async fn roll_day(&mut self, day: i32) -> Result<bool> {
        let mut tenants = match self.due.days.get(&day) {
            Some(Touch::Everybody) => None,
            Some(Touch::Tenants(touched)) => Some(touched.clone()),
            None => Some(BTreeSet::new()),
        };
        if let Some(tenants) = &mut tenants {
            tenants.extend(self.carried.keys().chain(&self.failed).cloned());
            if tenants.is_empty() {
                return Ok(false);
            }
        }
        self.open(day, tenants.as_ref()).await?;
        let questions_of = Arc::clone(&self.settings.questions_of);
        let scan = DayScan {
            table: self.lake.table(Table::UsageEvents),
            catalog: Arc::clone(&self.settings.catalog),
            day,
            files: self
                .usage
                .files
                .iter()
                .filter(|file| file.day == day || file.is_correction())
                .cloned()
                .collect(),
            openings: Arc::new(std::mem::take(&mut self.carried)),
            questions_of: Arc::new(move |tenant| questions_of(tenant, day)),
            tenants: tenants.clone(),
            threads: self.settings.threads,
        };
        let found = scan.run().await.with_context(|| format!("day {}", ingest::day_file::day_text(day)))?;
        self.take(day, found, tenants.as_ref()).await?;
        Ok(true)
    }

    /// Adds what tenants open with that were not folded on from the day before.
    async fn open(&mut self, day: i32, tenants: Option<&BTreeSet<String>>) -> Result<()> {
        let Some(kept) = self.due.kept_on(day) else { return Ok(()) };
        let is_new = |name: &&String| {
            !self.carried.contains_key(*name)
                && !self.failed.contains(*name)
                && tenants.is_none_or(|tenants| tenants.contains(*name))
        };
        if tenants.is_some_and(|tenants| !tenants.iter().any(|name| is_new(&name))) {
            return Ok(());
        }
        let mut stored = kept.carried_into(day).await?;
        stored.states.retain(|name, _| is_new(&name));
        let (openings, failed) = stored.openings().context("usage_carried cannot be read")?;
        self.carried.extend(openings);
        self.failed.extend(failed);
        Ok(())
    }

    async fn take(
        &mut self,
        day: i32,
        found: Vec<TenantDay>,
        tenants: Option<&BTreeSet<String>>,
    ) -> Result<()> {
        // What the next day opened with until now: who opens it the same way need not be folded on.
        let next = match self.due.kept_on(day + 1) {
            Some(kept) if !self.due.is_everybody(day + 1) => kept.carried_into(day + 1).await?.states,
            _ => HashMap::new(),
        };
        let generation = self.due.run();
        let (mut daily, mut carried) = (DailyRows::new(generation), CarriedRows::new(generation));
        let mut replaced = BTreeSet::new();
        let mut found: BTreeMap<String, TenantDay> =
            found.into_iter().map(|own| (own.tenant.clone(), own)).collect();
        // Whoever was known and has nothing left is still said to have nothing.
        let known = if let Some(tenants) = tenants {
            tenants.iter().collect()
        } else {
            next.keys().collect::<Vec<_>>()
        };
        for name in known.into_iter().chain(&self.failed) {
            found.entry(name.clone()).or_insert_with(|| {
                let wanted = (self.settings.questions_of)(name, day);
                let rolled = RolledDay { wanted, ..RolledDay::default() };
                TenantDay { tenant: name.clone(), rows: 0, rolled: Ok(rolled) }
            });
        }
        for (name, own) in found {
            let left = self.push(day, &own, &mut daily);
            let state = carried_text(left.as_ref()).context("usage_carried cannot be written")?;
            let is_settled = next.get(&name) == Some(&state);
            carried.push(&name, &state);
            replaced.insert(name.clone());
            if is_settled && !self.due.is_due(day + 1, &name) {
                self.failed.remove(&name);
            } else if let Some(left) = left {
                self.carried.insert(name, left);
            } else {
                self.failed.insert(name);
            }
        }
        self.report.days += 1;
        self.report.tenant_days += replaced.len();
        self.report.rows += daily.len();
        self.report.tenants.extend(replaced.iter().cloned());
        let replaced = tenants.map(|_| &replaced);
        self.writer.write(Table::UsageDaily, day, daily.finish()?, replaced).await?;
        self.writer.write(Table::UsageCarried, day + 1, carried.finish()?, replaced).await?;
        Ok(())
    }

    /// Adds a tenant's day to the rows; answers with what it leaves to the next, or nothing where it cannot be folded.
    fn push(
        &mut self,
        day: i32,
        own: &TenantDay,
        daily: &mut DailyRows,
    ) -> Option<::sql::quantities::TenantCarried> {
        if self.failed.contains(&own.tenant) {
            daily.push_marker(&own.tenant, own.rows, &[]);
            self.report.failed.entry(own.tenant.clone()).or_default();
            return None;
        }
        let mut fail = |daily: &mut DailyRows, why: String| {
            daily.push_marker(&own.tenant, own.rows, &[]);
            self.report.failed.insert(own.tenant.clone(), why);
            None
        };
        let rolled = match &own.rolled {
            Ok(rolled) => rolled,
            Err(problem) => return fail(daily, problem.to_string()),
        };
        let mut known = BTreeSet::new();
        for series in &rolled.series {
            let view = &rolled.wanted[series.question].view;
            // Two questions may share a part of the day.
            if known.insert((view, series.span, &series.dimensions)) {
                let (tenant, dimensions) = (&own.tenant, &series.dimensions);
                let pushed =
                    daily.push_totals(tenant, view, dimensions, series.span, &series.totals, &series.seen);
                if let Err(error) = pushed {
                    return fail(daily, format!("meter {}: {error}", view.meter));
                }
            }
        }
        let mut known = BTreeSet::new();
        for odd in rolled.oddities.iter().filter(|odd| odd.oddities != SessionOddities::default()) {
            let view = &rolled.wanted[odd.question].view;
            if known.insert((view, odd.span)) {
                daily.push_oddities(&own.tenant, view, odd.span, &odd.oddities);
            }
        }
        daily.push_marker(&own.tenant, own.rows, &question_keys(&self.settings.catalog, &rolled.wanted, day));
        Some(rolled.carried.clone())
    }
}
