//! What can go wrong with the book, as far as a caller decides on it.

use sea_orm::{DbErr, RuntimeErr};

#[derive(Debug, thiserror::Error)]
pub enum BookError {
    #[error("{0}")]
    Address(String),
    #[error("cannot open the book at {place}")]
    Open {
        place: String,
        #[source]
        source: DbErr,
    },
    #[error("the book at {place} has schema {found}, but this program knows {known}: use a newer program")]
    Newer { place: String, found: i64, known: i64 },
    #[error("{holder} holds the lease `{lease}` until {until}")]
    Held { lease: String, holder: String, until: jiff::Timestamp },
    #[error("the lease `{lease}` was lost: token {token} was followed by {newest}, and nothing was written")]
    Fenced { lease: String, token: i64, newest: i64 },
    #[error("{what} has {length} characters, at most {length_max} can be kept: {value}")]
    TooLong { what: &'static str, value: String, length: usize, length_max: usize },
    #[error("{what} is refused: {why}")]
    Refused { what: String, why: &'static str },
    #[error("{what} exists with different {field}")]
    ExistsWithDifferent { what: String, field: &'static str },
    #[error("outbox record `{key}` exists with different content")]
    OutboxDiffers { key: String },
    #[error("{kind} of {tenant} for {period} was issued before as number {number} of {issuer}")]
    IssuedBefore { kind: String, tenant: String, period: String, issuer: String, number: i64 },
    #[error(
        "number {printed} is in use by the series {issuer}: give this issuer another `number_prefix` or \
         `credit_note_prefix` in [issuer] of the settings"
    )]
    NumberInUse { printed: String, issuer: String },
    #[error("credit `{credit}` of {tenant} has {balance} left, {wanted} were to be used")]
    Overdrawn { tenant: String, credit: String, balance: String, wanted: String },
    #[error("the book's {table} holds what this program cannot read: {problem}")]
    Damaged { table: &'static str, problem: String },
    #[error("the book failed to {step}")]
    Database {
        step: &'static str,
        #[source]
        source: DbErr,
    },
}

impl BookError {
    /// Whether the same call may succeed a moment later: locks, deadlocks, and connections that broke.
    pub fn passes(&self) -> bool {
        match self {
            Self::Held { .. } | Self::Fenced { .. } => true,
            Self::Open { source, .. } | Self::Database { source, .. } => error_passes(source),
            _ => false,
        }
    }
}

fn error_passes(error: &DbErr) -> bool {
    match error {
        DbErr::ConnectionAcquire(_) => true,
        DbErr::Conn(RuntimeErr::SqlxError(error))
        | DbErr::Exec(RuntimeErr::SqlxError(error))
        | DbErr::Query(RuntimeErr::SqlxError(error)) => {
            if matches!(**error, sea_orm::sqlx::Error::Io(_) | sea_orm::sqlx::Error::PoolTimedOut) {
                return true;
            }
            // SQLite: busy and its kinds. PostgreSQL: serialization, deadlock, lock, shutdown. MySQL: 40001 is
            // a deadlock, HY000 with the numbers below a lock that took too long.
            let code = database_code(error);
            let number = mysql_number(error);
            matches!(code.as_str(), "5" | "517" | "261" | "40001" | "40P01" | "55P03" | "57P01" | "57P03")
                || matches!(number, Some(1205 | 1213))
        }
        _ => false,
    }
}

fn database_code(error: &sea_orm::sqlx::Error) -> String {
    error
        .as_database_error()
        .and_then(sea_orm::sqlx::error::DatabaseError::code)
        .unwrap_or_default()
        .into_owned()
}

/// The number by which MySQL and MariaDB know the error.
pub(super) fn mysql_number(error: &sea_orm::sqlx::Error) -> Option<u16> {
    let error = error.as_database_error()?;
    Some(error.try_downcast_ref::<sea_orm::sqlx::mysql::MySqlDatabaseError>()?.number())
}

/// Names the step in which a database error happened.
pub(super) trait InStep<T> {
    fn in_step(self, step: &'static str) -> Result<T, BookError>;
}

impl<T> InStep<T> for Result<T, DbErr> {
    fn in_step(self, step: &'static str) -> Result<T, BookError> {
        self.map_err(|source| BookError::Database { step, source })
    }
}
