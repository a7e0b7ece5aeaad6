//! Percentage: a rate on the quantity, which is then an amount of money, with fees and limits per transaction
//! (DESIGN.md 3.7).

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PercentagePrice {
    /// 2.9 is 2.9 %.
    pub rate_percent: Decimal,
    /// Added for each transaction that is not free.
    pub fee_per_transaction: Decimal,
    /// So many transactions cost nothing.
    pub free_transactions: Option<u64>,
    /// Transactions cost nothing until their values add up to this.
    pub free_amount: Option<Decimal>,
    pub minimum_per_transaction: Option<Decimal>,
    pub maximum_per_transaction: Option<Decimal>,
}

impl PercentagePrice {
    pub fn rate(rate_percent: Decimal) -> PercentagePrice {
        PercentagePrice {
            rate_percent,
            fee_per_transaction: Decimal::ZERO,
            free_transactions: None,
            free_amount: None,
            minimum_per_transaction: None,
            maximum_per_transaction: None,
        }
    }
}
