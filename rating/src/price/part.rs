//! The parts that a price model's amount is made of, one for each rule that was applied: what `explain` prints.

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

use super::{PeriodSoFar, PriceError};
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
    /// The share that a level's quantity was weighed by. Tier bounds, maxima and sizes speak of the level itself, so
    /// they are weighed by it too; 1 for what adds up over time.
    pub weight: &'a Exact,
    /// What earlier spans of the period used up.
    pub so_far: Option<&'a PeriodSoFar>,
}

impl Billable<'_> {
    /// A bound or size of the catalog, to compare the quantity with.
    pub(super) fn weighed(&self, of_a_level: Decimal) -> Exact {
        &Exact::from(of_a_level) * self.weight
    }

    /// The weight for the record, where there is any.
    pub(super) fn recorded_weight(&self) -> Option<Exact> {
        (*self.weight != Exact::ONE).then(|| self.weight.clone())
    }
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
    /// Whole packages of so many units; those of a level count for the share of the period that is its weight.
    Packages {
        size: Exact,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        weight: Option<Exact>,
    },
    /// Units of one tier, counted from 1; the bound is part of the tier.
    Tier {
        number: u32,
        up_to: Option<Exact>,
        block_size: Option<Exact>,
        maximum: Option<Exact>,
        /// A level's bound, blocks and maximum count for this share of the period.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        weight: Option<Exact>,
        /// What earlier spans of the period took of the maximum.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        billed_before: Option<Exact>,
    },
    /// The matrix cell that the dimensions chose; the parts that follow are its own.
    Cell { values: Vec<String> },
    /// No cell named the dimensions' values: the price for all others.
    OtherCells { values: Vec<String> },
    /// So much of the transactions was free.
    FreeTransactions,
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
