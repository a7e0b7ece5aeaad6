//! How far the scheduler has come with each of its entries.
//!
//! Owns that an occurrence is claimed once, however many schedulers run. Does not own when entries are due.

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
}

impl Book {
    pub async fn last_occurrence(&self, entry: &str) -> Result<Option<Occurrence>, BookError> {
        let row = schedule_entry::Entity::find_by_id(entry.to_owned()).one(&self.connection).await;
        let row = row.in_step("read the schedule")?;
        Ok(row.map(|row| Occurrence {
            due_at_us: row.due_at_us,
            claimed_by: row.claimed_by,
            claimed_at_us: row.claimed_at_us,
        }))
    }

    /// Takes an occurrence; false if it, or a later one, was taken by this or another scheduler.
    pub async fn claim_occurrence(
        &self,
        entry: &str,
        due_at_us: i64,
        claimed_by: &str,
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
        };
        writing.ensure::<_, schedule_entry::ActiveModel>(never, step).await?;
        let update = schedule_entry::Entity::update_many()
            .col_expr(schedule_entry::Column::DueAtUs, Expr::value(due_at_us))
            .col_expr(schedule_entry::Column::ClaimedBy, Expr::value(claimed_by))
            .col_expr(schedule_entry::Column::ClaimedAtUs, Expr::value(writing.now_us))
            .filter(schedule_entry::Column::Entry.eq(entry))
            .filter(schedule_entry::Column::DueAtUs.lt(due_at_us));
        let is_claimed = update.exec(&writing.transaction).await.in_step(step)?.rows_affected > 0;
        writing.commit().await?;
        Ok(is_claimed)
    }
}
