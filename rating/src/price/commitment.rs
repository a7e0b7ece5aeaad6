//! A promise to use at least so much: what falls short is billed, what goes beyond may cost more (DESIGN.md 3.6).

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

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
