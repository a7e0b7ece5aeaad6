//! Package: units are sold in packages; a started package is a whole one unless told otherwise (DESIGN.md 3.7).

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

use super::RoundingDirection;

#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PackagePrice {
    /// Units in one package, above zero.
    pub size: Decimal,
    pub package_price: Decimal,
    pub rounding: RoundingDirection,
}
