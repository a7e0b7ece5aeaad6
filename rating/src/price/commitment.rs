//! A promise to use at least so much: what falls short is billed, what goes beyond may cost more (DESIGN.md 3.6).

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

use crate::exact::Exact;

/// A minimum over one period, and what happens below and above it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Commitment {
    pub committed: CommittedUsage,
    /// Bill the difference when usage stays below; false bills usage only.
    pub true_up: bool,
    /// Factor on what goes beyond the commitment; 1 leaves the model's amount as it is.
    pub overage_factor: Decimal,
    /// Whether a span shorter than the period owes only its share of elapsed time.
    pub prorated: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CommittedUsage {
    /// An amount of money.
    Amount(Decimal),
    /// A billable quantity, valued by the price model itself.
    Quantity(Decimal),
}

/// How a commitment changed the model's amount: `amount = within + overage + true_up`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommitmentApplied {
    /// The committed amount of this span.
    pub committed: Exact,
    /// What the model's amount used of it.
    pub within: Exact,
    /// What went beyond it, with the factor applied.
    pub overage: Exact,
    pub true_up: Exact,
    pub amount: Exact,
}

impl Commitment {
    /// Applies to the model's amount; `committed` is the promised amount of a whole period.
    pub(super) fn apply(&self, amount: &Exact, committed: &Exact, span_share: &Exact) -> CommitmentApplied {
        let committed = if self.prorated { committed * span_share } else { committed.clone() };
        let within = amount.min(&committed).clone();
        let beyond = amount - &within;
        let overage = &beyond * &Exact::from(self.overage_factor);
        let short = &committed - &within;
        let true_up = if self.true_up { short } else { Exact::ZERO };
        let amount = &(&within + &overage) + &true_up;
        CommitmentApplied { committed, within, overage, true_up, amount }
    }
}
