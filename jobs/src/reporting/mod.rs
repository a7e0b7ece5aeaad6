//! Opens the session in which people's queries, reports and exports run: the lake, the catalog, and the book.
//!
//! Owns what stands beside the lake in such a session. Does not own what it shows (`sql::relation`).

mod book_source;
mod period_catalogs;

use std::sync::Arc;

use ::sql::lake::Lake;
use ::sql::session::{LakeSession, SessionSettings, Sources, open_session_over};
use anyhow::Result;
use jiff::Timestamp;

pub use book_source::BookRowsOf;
use period_catalogs::PeriodCatalogsOf;

use crate::book::Book;
use crate::catalog::chosen::ChosenCatalog;
use crate::config::Config;

/// What a query is told that needs a book which cannot be read; the log says more, which is not for everybody.
const NO_BOOK: &str = "the book, which knows the catalogs in force, cannot be read; the reason was logged";

/// What stands beside the lake; the catalog is the one in force now, and for a period that of the period. Without a catalog
/// that can be read, or without a book, the lake alone can be queried; the reason then is a warning on standard error. A book that
/// is there and cannot be read takes the catalog along: the settings' file may be another than the one in force.
pub async fn sources(config: &Config) -> Sources {
    let book = match Book::existing_of(config).await {
        Ok(book) => book,
        Err(error) => {
            tracing::warn!(
                "the book cannot be read, so there are no catalog, runs and Stripe records: {error}"
            );
            return Sources { unavailable: Some(NO_BOOK.to_owned()), ..sources_of(None, None) };
        }
    };
    let catalog = ChosenCatalog::for_now(book.as_ref(), config)
        .await
        .inspect_err(|error| tracing::warn!("there are no quantities and prices: {error:#}"))
        .ok();
    let catalogs = book.clone().map(|book| PeriodCatalogsOf::new(book, config.clone()));
    Sources { period_catalogs: catalogs.map(|catalogs| Arc::new(catalogs) as _), ..sources_of(book, catalog) }
}

fn sources_of(book: Option<Book>, catalog: Option<ChosenCatalog>) -> Sources {
    let (catalog, catalog_text) = catalog.map(|chosen| (chosen.catalog, chosen.content)).unzip();
    Sources {
        catalog,
        catalog_text,
        period_catalogs: None,
        unavailable: None,
        book: book.map(|book| Arc::new(BookRowsOf(book)) as _),
        now_us: Timestamp::now().as_microsecond(),
    }
}

pub async fn open(config: &Config, settings: &SessionSettings) -> Result<LakeSession> {
    let lake = Lake::open(&config.lake)?;
    Ok(open_session_over(&lake, settings, &sources(config).await).await?)
}

/// A session that counts by this catalog, which need not be the one in force now.
pub async fn open_with(
    config: &Config,
    settings: &SessionSettings,
    book: Option<Book>,
    catalog: ChosenCatalog,
) -> Result<LakeSession> {
    let lake = Lake::open(&config.lake)?;
    Ok(open_session_over(&lake, settings, &sources_of(book, Some(catalog))).await?)
}
