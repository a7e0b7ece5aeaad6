//! What goes wrong, and how often.

use std::collections::BTreeMap;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fault {
    /// 429 with Retry-After, nothing done.
    TooMany,
    /// 409 as when the same key is being worked on, nothing done.
    Locked,
    /// 500 that Stripe remembers, nothing done.
    ErrorBefore,
    /// 500 that Stripe does not remember, nothing done.
    ErrorForgotten,
    /// 500 that Stripe remembers, though it was done.
    ErrorAfter,
    /// No answer, nothing done.
    SilentBefore,
    /// No answer, though it was done.
    SilentAfter,
    /// The connection is reset, nothing done.
    ResetBefore,
    /// The connection is reset, though it was done.
    ResetAfter,
    /// The answer breaks off in its middle, though it was done.
    CutAfter,
    /// A meter event is taken and never counted.
    RejectedLater,
}

impl Fault {
    pub const ALL: [Self; 11] = [
        Self::TooMany,
        Self::Locked,
        Self::ErrorBefore,
        Self::ErrorForgotten,
        Self::ErrorAfter,
        Self::SilentBefore,
        Self::SilentAfter,
        Self::ResetBefore,
        Self::ResetAfter,
        Self::CutAfter,
        Self::RejectedLater,
    ];
}

/// Faults with their chances, in thousandths of calls.
#[derive(Debug, Clone, Default)]
pub struct Faults(Vec<(Fault, u64)>);

impl Faults {
    pub fn none() -> Self {
        Self::default()
    }

    pub fn each(thousandths: u64) -> Self {
        Self(Fault::ALL.map(|fault| (fault, thousandths)).into())
    }

    pub fn only(fault: Fault, thousandths: u64) -> Self {
        Self(vec![(fault, thousandths)])
    }

    /// The fault at a number below 1000.
    pub fn at(&self, mut number: u64) -> Option<Fault> {
        for (fault, thousandths) in &self.0 {
            if number < *thousandths {
                return Some(*fault);
            }
            number -= thousandths;
        }
        None
    }
}

/// How often each fault came true.
pub type FaultCounts = BTreeMap<Fault, u64>;
