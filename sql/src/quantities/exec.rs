//! The pass over the lake as an operator of a plan.
//!
//! Owns: answering from roll-ups where these do and from events elsewhere, and counting its memory against the
//! session's. Which tenants a partition answers is told by the rows below it, one for each share of the tenants: engines
//! that give partitions to several processes know how to do that with rows, and take any other leaf as a whole.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use arrow::array::RecordBatch;
use datafusion::common::runtime::SpawnedTask;
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
use futures::{Stream, StreamExt, TryStreamExt, stream};
use rating::usage::Usage;

use super::answers::with_causes;
use super::function::Told;
use super::left_out::{LeftOut, LeftOutTenant};
use super::period::PeriodScan;
use super::shares::TenantShare;
use super::table::{self, QuantityRows};
use super::{QuantitiesError, charges, left_out};
use crate::lake::Lake;
use crate::rollups::{RollUps, Source};
use crate::tenant_terms::TenantTerms;

/// Tenants whose rows are made at once: enough for a batch, and few enough to be stopped between two of them.
const PART_TENANTS: usize = 128;

#[derive(Debug)]
pub struct QuantitiesExec {
    pub(crate) told: Told,
    pub(crate) lake: Lake,
    pub(crate) scan: PeriodScan,
    pub(crate) projection: Option<Vec<usize>>,
    /// Its rows are the shares.
    shares: Arc<dyn ExecutionPlan>,
    /// Whether errors go where only their texts arrive.
    errors_as_texts: bool,
    /// Tenants that the answer is without, and that somebody was told of.
    pub(crate) without: Arc<BTreeSet<String>>,
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
        let properties = Arc::new(properties);
        let without = Arc::default();
        Ok(Self { told, lake, scan, projection, shares, errors_as_texts: false, without, properties })
    }

    /// The same with errors whose texts say everything.
    #[cfg(feature = "cluster")]
    pub(crate) fn with_errors_as_texts(self) -> Self {
        Self { errors_as_texts: true, ..self }
    }

    /// The same without these tenants.
    #[cfg(feature = "cluster")]
    pub(crate) fn with_left_out(self, without: BTreeSet<String>) -> Self {
        Self { without: Arc::new(without), ..self }
    }

    /// The same over other shares.
    pub(crate) fn over(&self, shares: Arc<dyn ExecutionPlan>) -> Result<Self> {
        let (lake, scan) = (self.lake.clone(), self.scan.clone());
        let changed = Self::new(self.told, lake, scan, self.projection.clone(), shares)?;
        let (errors_as_texts, without) = (self.errors_as_texts, Arc::clone(&self.without));
        Ok(Self { errors_as_texts, without, ..changed })
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
        Ok(Arc::new(self.over(Arc::clone(shares))?))
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let shares = self.shares.execute(partition, Arc::clone(&context))?;
        let answer = Answer {
            told: self.told,
            lake: self.lake.clone(),
            scan: self.scan.clone(),
            projection: self.projection.clone(),
            without: Arc::clone(&self.without),
            errors_as_texts: self.errors_as_texts,
            context,
        };
        let shares = shares
            .map(|rows| -> Result<_> { Ok(stream::iter(TenantShare::of_rows(&rows?)?.into_iter().map(Ok))) });
        let batches = shares.try_flatten().and_then(move |share| answer.clone().of(share));
        let schema = Arc::clone(self.properties.eq_properties.schema());
        let errors_as_texts = self.errors_as_texts;
        let batches = batches.try_flatten().map_err(move |error| match error {
            DataFusionError::External(error) if errors_as_texts => {
                DataFusionError::Execution(with_causes(error.as_ref()))
            }
            error => error,
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, batches)))
    }
}

#[derive(Clone)]
struct Answer {
    told: Told,
    lake: Lake,
    scan: PeriodScan,
    projection: Option<Vec<usize>>,
    without: Arc<BTreeSet<String>>,
    errors_as_texts: bool,
    context: Arc<TaskContext>,
}

impl Answer {
    /// The rows of a share of the tenants, made on several cores at once.
    async fn of(self, share: TenantShare) -> Result<impl Stream<Item = Result<RecordBatch>> + Send> {
        let mut scan = self.scan.usage_scan().map_err(external)?;
        scan.memory = Some(Arc::clone(self.context.memory_pool()));
        scan.keep_to(&share);
        let held = scan.reserve_held_days(self.context.memory_pool()).map_err(external)?;
        let roll_ups = RollUps::open(&self.lake).await.map_err(external)?;
        let found = RollUps::answer(roll_ups.as_ref(), &scan, Source::Auto).await.map_err(external)?;
        drop(held);
        let mut answers = self.scan.complete_share(found.answers, &share).map_err(external)?;
        answers.usages.retain(|usage| !self.without.contains(&usage.demand.tenant));
        answers.failed.retain(|failure| !self.without.contains(&failure.tenant));
        let rows = Rows {
            told: self.told,
            terms: TenantTerms::new(&self.scan.catalog),
            projection: self.projection,
            asked: self.scan.tenants.clone(),
            left_out: self.context.session_config().get_extension::<LeftOut>(),
            errors_as_texts: self.errors_as_texts,
        };
        let mut problems = Vec::new();
        if self.told == Told::Outcomes {
            problems.push(projected(table::problems(&answers)?, rows.projection.as_deref()));
        } else {
            rows.leave_out(answers.failed.into_iter().map(Into::into))?;
        }
        let threads = self.scan.threads.max(1);
        let rows = Arc::new(rows);
        let parts = stream::iter(parts_of(answers.usages));
        let made = parts.map(move |usages| {
            let rows = Arc::clone(&rows);
            // Ends when nobody waits for it any more.
            let task = SpawnedTask::spawn(async move { rows.of(&usages) });
            async move { task.await.map_err(|error| external(QuantitiesError::Stopped(error)))? }
        });
        Ok(stream::iter(problems).chain(made.buffered(threads)))
    }
}

fn parts_of(usages: Vec<Usage>) -> impl Iterator<Item = Vec<Usage>> {
    let mut left = usages.into_iter();
    std::iter::from_fn(move || {
        let part: Vec<Usage> = left.by_ref().take(PART_TENANTS).collect();
        (!part.is_empty()).then_some(part)
    })
}

fn external(error: QuantitiesError) -> DataFusionError {
    DataFusionError::External(Box::new(error))
}

/// How usage becomes rows.
struct Rows {
    told: Told,
    terms: TenantTerms,
    projection: Option<Vec<usize>>,
    /// The tenants that the query names, if it names any.
    asked: Option<BTreeSet<String>>,
    /// Who tells of tenants that are left out, if anybody does.
    left_out: Option<Arc<LeftOut>>,
    errors_as_texts: bool,
}

impl Rows {
    /// The rows of all others are worth having, unless the query asks for that very tenant or nobody would tell of it.
    fn leave_out(&self, tenants: impl Iterator<Item = LeftOutTenant>) -> Result<()> {
        let mut to_be_told = Vec::new();
        for one in tenants {
            let is_asked_for = self.asked.as_ref().is_some_and(|asked| asked.contains(&one.tenant));
            match &self.left_out {
                Some(told) if !is_asked_for => told.note(one),
                None if self.errors_as_texts && !is_asked_for => to_be_told.push(one),
                _ => return exec_err!("{one}"),
            }
        }
        if to_be_told.is_empty() { Ok(()) } else { exec_err!("{}", left_out::as_message(&to_be_told)) }
    }

    fn of(&self, usages: &[Usage]) -> Result<RecordBatch> {
        let projection = self.projection.as_deref();
        match self.told {
            Told::Quantities | Told::Outcomes => {
                let mut rows = QuantityRows::default();
                for usage in usages {
                    rows.push_usage(usage, self.terms.catalog());
                }
                let mut batch = rows.finish()?;
                if self.told == Told::Outcomes {
                    batch = table::as_outcomes(&batch)?;
                }
                projected(batch, projection)
            }
            Told::Charges(kinds) => {
                let (batch, left_out) = charges::batch(usages, &self.terms, kinds, projection)?;
                self.leave_out(left_out.into_iter())?;
                Ok(batch)
            }
        }
    }
}

fn projected(batch: RecordBatch, projection: Option<&[usize]>) -> Result<RecordBatch> {
    Ok(match projection {
        Some(columns) => batch.project(columns)?,
        None => batch,
    })
}
