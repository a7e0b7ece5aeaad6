//! The way from a quantity to a line's amount, step by step in the order of DESIGN.md 3.6.
//!
//! Owns the order and the record of it: a `PriceTrail` holds every step with its numbers, so that a line explains
//! itself without being rated again. Nothing is rounded but the billable quantity, if the price says so, and the line.

use serde::{Deserialize, Serialize};

use super::discount::{self, DiscountTaken};
use super::{
    AllowanceDrawn, Billable, CommitmentApplied, CommittedInPeriod, CommittedUsage, Part, PeriodSoFar,
    PoolBalances, PriceError, PriceTerms, QuantityRounding,
};
use crate::exact::Exact;
use crate::money::{Amount, Currency, MoneyRounding};
use crate::quantity::{Dimensions, OverTime};

/// What one price is applied to, in one span.
#[derive(Debug, Clone, Copy)]
pub struct Usage<'a> {
    /// In the meter's unit.
    pub quantity: &'a Exact,
    pub unit: &'a str,
    pub dimensions: &'a Dimensions,
    /// Single transactions, for percentages with fees or limits per transaction.
    pub transactions: Option<&'a [Exact]>,
    /// How the quantities of spans become that of the period (`Measure::over_time`).
    pub over_time: OverTime,
    /// The span's share of its period: 1 when nothing changed inside it.
    pub span_share: &'a Exact,
    /// What the price's earlier spans of the period used up; nothing for its only one.
    pub so_far: Option<&'a PeriodSoFar>,
    /// The commitment that its spans share; nothing for its only one.
    pub commitment: Option<&'a CommittedInPeriod>,
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
    /// The step of a level counts for this share of the period.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight: Option<Exact>,
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
        let time_share = (usage.over_time == OverTime::Weighs).then(|| usage.span_share.clone());
        let weighted = time_share.as_ref().map_or(usage.quantity.clone(), |share| usage.quantity * share);
        let converted = self.conversion.convert(&weighted)?;
        let unit = self.conversion.unit.as_deref().unwrap_or(usage.unit);
        let allowance = match &self.allowance {
            Some(allowance) => {
                let drawn_before = self.drawn_before(usage)?;
                Some(allowance.draw(&converted, unit, usage.span_share, &drawn_before, pools)?)
            }
            None => None,
        };
        let before = allowance.as_ref().map_or(converted.clone(), |step| &converted - &step.drawn);
        let billable = self.quantity_rounding.round(&before, usage.weight())?;
        let priced = usage.billable(&billable);
        let parts = self.model.parts(&priced)?;
        let rounding = (self.quantity_rounding != QuantityRounding::None).then(|| QuantityRounded {
            rule: self.quantity_rounding.clone(),
            weight: priced.recorded_weight(),
            before,
            after: billable.clone(),
        });
        let model_amount: Exact = parts.iter().map(|part| part.amount.clone()).sum();
        let commitment = self.commit(usage, &model_amount)?;
        let committed = commitment.as_ref().map_or(&model_amount, |step| &step.amount);
        let share = if self.model.is_whole_fee() { &Exact::ONE } else { usage.span_share };
        let billed_before = usage.so_far.map_or(Exact::ZERO, |so_far| so_far.billed.into());
        let discounts = discount::take_all(&self.discounts, committed, share, &billed_before);
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

    /// In the price's unit.
    fn drawn_before(&self, usage: &Usage<'_>) -> Result<Exact, PriceError> {
        usage.so_far.map_or(Ok(Exact::ZERO), |so_far| self.conversion.convert(&so_far.included))
    }

    fn commit(&self, usage: &Usage<'_>, amount: &Exact) -> Result<Option<CommitmentApplied>, PriceError> {
        let (Some(commitment), Some(own)) =
            (&self.commitment, self.committed(usage.dimensions, usage.span_share)?)
        else {
            return Ok(None);
        };
        let (committed, is_last) = match usage.commitment {
            Some(of_period) if commitment.prorated => (of_period.prorated.clone(), of_period.is_last),
            Some(of_period) => (of_period.whole.clone().unwrap_or(own), of_period.is_last),
            None => (own, true),
        };
        let used_before = usage.so_far.map_or(Exact::ZERO, |so_far| so_far.committed.clone());
        Ok(Some(commitment.apply(amount, committed, used_before, is_last)))
    }

    /// The amount that a span of this share promises; nothing without a commitment.
    pub fn committed(
        &self,
        dimensions: &Dimensions,
        span_share: &Exact,
    ) -> Result<Option<Exact>, PriceError> {
        let Some(commitment) = &self.commitment else {
            return Ok(None);
        };
        let whole = match &commitment.committed {
            CommittedUsage::Amount(amount) => Exact::from(*amount),
            CommittedUsage::Quantity(quantity) => {
                // Valued as that of a whole period, whose fees are whole too: the share is taken of all of it at once.
                let quantity = Exact::from(*quantity);
                self.model.amount(&Billable {
                    quantity: &quantity,
                    dimensions,
                    transactions: None,
                    span_share: &Exact::ONE,
                    weight: &Exact::ONE,
                    so_far: None,
                })?
            }
        };
        Ok(Some(if commitment.prorated { &whole * span_share } else { whole }))
    }
}

impl<'a> Usage<'a> {
    /// What bounds, sizes and steps of a level are multiplied with, as the quantity is.
    fn weight(&self) -> &'a Exact {
        match self.over_time {
            OverTime::AddsUp => &Exact::ONE,
            OverTime::Weighs | OverTime::IsWeighed => self.span_share,
        }
    }

    fn billable<'b>(&'b self, quantity: &'b Exact) -> Billable<'b> {
        Billable {
            quantity,
            dimensions: self.dimensions,
            transactions: self.transactions,
            span_share: self.span_share,
            weight: self.weight(),
            so_far: self.so_far,
        }
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
