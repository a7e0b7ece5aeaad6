//! Tables as one tenant may see them: only its own rows, whatever the query asks.
//!
//! Owns the rule, for every table, view and table function: with a `tenant` column it is filtered, without one it is hidden,
//! unless it is named as harmless. The filter stands in the plan below a node through which nothing of the user's passes
//! down: no expression is ever computed for a row of another tenant, so neither results nor errors can tell of it, and
//! no statistics come up through it. Does not own who is restricted: that is the caller's.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::catalog::{
    MemorySchemaProvider, SchemaProvider, Session, TableFunctionArgs, TableFunctionImpl, TableProvider,
};
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{Column, DFSchema, exec_err, plan_err};
use datafusion::datasource::TableType;
use datafusion::error::Result;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{BinaryExpr, Expr, Operator, TableProviderFilterPushDown, lit};
use datafusion::physical_expr::expressions::Column as PhysicalColumn;
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties, PlanProperties,
};

const TENANT: &str = "tenant";

/// Filters on these may choose files and row groups below the tenant's filter: when something was used and by which
/// meter it was counted says nothing of another tenant, and comparing them with a constant cannot fail.
const HARMLESS_COLUMNS: [&str; 5] = ["time", "event_day", "day", "period", "meter"];

/// What one tenant may see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TenantRestriction {
    pub tenant: String,
    /// Tables and table functions without a `tenant` column that every tenant may read.
    pub harmless: BTreeSet<String>,
}

impl TenantRestriction {
    /// A schema with what the tenant may see of another.
    pub async fn schema(self: &Arc<Self>, inner: &dyn SchemaProvider) -> Result<Arc<dyn SchemaProvider>> {
        let restricted = MemorySchemaProvider::new();
        for name in inner.table_names() {
            let Some(table) = inner.table(&name).await? else { continue };
            if let Some(table) = self.table(&name, table) {
                restricted.register_table(name, table)?;
            }
        }
        Ok(Arc::new(restricted))
    }

    /// A table with the tenant's rows only; none if the tenant may not see it.
    pub fn table(
        self: &Arc<Self>,
        name: &str,
        inner: Arc<dyn TableProvider>,
    ) -> Option<Arc<dyn TableProvider>> {
        if inner.schema().index_of(TENANT).is_ok() {
            return Some(Arc::new(RestrictedTable { inner, restriction: Arc::clone(self) }));
        }
        self.harmless.contains(name).then_some(inner)
    }

    /// A table function whose tables have the tenant's rows only.
    pub fn function(
        self: &Arc<Self>,
        name: &str,
        inner: Arc<dyn TableFunctionImpl>,
    ) -> Arc<dyn TableFunctionImpl> {
        Arc::new(RestrictedFunction { name: name.to_owned(), inner, restriction: Arc::clone(self) })
    }
}

#[derive(Debug)]
struct RestrictedFunction {
    name: String,
    inner: Arc<dyn TableFunctionImpl>,
    restriction: Arc<TenantRestriction>,
}

impl TableFunctionImpl for RestrictedFunction {
    fn call_with_args(&self, args: TableFunctionArgs) -> Result<Arc<dyn TableProvider>> {
        let table = self.inner.call_with_args(args)?;
        match self.restriction.table(&self.name, table) {
            Some(table) => Ok(table),
            None => plan_err!("{} is not open to users of one tenant", self.name),
        }
    }
}

#[derive(Debug)]
struct RestrictedTable {
    inner: Arc<dyn TableProvider>,
    restriction: Arc<TenantRestriction>,
}

impl RestrictedTable {
    fn is_tenant(&self) -> Expr {
        let column = Expr::Column(Column::from_name(TENANT));
        column.eq(lit(self.restriction.tenant.clone()))
    }

    /// Whether a filter may also be applied below the tenant's.
    fn is_harmless(&self, filter: &Expr) -> bool {
        let Expr::BinaryExpr(BinaryExpr { left, op, right }) = filter else { return false };
        let (column, value) = match (&**left, &**right) {
            (Expr::Column(column), Expr::Literal(value, _))
            | (Expr::Literal(value, _), Expr::Column(column)) => (column, value),
            _ => return false,
        };
        let is_comparison = matches!(
            op,
            Operator::Eq | Operator::Lt | Operator::LtEq | Operator::Gt | Operator::GtEq | Operator::NotEq
        );
        // Of the same type: nothing is converted, so nothing can fail.
        let has_type = |field: &arrow::datatypes::Field| *field.data_type() == value.data_type();
        is_comparison
            && HARMLESS_COLUMNS.contains(&column.name.as_str())
            && self.inner.schema().field_with_name(&column.name).is_ok_and(has_type)
    }
}

#[async_trait]
impl TableProvider for RestrictedTable {
    fn schema(&self) -> SchemaRef {
        self.inner.schema()
    }

    fn table_type(&self) -> TableType {
        self.inner.table_type()
    }

    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        let pushed = |filter: &&Expr| match self.is_harmless(filter) {
            true => TableProviderFilterPushDown::Inexact,
            false => TableProviderFilterPushDown::Unsupported,
        };
        Ok(filters.iter().map(pushed).collect())
    }

    /// The limit is not passed down: it would count rows of others.
    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        _limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let schema = self.inner.schema();
        let tenant = schema.index_of(TENANT)?;
        let asked: Vec<usize> = projection.cloned().unwrap_or_else(|| (0..schema.fields().len()).collect());
        let mut below = vec![self.is_tenant()];
        below.extend(filters.iter().filter(|filter| self.is_harmless(filter)).map(without_relation));

        let mut read = asked.clone();
        for column in below.iter().flat_map(Expr::column_refs).map(|column| schema.index_of(&column.name)) {
            let column = column?;
            if !read.contains(&column) {
                read.push(column);
            }
        }
        debug_assert!(read.contains(&tenant));
        let supported = self.inner.supports_filters_pushdown(&below.iter().collect::<Vec<_>>())?;
        let pushed: Vec<Expr> = below
            .iter()
            .zip(supported)
            .filter(|(_, supported)| *supported != TableProviderFilterPushDown::Unsupported)
            .map(|(filter, _)| filter.clone())
            .collect();
        let scan = self.inner.scan(state, Some(&read), &pushed, None).await?;

        let predicate = conjunction(below).expect("the tenant's filter is one");
        let predicate = state.create_physical_expr(predicate, &DFSchema::try_from(scan.schema())?)?;
        let filtered = Arc::new(FilterExec::try_new(predicate, scan)?);
        let columns = asked.iter().enumerate().map(|(position, index)| {
            let name = schema.field(*index).name();
            let column: Arc<dyn PhysicalExpr> = Arc::new(PhysicalColumn::new(name, position));
            (column, name.clone())
        });
        let projected = ProjectionExec::try_new(columns.collect::<Vec<_>>(), filtered)?;
        Ok(Arc::new(BarrierExec::new(Arc::new(projected))))
    }
}

/// The filter of a scan may name its table in another way than the table itself does.
fn without_relation(filter: &Expr) -> Expr {
    let unqualified = |expression: &Expr| match expression {
        Expr::Column(column) => Expr::Column(Column::from_name(&column.name)),
        other => other.clone(),
    };
    match filter {
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => {
            Expr::BinaryExpr(BinaryExpr::new(Box::new(unqualified(left)), *op, Box::new(unqualified(right))))
        }
        other => unqualified(other),
    }
}

/// Lets rows up, and nothing down: by the defaults of an execution plan it passes on no filter, no limit and no projection, and
/// tells no statistics.
#[derive(Debug)]
struct BarrierExec {
    input: Arc<dyn ExecutionPlan>,
    properties: Arc<PlanProperties>,
}

impl BarrierExec {
    fn new(input: Arc<dyn ExecutionPlan>) -> Self {
        let properties = PlanProperties::new(
            EquivalenceProperties::new(input.schema()),
            input.output_partitioning().clone(),
            input.pipeline_behavior(),
            input.boundedness(),
        );
        Self { input, properties: Arc::new(properties) }
    }
}

impl DisplayAs for BarrierExec {
    fn fmt_as(&self, _format: DisplayFormatType, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "BarrierExec: one tenant")
    }
}

impl ExecutionPlan for BarrierExec {
    fn name(&self) -> &'static str {
        "BarrierExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn apply_expressions(
        &self,
        _visit: &mut dyn for<'e> FnMut(&'e Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(
        self: Arc<Self>,
        mut children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        match (children.pop(), children.is_empty()) {
            (Some(input), true) => Ok(Arc::new(Self::new(input))),
            _ => exec_err!("a barrier has one input"),
        }
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        self.input.execute(partition, context)
    }
}
