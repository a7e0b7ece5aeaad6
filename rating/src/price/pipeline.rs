//! The way from a quantity to a line's amount, step by step in the order of DESIGN.md 3.6.
//!
//! Owns the order and the record of it: a `PriceTrail` holds every step with its numbers, so that a line explains
//! itself without being rated again. Nothing is rounded but the billable quantity, if the price says so, and the line.

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

use super::discount::{self, DiscountTaken};
use super::{
    AllowanceDrawn, Billable, CommitmentApplied, CommittedUsage, Part, PoolBalances, PriceError, PriceModel,
    PriceTerms, QuantityRounding,
};
use crate::exact::Exact;
use crate::money::{Amount, Currency, MoneyRounding};
use crate::quantity::Dimensions;

/// What one price is applied to, in one span.
#[derive(Debug, Clone, Copy)]
pub struct Usage<'a> {
    /// In the meter's unit.
    pub quantity: &'a Exact,
    pub unit: &'a str,
    pub dimensions: &'a Dimensions,
    /// Single transactions, for percentages with fees or limits per transaction.
    pub transactions: Option<&'a [Exact]>,
    /// Whether the quantity weighs by the span's share of the period (`Measure::weighs_by_time`).
    pub weighs_by_time: bool,
    /// The span's share of its period: 1 when nothing changed inside it.
    pub span_share: &'a Exact,
    /// What this price was billed earlier in the period, for a maximum over the whole of it.
    pub billed_before: Decimal,
}

/// Every step from quantity to amount, in order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PriceTrail {
    /// In the meter's unit, as measured.
    pub metered: Exact,
    /// The span's share of the period, where the quantity weighs by it.
    pub time_share: Option<Exact>,
    pub conversion: UnitConverted,
    pub allowance: Option<AllowanceDrawn>,
    pub rounding: Option<QuantityRounded>,
    /// What the model priced.
    pub billable: Exact,
    pub parts: Vec<Part>,
    pub model_amount: Exact,
    pub commitment: Option<CommitmentApplied>,
    pub discounts: Vec<DiscountTaken>,
    pub line_rounding: LineRounding,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnitConverted {
    pub multiply_by: Exact,
    pub divide_by: Exact,
    pub unit: String,
    pub converted: Exact,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuantityRounded {
    pub rule: QuantityRounding,
    pub before: Exact,
    pub after: Exact,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LineRounding {
    pub before: Exact,
    pub rule: MoneyRounding,
    pub minor_digits: u32,
    pub amount: Amount,
}

impl PriceTerms {
    /// Rates one usage and records how. The pools are those of the usage's plan and span.
    pub fn rate(
        &self,
        usage: &Usage<'_>,
        currency: Currency,
        pools: &mut PoolBalances,
    ) -> Result<PriceTrail, PriceError> {
        let time_share = usage.weighs_by_time.then(|| usage.span_share.clone());
        let weighted = time_share.as_ref().map_or(usage.quantity.clone(), |share| usage.quantity * share);
        let converted = self.conversion.convert(&weighted)?;
        let unit = self.conversion.unit.as_deref().unwrap_or(usage.unit);
        let allowance = match &self.allowance {
            Some(allowance) => Some(allowance.draw(&converted, unit, usage.span_share, pools)?),
            None => None,
        };
        let before = allowance.as_ref().map_or(converted.clone(), |step| &converted - &step.drawn);
        let billable = self.quantity_rounding.round(&before)?;
        let rounding = (self.quantity_rounding != QuantityRounding::None).then(|| QuantityRounded {
            rule: self.quantity_rounding.clone(),
            before,
            after: billable.clone(),
        });
        let parts = self.model.parts(&self.billable(usage, &billable))?;
        let model_amount: Exact = parts.iter().map(|part| part.amount.clone()).sum();
        let commitment = self.commit(usage, &model_amount)?;
        let committed = commitment.as_ref().map_or(&model_amount, |step| &step.amount);
        let discounts = discount::take_all(&self.discounts, committed, &usage.billed_before.into());
        let discounted = discounts.iter().fold(committed.clone(), |left, step| &left - &step.taken);
        let amount = currency.round(&discounted, self.line_rounding).map_err(PriceError::OutOfRange)?;
        let trail = PriceTrail {
            metered: usage.quantity.clone(),
            time_share,
            conversion: UnitConverted {
                multiply_by: self.conversion.multiply_by.into(),
                divide_by: self.conversion.divide_by.into(),
                unit: unit.to_owned(),
                converted,
            },
            allowance,
            rounding,
            billable,
            parts,
            model_amount,
            commitment,
            discounts,
            line_rounding: LineRounding {
                before: discounted,
                rule: self.line_rounding,
                minor_digits: currency.minor_digits(),
                amount,
            },
        };
        trail.check()?;
        Ok(trail)
    }

    fn billable<'a>(&self, usage: &Usage<'a>, quantity: &'a Exact) -> Billable<'a> {
        Billable {
            quantity,
            dimensions: usage.dimensions,
            // Percentages that a rate alone decides price the quantity, so that an allowance counts.
            transactions: match &self.model {
                PriceModel::Percentage(price) if !price.needs_transactions() => None,
                _ => usage.transactions,
            },
            span_share: usage.span_share,
        }
    }

    fn commit(&self, usage: &Usage<'_>, amount: &Exact) -> Result<Option<CommitmentApplied>, PriceError> {
        let Some(commitment) = &self.commitment else {
            return Ok(None);
        };
        let committed = match &commitment.committed {
            CommittedUsage::Amount(amount) => Exact::from(*amount),
            CommittedUsage::Quantity(quantity) => {
                let quantity = Exact::from(*quantity);
                let billable = Billable { transactions: None, ..self.billable(usage, &quantity) };
                self.model.amount(&billable)?
            }
        };
        Ok(Some(commitment.apply(amount, &committed, usage.span_share)))
    }
}

impl PriceTrail {
    pub fn amount(&self) -> Amount {
        self.line_rounding.amount
    }

    /// Adds the steps up anew. Checked in release builds too: a line whose steps do not add up is not billed.
    pub fn check(&self) -> Result<(), PriceError> {
        let drawn = self.allowance.as_ref().map_or(Exact::ZERO, |step| step.drawn.clone());
        let rounded = self.rounding.as_ref().map_or(Exact::ZERO, |step| &step.after - &step.before);
        let parts: Exact = self.parts.iter().map(|part| part.amount.clone()).sum();
        let committed = match &self.commitment {
            None => self.model_amount.clone(),
            Some(step) => &(&step.within + &step.overage) + &step.true_up,
        };
        let taken: Exact = self.discounts.iter().map(|step| step.taken.clone()).sum();
        let minor_unit = Exact::ratio(1, 10_i128.pow(self.line_rounding.minor_digits.min(28)));
        let rounding = &Exact::from(self.line_rounding.amount) - &self.line_rounding.before;
        let two = Exact::from(2_i64);
        for (holds, what) in [
            (&(&self.conversion.converted - &drawn) + &rounded == self.billable, "billable quantity"),
            (parts == self.model_amount, "parts of the model"),
            (&committed - &taken == self.line_rounding.before, "commitment and discounts"),
            (Some(&rounding.abs() * &two) <= minor_unit, "line rounding is more than half a minor unit"),
        ] {
            if !holds {
                return Err(PriceError::BrokenIdentity { what });
            }
        }
        Ok(())
    }
}
