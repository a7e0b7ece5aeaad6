//! How far the scheduler has come with each of its entries.
//!
//! Owns that an occurrence is claimed once, however many schedulers run, and that one whose scheduler died before it began
//! is known. Does not own when entries are due.

use sea_orm::sea_query::Expr;
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter};

use super::Book;
use super::entity::schedule_entry;
use super::error::{BookError, InStep};
use super::writing::check_name;

/// The last time an entry was due and somebody took it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Occurrence {
    pub due_at_us: i64,
    pub claimed_by: String,
    pub claimed_at_us: i64,
    /// Since when its run is about to begin; none once it has begun.
    pub starting_since_us: Option<i64>,
}

impl Book {
    pub async fn last_occurrence(&self, entry: &str) -> Result<Option<Occurrence>, BookError> {
        let row = schedule_entry::Entity::find_by_id(entry.to_owned()).one(&self.connection).await;
        let row = row.in_step("read the schedule")?;
        Ok(row.map(|row| Occurrence {
            due_at_us: row.due_at_us,
            claimed_by: row.claimed_by,
            claimed_at_us: row.claimed_at_us,
            starting_since_us: row.starting_since_us,
        }))
    }

    /// Takes an occurrence that is not to be run; false if it, or a later one, was taken by this or another scheduler.
    pub async fn claim_occurrence(
        &self,
        entry: &str,
        due_at_us: i64,
        claimed_by: &str,
    ) -> Result<bool, BookError> {
        self.claim(entry, due_at_us, claimed_by, false).await
    }

    /// Takes an occurrence in order to run it: `occurrence_began` tells that it does.
    pub async fn claim_occurrence_to_run(
        &self,
        entry: &str,
        due_at_us: i64,
        claimed_by: &str,
    ) -> Result<bool, BookError> {
        self.claim(entry, due_at_us, claimed_by, true).await
    }

    /// Takes over an occurrence that its scheduler did not begin; false if it has begun or somebody else was faster.
    pub async fn take_over_occurrence(
        &self,
        entry: &str,
        seen: &Occurrence,
        claimed_by: &str,
    ) -> Result<bool, BookError> {
        check_name("a scheduler", claimed_by)?;
        let Some(since_us) = seen.starting_since_us else { return Ok(false) };
        let writing = self.begin().await?;
        // Whoever comes second sees another instant, even within one tick of the clock.
        let now_us = writing.now_us.max(since_us + 1);
        let update = schedule_entry::Entity::update_many()
            .col_expr(schedule_entry::Column::ClaimedBy, Expr::value(claimed_by))
            .col_expr(schedule_entry::Column::ClaimedAtUs, Expr::value(now_us))
            .col_expr(schedule_entry::Column::StartingSinceUs, Expr::value(now_us))
            .filter(schedule_entry::Column::Entry.eq(entry))
            .filter(schedule_entry::Column::DueAtUs.eq(seen.due_at_us))
            .filter(schedule_entry::Column::StartingSinceUs.eq(since_us));
        let updated =
            update.exec(&writing.transaction).await.in_step("take over an occurrence of the schedule")?;
        writing.commit().await?;
        Ok(updated.rows_affected > 0)
    }

    /// The run of a claimed occurrence has begun: nobody has to begin it again.
    pub async fn occurrence_began(&self, entry: &str, due_at_us: i64) -> Result<(), BookError> {
        let writing = self.begin().await?;
        let update = schedule_entry::Entity::update_many()
            .col_expr(schedule_entry::Column::StartingSinceUs, Expr::value(None::<i64>))
            .filter(schedule_entry::Column::Entry.eq(entry))
            .filter(schedule_entry::Column::DueAtUs.eq(due_at_us));
        update.exec(&writing.transaction).await.in_step("note that an occurrence of the schedule began")?;
        writing.commit().await
    }

    async fn claim(
        &self,
        entry: &str,
        due_at_us: i64,
        claimed_by: &str,
        is_to_run: bool,
    ) -> Result<bool, BookError> {
        let step = "claim an occurrence of the schedule";
        check_name("a schedule's entry", entry)?;
        check_name("a scheduler", claimed_by)?;
        let writing = self.begin().await?;
        let never = schedule_entry::Model {
            entry: entry.to_owned(),
            due_at_us: i64::MIN,
            claimed_by: claimed_by.to_owned(),
            claimed_at_us: writing.now_us,
            starting_since_us: None,
        };
        writing.ensure::<_, schedule_entry::ActiveModel>(never, step).await?;
        let update = schedule_entry::Entity::update_many()
            .col_expr(schedule_entry::Column::DueAtUs, Expr::value(due_at_us))
            .col_expr(schedule_entry::Column::ClaimedBy, Expr::value(claimed_by))
            .col_expr(schedule_entry::Column::ClaimedAtUs, Expr::value(writing.now_us))
            .col_expr(
                schedule_entry::Column::StartingSinceUs,
                Expr::value(is_to_run.then_some(writing.now_us)),
            )
            .filter(schedule_entry::Column::Entry.eq(entry))
            .filter(schedule_entry::Column::DueAtUs.lt(due_at_us));
        let is_claimed = update.exec(&writing.transaction).await.in_step(step)?.rows_affected > 0;
        writing.commit().await?;
        Ok(is_claimed)
    }
}
