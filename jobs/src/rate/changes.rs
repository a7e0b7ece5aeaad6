//! Whose usage may have changed since an invoice was rated.
//!
//! Owns a quick look that may say too much and never too little. The files of both versions are compared: where some only
//! came, their tenants are read; where some went as well (a day was compacted), the log tells whose rows came and went.

use std::collections::{BTreeMap, BTreeSet};

use ::sql::lake::{DataFile, Lake, Table, TableHandle, TableSnapshot};
use ::sql::quantities::tells_of_earlier_days;
use ::sql::rollups::{EVERY_DAY, Touch, tenants_of, touched};
use anyhow::Result;
use rating::catalog::Catalog;
use rating::period::Span;

/// Entries of the log are read one by one; beyond so many, everybody is rated again of whose days files went.
const LOG_ENTRIES_MAX: u64 = 20_000;
const DAY_US: i64 = 86_400_000_000;

/// What changed between earlier versions and the one that is rated.
#[derive(Debug)]
pub struct Changes<'c> {
    table: TableHandle,
    now: Option<&'c TableSnapshot>,
    /// Days from here on matter to nobody, unless they may tell of earlier ones.
    until_us: i64,
    tells_later: bool,
    known: BTreeMap<i64, ChangedSince>,
}

/// What changed since one version.
#[derive(Debug)]
pub struct ChangedSince {
    days: BTreeMap<i32, Touch>,
    tells_later: bool,
}

impl<'c> Changes<'c> {
    pub fn new(lake: &Lake, now: Option<&'c TableSnapshot>, catalog: &Catalog, until_us: i64) -> Self {
        Self {
            table: lake.table(Table::UsageEvents),
            now,
            until_us,
            tells_later: catalog.meters.iter().any(tells_of_earlier_days),
            known: BTreeMap::new(),
        }
    }

    pub async fn since(&mut self, version: i64) -> Result<&ChangedSince> {
        if !self.known.contains_key(&version) {
            let days = match self.now {
                Some(now) => self.days_since(version, now).await?,
                None => BTreeMap::new(),
            };
            self.known.insert(version, ChangedSince { days, tells_later: self.tells_later });
        }
        Ok(&self.known[&version])
    }

    async fn days_since(&self, version: i64, now: &TableSnapshot) -> Result<BTreeMap<i32, Touch>> {
        let everybody = |days: BTreeSet<i32>| days.into_iter().map(|day| (day, Touch::Everybody)).collect();
        // Before the first event there was no version.
        let Ok(version) = u64::try_from(version) else {
            return Ok(everybody(now.files.iter().map(|file| file.day).collect()));
        };
        if version >= now.version {
            return Ok(BTreeMap::new());
        }
        let then = self.table.snapshot(Some(version)).await?;
        let paths = |snapshot: &TableSnapshot| -> BTreeSet<String> {
            snapshot.files.iter().map(|file| file.path.clone()).collect()
        };
        let (before, after) = (paths(&then), paths(now));
        let matters = |file: &&DataFile| {
            self.tells_later || file.is_correction() || i64::from(file.day) * DAY_US < self.until_us
        };
        let gone = then.files.iter().filter(matters).filter(|file| !after.contains(&file.path));
        let unclear: BTreeSet<i32> = gone.map(|file| file.day).collect();
        if !unclear.is_empty()
            && now.version - version <= LOG_ENTRIES_MAX
            && let Some(days) = touched(&self.table, version, now.version).await?
        {
            return Ok(days);
        }
        let mut days: BTreeMap<i32, Touch> = everybody(unclear);
        for file in now.files.iter().filter(matters).filter(|file| !before.contains(&file.path)) {
            let day = if file.is_correction() { EVERY_DAY } else { file.day };
            let touch = days.entry(day).or_insert_with(|| Touch::Tenants(BTreeSet::new()));
            let Touch::Tenants(known) = touch else { continue };
            match tenants_of(&self.table, file.clone()).await {
                Some(tenants) => known.extend(tenants),
                None => *touch = Touch::Everybody,
            }
        }
        Ok(days)
    }
}

impl ChangedSince {
    /// What was touched of the days before an instant, each by itself; voids and amendments are of no day.
    pub fn days_before(&self, end_us: i64) -> impl Iterator<Item = (i32, &Touch)> {
        let is_before = move |day: i32| day != EVERY_DAY && i64::from(day) * DAY_US < end_us;
        self.days.iter().map(|(day, touch)| (*day, touch)).filter(move |(day, _)| is_before(*day))
    }

    /// Days before an instant of which rows of the tenant came. Where nobody knows whose rows came, none is said.
    pub fn days_of(&self, tenant: &str, end_us: i64) -> impl Iterator<Item = i32> {
        let is_over = move |day: i32| i128::from(day + 1) * i128::from(DAY_US) <= i128::from(end_us);
        let own = move |touch: &Touch| matches!(touch, Touch::Tenants(tenants) if tenants.contains(tenant));
        let days =
            self.days.iter().filter(move |(day, touch)| **day != EVERY_DAY && is_over(**day) && own(touch));
        days.map(|(day, _)| *day)
    }

    /// Whether an event of the tenant was voided or amended.
    pub fn is_amended(&self, tenant: &str) -> bool {
        self.days.get(&EVERY_DAY).is_some_and(|touch| touch.is_of(tenant))
    }

    /// Whether something changed that may count in the span, or in what was carried into it.
    pub fn may_count(&self, tenant: &str, span: Span) -> bool {
        self.days.iter().any(|(day, touch)| self.reaches(*day, span) && touch.is_of(tenant))
    }

    /// The same without what was voided or amended.
    pub fn has_new_rows(&self, tenant: &str, span: Span) -> bool {
        let mut days = self.days.iter().filter(|(day, _)| **day != EVERY_DAY);
        days.any(|(day, touch)| self.reaches(*day, span) && touch.is_of(tenant))
    }

    fn reaches(&self, day: i32, span: Span) -> bool {
        self.tells_later || i128::from(day) * i128::from(DAY_US) < i128::from(span.end_us)
    }
}
