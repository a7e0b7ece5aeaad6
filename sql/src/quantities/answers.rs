//! What a pass over the lake found.

use std::collections::BTreeMap;
use std::error::Error;

use rating::quantity::rollup::RollupError;
use rating::quantity::{FoldError, QuantityError};
use rating::usage::{BadDimensions, Usage};

/// The usage of all tenants that were asked about, and those for which there is no answer.
#[derive(Debug, Default)]
pub struct Answers {
    /// In the order of the tenants' names.
    pub usages: Vec<Usage>,
    pub failed: Vec<TenantFailure>,
    /// Tenants that events name but that are not set up, with how many rows they have.
    pub not_set_up: BTreeMap<String, u64>,
}

/// A tenant without an answer; all others have theirs.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("tenant {tenant} cannot be rated")]
pub struct TenantFailure {
    pub tenant: String,
    #[source]
    pub source: TenantProblem,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TenantProblem {
    #[error(transparent)]
    Fold(#[from] QuantityError),
    #[error("meter {meter}: the row at {time_us} us has no value")]
    NoValue { meter: String, time_us: i64 },
    #[error("meter {meter}: the row at {time_us} us has no signal that a session knows")]
    NoSignal { meter: String, time_us: i64 },
    #[error("meter {meter}: what the day before left cannot be read")]
    Carried {
        meter: String,
        #[source]
        source: BadDimensions,
    },
    #[error(transparent)]
    Parts(#[from] RollupError),
    #[error("meter {meter}: the totals of a day do not fit the columns of roll-ups")]
    TooLarge { meter: String },
    #[error("roll-ups do not cover it")]
    NotRolled,
}

impl TenantFailure {
    /// The failure with its causes.
    pub fn in_words(&self) -> String {
        with_causes(self)
    }
}

pub(super) fn with_causes(error: &dyn Error) -> String {
    let mut words = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        words.push_str(": ");
        words.push_str(&error.to_string());
        cause = error.source();
    }
    words
}

impl TenantProblem {
    pub(super) fn of_fold(error: FoldError, tenant: &str, meter: &str) -> Self {
        Self::Fold(error.of(tenant, meter))
    }
}

impl Answers {
    pub(super) fn add(&mut self, other: Self) {
        self.usages.extend(other.usages);
        self.failed.extend(other.failed);
        for (tenant, rows) in other.not_set_up {
            *self.not_set_up.entry(tenant).or_default() += rows;
        }
    }

    pub(crate) fn sort(&mut self) {
        self.usages.sort_by(|left, right| left.demand.tenant.cmp(&right.demand.tenant));
        self.failed.sort_by(|left, right| left.tenant.cmp(&right.tenant));
    }
}
