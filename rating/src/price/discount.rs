//! Reductions of a line's amount, after the commitment and before rounding (DESIGN.md 3.6).

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

use crate::exact::Exact;

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

/// One discount taken off a line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiscountTaken {
    pub discount: Discount,
    /// The amount before this discount.
    pub before: Exact,
    pub taken: Exact,
}

impl Discount {
    /// Percentages come first, then amounts, then the cap: so the order of a list cannot change a bill.
    fn rank(&self) -> u8 {
        match self {
            Discount::Percent(_) => 0,
            Discount::Amount(_) => 1,
            Discount::MaximumSpend(_) => 2,
        }
    }

    /// Never below zero, and never more than what is left.
    fn off(&self, left: &Exact, billed_before: &Exact) -> Exact {
        let off = match self {
            Discount::Percent(percent) => {
                &(left * &Exact::from(*percent)) * &Exact::ratio(1, 100).unwrap_or_default()
            }
            Discount::Amount(amount) => Exact::from(*amount),
            Discount::MaximumSpend(maximum) => &(left + billed_before) - &Exact::from(*maximum),
        };
        off.min(left.clone()).max(Exact::ZERO)
    }
}

/// Takes all discounts off an amount. An amount below zero (a correction) gets none.
pub(super) fn take_all(discounts: &[Discount], amount: &Exact, billed_before: &Exact) -> Vec<DiscountTaken> {
    let mut ordered: Vec<&Discount> = discounts.iter().collect();
    ordered.sort_by_key(|discount| discount.rank());
    let mut left = amount.clone();
    let take = |discount: &Discount| {
        let before = left.clone();
        let taken = discount.off(&before, billed_before);
        left -= &taken;
        DiscountTaken { discount: discount.clone(), before, taken }
    };
    ordered.into_iter().map(take).collect()
}
