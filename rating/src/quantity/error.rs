//! What can go wrong while events are folded into quantities. Nothing ever wraps: it is an error that names the
//! tenant and the meter.

use serde::{Deserialize, Serialize};

/// A fold could not take an event. It does not know whose events it folds: `of` adds that.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FoldError {
    #[error("{what} does not fit 128 bits at {at_us} us")]
    Overflow { what: &'static str, at_us: i64 },
    #[error("event at {time_us} us comes after time has reached {now_us} us")]
    OutOfOrder { time_us: i64, now_us: i64 },
}

/// A tenant's quantity could not be computed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("tenant {tenant}, meter {meter}: no quantity")]
pub struct QuantityError {
    pub tenant: String,
    pub meter: String,
    #[source]
    pub source: FoldError,
}

impl FoldError {
    pub fn of(self, tenant: &str, meter: &str) -> QuantityError {
        QuantityError { tenant: tenant.to_owned(), meter: meter.to_owned(), source: self }
    }
}

/// How many samples were folded, and when the first and last of them happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Samples {
    #[serde(rename = "samples")]
    pub count: u64,
    #[serde(rename = "first_sample_us")]
    pub first_us: Option<i64>,
    #[serde(rename = "last_sample_us")]
    pub last_us: Option<i64>,
}

impl Samples {
    #[inline]
    pub fn note(&mut self, time_us: i64) {
        self.count += 1;
        if self.first_us.is_none() {
            self.first_us = Some(time_us);
        }
        self.last_us = Some(time_us);
    }

    /// The samples of both, whose stretches may overlap.
    #[must_use]
    pub fn together_with(&self, other: &Samples) -> Samples {
        Samples {
            count: self.count + other.count,
            first_us: [self.first_us, other.first_us].into_iter().flatten().min(),
            last_us: self.last_us.max(other.last_us),
        }
    }

    /// The samples of both, `later` being the later ones.
    #[must_use]
    pub fn followed_by(&self, later: &Samples) -> Samples {
        Samples {
            count: self.count + later.count,
            first_us: self.first_us.or(later.first_us),
            last_us: later.last_us.or(self.last_us),
        }
    }
}
