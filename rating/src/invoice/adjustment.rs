//! Corrections of issued lines: old, new and their difference, matched by the stable key (DESIGN.md 3.9).
//!
//! Owns the difference and the line that bills it. Does not own which periods are looked at again, nor with which events
//! and catalog: the caller does. An adjustment line carries the key of the line that it corrects, so that whatever was
//! billed for a key, on whichever document, is the sum of the lines that have it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::cause::Causes;
use crate::exact::{Exact, NotADecimal};
use crate::line::{LineError, LineItem, LineKey, LineRequest};
use crate::money::{Amount, Currency, MoneyRounding};
use crate::price::{FlatPrice, PoolBalances, PriceModel, PriceTerms};

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

/// What an adjustment line corrects; its amount is `new - old`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Corrects {
    /// The printed number of the period's invoice.
    pub number: String,
    /// What was billed so far for the line's key: on that invoice, and by adjustments of later ones.
    pub old: Amount,
    pub new: Amount,
    pub cause: Causes,
}

/// An earlier period that an invoice corrects, with all that the correction was made from, beside the events of the
/// invoice's own version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AdjustedPeriod {
    /// The period's name.
    pub period: String,
    /// The catalog that it was rated with again.
    pub catalog_hash: String,
    /// Digests of the documents that billed something of it so far, in ascending order.
    pub documents: Vec<String>,
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

impl Adjustment {
    /// The line that bills the difference. `description` is that of the corrected line, `number` its invoice's.
    pub fn line(
        self,
        description: &str,
        currency: Currency,
        number: &str,
        cause: impl Into<Causes>,
    ) -> Result<LineItem, LineError> {
        let amount = self.difference;
        let terms = PriceTerms::of(PriceModel::Flat(FlatPrice { amount, prorated: false }));
        let request = LineRequest {
            description: format!("Correction of {}: {description}", self.key.period),
            period: self.key.span,
            key: self.key,
            price_source: None,
            terms: &terms,
            currency,
            quantity: None,
            transactions: None,
            so_far: None,
            commitment: None,
        };
        let mut line = LineItem::rate(request, &mut PoolBalances::default())?;
        let (number, cause) = (number.to_owned(), cause.into());
        line.corrects = Some(Corrects { number, old: self.old, new: self.new, cause });
        Ok(line)
    }
}
