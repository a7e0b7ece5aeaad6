//! Pools: included quantities that several prices of a plan share (DESIGN.md 3.6).
//!
//! Owns: reading them and checking the prices that draw from them. Does not own: drawing (`crate::price`).

use super::fields::{self, Fields};
use super::mistake::{Mistakes, Place};
use super::number;
use super::price::PricedUsage;
use super::quota;
use super::unit;
use super::yaml::{Entry, Node};
use crate::price::Pool;

/// Reads the mapping below `pools:`.
pub(super) fn read_all(node: &Node, mistakes: &mut Mistakes) -> Vec<Pool> {
    quota::entries(node, "`pools`", mistakes).iter().filter_map(|entry| read(entry, mistakes)).collect()
}

fn read(entry: &Entry, mistakes: &mut Mistakes) -> Option<Pool> {
    let what = format!("pool `{}`", entry.key);
    fields::check_name(&entry.key, &what, entry.key_place, mistakes);
    let mut fields = Fields::open(&entry.value, what, entry.key_place, mistakes)?;
    let quantity = fields
        .required("quantity", mistakes)
        .and_then(|node| number::at_least_zero(node, "`quantity`", mistakes));
    let unit = fields.required("unit", mistakes).and_then(|node| unit::read(node, "`unit`", mistakes));
    let prorated = fields.optional("prorate").map(|node| number::boolean(node, "`prorate`", mistakes));
    fields.close(mistakes);
    Some(Pool {
        name: entry.key.clone(),
        quantity: quantity?,
        unit: unit?.name,
        prorated: prorated.unwrap_or(Some(true))?,
    })
}

/// A price may draw only from a pool of its plan that counts in its unit.
pub(super) fn check_reference(
    pool: &str,
    usage: Option<&PricedUsage>,
    pools: &[Pool],
    place: Place,
    mistakes: &mut Mistakes,
) {
    let Some(found) = pools.iter().find(|known| known.name == pool) else {
        mistakes
            .report(place, format!("there is no pool `{pool}` in this plan"))
            .hint("declare it under the plan's `pools:`")
            .did_you_mean(pool, pools.iter().map(|known| known.name.as_str()));
        return;
    };
    if let Some(usage) = usage.filter(|usage| usage.unit.name != found.unit) {
        mistakes
            .report(
                place,
                format!(
                    "the pool `{pool}` holds `{}`, but this price counts in `{}`",
                    found.unit, usage.unit
                ),
            )
            .hint("all prices that draw from a pool count in its unit");
    }
}
