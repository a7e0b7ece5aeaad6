//! What a client is told when something fails.
//!
//! Owns the codes of PostgreSQL and the rule that a client learns what is wrong with its query, but nothing of files, addresses
//! or other users: such errors go to the log under a number that the client is told.

use std::borrow::Cow;
use std::sync::atomic::{AtomicU64, Ordering};

use datafusion::arrow::error::ArrowError;
use datafusion::error::DataFusionError;
use datafusion_postgres::pgwire::error::{ErrorInfo, PgWireError};

static NUMBER: AtomicU64 = AtomicU64::new(1);

/// An error as PostgreSQL's protocol tells it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// Five characters by which programs know the kind of error.
    pub code: Cow<'static, str>,
    pub message: String,
    /// The connection ends with it.
    pub is_fatal: bool,
}

impl Failure {
    pub fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self { code: Cow::Borrowed(code), message: message.into(), is_fatal: false }
    }

    pub fn fatal(code: &'static str, message: impl Into<String>) -> Self {
        Self { is_fatal: true, ..Self::new(code, message) }
    }

    /// Something that is not allowed.
    pub fn refused(message: impl Into<String>) -> Self {
        Self::new("42501", message)
    }

    pub fn syntax(message: impl Into<String>) -> Self {
        Self::new("42601", message)
    }

    pub fn protocol(message: impl Into<String>) -> Self {
        Self::new("08P01", message)
    }

    pub fn timeout() -> Self {
        Self::new("57014", "canceling statement due to statement timeout")
    }

    pub fn canceled() -> Self {
        Self::new("57014", "canceling statement due to user request")
    }

    pub fn stopping() -> Self {
        Self::fatal("57P01", "the server is stopping")
    }

    /// An error that is none of the client's business.
    pub fn internal(error: &dyn std::fmt::Display) -> Self {
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        tracing::error!(number, "a query failed: {error}");
        Self::new("XX000", format!("the query failed; the server's log says why, at number {number}"))
    }
}

impl From<Failure> for ErrorInfo {
    fn from(failure: Failure) -> Self {
        let severity = if failure.is_fatal { "FATAL" } else { "ERROR" };
        ErrorInfo::new(severity.to_owned(), failure.code.into_owned(), failure.message)
    }
}

impl From<DataFusionError> for Failure {
    fn from(error: DataFusionError) -> Self {
        let text = || error.strip_backtrace();
        match error.find_root() {
            DataFusionError::SQL(..) => Self::syntax(text()),
            DataFusionError::Plan(_) | DataFusionError::SchemaError(..) => Self::new("42000", text()),
            DataFusionError::NotImplemented(_) => Self::new("0A000", text()),
            DataFusionError::ResourcesExhausted(_) => {
                Self::new("53200", "the query needs more memory than it may have; let it read or group less")
            }
            // Of computing with values that the user may see.
            DataFusionError::Execution(_) => Self::new("22000", text()),
            DataFusionError::ArrowError(error, _) => match error.as_ref() {
                ArrowError::DivideByZero => Self::new("22012", "division by zero"),
                ArrowError::CastError(_)
                | ArrowError::ComputeError(_)
                | ArrowError::ArithmeticOverflow(_)
                | ArrowError::InvalidArgumentError(_)
                | ArrowError::ParseError(_) => Self::new("22000", text()),
                _ => Self::internal(&error),
            },
            _ => Self::internal(&error),
        }
    }
}

impl From<PgWireError> for Failure {
    fn from(error: PgWireError) -> Self {
        match error {
            PgWireError::IoError(error) => Self::fatal("08006", error.to_string()),
            error => {
                let info = ErrorInfo::from(error);
                Self { code: Cow::Owned(info.code), message: info.message, is_fatal: false }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_learns_nothing_of_files() {
        let hidden = std::io::Error::other("/var/lake/usage_events/day=1/part-0.parquet is gone");
        let failure = Failure::from(DataFusionError::IoError(hidden));
        assert!(failure.message.contains("the server's log") && !failure.message.contains("lake/"));
        let own = Failure::from(DataFusionError::Plan("no column `a`".to_owned()));
        assert!(own.message.contains("no column `a`"), "{own}");
        let context = DataFusionError::Plan("no column `a`".to_owned()).context("planning");
        assert_eq!(Failure::from(context).code, "42000");
    }
}
