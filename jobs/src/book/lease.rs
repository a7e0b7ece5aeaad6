//! Leases: at most one holder at a time may write for a job, and a token proves who that is.
//!
//! Owns taking, renewing and giving back, and the token, which grows with each holder. A holder that was stopped past its
//! lease and wakes finds a newer token in the book, in the very transaction in which it wanted to write. How
//! long a lease lasts only decides how soon another may take over, never what is right.

use std::time::Duration;

use sea_orm::sea_query::Expr;
use sea_orm::{ColumnTrait, EntityTrait, ExprTrait, QueryFilter, QueryOrder, QuerySelect};

use super::Book;
use super::entity::lease;
use super::error::{BookError, InStep};
use super::writing::{Writing, check_name};

/// What every write of a job must show.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fence {
    pub lease: String,
    pub token: i64,
}

/// A lease as it stands in the book.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    pub lease: String,
    pub token: i64,
    /// None if it was given back.
    pub holder: Option<String>,
    pub acquired_at_us: i64,
    pub expires_at_us: i64,
}

impl Book {
    /// Takes a lease that is free, was given back or ran out; refused while another holds it.
    pub async fn acquire_lease(
        &self,
        lease: &str,
        holder: &str,
        duration: Duration,
    ) -> Result<Fence, BookError> {
        let writing = self.begin().await?;
        let fence = writing.acquire_lease(lease, holder, None, duration).await?;
        writing.commit().await?;
        Ok(fence)
    }

    /// Extends a lease from now on. One that ran out is extended too, as long as nobody else took it.
    pub async fn renew_lease(&self, fence: &Fence, duration: Duration) -> Result<(), BookError> {
        let writing = self.begin_as(fence).await?;
        let expires_at_us = writing.now_us.saturating_add(duration_us(duration));
        let update = lease::Entity::update_many()
            .col_expr(lease::Column::ExpiresAtUs, Expr::value(expires_at_us))
            .filter(lease::Column::Lease.eq(&fence.lease).and(lease::Column::Token.eq(fence.token)));
        update.exec(&writing.transaction).await.in_step("renew a lease")?;
        writing.commit().await
    }

    /// Gives a lease back; nothing happens if another holds it by now.
    pub async fn release_lease(&self, fence: &Fence) -> Result<(), BookError> {
        let writing = self.begin().await?;
        writing.release_lease(fence).await?;
        writing.commit().await
    }

    pub async fn leases(&self) -> Result<Vec<Lease>, BookError> {
        let query = lease::Entity::find().order_by_asc(lease::Column::Lease);
        let rows = query.all(&self.connection).await.in_step("read leases")?;
        let lease = |row: lease::Model| Lease {
            lease: row.lease,
            token: row.token,
            holder: row.holder,
            acquired_at_us: row.acquired_at_us,
            expires_at_us: row.expires_at_us,
        };
        Ok(rows.into_iter().map(lease).collect())
    }
}

impl Writing {
    pub(super) async fn acquire_lease(
        &self,
        lease: &str,
        holder: &str,
        run_id: Option<&str>,
        duration: Duration,
    ) -> Result<Fence, BookError> {
        let step = "take a lease";
        check_name("a lease", lease)?;
        check_name("a holder", holder)?;
        let unused = lease::Model {
            lease: lease.to_owned(),
            token: 0,
            holder: None,
            run_id: None,
            acquired_at_us: self.now_us,
            expires_at_us: self.now_us,
        };
        self.ensure::<_, lease::ActiveModel>(unused, step).await?;
        let query = lease::Entity::find_by_id(lease.to_owned()).lock_exclusive();
        let row = query.one(&self.transaction).await.in_step(step)?.ok_or_else(|| BookError::Damaged {
            table: "leases",
            problem: format!("lease `{lease}` was inserted and is not there"),
        })?;
        if let Some(holder) = row.holder.filter(|_| row.expires_at_us > self.now_us) {
            let until = jiff::Timestamp::from_microsecond(row.expires_at_us).unwrap_or(jiff::Timestamp::MAX);
            return Err(BookError::Held { lease: lease.to_owned(), holder, until });
        }
        let token = row.token + 1;
        let update = lease::Entity::update_many()
            .col_expr(lease::Column::Token, Expr::value(token))
            .col_expr(lease::Column::Holder, Expr::value(holder))
            .col_expr(lease::Column::RunId, Expr::value(run_id.map(str::to_owned)))
            .col_expr(lease::Column::AcquiredAtUs, Expr::value(self.now_us))
            .col_expr(
                lease::Column::ExpiresAtUs,
                Expr::value(self.now_us.saturating_add(duration_us(duration))),
            )
            .filter(lease::Column::Lease.eq(lease));
        update.exec(&self.transaction).await.in_step(step)?;
        Ok(Fence { lease: lease.to_owned(), token })
    }

    /// False if another took it meanwhile; then it stays with that one.
    pub(super) async fn release_lease(&self, fence: &Fence) -> Result<bool, BookError> {
        let nobody: Option<String> = None;
        let update = lease::Entity::update_many()
            .col_expr(lease::Column::Holder, Expr::value(nobody))
            .col_expr(lease::Column::ExpiresAtUs, Expr::value(self.now_us))
            .filter(lease::Column::Lease.eq(&fence.lease).and(lease::Column::Token.eq(fence.token)));
        Ok(update.exec(&self.transaction).await.in_step("give a lease back")?.rows_affected > 0)
    }
}

fn duration_us(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}
