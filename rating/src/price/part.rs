//! The parts that a price model's amount is made of, one for each rule that was applied: what `explain` prints.

use serde::{Deserialize, Serialize};

use super::PriceError;
use crate::exact::Exact;
use crate::quantity::Dimensions;

/// What a model prices.
#[derive(Debug, Clone, Copy)]
pub struct Billable<'a> {
    /// Converted, less the allowance, rounded.
    pub quantity: &'a Exact,
    pub dimensions: &'a Dimensions,
    /// The single transactions behind the quantity, in order of time, when the price needs them.
    pub transactions: Option<&'a [Exact]>,
    /// The span's share of its period: flat fees are prorated by it.
    pub span_share: &'a Exact,
}

/// One rule applied: `quantity * unit_price + fee`, unless the rule says otherwise.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    #[serde(flatten)]
    pub rule: Rule,
    /// Units, packages or transactions that the rule was applied to.
    pub quantity: Exact,
    pub unit_price: Exact,
    /// Owed whatever the quantity.
    pub fee: Exact,
    pub amount: Exact,
}

/// Which rule of the model a part comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "rule")]
pub enum Rule {
    /// The flat amount, prorated by this share.
    Flat { share: Exact },
    /// Every unit at one price.
    Units,
    /// Whole packages of so many units.
    Packages { size: Exact },
    /// Units of one tier, counted from 1; the bound is part of the tier.
    Tier { number: u32, up_to: Option<Exact>, block_size: Option<Exact>, maximum: Option<Exact> },
    /// The matrix cell that the dimensions chose; the parts that follow are its own.
    Cell { values: Vec<String> },
    /// No cell named the dimensions' values: the price for all others.
    OtherCells { values: Vec<String> },
    /// A rate on an amount of money; `quantity` is the amount, `unit_price` the rate.
    Rate,
    /// Fees of so many transactions.
    TransactionFees,
    /// What minimum and maximum per transaction added or took away.
    TransactionLimits,
}

impl Part {
    /// A part whose amount is `quantity * unit_price`.
    pub fn units(rule: Rule, quantity: Exact, unit_price: Exact) -> Part {
        let amount = &quantity * &unit_price;
        Part { rule, quantity, unit_price, fee: Exact::ZERO, amount }
    }

    /// A part that says which rule was chosen and owes nothing itself.
    pub fn note(rule: Rule) -> Part {
        Part { rule, quantity: Exact::ZERO, unit_price: Exact::ZERO, fee: Exact::ZERO, amount: Exact::ZERO }
    }
}

/// What every price model does: from a billable quantity to the parts of its amount.
pub(super) trait Model {
    fn parts(&self, billable: &Billable<'_>) -> Result<Vec<Part>, PriceError>;
}
