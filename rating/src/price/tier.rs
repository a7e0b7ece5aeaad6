//! Tiers of graduated and volume prices. A bound belongs to the lower tier (DESIGN.md 3.7).

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

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

impl Tier {
    pub fn new(up_to: Option<Decimal>, unit_price: UnitPrice, flat_fee: Decimal) -> Tier {
        Tier {
            up_to,
            unit_price,
            flat_fee,
            block_size: None,
            maximum: None,
        }
    }
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
