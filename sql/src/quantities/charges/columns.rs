//! The columns: what each means, and what it is of a row.

use std::borrow::Cow;
use std::sync::{Arc, LazyLock};

use arrow::array::{
    ArrayRef, Decimal128Builder, RecordBatch, RecordBatchOptions, StringBuilder, TimestampMicrosecondBuilder,
};
use arrow::datatypes::{DataType, SchemaRef};
use arrow::error::ArrowError;
use rating::exact::Exact;
use serde_json::json;

use super::rows::{ChargeRow, Dimensions};
use crate::relation::cells::scaled;
use crate::relation::{DECIMAL, RelationColumn, TEXT, column, optional, schema_of, time};

pub(in crate::quantities) static CHARGES: LazyLock<SchemaRef> = LazyLock::new(|| schema_of(&columns()));

/// The columns with what they mean.
pub(crate) fn columns() -> Vec<RelationColumn> {
    all().into_iter().map(|(column, _)| column).collect()
}

/// What a row has in a column.
enum Value<'r> {
    Null,
    Text(Cow<'r, str>),
    /// Instants at the ends of time are open.
    Time(i64),
    Decimal(Cow<'r, Exact>),
}

type ValueOf = for<'r> fn(&'r ChargeRow<'r>) -> Value<'r>;

fn text(text: Option<&str>) -> Value<'_> {
    text.map_or(Value::Null, |text| Value::Text(Cow::Borrowed(text)))
}

fn all() -> Vec<(RelationColumn, ValueOf)> {
    let kinds = "charge: as an invoice has it; by_peak, by_average: what a level would cost if billed so; cost: what it costs \
                 the vendor; limit: how much of a limit is used";
    vec![
        (column("tenant", TEXT, "whose usage it is"), |row| text(Some(&row.usage.demand.tenant))),
        (column("period", TEXT, "the local day on which the period starts"), |row| {
            text(Some(&row.usage.demand.period.name))
        }),
        (column("period_start", time(), "when the period starts"), |row| {
            Value::Time(row.usage.demand.period.span.start_us)
        }),
        (column("period_end", time(), "when it ends; not included"), |row| {
            Value::Time(row.usage.demand.period.span.end_us)
        }),
        (column("kind", TEXT, kinds), |row| text(Some(row.kind.name()))),
        (optional("plan", TEXT, "the plan; null for one-off purchases, costs and limits"), |row| {
            text(row.plan)
        }),
        (
            column("subscription", TEXT, "the subscription; empty for one-off purchases, costs and limits"),
            |row| text(Some(row.subscription)),
        ),
        (column("price", TEXT, "the price, cost or limit"), |row| text(Some(row.price))),
        (column("description", TEXT, "what people read"), |row| text(Some(row.description))),
        (optional("meter", TEXT, "what is counted; null for fees"), |row| text(row.meter)),
        (optional("measure", TEXT, "how it is measured"), |row| {
            text(row.measure.map(rating::quantity::Measure::as_str))
        }),
        (column("dimensions", TEXT, "the values that it is about, as a JSON object"), |row| {
            Value::Text(Cow::Owned(match row.dimensions {
                Dimensions::Of(values) if values.is_empty() => "{}".to_owned(),
                Dimensions::Of(values) => json!(values).to_string(),
                Dimensions::Only(values) => json!(values).to_string(),
            }))
        }),
        (column("span_start", time(), "from when it counts"), |row| Value::Time(row.span.start_us)),
        (column("span_end", time(), "until when; not included"), |row| Value::Time(row.span.end_us)),
        (
            optional(
                "quantity",
                DECIMAL,
                "how much was used, in the unit of the price or limit, before anything is included",
            ),
            |row| decimal(row.quantity.as_ref()),
        ),
        (
            optional(
                "billable",
                DECIMAL,
                "what the price was applied to; for a limit, how much it allows with what was bought to raise it (null: unlimited)",
            ),
            |row| decimal(row.billable.as_ref()),
        ),
        (optional("unit", TEXT, "in what both count"), |row| text(row.unit)),
        (optional("currency", TEXT, "ISO 4217 code; null for limits"), |row| text(row.currency)),
        (optional("amount", DECIMAL, "what it costs; null for limits"), |row| match row.amount {
            Some(amount) => Value::Decimal(Cow::Owned(amount.into())),
            None => Value::Null,
        }),
    ]
}

fn decimal<'r>(value: Option<&'r Cow<'_, Exact>>) -> Value<'r> {
    value.map_or(Value::Null, |value| Value::Decimal(Cow::Borrowed(value)))
}

/// Some of the columns in the making: what nobody asks for is not made.
pub(super) struct Columns {
    schema: SchemaRef,
    made: Vec<(ValueOf, Builder)>,
    rows: usize,
}

enum Builder {
    Text(StringBuilder),
    Time(TimestampMicrosecondBuilder),
    Decimal(Decimal128Builder),
}

impl Columns {
    /// All of them, or those with these places.
    pub fn new(projection: Option<&[usize]>) -> Result<Self, ArrowError> {
        let all = all();
        let of = |at: usize| (all[at].1, Builder::of(&all[at].0.data_type));
        let (schema, made) = match projection {
            Some(places) => (Arc::new(CHARGES.project(places)?), places.iter().copied().map(of).collect()),
            None => (Arc::clone(&CHARGES), (0..all.len()).map(of).collect()),
        };
        Ok(Self { schema, made, rows: 0 })
    }

    pub fn push(&mut self, row: &ChargeRow<'_>) {
        self.rows += 1;
        for (value_of, builder) in &mut self.made {
            builder.push(value_of(row));
        }
    }

    pub fn finish(self) -> Result<RecordBatch, ArrowError> {
        let arrays = self.made.into_iter().map(|(_, builder)| builder.finish()).collect();
        // A query may want no column at all and count.
        let options = RecordBatchOptions::new().with_row_count(Some(self.rows));
        RecordBatch::try_new_with_options(self.schema, arrays, &options)
    }
}

impl Builder {
    fn of(data_type: &DataType) -> Self {
        match data_type {
            DataType::Timestamp(..) => {
                Self::Time(TimestampMicrosecondBuilder::new().with_data_type(data_type.clone()))
            }
            DataType::Decimal128(..) => {
                Self::Decimal(Decimal128Builder::new().with_data_type(data_type.clone()))
            }
            _ => Self::Text(StringBuilder::new()),
        }
    }

    fn push(&mut self, value: Value<'_>) {
        match (self, value) {
            (Self::Text(builder), Value::Text(text)) => builder.append_value(text),
            (Self::Text(builder), _) => builder.append_null(),
            (Self::Time(builder), Value::Time(us)) if us != i64::MIN && us != i64::MAX => {
                builder.append_value(us);
            }
            (Self::Time(builder), _) => builder.append_null(),
            (Self::Decimal(builder), Value::Decimal(value)) => builder.append_option(scaled(&value)),
            (Self::Decimal(builder), _) => builder.append_null(),
        }
    }

    fn finish(self) -> ArrayRef {
        match self {
            Self::Text(mut builder) => Arc::new(builder.finish()),
            Self::Time(mut builder) => Arc::new(builder.finish()),
            Self::Decimal(mut builder) => Arc::new(builder.finish()),
        }
    }
}
