//! What an invoice was made from, so that `verify` can make it again to the byte (DESIGN.md 3.10).

use serde::{Deserialize, Serialize};

/// Pins every input of a rating run.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Provenance {
    /// Identity of the table of usage events.
    pub table_id: String,
    pub table_version: i64,
    pub catalog_hash: String,
    /// Hash of the book's snapshot: tenants, subscriptions, credits.
    pub book_hash: String,
    pub program_version: String,
}
