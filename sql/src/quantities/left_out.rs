//! Tenants that an answer is without.
//!
//! Owns noting them while a query runs. A tenant that cannot be rated shall not take the answer from all others, and shall
//! not be missing silently either: whoever gives the rows to people tells them of it. Where nobody would, as on a cluster,
//! such a tenant is an error.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use super::TenantFailure;
use super::answers::with_causes;

/// An extension of the session's settings.
#[derive(Debug, Default)]
pub struct LeftOut(Mutex<BTreeMap<String, String>>);

/// A tenant without rows, and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("tenant {tenant} cannot be rated: {reason}")]
pub struct LeftOutTenant {
    pub tenant: String,
    pub reason: String,
}

impl LeftOut {
    pub(super) fn note(&self, left_out: LeftOutTenant) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(left_out.tenant, left_out.reason);
    }

    /// Those that nobody was told of yet.
    pub fn take(&self) -> Vec<LeftOutTenant> {
        let noted = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        noted.into_iter().map(|(tenant, reason)| LeftOutTenant { tenant, reason }).collect()
    }
}

impl From<TenantFailure> for LeftOutTenant {
    fn from(TenantFailure { tenant, source }: TenantFailure) -> Self {
        Self { tenant, reason: with_causes(&source) }
    }
}
