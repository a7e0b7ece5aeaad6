//! Package: units are sold in packages; a started package is a whole one unless told otherwise (DESIGN.md 3.7).

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

use super::part::{Billable, Model, Part, Rule};
use super::{PriceError, RoundingDirection};

#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PackagePrice {
    /// Units in one package, above zero.
    pub size: Decimal,
    pub package_price: Decimal,
    pub rounding: RoundingDirection,
}

impl Model for PackagePrice {
    fn parts(&self, billable: &Billable<'_>) -> Result<Vec<Part>, PriceError> {
        if self.size <= Decimal::ZERO {
            return Err(PriceError::ImpossibleModel { what: "package size is not above zero" });
        }
        let weighed_size = billable.weighed(self.size);
        let packages = billable.quantity.checked_div(&weighed_size).unwrap_or_default();
        let packages = &packages.round(self.rounding.into()) * billable.weight;
        let rule = Rule::Packages { size: self.size.into(), weight: billable.recorded_weight() };
        Ok(vec![Part::units(rule, packages, self.package_price.into())])
    }
}
