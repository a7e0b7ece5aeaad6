//! Charges as a table: what the usage of a period costs, by the catalog of the session.
//!
//! Owns the rows: every line that an invoice would have, what levels would cost by their peak and by their average, what
//! the usage costs the vendor, and how far the tenant's limits are used up; and what has to be asked for the kinds of rows
//! that a query wants. Does not own the arithmetic (`rating::draft`). Nothing here looks at invoices; a period that goes on
//! is rated as if its levels stayed as they are.

mod columns;
mod kinds;
mod rows;

use rating::catalog::{Catalog, Limit, Quota, QuotaWindow, Tenant};
use rating::draft::{Charges, DemandOptions};
use rating::period::{Period, Span};
use rating::quota;
use rating::usage::Demand;

pub(super) use columns::CHARGES;
pub(crate) use columns::columns;
pub use kinds::{ChargeKind, ChargeKinds};
pub(super) use rows::batch;

/// What rows of these kinds need to know of a tenant's usage.
pub(super) fn demand(
    catalog: &Catalog,
    terms: &Tenant,
    period: Period,
    tenant: &str,
    kinds: ChargeKinds,
) -> Demand {
    let span = period.span;
    let mut demand = if kinds.need_prices() {
        let options = DemandOptions { unpriced_usage: false, costs: kinds.have(ChargeKind::Cost) };
        Charges::new(catalog, terms, period).demand(tenant, options)
    } else {
        Demand { tenant: tenant.to_owned(), period, wanted: Vec::new() }
    };
    if kinds.have(ChargeKind::Limit) {
        for (quota, _) in limits(catalog, terms, span) {
            quota::ask(&mut demand, catalog, quota);
        }
    }
    demand
}

/// The limits of a whole period that hold at its end. Those of an hour and of a lifetime are not about the period.
fn limits<'c>(catalog: &'c Catalog, terms: &'c Tenant, period: Span) -> Vec<(&'c Quota, Limit)> {
    let mut limits = catalog.quotas_in_force(terms, period.end_us.saturating_sub(1));
    limits.retain(|(quota, _)| quota.window == QuotaWindow::Period);
    limits
}
