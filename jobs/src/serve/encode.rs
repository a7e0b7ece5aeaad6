//! Rows as the protocol carries them, as text or in binary.
//!
//! Owns decimals and lists of them, of any size and to the last digit; the encoder of the wire library holds 28 digits and fails
//! beyond. All other types are its work.

use std::sync::Arc;

use bytes::{BufMut, BytesMut};
use datafusion::arrow::array::{Array, AsArray, RecordBatch};
use datafusion::arrow::datatypes::{
    DataType, Decimal128Type, Decimal256Type, DecimalType, Field, FieldRef, Schema, SchemaRef,
};
use datafusion_postgres::arrow_pg::datatypes::arrow_schema_to_pg_fields;
use datafusion_postgres::arrow_pg::encoder::encode_value;
use datafusion_postgres::pgwire::api::portal::Format;
use datafusion_postgres::pgwire::api::results::{DataRowEncoder, FieldInfo};
use datafusion_postgres::pgwire::messages::data::DataRow;
use datafusion_postgres::pgwire::types::ToSqlText;
use datafusion_postgres::pgwire::types::format::FormatOptions;
use postgres_types::{IsNull, ToSql, Type, to_sql_checked};

use super::failure::Failure;

type BoxedError = Box<dyn std::error::Error + Sync + Send>;

/// The columns of a result as a client is told of them.
pub fn fields(
    schema: &Schema,
    format: &Format,
    options: Option<Arc<FormatOptions>>,
) -> Result<Vec<FieldInfo>, Failure> {
    if let Format::Individual(codes) = format
        && codes.len() != schema.fields().len()
    {
        let (given, columns) = (codes.len(), schema.fields().len());
        return Err(Failure::protocol(format!("{given} result formats for {columns} columns")));
    }
    // Wide decimals are told as other decimals are.
    let shown = schema.fields().iter().map(|field| {
        let told = match field.data_type() {
            number if number.is_decimal() => ANY_DECIMAL,
            list if item_of(list).is_some_and(|item| item.data_type().is_decimal()) => {
                DataType::List(Arc::new(Field::new_list_field(ANY_DECIMAL, true)))
            }
            deeper if has_list_of_decimals(deeper) => {
                let message = format!(
                    "the column {} has lists of decimals within others: give them apart",
                    field.name()
                );
                return Err(Failure::new("0A000", message));
            }
            _ => return Ok(Arc::clone(field)),
        };
        Ok(Arc::new(Field::new(field.name(), told, true)))
    });
    let shown = shown.collect::<Result<Vec<_>, _>>()?;
    Ok(arrow_schema_to_pg_fields(&Schema::new(shown), format, options)?)
}

const ANY_DECIMAL: DataType = DataType::Decimal128(38, 0);

fn item_of(list: &DataType) -> Option<&FieldRef> {
    match list {
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => Some(item),
        _ => None,
    }
}

fn has_list_of_decimals(kind: &DataType) -> bool {
    match kind {
        DataType::Struct(fields) => fields.iter().any(|field| has_list_of_decimals(field.data_type())),
        DataType::Map(entries, _) => has_list_of_decimals(entries.data_type()),
        list => item_of(list)
            .is_some_and(|item| item.data_type().is_decimal() || has_list_of_decimals(item.data_type())),
    }
}

/// The rows of a batch, one after the other.
pub fn rows(
    schema: SchemaRef,
    batch: RecordBatch,
    fields: Arc<Vec<FieldInfo>>,
) -> impl Iterator<Item = Result<DataRow, Failure>> + Send {
    let mut encoder = DataRowEncoder::new(Arc::clone(&fields));
    (0..batch.num_rows()).map(move |row| {
        for (index, (column, field)) in batch.columns().iter().zip(schema.fields()).enumerate() {
            if column.data_type().is_decimal() {
                encoder.encode_field(&decimal(column.as_ref(), row))?;
            } else if let Some(items) = list_of_decimals(column.as_ref(), row) {
                encoder.encode_field(&items)?;
            } else {
                encode_value(&mut encoder, column, row, field, &fields[index])?;
            }
        }
        Ok(encoder.take_row())
    })
}

/// A list of a column of lists of decimals; none for another column. A null is left to the library.
fn list_of_decimals(column: &dyn Array, row: usize) -> Option<Vec<Option<Numeric>>> {
    if !item_of(column.data_type())?.data_type().is_decimal() || column.is_null(row) {
        return None;
    }
    let items = match column.data_type() {
        DataType::LargeList(_) => column.as_list::<i64>().value(row),
        DataType::FixedSizeList(..) => column.as_fixed_size_list().value(row),
        _ => column.as_list::<i32>().value(row),
    };
    Some((0..items.len()).map(|place| decimal(items.as_ref(), place)).collect())
}

/// The value of a column of decimals; none for a null.
fn decimal(column: &dyn Array, row: usize) -> Option<Numeric> {
    if column.is_null(row) {
        return None;
    }
    let digits = match column.data_type() {
        DataType::Decimal128(precision, scale) => {
            let value = column.as_primitive::<Decimal128Type>().value(row);
            Decimal128Type::format_decimal(value, *precision, *scale)
        }
        DataType::Decimal256(precision, scale) => {
            let value = column.as_primitive::<Decimal256Type>().value(row);
            Decimal256Type::format_decimal(value, *precision, *scale)
        }
        // The narrow decimals are not made by anything that the lake or its functions hold; they print the same.
        _ => arrow::util::display::array_value_to_string(column, row).ok()?,
    };
    Some(Numeric(digits))
}

/// A decimal by its digits.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Numeric(String);

impl ToSqlText for Numeric {
    fn to_sql_text(
        &self,
        _type: &Type,
        out: &mut BytesMut,
        _options: &FormatOptions,
    ) -> Result<IsNull, BoxedError> {
        out.put_slice(self.0.as_bytes());
        Ok(IsNull::No)
    }
}

impl ToSql for Numeric {
    /// Groups of four digits, of which the first has this weight in powers of 10,000.
    fn to_sql(&self, _type: &Type, out: &mut BytesMut) -> Result<IsNull, BoxedError> {
        let (is_negative, digits) = match self.0.strip_prefix('-') {
            Some(digits) => (true, digits),
            None => (false, self.0.as_str()),
        };
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        let before = whole.len().div_ceil(4);
        let padded = format!(
            "{whole:0>whole_width$}{fraction:0<fraction_width$}",
            whole_width = before * 4,
            fraction_width = fraction.len().div_ceil(4) * 4,
        );
        let groups = padded
            .as_bytes()
            .chunks(4)
            .map(|group| group.iter().fold(0_i16, |value, digit| value * 10 + i16::from(digit - b'0')));
        let groups: Vec<i16> = groups.collect();
        let first = groups.iter().position(|group| *group != 0).unwrap_or(groups.len());
        let last = groups.iter().rposition(|group| *group != 0).map_or(first, |last| last + 1);
        let kept = &groups[first..last];
        let weight = if kept.is_empty() { 0 } else { before as i16 - 1 - first as i16 };
        out.put_i16(kept.len() as i16);
        out.put_i16(weight);
        out.put_u16(if is_negative && !kept.is_empty() { 0x4000 } else { 0 });
        out.put_u16(fraction.len() as u16);
        for group in kept {
            out.put_i16(*group);
        }
        Ok(IsNull::No)
    }

    fn accepts(kind: &Type) -> bool {
        *kind == Type::NUMERIC
    }

    to_sql_checked!();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn binary(text: &str) -> Vec<i16> {
        let mut out = BytesMut::new();
        Numeric(text.to_owned()).to_sql(&Type::NUMERIC, &mut out).unwrap();
        out.chunks(2).map(|pair| i16::from_be_bytes([pair[0], pair[1]])).collect()
    }

    /// Count of groups, weight, sign, scale, groups: worked out by hand from the format's description.
    #[test]
    fn decimals_are_exact_in_binary() {
        assert_eq!(binary("0"), [0, 0, 0, 0]);
        assert_eq!(binary("0.00"), [0, 0, 0, 2]);
        assert_eq!(binary("1"), [1, 0, 0, 0, 1]);
        assert_eq!(binary("-1.5"), [2, 0, 0x4000, 1, 1, 5000]);
        assert_eq!(binary("10000"), [1, 1, 0, 0, 1]);
        assert_eq!(binary("123456.789"), [3, 1, 0, 3, 12, 3456, 7890]);
        assert_eq!(binary("0.000000001"), [1, -3, 0, 9, 1000]);
        assert_eq!(binary("0.00010000"), [1, -1, 0, 8, 1]);
        let wide = format!("{}.5", "9".repeat(40));
        let groups: Vec<i16> = [11, 9, 0, 1].into_iter().chain([9999; 10]).chain([5000]).collect();
        assert_eq!(binary(&wide), groups);
    }
}
