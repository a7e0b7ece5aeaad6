//! Quantities as a table: a row for each tenant, meter, dimension set, measure and span.

use std::sync::{Arc, LazyLock};

use arrow::array::{
    ArrayRef, Decimal128Builder, Int64Array, Int64Builder, RecordBatch, StringArray, StringBuilder,
    TimestampMicrosecondBuilder, new_null_array,
};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::error::ArrowError;
use rating::catalog::Catalog;
use rating::exact::{Exact, Rounding};
use rating::quantity::{Measure, Quantity};
use rating::usage::Usage;
use serde_json::json;

use super::Answers;
use crate::relation::{RelationColumn, TENANT, TEXT, WHOLE, column, optional, schema_of, time};

/// Digits of `value` and how many of them are decimals; what does not end is rounded to them.
pub const PRECISION: u8 = 38;
pub const SCALE: i8 = 12;

/// The columns of quantities.
pub static QUANTITIES: LazyLock<SchemaRef> = LazyLock::new(|| schema_of(&columns()));

/// The same with who has none: a row with a problem has a tenant, the rows of its usage as `samples`, and nothing else.
pub static OUTCOMES: LazyLock<SchemaRef> = LazyLock::new(|| {
    let fields = QUANTITIES.fields().iter().map(|field| match field.name().as_str() {
        TENANT => Field::clone(field),
        _ => Field::clone(field).with_nullable(true),
    });
    let problem = Field::new(PROBLEM, TEXT, true);
    Arc::new(Schema::new(fields.chain([problem]).collect::<Vec<_>>()))
});

/// The column of `OUTCOMES` that says why a tenant has no quantities.
pub const PROBLEM: &str = "problem";
/// There: the catalog does not have the tenant.
pub const NOT_SET_UP: &str = "not set up";

/// The columns with what they mean.
pub fn columns() -> Vec<RelationColumn> {
    let value = || DataType::Decimal128(PRECISION, SCALE);
    vec![
        column("tenant", TEXT, "whose usage it is"),
        column("period", TEXT, "the local day on which the period starts"),
        column("meter", TEXT, "the meter"),
        column(
            "only",
            TEXT,
            "which usage is looked at, as a JSON object of dimensions and their values, as a price names it; {} for all",
        ),
        column(
            "dimensions",
            TEXT,
            "the values that it is about, as a JSON object; {} for all of them together",
        ),
        column("measure", TEXT, "how it is measured: peak, average, sum and so on"),
        column("span_start", time(), "from when it counts"),
        column("span_end", time(), "until when; not included"),
        column("unit", TEXT, "in what it counts"),
        optional("value", value(), "the quantity, to 12 decimals; null if it is too large"),
        column("exact_value", TEXT, "the same without rounding: a decimal, or a ratio"),
        column("samples", WHOLE, "how many samples it was measured from"),
        optional("first_sample", time(), "the first of them"),
        optional("last_sample", time(), "the last of them"),
        optional("carried_in", value(), "the level that earlier periods carried in"),
    ]
}

/// Rows of the table in the making.
#[derive(Debug)]
pub struct QuantityRows {
    texts: [StringBuilder; 8],
    times: [TimestampMicrosecondBuilder; 4],
    values: [Decimal128Builder; 2],
    samples: Int64Builder,
    rows: usize,
}

impl Default for QuantityRows {
    fn default() -> Self {
        let value = || Decimal128Builder::new().with_data_type(DataType::Decimal128(PRECISION, SCALE));
        Self {
            texts: std::array::from_fn(|_| StringBuilder::new()),
            times: std::array::from_fn(|_| TimestampMicrosecondBuilder::new().with_timezone("UTC")),
            values: [value(), value()],
            samples: Int64Builder::new(),
            rows: 0,
        }
    }
}

impl QuantityRows {
    pub fn len(&self) -> usize {
        self.rows
    }

    pub fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// Adds everything that was asked of a tenant; what two questions share is one row.
    pub fn push_usage(&mut self, usage: &Usage, catalog: &Catalog) {
        let unit = |meter: &str, measure: Measure| unit_of(catalog, meter, measure);
        let mut quantities: Vec<(String, Quantity)> = Vec::new();
        for (wanted, series) in usage.demand.wanted.iter().zip(&usage.answers) {
            let only = json!(wanted.view.only).to_string();
            for series in series {
                let measured =
                    wanted.measures.iter().filter_map(|own| usage.quantity(&wanted.view, series, *own, ""));
                quantities.extend(measured.map(|quantity| (only.clone(), quantity)));
            }
        }
        let key = |(only, quantity): &(String, Quantity)| {
            let Quantity { meter, dimensions, span, measure, .. } = quantity;
            (meter.clone(), only.clone(), dimensions.clone(), *span, *measure)
        };
        quantities.sort_by_cached_key(key);
        quantities.dedup_by(|left, right| key(left) == key(right) && left.1.value == right.1.value);
        for (only, quantity) in quantities {
            let unit = unit(&quantity.meter, quantity.measure);
            self.push(&quantity, &only, &usage.demand.period.name, &unit);
        }
    }

    fn push(&mut self, quantity: &Quantity, only: &str, period: &str, unit: &str) {
        self.rows += 1;
        let dimensions = serde_json::to_string(&quantity.dimensions).unwrap_or_default();
        let exact = quantity.value.to_string();
        let measure = quantity.measure.as_str();
        let texts = [&quantity.tenant, period, &quantity.meter, only, &dimensions, measure, unit, &exact];
        for (builder, text) in self.texts.iter_mut().zip(texts) {
            builder.append_value(text);
        }
        let times = [
            Some(quantity.span.start_us),
            Some(quantity.span.end_us),
            quantity.samples.first_us,
            quantity.samples.last_us,
        ];
        for (builder, time_us) in self.times.iter_mut().zip(times) {
            builder.append_option(time_us);
        }
        self.values[0].append_option(scaled(&quantity.value));
        self.values[1].append_option(scaled(&quantity.carried_in));
        self.samples.append_value(i64::try_from(quantity.samples.count).unwrap_or(i64::MAX));
    }

    /// The rows so far; the builders are empty again.
    pub fn finish(&mut self) -> Result<RecordBatch, ArrowError> {
        self.rows = 0;
        let [tenant, period, meter, only, dimensions, measure, unit, exact] =
            self.texts.each_mut().map(|builder| Arc::new(builder.finish()) as ArrayRef);
        let [start, end, first, last] =
            self.times.each_mut().map(|builder| Arc::new(builder.finish()) as ArrayRef);
        let [value, carried_in] =
            self.values.each_mut().map(|builder| Arc::new(builder.finish()) as ArrayRef);
        let samples = Arc::new(self.samples.finish());
        let columns = vec![
            tenant, period, meter, only, dimensions, measure, start, end, unit, value, exact, samples, first,
            last, carried_in,
        ];
        RecordBatch::try_new(Arc::clone(&QUANTITIES), columns)
    }
}

/// Quantities as outcomes.
pub(super) fn as_outcomes(quantities: &RecordBatch) -> Result<RecordBatch, ArrowError> {
    let mut columns = quantities.columns().to_vec();
    columns.push(new_null_array(&TEXT, quantities.num_rows()));
    RecordBatch::try_new(Arc::clone(&OUTCOMES), columns)
}

/// Those that have no quantities.
pub(super) fn problems(answers: &Answers) -> Result<RecordBatch, ArrowError> {
    let not_set_up = answers.not_set_up.iter().map(|(tenant, rows)| {
        (tenant.as_str(), Some(i64::try_from(*rows).unwrap_or(i64::MAX)), NOT_SET_UP.to_owned())
    });
    let failed = answers.failed.iter().map(|failure| (failure.tenant.as_str(), None, failure.in_words()));
    let rows: Vec<(&str, Option<i64>, String)> = not_set_up.chain(failed).collect();
    let columns = OUTCOMES.fields().iter().map(|field| -> ArrayRef {
        match field.name().as_str() {
            TENANT => Arc::new(rows.iter().map(|row| Some(row.0)).collect::<StringArray>()),
            "samples" => Arc::new(rows.iter().map(|row| row.1).collect::<Int64Array>()),
            PROBLEM => Arc::new(rows.iter().map(|row| Some(row.2.as_str())).collect::<StringArray>()),
            _ => new_null_array(field.data_type(), rows.len()),
        }
    });
    RecordBatch::try_new(Arc::clone(&OUTCOMES), columns.collect())
}

/// Nothing where the number has more digits than the column.
fn scaled(value: &Exact) -> Option<i128> {
    let scaled = value * &Exact::from(10_i128.pow(u32::from(SCALE.unsigned_abs())));
    let rounded = scaled.round(Rounding::HalfAwayFromZero).to_i128()?;
    (rounded.unsigned_abs() < 10_u128.pow(u32::from(PRECISION))).then_some(rounded)
}

/// What a measure counts in: some count things, hours or events instead of the meter's unit.
fn unit_of(catalog: &Catalog, meter: &str, measure: Measure) -> String {
    let unit = catalog.meter(meter).map_or("", |meter| &meter.unit.name);
    match measure {
        Measure::UnitHours | Measure::ResourceHours => format!("{unit} hour"),
        Measure::Count => "event".to_owned(),
        _ => unit.to_owned(),
    }
}
