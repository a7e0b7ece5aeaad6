//! Which catalog a period is counted and priced by in a session.
//!
//! Owns asking for the catalog that was in force for the period, so that `quantities` and `charges` say of it what its
//! invoices say, and taking from it what the session may not show. Does not own which one that is (`jobs`).

use std::fmt;
use std::sync::Arc;

use datafusion::common::plan_datafusion_err;
use datafusion::error::DataFusionError;
use futures::future::BoxFuture;
use rating::catalog::Catalog;
use rating::period::PeriodChoice;

use super::engine::Runner;
use crate::relation::catalog_of_one_tenant;

/// A catalog, and what it was read from.
pub type CatalogWithText = (Arc<Catalog>, Arc<str>);

/// The catalogs of periods, where these have several.
pub trait PeriodCatalogs: fmt::Debug + Send + Sync {
    /// Nothing where it is the session's own. An error says in a sentence why there is none.
    fn of_period(&self, period: PeriodChoice) -> BoxFuture<'_, Result<Option<CatalogWithText>, String>>;
}

/// The same as a session may see them.
#[derive(Debug)]
pub struct SessionCatalogs {
    pub(super) of_periods: Arc<dyn PeriodCatalogs>,
    pub(super) tenant: Option<String>,
    pub(super) runner: Runner,
}

impl SessionCatalogs {
    /// Nothing where it is the session's own.
    pub(crate) async fn of_period(
        &self,
        period: PeriodChoice,
    ) -> Result<Option<Arc<Catalog>>, DataFusionError> {
        let found = self.of_periods.of_period(period).await;
        let Some((catalog, text)) = found.map_err(|error| plan_datafusion_err!("{error}"))? else {
            return Ok(None);
        };
        self.runner.know(&catalog, &text);
        Ok(Some(match &self.tenant {
            Some(tenant) => Arc::new(catalog_of_one_tenant(&catalog, tenant)),
            None => catalog,
        }))
    }
}
