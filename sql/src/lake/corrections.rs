//! The event types by which earlier events are voided and amended, and the files in which they lie.
//!
//! They lie in files of their own in `usage_events`, so that one look at a version's file list says whether there are any:
//! mostly there are none, and counting costs nothing more.

use super::DataFile;

/// Takes an event back.
pub const VOID: &str = "meterhouse.void";
/// Gives an event other content.
pub const AMEND: &str = "meterhouse.amend";

impl DataFile {
    /// Whether the file holds voids and amendments, and no usage of its own.
    pub fn is_correction(&self) -> bool {
        self.path.rsplit('/').next().is_some_and(|name| name.starts_with("corrections-"))
    }
}
