//! What the table's log says of a file's values, and which files a query's filters rule out by it.
//!
//! For a table whose partition is the day of a time column, bounds on the day are bounds on the time and
//! the other way round, so that a filter on either passes over whole days.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::timezone::Tz;
use arrow::array::{ArrayRef, BooleanArray, UInt64Array};
use arrow::compute::kernels::cast_utils::string_to_datetime;
use datafusion::catalog::Session;
use datafusion::common::pruning::PruningStatistics;
use datafusion::common::stats::Precision;
use datafusion::common::{Column, ColumnStatistics, DFSchema, ScalarValue, Statistics};
use datafusion::error::Result;
use datafusion::logical_expr::Expr;
use datafusion::logical_expr::utils::conjunction;
use datafusion::physical_optimizer::pruning::PruningPredicateBuilder;
use serde_json::Value;

use crate::lake::{ColumnKind, DataFile, Table};

const DAY_US: i64 = 86_400_000_000;
/// Other writers cut times to the millisecond, so a largest time may stand for one that is this much later.
const CUT_US: i64 = 999;

/// Bounds of the values that a file holds.
#[derive(Debug, Clone)]
pub(super) struct FileBounds {
    rows: u64,
    /// By the name of the column; what is not known is absent.
    columns: HashMap<&'static str, ColumnBounds>,
}

#[derive(Debug, Clone, Default)]
struct ColumnBounds {
    low: Option<ScalarValue>,
    high: Option<ScalarValue>,
    nulls: Option<u64>,
}

impl FileBounds {
    pub fn of(table: Table, file: &DataFile) -> Self {
        let statistics: Option<Value> =
            file.statistics.as_deref().and_then(|text| serde_json::from_str(text).ok());
        let mut columns = HashMap::new();
        for column in table.columns() {
            let found = |key: &str| statistics.as_ref()?.get(key)?.get(column.name);
            let mut bounds = ColumnBounds {
                low: found("minValues").and_then(|value| scalar(column.kind, value, 0)),
                high: found("maxValues").and_then(|value| scalar(column.kind, value, CUT_US)),
                nulls: found("nullCount").and_then(Value::as_u64),
            };
            if column.name == table.partition_column() {
                let day = Some(ScalarValue::Date32(Some(file.day)));
                bounds = ColumnBounds { low: day.clone(), high: day, nulls: Some(0) };
            }
            if table.partitioned_time_column() == Some(column.name) {
                bounds.narrow_to_day(file.day);
            }
            columns.insert(column.name, bounds);
        }
        Self { rows: file.rows, columns }
    }

    /// For each file whether it may hold rows that pass all filters. When in doubt it may.
    pub fn may_match(table: Table, files: &[Self], state: &dyn Session, filters: &[Expr]) -> Vec<bool> {
        let Some(filter) = conjunction(filters.iter().cloned()) else { return vec![true; files.len()] };
        let prune = || -> Result<Vec<bool>> {
            let schema = table.schema();
            let filter = state.create_physical_expr(filter, &DFSchema::try_from(Arc::clone(&schema))?)?;
            let predicate = PruningPredicateBuilder::new().with_file_schema(schema).try_build(filter)?;
            predicate.prune(&AllBounds { table, files })
        };
        prune().unwrap_or_else(|_| vec![true; files.len()])
    }

    /// The same for DataFusion's planner, for the columns of the file. Only the counts are exact.
    pub fn statistics(&self, table: Table) -> Statistics {
        let inexact = |value: &Option<ScalarValue>| match value {
            Some(value) => Precision::Inexact(value.clone()),
            None => Precision::Absent,
        };
        let columns = table.columns().iter().filter(|column| column.name != table.partition_column());
        let column_statistics = columns.map(|column| {
            let bounds = &self.columns[column.name];
            ColumnStatistics {
                null_count: match bounds.nulls {
                    Some(nulls) => Precision::Exact(nulls as usize),
                    None if !column.nullable => Precision::Exact(0),
                    None => Precision::Absent,
                },
                min_value: inexact(&bounds.low),
                max_value: inexact(&bounds.high),
                ..ColumnStatistics::new_unknown()
            }
        });
        Statistics {
            num_rows: Precision::Exact(self.rows as usize),
            total_byte_size: Precision::Absent,
            column_statistics: column_statistics.collect(),
        }
    }
}

impl ColumnBounds {
    fn narrow_to_day(&mut self, day: i32) {
        let start = i64::from(day) * DAY_US;
        let within = |value: &Option<ScalarValue>, otherwise: i64| match value {
            Some(ScalarValue::TimestampMicrosecond(Some(us), _)) => (*us).clamp(start, start + DAY_US - 1),
            _ => otherwise,
        };
        self.low = Some(time(within(&self.low, start)));
        self.high = Some(time(within(&self.high, start + DAY_US - 1)));
    }
}

fn time(us: i64) -> ScalarValue {
    ScalarValue::TimestampMicrosecond(Some(us), Some("UTC".into()))
}

/// A bound as the log has it; none for kinds of which the log keeps none that can be trusted.
fn scalar(kind: ColumnKind, value: &Value, later_us: i64) -> Option<ScalarValue> {
    match kind {
        ColumnKind::Text => Some(ScalarValue::Utf8(Some(value.as_str()?.to_owned()))),
        ColumnKind::Time => {
            let utc: Tz = "+00:00".parse().ok()?;
            Some(time(string_to_datetime(&utc, value.as_str()?).ok()?.timestamp_micros() + later_us))
        }
        ColumnKind::Integer => Some(ScalarValue::Int32(Some(i32::try_from(value.as_i64()?).ok()?))),
        ColumnKind::Long => Some(ScalarValue::Int64(Some(value.as_i64()?))),
        // Decimals are kept as floats by most writers.
        ColumnKind::Value | ColumnKind::Boolean | ColumnKind::Bytes | ColumnKind::Date => None,
    }
}

/// The bounds of many files, column by column.
struct AllBounds<'f> {
    table: Table,
    files: &'f [FileBounds],
}

impl AllBounds<'_> {
    fn values(&self, column: &Column, pick: fn(&ColumnBounds) -> &Option<ScalarValue>) -> Option<ArrayRef> {
        let column = self.table.columns().iter().find(|it| it.name == column.name())?;
        let null = ScalarValue::try_from(&column.kind.arrow_type()).ok()?;
        let values = self.files.iter().map(|file| {
            let value = pick(&file.columns[column.name]);
            value.clone().unwrap_or_else(|| null.clone())
        });
        ScalarValue::iter_to_array(values).ok()
    }
}

impl PruningStatistics for AllBounds<'_> {
    fn min_values(&self, column: &Column) -> Option<ArrayRef> {
        self.values(column, |bounds| &bounds.low)
    }

    fn max_values(&self, column: &Column) -> Option<ArrayRef> {
        self.values(column, |bounds| &bounds.high)
    }

    fn num_containers(&self) -> usize {
        self.files.len()
    }

    fn null_counts(&self, column: &Column) -> Option<ArrayRef> {
        let nulls = self.files.iter().map(|file| file.columns.get(column.name())?.nulls);
        Some(Arc::new(nulls.collect::<UInt64Array>()))
    }

    fn row_counts(&self) -> Option<ArrayRef> {
        Some(Arc::new(self.files.iter().map(|file| Some(file.rows)).collect::<UInt64Array>()))
    }

    fn contained(
        &self,
        _column: &Column,
        _values: &std::collections::HashSet<ScalarValue>,
    ) -> Option<BooleanArray> {
        None
    }
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::DataType;

    use super::*;

    fn file(statistics: &str) -> DataFile {
        DataFile {
            path: "event_day=2026-05-01/part-1.parquet".to_owned(),
            size_bytes: 1,
            rows: 7,
            day: 20_574,
            modified_at_ms: 0,
            statistics: Some(statistics.to_owned()),
        }
    }

    #[test]
    fn bounds_stay_within_the_day_and_only_counts_are_exact() {
        let bounds = FileBounds::of(
            Table::UsageEvents,
            &file(
                r#"{"numRecords":7,"minValues":{"time":"2026-05-01T10:00:00Z","tenant":"acme"},
                    "maxValues":{"time":"2026-05-02T00:00:00.000Z","tenant":"beta","value":3},
                    "nullCount":{"meter":2}}"#,
            ),
        );
        let start = 20_574 * DAY_US;
        let times = &bounds.columns["time"];
        assert_eq!(times.low, Some(time(start + 10 * 3_600_000_000)));
        assert_eq!(times.high, Some(time(start + DAY_US - 1)));
        assert!(bounds.columns["value"].high.is_none());
        let statistics = bounds.statistics(Table::UsageEvents);
        assert_eq!(statistics.num_rows, Precision::Exact(7));
        let schema = Table::UsageEvents.file_schema();
        let column = |name: &str| &statistics.column_statistics[schema.index_of(name).unwrap()];
        assert_eq!(column("meter").null_count, Precision::Exact(2));
        assert_eq!(column("tenant").min_value, Precision::Inexact(ScalarValue::from("acme")));
    }

    #[test]
    fn statistics_that_nobody_understands_rule_nothing_out() {
        let bounds = FileBounds::of(Table::RejectedMessages, &file("not json"));
        assert!(bounds.columns["arrival"].low.is_none());
        assert_eq!(bounds.columns["rejected_day"].high, Some(ScalarValue::Date32(Some(20_574))));
        assert_eq!(scalar(ColumnKind::Time, &Value::from("yesterday"), 0), None);
        assert_eq!(ColumnKind::Time.arrow_type(), time(0).data_type());
        assert_eq!(DataType::Utf8, ColumnKind::Text.arrow_type());
    }
}
