//! PostgreSQL's `format('%I.%I', schema, name)`, with which psql puts names together.
//!
//! It knows `%s`, `%I`, `%L` and `%%`, without widths and positions.

use datafusion::arrow::array::{Array, AsArray, StringArray, StringBuilder};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::DataType;
use datafusion::common::{exec_err, plan_err};
use datafusion::error::Result;
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility};

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Format {
    signature: Signature,
}

impl Default for Format {
    fn default() -> Self {
        Self { signature: Signature::variadic_any(Volatility::Immutable) }
    }
}

impl ScalarUDFImpl for Format {
    fn name(&self) -> &'static str {
        "format"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        if arguments.is_empty() { plan_err!("format() takes a pattern") } else { Ok(DataType::Utf8) }
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let texts = arguments.args.iter().map(|argument| {
            let values = argument.to_array(arguments.number_rows)?;
            Ok(cast(&values, &DataType::Utf8)?.as_string::<i32>().clone())
        });
        let texts = texts.collect::<Result<Vec<StringArray>>>()?;
        let mut written = StringBuilder::new();
        for row in 0..arguments.number_rows {
            let values = texts.iter().map(|column| column.is_valid(row).then(|| column.value(row)));
            let values: Vec<Option<&str>> = values.collect();
            match values[0] {
                None => written.append_null(),
                Some(pattern) => written.append_value(format(pattern, &values[1..])?),
            }
        }
        Ok(ColumnarValue::Array(std::sync::Arc::new(written.finish())))
    }
}

fn format(pattern: &str, values: &[Option<&str>]) -> Result<String> {
    let mut values = values.iter();
    let mut text = String::new();
    let mut pieces = pattern.chars();
    while let Some(character) = pieces.next() {
        if character != '%' {
            text.push(character);
            continue;
        }
        let kind = pieces.next();
        if kind == Some('%') {
            text.push('%');
            continue;
        }
        let Some(value) = values.next() else { return exec_err!("format() has too few arguments") };
        match (kind, value) {
            (Some('s'), value) => text.push_str(value.unwrap_or_default()),
            (Some('I'), Some(name)) => text.push_str(&quoted_name(name)),
            (Some('I'), None) => return exec_err!("format() cannot make a name of null"),
            (Some('L'), Some(value)) => text.extend(["'", &value.replace('\'', "''"), "'"]),
            (Some('L'), None) => text.push_str("NULL"),
            _ => return exec_err!("format() knows %s, %I, %L and %%"),
        }
    }
    Ok(text)
}

fn quoted_name(name: &str) -> String {
    let is_plain = |(at, character): (usize, char)| match character {
        'a'..='z' | '_' => true,
        '0'..='9' => at > 0,
        _ => false,
    };
    if !name.is_empty() && name.chars().enumerate().all(is_plain) {
        return name.to_owned();
    }
    format!("\"{}\"", name.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_take_values_names_and_literals() {
        for (pattern, values, expected) in [
            ("%I.%I", vec![Some("public"), Some("a \"b\"")], "public.\"a \"\"b\"\"\""),
            ("%s FROM %s", vec![Some("a, b"), None], "a, b FROM "),
            ("100%% of %L and %L", vec![Some("it's"), None], "100% of 'it''s' and NULL"),
            ("%I", vec![Some("2nd")], "\"2nd\""),
        ] {
            assert_eq!(format(pattern, &values).unwrap(), expected, "{pattern}");
        }
        for (pattern, values) in [("%s%s", vec![Some("a")]), ("%10s", vec![Some("a")]), ("%I", vec![None])] {
            assert!(format(pattern, &values).is_err(), "{pattern}");
        }
    }
}
