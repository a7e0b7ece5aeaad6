//! SQL functions over usage: rating's exact algorithms, units, periods and prices.
//!
//! Owns their arguments, and bringing exact results to decimals of 12 places (what has more is rounded half away from
//! zero). Does not own any arithmetic of quantities and money: `rating` does.

mod measures;
mod periods;
mod prices;
mod sums;
mod units;

use std::sync::Arc;

pub use sums::register as register_sums;

use arrow::datatypes::DataType;
use datafusion::common::{exec_datafusion_err, plan_err};
use datafusion::error::Result;
use datafusion::logical_expr::{AggregateUDF, ScalarUDF};
use datafusion::prelude::SessionContext;
use rating::catalog::Catalog;
use rating::exact::{Exact, Rounding};

/// Of every number that goes in or comes out.
const PRECISION: u8 = 38;
const SCALE: i8 = 12;
const DECIMAL: DataType = DataType::Decimal128(PRECISION, SCALE);

/// A function as people look it up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FunctionNote {
    pub call: &'static str,
    pub meaning: &'static str,
}

/// Everything that is registered here and in `session`, in the order in which people look for it.
pub const FUNCTIONS: [FunctionNote; 11] = [
    FunctionNote {
        call: "time_weighted_average(time, value[, resource[, start, end]])",
        meaning: "the average level: each sample holds until the next of its resource, and resources add up",
    },
    FunctionNote {
        call: "peak(time, value[, resource[, start, end]])",
        meaning: "the highest sum over the resources",
    },
    FunctionNote {
        call: "p95(time, value[, resource[, start, end]])",
        meaning: "the highest 5-minute average after dropping the top 5 %",
    },
    FunctionNote {
        call: "counter_increase(time, value[, resource[, start, end]])",
        meaning: "how much counters grew, resets seen through",
    },
    FunctionNote { call: "to_gb(bytes)", meaning: "bytes divided by 1000^3" },
    FunctionNote { call: "to_gib(bytes)", meaning: "bytes divided by 1024^3" },
    FunctionNote {
        call: "period_start(tenant, time)",
        meaning: "when the tenant's billing period starts in which the time lies",
    },
    FunctionNote { call: "period_end(tenant, time)", meaning: "when that period ends" },
    FunctionNote {
        call: "price(plan, meter, quantity)",
        meaning: "what a quantity, in the price's unit, costs by the plan's newest version; where a plan has several prices of the \
                  meter, name the price instead",
    },
    FunctionNote { call: "dimension(dimensions, name)", meaning: "one of a row's dimensions" },
    FunctionNote {
        call: "usage_events_at(version or instant)",
        meaning: "in FROM: the table as it was; there is one for each table of the lake",
    },
];

/// Registers the functions that need no catalog, and the others if there is one.
pub(crate) fn register(context: &SessionContext, catalog: Option<&Arc<Catalog>>) {
    register_sums(context);
    for function in measures::all() {
        context.register_udaf(AggregateUDF::from(function));
    }
    for function in units::all() {
        context.register_udf(ScalarUDF::from(function));
    }
    if let Some(catalog) = catalog {
        for function in of_catalog(catalog) {
            context.register_udf(function);
        }
    }
}

/// The catalog of a function that reads one.
#[cfg(feature = "cluster")]
pub(crate) fn catalog_of(function: &ScalarUDF) -> Option<&Arc<Catalog>> {
    let function: &dyn std::any::Any = function.inner().as_ref();
    let of_period = function.downcast_ref::<periods::PeriodFunction>().map(periods::PeriodFunction::catalog);
    of_period.or_else(|| function.downcast_ref::<prices::PriceFunction>().map(|function| &function.catalog))
}

/// A function of that name that reads a catalog.
#[cfg(feature = "cluster")]
pub(crate) fn catalog_function(name: &str, catalog: &Arc<Catalog>) -> Option<ScalarUDF> {
    of_catalog(catalog).find(|function| function.name() == name)
}

fn of_catalog(catalog: &Arc<Catalog>) -> impl Iterator<Item = ScalarUDF> {
    let periods = periods::all(catalog).into_iter().map(ScalarUDF::from);
    periods.chain(std::iter::once(ScalarUDF::from(prices::PriceFunction::new(catalog))))
}

/// The exact value in units of the last decimal place.
fn scaled(value: &Exact, what: &str) -> Result<i128> {
    let scaled = value * &Exact::from(10_i128.pow(u32::from(SCALE.unsigned_abs())));
    let rounded = scaled.round(Rounding::HalfAwayFromZero).to_i128();
    let fits = |number: &i128| number.unsigned_abs() < 10_u128.pow(u32::from(PRECISION));
    rounded.filter(fits).ok_or_else(|| exec_datafusion_err!("{what}: the result has too many digits"))
}

/// The exact value of such units.
fn unscaled(scaled: i128) -> Exact {
    Exact::ratio(scaled, 10_i128.pow(u32::from(SCALE.unsigned_abs()))).unwrap_or_default()
}

/// Numbers of any kind become decimals; what is none is refused when the query is planned.
fn as_decimal(function: &str, argument: &DataType) -> Result<DataType> {
    match argument {
        number if number.is_numeric() && !number.is_floating() => Ok(DECIMAL),
        DataType::Null => Ok(DECIMAL),
        DataType::Float16 | DataType::Float32 | DataType::Float64 => {
            plan_err!(
                "{function}() counts exactly and takes no floats: cast to a decimal, like 0.1::decimal(38, 9)"
            )
        }
        other => plan_err!("{function}() takes a number, not {other}"),
    }
}
