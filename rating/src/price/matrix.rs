//! Matrix: the dimensions' values choose the price, for example user type x size (DESIGN.md 3.7).

use serde::{Deserialize, Serialize};

use super::PriceModel;

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
