//! Percentage: a rate on the quantity, which is then an amount of money, with fees and limits per transaction
//! (DESIGN.md 3.7).

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

use super::PriceError;
use super::part::{Billable, Model, Part, Rule};
use crate::exact::Exact;

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

impl Model for PercentagePrice {
    fn parts(&self, billable: &Billable<'_>) -> Result<Vec<Part>, PriceError> {
        let rate = Exact::from(self.rate_percent) * Exact::ratio(1, 100).unwrap_or_default();
        if !self.needs_transactions() {
            // The rate alone prices the quantity, so that an allowance counts.
            return Ok(vec![Part::units(Rule::Rate, billable.quantity.clone(), rate)]);
        }
        let before = billable.so_far.map_or(&[][..], |so_far| &so_far.transactions);
        let what = "percentage per transaction without transactions";
        let transactions = billable.transactions.ok_or(PriceError::ImpossibleModel { what })?;
        Ok(self.parts_of_transactions(before, transactions, rate))
    }
}

impl PercentagePrice {
    /// Whether the quantity alone is not enough.
    pub fn needs_transactions(&self) -> bool {
        !self.fee_per_transaction.is_zero()
            || self.free_transactions.is_some()
            || self.free_amount.is_some()
            || self.minimum_per_transaction.is_some()
            || self.maximum_per_transaction.is_some()
    }

    /// A transaction is free while both the free number and the free amount (where set) last; the one in which the
    /// free amount runs out pays the rate on what exceeds it, and its fee. Those before belong to earlier spans of the
    /// period: they were priced there, and may have used up what is free.
    fn parts_of_transactions(&self, before: &[Exact], transactions: &[Exact], rate: Exact) -> Vec<Part> {
        let fee = Exact::from(self.fee_per_transaction);
        let mut charged = Exact::ZERO;
        let mut charged_transactions = 0_u64;
        let mut limits = Exact::ZERO;
        let mut free = Exact::ZERO;
        let mut free_left = self.free_amount.map(Exact::from);
        for (index, value) in before.iter().chain(transactions).enumerate() {
            let paid_for = self.beyond_free(index as u64, value, &mut free_left);
            if index < before.len() {
                continue;
            }
            free += &(value - paid_for.as_ref().unwrap_or(&Exact::ZERO));
            let Some(paid_for) = paid_for else { continue };
            charged += &paid_for;
            charged_transactions += 1;
            let own = &(&paid_for * &rate) + &fee;
            limits += &(&self.within_limits(&own) - &own);
        }
        let mut parts = Vec::new();
        if !free.is_zero() {
            parts.push(Part::units(Rule::FreeTransactions, free, Exact::ZERO));
        }
        parts.push(Part::units(Rule::Rate, charged, rate));
        parts.push(Part::units(Rule::TransactionFees, Exact::from(charged_transactions), fee));
        if !limits.is_zero() {
            parts.push(Part { amount: limits, ..Part::note(Rule::TransactionLimits) });
        }
        parts
    }

    /// The part of a transaction that is not free, or nothing when all of it is.
    fn beyond_free(&self, index: u64, value: &Exact, free_left: &mut Option<Exact>) -> Option<Exact> {
        let within_number = self.free_transactions.is_none_or(|free| index < free);
        let limited = self.free_transactions.is_some() || self.free_amount.is_some();
        match free_left {
            _ if !limited || !within_number => Some(value.clone()),
            None => None,
            Some(left) if *value <= *left => {
                *left -= value;
                None
            }
            Some(left) => {
                let beyond = value - left;
                *left = Exact::ZERO;
                Some(beyond)
            }
        }
    }

    fn within_limits(&self, amount: &Exact) -> Exact {
        let raised = match self.minimum_per_transaction.map(Exact::from) {
            Some(minimum) if *amount < minimum => minimum,
            _ => amount.clone(),
        };
        match self.maximum_per_transaction.map(Exact::from) {
            Some(maximum) if raised > maximum => maximum,
            _ => raised,
        }
    }
}
