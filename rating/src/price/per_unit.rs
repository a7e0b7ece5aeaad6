//! Per unit: every unit costs the same (DESIGN.md 3.7).

use serde::{Deserialize, Serialize};

use crate::money::UnitPrice;

#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PerUnitPrice {
    pub unit_price: UnitPrice,
}
