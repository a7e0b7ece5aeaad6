//! The catalogs of the book, by the periods that they rate.

use std::collections::BTreeMap;

use ::sql::session::{CatalogWithText, PeriodCatalogs};
use futures::future::BoxFuture;
use jiff::Timestamp;
use rating::period::PeriodChoice;
use tokio::sync::Mutex;

use crate::book::Book;
use crate::catalog::chosen::{ChosenCatalog, deciding_instant_us};
use crate::config::Config;

/// Answers by the rule of `ChosenCatalog`.
#[derive(Debug)]
pub struct PeriodCatalogsOf {
    book: Book,
    config: Config,
    /// When the session was opened, which has the catalog of that instant.
    opened_us: i64,
    /// By version: a catalog can be large, and does not change.
    known: Mutex<BTreeMap<i64, CatalogWithText>>,
}

impl PeriodCatalogsOf {
    pub fn new(book: Book, config: Config) -> Self {
        let opened_us = Timestamp::now().as_microsecond();
        Self { book, config, opened_us, known: Mutex::default() }
    }

    async fn find(&self, period: PeriodChoice) -> anyhow::Result<Option<CatalogWithText>> {
        let version_at = async |at_us: i64| {
            let found = self.book.catalog_version_in_force(at_us).await?;
            anyhow::Ok(found.map(|found| found.version))
        };
        let version = version_at(deciding_instant_us(period)).await?;
        if version == version_at(self.opened_us).await? {
            return Ok(None);
        }
        let mut known = self.known.lock().await;
        if let Some(found) = version.and_then(|version| known.get(&version)) {
            return Ok(Some(found.clone()));
        }
        let chosen = ChosenCatalog::for_period(Some(&self.book), &self.config, period, None).await?;
        let found = (chosen.catalog, chosen.content);
        if let Some(version) = version {
            known.insert(version, found.clone());
        }
        Ok(Some(found))
    }
}

impl PeriodCatalogs for PeriodCatalogsOf {
    fn of_period(&self, period: PeriodChoice) -> BoxFuture<'_, Result<Option<CatalogWithText>, String>> {
        Box::pin(async move { self.find(period).await.map_err(|error| format!("{error:#}")) })
    }
}
