//! Included quantities: a price's own, or a pool that several prices draw from (DESIGN.md 3.6).

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

/// What is free before the model prices the rest. Quantities are in the price's converted unit.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Allowance {
    /// This price alone uses it.
    Own {
        quantity: Decimal,
        /// Whether a span shorter than the period gets only its share of elapsed time; true by default.
        prorated: bool,
    },
    /// Drawn from the plan's pool of that name, in the order in which the plan lists its prices.
    Pool { pool: String },
}

/// An included quantity shared by several prices of one plan.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Pool {
    pub name: String,
    pub quantity: Decimal,
    /// The unit that every price drawing from it must convert to.
    pub unit: String,
    pub prorated: bool,
}
