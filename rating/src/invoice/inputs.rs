//! What an invoice was made from beside events and catalog: credits, and the earlier periods that it corrects.
//!
//! It stands in the invoice itself, so that whoever has the lake alone can make the invoice again (DESIGN.md 3.10). An
//! invoice without credits and corrections has nothing of it in its text.

use serde::{Deserialize, Serialize};

use super::adjustment::AdjustedPeriod;
use super::credit::Credit;

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct InvoiceInputs {
    /// The tenant's credits before this invoice drew from them, in the order of the ledger.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub credits: Vec<Credit>,
    /// They are what so many entries of the tenant's account in the book come to; `Provenance::book_hash` is the hash of
    /// these entries.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub credit_entries: i64,
    /// In the order of their names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub adjusted: Vec<AdjustedPeriod>,
}

impl InvoiceInputs {
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn is_zero(number: &i64) -> bool {
    *number == 0
}
