//! How a meter is looked at: which of its usage, and what tells it apart.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::quantity::Dimensions;

/// Usage of a meter, some of its dimensions kept apart and added up over all others.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct View {
    pub meter: String,
    /// Only usage whose dimensions have one of these values; dimensions that are not named may have any.
    pub only: BTreeMap<String, Vec<String>>,
    /// The dimensions whose values are told apart, in ascending order.
    pub by: Vec<String>,
}

impl View {
    /// Whether usage with these dimensions counts.
    pub fn takes(&self, dimensions: &Dimensions) -> bool {
        self.only
            .iter()
            .all(|(name, values)| dimensions.get(name).is_some_and(|value| values.contains(value)))
    }

    /// The dimensions that are kept apart; one that the usage does not have stays away.
    pub fn group(&self, dimensions: &Dimensions) -> Dimensions {
        let kept = |name: &String| Some((name.clone(), dimensions.get(name)?.clone()));
        self.by.iter().filter_map(kept).collect()
    }
}
