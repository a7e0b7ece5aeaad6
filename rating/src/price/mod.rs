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
mod part;
mod per_unit;
mod percentage;
mod period_so_far;
mod pipeline;
mod tier;
mod volume;

use part::Model;
use serde::{Deserialize, Serialize};

use crate::exact::{Exact, NotADecimal};
use crate::money::MoneyRounding;

pub use allowance::{Allowance, AllowanceDrawn, Pool, PoolBalances};
pub use commitment::{Commitment, CommitmentApplied, CommittedUsage};
pub use conversion::{QuantityRounding, RoundingDirection, UnitConversion};
pub use discount::{Discount, DiscountTaken};
pub use flat::FlatPrice;
pub use graduated::GraduatedPrice;
pub use matrix::{MatrixCell, MatrixPrice};
pub use package::PackagePrice;
pub use part::{Billable, Part, Rule};
pub use per_unit::PerUnitPrice;
pub use percentage::PercentagePrice;
pub use period_so_far::{CommittedInPeriod, PeriodSoFar};
pub use pipeline::{LineRounding, PriceTrail, QuantityRounded, UnitConverted, Usage};
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

/// A quantity has no amount. Never a silent zero: the caller warns, or fails that tenant.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PriceError {
    #[error("no price for {} = {}", dimensions.join(", "), values.join(", "))]
    NoPriceForDimensions { dimensions: Vec<String>, values: Vec<String> },
    #[error("price cannot be applied: {what}")]
    ImpossibleModel { what: &'static str },
    #[error("unknown pool {pool:?}")]
    UnknownPool { pool: String },
    #[error("pool {pool:?} is in {pool_unit:?}, the quantity in {unit:?}")]
    PoolUnitDiffers { pool: String, pool_unit: String, unit: String },
    #[error("amount is out of range")]
    OutOfRange(#[source] NotADecimal),
    #[error("steps of the line do not add up: {what}")]
    BrokenIdentity { what: &'static str },
}

impl PriceModel {
    /// The parts of the amount, in the order in which the rules apply.
    pub fn parts(&self, billable: &Billable<'_>) -> Result<Vec<Part>, PriceError> {
        match self {
            PriceModel::Flat(price) => price.parts(billable),
            PriceModel::PerUnit(price) => price.parts(billable),
            PriceModel::Package(price) => price.parts(billable),
            PriceModel::Graduated(price) => price.parts(billable),
            PriceModel::Volume(price) => price.parts(billable),
            PriceModel::Matrix(price) => price.parts(billable),
            PriceModel::Percentage(price) => price.parts(billable),
        }
    }

    /// Whether the price looks at single transactions, so that the quantity alone is not enough.
    pub fn needs_transactions(&self) -> bool {
        match self {
            PriceModel::Percentage(price) => price.needs_transactions(),
            PriceModel::Matrix(matrix) => {
                let otherwise = matrix.otherwise.iter().map(AsRef::as_ref);
                matrix
                    .cells
                    .iter()
                    .map(|cell| &cell.price)
                    .chain(otherwise)
                    .any(PriceModel::needs_transactions)
            }
            _ => false,
        }
    }

    /// Whether it is a fee that is owed whole, however short the span.
    pub fn is_whole_fee(&self) -> bool {
        matches!(self, PriceModel::Flat(price) if !price.prorated)
    }

    /// The amount alone, before commitment, discount and rounding.
    pub fn amount(&self, billable: &Billable<'_>) -> Result<Exact, PriceError> {
        Ok(self.parts(billable)?.into_iter().map(|part| part.amount).sum())
    }
}
