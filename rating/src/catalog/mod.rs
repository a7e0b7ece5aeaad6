//! The catalog: what is metered and what it costs, as one YAML file that people write and review.
//!
//! Owns: reading the file, finding every mistake in it at once with line and column, and the definitions that
//! the rest of the house works from. Does not own: reading files from disk, decoding events, arithmetic. It
//! keeps the rules of DESIGN.md 3.1 and 3.5-3.8 that can be checked before any usage exists.

mod mistake;
mod yaml;

#[macro_use]
mod fields;
mod number;
mod path;
mod unit;
mod when;

mod meter;
mod session;

mod stripe;

mod matrix;
mod model;
mod pool;
mod price;
mod terms;

mod item;
mod plan;
mod quota;

mod overrides;
mod tenant;

mod advice;
mod canonical;
mod describe;
mod diff;
mod in_force;
mod read;

#[cfg(test)]
mod tests;

pub use advice::Advice;
pub use diff::diff;
pub use in_force::PriceSpan;
pub use item::{Credits, Grant, Item, QuotaRaise, Tax};
pub use meter::{Condition, ExcessDigits, Meter, MeterKind, WhenMissing};
pub use mistake::{CatalogErrors, Mistake, Place};
pub use model::ModelSource;
pub use overrides::{Override, OverrideTarget};
pub use path::Path;
pub use plan::{Plan, PlanVersion};
pub use price::{Price, PricedUsage};
pub use quota::{CleanUp, Limit, Quota, QuotaWindow, Retention, WhenReached};
pub use session::SessionPaths;
pub use stripe::{
    StripeAction, StripeCustomer, StripeGranularity, StripeInvoices, StripeQuantity, StripeSending,
    StripeUsage,
};
pub use tenant::{Subscription, Tenant};
pub use terms::TermsChange;
pub use unit::{Measures, Unit};
pub use when::When;

use crate::money::{Currency, MoneyRounding};
use mistake::Mistakes;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Catalog {
    pub name: String,
    /// Where an event names its tenant: `subject` unless the catalog says otherwise.
    pub tenant: Path,
    /// In the order of the file, as are all lists below.
    pub meters: Vec<Meter>,
    /// Of plans and items that name none of their own.
    pub currency: Option<Currency>,
    pub line_rounding: MoneyRounding,
    pub plans: Vec<Plan>,
    pub items: Vec<Item>,
    /// What usage costs the vendor, priced like any usage but never charged: the margin's other side.
    pub costs: Vec<Price>,
    pub credits: Credits,
    pub taxes: Vec<Tax>,
    /// How the invoices of tenants reach Stripe.
    pub stripe_invoices: StripeInvoices,
    pub tenants: Vec<Tenant>,
    /// What every tenant has that `tenants` does not name; without it such a tenant is not set up yet.
    pub other_tenants: Option<Tenant>,
    /// BLAKE3 of the canonical form: comments, layout and quoting do not count, everything else does.
    pub hash: blake3::Hash,
}

impl Catalog {
    /// Reads a catalog, or says everything that is wrong with it.
    ///
    /// `file_name` only serves to name the file in the mistakes; nothing is read from disk.
    pub fn parse(text: &str, file_name: &str) -> Result<Self, CatalogErrors> {
        let mut mistakes = Mistakes::new(text);
        let catalog = yaml::read(text, &mut mistakes).and_then(|node| read::catalog(&node, &mut mistakes));
        match catalog {
            Some(catalog) if mistakes.is_empty() => Ok(catalog),
            _ => Err(mistakes.into_errors(file_name)),
        }
    }

    pub fn meter(&self, key: &str) -> Option<&Meter> {
        self.meters.iter().find(|meter| meter.key == key)
    }

    pub fn plan(&self, key: &str) -> Option<&Plan> {
        self.plans.iter().find(|plan| plan.key == key)
    }

    pub fn item(&self, key: &str) -> Option<&Item> {
        self.items.iter().find(|item| item.key == key)
    }

    pub fn tax(&self, key: &str) -> Option<&Tax> {
        self.taxes.iter().find(|tax| tax.key == key)
    }

    /// Whether any plan or item charges for the meter. Usage of one that nobody prices is only measured; usage of one
    /// that is priced, but not for this tenant, deserves a warning.
    pub fn is_priced(&self, meter: &str) -> bool {
        let plans = self.plans.iter().flat_map(|plan| &plan.versions).flat_map(|version| &version.prices);
        let items = self.items.iter().filter_map(|item| item.price.as_ref());
        plans.chain(items).any(|price| price.usage.as_ref().is_some_and(|usage| usage.meter == meter))
    }

    /// The tenant's own entry, or the terms of all others; none if the tenant is not set up.
    pub fn tenant_terms(&self, key: &str) -> Option<&Tenant> {
        self.tenants.iter().find(|tenant| tenant.key == key).or(self.other_tenants.as_ref())
    }
}
