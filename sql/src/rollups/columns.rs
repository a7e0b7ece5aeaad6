//! The rows of `usage_hourly`, `usage_daily`, `usage_periods` and `usage_carried` in the making.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::{
    ArrayBuilder, ArrayRef, Decimal128Builder, Int64Builder, RecordBatch, StringBuilder,
    TimestampMicrosecondBuilder,
};
use arrow::error::ArrowError;
use rating::period::Span;
use rating::quantity::Dimensions;
use rating::quantity::gauge::GaugeTotals;
use rating::quantity::session::SessionOddities;
use rating::usage::{DeltaTotals, SeriesSpan, Totals, View};

use super::days::VANISHED;
use super::periods::PeriodTotals;
use crate::lake::{Table, VALUE_PRECISION, VALUE_SCALE};

/// A total has more digits than the table's columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a total has more than {VALUE_PRECISION} digits")]
pub struct TooLarge;

pub(super) const TEXTS: [&str; 6] = ["tenant", "questions", "meter", "view", "dimensions", "resources"];
pub(super) const TIMES: [&str; 4] = ["segment_start", "segment_end", "first_sample", "last_sample"];
pub(super) const LONGS: [&str; 11] = [
    "generation",
    "samples",
    "negative_samples",
    "resets",
    "billed_us",
    "started",
    "stops_without_start",
    "ends_before_start",
    "timed_out",
    "resource_hours",
    "distinct_resources",
];
pub(super) const VALUES: [&str; 11] = [
    "opening",
    "closing",
    "highest",
    "lowest",
    "integral",
    "sum",
    "max",
    "busiest_hour",
    "increase",
    "largest_step",
    "net_change",
];
/// What a table calls a column of its own.
const NAMES: [(&str, &str); 1] = [("hour", "segment_start")];

/// A row of totals, column by column; what is not set is null.
#[derive(Debug, Clone, Default)]
struct Row<'r> {
    texts: [Option<&'r str>; TEXTS.len()],
    times: [Option<i64>; TIMES.len()],
    longs: [Option<i64>; LONGS.len()],
    values: [Option<i128>; VALUES.len()],
}

/// Rows of totals, of which each table has the columns that its schema names.
#[derive(Debug)]
struct TotalsRows {
    table: Table,
    generation: i64,
    texts: [StringBuilder; TEXTS.len()],
    times: [TimestampMicrosecondBuilder; TIMES.len()],
    longs: [Int64Builder; LONGS.len()],
    values: [Decimal128Builder; VALUES.len()],
    rows: usize,
}

impl TotalsRows {
    fn new(table: Table, generation: i64) -> Self {
        let value = || {
            use arrow::datatypes::DataType;
            Decimal128Builder::new().with_data_type(DataType::Decimal128(VALUE_PRECISION, VALUE_SCALE))
        };
        Self {
            table,
            generation,
            texts: std::array::from_fn(|_| StringBuilder::new()),
            times: std::array::from_fn(|_| TimestampMicrosecondBuilder::new().with_timezone("UTC")),
            longs: std::array::from_fn(|_| Int64Builder::new()),
            values: std::array::from_fn(|_| value()),
            rows: 0,
        }
    }

    fn push(&mut self, row: &Row<'_>) {
        self.rows += 1;
        let generation = [Some(self.generation)];
        self.texts.iter_mut().zip(row.texts).for_each(|(builder, text)| builder.append_option(text));
        self.times.iter_mut().zip(row.times).for_each(|(builder, time)| builder.append_option(time));
        let longs = generation.into_iter().chain(row.longs.into_iter().skip(1));
        self.longs.iter_mut().zip(longs).for_each(|(builder, long)| builder.append_option(long));
        self.values.iter_mut().zip(row.values).for_each(|(builder, value)| builder.append_option(value));
    }

    fn finish(&mut self) -> Result<RecordBatch, ArrowError> {
        self.rows = 0;
        let mut columns: Vec<(&str, ArrayRef)> = Vec::new();
        for (name, builder) in TEXTS.iter().zip(&mut self.texts) {
            columns.push((name, Arc::new(builder.finish())));
        }
        for (name, builder) in TIMES.iter().zip(&mut self.times) {
            columns.push((name, Arc::new(builder.finish())));
        }
        for (name, builder) in LONGS.iter().zip(&mut self.longs) {
            columns.push((name, Arc::new(builder.finish())));
        }
        for (name, builder) in VALUES.iter().zip(&mut self.values) {
            columns.push((name, Arc::new(builder.finish())));
        }
        let schema = self.table.file_schema();
        let in_order = schema.fields().iter().filter_map(|field| {
            let own = NAMES.iter().find(|(own, _)| own == field.name());
            let name = own.map_or(field.name().as_str(), |(_, name)| *name);
            columns.iter().find(|(known, _)| *known == name).map(|(_, column)| Arc::clone(column))
        });
        RecordBatch::try_new(Arc::clone(&schema), in_order.collect())
    }
}

/// The rows of a day of `usage_daily`.
#[derive(Debug)]
pub struct DailyRows(TotalsRows);

impl DailyRows {
    pub fn new(generation: i64) -> Self {
        Self(TotalsRows::new(Table::UsageDaily, generation))
    }

    pub fn len(&self) -> usize {
        self.0.rows
    }

    pub fn is_empty(&self) -> bool {
        self.0.rows == 0
    }

    /// Says what is there of a tenant's day.
    pub fn push_marker(&mut self, tenant: &str, usage_rows: u64, questions: &[String]) {
        let questions = serde_json::to_string(questions).unwrap_or_default();
        let mut row = Row::default();
        row.texts[0] = Some(tenant);
        row.texts[1] = Some(&questions);
        row.longs[1] = Some(usage_rows as i64);
        self.0.push(&row);
    }

    /// Says that nothing is known of a tenant any more.
    pub fn push_vanished(&mut self, tenant: &str) {
        let mut row = Row::default();
        row.texts[0] = Some(tenant);
        row.texts[1] = Some(VANISHED);
        row.longs[1] = Some(0);
        self.0.push(&row);
    }

    pub fn push_totals(
        &mut self,
        tenant: &str,
        view: &View,
        dimensions: &Dimensions,
        span: Span,
        totals: &Totals,
        seen: &[String],
    ) -> Result<(), TooLarge> {
        let view_text = view_text(view);
        let dimensions = serde_json::to_string(dimensions).unwrap_or_default();
        let seen = serde_json::to_string(seen).unwrap_or_default();
        let mut row = Row::of(tenant, view, &view_text, span);
        row.texts[4] = Some(&dimensions);
        row.set_totals(totals, &seen)?;
        self.0.push(&row);
        Ok(())
    }

    pub fn push_oddities(&mut self, tenant: &str, view: &View, span: Span, oddities: &SessionOddities) {
        let view_text = view_text(view);
        let mut row = Row::of(tenant, view, &view_text, span);
        row.longs[1] = Some(0);
        row.longs[6] = Some(oddities.stops_without_start as i64);
        row.longs[7] = Some(oddities.ends_before_start as i64);
        row.longs[8] = Some(oddities.timed_out as i64);
        self.0.push(&row);
    }

    /// The rows so far; the builders are empty again.
    pub fn finish(&mut self) -> Result<RecordBatch, ArrowError> {
        self.0.finish()
    }
}

/// The rows of `usage_periods` of some tenants.
#[derive(Debug)]
pub struct PeriodRows(TotalsRows);

impl Default for PeriodRows {
    fn default() -> Self {
        // A plain table, like that of the hours.
        Self(TotalsRows::new(Table::UsagePeriods, 0))
    }
}

impl PeriodRows {
    pub fn len(&self) -> usize {
        self.0.rows
    }

    pub fn is_empty(&self) -> bool {
        self.0.rows == 0
    }

    /// Adds what is there of a tenant's period. Where something does not fit, nothing that counts was added.
    pub fn push(&mut self, totals: &PeriodTotals) -> Result<(), TooLarge> {
        let mut pushed = BTreeSet::new();
        for question in &totals.questions {
            for series in &question.series {
                // Two questions may share a span.
                if pushed.insert((&question.view, series.span, &series.dimensions)) {
                    self.push_series(&totals.tenant, &question.view, series)?;
                }
            }
        }
        let known = serde_json::to_string(&totals.known()).unwrap_or_default();
        let mut row = Row::default();
        (row.texts[0], row.texts[1]) = (Some(totals.tenant.as_str()), Some(known.as_str()));
        (row.times[0], row.times[1]) = (Some(totals.period.start_us), Some(totals.period.end_us));
        row.longs[1] = Some(0);
        self.0.push(&row);
        Ok(())
    }

    fn push_series(&mut self, tenant: &str, view: &View, series: &SeriesSpan) -> Result<(), TooLarge> {
        let view_text = view_text(view);
        let dimensions = serde_json::to_string(&series.dimensions).unwrap_or_default();
        let mut row = Row::of(tenant, view, &view_text, series.span);
        row.texts[4] = Some(&dimensions);
        row.set_totals(&series.totals, "")?;
        if let Totals::Unique(unique) = &series.totals {
            row.longs[10] = long(unique.resources)?;
        }
        self.0.push(&row);
        Ok(())
    }

    /// The rows so far; the builders are empty again.
    pub fn finish(&mut self) -> Result<RecordBatch, ArrowError> {
        self.0.finish()
    }
}

/// The rows of a day of `usage_hourly`.
#[derive(Debug)]
pub struct HourlyRows(TotalsRows);

impl Default for HourlyRows {
    fn default() -> Self {
        // A plain table: rows that are replaced are taken out.
        Self(TotalsRows::new(Table::UsageHourly, 0))
    }
}

impl HourlyRows {
    pub fn len(&self) -> usize {
        self.0.rows
    }

    pub fn is_empty(&self) -> bool {
        self.0.rows == 0
    }

    /// Adds an hour; none for the dimensions of the whole meter.
    pub fn push(
        &mut self,
        tenant: &str,
        meter: &str,
        dimensions: Option<&Dimensions>,
        hour: Span,
        totals: &Totals,
    ) -> Result<(), TooLarge> {
        let dimensions = dimensions.map(|values| serde_json::to_string(values).unwrap_or_default());
        let mut row = Row::default();
        (row.texts[0], row.texts[2], row.texts[4]) = (Some(tenant), Some(meter), dimensions.as_deref());
        row.times[0] = Some(hour.start_us);
        row.set_totals(totals, "")?;
        self.0.push(&row);
        Ok(())
    }

    /// The rows so far; the builders are empty again.
    pub fn finish(&mut self) -> Result<RecordBatch, ArrowError> {
        self.0.finish()
    }
}

/// The canonical text of a view.
pub(super) fn view_text(view: &View) -> String {
    serde_json::to_string(view).unwrap_or_default()
}

fn fits(nano: i128) -> Result<Option<i128>, TooLarge> {
    let most = 10_u128.pow(u32::from(VALUE_PRECISION));
    if nano.unsigned_abs() < most { Ok(Some(nano)) } else { Err(TooLarge) }
}

fn long(number: impl TryInto<i64>) -> Result<Option<i64>, TooLarge> {
    number.try_into().map(Some).map_err(|_| TooLarge)
}

impl<'r> Row<'r> {
    fn of(tenant: &'r str, view: &'r View, view_text: &'r str, span: Span) -> Self {
        let texts = [Some(tenant), None, Some(view.meter.as_str()), Some(view_text), None, None];
        let mut row = Row { texts, ..Row::default() };
        (row.times[0], row.times[1]) = (Some(span.start_us), Some(span.end_us));
        row
    }

    fn set_totals(&mut self, totals: &Totals, seen: &'r str) -> Result<(), TooLarge> {
        use rating::quantity::Measured;
        let samples = totals.samples();
        self.longs[1] = long(samples.count)?;
        (self.times[2], self.times[3]) = (samples.first_us, samples.last_us);
        match totals {
            Totals::Gauge(GaugeTotals { rollup, .. }) => {
                let integral = rollup.integral.to_i128().ok_or(TooLarge)?;
                let values = [
                    rollup.opening_nano,
                    rollup.closing_nano,
                    rollup.highest_nano,
                    rollup.lowest_nano,
                    integral,
                ];
                for (place, value) in self.values.iter_mut().zip(values) {
                    *place = fits(value)?;
                }
                self.values[10] = rollup.net_change_nano().map_or(Err(TooLarge), fits)?;
                self.longs[2] = long(rollup.negative_samples)?;
            }
            Totals::Delta(DeltaTotals { rollup, .. }) => {
                self.values[5] = fits(rollup.sum_nano)?;
                self.values[6] = rollup.max_nano.map_or(Ok(None), fits)?;
                self.values[7] = rollup.hours.highest_nano().map_or(Ok(None), fits)?;
            }
            Totals::Cumulative(rollup) => {
                self.values[8] = fits(rollup.increase_nano)?;
                self.values[9] = fits(rollup.largest_step_nano)?;
                self.longs[2] = long(rollup.negative_samples)?;
                self.longs[3] = long(rollup.resets)?;
            }
            Totals::Session(session) => {
                self.longs[4] = long(session.billed_us)?;
                self.longs[5] = long(session.started)?;
            }
            Totals::Unique(unique) => {
                self.longs[9] = long(unique.resource_hours)?;
                self.texts[5] = Some(seen);
            }
        }
        Ok(())
    }
}

/// The rows of a day of `usage_carried`.
#[derive(Debug, Default)]
pub struct CarriedRows {
    generation: i64,
    tenants: StringBuilder,
    generations: Int64Builder,
    states: StringBuilder,
}

impl CarriedRows {
    pub fn new(generation: i64) -> Self {
        Self { generation, ..Self::default() }
    }

    pub fn len(&self) -> usize {
        self.tenants.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn push(&mut self, tenant: &str, state: &str) {
        self.tenants.append_value(tenant);
        self.generations.append_value(self.generation);
        self.states.append_value(state);
    }

    pub fn finish(&mut self) -> Result<RecordBatch, ArrowError> {
        let columns: Vec<ArrayRef> = vec![
            Arc::new(self.tenants.finish()),
            Arc::new(self.generations.finish()),
            Arc::new(self.states.finish()),
        ];
        RecordBatch::try_new(Table::UsageCarried.file_schema(), columns)
    }
}
