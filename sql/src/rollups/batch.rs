//! Rows of `usage_daily` and `usage_periods` as they are read back.

use arrow::array::{
    Array, ArrayRef, AsArray, Decimal128Array, DictionaryArray, Int64Array, RecordBatch,
    TimestampMicrosecondArray, new_null_array,
};
use arrow::datatypes::{DataType, Int32Type};
use rating::period::{MICROSECONDS_PER_HOUR, Span};
use rating::quantity::gauge::GaugeTotals;
use rating::quantity::rollup::{CumulativeRollup, DeltaRollup, GaugeRollup, HourSums};
use rating::quantity::session::{SessionOddities, SessionTotals};
use rating::quantity::unique::UniqueTotals;
use rating::quantity::{KindName, Samples, WideSum};
use rating::usage::{DeltaTotals, Totals};

use super::columns::{LONGS, TEXTS, TIMES, VALUES};
use crate::lake::{ColumnKind, DataFile, LakeError, Table, TableHandle, dictionary_type};
use crate::quantities::QuantitiesError;

/// Columns by whose texts rows find what they belong to; by their places in `TEXTS`.
#[derive(Debug, Clone, Copy)]
pub(super) enum TextColumn {
    Tenant = 0,
    /// Only in the row that says what is there.
    Questions = 1,
    View = 3,
    /// None in a row about a whole meter.
    Dimensions = 4,
}

/// Rows as they were read.
#[derive(Debug, Clone)]
pub(super) struct TotalsBatch {
    texts: Vec<DictionaryArray<Int32Type>>,
    times: Vec<TimestampMicrosecondArray>,
    longs: Vec<Int64Array>,
    values: Vec<Decimal128Array>,
}

impl TotalsBatch {
    /// A batch with all of the table's columns, texts as dictionaries; what only the other table has is null.
    fn of(table: Table, batch: &RecordBatch) -> Option<Self> {
        let schema = table.file_schema();
        let columns = |names: &[&str], kind: DataType| -> Option<Vec<ArrayRef>> {
            let column = |name: &&str| match schema.field_with_name(name) {
                Ok(_) => batch.column_by_name(name).cloned(),
                Err(_) => Some(new_null_array(&kind, batch.num_rows())),
            };
            names.iter().map(column).collect()
        };
        let texts = columns(&TEXTS, dictionary_type())?;
        let times = columns(&TIMES, ColumnKind::Time.arrow_type())?;
        let longs = columns(&LONGS, ColumnKind::Long.arrow_type())?;
        let values = columns(&VALUES, ColumnKind::Value.arrow_type())?;
        Some(Self {
            texts: texts.iter().map(|column| column.as_dictionary().clone()).collect(),
            times: times.iter().map(|column| column.as_primitive().clone()).collect(),
            longs: longs.iter().map(|column| column.as_primitive().clone()).collect(),
            values: values.iter().map(|column| column.as_primitive().clone()).collect(),
        })
    }

    pub fn of_all(
        table: &TableHandle,
        files: &[DataFile],
        batches: &[RecordBatch],
    ) -> Result<Vec<Self>, QuantitiesError> {
        let missing = || LakeError::Incomplete {
            table: table.table().name(),
            path: files.first().map(|file| file.path.clone()).unwrap_or_default(),
            what: "columns",
        };
        let typed = batches.iter().map(|batch| Self::of(table.table(), batch).ok_or_else(missing));
        Ok(typed.collect::<Result<_, _>>()?)
    }

    pub fn len(&self) -> usize {
        self.longs[0].len()
    }

    pub fn generation(&self, row: usize) -> i64 {
        self.longs[0].value(row)
    }

    /// What the texts of a column stand for, in the order of its dictionary.
    pub fn dictionary(&self, column: TextColumn) -> &ArrayRef {
        self.texts[column as usize].values()
    }

    /// The place of a row's text in the dictionary; nothing where it has none.
    pub fn key(&self, column: TextColumn, row: usize) -> Option<usize> {
        let column = &self.texts[column as usize];
        column.is_valid(row).then(|| column.keys().value(row) as usize)
    }

    /// None in a row about a whole meter.
    pub fn dimensions(&self, row: usize) -> Option<&str> {
        self.text(4, row)
    }

    /// The resources that were seen, as a JSON array.
    pub fn resources(&self, row: usize) -> Option<&str> {
        self.text(5, row)
    }

    pub fn span(&self, row: usize) -> Span {
        Span {
            start_us: self.time(0, row).unwrap_or_default(),
            end_us: self.time(1, row).unwrap_or_default(),
        }
    }

    pub fn oddities(&self, row: usize) -> SessionOddities {
        SessionOddities {
            stops_without_start: self.count(6, row),
            ends_before_start: self.count(7, row),
            timed_out: self.count(8, row),
        }
    }

    pub fn totals(&self, row: usize, kind: KindName) -> Totals {
        let (span, samples) = (self.span(row), self.samples(row));
        let value = |at: usize| self.value(at, row).unwrap_or_default();
        match kind {
            KindName::Gauge => Totals::Gauge(GaugeTotals {
                rollup: GaugeRollup {
                    span,
                    opening_nano: value(0),
                    closing_nano: value(1),
                    highest_nano: value(2),
                    lowest_nano: value(3),
                    integral: WideSum::from(value(4)),
                    samples,
                    negative_samples: self.count(2, row),
                },
                p95: None,
                sum_of_peaks: None,
            }),
            KindName::Delta => {
                let hour = span.start_us.div_euclid(MICROSECONDS_PER_HOUR);
                let hours =
                    self.value(7, row).map_or_else(HourSums::default, |sum| HourSums::of_highest(hour, sum));
                let max_nano = self.value(6, row);
                let rollup = DeltaRollup { span, sum_nano: value(5), max_nano, samples, hours };
                Totals::Delta(DeltaTotals { rollup, transactions_nano: None })
            }
            KindName::Cumulative => Totals::Cumulative(CumulativeRollup {
                span,
                increase_nano: value(8),
                largest_step_nano: value(9),
                resets: self.count(3, row),
                negative_samples: self.count(2, row),
                samples,
            }),
            KindName::Session => Totals::Session(SessionTotals {
                billed_us: i128::from(self.long(4, row)),
                samples,
                started: self.count(5, row),
            }),
            KindName::Unique => Totals::Unique(UniqueTotals {
                span,
                resources: self.count(10, row),
                resource_hours: self.count(9, row),
                samples,
            }),
        }
    }

    fn samples(&self, row: usize) -> Samples {
        Samples { count: self.count(1, row), first_us: self.time(2, row), last_us: self.time(3, row) }
    }

    fn text(&self, at: usize, row: usize) -> Option<&str> {
        let column = &self.texts[at];
        let texts = column.values().as_string::<i32>();
        column.is_valid(row).then(|| texts.value(column.keys().value(row) as usize))
    }

    fn time(&self, at: usize, row: usize) -> Option<i64> {
        self.times[at].is_valid(row).then(|| self.times[at].value(row))
    }

    fn long(&self, at: usize, row: usize) -> i64 {
        if self.longs[at].is_valid(row) { self.longs[at].value(row) } else { 0 }
    }

    fn count(&self, at: usize, row: usize) -> u64 {
        self.long(at, row).cast_unsigned()
    }

    fn value(&self, at: usize, row: usize) -> Option<i128> {
        self.values[at].is_valid(row).then(|| self.values[at].value(row))
    }
}
