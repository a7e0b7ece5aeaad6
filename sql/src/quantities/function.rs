//! `quantities('2026-05')` and `charges('2026-05')` in SQL: table functions with an execution plan of their own.
//!
//! Owns: reading its arguments, passing filters on the tenant down, and counting its memory against the session's. It
//! answers from roll-ups where these do, and from events elsewhere. A second argument pins the version of `usage_events`;
//! otherwise it is the session's. As tables they take the periods from the query's filters.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::catalog::{Session, TableFunctionArgs, TableFunctionImpl, TableProvider};
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{ScalarValue, plan_datafusion_err, plan_err, project_schema};
use datafusion::datasource::TableType;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::{Expr, Operator, TableProviderFilterPushDown};
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_plan::empty::EmptyExec;
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::union::UnionExec;
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning, PlanProperties};
use futures::{StreamExt, TryStreamExt};
use rating::catalog::Catalog;
use rating::period::PeriodChoice;

use super::charges::{self, CHARGES};
use super::period::{PeriodScan, Question};
use super::table::{QUANTITIES, QuantityRows};
use crate::lake::{Lake, LakeError, Table, TableSnapshot};
use crate::rollups::{RollUps, Source};

const BATCH_ROWS: usize = 8 * 1024;

/// What is told of the usage of a period.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    Quantities,
    /// What it costs.
    Charges,
}

impl Told {
    pub fn name(self) -> &'static str {
        match self {
            Self::Quantities => "quantities",
            Self::Charges => "charges",
        }
    }

    fn schema(self) -> SchemaRef {
        match self {
            Self::Quantities => Arc::clone(&QUANTITIES),
            Self::Charges => Arc::clone(&CHARGES),
        }
    }
}

/// The function, over one lake and catalog.
#[derive(Debug, Clone)]
pub struct QuantitiesFunction {
    pub told: Told,
    pub lake: Lake,
    /// None while the table does not exist.
    pub snapshot: Option<Arc<TableSnapshot>>,
    pub catalog: Arc<Catalog>,
}

impl TableFunctionImpl for QuantitiesFunction {
    fn call_with_args(&self, args: TableFunctionArgs) -> Result<Arc<dyn TableProvider>> {
        let name = self.told.name();
        let usage =
            format!("{name}() takes a period like '2026-05', and if you like a version of usage_events");
        let (period, version) = match args.exprs() {
            [period] => (period, None),
            [period, version] => (period, Some(version)),
            _ => return plan_err!("{usage}"),
        };
        let Expr::Literal(ScalarValue::Utf8(Some(period)), _) = period else { return plan_err!("{usage}") };
        let period: PeriodChoice = period.parse().map_err(|error| plan_datafusion_err!("{error}"))?;
        let version = match version {
            None => None,
            Some(Expr::Literal(ScalarValue::Int64(Some(version)), _)) => u64::try_from(*version).ok(),
            Some(_) => return plan_err!("{usage}"),
        };
        Ok(Arc::new(QuantitiesTable { function: self.clone(), period: Some(period), version }))
    }
}

impl QuantitiesFunction {
    /// The same as a table, of which a query names the periods: `WHERE period = '2026-05-01'`.
    pub fn table(&self) -> Arc<dyn TableProvider> {
        Arc::new(QuantitiesTable { function: self.clone(), period: None, version: None })
    }
}

#[derive(Debug)]
struct QuantitiesTable {
    function: QuantitiesFunction,
    /// None where the query's filters say it.
    period: Option<PeriodChoice>,
    version: Option<u64>,
}

impl QuantitiesTable {
    async fn snapshot(&self) -> Result<Arc<TableSnapshot>> {
        let table = self.function.lake.table(Table::UsageEvents);
        let found = match (self.version, &self.function.snapshot) {
            (None, Some(snapshot)) => Ok(Arc::clone(snapshot)),
            (None, None) => Err(LakeError::Missing(table.table().name())),
            (version, _) => table.snapshot(version).await.map(Arc::new),
        };
        found.map_err(|error| DataFusionError::External(Box::new(error)))
    }

    fn periods(&self, filters: &[Expr]) -> Result<Vec<PeriodChoice>> {
        if let Some(period) = self.period {
            return Ok(vec![period]);
        }
        let name = self.function.told.name();
        let Some(named) = texts_of(filters, "period") else {
            return plan_err!(
                "{name} are computed when asked for, so the query must name a period: WHERE period = '2026-05-01' \
                 with the day on which it starts, or FROM {name}('2026-05')"
            );
        };
        let periods = named.iter().map(|period| period.parse());
        periods.collect::<Result<_, _>>().map_err(|error| plan_datafusion_err!("{error}"))
    }
}

#[async_trait]
impl TableProvider for QuantitiesTable {
    fn schema(&self) -> SchemaRef {
        self.function.told.schema()
    }

    fn table_type(&self) -> TableType {
        TableType::Temporary
    }

    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        let pushed = |filter: &&Expr| {
            if text_values(filter, "tenant").or_else(|| text_values(filter, "period")).is_some() {
                TableProviderFilterPushDown::Inexact
            } else {
                TableProviderFilterPushDown::Unsupported
            }
        };
        Ok(filters.iter().map(pushed).collect())
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        _limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let snapshot = self.snapshot().await?;
        let scan_of = |period| PeriodScan {
            table: self.function.lake.table(Table::UsageEvents),
            snapshot: Arc::clone(&snapshot),
            catalog: Arc::clone(&self.function.catalog),
            period,
            question: match self.function.told {
                Told::Quantities => Question::Everything,
                Told::Charges => Question::Charges,
            },
            tenants: texts_of(filters, "tenant"),
            threads: state.config().target_partitions(),
        };
        let mut scans = Vec::new();
        for period in self.periods(filters)? {
            let QuantitiesFunction { told, lake, .. } = &self.function;
            let scan = QuantitiesExec::new(*told, lake.clone(), scan_of(period), projection.cloned())?;
            scans.push(Arc::new(scan) as Arc<dyn ExecutionPlan>);
        }
        match scans.len() {
            0 => Ok(Arc::new(EmptyExec::new(project_schema(&self.schema(), projection)?))),
            1 => Ok(scans.remove(0)),
            _ => UnionExec::try_new(scans),
        }
    }
}

/// The values of a text column that all filters leave; none if they leave any.
fn texts_of(filters: &[Expr], column: &str) -> Option<BTreeSet<String>> {
    let values = filters.iter().filter_map(|filter| text_values(filter, column));
    values.reduce(|left, right| left.intersection(&right).cloned().collect())
}

/// The values that a filter leaves: of `tenant = 'x'` and `tenant IN ('x', 'y')`.
fn text_values(filter: &Expr, name: &str) -> Option<BTreeSet<String>> {
    let text = |expression: &Expr| match expression {
        Expr::Literal(ScalarValue::Utf8(Some(text)), _) => Some(text.clone()),
        _ => None,
    };
    let is_named = |expression: &Expr| matches!(expression, Expr::Column(column) if column.name == name);
    match filter {
        Expr::BinaryExpr(equal) if equal.op == Operator::Eq => match (&*equal.left, &*equal.right) {
            (column, value) | (value, column) if is_named(column) => Some(BTreeSet::from([text(value)?])),
            _ => None,
        },
        // Short lists become alternatives.
        Expr::BinaryExpr(either) if either.op == Operator::Or => {
            let (left, right) = (text_values(&either.left, name)?, text_values(&either.right, name)?);
            Some(left.into_iter().chain(right).collect())
        }
        Expr::InList(list) if !list.negated && is_named(&list.expr) => list.list.iter().map(text).collect(),
        _ => None,
    }
}

/// The pass over the lake as an operator.
#[derive(Debug)]
pub struct QuantitiesExec {
    told: Told,
    lake: Lake,
    scan: PeriodScan,
    projection: Option<Vec<usize>>,
    properties: Arc<PlanProperties>,
}

impl QuantitiesExec {
    fn new(told: Told, lake: Lake, scan: PeriodScan, projection: Option<Vec<usize>>) -> Result<Self> {
        let schema = project_schema(&told.schema(), projection.as_ref())?;
        let properties = PlanProperties::new(
            EquivalenceProperties::new(schema),
            Partitioning::UnknownPartitioning(1),
            EmissionType::Final,
            Boundedness::Bounded,
        );
        Ok(Self { told, lake, scan, projection, properties: Arc::new(properties) })
    }
}

impl DisplayAs for QuantitiesExec {
    fn fmt_as(&self, _format: DisplayFormatType, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let PeriodScan { snapshot, period, tenants, threads, .. } = &self.scan;
        write!(
            out,
            "QuantitiesExec: {}, period={period}, version={}, threads={threads}",
            self.told.name(),
            snapshot.version
        )?;
        match tenants {
            Some(tenants) => write!(out, ", tenants={tenants:?}"),
            None => Ok(()),
        }
    }
}

impl ExecutionPlan for QuantitiesExec {
    fn name(&self) -> &'static str {
        "QuantitiesExec"
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

    fn execute(&self, _partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let (told, lake) = (self.told, self.lake.clone());
        let (scan, projection) = (self.scan.clone(), self.projection.clone());
        let pool = Arc::clone(context.memory_pool());
        let batches = async move {
            let mut scan_of_all = scan.usage_scan().map_err(external)?;
            scan_of_all.memory = Some(pool);
            let roll_ups = RollUps::open(&lake).await.map_err(external)?;
            let found = RollUps::answer(roll_ups.as_ref(), &scan_of_all, Source::Auto).await;
            let answers = scan.complete(found.map_err(external)?.answers).map_err(external)?;
            if let Some(failure) = answers.failed.into_iter().next() {
                return Err(DataFusionError::External(Box::new(failure)));
            }
            match told {
                Told::Quantities => batches(&answers.usages, &scan.catalog, projection.as_deref()),
                Told::Charges => charges::batches(&answers.usages, &scan.catalog, projection.as_deref()),
            }
        };
        let stream = futures::stream::once(batches).map_ok(|batches| futures::stream::iter(batches).map(Ok));
        let schema = Arc::clone(self.properties.eq_properties.schema());
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, stream.try_flatten())))
    }
}

fn external(error: super::QuantitiesError) -> DataFusionError {
    DataFusionError::External(Box::new(error))
}

fn batches(
    usages: &[rating::usage::Usage],
    catalog: &Catalog,
    projection: Option<&[usize]>,
) -> Result<Vec<RecordBatch>> {
    let mut rows = QuantityRows::default();
    let mut batches = Vec::new();
    let mut take = |rows: &mut QuantityRows| -> Result<()> {
        let batch = rows.finish()?;
        batches.push(match projection {
            Some(columns) => batch.project(columns)?,
            None => batch,
        });
        Ok(())
    };
    for usage in usages {
        rows.push_usage(usage, catalog);
        if rows.len() >= BATCH_ROWS {
            take(&mut rows)?;
        }
    }
    take(&mut rows)?;
    Ok(batches)
}
