//! `price(plan, meter, quantity)`: what a quantity costs by a plan, with allowance, rounding and all else of its terms.

use std::collections::BTreeMap;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::{AsArray, Decimal128Array};
use arrow::datatypes::{DataType, Decimal128Type};
use datafusion::common::{exec_datafusion_err, exec_err, plan_err};
use datafusion::error::Result;
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility};
use rating::catalog::{Catalog, PlanVersion, Price};
use rating::exact::Exact;
use rating::price::{Allowance, PoolBalances, Usage};

use super::{DECIMAL, PRECISION, SCALE, as_decimal, scaled, unscaled};
use crate::relation::TEXT;

#[derive(Debug, Clone)]
pub(super) struct PriceFunction {
    pub(super) catalog: Arc<Catalog>,
    signature: Signature,
}

impl PriceFunction {
    pub fn new(catalog: &Arc<Catalog>) -> Self {
        Self { catalog: Arc::clone(catalog), signature: Signature::user_defined(Volatility::Immutable) }
    }

    fn amount(&self, plan: &str, name: &str, quantity: &Exact) -> Result<i128> {
        let Some(plan) = self.catalog.plan(plan) else {
            return exec_err!("price(): there is no plan `{plan}`; the table `plans` lists them");
        };
        let Some(version) = plan.versions.last() else {
            return exec_err!("price(): plan `{}` has no prices", plan.key);
        };
        let price = price_of(version, name).map_err(|problem| {
            exec_datafusion_err!("price(): plan `{}` {problem}; the table `prices` lists them", plan.key)
        })?;
        let conversion = &price.terms.conversion;
        let metered = (quantity * &Exact::from(conversion.divide_by))
            .checked_div(&Exact::from(conversion.multiply_by))
            .unwrap_or_default();
        let usage = Usage {
            quantity: &metered,
            unit: price.usage.as_ref().map_or("", |usage| usage.measured_unit.name.as_str()),
            dimensions: &BTreeMap::new(),
            transactions: Some(std::slice::from_ref(quantity)),
            over_time: rating::quantity::OverTime::AddsUp,
            span_share: &Exact::ONE,
            so_far: None,
            commitment: None,
        };
        let mut pools = match &price.terms.allowance {
            Some(Allowance::Pool { .. }) => PoolBalances::open(&version.pools, &Exact::ONE),
            _ => PoolBalances::default(),
        };
        let trail = price.terms.rate(&usage, plan.currency, &mut pools);
        let trail =
            trail.map_err(|error| exec_datafusion_err!("price(): plan `{}`, `{name}`: {error}", plan.key))?;
        scaled(&Exact::from(trail.amount()), "price()")
    }
}

/// The price of that name, or the only one of the meter of that name.
fn price_of<'v>(version: &'v PlanVersion, name: &str) -> Result<&'v Price, String> {
    if let Some(price) = version.price(name) {
        return Ok(price);
    }
    let is_of_meter = |price: &&Price| price.usage.as_ref().is_some_and(|usage| usage.meter == name);
    let of_meter: Vec<&Price> = version.prices.iter().filter(is_of_meter).collect();
    match of_meter.as_slice() {
        [] => Err(format!("has no price of `{name}`")),
        [price] => Ok(price),
        several => {
            let names: Vec<&str> = several.iter().map(|price| price.key.as_str()).collect();
            Err(format!("has several prices of `{name}`, so name one of them: {}", names.join(", ")))
        }
    }
}

impl PartialEq for PriceFunction {
    fn eq(&self, other: &Self) -> bool {
        self.catalog.hash == other.catalog.hash
    }
}

impl Eq for PriceFunction {}

impl Hash for PriceFunction {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.catalog.hash.as_bytes().hash(state);
    }
}

impl ScalarUDFImpl for PriceFunction {
    fn name(&self) -> &'static str {
        "price"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, arguments: &[DataType]) -> Result<Vec<DataType>> {
        match arguments {
            [_, _, quantity] => Ok(vec![TEXT, TEXT, as_decimal("price", quantity)?]),
            _ => plan_err!("price() takes a plan, a meter or price, and a quantity in the price's unit"),
        }
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType> {
        Ok(DECIMAL)
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let columns = arguments.args.iter().map(|argument| argument.to_array(arguments.number_rows));
        let columns = columns.collect::<Result<Vec<_>>>()?;
        let (plans, names) = (columns[0].as_string::<i32>(), columns[1].as_string::<i32>());
        let quantities = columns[2].as_primitive::<Decimal128Type>();
        let amounts = plans.iter().zip(names).zip(quantities).map(|((plan, name), quantity)| {
            let (Some(plan), Some(name), Some(quantity)) = (plan, name, quantity) else { return Ok(None) };
            self.amount(plan, name, &unscaled(quantity)).map(Some)
        });
        let amounts = amounts.collect::<Result<Decimal128Array>>()?;
        Ok(ColumnarValue::Array(Arc::new(amounts.with_precision_and_scale(PRECISION, SCALE)?)))
    }
}
