//! Which periods a job means: those of a month, those in which a day lies, or those that ended `last`.
//!
//! A tenant's period belongs to the month in which it starts, and goes by the catalog of that month (`catalog::chosen`).
//! Tenants with other billing cycles have the period of a day, and the one that ended last, in other months. So what
//! `--period` names becomes months, each with its catalog and with what of it is meant, and jobs go through them, the
//! oldest first. Owns that; when a period starts and ends is `rating::period`'s.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::path::Path;
use std::str::FromStr;

use anyhow::{Context, Result};
use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use rating::catalog::{Catalog, Tenant};
use rating::period::{Period, PeriodChoice, PeriodError, PeriodFilter};

use crate::book::Book;
use crate::catalog::chosen::ChosenCatalog;
use crate::config::Config;
use crate::rate::drafts::days;

/// What `--period` names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PeriodArg {
    Chosen(PeriodChoice),
    /// Of each tenant the period that ended last.
    Last,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{text:?} is no period: write a month like 2026-01, a day like 2026-01-15 for the period that it lies in, or `last` for \
     the one that ended last"
)]
pub struct UnknownPeriodArg {
    text: String,
}

impl FromStr for PeriodArg {
    type Err = UnknownPeriodArg;

    fn from_str(text: &str) -> Result<Self, UnknownPeriodArg> {
        if text == "last" {
            return Ok(Self::Last);
        }
        text.parse().map(Self::Chosen).map_err(|_| UnknownPeriodArg { text: text.to_owned() })
    }
}

impl fmt::Display for PeriodArg {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Chosen(choice) => choice.fmt(out),
            Self::Last => out.write_str("last"),
        }
    }
}

/// What people are told where `last` means nothing yet.
pub const NOTHING_ENDED: &str = "no period of any tenant has ended yet; nothing was done";

/// The periods of a month that are meant, and the catalog by which they go.
#[derive(Debug, Clone)]
pub struct PeriodMonth {
    pub month: PeriodChoice,
    pub filter: PeriodFilter,
    /// The newest month also does what is in no tenant's own period: it corrects who has left, and tells what is missing.
    pub is_newest: bool,
    pub chosen: ChosenCatalog,
}

impl PeriodMonth {
    /// Everybody's periods that start in a month.
    pub fn whole(month: PeriodChoice, chosen: ChosenCatalog) -> Self {
        Self { month, filter: PeriodFilter::All, is_newest: true, chosen }
    }

    /// What `RatedTenants::of_month` takes.
    pub fn parts(&self) -> (PeriodChoice, PeriodFilter, bool) {
        (self.month, self.filter, self.is_newest)
    }
}

impl PeriodArg {
    /// The months of the periods that are meant, the oldest first; none where `last` means nothing yet. `ended_by_us` is
    /// the instant by which the last ones ended, and `named` the catalog that the command names.
    pub async fn months(
        self,
        book: Option<&Book>,
        config: &Config,
        named: Option<&Path>,
        ended_by_us: i64,
    ) -> Result<Vec<PeriodMonth>> {
        let (filter, first) = match self {
            Self::Chosen(month @ PeriodChoice::Month(_)) => {
                let chosen = ChosenCatalog::for_period(book, config, month, named).await?;
                return Ok(vec![PeriodMonth::whole(month, chosen)]);
            }
            Self::Chosen(PeriodChoice::Day(day)) => (PeriodFilter::OfDay(day), day),
            Self::Last => (PeriodFilter::LastEnded { by_us: ended_by_us }, utc_day(ended_by_us)?),
        };
        // Each catalog says in which months the periods of its tenants start.
        let mut found: BTreeMap<PeriodChoice, Option<ChosenCatalog>> = BTreeMap::new();
        let mut unknown = BTreeSet::from([PeriodChoice::Month(first.first_of_month())]);
        while let Some(month) = unknown.pop_first() {
            let chosen = match (self, named) {
                (Self::Last, None) => ChosenCatalog::find_for_period(book, config, month).await?,
                _ => Some(ChosenCatalog::for_period(book, config, month, named).await?),
            };
            let months = chosen.as_ref().map(|chosen| months_of(&chosen.catalog, filter)).transpose()?;
            found.insert(month, chosen);
            unknown.extend(months.into_iter().flatten().filter(|month| !found.contains_key(month)));
        }
        let mut meant = Vec::new();
        for (month, chosen) in found {
            let Some(chosen) = chosen else { continue };
            if months_of(&chosen.catalog, filter)?.contains(&month) {
                meant.push(PeriodMonth { month, filter, is_newest: false, chosen });
            }
        }
        if let Some(newest) = meant.last_mut() {
            newest.is_newest = true;
        }
        Ok(meant)
    }
}

fn utc_day(at_us: i64) -> Result<Date> {
    let at = Timestamp::from_microsecond(at_us).context("the time is outside the calendar")?;
    Ok(at.to_zoned(TimeZone::UTC).date())
}

/// The months in which the meant periods of a catalog's tenants start.
fn months_of(catalog: &Catalog, filter: PeriodFilter) -> Result<BTreeSet<PeriodChoice>, PeriodError> {
    let terms = catalog.tenants.iter().chain(&catalog.other_tenants);
    let periods = terms.map(|terms| filter.period(&terms.cycle, &terms.time_zone));
    periods.filter_map(Result::transpose).map(|period| Ok(PeriodChoice::month_of(&period?))).collect()
}

/// Tells of many tenants whether a period of theirs is meant.
#[derive(Debug)]
pub struct MeantPeriods<'m> {
    month: &'m PeriodMonth,
    named: HashMap<&'m str, &'m Tenant>,
}

impl<'m> MeantPeriods<'m> {
    pub fn new(month: &'m PeriodMonth) -> Self {
        let tenants = month.chosen.catalog.tenants.iter();
        Self { month, named: tenants.map(|terms| (terms.key.as_str(), terms)).collect() }
    }

    /// The first day of the month, in days since 1970-01-01.
    pub fn first_day(&self) -> Option<i32> {
        match self.month.month {
            PeriodChoice::Month(first) => Some(days(first)),
            PeriodChoice::Day(_) => None,
        }
    }

    /// Whether the tenant's period of that name is meant, as far as it has one by the catalog.
    pub fn holds_named(&self, tenant: &str, name: &str) -> bool {
        let terms = self.terms(tenant);
        let period = terms.and_then(|terms| self.month.month.period(&terms.cycle, &terms.time_zone).ok()?);
        period.is_some_and(|period| period.name == name && self.holds(tenant, &period).unwrap_or(false))
    }

    fn terms(&self, tenant: &str) -> Option<&'m Tenant> {
        self.named.get(tenant).copied().or(self.month.chosen.catalog.other_tenants.as_ref())
    }

    pub fn holds(&self, tenant: &str, period: &Period) -> Result<bool, PeriodError> {
        let PeriodMonth { filter, is_newest, .. } = self.month;
        match (self.terms(tenant), filter) {
            (_, PeriodFilter::All) => Ok(true),
            (Some(terms), filter) => filter.holds(period, &terms.cycle, &terms.time_zone),
            // Who has left has no calendar any more.
            (None, PeriodFilter::LastEnded { by_us }) => Ok(*is_newest && period.span.end_us <= *by_us),
            (None, PeriodFilter::OfDay(day)) => {
                let date = |text: &str| text.parse::<Date>().ok();
                let dates = date(&period.name).zip(date(&period.end_date));
                Ok(*is_newest && dates.is_some_and(|(start, end)| (start..end).contains(day)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    const CATALOG: &str = "
catalog: t
currency: EUR
meters: { calls: { kind: delta, event_type: call, unit: call } }
plans: { p: { prices: { fee: { description: Fee, flat: 1 } } } }
tenants:
  a: { subscriptions: [] }
  b: { billing: { anchor: 2025-01-15 }, subscriptions: [] }
  c: { billing: { anchor: 2025-11-10, every_months: 3 }, subscriptions: [] }
";

    fn months(text: &str, filter: PeriodFilter) -> Vec<String> {
        let catalog = Catalog::parse(text, "t.yaml").unwrap();
        months_of(&catalog, filter).unwrap().iter().map(ToString::to_string).collect()
    }

    fn last(at: &str) -> PeriodFilter {
        PeriodFilter::LastEnded { by_us: at.parse::<Timestamp>().unwrap().as_microsecond() }
    }

    #[test]
    fn each_cycle_has_its_month() {
        assert_eq!(months(CATALOG, last("2026-02-05T00:00:00Z")), ["2025-08", "2025-12", "2026-01"]);
        assert_eq!(months(CATALOG, last("2026-02-20T00:00:00Z")), ["2025-11", "2026-01"]);
        let day = PeriodFilter::OfDay("2026-02-10".parse().unwrap());
        assert_eq!(months(CATALOG, day), ["2026-01", "2026-02"]);
        assert_eq!(months(CATALOG, PeriodFilter::All), [""; 0]);
    }

    #[test]
    fn of_a_month_only_the_meant_periods_are_taken() {
        let catalog = Arc::new(Catalog::parse(CATALOG, "t.yaml").unwrap());
        let filter = last("2026-02-05T00:00:00Z");
        let chosen = ChosenCatalog {
            catalog: Arc::clone(&catalog),
            content: CATALOG.into(),
            file: String::new(),
            told: String::new(),
        };
        let december = PeriodMonth {
            month: "2025-12".parse().unwrap(),
            filter,
            is_newest: false,
            chosen: chosen.clone(),
        };
        let newest = PeriodMonth { month: "2026-01".parse().unwrap(), filter, is_newest: true, chosen };
        for (month, tenant, is_meant) in
            [(&december, "a", false), (&december, "b", true), (&newest, "a", true), (&newest, "b", false)]
        {
            let terms = catalog.tenant_terms(tenant).unwrap();
            let period = month.month.period(&terms.cycle, &terms.time_zone).unwrap().unwrap();
            assert_eq!(MeantPeriods::new(month).holds(tenant, &period).unwrap(), is_meant, "{tenant}");
        }
        // Somebody whom the catalog has no more.
        let (terms, january) = (&catalog.tenants[0], "2026-01".parse::<PeriodChoice>().unwrap());
        let left = january.period(&terms.cycle, &terms.time_zone).unwrap().unwrap();
        assert!(MeantPeriods::new(&newest).holds("z", &left).unwrap());
        assert!(!MeantPeriods::new(&december).holds("z", &left).unwrap());
    }

    #[test]
    fn periods_are_read_and_shown() {
        for text in ["last", "2026-01", "2026-01-15"] {
            assert_eq!(text.parse::<PeriodArg>().unwrap().to_string(), text);
        }
        let error = "previous".parse::<PeriodArg>().unwrap_err().to_string();
        assert!(error.contains("`last`"), "{error}");
    }
}
