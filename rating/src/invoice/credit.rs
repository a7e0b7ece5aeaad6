//! Credits: prepaid or granted amounts that pay for lines, in the order priority, expiry, grant (DESIGN.md 3.6).
//!
//! Owns the order and the drawing down. The ledger that grants and expires credits is not here: balances are an input.

use std::cmp::Ordering;

use serde::{Deserialize, Serialize};

use crate::exact::Exact;
use crate::money::Amount;

/// A balance that may pay for lines.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Credit {
    pub id: String,
    /// The lowest number is drawn first.
    pub priority: i64,
    pub granted_us: i64,
    /// First instant at which it can be drawn.
    pub effective_us: i64,
    /// First instant at which it no longer can, by expiry or because it was voided; `None` never expires.
    pub expires_us: Option<i64>,
    pub balance: Amount,
}

/// What one credit paid for one line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CreditUse {
    pub credit: String,
    /// The line's place in the invoice.
    pub line: usize,
    pub amount: Amount,
}

impl Credit {
    /// Whether it can be drawn at that instant: from its start (included) to its expiry (not included).
    pub fn is_active(&self, at_us: i64) -> bool {
        self.effective_us <= at_us && self.expires_us.is_none_or(|expires_us| at_us < expires_us)
    }

    /// Priority, then what expires first, then what was granted first; the id settles the rest.
    pub fn drawing_order(&self, other: &Credit) -> Ordering {
        let rank = |credit: &Credit| {
            let expires_us = credit.expires_us.unwrap_or(i64::MAX);
            (credit.priority, expires_us, credit.expires_us.is_none(), credit.granted_us)
        };
        rank(self).cmp(&rank(other)).then_with(|| self.id.cmp(&other.id))
    }
}

/// Draws an amount from the credits that are active at that instant and lowers their balances. Answers with what each
/// paid; less than the amount when they do not reach.
pub fn draw(credits: &mut [Credit], amount: Amount, at_us: i64) -> Vec<(String, Amount)> {
    credits.sort_by(Credit::drawing_order);
    let mut left = amount;
    let mut paid = Vec::new();
    for credit in credits.iter_mut().filter(|credit| credit.is_active(at_us)) {
        let part = credit.balance.min(left);
        if part > Amount::ZERO {
            credit.balance -= part;
            left -= part;
            paid.push((credit.id.clone(), part));
        }
    }
    paid
}

/// Pays lines in their order, never more than all of them together owe: a line below zero (an adjustment) lowers what
/// is left to pay.
pub fn pay_lines(lines: &[Amount], credits: &mut [Credit], at_us: i64) -> Vec<CreditUse> {
    let owed: Exact = lines.iter().map(|&amount| Exact::from(amount)).sum();
    let mut owed = owed.to_decimal().unwrap_or_default().max(Amount::ZERO);
    let mut uses = Vec::new();
    for (line, &amount) in lines.iter().enumerate() {
        let payable = amount.min(owed);
        if payable <= Amount::ZERO {
            continue;
        }
        for (credit, amount) in draw(credits, payable, at_us) {
            owed -= amount;
            uses.push(CreditUse { credit, line, amount });
        }
    }
    uses
}
