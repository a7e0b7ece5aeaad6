//! Whose usage may have changed since an invoice was rated.
//!
//! Owns a quick look that may say too much and never too little. First the files of both versions are compared by day:
//! mostly no earlier day has changed, and nothing else is read. Where one has, the log tells whose rows came and went.

use std::collections::{BTreeMap, BTreeSet};

use ::sql::lake::{Lake, Table, TableHandle, TableSnapshot};
use ::sql::quantities::tells_of_earlier_days;
use ::sql::rollups::{EVERY_DAY, Touch, touched};
use anyhow::Result;
use rating::catalog::Catalog;
use rating::period::Span;

/// Entries of the log are read one by one; beyond so many, everybody with usage on a changed day is rated again.
const LOG_ENTRIES_MAX: u64 = 20_000;
const DAY_US: i64 = 86_400_000_000;

/// What changed between earlier versions and the one that is rated.
pub struct Changes<'c> {
    table: TableHandle,
    now: Option<&'c TableSnapshot>,
    /// Whether what happens on a day may be told on a later one.
    tells_later: bool,
    known: BTreeMap<i64, Since>,
}

/// What changed since one version.
pub trait ChangesSince {
    /// Whether an event of the tenant was voided or amended.
    fn is_amended(&self, tenant: &str) -> bool;
    /// Whether something changed that may count in the span, or in what was carried into it.
    fn may_count(&self, tenant: &str, span: Span) -> bool;
}

#[derive(Debug, Default)]
struct Since {
    days: BTreeMap<i32, Touch>,
    tells_later: bool,
}

impl<'c> Changes<'c> {
    pub fn new(lake: &Lake, now: Option<&'c TableSnapshot>, catalog: &Catalog) -> Self {
        Self {
            table: lake.table(Table::UsageEvents),
            now,
            tells_later: catalog.meters.iter().any(tells_of_earlier_days),
            known: BTreeMap::new(),
        }
    }

    pub async fn since(&mut self, version: i64) -> Result<&impl ChangesSince> {
        if !self.known.contains_key(&version) {
            let days = match self.now {
                Some(now) => self.days_since(version, now).await?,
                None => BTreeMap::new(),
            };
            self.known.insert(version, Since { days, tells_later: self.tells_later });
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
        let paths = |snapshot: &TableSnapshot| -> BTreeSet<(i32, String)> {
            snapshot.files.iter().map(|file| (file.day, file.path.clone())).collect()
        };
        let changed: BTreeSet<i32> =
            paths(&then).symmetric_difference(&paths(now)).map(|(day, _)| *day).collect();
        if changed.is_empty() {
            return Ok(BTreeMap::new());
        }
        if now.version - version > LOG_ENTRIES_MAX {
            return Ok(everybody(changed));
        }
        match touched(&self.table, version, now.version).await? {
            Some(days) => Ok(days),
            None => Ok(everybody(changed)),
        }
    }
}

impl ChangesSince for Since {
    fn is_amended(&self, tenant: &str) -> bool {
        self.days.get(&EVERY_DAY).is_some_and(|touch| touch.is_of(tenant))
    }

    fn may_count(&self, tenant: &str, span: Span) -> bool {
        self.days.iter().any(|(day, touch)| {
            (self.tells_later || i128::from(*day) * i128::from(DAY_US) < i128::from(span.end_us))
                && touch.is_of(tenant)
        })
    }
}
