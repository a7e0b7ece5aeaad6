//! What time it is, as the book sees it.
//!
//! Every instant that decides something (who holds a lease, what may be sent again) is read from the database's clock
//! inside the transaction that uses it. So all machines are judged by one clock, and theirs may be off as far
//! as they like. SQLite runs inside our own process: its clock is this machine's, and so are all its writers.
//! Even a database whose clock jumps breaks no rule: it may end a lease too early or too late, and a holder that was
//! followed by another is refused by its token, which no clock has a part in.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use sea_orm::{ConnectionTrait, Statement};

use super::error::{BookError, InStep};
use super::schema::Dialect;

/// Where the book's time comes from.
#[derive(Debug, Clone, Default)]
pub enum Clock {
    #[default]
    Database,
    /// Stands still until it is set: for tests of leases and retries.
    Set(Arc<AtomicI64>),
}

impl Clock {
    pub(super) async fn now_us(
        &self,
        connection: &impl ConnectionTrait,
        dialect: Dialect,
    ) -> Result<i64, BookError> {
        let query = match (self, dialect) {
            (Self::Set(now_us), _) => return Ok(now_us.load(Ordering::SeqCst)),
            (Self::Database, Dialect::Sqlite) => return Ok(jiff::Timestamp::now().as_microsecond()),
            (Self::Database, Dialect::Postgres) => {
                "SELECT CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000000 AS BIGINT) AS now_us"
            }
            // SYSDATE and its like go by the session's time zone; this does not.
            (Self::Database, Dialect::MariaDb | Dialect::MySql) => {
                "SELECT TIMESTAMPDIFF(MICROSECOND, '1970-01-01 00:00:00', UTC_TIMESTAMP(6)) AS now_us"
            }
        };
        let statement = Statement::from_string(connection.get_database_backend(), query);
        let row = connection.query_one_raw(statement).await.in_step("read its clock")?;
        let row = row.ok_or_else(|| BookError::Damaged {
            table: "clock",
            problem: "the database told no time".to_owned(),
        })?;
        row.try_get("", "now_us").in_step("read its clock")
    }
}
