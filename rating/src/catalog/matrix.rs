//! Matrix prices: the values of dimensions choose the price, for example user type x size (DESIGN.md 3.7).
//!
//! Owns: reading the nested rows and finding the cells that were forgotten.

use super::fields::{self, Fields};
use super::mistake::{Mistakes, Place};
use super::model;
use super::yaml::{Content, Node};
use crate::price::{MatrixCell, MatrixPrice};

pub(super) fn read(node: &Node, places: &mut Vec<Place>, mistakes: &mut Mistakes) -> Option<MatrixPrice> {
    let mut fields = Fields::open(node, "`matrix`", node.place, mistakes)?;
    let by = fields.required("by", mistakes).map(|node| (fields::texts(node, "`by`", mistakes), node.place));
    let rows = fields.required("rows", mistakes);
    let otherwise = fields.optional("otherwise").map(|node| model::read_cell(node, "`otherwise`", mistakes));
    fields.close(mistakes);
    let ((dimensions, _), rows) = by.zip(rows)?;
    if dimensions.is_empty() {
        return None; // Reported by `texts`.
    }
    let before = mistakes.count();
    let mut cells = Vec::new();
    read_rows(rows, &dimensions, &mut Vec::new(), &mut cells, places, mistakes);
    if mistakes.count() > before {
        return None;
    }
    if otherwise.is_none() {
        report_forgotten(&dimensions, &cells, rows.place, mistakes);
    }
    let otherwise = match otherwise {
        Some(read) => Some(Box::new(read?)),
        None => None,
    };
    Some(MatrixPrice { dimensions, cells, otherwise })
}

/// `values` are those of the dimensions above this level.
fn read_rows(
    node: &Node,
    dimensions: &[String],
    values: &mut Vec<String>,
    cells: &mut Vec<MatrixCell>,
    places: &mut Vec<Place>,
    mistakes: &mut Mistakes,
) {
    let Some(dimension) = dimensions.get(values.len()) else {
        let what = format!("the price for {}", shown(values));
        if let Some(price) = model::read_cell(node, &what, mistakes) {
            cells.push(MatrixCell { values: values.clone(), price });
            places.push(node.place);
        }
        return;
    };
    let Content::Map(entries) = &node.content else {
        let below = if values.is_empty() { "`rows`".to_owned() } else { shown(values) };
        mistakes
            .report(
                node.place,
                format!("{below}: expected a price for each value of `{dimension}`, found {}", node.found()),
            )
            .hint(format!("the rows are nested in the order of `by`: {}", dimensions.join(", ")));
        return;
    };
    for entry in entries {
        values.push(entry.key.clone());
        read_rows(&entry.value, dimensions, values, cells, places, mistakes);
        values.pop();
    }
}

fn shown(values: &[String]) -> String {
    values.iter().map(|value| format!("`{value}`")).collect::<Vec<_>>().join(" x ")
}

/// A value that occurs in one row is expected in all: a hole in the table is usage without a price.
fn report_forgotten(dimensions: &[String], cells: &[MatrixCell], place: Place, mistakes: &mut Mistakes) {
    let mut combinations: Vec<Vec<String>> = vec![Vec::new()];
    for at in 0..dimensions.len() {
        let mut values: Vec<&String> = Vec::new();
        for cell in cells {
            if !values.contains(&&cell.values[at]) {
                values.push(&cell.values[at]);
            }
        }
        if combinations.len().saturating_mul(values.len()) > 10_000 {
            return; // A table this wide is checked by the usage itself, which warns of values without a price.
        }
        combinations = combinations
            .iter()
            .flat_map(|start| {
                values.iter().map(move |value| [start.as_slice(), &[(*value).clone()]].concat())
            })
            .collect();
    }
    let forgotten: Vec<String> = combinations
        .iter()
        .filter(|combination| !cells.iter().any(|cell| cell.values == **combination))
        .map(|combination| shown(combination))
        .collect();
    if !forgotten.is_empty() {
        mistakes
            .report(place, format!("the matrix has a gap: no price for {}", forgotten.join(", ")))
            .hint("add the missing prices, or `otherwise:` for all values that no row names");
    }
}
