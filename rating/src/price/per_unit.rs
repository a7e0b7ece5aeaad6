//! Per unit: every unit costs the same (DESIGN.md 3.7).

use serde::{Deserialize, Serialize};

use super::PriceError;
use super::part::{Billable, Model, Part, Rule};
use crate::money::UnitPrice;

#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PerUnitPrice {
    pub unit_price: UnitPrice,
}

impl Model for PerUnitPrice {
    fn parts(&self, billable: &Billable<'_>) -> Result<Vec<Part>, PriceError> {
        Ok(vec![Part::units(Rule::Units, billable.quantity.clone(), self.unit_price.value().into())])
    }
}
