//! `usage_events_at(1204)` and `usage_events_at('2026-05-01T00:00:00Z')` in SQL: a table of the lake as it was.
//!
//! Owns the table function; of a table before which a view stands it is the view as it was. The version is looked for when the query is planned, which may wait; so the function itself
//! only reads its argument.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::catalog::{Session, TableFunctionArgs, TableFunctionImpl, TableProvider};
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{ScalarValue, plan_datafusion_err, plan_err};
use datafusion::datasource::{TableType, ViewTable, provider_as_source};
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::{Expr, LogicalPlan, TableProviderFilterPushDown};
use datafusion::physical_plan::ExecutionPlan;

use super::lake_table::LakeTable;
use crate::lake::{LakeError, TableHandle};

/// Which version of a table is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum AsOf {
    Version(u64),
    /// The newest that was committed then.
    Instant(i64),
}

#[derive(Debug)]
pub(super) struct TableAt {
    pub handle: TableHandle,
    /// The plan of the view that stands before the table.
    pub view: Option<LogicalPlan>,
}

impl TableFunctionImpl for TableAt {
    fn call_with_args(&self, args: TableFunctionArgs) -> Result<Arc<dyn TableProvider>> {
        let name = self.handle.table().name();
        let usage = || {
            plan_datafusion_err!(
                "{name}_at() takes a version, like {name}_at(1204), or an instant, like {name}_at('2026-05-01T00:00:00Z')"
            )
        };
        let [Expr::Literal(argument, _)] = args.exprs() else { return Err(usage()) };
        let as_of = match argument {
            ScalarValue::Int64(Some(version)) => match u64::try_from(*version) {
                Ok(version) => AsOf::Version(version),
                Err(_) => return plan_err!("{name} has no version {version}: versions count from 0"),
            },
            ScalarValue::Utf8(Some(text)) => AsOf::Instant(instant(text).ok_or_else(usage)?),
            _ => return Err(usage()),
        };
        let then = Arc::new(TableThen { handle: self.handle.clone(), as_of });
        Ok(match &self.view {
            Some(view) => Arc::new(ViewTable::new(over(view, name, then)?, None)),
            None => then,
        })
    }
}

/// The view over the table as it was.
fn over(view: &LogicalPlan, table: &str, then: Arc<TableThen>) -> Result<LogicalPlan> {
    let source = provider_as_source(then);
    let changed = view.clone().transform_up(|node| {
        Ok(match node {
            LogicalPlan::TableScan(mut scan) if scan.table_name.table() == table => {
                scan.source = Arc::clone(&source);
                Transformed::yes(LogicalPlan::TableScan(scan))
            }
            other => Transformed::no(other),
        })
    })?;
    Ok(changed.data)
}

/// Reads an instant; one without an offset is in UTC.
pub(crate) fn instant(text: &str) -> Option<i64> {
    let utc: arrow::array::timezone::Tz = "+00:00".parse().ok()?;
    Some(arrow::compute::kernels::cast_utils::string_to_datetime(&utc, text).ok()?.timestamp_micros())
}

#[derive(Debug)]
struct TableThen {
    handle: TableHandle,
    as_of: AsOf,
}

impl TableThen {
    async fn table(&self) -> Result<LakeTable, LakeError> {
        let version = match self.as_of {
            AsOf::Version(version) => Some(version),
            AsOf::Instant(at_us) => self.handle.version_at(at_us).await?,
        };
        match version {
            Some(version) => {
                Ok(LakeTable::new(&self.handle, Arc::new(self.handle.snapshot(Some(version)).await?)))
            }
            None => Ok(LakeTable::empty(&self.handle)),
        }
    }
}

#[async_trait]
impl TableProvider for TableThen {
    fn schema(&self) -> SchemaRef {
        self.handle.table().schema()
    }

    fn table_type(&self) -> TableType {
        TableType::Temporary
    }

    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        Ok(vec![TableProviderFilterPushDown::Inexact; filters.len()])
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let table = self.table().await.map_err(|error| DataFusionError::External(Box::new(error)))?;
        table.scan(state, projection, filters, limit).await
    }
}
