//! Package: units are sold in packages; a started package is a whole one unless told otherwise (DESIGN.md 3.7).

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

use super::part::{Billable, Model, Part, Rule};
use super::{PriceError, RoundingDirection};
use crate::exact::Exact;

#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PackagePrice {
    /// Units in one package, above zero.
    pub size: Decimal,
    pub package_price: Decimal,
    pub rounding: RoundingDirection,
}

impl Model for PackagePrice {
    fn parts(&self, billable: &Billable<'_>) -> Result<Vec<Part>, PriceError> {
        let size = Exact::from(self.size);
        if !size.is_positive() {
            return Err(PriceError::ImpossibleModel { what: "package size is not above zero" });
        }
        let packages = billable.quantity.checked_div(&size).unwrap_or_default().round(self.rounding.into());
        Ok(vec![Part::units(Rule::Packages { size }, packages, self.package_price.into())])
    }
}
