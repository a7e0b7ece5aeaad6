//! The cells of an answer as people read them.
//!
//! Owns how a number looks to people: as short as it can be, but an amount of money with the digits of its currency. Files
//! for programs keep the digits of the column and do not come here.

use anyhow::Result;
use arrow::array::{Array, ArrayRef, RecordBatch};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use rating::money::Currency;

/// Columns of the lake's tables that are amounts of money wherever they appear.
const MONEY: [&str; 4] = ["amount", "credited", "taxed", "due"];
/// So people call other sums as well: an amount of money only beside its currency.
const TOTAL: &str = "total";
const CURRENCY: &str = "currency";
/// Of an amount whose currency is not among the columns: more currencies have two than anything else.
const USUAL_MINOR_DIGITS: usize = 2;

/// The texts of a batch's cells.
pub(crate) struct Cells<'b> {
    columns: Vec<(&'b ArrayRef, ArrayFormatter<'b>)>,
    is_money: Vec<bool>,
    currency: Option<usize>,
}

impl<'b> Cells<'b> {
    /// `money` are the columns of amounts beside those that are known by their names.
    pub fn of(batch: &'b RecordBatch, money: &[String]) -> Result<Self> {
        static OPTIONS: FormatOptions<'static> = FormatOptions::new();
        let columns =
            batch.columns().iter().map(|column| Ok((column, ArrayFormatter::try_new(column, &OPTIONS)?)));
        let schema = batch.schema();
        let currency = schema.fields().iter().position(|field| field.name() == CURRENCY);
        let is_money = schema.fields().iter().map(|field| {
            let name = field.name();
            let is_known = MONEY.contains(&name.as_str()) || (name == TOTAL && currency.is_some());
            (is_known || money.contains(name)) && field.data_type().is_decimal()
        });
        Ok(Self { columns: columns.collect::<Result<_>>()?, is_money: is_money.collect(), currency })
    }

    /// Nothing for what is null.
    pub fn text(&self, column: usize, row: usize) -> Result<String> {
        let (values, texts) = &self.columns[column];
        if values.is_null(row) {
            return Ok(String::new());
        }
        let mut text = texts.value(row).try_to_string()?;
        if values.data_type().is_decimal() {
            without_trailing_zeros(&mut text);
        }
        if self.is_money[column] {
            with_minor_digits(&mut text, self.currency_of(row));
        }
        Ok(text)
    }

    fn currency_of(&self, row: usize) -> Option<Currency> {
        let (values, texts) = &self.columns[self.currency?];
        let code = texts.value(row).try_to_string().ok().filter(|_| !values.is_null(row))?;
        Currency::from_code(&code).ok()
    }
}

fn without_trailing_zeros(decimal: &mut String) {
    if decimal.contains('.') {
        let digits = decimal.trim_end_matches('0').trim_end_matches('.').len();
        decimal.truncate(digits);
    }
}

/// Fills an amount up to its currency's minor unit. What has more digits keeps them, and of an unknown currency a whole
/// amount stays whole: it may be one of those without a minor unit.
fn with_minor_digits(amount: &mut String, currency: Option<Currency>) {
    let decimals = amount.split_once('.').map_or(0, |(_, decimals)| decimals.len());
    let wanted = match currency {
        Some(currency) => currency.minor_digits() as usize,
        None if decimals == 0 => 0,
        None => USUAL_MINOR_DIGITS,
    };
    if decimals < wanted {
        if decimals == 0 {
            amount.push('.');
        }
        amount.extend(std::iter::repeat_n('0', wanted - decimals));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Decimal128Array, StringArray};

    use super::*;

    #[test]
    fn amounts_have_the_digits_of_their_currency_and_quantities_as_few_as_they_can() {
        let rows = [
            (Some("EUR"), 36_100_000_000_i128, "36.10", "36.1"),
            (Some("EUR"), 5_000_000_000, "5.00", "5"),
            (Some("EUR"), 1_234_500_000, "1.2345", "1.2345"),
            (Some("JPY"), 500_000_000_000, "500", "500"),
            (Some("KWD"), -2_500_000_000, "-2.500", "-2.5"),
            (Some("???"), 36_100_000_000, "36.10", "36.1"),
            (None, 0, "0", "0"),
        ];
        let values = |scale| -> ArrayRef {
            let values = Decimal128Array::from_iter_values(rows.iter().map(|row| row.1));
            Arc::new(values.with_precision_and_scale(38, scale).unwrap())
        };
        let batch = RecordBatch::try_from_iter([
            ("currency", Arc::new(rows.iter().map(|row| row.0).collect::<StringArray>()) as ArrayRef),
            ("due", values(9)),
            ("spend", values(9)),
            ("quantity", values(9)),
        ]);
        let batch = batch.unwrap();
        let cells = Cells::of(&batch, &["spend".to_owned()]).unwrap();
        for (row, (currency, _, amount, quantity)) in rows.iter().enumerate() {
            let texts = [1, 2, 3].map(|column| cells.text(column, row).unwrap());
            assert_eq!(texts, [*amount, *amount, *quantity], "{currency:?}");
        }
        assert_eq!(cells.text(0, 6).unwrap(), "");
    }
}
