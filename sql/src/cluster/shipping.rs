//! What of a plan can leave this process.
//!
//! Rows that only this process can read (the book's, and what describes the session) are read here and sent along.

use std::any::Any;
use std::collections::BTreeSet;
use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{internal_err, plan_err};
use datafusion::datasource::memory::MemorySourceConfig;
use datafusion::datasource::physical_plan::FileScanConfig;
use datafusion::datasource::source::DataSourceExec;
use datafusion::error::Result;
use datafusion::execution::TaskContext;
use datafusion::physical_plan::analyze::AnalyzeExec;
use datafusion::physical_plan::{
    ExecutionPlan, ExecutionPlanProperties, common, replace_children_if_necessary,
};
use futures::future::BoxFuture;

use crate::quantities::QuantitiesExec;

/// Whether there is anything to do for executors.
pub(super) fn reads_the_lake(plan: &Arc<dyn ExecutionPlan>) -> bool {
    plan.exists(|node| Ok(node.is::<QuantitiesExec>() || is_file_scan(node.as_ref()))).unwrap_or(true)
}

fn is_file_scan(node: &dyn ExecutionPlan) -> bool {
    node.downcast_ref::<DataSourceExec>().is_some_and(|scan| {
        let source: &dyn Any = scan.data_source().as_ref();
        source.is::<FileScanConfig>()
    })
}

/// The plan without anything that needs this process.
pub(super) async fn prepare(
    plan: Arc<dyn ExecutionPlan>,
    context: &Arc<TaskContext>,
) -> Result<Arc<dyn ExecutionPlan>> {
    if plan.exists(|node| Ok(node.is::<AnalyzeExec>()))? {
        return plan_err!("EXPLAIN ANALYZE measures a query in this process: leave --engine out");
    }
    with_own_rows(plan, Arc::clone(context)).await
}

/// The plan whose passes over the lake leave these tenants out.
pub(super) fn without(
    plan: Arc<dyn ExecutionPlan>,
    tenants: &BTreeSet<String>,
) -> Result<Arc<dyn ExecutionPlan>> {
    let changed = plan.transform_up(|node| {
        let Some(pass) = node.downcast_ref::<QuantitiesExec>() else { return Ok(Transformed::no(node)) };
        let [shares] = &pass.children()[..] else {
            return internal_err!("QuantitiesExec reads one plan of shares");
        };
        let pass = pass.over(Arc::clone(shares))?.with_left_out(tenants.clone());
        Ok(Transformed::yes(Arc::new(pass) as _))
    })?;
    Ok(changed.data)
}

fn with_own_rows(
    plan: Arc<dyn ExecutionPlan>,
    context: Arc<TaskContext>,
) -> BoxFuture<'static, Result<Arc<dyn ExecutionPlan>>> {
    Box::pin(async move {
        let children = plan.children();
        if children.is_empty() {
            return if is_readable_anywhere(plan.as_ref()) {
                Ok(plan)
            } else {
                rows_of(&plan, &context).await
            };
        }
        let mut prepared = Vec::with_capacity(children.len());
        for child in children {
            prepared.push(with_own_rows(Arc::clone(child), Arc::clone(&context)).await?);
        }
        replace_children_if_necessary(plan, prepared)
    })
}

/// A row that stands for no table is sent too: below a union, Ballista loses it.
fn is_readable_anywhere(leaf: &dyn ExecutionPlan) -> bool {
    leaf.is::<DataSourceExec>()
}

async fn rows_of(
    leaf: &Arc<dyn ExecutionPlan>,
    context: &Arc<TaskContext>,
) -> Result<Arc<dyn ExecutionPlan>> {
    let mut partitions = Vec::new();
    for partition in 0..leaf.output_partitioning().partition_count() {
        partitions.push(common::collect(leaf.execute(partition, Arc::clone(context))?).await?);
    }
    Ok(MemorySourceConfig::try_new_exec(&partitions, leaf.schema(), None)?)
}
