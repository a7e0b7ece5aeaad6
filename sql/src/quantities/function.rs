//! `quantities('2026-05')` and `charges('2026-05')` in SQL: table functions with an execution plan of their own (`exec`).
//!
//! Owns: reading its arguments, and passing filters on the tenant down. Beside the period they take the version of
//! `usage_events`, which otherwise is the session's, and the instant up to which sessions that still run count. As tables
//! they take the periods from the query's filters.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::catalog::{Session, TableFunctionArgs, TableFunctionImpl, TableProvider};
use datafusion::common::{ScalarValue, plan_datafusion_err, plan_err, project_schema};
use datafusion::datasource::TableType;
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::{Expr, Operator, TableProviderFilterPushDown};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::empty::EmptyExec;
use datafusion::physical_plan::union::UnionExec;
use rating::catalog::Catalog;
use rating::period::PeriodChoice;

use super::charges::{CHARGES, ChargeKinds};
use super::exec::QuantitiesExec;
use super::period::{Narrowed, PeriodScan, Question};
use super::shares::TenantShare;
use super::table::{OUTCOMES, QUANTITIES};
use crate::lake::{Lake, LakeError, Table, TableSnapshot};
use crate::session::{SessionCatalogs, instant};

/// What is told of the usage of a period.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    Quantities,
    /// That, and who has no quantities, with the reason.
    Outcomes,
    /// What it costs: rows of these kinds.
    Charges(ChargeKinds),
}

impl Told {
    pub fn name(self) -> &'static str {
        match self {
            Self::Quantities => "quantities",
            Self::Outcomes => "outcomes",
            Self::Charges(_) => "charges",
        }
    }

    pub(super) fn schema(self) -> SchemaRef {
        match self {
            Self::Quantities => Arc::clone(&QUANTITIES),
            Self::Outcomes => Arc::clone(&OUTCOMES),
            Self::Charges(_) => Arc::clone(&CHARGES),
        }
    }

    pub(crate) fn question(self) -> Question {
        match self {
            Self::Quantities | Self::Outcomes => Question::Everything,
            Self::Charges(kinds) => Question::Charges(kinds),
        }
    }

    /// Less, where a query's filters leave only some kinds of rows.
    fn narrowed(self, filters: &[Expr]) -> Self {
        match (self, texts_of(filters, KIND)) {
            (Self::Charges(_), Some(names)) => Self::Charges(ChargeKinds::named(&names)),
            _ => self,
        }
    }
}

/// The columns by whose filters less is computed.
const TENANT: &str = "tenant";
const PERIOD: &str = "period";
const KIND: &str = "kind";

/// The function, over one lake and catalog.
#[derive(Debug, Clone)]
pub struct QuantitiesFunction {
    pub told: Told,
    pub lake: Lake,
    /// None while the table does not exist.
    pub snapshot: Option<Arc<TableSnapshot>>,
    pub catalog: Arc<Catalog>,
    /// Those of periods that another catalog rates; none if it is always the one above.
    pub period_catalogs: Option<Arc<SessionCatalogs>>,
    /// Whether the tenants are spread over processes, rather than over the cores of one.
    pub is_spread: bool,
}

impl TableFunctionImpl for QuantitiesFunction {
    fn call_with_args(&self, args: TableFunctionArgs) -> Result<Arc<dyn TableProvider>> {
        let usage = || {
            let name = self.told.name();
            plan_datafusion_err!(
                "{name}() takes a period like '2026-05', and if you like a version of usage_events, like 1204, and the \
                 instant up to which running sessions count, like '2026-05-20T00:00:00Z'"
            )
        };
        let [Expr::Literal(ScalarValue::Utf8(Some(period)), _), rest @ ..] = args.exprs() else {
            return Err(usage());
        };
        let mut rest = rest;
        let period: PeriodChoice = period.parse().map_err(|error| plan_datafusion_err!("{error}"))?;
        let mut version = None;
        if let [Expr::Literal(ScalarValue::Int64(Some(given)), _), others @ ..] = rest {
            (version, rest) = (Some(u64::try_from(*given).map_err(|_| usage())?), others);
        }
        let sessions_until_us = match rest {
            [] => None,
            [Expr::Literal(ScalarValue::Utf8(Some(text)), _)] => Some(instant(text).ok_or_else(usage)?),
            _ => return Err(usage()),
        };
        let period = Some(period);
        Ok(Arc::new(QuantitiesTable { function: self.clone(), period, version, sessions_until_us }))
    }
}

impl QuantitiesFunction {
    async fn catalog_of(&self, period: PeriodChoice) -> Result<Arc<Catalog>> {
        let of_period = match &self.period_catalogs {
            Some(catalogs) => catalogs.of_period(period).await?,
            None => None,
        };
        Ok(of_period.unwrap_or_else(|| Arc::clone(&self.catalog)))
    }

    /// The same as a table, of which a query names the periods: `WHERE period = '2026-05-01'`.
    pub fn table(&self) -> Arc<dyn TableProvider> {
        let function = self.clone();
        Arc::new(QuantitiesTable { function, period: None, version: None, sessions_until_us: None })
    }

    /// The table of one period.
    pub fn of_period(&self, period: PeriodChoice) -> Arc<dyn TableProvider> {
        let (function, period) = (self.clone(), Some(period));
        Arc::new(QuantitiesTable { function, period, version: None, sessions_until_us: None })
    }
}

#[derive(Debug)]
struct QuantitiesTable {
    function: QuantitiesFunction,
    /// None where the query's filters say it.
    period: Option<PeriodChoice>,
    version: Option<u64>,
    sessions_until_us: Option<i64>,
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
        let Some(named) = texts_of(filters, PERIOD) else {
            return plan_err!(
                "{name} are computed when asked for, so the query must name a period: WHERE period = '2026-05-01' \
                 with the day on which it starts, or FROM {name}('2026-05')"
            );
        };
        let day = |named: &String| match named.parse() {
            Ok(day @ PeriodChoice::Day(_)) => Ok(day),
            Ok(month @ PeriodChoice::Month(_)) => plan_err!(
                "the column period of {name} is the day on which the period starts: write period = '{month}-01', or FROM \
                 {name}('{month}') for the periods that start in the month"
            ),
            Err(error) => plan_err!("{error}"),
        };
        named.iter().map(day).collect()
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
            if [TENANT, PERIOD, KIND].iter().any(|column| text_values(filter, column).is_some()) {
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
        let QuantitiesFunction { told, lake, is_spread, .. } = &self.function;
        let told = told.narrowed(filters);
        let table = lake.table(Table::UsageEvents);
        let cores = state.config().target_partitions();
        let tenants = texts_of(filters, TENANT);
        let is_one_tenant = tenants.as_ref().is_some_and(|tenants| tenants.len() == 1);
        let shares = if *is_spread && !is_one_tenant {
            let spread = TenantShare::spread(&table, &snapshot, cores).await;
            spread.map_err(|error| DataFusionError::External(Box::new(error)))?
        } else {
            vec![TenantShare::default()]
        };
        let scan_of = |period, catalog| PeriodScan {
            table: table.clone(),
            snapshot: Arc::clone(&snapshot),
            catalog,
            period,
            question: told.question(),
            tenants: tenants.clone(),
            narrowed: Narrowed {
                // Else two of the days that a filter names would mean one period, and its rows came twice.
                starts_then: self.period.is_none(),
                sessions_until_us: self.sessions_until_us,
            },
            threads: if *is_spread { 1 } else { cores },
        };
        let mut scans = Vec::new();
        for period in self.periods(filters)? {
            let scan = scan_of(period, self.function.catalog_of(period).await?);
            let shares = TenantShare::rows(&shares)?;
            let scan = QuantitiesExec::new(told, lake.clone(), scan, projection.cloned(), shares)?;
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
