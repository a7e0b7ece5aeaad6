//! Matrix: the dimensions' values choose the price, for example user type x size (DESIGN.md 3.7).

use serde::{Deserialize, Serialize};

use super::part::{Billable, Model, Part, Rule};
use super::{PriceError, PriceModel};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MatrixPrice {
    /// The dimensions' names, in the order of each cell's values.
    pub dimensions: Vec<String>,
    pub cells: Vec<MatrixCell>,
    /// For values that no cell names; without it they have no price, which is a warning, never a silent zero.
    pub otherwise: Option<Box<PriceModel>>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MatrixCell {
    pub values: Vec<String>,
    /// Any model but another matrix.
    pub price: PriceModel,
}

impl Model for MatrixPrice {
    fn parts(&self, billable: &Billable<'_>) -> Result<Vec<Part>, PriceError> {
        let values = self
            .dimensions
            .iter()
            .map(|name| billable.dimensions.get(name).cloned().unwrap_or_default())
            .collect::<Vec<String>>();
        let cell = self.cells.iter().find(|cell| cell.values == values);
        let (rule, price) = match (cell, &self.otherwise) {
            (Some(cell), _) => (Rule::Cell { values }, &cell.price),
            (None, Some(price)) => (Rule::OtherCells { values }, price.as_ref()),
            (None, None) => {
                return Err(PriceError::NoPriceForDimensions { dimensions: self.dimensions.clone(), values });
            }
        };
        if matches!(price, PriceModel::Matrix(_)) {
            return Err(PriceError::ImpossibleModel { what: "matrix inside a matrix" });
        }
        let mut parts = vec![Part::note(rule)];
        parts.extend(price.parts(billable)?);
        Ok(parts)
    }
}
