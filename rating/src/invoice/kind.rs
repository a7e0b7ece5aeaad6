//! What an invoice is about: a period, or nothing but corrections of earlier ones.

use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InvoiceKind {
    /// What a tenant owes for a period, with corrections of earlier ones.
    #[default]
    OfPeriod,
    /// Corrections alone that come to more than was billed, of a tenant that is not set up any more.
    Corrections,
    /// Takes back what one issued invoice says too much.
    CreditNote,
}

impl InvoiceKind {
    pub fn is_of_period(&self) -> bool {
        *self == Self::OfPeriod
    }

    /// As tables show it.
    pub fn name(self) -> &'static str {
        match self {
            Self::OfPeriod | Self::Corrections => "invoice",
            Self::CreditNote => "credit_note",
        }
    }
}
