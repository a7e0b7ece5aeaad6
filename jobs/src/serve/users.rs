//! Who may log in, and what each may see.

use super::scram::Verifier;

/// A user as the settings name it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    pub name: String,
    pub verifier: Verifier,
    /// The only tenant whose rows the user sees; none for all.
    pub tenant: Option<String>,
}
