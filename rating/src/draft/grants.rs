//! Credits that the catalog grants, as balances for the ledger to begin with.

use crate::catalog::{Catalog, Tenant};
use crate::invoice::credit::Credit;
use crate::period::MICROSECONDS_PER_HOUR;

const MICROSECONDS_PER_DAY: i64 = 24 * MICROSECONDS_PER_HOUR;

/// What a tenant is granted with its first subscription: each grant once, in full. What was drawn from it since is for
/// whoever keeps the ledger. Grants are in the catalog's currency: who is billed in another has none.
pub fn granted_credits(catalog: &Catalog, terms: &Tenant) -> Vec<Credit> {
    let Some(start_us) = terms.subscriptions.iter().map(|subscription| subscription.span.start_us).min()
    else {
        return Vec::new();
    };
    let mut plans = terms.subscriptions.iter().filter_map(|subscription| catalog.plan(&subscription.plan));
    if plans.any(|plan| Some(plan.currency) != catalog.currency) {
        return Vec::new();
    }
    let is_meant = |grant: &&crate::catalog::Grant| {
        let has = |(name, values): (&String, &Vec<String>)| {
            terms.attributes.get(name).is_some_and(|value| values.contains(value))
        };
        grant.only.iter().all(has)
    };
    let credit = |grant: &crate::catalog::Grant| Credit {
        id: grant.key.clone(),
        priority: grant.priority.into(),
        granted_us: start_us,
        effective_us: start_us,
        expires_us: grant
            .expires_after_days
            .map(|days| start_us.saturating_add(i64::from(days).saturating_mul(MICROSECONDS_PER_DAY))),
        balance: grant.amount,
    };
    catalog.credits.grants.iter().filter(is_meant).map(credit).collect()
}
