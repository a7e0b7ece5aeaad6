//! Tiers of graduated and volume prices. A bound belongs to the lower tier (DESIGN.md 3.7).

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

use super::PriceError;
use super::part::{Part, Rule};
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

    /// What the tier owes for the units that fall into it; its flat fee is prorated by the span's share.
    pub(super) fn part(&self, number: usize, units: &Exact, span_share: &Exact) -> Part {
        let block_size = self.block_size.map(Exact::from).filter(Exact::is_positive);
        let quantity = match &block_size {
            None => units.clone(),
            Some(size) => units.checked_div(size).unwrap_or_default().round(Rounding::Up),
        };
        let unit_price = Exact::from(self.unit_price.value());
        let fee = &Exact::from(self.flat_fee) * span_share;
        let maximum = self.maximum.map(Exact::from);
        let uncapped = &(&quantity * &unit_price) + &fee;
        let amount = match &maximum {
            Some(maximum) if uncapped > *maximum => maximum.clone(),
            _ => uncapped,
        };
        let up_to = self.up_to.map(Exact::from);
        let number = u32::try_from(number).unwrap_or(u32::MAX);
        Part { rule: Rule::Tier { number, up_to, block_size, maximum }, quantity, unit_price, fee, amount }
    }

    /// The part of a tier that owes its flat fee alone, or nothing, for usage of zero.
    pub(super) fn part_of_zero_usage(&self, zero_usage: ZeroUsage, span_share: &Exact) -> Part {
        match zero_usage {
            ZeroUsage::OwesFirstFlatFee => self.part(1, &Exact::ZERO, span_share),
            ZeroUsage::OwesNothing => self.part(1, &Exact::ZERO, &Exact::ZERO),
        }
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
