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

#[derive(Debug)]
pub(crate) struct SessionCatalogs {
    /// What the session may see of the catalog that it was opened with.
    pub own: Arc<Catalog>,
    pub of_periods: Option<Arc<dyn PeriodCatalogs>>,
    pub tenant: Option<String>,
    pub(super) runner: Runner,
}

impl SessionCatalogs {
    /// One catalog for all periods.
    pub fn only(catalog: Arc<Catalog>) -> Self {
        Self { own: catalog, of_periods: None, tenant: None, runner: Runner::Here }
    }

    pub async fn of_period(&self, period: PeriodChoice) -> Result<Arc<Catalog>, DataFusionError> {
        let Some(of_periods) = &self.of_periods else { return Ok(Arc::clone(&self.own)) };
        let found = of_periods.of_period(period).await;
        let Some((catalog, text)) = found.map_err(|error| plan_datafusion_err!("{error}"))? else {
            return Ok(Arc::clone(&self.own));
        };
        self.runner.know(&catalog, &text);
        Ok(match &self.tenant {
            Some(tenant) => Arc::new(catalog_of_one_tenant(&catalog, tenant)),
            None => catalog,
        })
    }
}
