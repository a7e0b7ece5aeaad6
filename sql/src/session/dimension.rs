//! `dimension(dimensions, 'region')`: one value out of a row's dimensions, which are kept as JSON text.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, StringArray, StringBuilder};
use arrow::compute::cast;
use arrow::datatypes::DataType;
use datafusion::common::exec_datafusion_err;
use datafusion::error::Result;
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility};
use serde_json::{Map, Value};

/// The function; null where the row has no dimensions or none of that name.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Dimension {
    signature: Signature,
}

impl Default for Dimension {
    fn default() -> Self {
        Self { signature: Signature::string(2, Volatility::Immutable) }
    }
}

impl ScalarUDFImpl for Dimension {
    fn name(&self) -> &'static str {
        "dimension"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType> {
        Ok(DataType::Utf8)
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let are_scalars = arguments.args.iter().all(|argument| matches!(argument, ColumnarValue::Scalar(_)));
        let rows = if are_scalars { 1 } else { arguments.number_rows };
        let [objects, names] = &arguments.args[..] else {
            return Err(exec_datafusion_err!("dimension() takes the dimensions and a name"));
        };
        let (objects, names) = (texts(objects, rows)?, texts(names, rows)?);
        let values: ArrayRef = Arc::new(values(objects.as_string(), names.as_string())?);
        if are_scalars {
            return Ok(ColumnarValue::Scalar(datafusion::common::ScalarValue::try_from_array(&values, 0)?));
        }
        Ok(ColumnarValue::Array(values))
    }
}

fn texts(argument: &ColumnarValue, rows: usize) -> Result<ArrayRef> {
    Ok(cast(&argument.to_array(rows)?, &DataType::Utf8)?)
}

/// Rows share few distinct dimensions, so each text is parsed once per batch.
fn values(objects: &StringArray, names: &StringArray) -> Result<StringArray> {
    let mut parsed: HashMap<&str, Map<String, Value>> = HashMap::new();
    let mut values = StringBuilder::new();
    for row in 0..objects.len() {
        if objects.is_null(row) || names.is_null(row) {
            values.append_null();
            continue;
        }
        let text = objects.value(row);
        if !parsed.contains_key(text) {
            let object = serde_json::from_str(text)
                .map_err(|error| exec_datafusion_err!("dimension() expects a JSON object: {error}"))?;
            parsed.insert(text, object);
        }
        match parsed[text].get(names.value(row)) {
            None | Some(Value::Null) => values.append_null(),
            Some(Value::String(value)) => values.append_value(value),
            Some(other) => values.append_value(other.to_string()),
        }
    }
    Ok(values.finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_found_by_name() {
        let rows = [
            (Some(r#"{"region":"eu \"1\"","size":"4"}"#), Some("region"), Some("eu \"1\"")),
            (Some(r#"{"region":"eu"}"#), Some("size"), None),
            (None, Some("size"), None),
            (Some(r#"{"size":4.50}"#), Some("size"), Some("4.50")),
            (Some(r#"{"size":null}"#), Some("size"), None),
            (Some("{}"), None, None),
        ];
        let objects: StringArray = rows.iter().map(|row| row.0).collect();
        let names: StringArray = rows.iter().map(|row| row.1).collect();
        let expected: StringArray = rows.iter().map(|row| row.2).collect();
        assert_eq!(values(&objects, &names).unwrap(), expected);
        let wrong: StringArray = [Some("[1]")].into_iter().collect();
        assert!(values(&wrong, &names.slice(0, 1)).is_err());
    }
}
