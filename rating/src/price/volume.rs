//! Volume: all units cost what the tier of the whole quantity says, plus that tier's flat fee (DESIGN.md 3.7).

use serde::{Deserialize, Serialize};

use super::{Tier, ZeroUsage};

#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct VolumePrice {
    /// In ascending order of their bounds; only the last has none.
    pub tiers: Vec<Tier>,
    pub zero_usage: ZeroUsage,
}
