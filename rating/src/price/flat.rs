//! Flat: the same amount whatever the usage (DESIGN.md 3.7). Base fees prorate by elapsed time (3.8).

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct FlatPrice {
    pub amount: Decimal,
    /// Whether a span shorter than the period owes only its share of elapsed time. A one-off charge does not
    /// prorate.
    pub prorated: bool,
}
