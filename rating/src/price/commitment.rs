//! A promise to use at least so much: what falls short is billed, what goes beyond may cost more (DESIGN.md 3.6).
//!
//! It is a promise over the period: where the price has several spans, each uses what the ones before left of it, and
//! what is short at the end is owed once, with the last.

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
    /// Whether it is promised only for the share of the period's time in which the price holds.
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
    /// The committed amount of all the price's spans.
    pub committed: Exact,
    /// What earlier spans of the period used of it.
    #[serde(default, skip_serializing_if = "Exact::is_zero")]
    pub used_before: Exact,
    /// What the model's amount used of it.
    pub within: Exact,
    /// What went beyond it, with the factor applied.
    pub overage: Exact,
    pub true_up: Exact,
    /// Whether a later span may still use what is left, so that nothing is asked for it yet.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub goes_on: bool,
    pub amount: Exact,
}

impl Commitment {
    /// Applies to the model's amount; `committed` is what is promised by all spans, `used_before` what earlier ones
    /// used of it.
    pub(super) fn apply(
        &self,
        amount: &Exact,
        committed: Exact,
        used_before: Exact,
        is_last: bool,
    ) -> CommitmentApplied {
        let left = (&committed - &used_before).max(Exact::ZERO);
        let within = amount.min(&left).clone();
        let beyond = amount - &within;
        let overage = &beyond * &Exact::from(self.overage_factor);
        let short = &left - &within;
        let is_owed = self.true_up && is_last;
        let true_up = if is_owed { short } else { Exact::ZERO };
        let amount = &(&within + &overage) + &true_up;
        CommitmentApplied { committed, used_before, within, overage, true_up, goes_on: !is_last, amount }
    }
}
