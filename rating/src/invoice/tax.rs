//! The tax hook: invoices ask it for each line, after credits (DESIGN.md 3.6).
//!
//! Owns the question and the plainest answers. Which tax a tenant owes is for whoever implements the hook.

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

use crate::exact::{Exact, NotADecimal};
use crate::line::LineItem;
use crate::money::{Amount, MoneyRounding};

/// One tax on one line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaxLine {
    /// The line's place in the invoice.
    pub line: usize,
    pub name: String,
    /// 19 is 19 %.
    pub rate_percent: Decimal,
    /// The line's amount after credits.
    pub taxable: Amount,
    /// Rounded to the currency's minor unit.
    pub amount: Amount,
}

/// Decides the taxes of a line.
pub trait TaxRule {
    /// Name and rate in percent of each tax on the line; empty when there is none.
    fn rates(&self, line: &LineItem) -> Vec<(String, Decimal)>;
}

/// No tax at all.
#[derive(Debug, Clone, Copy, Default)]
pub struct Untaxed;

impl TaxRule for Untaxed {
    fn rates(&self, _line: &LineItem) -> Vec<(String, Decimal)> {
        Vec::new()
    }
}

/// The same rate on every line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OneRate {
    pub name: String,
    pub rate_percent: Decimal,
}

impl TaxRule for OneRate {
    fn rates(&self, _line: &LineItem) -> Vec<(String, Decimal)> {
        vec![(self.name.clone(), self.rate_percent)]
    }
}

pub(super) fn taxes_of(
    rule: &dyn TaxRule,
    line: usize,
    item: &LineItem,
    taxable: Amount,
) -> Result<Vec<TaxLine>, NotADecimal> {
    let tax = |(name, rate_percent): (String, Decimal)| {
        let rate = &Exact::from(rate_percent) * &Exact::ratio(1, 100).unwrap_or_default();
        let exact = &Exact::from(taxable) * &rate;
        let amount = item.currency.round(&exact, MoneyRounding::HalfAwayFromZero)?;
        Ok(TaxLine { line, name, rate_percent, taxable, amount })
    };
    rule.rates(item).into_iter().map(tax).collect()
}
