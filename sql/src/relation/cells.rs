//! Rows of tables that are made in memory.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Date32Array, Decimal128Array, Int64Array, RecordBatch, StringArray,
    TimestampMicrosecondArray,
};
use arrow::datatypes::DataType;
use arrow::error::ArrowError;
use rating::exact::{Exact, Rounding};

use super::{RelationColumn, schema_of};

/// A cell.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Cell {
    Null,
    Text(String),
    Whole(i64),
    Time(i64),
    /// Days since 1970-01-01.
    Day(i32),
    Decimal(i128),
    Truth(bool),
}

impl From<&str> for Cell {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Cell {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl<T: Into<Cell>> From<Option<T>> for Cell {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

/// Instants at the ends of time are open.
pub(crate) fn instant(us: i64) -> Cell {
    if us == i64::MIN || us == i64::MAX { Cell::Null } else { Cell::Time(us) }
}

pub(crate) fn decimal(value: &Exact) -> Cell {
    scaled(value).map_or(Cell::Null, Cell::Decimal)
}

/// As a column of 12 decimals has it; nothing for what is too large.
pub(crate) fn scaled(value: &Exact) -> Option<i128> {
    (value * &Exact::from(10_i128.pow(12))).round(Rounding::HalfAwayFromZero).to_i128()
}

pub(crate) fn batch(columns: &[RelationColumn], rows: &[Vec<Cell>]) -> Result<RecordBatch, ArrowError> {
    let arrays = columns.iter().enumerate().map(|(at, column)| array(&column.data_type, rows, at));
    RecordBatch::try_new(schema_of(columns), arrays.collect::<Result<_, _>>()?)
}

fn array(data_type: &DataType, rows: &[Vec<Cell>], at: usize) -> Result<ArrayRef, ArrowError> {
    let cells = rows.iter().map(|row| &row[at]);
    Ok(match data_type {
        DataType::Int64 => Arc::new(
            cells
                .map(|cell| if let Cell::Whole(number) = cell { Some(*number) } else { None })
                .collect::<Int64Array>(),
        ),
        DataType::Boolean => Arc::new(
            cells
                .map(|cell| if let Cell::Truth(truth) = cell { Some(*truth) } else { None })
                .collect::<BooleanArray>(),
        ),
        DataType::Date32 => Arc::new(
            cells
                .map(|cell| if let Cell::Day(day) = cell { Some(*day) } else { None })
                .collect::<Date32Array>(),
        ),
        DataType::Timestamp(..) => {
            let times = cells.map(|cell| if let Cell::Time(us) = cell { Some(*us) } else { None });
            Arc::new(times.collect::<TimestampMicrosecondArray>().with_timezone("UTC"))
        }
        DataType::Decimal128(precision, scale) => {
            let scaled =
                cells.map(|cell| if let Cell::Decimal(scaled) = cell { Some(*scaled) } else { None });
            Arc::new(scaled.collect::<Decimal128Array>().with_precision_and_scale(*precision, *scale)?)
        }
        _ => Arc::new(
            cells
                .map(|cell| if let Cell::Text(text) = cell { Some(text.as_str()) } else { None })
                .collect::<StringArray>(),
        ),
    })
}
