//! A table of which a session sees one tenant's rows.
//!
//! The restriction is part of the plan, and sealed: nothing of a query is evaluated before the other tenants' rows are
//! gone, no optimizer rule reaches below it, and neither EXPLAIN nor statistics tell of what lies there. A filter beside
//! the query's own would not do: a query can show values of rows that it does not return, by errors like
//! `cannot cast 'secret'` and by what is evaluated first.

use std::fmt;
use std::sync::Arc;

use arrow::datatypes::{DataType, SchemaRef};
use async_trait::async_trait;
use datafusion::catalog::{Session, TableFunctionArgs, TableFunctionImpl, TableProvider};
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{DFSchema, ScalarValue, plan_err};
use datafusion::datasource::TableType;
use datafusion::error::Result;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::{Expr, Operator, TableProviderFilterPushDown, col, lit};
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_optimizer::filter_pushdown::FilterPushdown;
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties};

use crate::relation::TENANT;

/// When something was used and by which meter it was counted says nothing of another tenant.
const HARMLESS_COLUMNS: [&str; 6] = ["time", "event_day", "usage_day", "hour", "period", "meter"];

const COMPARISONS: [Operator; 6] =
    [Operator::Eq, Operator::NotEq, Operator::Lt, Operator::LtEq, Operator::Gt, Operator::GtEq];

/// The table with the rows of one tenant.
#[derive(Debug)]
pub(super) struct TenantTable {
    whole: Arc<dyn TableProvider>,
    tenant: String,
}

impl TenantTable {
    /// Refuses a table whose rows do not say whose they are.
    pub fn new(whole: Arc<dyn TableProvider>, tenant: &str) -> Result<Self> {
        let schema = whole.schema();
        match schema.field_with_name(TENANT) {
            Ok(field) if field.data_type() == &DataType::Utf8 => {
                Ok(Self { whole, tenant: tenant.to_owned() })
            }
            _ => plan_err!("a session of one tenant cannot have a table without the tenants of its rows"),
        }
    }

    fn is_own(&self) -> Expr {
        col(TENANT).eq(lit(self.tenant.as_str()))
    }

    /// Whether a filter may serve to open fewer files. Which files there are follows from all tenants' rows: by a filter
    /// on anything else, a query could see from its own errors whether others have such rows.
    fn is_harmless(&self, filter: &Expr) -> bool {
        match filter {
            Expr::BinaryExpr(both) if matches!(both.op, Operator::And | Operator::Or) => {
                self.is_harmless(&both.left) && self.is_harmless(&both.right)
            }
            Expr::BinaryExpr(comparison) if COMPARISONS.contains(&comparison.op) => {
                match (&*comparison.left, &*comparison.right) {
                    (Expr::Column(column), Expr::Literal(value, _))
                    | (Expr::Literal(value, _), Expr::Column(column)) => {
                        self.is_harmless_column(&column.name, value)
                    }
                    _ => false,
                }
            }
            Expr::InList(list) => {
                let Expr::Column(column) = &*list.expr else { return false };
                list.list.iter().all(|item| {
                    matches!(item, Expr::Literal(value, _) if self.is_harmless_column(&column.name, value))
                })
            }
            _ => false,
        }
    }

    /// Of the same type, so that nothing is converted and nothing can fail.
    fn is_harmless_column(&self, name: &str, value: &ScalarValue) -> bool {
        let has_type = |field: &arrow::datatypes::Field| *field.data_type() == value.data_type();
        HARMLESS_COLUMNS.contains(&name) && self.whole.schema().field_with_name(name).is_ok_and(has_type)
    }
}

#[async_trait]
impl TableProvider for TenantTable {
    fn schema(&self) -> SchemaRef {
        self.whole.schema()
    }

    fn table_type(&self) -> TableType {
        self.whole.table_type()
    }

    /// Filters only serve to open fewer files; whatever the whole table makes of them, the query applies them again.
    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        let supported = self.whole.supports_filters_pushdown(filters)?;
        let pushed = filters.iter().zip(supported).map(|(filter, supported)| match supported {
            TableProviderFilterPushDown::Inexact if self.is_harmless(filter) => {
                TableProviderFilterPushDown::Inexact
            }
            // What filters exactly evaluates the filter, and must not do so on other tenants' rows.
            _ => TableProviderFilterPushDown::Unsupported,
        });
        Ok(pushed.collect())
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        _limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let schema = self.schema();
        let tenant_column = schema.index_of(TENANT)?;
        let wanted: Vec<usize> = projection.cloned().unwrap_or_else(|| (0..schema.fields().len()).collect());
        let mut read = wanted.clone();
        let at = read.iter().position(|column| *column == tenant_column).unwrap_or(read.len());
        if at == read.len() {
            read.push(tenant_column);
        }
        let mut all_filters = vec![self.is_own()];
        all_filters.extend_from_slice(filters);
        // No limit: the first rows may be those of others.
        let rows = self.whole.scan(state, Some(&read), &all_filters, None).await?;
        let predicate = state.create_physical_expr(self.is_own(), &DFSchema::try_from(rows.schema())?)?;
        let filtered: Arc<dyn ExecutionPlan> = Arc::new(FilterExec::try_new(predicate, rows)?);
        // Lets Parquet pass over row groups of other tenants.
        let filtered = FilterPushdown::new().optimize(filtered, state.config_options())?;
        Ok(Arc::new(SealedExec::new(filtered, wanted.len(), &self.tenant)?))
    }
}

/// A table function whose tables are those of one tenant.
#[derive(Debug)]
pub(super) struct TenantFunction {
    pub whole: Arc<dyn TableFunctionImpl>,
    pub tenant: String,
}

impl TableFunctionImpl for TenantFunction {
    fn call_with_args(&self, args: TableFunctionArgs) -> Result<Arc<dyn TableProvider>> {
        let whole = self.whole.call_with_args(args)?;
        Ok(Arc::new(TenantTable::new(whole, &self.tenant)?))
    }
}

/// A plan that shows itself as a leaf: nothing is pushed into it, and nothing of it is told.
struct SealedExec {
    inner: Arc<dyn ExecutionPlan>,
    /// The first so many columns of the inner plan are passed on.
    columns: Vec<usize>,
    tenant: String,
    properties: Arc<PlanProperties>,
}

impl SealedExec {
    fn new(inner: Arc<dyn ExecutionPlan>, columns: usize, tenant: &str) -> Result<Self> {
        let columns: Vec<usize> = (0..columns).collect();
        let schema = Arc::new(inner.schema().project(&columns)?);
        let known = inner.properties();
        let properties = PlanProperties::new(
            EquivalenceProperties::new(schema),
            datafusion::physical_plan::Partitioning::UnknownPartitioning(
                known.output_partitioning().partition_count(),
            ),
            known.emission_type,
            known.boundedness,
        );
        Ok(Self { inner, columns, tenant: tenant.to_owned(), properties: Arc::new(properties) })
    }
}

impl fmt::Debug for SealedExec {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "SealedExec(tenant {})", self.tenant)
    }
}

impl DisplayAs for SealedExec {
    fn fmt_as(&self, _format: DisplayFormatType, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "TenantRows: tenant={}", ScalarValue::from(self.tenant.as_str()))
    }
}

impl ExecutionPlan for SealedExec {
    fn name(&self) -> &'static str {
        "TenantRows"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        Vec::new()
    }

    fn apply_expressions(
        &self,
        _visit: &mut dyn for<'e> FnMut(&'e Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(
        self: Arc<Self>,
        _children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
        use futures::StreamExt;
        let rows = self.inner.execute(partition, context)?;
        let columns = self.columns.clone();
        let projected = rows.map(move |batch| Ok(batch?.project(&columns)?));
        let schema = Arc::clone(self.properties.eq_properties.schema());
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, projected)))
    }
}
