//! Reductions of a line's amount, after the commitment and before rounding (DESIGN.md 3.6).

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Discount {
    /// Percent of what is left, 0 to 100.
    Percent(Decimal),
    /// A fixed amount, never more than what is left.
    Amount(Decimal),
    /// The line, with what was billed before in the same period, never exceeds this.
    MaximumSpend(Decimal),
}
