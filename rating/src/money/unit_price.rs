//! The price of one unit, to 12 decimals (DESIGN.md 3.6).

use std::fmt;

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

pub const UNIT_PRICE_DECIMALS_MAX: u32 = 12;

/// A price per unit with at most twelve decimals, trailing zeros not counted. May be zero or negative (a rebate).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(try_from = "Decimal", into = "Decimal")]
pub struct UnitPrice(Decimal);

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unit price {price} has {decimals} decimals, at most 12 are allowed")]
pub struct UnitPriceError {
    pub price: Decimal,
    pub decimals: u32,
}

impl UnitPrice {
    pub const ZERO: UnitPrice = UnitPrice(Decimal::ZERO);

    pub fn new(price: Decimal) -> Result<UnitPrice, UnitPriceError> {
        let normalized = price.normalize();
        let decimals = normalized.scale();
        if decimals > UNIT_PRICE_DECIMALS_MAX {
            return Err(UnitPriceError { price, decimals });
        }
        Ok(UnitPrice(normalized))
    }

    pub fn value(self) -> Decimal {
        self.0
    }
}

impl TryFrom<Decimal> for UnitPrice {
    type Error = UnitPriceError;

    fn try_from(price: Decimal) -> Result<UnitPrice, UnitPriceError> {
        UnitPrice::new(price)
    }
}

impl From<UnitPrice> for Decimal {
    fn from(price: UnitPrice) -> Decimal {
        price.0
    }
}

impl fmt::Display for UnitPrice {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn twelve_decimals_are_the_limit() {
        for (text, allowed) in [
            ("0.000000000001", true),
            ("0.0000000000001", false),
            ("0.1000000000000000", true),
            ("1234567890123456.123456789012", true),
            ("-0.5", true),
        ] {
            let price: Decimal = text.parse().unwrap();
            assert_eq!(UnitPrice::new(price).is_ok(), allowed, "{text}");
        }
    }
}
