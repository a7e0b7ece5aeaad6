//! Tenants that an answer is without.
//!
//! Owns noting them while a query runs. A tenant that cannot be rated shall not take the answer from all others, and shall
//! not be missing silently either: whoever gives the rows to people tells them of it. Where nobody would, such a tenant is an
//! error; on a cluster it is one by which whoever asked knows the tenants, and asks again without them (`as_message`).

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use super::TenantFailure;

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
    pub(crate) fn note(&self, left_out: LeftOutTenant) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(left_out.tenant, left_out.reason);
    }

    /// Those that nobody was told of yet.
    pub fn take(&self) -> Vec<LeftOutTenant> {
        let noted = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        noted.into_iter().map(|(tenant, reason)| LeftOutTenant { tenant, reason }).collect()
    }
}

/// Begins an error that only says whom an answer would be without.
const MESSAGE: &str = "tenants that cannot be rated: ";

/// Tenants as the text of an error.
pub(super) fn as_message(left_out: &[LeftOutTenant]) -> String {
    let told: Vec<[&str; 2]> =
        left_out.iter().map(|one| [one.tenant.as_str(), one.reason.as_str()]).collect();
    format!("{MESSAGE}{}", serde_json::json!(told))
}

/// The tenants of such a text; none of another.
#[cfg(feature = "cluster")]
pub(crate) fn of_message(text: &str) -> Option<Vec<LeftOutTenant>> {
    let told: Vec<[String; 2]> = serde_json::from_str(text.strip_prefix(MESSAGE)?).ok()?;
    Some(told.into_iter().map(|[tenant, reason]| LeftOutTenant { tenant, reason }).collect())
}

impl From<TenantFailure> for LeftOutTenant {
    fn from(TenantFailure { tenant, source }: TenantFailure) -> Self {
        let mut reason = source.to_string();
        let mut cause = std::error::Error::source(&source);
        while let Some(inner) = cause {
            reason = format!("{reason}: {inner}");
            cause = inner.source();
        }
        Self { tenant, reason }
    }
}
