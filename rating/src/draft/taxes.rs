//! Which tax a line of an invoice has: its own lines that of the tenant now, a correction that of the corrected period.
//!
//! Owns that what is taken back is taken back with the tax that was charged on it, whatever the tenant owes since.

use std::collections::BTreeMap;

use rust_decimal::Decimal;

use super::CorrectedWith;
use crate::catalog::{Catalog, Tenant};
use crate::invoice::tax::{OneRate, TaxRule};
use crate::line::LineItem;

#[derive(Debug)]
pub(super) struct TaxesOfThen {
    now: Option<OneRate>,
    /// By the names of corrected periods.
    then: BTreeMap<String, Option<OneRate>>,
}

impl TaxesOfThen {
    pub fn new(now: Option<OneRate>, tenant: &str, corrected: &CorrectedWith<'_>) -> TaxesOfThen {
        let then = corrected.iter().map(|(period, catalog)| {
            let terms = catalog.tenant_terms(tenant);
            ((*period).to_owned(), terms.and_then(|terms| tax_of(catalog, terms)))
        });
        TaxesOfThen { now, then: then.collect() }
    }
}

impl TaxRule for TaxesOfThen {
    fn rates(&self, line: &LineItem) -> Vec<(String, Decimal)> {
        let then = line.corrects.as_ref().and_then(|_| self.then.get(&line.key.period));
        then.unwrap_or(&self.now).iter().flat_map(|tax| tax.rates(line)).collect()
    }
}

pub(super) fn tax_of(catalog: &Catalog, terms: &Tenant) -> Option<OneRate> {
    let tax = catalog.tax(terms.tax.as_deref()?)?;
    Some(OneRate { name: tax.description.clone(), rate_percent: tax.percent.normalize() })
}
