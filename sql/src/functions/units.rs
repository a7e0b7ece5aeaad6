//! `to_gb(bytes)` and `to_gib(bytes)`.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Decimal128Array};
use arrow::datatypes::{DataType, Decimal128Type};
use datafusion::common::plan_err;
use datafusion::error::Result;
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility};
use rating::exact::Exact;

use super::{DECIMAL, PRECISION, SCALE, as_decimal, scaled, unscaled};

/// Divides by the size of a unit.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct UnitFunction {
    name: &'static str,
    size: i128,
    signature: Signature,
}

pub(super) fn all() -> [UnitFunction; 2] {
    [("to_gb", 1_000_000_000), ("to_gib", 1 << 30)].map(|(name, size)| UnitFunction {
        name,
        size,
        signature: Signature::user_defined(Volatility::Immutable),
    })
}

impl ScalarUDFImpl for UnitFunction {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, arguments: &[DataType]) -> Result<Vec<DataType>> {
        match arguments {
            [bytes] => Ok(vec![as_decimal(self.name, bytes)?]),
            _ => plan_err!("{}() takes one number", self.name),
        }
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType> {
        Ok(DECIMAL)
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let bytes = arguments.args[0].to_array(arguments.number_rows)?;
        let size = Exact::from(self.size);
        let converted = bytes.as_primitive::<Decimal128Type>().iter().map(|bytes| {
            let in_unit = bytes.and_then(|bytes| unscaled(bytes).checked_div(&size));
            in_unit.map(|value| scaled(&value, self.name)).transpose()
        });
        let converted = converted.collect::<Result<Decimal128Array>>()?;
        Ok(ColumnarValue::Array(Arc::new(converted.with_precision_and_scale(PRECISION, SCALE)?) as ArrayRef))
    }
}
