//! The tenants of a catalog by name, for who asks for many: a catalog looks through its list from the beginning.

use std::collections::HashMap;
use std::sync::Arc;

use rating::catalog::{Catalog, Tenant};

#[derive(Debug, Clone)]
pub(crate) struct TenantTerms {
    catalog: Arc<Catalog>,
    places: Arc<HashMap<String, usize>>,
}

impl TenantTerms {
    pub fn new(catalog: &Arc<Catalog>) -> Self {
        let places = catalog.tenants.iter().enumerate().map(|(at, terms)| (terms.key.clone(), at));
        Self { places: Arc::new(places.collect()), catalog: Arc::clone(catalog) }
    }

    pub fn catalog(&self) -> &Arc<Catalog> {
        &self.catalog
    }

    /// The tenant's own entry, if it has one.
    pub fn named(&self, tenant: &str) -> Option<&Tenant> {
        self.places.get(tenant).map(|at| &self.catalog.tenants[*at])
    }

    /// What `Catalog::tenant_terms` has.
    pub fn of(&self, tenant: &str) -> Option<&Tenant> {
        self.named(tenant).or(self.catalog.other_tenants.as_ref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terms_are_those_of_the_catalog() {
        let plans = "plans: { p: { prices: { fee: { description: Fee, flat: 1 } } } }";
        let tenants = "tenants: { b: { name: B, subscriptions: [] }, a: { name: A, subscriptions: [] } }";
        for others in ["", "other_tenants: { subscriptions: [] }"] {
            let meters = "meters: { calls: { kind: delta, event_type: call, unit: call } }";
            let text = format!("catalog: t\ncurrency: EUR\n{meters}\n{plans}\n{tenants}\n{others}\n");
            let catalog = Arc::new(Catalog::parse(&text, "t.yaml").unwrap());
            let terms = TenantTerms::new(&catalog);
            for tenant in ["a", "b", "c"] {
                assert_eq!(terms.of(tenant), catalog.tenant_terms(tenant), "{tenant} {others}");
            }
            assert_eq!(terms.named("a").unwrap().name, "A");
            assert_eq!(terms.named("c"), None);
        }
    }
}
