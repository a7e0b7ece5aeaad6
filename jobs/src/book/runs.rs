//! Job runs: what ran when, on what, and how it ended.
//!
//! Owns the history. A run begins in the transaction that takes its lease, and a run that never told its end (its process
//! was killed) is marked by whoever takes the lease next.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use sea_orm::sea_query::Expr;
use sea_orm::{ColumnTrait, EntityTrait, ExprTrait, QueryFilter, QueryOrder, QuerySelect};

use super::Book;
use super::entity::run;
use super::error::{BookError, InStep};
use super::lease::Fence;
use super::writing::{check_code, check_name};

/// How a run ended, or that it did not yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    Running,
    Done,
    /// Done, but something was rejected or some tenants failed.
    DoneWithRejects,
    Failed,
    /// It was asked to stop.
    Interrupted,
    /// Another holder took its lease over; it wrote nothing from then on.
    Overtaken,
    /// It never told its end: its process or machine died.
    Abandoned,
}

impl Outcome {
    const ALL: [Self; 7] = [
        Self::Running,
        Self::Done,
        Self::DoneWithRejects,
        Self::Failed,
        Self::Interrupted,
        Self::Overtaken,
        Self::Abandoned,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Done => "done",
            Self::DoneWithRejects => "done_with_rejects",
            Self::Failed => "failed",
            Self::Interrupted => "interrupted",
            Self::Overtaken => "overtaken",
            Self::Abandoned => "abandoned",
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.name())
    }
}

/// One run of a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    pub run_id: String,
    pub job: String,
    /// Empty for a job that is about no period.
    pub period: String,
    pub fence: Fence,
    pub holder: String,
    pub program_version: String,
    pub started_at_us: i64,
    pub ended_at_us: Option<i64>,
    pub outcome: Outcome,
    /// What it worked on: table versions, catalog hashes.
    pub inputs: BTreeMap<String, String>,
    pub counts: BTreeMap<String, i64>,
    /// The error and its causes, outermost first; empty if there was none.
    pub error: Vec<String>,
}

impl Book {
    /// Takes the lease and records that the run began, or says who holds it.
    pub async fn start_run(
        &self,
        job: &str,
        period: &str,
        lease: &str,
        holder: &str,
        duration: Duration,
    ) -> Result<Run, BookError> {
        check_code("a job", job)?;
        check_code("a period", period)?;
        let writing = self.begin().await?;
        let run_id = uuid::Uuid::new_v4().to_string();
        let fence = writing.acquire_lease(lease, holder, Some(&run_id), duration).await?;
        let given_up = run::Entity::update_many()
            .col_expr(run::Column::Outcome, Expr::value(Outcome::Abandoned.name()))
            .col_expr(run::Column::EndedAtUs, Expr::value(writing.now_us))
            .filter(run::Column::Lease.eq(lease).and(run::Column::Outcome.eq(Outcome::Running.name())));
        given_up.exec(&writing.transaction).await.in_step("mark abandoned runs")?;
        let run = Run {
            run_id,
            job: job.to_owned(),
            period: period.to_owned(),
            fence,
            holder: holder.to_owned(),
            program_version: env!("CARGO_PKG_VERSION").to_owned(),
            started_at_us: writing.now_us,
            ended_at_us: None,
            outcome: Outcome::Running,
            inputs: BTreeMap::new(),
            counts: BTreeMap::new(),
            error: Vec::new(),
        };
        writing.insert::<_, run::ActiveModel>(vec![row(&run)?], "record that a run began").await?;
        writing.commit().await?;
        Ok(run)
    }

    /// Records how a run ended, and gives its lease back. A run may always tell its own end, also one that lost its
    /// lease: that writes nothing but what it is.
    pub async fn end_run(&self, run: &Run) -> Result<(), BookError> {
        let writing = self.begin().await?;
        let is_held = writing.release_lease(&run.fence).await?;
        // Whatever it stumbled over, another was at the same work by then.
        let is_overtaken = run.outcome == Outcome::Failed && !is_held;
        let outcome = if is_overtaken { Outcome::Overtaken } else { run.outcome };
        let mut ended = row(&Run { outcome, ..run.clone() })?;
        ended.ended_at_us = Some(writing.now_us);
        let update = run::Entity::update_many()
            .col_expr(run::Column::Outcome, Expr::value(ended.outcome))
            .col_expr(run::Column::EndedAtUs, Expr::value(ended.ended_at_us))
            .col_expr(run::Column::Inputs, Expr::value(ended.inputs))
            .col_expr(run::Column::Counts, Expr::value(ended.counts))
            .col_expr(run::Column::Error, Expr::value(ended.error))
            .filter(run::Column::RunId.eq(&run.run_id));
        update.exec(&writing.transaction).await.in_step("record how a run ended")?;
        writing.commit().await
    }

    /// The newest runs first.
    pub async fn runs(&self, job: Option<&str>, count_max: u64) -> Result<Vec<Run>, BookError> {
        let mut query = run::Entity::find()
            .order_by_desc(run::Column::StartedAtUs)
            .order_by_desc(run::Column::RunId)
            .limit(count_max);
        if let Some(job) = job {
            query = query.filter(run::Column::Job.eq(job));
        }
        let rows = query.all(&self.connection).await.in_step("read runs")?;
        rows.into_iter().map(from_row).collect()
    }

    /// Up to so many runs, the newest first, from before this one on.
    pub async fn runs_after(&self, last: Option<&Run>, count_max: u64) -> Result<Vec<Run>, BookError> {
        let mut query = run::Entity::find()
            .order_by_desc(run::Column::StartedAtUs)
            .order_by_desc(run::Column::RunId)
            .limit(count_max);
        if let Some(Run { started_at_us, run_id, .. }) = last {
            let at_once = run::Column::StartedAtUs.eq(*started_at_us).and(run::Column::RunId.lt(run_id));
            query = query.filter(run::Column::StartedAtUs.lt(*started_at_us).or(at_once));
        }
        let rows = query.all(&self.connection).await.in_step("read runs")?;
        rows.into_iter().map(from_row).collect()
    }

    /// The runs of a job about a period, the newest first.
    pub async fn runs_of_period(&self, job: &str, period: &str) -> Result<Vec<Run>, BookError> {
        let query = run::Entity::find()
            .filter(run::Column::Job.eq(job))
            .filter(run::Column::Period.eq(period))
            .order_by_desc(run::Column::StartedAtUs)
            .order_by_desc(run::Column::RunId);
        let rows = query.all(&self.connection).await.in_step("read runs")?;
        rows.into_iter().map(from_row).collect()
    }

    /// The runs whose id begins with a text.
    pub async fn runs_named(&self, start: &str) -> Result<Vec<Run>, BookError> {
        let query = run::Entity::find().filter(run::Column::RunId.starts_with(start)).limit(10);
        let rows = query.all(&self.connection).await.in_step("read runs")?;
        rows.into_iter().map(from_row).collect()
    }
}

fn row(run: &Run) -> Result<run::Model, BookError> {
    check_name("a holder", &run.holder)?;
    let json = |value: serde_json::Result<String>| {
        value.map_err(|error| BookError::Damaged { table: "runs", problem: error.to_string() })
    };
    Ok(run::Model {
        run_id: run.run_id.clone(),
        job: run.job.clone(),
        period: run.period.clone(),
        lease: run.fence.lease.clone(),
        token: run.fence.token,
        holder: run.holder.clone(),
        program_version: run.program_version.clone(),
        started_at_us: run.started_at_us,
        ended_at_us: run.ended_at_us,
        outcome: run.outcome.name().to_owned(),
        inputs: json(serde_json::to_string(&run.inputs))?,
        counts: json(serde_json::to_string(&run.counts))?,
        error: match run.error.as_slice() {
            [] => None,
            chain => Some(json(serde_json::to_string(chain))?),
        },
    })
}

fn from_row(row: run::Model) -> Result<Run, BookError> {
    let damaged = |problem: String| BookError::Damaged { table: "runs", problem };
    let outcome = Outcome::ALL.into_iter().find(|outcome| outcome.name() == row.outcome);
    let outcome = outcome.ok_or_else(|| damaged(format!("outcome `{}`", row.outcome)))?;
    let inputs = serde_json::from_str(&row.inputs).map_err(|error| damaged(error.to_string()))?;
    let counts = serde_json::from_str(&row.counts).map_err(|error| damaged(error.to_string()))?;
    let error = row.error.as_deref().map_or(Ok(Vec::new()), serde_json::from_str);
    Ok(Run {
        run_id: row.run_id,
        job: row.job,
        period: row.period,
        fence: Fence { lease: row.lease, token: row.token },
        holder: row.holder,
        program_version: row.program_version,
        started_at_us: row.started_at_us,
        ended_at_us: row.ended_at_us,
        outcome,
        inputs,
        counts,
        error: error.map_err(|error| damaged(error.to_string()))?,
    })
}
