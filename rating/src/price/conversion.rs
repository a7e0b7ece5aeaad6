//! From the meter's unit to the price's unit, and rounding of the billable quantity (DESIGN.md 3.6).

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

use super::PriceError;
use crate::exact::{Exact, Rounding};

/// The exact factor between two units: `quantity * multiply_by / divide_by`. Bytes to GB divides by 1000^3,
/// bytes to GiB by 1024^3. Both are above zero.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct UnitConversion {
    pub multiply_by: Decimal,
    pub divide_by: Decimal,
    /// The unit after conversion, as the line shows it; `None` keeps the meter's.
    pub unit: Option<String>,
}

impl UnitConversion {
    pub fn none() -> UnitConversion {
        UnitConversion { multiply_by: Decimal::ONE, divide_by: Decimal::ONE, unit: None }
    }

    pub fn divide_by(divisor: Decimal, unit: &str) -> UnitConversion {
        UnitConversion { multiply_by: Decimal::ONE, divide_by: divisor, unit: Some(unit.to_owned()) }
    }

    pub fn multiply_by(factor: Decimal, unit: &str) -> UnitConversion {
        UnitConversion { multiply_by: factor, divide_by: Decimal::ONE, unit: Some(unit.to_owned()) }
    }
}

/// Rounding of the billable quantity, after the allowance and before the model.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum QuantityRounding {
    #[default]
    None,
    /// To a multiple of `step`, which is above zero: 1 for whole units, 0.01, 1000 …
    ToStep { direction: RoundingDirection, step: Decimal },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RoundingDirection {
    /// Towards plus infinity: a started unit is a whole one.
    Up,
    /// Towards minus infinity.
    Down,
    /// To the nearest; a half goes away from zero.
    Nearest,
}

impl From<RoundingDirection> for Rounding {
    fn from(direction: RoundingDirection) -> Rounding {
        match direction {
            RoundingDirection::Up => Rounding::Up,
            RoundingDirection::Down => Rounding::Down,
            RoundingDirection::Nearest => Rounding::HalfAwayFromZero,
        }
    }
}

impl UnitConversion {
    /// The quantity in the price's unit.
    pub fn convert(&self, quantity: &Exact) -> Result<Exact, PriceError> {
        let factors_are_positive = self.multiply_by > Decimal::ZERO && self.divide_by > Decimal::ZERO;
        (quantity * &Exact::from(self.multiply_by))
            .checked_div(&Exact::from(self.divide_by))
            .filter(|_| factors_are_positive)
            .ok_or(PriceError::ImpossibleModel { what: "unit conversion factor is not above zero" })
    }

    /// A quantity of the price's unit in the meter's; nothing where the factor is none.
    pub fn convert_back(&self, quantity: &Exact) -> Option<Exact> {
        (quantity * &Exact::from(self.divide_by)).checked_div(&Exact::from(self.multiply_by))
    }
}

impl QuantityRounding {
    /// Rounds to a multiple of the step; that of a level is weighed as the level is.
    pub fn round(&self, quantity: &Exact, weight: &Exact) -> Result<Exact, PriceError> {
        match self {
            QuantityRounding::None => Ok(quantity.clone()),
            QuantityRounding::ToStep { step, .. } if *step <= Decimal::ZERO => {
                Err(PriceError::ImpossibleModel { what: "rounding step is not above zero" })
            }
            QuantityRounding::ToStep { direction, step } => {
                Ok(quantity.round_to_step((*direction).into(), &(&Exact::from(*step) * weight)))
            }
        }
    }
}
