//! Folding the days that are due, one after the other, each from what the day before left.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use ::sql::lake::{DataFile, Lake, Table, TableSnapshot};
use ::sql::quantities::{DayScan, Openings, RolledDay, TenantDay};
use ::sql::rollups::{Left, Touch, hour_questions};
use anyhow::{Context, Result};
use rating::usage::Wanted;

use super::due::Due;
use super::rows::DayRows;
use super::write::Writer;
use super::{RollUpReport, RollUpSettings};

pub(super) struct Rolling<'r> {
    settings: &'r RollUpSettings,
    lake: &'r Lake,
    usage: &'r TableSnapshot,
    due: &'r Due,
    writer: &'r mut Writer,
    /// What goes into the next day of the tenants that are folded on.
    carried: Openings,
    /// Tenants that are folded on and whose days cannot be folded.
    failed: BTreeSet<String>,
    /// Tenants that were known to the next day and of whom there is no event any more.
    vanished: BTreeSet<String>,
    report: RollUpReport,
}

/// What is known of a day before its events are read.
struct Opened {
    day: i32,
    /// The tenants that are folded; none for all.
    tenants: Option<BTreeSet<String>>,
    openings: Arc<Openings>,
    /// What the next day opened with until now: who opens it the same way need not be folded on.
    next: HashMap<String, String>,
    hour_questions: Vec<Wanted>,
}

impl<'r> Rolling<'r> {
    pub fn new(
        lake: &'r Lake,
        settings: &'r RollUpSettings,
        usage: &'r TableSnapshot,
        due: &'r Due,
        writer: &'r mut Writer,
    ) -> Self {
        Self {
            settings,
            lake,
            usage,
            due,
            writer,
            carried: Openings::new(),
            failed: BTreeSet::new(),
            vanished: BTreeSet::new(),
            report: RollUpReport { version: usage.version, ..RollUpReport::default() },
        }
    }

    pub fn report(&self) -> &RollUpReport {
        &self.report
    }

    pub fn finish(self) -> RollUpReport {
        self.report
    }

    /// Folds what is due of a day; says whether anything was.
    pub async fn roll_day(&mut self, day: i32) -> Result<bool> {
        let mut tenants = match self.due.days.get(&day) {
            Some(Touch::Everybody) => None,
            Some(Touch::Tenants(touched)) => Some(touched.clone()),
            None => Some(BTreeSet::new()),
        };
        if let Some(tenants) = &mut tenants {
            tenants.extend(self.carried.keys().chain(&self.failed).chain(&self.vanished).cloned());
            if tenants.is_empty() {
                return Ok(false);
            }
        }
        let opened = self.open(day, tenants).await?;
        let what = || format!("day {}", ingest::day_file::day_text(day));
        self.fold(&opened).await.with_context(what)?;
        Ok(true)
    }

    async fn open(&mut self, day: i32, tenants: Option<BTreeSet<String>>) -> Result<Opened> {
        self.take_up_stored(day, tenants.as_ref()).await?;
        let next = match self.due.kept_on(day + 1) {
            Some(kept) => kept.carried_into(day + 1, tenants.as_ref()).await?.states,
            None => HashMap::new(),
        };
        Ok(Opened {
            day,
            tenants,
            openings: Arc::new(std::mem::take(&mut self.carried)),
            next,
            hour_questions: hour_questions(&self.settings.catalog, day),
        })
    }

    /// Adds what tenants open with that were not folded on from the day before.
    async fn take_up_stored(&mut self, day: i32, tenants: Option<&BTreeSet<String>>) -> Result<()> {
        let Some(kept) = self.due.kept_on(day) else { return Ok(()) };
        let is_new = |name: &str| {
            !self.carried.contains_key(name) && !self.failed.contains(name) && !self.vanished.contains(name)
        };
        let new: Option<BTreeSet<String>> =
            tenants.map(|tenants| tenants.iter().filter(|name| is_new(name)).cloned().collect());
        if new.as_ref().is_some_and(BTreeSet::is_empty) {
            return Ok(());
        }
        let mut stored = kept.carried_into(day, new.as_ref()).await?;
        stored.states.retain(|name, _| is_new(name));
        let (openings, failed) = stored.openings().context("usage_carried cannot be read")?;
        self.carried.extend(openings);
        self.failed.extend(failed);
        Ok(())
    }

    async fn fold(&mut self, opened: &Opened) -> Result<()> {
        let day = opened.day;
        let (questions_of, hours) = (Arc::clone(&self.settings.questions_of), opened.hour_questions.clone());
        let scan = DayScan {
            table: self.lake.table(Table::UsageEvents),
            catalog: Arc::clone(&self.settings.catalog),
            day,
            files: files_of(self.usage, day),
            openings: Arc::clone(&opened.openings),
            questions_of: Arc::new(move |tenant| {
                let mut questions = questions_of(tenant, day);
                questions.extend(hours.iter().cloned());
                questions
            }),
            tenants: opened.tenants.clone(),
            threads: self.settings.threads,
        };
        let mut rows = DayRows::new(day, self.due.run());
        let mut left = self.not_found_yet(opened);
        let mut found = scan.start().await?;
        while let Some((share, tenants)) = found.next().await? {
            for own in tenants {
                left.remove(&own.tenant);
                self.take(opened, share, own, &mut rows)?;
            }
        }
        // Whoever was known and has nothing left is still said to have nothing.
        for tenant in left {
            let mut wanted = (self.settings.questions_of)(&tenant, day);
            wanted.extend(opened.hour_questions.iter().cloned());
            let rolled = RolledDay { wanted, ..RolledDay::default() };
            let own = TenantDay { tenant, rows: 0, rolled: Ok(rolled) };
            self.take(opened, 0, own, &mut rows)?;
        }
        let (daily_rows, files) = rows.finish()?;
        self.report.days += 1;
        self.report.rows += daily_rows;
        self.writer.write_day(day, files, opened.tenants.as_ref()).await
    }

    /// Tenants that have a row on this day even if neither an event nor anything carried names them.
    fn not_found_yet(&self, opened: &Opened) -> BTreeSet<String> {
        let asked = opened.tenants.iter().flatten();
        let known = opened.next.keys().filter(|_| opened.tenants.is_none());
        asked.chain(known).chain(&self.failed).chain(&self.vanished).cloned().collect()
    }

    /// Adds a tenant's day to the rows, and decides whether the tenant is folded on.
    fn take(&mut self, opened: &Opened, share: usize, own: TenantDay, rows: &mut DayRows) -> Result<()> {
        let name = own.tenant.clone();
        let left = self.push(opened, share, own, rows);
        let state = left.text().context("usage_carried cannot be written")?;
        rows.push_carried(share, &name, &state)?;
        self.report.tenant_days += 1;
        self.report.tenants.entry(name.clone()).or_insert(opened.day);
        let is_settled = match opened.next.get(&name) {
            Some(before) => *before == state,
            None => left == Left::Vanished,
        };
        self.failed.remove(&name);
        self.vanished.remove(&name);
        if is_settled && !self.due.is_due(opened.day + 1, &name) {
            return Ok(());
        }
        match left {
            Left::State(carried) => drop(self.carried.insert(name, carried)),
            Left::NoState => drop(self.failed.insert(name)),
            Left::Vanished => drop(self.vanished.insert(name)),
        }
        Ok(())
    }

    fn push(&mut self, opened: &Opened, share: usize, own: TenantDay, rows: &mut DayRows) -> Left {
        if self.failed.contains(&own.tenant) {
            rows.push_unanswered(share, &own);
            self.report.failed.entry(own.tenant).or_default();
            return Left::NoState;
        }
        let mut rolled = match own.rolled {
            Ok(rolled) => rolled,
            Err(ref problem) => {
                rows.push_unanswered(share, &own);
                self.report.failed.insert(own.tenant, problem.to_string());
                return Left::NoState;
            }
        };
        if own.rows == 0 && !opened.openings.contains_key(&own.tenant) {
            rows.push_vanished(share, &own.tenant);
            return Left::Vanished;
        }
        let asked_of_day = rolled.wanted.len().saturating_sub(opened.hour_questions.len());
        let carried = std::mem::take(&mut rolled.carried);
        let tenant = (own.tenant.as_str(), own.rows);
        let pushed = rows.push_rolled(share, tenant, &rolled, asked_of_day, &self.settings.catalog);
        if let Err(why) = pushed {
            self.report.failed.insert(own.tenant, why);
        }
        Left::State(carried)
    }
}

/// A day's files, and those with corrections of events of any day.
fn files_of(usage: &TableSnapshot, day: i32) -> Vec<DataFile> {
    usage.files.iter().filter(|file| file.day == day || file.is_correction()).cloned().collect()
}

impl RollUpReport {
    /// Tenants whose days cannot be folded from here on, and days that do not fit the tables, with the reason.
    pub fn reasons(&self) -> impl Iterator<Item = (&str, &str)> {
        let known: &BTreeMap<String, String> = &self.failed;
        known.iter().filter(|(_, why)| !why.is_empty()).map(|(tenant, why)| (tenant.as_str(), why.as_str()))
    }
}
