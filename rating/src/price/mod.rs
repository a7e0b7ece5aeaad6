//! From a quantity to an amount (DESIGN.md 3.6 and 3.7).
//!
//! Owns the price models, one file each, and the settings of the steps around them. Does not own which meter
//! and measure a price reads, nor when it is in force: the catalog says that.

mod allowance;
mod commitment;
mod conversion;
mod discount;
mod flat;
mod graduated;
mod matrix;
mod package;
mod per_unit;
mod percentage;
mod tier;
mod volume;

use serde::{Deserialize, Serialize};

use crate::money::MoneyRounding;

pub use allowance::{Allowance, Pool};
pub use commitment::{Commitment, CommittedUsage};
pub use conversion::{QuantityRounding, RoundingDirection, UnitConversion};
pub use discount::Discount;
pub use flat::FlatPrice;
pub use graduated::GraduatedPrice;
pub use matrix::{MatrixCell, MatrixPrice};
pub use package::PackagePrice;
pub use per_unit::PerUnitPrice;
pub use percentage::PercentagePrice;
pub use tier::{Tier, ZeroUsage};
pub use volume::VolumePrice;

/// Everything about one price that turns a quantity into a line, in the order in which it is applied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PriceTerms {
    pub conversion: UnitConversion,
    pub allowance: Option<Allowance>,
    pub quantity_rounding: QuantityRounding,
    pub model: PriceModel,
    pub commitment: Option<Commitment>,
    /// Percentages are taken first, then fixed amounts, then the cap, in the order listed within each.
    pub discounts: Vec<Discount>,
    pub line_rounding: MoneyRounding,
}

impl PriceTerms {
    /// The plainest terms around a model: no conversion, allowance, commitment or discount.
    pub fn of(model: PriceModel) -> PriceTerms {
        PriceTerms {
            conversion: UnitConversion::none(),
            allowance: None,
            quantity_rounding: QuantityRounding::None,
            model,
            commitment: None,
            discounts: Vec::new(),
            line_rounding: MoneyRounding::default(),
        }
    }
}

/// How a billable quantity becomes an amount.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "model")]
pub enum PriceModel {
    /// The same amount whatever the usage: base fees, and one-off charges.
    Flat(FlatPrice),
    PerUnit(PerUnitPrice),
    Package(PackagePrice),
    Graduated(GraduatedPrice),
    Volume(VolumePrice),
    Matrix(MatrixPrice),
    Percentage(PercentagePrice),
}
