//! `time_weighted_average`, `peak`, `p95` and `counter_increase`: rating's folds as aggregate functions.
//!
//! Owns collecting a group's samples in whatever order they come, and handing them to the fold in order of time. Of two
//! samples of a resource at one instant the higher counts, so that the answer does not depend on the order of rows.
//! Without a start and an end the span is that of the samples themselves.

use std::collections::{BTreeMap, HashMap};
use std::mem::size_of;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, StringArray};
use arrow::datatypes::{DataType, Decimal128Type, Field, FieldRef, TimestampMicrosecondType};
use datafusion::common::{ScalarValue, exec_datafusion_err, exec_err, plan_err};
use datafusion::error::Result;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::{Accumulator, AggregateUDFImpl, Signature, Volatility};
use rating::period::Span;
use rating::quantity::{Measure, Measured, MeterKind};
use rating::usage::{MeterFold, Reading, View, Wanted};

use super::{DECIMAL, PRECISION, SCALE, as_decimal, scaled};
use crate::relation::{TEXT, time};

/// Digits after the point of a sample, as the folds take it.
const SAMPLE_SCALE: i8 = 9;
/// Bytes of a sample in a state.
const SAMPLE_BYTES: usize = 28;

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct MeasureFunction {
    name: &'static str,
    measure: Measure,
    signature: Signature,
}

pub(super) fn all() -> [MeasureFunction; 4] {
    [
        ("time_weighted_average", Measure::Average),
        ("peak", Measure::Peak),
        ("p95", Measure::P95),
        ("counter_increase", Measure::Increase),
    ]
    .map(|(name, measure)| MeasureFunction {
        name,
        measure,
        signature: Signature::user_defined(Volatility::Immutable),
    })
}

impl AggregateUDFImpl for MeasureFunction {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, arguments: &[DataType]) -> Result<Vec<DataType>> {
        let name = self.name;
        let [_, value, rest @ ..] = arguments else {
            return plan_err!("{name}() takes the time and the value of a sample");
        };
        as_decimal(name, value)?;
        let mut types = vec![time(), DataType::Decimal128(PRECISION, SAMPLE_SCALE)];
        match rest.len() {
            0 => {}
            1 => types.push(TEXT),
            3 => types.extend([TEXT, time(), time()]),
            _ => return plan_err!("{name}() takes time, value, resource, and then both a start and an end"),
        }
        Ok(types)
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType> {
        Ok(DECIMAL)
    }

    fn accumulator(&self, _arguments: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        Ok(Box::new(Samples::new(self.name, self.measure)))
    }

    fn state_fields(&self, arguments: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        let field = |name: &str, data_type| {
            Arc::new(Field::new(format!("{}[{name}]", arguments.name), data_type, true))
        };
        Ok(vec![
            field("samples", DataType::Binary),
            field("resources", TEXT),
            field("start", DataType::Int64),
            field("end", DataType::Int64),
        ])
    }
}

/// The samples of a group.
#[derive(Debug)]
struct Samples {
    name: &'static str,
    measure: Measure,
    /// Time, resource, value in billionths.
    taken: Vec<(i64, u32, i128)>,
    resources: Vec<String>,
    numbers: HashMap<String, u32>,
    span: Option<(i64, i64)>,
}

impl Samples {
    fn new(name: &'static str, measure: Measure) -> Self {
        Self { name, measure, taken: Vec::new(), resources: Vec::new(), numbers: HashMap::new(), span: None }
    }

    fn number(&mut self, resource: &str) -> u32 {
        if let Some(number) = self.numbers.get(resource) {
            return *number;
        }
        let number = self.resources.len() as u32;
        self.resources.push(resource.to_owned());
        self.numbers.insert(resource.to_owned(), number);
        number
    }

    fn set_span(&mut self, start_us: i64, end_us: i64) -> Result<()> {
        if start_us >= end_us {
            return exec_err!("{}(): the end is not after the start", self.name);
        }
        match self.span {
            Some(span) if span != (start_us, end_us) => {
                exec_err!("{}(): start and end differ within a group", self.name)
            }
            _ => {
                self.span = Some((start_us, end_us));
                Ok(())
            }
        }
    }

    /// The span that is measured, and when the last sample is.
    fn measured_span(&self, first_us: i64, last_us: i64) -> Span {
        match (self.span, self.measure) {
            (Some((start_us, end_us)), _) => Span { start_us, end_us },
            // The last sample holds for no time, but is among the levels.
            (None, Measure::Average) if last_us > first_us => Span { start_us: first_us, end_us: last_us },
            (None, _) => Span { start_us: first_us, end_us: last_us.saturating_add(1) },
        }
    }

    fn measured(&mut self) -> Result<Option<i128>> {
        self.taken.sort_unstable();
        // Else a counter would seem to drop and grow again within one instant.
        self.taken.dedup_by(|higher, kept| {
            let is_same = (higher.0, higher.1) == (kept.0, kept.1);
            if is_same {
                kept.2 = higher.2;
            }
            is_same
        });
        let (Some(first), Some(last)) = (self.taken.first(), self.taken.last()) else { return Ok(None) };
        let span = self.measured_span(first.0, last.0);
        let kind = match self.measure {
            Measure::Increase => MeterKind::Cumulative,
            _ => MeterKind::Gauge { expires_after_us: None },
        };
        let wanted = Wanted {
            view: View { meter: String::new(), only: BTreeMap::new(), by: Vec::new() },
            spans: vec![span],
            measures: std::iter::once(self.measure).collect(),
            transactions: false,
        };
        let mut fold = MeterFold::new(&kind, &[(0, &wanted)], true);
        let failed = |error: String| exec_datafusion_err!("{}(): {error}", self.name);
        for (time_us, resource, nano) in &self.taken {
            if *time_us >= span.end_us {
                break;
            }
            let slot = fold
                .slot(&self.resources[*resource as usize], "")
                .map_err(|error| failed(error.to_string()))?;
            let event = fold.event(*time_us, slot, Reading::Value { nano: *nano });
            event.map_err(|error| failed(format!("{error:?}")))?;
        }
        let answers = fold.finish().map_err(|error| failed(format!("{error:?}")))?;
        let series = answers.answers.into_iter().flat_map(|(_, series)| series).next();
        let value = series.and_then(|series| series.totals.measure(self.measure, &span)).unwrap_or_default();
        scaled(&value, self.name).map(Some)
    }
}

impl Accumulator for Samples {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let times = values[0].as_primitive::<TimestampMicrosecondType>();
        let levels = values[1].as_primitive::<Decimal128Type>();
        let resources: Option<&StringArray> = values.get(2).map(AsArray::as_string);
        for row in 0..times.len() {
            if times.is_null(row) || levels.is_null(row) {
                continue;
            }
            let resource =
                resources.filter(|column| column.is_valid(row)).map_or("", |column| column.value(row));
            let number = self.number(resource);
            self.taken.push((times.value(row), number, levels.value(row)));
            if let [_, _, _, starts, ends] = values {
                let (starts, ends) = (
                    starts.as_primitive::<TimestampMicrosecondType>(),
                    ends.as_primitive::<TimestampMicrosecondType>(),
                );
                if starts.is_null(row) || ends.is_null(row) {
                    return exec_err!("{}(): start or end is null", self.name);
                }
                self.set_span(starts.value(row), ends.value(row))?;
            }
        }
        Ok(())
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        Ok(ScalarValue::Decimal128(self.measured()?, PRECISION, SCALE))
    }

    fn size(&self) -> usize {
        let names: usize =
            self.resources.iter().map(|name| 2 * (name.capacity() + size_of::<String>())).sum();
        size_of::<Self>() + self.taken.capacity() * size_of::<(i64, u32, i128)>() + names
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let mut bytes = Vec::with_capacity(self.taken.len() * SAMPLE_BYTES);
        for (time_us, resource, nano) in &self.taken {
            bytes.extend(time_us.to_le_bytes());
            bytes.extend(resource.to_le_bytes());
            bytes.extend(nano.to_le_bytes());
        }
        let resources = serde_json::to_string(&self.resources)
            .map_err(|error| exec_datafusion_err!("{}(): {error}", self.name))?;
        let (start, end) = self.span.unzip();
        Ok(vec![
            ScalarValue::Binary(Some(bytes)),
            ScalarValue::Utf8(Some(resources)),
            ScalarValue::Int64(start),
            ScalarValue::Int64(end),
        ])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        use arrow::datatypes::Int64Type;
        let (samples, names) = (states[0].as_binary::<i32>(), states[1].as_string::<i32>());
        let (starts, ends) = (states[2].as_primitive::<Int64Type>(), states[3].as_primitive::<Int64Type>());
        for row in 0..samples.len() {
            if samples.is_null(row) || names.is_null(row) {
                continue;
            }
            let names: Vec<String> = serde_json::from_str(names.value(row))
                .map_err(|error| exec_datafusion_err!("{}(): {error}", self.name))?;
            let numbers: Vec<u32> = names.iter().map(|name| self.number(name)).collect();
            for sample in samples.value(row).chunks_exact(SAMPLE_BYTES) {
                let (time_us, rest) = sample.split_at(8);
                let (resource, nano) = rest.split_at(4);
                // The lengths are those of `SAMPLE_BYTES`.
                let resource = u32::from_le_bytes(resource.try_into().unwrap_or_default());
                self.taken.push((
                    i64::from_le_bytes(time_us.try_into().unwrap_or_default()),
                    numbers[resource as usize],
                    i128::from_le_bytes(nano.try_into().unwrap_or_default()),
                ));
            }
            if starts.is_valid(row) && ends.is_valid(row) {
                self.set_span(starts.value(row), ends.value(row))?;
            }
        }
        Ok(())
    }
}
