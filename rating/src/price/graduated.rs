//! Graduated: each unit costs what its own tier says, and each entered tier adds its flat fee (DESIGN.md 3.7).

use serde::{Deserialize, Serialize};

use super::{Tier, ZeroUsage};

#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct GraduatedPrice {
    /// In ascending order of their bounds; only the last has none.
    pub tiers: Vec<Tier>,
    pub zero_usage: ZeroUsage,
}
