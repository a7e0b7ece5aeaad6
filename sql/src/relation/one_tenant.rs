//! What one tenant may know of the catalog.
//!
//! Owns taking out everything else, so that tables, functions and quantities that are made from the rest cannot show
//! it: the other tenants, plans that the tenant does not have, and what usage costs the vendor.

use rating::catalog::Catalog;

/// The catalog as if it had this tenant only.
pub(crate) fn catalog_of_one_tenant(whole: &Catalog, tenant: &str) -> Catalog {
    let mut catalog = whole.clone();
    catalog.tenants.retain(|terms| terms.key == tenant);
    catalog.costs.clear();
    if !catalog.tenants.is_empty() {
        catalog.other_tenants = None;
    }
    let terms = catalog.tenants.iter().chain(&catalog.other_tenants);
    let own: Vec<String> =
        terms.flat_map(|terms| &terms.subscriptions).map(|subscription| subscription.plan.clone()).collect();
    catalog.plans.retain(|plan| own.contains(&plan.key));
    catalog
}
