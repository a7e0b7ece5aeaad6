//! Which catalog a period is rated with.
//!
//! Owns the rule: once a catalog was applied to the book, the version that is in force at the end of the month that names
//! the period (UTC, the last instant before the next month) rates all tenants of that month; before, the settings' file
//! does. A file that the command names comes before both. Prices that change inside a period are the catalog's own
//! matter: its plans have versions with dates. What is of no period (roll-ups) goes by what is in force now.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Result, bail};
use jiff::ToSpan as _;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use rating::catalog::Catalog;
use rating::period::PeriodChoice;

use crate::book::{AppliedCatalog, Book};
use crate::cli::parse_catalog;
use crate::config::Config;
use crate::runs::instant;

/// A catalog, and what people are told of it.
#[derive(Debug, Clone)]
pub struct ChosenCatalog {
    pub catalog: Arc<Catalog>,
    /// What it was read from, comments included.
    pub content: Arc<str>,
    /// Its name where a line says from where its price is.
    pub file: String,
    /// In a sentence: which one, and why.
    pub told: String,
}

impl ChosenCatalog {
    /// The catalog of a file.
    pub fn of_file(path: &Path, why: &str) -> Result<Self> {
        let (catalog, content) = parse_catalog(path)?;
        let file = path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
        let told = format!("rated with {}: {why}", path.display());
        Ok(Self { catalog: Arc::new(catalog), content: content.into(), file, told })
    }

    /// The catalog for a period; `named` is the file that the command names.
    pub async fn for_period(
        book: Option<&Book>,
        config: &Config,
        period: PeriodChoice,
        named: Option<&Path>,
    ) -> Result<Self> {
        if let Some(path) = named {
            return Self::of_file(
                path,
                "named by --catalog; what it makes cannot be issued unless it is applied",
            );
        }
        let when = format!("at the end of {}", month_of(period));
        Self::in_force(book, config, deciding_instant_us(period), &when).await?.or_fail(&when)
    }

    /// The catalog for a period; none before the first one that was applied holds.
    pub async fn find_for_period(
        book: Option<&Book>,
        config: &Config,
        period: PeriodChoice,
    ) -> Result<Option<Self>> {
        let when = format!("at the end of {}", month_of(period));
        match Self::in_force(book, config, deciding_instant_us(period), &when).await? {
            InForce::Found(chosen) => Ok(Some(chosen)),
            InForce::NotYet(_) => Ok(None),
        }
    }

    /// The catalog that is in force now.
    pub async fn for_now(book: Option<&Book>, config: &Config) -> Result<Self> {
        let now_us = now_us(book).await?;
        Self::in_force(book, config, now_us, "now").await?.or_fail("now")
    }

    async fn in_force(book: Option<&Book>, config: &Config, at_us: i64, when: &str) -> Result<InForce> {
        let from_settings =
            || Self::of_file(&config.catalog, "no catalog was applied to the book yet").map(InForce::Found);
        let Some(book) = book else { return from_settings() };
        if let Some(found) = book.catalog_in_force(at_us).await? {
            let AppliedCatalog { version, applied_by, .. } = &found.applied;
            return Ok(InForce::Found(Self {
                file: format!("catalog-{version}.yaml"),
                told: format!(
                    "rated with catalog version {version} of the book (applied by {applied_by}), in force {when}"
                ),
                catalog: Arc::new(found.catalog),
                content: found.content.into(),
            }));
        }
        match book.catalog_history().await?.into_iter().min_by_key(|known| known.effective_from_us) {
            None => from_settings(),
            Some(first) => Ok(InForce::NotYet(first)),
        }
    }
}

enum InForce {
    Found(ChosenCatalog),
    /// The first catalog that was applied holds from later on.
    NotYet(AppliedCatalog),
}

impl InForce {
    fn or_fail(self, when: &str) -> Result<ChosenCatalog> {
        match self {
            Self::Found(chosen) => Ok(chosen),
            Self::NotYet(first) => bail!(
                "no catalog is in force {when}: the first one, version {}, holds from {} on; apply one with an \
                 earlier --effective-from",
                first.version,
                instant(first.effective_from_us)
            ),
        }
    }
}

/// What time it is: by the book's clock, so that all machines agree; by this machine's where there is no book.
pub async fn now_us(book: Option<&Book>) -> Result<i64> {
    match book {
        Some(book) => Ok(book.now_us().await?),
        None => Ok(jiff::Timestamp::now().as_microsecond()),
    }
}

/// The last instant of the month that names a period, in UTC.
pub fn deciding_instant_us(period: PeriodChoice) -> i64 {
    let (PeriodChoice::Month(day) | PeriodChoice::Day(day)) = period;
    let next = day.first_of_month().checked_add(1.month()).ok();
    let end = next.and_then(|next: Date| next.to_zoned(TimeZone::UTC).ok());
    end.map_or(i64::MAX, |end| end.timestamp().as_microsecond() - 1)
}

fn month_of(period: PeriodChoice) -> PeriodChoice {
    let (PeriodChoice::Month(day) | PeriodChoice::Day(day)) = period;
    PeriodChoice::Month(day.first_of_month())
}
