//! Reductions of a line's amount, after the commitment and before rounding (DESIGN.md 3.6).

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

use crate::exact::Exact;

#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Discount {
    /// Percent of what is left, 0 to 100.
    Percent(Decimal),
    /// A fixed amount of a whole period, never more than what is left; a span takes its share of it.
    Amount(Decimal),
    /// The line, with what was billed before in the same period, never exceeds this.
    MaximumSpend(Decimal),
}

/// One discount taken off a line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiscountTaken {
    pub discount: Discount,
    /// The share of the period that a fixed amount was taken for, where it is not the whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub share: Option<Exact>,
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
    fn off(&self, left: &Exact, share: &Exact, billed_before: &Exact) -> Exact {
        let off = match self {
            Discount::Percent(percent) => {
                &(left * &Exact::from(*percent)) * &Exact::ratio(1, 100).unwrap_or_default()
            }
            Discount::Amount(amount) => &Exact::from(*amount) * share,
            Discount::MaximumSpend(maximum) => &(left + billed_before) - &Exact::from(*maximum),
        };
        off.min(left.clone()).max(Exact::ZERO)
    }
}

/// Takes all discounts off an amount, which is for this share of the period. An amount below zero (a correction) gets
/// none.
pub(super) fn take_all(
    discounts: &[Discount],
    amount: &Exact,
    share: &Exact,
    billed_before: &Exact,
) -> Vec<DiscountTaken> {
    let mut ordered: Vec<&Discount> = discounts.iter().collect();
    ordered.sort_by_key(|discount| discount.rank());
    let mut left = amount.clone();
    let take = |discount: &Discount| {
        let before = left.clone();
        let taken = discount.off(&before, share, billed_before);
        left -= &taken;
        let is_prorated = matches!(discount, Discount::Amount(_)) && *share != Exact::ONE;
        DiscountTaken { discount: discount.clone(), share: is_prorated.then(|| share.clone()), before, taken }
    };
    ordered.into_iter().map(take).collect()
}
