//! Graduated: each unit costs what its own tier says, and each entered tier adds its flat fee (DESIGN.md 3.7).

use serde::{Deserialize, Serialize};

use super::part::{Billable, Model, Part};
use super::{PriceError, Tier, ZeroUsage, tier};
use crate::exact::Exact;

#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct GraduatedPrice {
    /// In ascending order of their bounds; only the last has none.
    pub tiers: Vec<Tier>,
    pub zero_usage: ZeroUsage,
}

impl Model for GraduatedPrice {
    fn parts(&self, billable: &Billable<'_>) -> Result<Vec<Part>, PriceError> {
        let tiers = tier::checked(&self.tiers)?;
        let quantity = billable.quantity;
        if quantity.is_zero() {
            return Ok(vec![tiers[0].part_of_zero_usage(self.zero_usage, billable)]);
        }
        if quantity.is_negative() {
            // A correction that outweighs the usage is paid back at the first tier's price, without its fee.
            return Ok(vec![tiers[0].part_without_fee(quantity, billable)]);
        }
        let mut parts = Vec::new();
        let mut below = Exact::ZERO;
        for (index, tier) in tiers.iter().enumerate() {
            if *quantity <= below {
                break;
            }
            let up_to = tier.bound(billable).filter(|up_to| up_to < quantity);
            let reached = up_to.unwrap_or_else(|| quantity.clone());
            parts.push(tier.part(index + 1, &(&reached - &below), billable));
            below = reached;
        }
        Ok(parts)
    }
}
