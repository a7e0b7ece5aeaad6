//! Tiers of graduated and volume prices. A bound belongs to the lower tier (DESIGN.md 3.7).

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

use super::PriceError;
use super::part::{Billable, Part, Rule};
use crate::exact::{Exact, Rounding};
use crate::money::UnitPrice;

/// One tier: from the previous tier's bound (not included) to `up_to` (included).
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Tier {
    /// `None` only in the last tier: no upper bound.
    pub up_to: Option<Decimal>,
    pub unit_price: UnitPrice,
    /// Owed once when the tier is entered.
    pub flat_fee: Decimal,
    /// Units are sold in blocks of this size, a started block is a whole one and costs `unit_price`; `None`
    /// prices any fraction.
    pub block_size: Option<Decimal>,
    /// The tier's part of the amount never exceeds this; `None` is no cap.
    pub maximum: Option<Decimal>,
}

/// What a tiered price owes for no usage at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ZeroUsage {
    /// The first tier's flat fee. The default.
    #[default]
    OwesFirstFlatFee,
    OwesNothing,
}

impl Tier {
    pub fn new(up_to: Option<Decimal>, unit_price: UnitPrice, flat_fee: Decimal) -> Tier {
        Tier { up_to, unit_price, flat_fee, block_size: None, maximum: None }
    }

    /// The tier's bound as the quantity is compared with it.
    pub(super) fn bound(&self, billable: &Billable<'_>) -> Option<Exact> {
        self.up_to.map(|up_to| billable.weighed(up_to))
    }

    /// What the tier owes for the units that fall into it; its flat fee is prorated by the span's share.
    pub(super) fn part(&self, number: usize, units: &Exact, billable: &Billable<'_>) -> Part {
        let fee = &Exact::from(self.flat_fee) * billable.span_share;
        self.part_with_fee(number, units, fee, billable)
    }

    /// What it owes for units that are paid back: the fee stays.
    pub(super) fn part_without_fee(&self, units: &Exact, billable: &Billable<'_>) -> Part {
        self.part_with_fee(1, units, Exact::ZERO, billable)
    }

    /// The part of a tier that owes its flat fee alone, or nothing, for usage of zero.
    pub(super) fn part_of_zero_usage(&self, zero_usage: ZeroUsage, billable: &Billable<'_>) -> Part {
        match zero_usage {
            ZeroUsage::OwesFirstFlatFee => self.part(1, &Exact::ZERO, billable),
            ZeroUsage::OwesNothing => self.part_without_fee(&Exact::ZERO, billable),
        }
    }

    fn part_with_fee(&self, number: usize, units: &Exact, fee: Exact, billable: &Billable<'_>) -> Part {
        let number = u32::try_from(number).unwrap_or(u32::MAX);
        let block_size = self.block_size.filter(|size| *size > Decimal::ZERO);
        let quantity = match block_size {
            None => units.clone(),
            Some(size) => {
                let blocks = units.checked_div(&billable.weighed(size)).unwrap_or_default();
                &blocks.round(Rounding::Up) * billable.weight
            }
        };
        let unit_price = Exact::from(self.unit_price.value());
        let uncapped = &(&quantity * &unit_price) + &fee;
        let billed_before = self.billed_before(number, billable);
        let most = self.maximum.map(|maximum| {
            let left = &billable.weighed(maximum) - billed_before.as_ref().unwrap_or(&Exact::ZERO);
            left.max(Exact::ZERO)
        });
        let amount = match most {
            Some(most) if uncapped > most => most,
            _ => uncapped,
        };
        let rule = Rule::Tier {
            number,
            up_to: self.up_to.map(Exact::from),
            block_size: block_size.map(Exact::from),
            maximum: self.maximum.map(Exact::from),
            weight: billable.recorded_weight(),
            billed_before,
        };
        Part { rule, quantity, unit_price, fee, amount }
    }

    /// What earlier spans took of the maximum. That of a level is weighed by time, so each span has its own share.
    fn billed_before(&self, number: u32, billable: &Billable<'_>) -> Option<Exact> {
        let so_far = billable.so_far.filter(|_| self.maximum.is_some() && *billable.weight == Exact::ONE)?;
        so_far.tiers.get(&number).filter(|billed| !billed.is_zero()).cloned()
    }
}

/// The tiers in ascending order, or what is wrong with them. Catalogs are checked long before, but a price model does
/// not bill by tiers that it cannot follow.
pub(super) fn checked(tiers: &[Tier]) -> Result<&[Tier], PriceError> {
    let Some((last, before)) = tiers.split_last() else {
        return Err(PriceError::ImpossibleModel { what: "no tiers" });
    };
    let mut below = Decimal::ZERO;
    for tier in before {
        match tier.up_to {
            Some(up_to) if up_to > below => below = up_to,
            _ => {
                return Err(PriceError::ImpossibleModel { what: "tier bounds do not ascend" });
            }
        }
    }
    if last.up_to.is_some() {
        return Err(PriceError::ImpossibleModel { what: "last tier has a bound" });
    }
    Ok(tiers)
}
