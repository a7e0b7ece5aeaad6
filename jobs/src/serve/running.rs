//! Running plans so that they can be stopped.
//!
//! Owns the threads on which queries compute, apart from those that talk to clients, so that a client is heard however busy
//! its query is; and two changes to plans by which a query notices that it is to stop. The engine stops a query only where an
//! operator waits, and some of its joins compute for minutes without.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::{DataType, Schema};
use datafusion::common::exec_err;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::error::Result;
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::{ColumnarValue, LogicalPlan};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::coop::CooperativeExec;
use datafusion::physical_plan::joins::utils::JoinFilter;
use datafusion::physical_plan::joins::{HashJoinExec, NestedLoopJoinExec, NestedLoopJoinExecBuilder};
use datafusion::physical_plan::{ExecutionPlan, execute_stream};
use futures::{Stream, StreamExt as _, stream};
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use super::failure::Failure;

/// Statements are planned and forgotten recursively. What is not used of it is no memory.
pub const STACK_BYTES: usize = 64 * 1024 * 1024;
/// So many batches wait for a client that is slower than its query.
const BATCHES_AHEAD: usize = 2;

/// The threads on which queries compute.
#[derive(Debug)]
pub struct QueryThreads(Option<Runtime>);

impl QueryThreads {
    pub fn start(count: usize) -> std::io::Result<Self> {
        let runtime =
            Builder::new_multi_thread().worker_threads(count).thread_name("query").enable_all().build()?;
        Ok(Self(Some(runtime)))
    }

    /// Runs a plan. It begins when the first batch is waited for, so that a cursor nobody fetches from computes nothing, and
    /// stops when the batches are dropped.
    pub fn run(
        &self,
        state: SessionState,
        plan: LogicalPlan,
    ) -> impl Stream<Item = Result<RecordBatch, Failure>> + Send + use<> {
        let runtime = self.0.as_ref().expect("there until it is dropped").handle().clone();
        stream::once(async move { begin(&runtime, state, plan) }).flatten()
    }
}

fn begin(
    runtime: &Handle,
    state: SessionState,
    plan: LogicalPlan,
) -> impl Stream<Item = Result<RecordBatch, Failure>> + Send + use<> {
    let (sender, mut batches) = mpsc::channel(BATCHES_AHEAD);
    let stop = Arc::new(AtomicBool::new(false));
    let of_plan = Arc::clone(&stop);
    let task = runtime.spawn(async move {
        if let Err(failure) = compute(&state, &plan, of_plan, &sender).await {
            let _ = sender.send(Err(failure)).await;
        }
    });
    let running = Running { stop, task: task.abort_handle() };
    stream::poll_fn(move |context| {
        let _held = &running;
        batches.poll_recv(context)
    })
}

impl Drop for QueryThreads {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

struct Running {
    stop: Arc<AtomicBool>,
    task: AbortHandle,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.task.abort();
    }
}

async fn compute(
    state: &SessionState,
    plan: &LogicalPlan,
    stop: Arc<AtomicBool>,
    sender: &mpsc::Sender<Result<RecordBatch, Failure>>,
) -> Result<(), Failure> {
    let physical = stoppable(state.create_physical_plan(plan).await?, &stop)?;
    let mut batches = execute_stream(physical, state.task_ctx())?;
    while let Some(batch) = batches.next().await {
        if sender.send(Ok(batch?)).await.is_err() {
            break;
        }
    }
    Ok(())
}

/// Lets joins look whether they are to stop: with each piece that their filters see, and with each batch that they give.
fn stoppable(plan: Arc<dyn ExecutionPlan>, stop: &Arc<AtomicBool>) -> Result<Arc<dyn ExecutionPlan>> {
    let changed = plan.transform_up(|node| {
        if node.children().len() < 2 {
            return Ok(Transformed::no(node));
        }
        let node = match (node.downcast_ref::<HashJoinExec>(), node.downcast_ref::<NestedLoopJoinExec>()) {
            (Some(join), _) => match join.filter() {
                Some(filter) => join.builder().with_filter(Some(checked(filter, stop))).build_exec()?,
                None => node,
            },
            (None, Some(join)) => match join.filter() {
                Some(filter) => Arc::new(
                    NestedLoopJoinExecBuilder::from(join).with_filter(Some(checked(filter, stop))).build()?,
                ),
                None => node,
            },
            (None, None) => node,
        };
        Ok(Transformed::yes(Arc::new(CooperativeExec::new(node)) as Arc<dyn ExecutionPlan>))
    })?;
    Ok(changed.data)
}

fn checked(filter: &JoinFilter, stop: &Arc<AtomicBool>) -> JoinFilter {
    let inner = Arc::clone(filter.expression());
    let expression = Arc::new(UnlessStopped { inner, stop: Arc::clone(stop) });
    JoinFilter::new(expression, filter.column_indices().to_vec(), Arc::clone(filter.schema()))
}

/// An expression that fails once its query is to stop.
#[derive(Debug)]
struct UnlessStopped {
    inner: Arc<dyn PhysicalExpr>,
    stop: Arc<AtomicBool>,
}

impl fmt::Display for UnlessStopped {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.inner, formatter)
    }
}

impl PartialEq for UnlessStopped {
    fn eq(&self, other: &Self) -> bool {
        self.inner.eq(&other.inner)
    }
}

impl Eq for UnlessStopped {}

impl Hash for UnlessStopped {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.inner.hash(state);
    }
}

impl PhysicalExpr for UnlessStopped {
    fn data_type(&self, schema: &Schema) -> Result<DataType> {
        self.inner.data_type(schema)
    }

    fn nullable(&self, schema: &Schema) -> Result<bool> {
        self.inner.nullable(schema)
    }

    fn evaluate(&self, batch: &RecordBatch) -> Result<ColumnarValue> {
        if self.stop.load(Ordering::Relaxed) {
            return exec_err!("the query is stopped");
        }
        self.inner.evaluate(batch)
    }

    fn children(&self) -> Vec<&Arc<dyn PhysicalExpr>> {
        vec![&self.inner]
    }

    fn with_new_children(
        self: Arc<Self>,
        mut children: Vec<Arc<dyn PhysicalExpr>>,
    ) -> Result<Arc<dyn PhysicalExpr>> {
        let Some(inner) = children.pop() else { return exec_err!("the expression has one part") };
        Ok(Arc::new(Self { inner, stop: Arc::clone(&self.stop) }))
    }

    fn fmt_sql(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt_sql(formatter)
    }
}
