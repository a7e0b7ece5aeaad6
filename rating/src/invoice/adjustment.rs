//! Corrections of issued lines: old, new and their difference, matched by the stable key (DESIGN.md 3.9).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::exact::{Exact, NotADecimal};
use crate::line::{LineItem, LineKey};
use crate::money::Amount;

/// What a line of an issued period must be corrected by.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Adjustment {
    pub key: LineKey,
    /// Zero when the line was not on the issued invoice.
    pub old: Amount,
    /// Zero when the line is gone.
    pub new: Amount,
    pub difference: Amount,
}

/// The corrections from issued lines to recomputed ones, in the order of their keys; lines that stay as they are need
/// none. Issued amounts already contain earlier corrections.
pub fn adjustments(
    issued: &[LineItem],
    recomputed: &[LineItem],
) -> Result<Vec<Adjustment>, NotADecimal> {
    let mut amounts: BTreeMap<&LineKey, (Exact, Exact)> = BTreeMap::new();
    for line in issued {
        amounts.entry(&line.key).or_default().0 += &line.amount.into();
    }
    for line in recomputed {
        amounts.entry(&line.key).or_default().1 += &line.amount.into();
    }
    let changed = amounts.into_iter().filter(|(_, (old, new))| old != new);
    let adjustment = |(key, (old, new)): (&LineKey, (Exact, Exact))| {
        let difference = (&new - &old).to_decimal()?;
        Ok(Adjustment {
            key: key.clone(),
            old: old.to_decimal()?,
            new: new.to_decimal()?,
            difference,
        })
    };
    changed.map(adjustment).collect()
}
