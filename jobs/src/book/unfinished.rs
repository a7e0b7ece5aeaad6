//! Periods in which documents are issued and something is still to follow from that: marks in the lake, papers.
//!
//! Owns that a crash after the transaction that issues leaves a trace, which whoever issues next finds, whatever period
//! that is about. Does not own what is to be done (`issue::finish`).

use std::collections::{BTreeMap, BTreeSet};

use sea_orm::sea_query::Expr;
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter};

use super::Book;
use super::entity::unfinished_period;
use super::error::{BookError, InStep};
use super::writing::{Writing, check_code};

impl Writing {
    /// Notes that documents of these periods are issued in this transaction, and whether they are to get papers.
    pub async fn note_unfinished(
        &self,
        periods: &BTreeSet<&str>,
        with_papers: bool,
    ) -> Result<(), BookError> {
        let step = "note what is left to do of a period";
        for period in periods {
            check_code("a period", period)?;
            let row = unfinished_period::Model {
                period: (*period).to_owned(),
                with_papers: i64::from(with_papers),
                since_us: self.now_us,
            };
            self.ensure::<_, unfinished_period::ActiveModel>(row, step).await?;
            if with_papers {
                let update = unfinished_period::Entity::update_many()
                    .col_expr(unfinished_period::Column::WithPapers, Expr::value(1_i64))
                    .filter(unfinished_period::Column::Period.eq(*period));
                update.exec(&self.transaction).await.in_step(step)?;
            }
        }
        Ok(())
    }

    /// Nothing is left to do in these periods.
    pub async fn note_finished(&self, periods: &BTreeSet<String>) -> Result<(), BookError> {
        let meant = unfinished_period::Column::Period.is_in(periods.iter().map(String::as_str));
        let delete = unfinished_period::Entity::delete_many().filter(meant);
        delete.exec(&self.transaction).await.in_step("note that a period is finished")?;
        Ok(())
    }
}

impl Book {
    /// The periods in which something is left to do, and whether papers may be among it.
    pub async fn unfinished_periods(&self) -> Result<BTreeMap<String, bool>, BookError> {
        let rows = unfinished_period::Entity::find().all(&self.connection).await;
        let rows = rows.in_step("read what is left to do")?;
        Ok(rows.into_iter().map(|row| (row.period, row.with_papers != 0)).collect())
    }
}
