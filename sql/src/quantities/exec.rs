//! The pass over the lake as an operator of a plan.
//!
//! Owns: answering from roll-ups where these do and from events elsewhere, and counting its memory against the
//! session's. Which tenants a partition answers is told by the rows below it, one for each share of the tenants: engines
//! that give partitions to several processes know how to do that with rows, and take any other leaf as a whole.

use std::fmt;
use std::sync::Arc;

use arrow::array::RecordBatch;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{exec_err, internal_err, project_schema};
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties, Partitioning, PlanProperties,
};
use futures::{StreamExt, TryStreamExt};
use rating::catalog::Catalog;
use rating::usage::Usage;

use super::charges;
use super::function::Told;
use super::left_out::{LeftOut, LeftOutTenant};
use super::period::PeriodScan;
use super::shares::TenantShare;
use super::table::QuantityRows;
use crate::lake::Lake;
use crate::rollups::{RollUps, Source};

const BATCH_ROWS: usize = 8 * 1024;

#[derive(Debug)]
pub struct QuantitiesExec {
    pub(crate) told: Told,
    pub(crate) lake: Lake,
    pub(crate) scan: PeriodScan,
    pub(crate) projection: Option<Vec<usize>>,
    /// Its rows are the shares.
    shares: Arc<dyn ExecutionPlan>,
    properties: Arc<PlanProperties>,
}

impl QuantitiesExec {
    pub(crate) fn new(
        told: Told,
        lake: Lake,
        scan: PeriodScan,
        projection: Option<Vec<usize>>,
        shares: Arc<dyn ExecutionPlan>,
    ) -> Result<Self> {
        let schema = project_schema(&told.schema(), projection.as_ref())?;
        let properties = PlanProperties::new(
            EquivalenceProperties::new(schema),
            Partitioning::UnknownPartitioning(shares.output_partitioning().partition_count()),
            EmissionType::Final,
            Boundedness::Bounded,
        );
        Ok(Self { told, lake, scan, projection, shares, properties: Arc::new(properties) })
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
        vec![&self.shares]
    }

    /// The shares are cut as they shall be.
    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        vec![false]
    }

    fn apply_expressions(
        &self,
        _visit: &mut dyn for<'e> FnMut(&'e Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let [shares] = &children[..] else { return internal_err!("QuantitiesExec reads one plan of shares") };
        let (lake, scan) = (self.lake.clone(), self.scan.clone());
        Ok(Arc::new(Self::new(self.told, lake, scan, self.projection.clone(), Arc::clone(shares))?))
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let shares = self.shares.execute(partition, Arc::clone(&context))?;
        let answer = Answer {
            told: self.told,
            lake: self.lake.clone(),
            scan: self.scan.clone(),
            projection: self.projection.clone(),
            context,
        };
        let batches = shares.and_then(move |rows| {
            let answer = answer.clone();
            async move {
                let mut batches = Vec::new();
                for share in TenantShare::of_rows(&rows)? {
                    batches.extend(answer.of(share).await?);
                }
                Ok(futures::stream::iter(batches).map(Ok))
            }
        });
        let schema = Arc::clone(self.properties.eq_properties.schema());
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, batches.try_flatten())))
    }
}

#[derive(Clone)]
struct Answer {
    told: Told,
    lake: Lake,
    scan: PeriodScan,
    projection: Option<Vec<usize>>,
    context: Arc<TaskContext>,
}

impl Answer {
    async fn of(&self, share: TenantShare) -> Result<Vec<RecordBatch>> {
        let mut scan = self.scan.usage_scan().map_err(external)?;
        scan.memory = Some(Arc::clone(self.context.memory_pool()));
        scan.keep_to(&share);
        let roll_ups = RollUps::open(&self.lake).await.map_err(external)?;
        let found = RollUps::answer(roll_ups.as_ref(), &scan, Source::Auto).await.map_err(external)?;
        let answers = self.scan.complete_share(found.answers, &share).map_err(external)?;
        let mut left_out: Vec<LeftOutTenant> = answers.failed.into_iter().map(Into::into).collect();
        let (usages, catalog) = (&answers.usages, &self.scan.catalog);
        let batches = match self.told {
            Told::Quantities => batches(usages, catalog, self.projection.as_deref()),
            Told::Charges => charges::batches(usages, catalog, self.projection.as_deref(), &mut left_out),
        }?;
        self.leave_out(left_out)?;
        Ok(batches)
    }

    /// The rows of all others are worth having, unless the query asks for that very tenant or nobody would tell of it.
    fn leave_out(&self, left_out: Vec<LeftOutTenant>) -> Result<()> {
        let told = self.context.session_config().get_extension::<LeftOut>();
        for one in left_out {
            let is_asked_for = self.scan.tenants.as_ref().is_some_and(|asked| asked.contains(&one.tenant));
            match &told {
                Some(told) if !is_asked_for => told.note(one),
                _ => return exec_err!("{one}"),
            }
        }
        Ok(())
    }
}

fn external(error: super::QuantitiesError) -> DataFusionError {
    DataFusionError::External(Box::new(error))
}

fn batches(usages: &[Usage], catalog: &Catalog, projection: Option<&[usize]>) -> Result<Vec<RecordBatch>> {
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
