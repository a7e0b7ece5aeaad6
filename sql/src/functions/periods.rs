//! `period_start(tenant, time)` and `period_end(tenant, time)`: the tenant's own billing period.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::{AsArray, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, TimestampMicrosecondType};
use datafusion::common::exec_datafusion_err;
use datafusion::error::Result;
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility};
use rating::catalog::Catalog;
use rating::period::Period;

use crate::relation::{TEXT, time};
use crate::tenant_terms::TenantTerms;

/// One end of a period.
type Edge = fn(&Period) -> i64;

/// Null for a tenant that is not set up.
#[derive(Debug, Clone)]
pub(super) struct PeriodFunction {
    name: &'static str,
    edge: Edge,
    terms: TenantTerms,
    signature: Signature,
}

pub(super) fn all(catalog: &Arc<Catalog>) -> [PeriodFunction; 2] {
    let terms = TenantTerms::new(catalog);
    let edges: [(&'static str, Edge); 2] =
        [("period_start", |period| period.span.start_us), ("period_end", |period| period.span.end_us)];
    edges.map(|(name, edge)| PeriodFunction {
        name,
        edge,
        terms: terms.clone(),
        signature: Signature::exact(vec![TEXT, time()], Volatility::Immutable),
    })
}

impl PeriodFunction {
    #[cfg(feature = "cluster")]
    pub fn catalog(&self) -> &Arc<Catalog> {
        self.terms.catalog()
    }
}

impl PartialEq for PeriodFunction {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name && self.terms.catalog().hash == other.terms.catalog().hash
    }
}

impl Eq for PeriodFunction {}

impl Hash for PeriodFunction {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

impl ScalarUDFImpl for PeriodFunction {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType> {
        Ok(time())
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let tenants = arguments.args[0].to_array(arguments.number_rows)?;
        let times = arguments.args[1].to_array(arguments.number_rows)?;
        let rows = tenants.as_string::<i32>().iter().zip(times.as_primitive::<TimestampMicrosecondType>());
        let edges = rows.map(|(tenant, time_us)| {
            let (Some(tenant), Some(time_us)) = (tenant, time_us) else { return Ok(None) };
            let Some(terms) = self.terms.of(tenant) else { return Ok(None) };
            let period = terms.cycle.period_containing(time_us, &terms.time_zone);
            let period = period.map_err(|error| exec_datafusion_err!("{}(): {error}", self.name))?;
            Ok(Some((self.edge)(&period)))
        });
        let edges = edges.collect::<Result<TimestampMicrosecondArray>>()?;
        Ok(ColumnarValue::Array(Arc::new(edges.with_timezone("UTC"))))
    }
}
