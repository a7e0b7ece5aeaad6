//! Included quantities: a price's own, or a pool that several prices draw from (DESIGN.md 3.6).

use std::collections::BTreeMap;

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

use super::PriceError;
use crate::exact::Exact;

/// What is free before the model prices the rest. Quantities are in the price's converted unit.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Allowance {
    /// This price alone uses it.
    Own {
        quantity: Decimal,
        /// Whether a span shorter than the period gets only its share of elapsed time; true by default. What is not
        /// prorated is granted once in a period, whatever spans it has.
        prorated: bool,
    },
    /// Drawn from the plan's pool of that name, in the order in which the plan lists its prices.
    Pool { pool: String },
}

/// An included quantity shared by several prices of one plan.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Pool {
    pub name: String,
    pub quantity: Decimal,
    /// The unit that every price drawing from it must convert to.
    pub unit: String,
    pub prorated: bool,
}

/// What one draw from an allowance took: the step that `explain` shows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AllowanceDrawn {
    /// The pool's name; nothing when the allowance is the price's own.
    pub pool: Option<String>,
    /// What was included in this span, before anybody drew from it.
    pub granted: Exact,
    /// What was left when this price came to it.
    pub available: Exact,
    pub drawn: Exact,
}

/// The pools of one tenant's plan in one span, drawn down while its prices are rated in the plan's order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PoolBalances {
    pools: BTreeMap<String, PoolBalance>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct PoolBalance {
    unit: String,
    granted: Exact,
    left: Exact,
}

impl PoolBalances {
    /// Full pools at the start of a span that is this share of its period.
    pub fn open(pools: &[Pool], span_share: &Exact) -> PoolBalances {
        let balance = |pool: &Pool| {
            let granted = granted(pool.quantity, pool.prorated, span_share);
            let balance = PoolBalance { unit: pool.unit.clone(), left: granted.clone(), granted };
            (pool.name.clone(), balance)
        };
        PoolBalances { pools: pools.iter().map(balance).collect() }
    }

    /// What is left in a pool.
    pub fn left(&self, pool: &str) -> Option<&Exact> {
        self.pools.get(pool).map(|balance| &balance.left)
    }

    fn draw(&mut self, name: &str, unit: &str, wanted: &Exact) -> Result<AllowanceDrawn, PriceError> {
        let unknown = || PriceError::UnknownPool { pool: name.to_owned() };
        let pool = self.pools.get_mut(name).ok_or_else(unknown)?;
        if pool.unit != unit {
            let (pool_unit, unit) = (pool.unit.clone(), unit.to_owned());
            return Err(PriceError::PoolUnitDiffers { pool: name.to_owned(), pool_unit, unit });
        }
        let available = pool.left.clone();
        let drawn = drawn(&available, wanted);
        pool.left -= &drawn;
        Ok(AllowanceDrawn { pool: Some(name.to_owned()), granted: pool.granted.clone(), available, drawn })
    }
}

impl Allowance {
    /// Draws what the quantity, in `unit`, needs from the allowance or its pool. `drawn_before` is what earlier spans of
    /// the period drew of the price's own.
    pub(super) fn draw(
        &self,
        quantity: &Exact,
        unit: &str,
        span_share: &Exact,
        drawn_before: &Exact,
        pools: &mut PoolBalances,
    ) -> Result<AllowanceDrawn, PriceError> {
        match self {
            Allowance::Pool { pool } => pools.draw(pool, unit, quantity),
            Allowance::Own { quantity: included, prorated } => {
                let granted = granted(*included, *prorated, span_share);
                let gone = if *prorated { &Exact::ZERO } else { drawn_before };
                let available = (&granted - gone).max(Exact::ZERO);
                let drawn = drawn(&available, quantity);
                Ok(AllowanceDrawn { pool: None, granted, available, drawn })
            }
        }
    }
}

fn granted(quantity: Decimal, prorated: bool, span_share: &Exact) -> Exact {
    let quantity = Exact::from(quantity);
    if prorated { &quantity * span_share } else { quantity }
}

/// Usage below zero draws nothing: an allowance only ever makes a bill smaller.
fn drawn(available: &Exact, wanted: &Exact) -> Exact {
    wanted.min(available).max(&Exact::ZERO).clone()
}
