//! Flat: the same amount whatever the usage (DESIGN.md 3.7). Base fees prorate by elapsed time (3.8).

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

use super::PriceError;
use super::part::{Billable, Model, Part, Rule};
use crate::exact::Exact;

#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct FlatPrice {
    pub amount: Decimal,
    /// Whether a span shorter than the period owes only its share of elapsed time. A one-off charge does not
    /// prorate.
    pub prorated: bool,
}

impl Model for FlatPrice {
    fn parts(&self, billable: &Billable<'_>) -> Result<Vec<Part>, PriceError> {
        let share = if self.prorated { billable.span_share.clone() } else { Exact::ONE };
        let fee = &Exact::from(self.amount) * &share;
        Ok(vec![Part {
            rule: Rule::Flat { share },
            quantity: Exact::ONE,
            unit_price: Exact::ZERO,
            fee: fee.clone(),
            amount: fee,
        }])
    }
}
