//! Corrections of issued lines: old, new and their difference, matched by the stable key (DESIGN.md 3.9).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::exact::{Exact, NotADecimal};
use crate::line::{LineItem, LineKey};
use crate::money::{Amount, Currency, MoneyRounding};

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
pub fn adjustments(issued: &[LineItem], recomputed: &[LineItem]) -> Result<Vec<Adjustment>, NotADecimal> {
    let mut changes: BTreeMap<&LineKey, Change> = BTreeMap::new();
    let lines = issued.iter().map(|line| (line, true)).chain(recomputed.iter().map(|line| (line, false)));
    for (line, is_old) in lines {
        let start = || Change { currency: line.currency, old: Exact::ZERO, new: Exact::ZERO };
        let change = changes.entry(&line.key).or_insert_with(start);
        let side = if is_old { &mut change.old } else { &mut change.new };
        *side += &line.amount.into();
    }
    let adjustment = |(key, change): (&LineKey, Change)| {
        let written = |amount: &Exact| change.currency.round(amount, MoneyRounding::HalfEven);
        Ok(Adjustment {
            key: key.clone(),
            old: written(&change.old)?,
            new: written(&change.new)?,
            difference: written(&(&change.new - &change.old))?,
        })
    };
    changes.into_iter().filter(|(_, change)| change.old != change.new).map(adjustment).collect()
}

/// Sums of whole minor units: writing them in the currency's digits loses nothing.
struct Change {
    currency: Currency,
    old: Exact,
    new: Exact,
}
