//! What a price's spans of one period have in common: what is not prorated counts once over the period, and only the
//! whole period says whether a commitment was met.
//!
//! Owns the figures and how a rated line adds to them. Whoever rates a period keeps one for each subscription, price and
//! set of dimension values, and rates the spans in order of time.

use std::collections::BTreeMap;

use rust_decimal::Decimal;

use super::{Allowance, PriceTerms, PriceTrail, Rule};
use crate::exact::Exact;

/// What earlier spans of the period did.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PeriodSoFar {
    /// Billed, rounded: a maximum spend holds over the period.
    pub billed: Decimal,
    /// Drawn from the price's own allowance, in the meter's unit: one that is not prorated is granted once.
    pub included: Exact,
    /// By the tier's number: a tier's maximum holds over the period.
    pub tiers: BTreeMap<u32, Exact>,
    /// Single transactions: free ones are free once.
    pub transactions: Vec<Exact>,
    /// What the model's amounts used of the commitment.
    pub committed: Exact,
}

/// The commitment of a price whose spans share it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommittedInPeriod {
    /// What all spans with a prorated commitment promise together.
    pub prorated: Exact,
    /// What is promised over the period whatever its spans, where it is not prorated: one promise, as it stands at the end.
    pub whole: Option<Exact>,
    /// Whether no later span can use what is left, so that it is owed now.
    pub is_last: bool,
}

impl PeriodSoFar {
    /// Adds a line that was rated after it. Nothing where the amounts of the period are out of range.
    #[must_use]
    pub fn with(mut self, terms: &PriceTerms, trail: &PriceTrail, transactions: &[Exact]) -> Option<Self> {
        // A sum of decimals on its own would drop digits where it gets too long.
        self.billed = (Exact::from(self.billed) + Exact::from(trail.amount())).to_decimal().ok()?;
        if let (Some(Allowance::Own { .. }), Some(step)) = (&terms.allowance, &trail.allowance) {
            self.included += &terms.conversion.convert_back(&step.drawn)?;
        }
        for part in &trail.parts {
            if let Rule::Tier { number, .. } = &part.rule {
                *self.tiers.entry(*number).or_default() += &part.amount;
            }
        }
        if terms.model.needs_transactions() {
            self.transactions.extend_from_slice(transactions);
        }
        if let Some(step) = &trail.commitment {
            self.committed += &step.within;
        }
        Some(self)
    }
}
