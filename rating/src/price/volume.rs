//! Volume: all units cost what the tier of the whole quantity says, plus that tier's flat fee (DESIGN.md 3.7).

use serde::{Deserialize, Serialize};

use super::part::{Billable, Model, Part};
use super::{PriceError, Tier, ZeroUsage, tier};

#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct VolumePrice {
    /// In ascending order of their bounds; only the last has none.
    pub tiers: Vec<Tier>,
    pub zero_usage: ZeroUsage,
}

impl Model for VolumePrice {
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
        let holds = |tier: &Tier| tier.bound(billable).is_none_or(|up_to| *quantity <= up_to);
        let index = tiers.iter().position(holds).unwrap_or(tiers.len() - 1);
        Ok(vec![tiers[index].part(index + 1, quantity, billable)])
    }
}
