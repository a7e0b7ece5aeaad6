//! Exactly-once commits to the lake's Delta tables.
//!
//! A commit carries rows together with how far each of its sources has come (`txn` actions). It lands
//! only if every source stands exactly where the writer believes it to stand: whoever wakes up late, or
//! shares a partition by mistake, is refused ([`CommitError::Fenced`]) and must read its position anew.
//!
//! Why not the library's own commit: it replays the table's file list for each commit, which slows down
//! as files accumulate, and it does not compare `txn` versions. Here a commit reads only what others
//! committed since the last one, so that its cost does not depend on the table's age. Everything that
//! is written is the library's own action types.

mod entry;
mod table_log;

pub use entry::ForeignEntry;
pub use table_log::{Commit, CommitError, Committed, LogSettings, Position, TableLog, upload};

/// How far `vacuum` has come: the instant, in milliseconds since 1970, before which a stored file that no version names may
/// be gone. It is moved before anything is deleted, and whoever adds an older file after that is refused, however long
/// it slept between storing the file and committing it.
pub const VACUUMED_BEFORE: &str = "meterhouse/vacuumed-before-ms";

/// By so much the clock of a writer may be ahead of the store's: files that are younger by less than this than what was
/// vacuumed are refused, too.
pub const CLOCKS_DIFFER: std::time::Duration = std::time::Duration::from_mins(5);

/// The position that every commit moves by one which takes rows out of a table, so that of two owners at
/// once only one succeeds.
pub const MAINTENANCE: &str = "meterhouse/maintenance";
