//! Price models as the catalog writes them: exactly one of `flat`, `per_unit`, `package`, `graduated`, `volume`,
//! `matrix`, `percentage`.
//!
//! Owns: reading them into `price`'s types, with the checks that need no usage. Does not own: what they compute.
//! Keeps DESIGN.md 3.7: tiers follow each other without gap or overlap, and a bound belongs to the lower tier.

use rust_decimal::Decimal;

use super::fields::{self, Fields};
use super::matrix;
use super::mistake::{Mistakes, Place};
use super::number::{self, Placed};
use super::yaml::{Content, Node};
use crate::money::UnitPrice;
use crate::price::{
    FlatPrice, GraduatedPrice, PackagePrice, PerUnitPrice, PercentagePrice, PriceModel, RoundingDirection,
    Tier, VolumePrice, ZeroUsage,
};

/// Where the parts of a price stand, so that `explain` can name the very line.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ModelSource {
    /// One for each tier, in their order.
    pub tiers: Vec<Place>,
    /// One for each cell of a matrix, in their order.
    pub cells: Vec<Place>,
}

/// A model with the place of its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ReadModel {
    pub model: PriceModel,
    pub source: ModelSource,
    pub place: Place,
}

const MODELS: [&str; 7] = ["flat", "per_unit", "package", "graduated", "volume", "matrix", "percentage"];

/// Reads the model among the keys of a price. `required` says whether its absence is a mistake.
pub(super) fn read(fields: &mut Fields<'_>, required: bool, mistakes: &mut Mistakes) -> Option<ReadModel> {
    let written: Vec<(&str, &Node)> =
        MODELS.iter().filter_map(|name| fields.optional(name).map(|node| (*name, node))).collect();
    let prorated =
        fields.optional("prorate").map(|node| (node, number::boolean(node, "`prorate`", mistakes)));
    let zero_usage = fields.optional("zero_usage").map(|node| {
        let words =
            [("owes_first_fee", ZeroUsage::OwesFirstFlatFee), ("owes_nothing", ZeroUsage::OwesNothing)];
        (node, fields::word(node, "`zero_usage`", &words, mistakes))
    });
    match written.as_slice() {
        [] => {
            if required {
                mistakes.report(fields.place, format!("{} has no price", fields.what)).hint(
                    "add one of `flat`, `per_unit`, `package`, `graduated`, `volume`, `matrix`, `percentage`",
                );
            }
            return None;
        }
        [_] => {}
        [(first, _), others @ ..] => {
            for (name, node) in others {
                mistakes
                    .report(node.place, format!("{} has both `{first}` and `{name}`", fields.what))
                    .hint("a price has one model: split it into two prices");
            }
            return None;
        }
    }
    let (name, node) = written[0];
    if let Some((misplaced, _)) = prorated.as_ref().filter(|_| name != "flat") {
        mistakes
            .report(misplaced.place, "`prorate` belongs to a `flat` price")
            .hint("an allowance is prorated by `included: { quantity: 10, prorate: true }`");
    }
    if let Some((misplaced, _)) = zero_usage.as_ref().filter(|_| name != "graduated" && name != "volume") {
        mistakes.report(misplaced.place, "`zero_usage` belongs to `graduated` and `volume` prices");
    }
    let settings = Settings {
        prorated: prorated.and_then(|(_, value)| value).unwrap_or(true),
        zero_usage: zero_usage.and_then(|(_, value)| value).unwrap_or_default(),
    };
    let mut source = ModelSource::default();
    let model = read_one(name, node, settings, &mut source, mistakes)?;
    Some(ReadModel { model, source, place: node.place })
}

#[derive(Debug, Clone, Copy)]
struct Settings {
    prorated: bool,
    zero_usage: ZeroUsage,
}

fn read_one(
    name: &str,
    node: &Node,
    settings: Settings,
    source: &mut ModelSource,
    mistakes: &mut Mistakes,
) -> Option<PriceModel> {
    let Settings { prorated, zero_usage } = settings;
    Some(match name {
        "flat" => {
            PriceModel::Flat(FlatPrice { amount: number::decimal(node, "`flat`", mistakes)?, prorated })
        }
        "per_unit" => PriceModel::PerUnit(PerUnitPrice {
            unit_price: number::unit_price(node, "`per_unit`", mistakes)?,
        }),
        "package" => PriceModel::Package(read_package(node, mistakes)?),
        "graduated" => {
            let tiers = read_tiers(node, "`graduated`", &mut source.tiers, mistakes)?;
            PriceModel::Graduated(GraduatedPrice { tiers, zero_usage })
        }
        "volume" => {
            let tiers = read_tiers(node, "`volume`", &mut source.tiers, mistakes)?;
            PriceModel::Volume(VolumePrice { tiers, zero_usage })
        }
        "matrix" => PriceModel::Matrix(matrix::read(node, &mut source.cells, mistakes)?),
        _ => PriceModel::Percentage(read_percentage(node, mistakes)?),
    })
}

/// The price in a cell of a matrix: a number is a price per unit, a mapping holds one of the other models.
pub(super) fn read_cell(node: &Node, what: &str, mistakes: &mut Mistakes) -> Option<PriceModel> {
    if !matches!(node.content, Content::Map(_)) {
        return Some(PriceModel::PerUnit(PerUnitPrice {
            unit_price: number::unit_price(node, what, mistakes)?,
        }));
    }
    let mut fields = Fields::open(node, what, node.place, mistakes)?;
    let read = read(&mut fields, true, mistakes);
    let prorate = fields.optional("prorate").map(|node| node.place);
    fields.close(mistakes);
    let read = read?;
    if let (true, Some(place)) = (read.model.is_whole_fee(), prorate) {
        mistakes
            .report(place, "a fee in the cell of a matrix is always prorated")
            .hint("each part of a split period would owe it whole: make it a `flat` price of its own");
        return None;
    }
    if matches!(read.model, PriceModel::Matrix(_)) {
        mistakes
            .report(read.place, "a matrix cannot stand in the cell of a matrix")
            .hint("add its dimension to `by`");
        return None;
    }
    Some(read.model)
}

fn read_package(node: &Node, mistakes: &mut Mistakes) -> Option<PackagePrice> {
    let mut fields = Fields::open(node, "`package`", node.place, mistakes)?;
    let size =
        fields.required("size", mistakes).and_then(|node| number::above_zero(node, "`size`", mistakes));
    let price =
        fields.required("price", mistakes).and_then(|node| number::decimal(node, "`price`", mistakes));
    let rounding =
        fields.optional("round").and_then(|node| fields::word(node, "`round`", &DIRECTIONS, mistakes));
    fields.close(mistakes);
    Some(PackagePrice {
        size: size?,
        package_price: price?,
        rounding: rounding.unwrap_or(RoundingDirection::Up),
    })
}

pub(super) const DIRECTIONS: [(&str, RoundingDirection); 3] = [
    ("up", RoundingDirection::Up),
    ("down", RoundingDirection::Down),
    ("nearest", RoundingDirection::Nearest),
];

fn read_percentage(node: &Node, mistakes: &mut Mistakes) -> Option<PercentagePrice> {
    if !matches!(node.content, Content::Map(_)) {
        return Some(PercentagePrice::rate(number::decimal(node, "`percentage`", mistakes)?));
    }
    let mut fields = Fields::open(node, "`percentage`", node.place, mistakes)?;
    let rate = fields.required("rate", mistakes).and_then(|node| number::decimal(node, "`rate`", mistakes));
    let mut amount = |key: &'static str, mistakes: &mut Mistakes| {
        fields.optional(key).and_then(|node| number::at_least_zero(node, &format!("`{key}`"), mistakes))
    };
    let fee_per_transaction = amount("fee_per_transaction", mistakes).unwrap_or_default();
    let free_amount = amount("free_amount", mistakes);
    let minimum_per_transaction = amount("minimum_per_transaction", mistakes);
    let maximum_per_transaction = amount("maximum_per_transaction", mistakes);
    let free = fields.optional("free_transactions");
    let free_transactions = free.and_then(|node| number::whole(node, "`free_transactions`", mistakes));
    fields.close(mistakes);
    if minimum_per_transaction.zip(maximum_per_transaction).is_some_and(|(least, most)| least > most) {
        mistakes.report(node.place, "`minimum_per_transaction` is above `maximum_per_transaction`");
    }
    Some(PercentagePrice {
        rate_percent: rate?,
        fee_per_transaction,
        free_transactions,
        free_amount,
        minimum_per_transaction,
        maximum_per_transaction,
    })
}

fn read_tiers(
    node: &Node,
    what: &str,
    places: &mut Vec<Place>,
    mistakes: &mut Mistakes,
) -> Option<Vec<Tier>> {
    let Content::List(items) = &node.content else {
        mistakes
            .report(node.place, format!("{what}: expected a list of tiers, found {}", node.found()))
            .hint("write `- { up_to: 100, per_unit: 0.10 }` and so on; the last tier has no `up_to`");
        return None;
    };
    if items.is_empty() {
        mistakes.report(node.place, format!("{what}: the list of tiers is empty"));
        return None;
    }
    let before = mistakes.count();
    let mut tiers = Vec::new();
    let mut bound = Placed { number: Decimal::ZERO, place: node.place };
    for (at, item) in items.iter().enumerate() {
        let is_last = at + 1 == items.len();
        places.push(item.place);
        tiers.extend(read_tier(item, at + 1, is_last, &mut bound, mistakes));
    }
    (mistakes.count() == before).then_some(tiers)
}

/// `bound` is the upper bound of the tier before, and afterwards of this one.
fn read_tier(
    node: &Node,
    ordinal: usize,
    is_last: bool,
    bound: &mut Placed,
    mistakes: &mut Mistakes,
) -> Option<Tier> {
    let mut fields = Fields::open(node, format!("tier {ordinal}"), node.place, mistakes)?;
    let from = fields.optional("from");
    let up_to = fields.optional("up_to");
    if let Some(node) = from {
        check_start(node, ordinal, bound.number, mistakes);
    }
    let up_to = up_to.and_then(|node| {
        let number = number::above_zero(node, "`up_to`", mistakes)?;
        Some(Placed { number, place: node.place })
    });
    check_end(up_to, ordinal, is_last, *bound, node.place, mistakes);
    if let Some(up_to) = up_to {
        *bound = up_to;
    }
    let unit_price = fields.optional("per_unit").map(|node| number::unit_price(node, "`per_unit`", mistakes));
    let flat_fee = fields.optional("flat").map(|node| number::decimal(node, "`flat`", mistakes));
    let block =
        fields.optional("block_size").and_then(|node| number::above_zero(node, "`block_size`", mistakes));
    let maximum =
        fields.optional("maximum").and_then(|node| number::at_least_zero(node, "`maximum`", mistakes));
    if unit_price.is_none() && flat_fee.is_none() {
        mistakes
            .report(node.place, format!("tier {ordinal} has no price"))
            .hint("give `per_unit`, `flat` or both");
    }
    fields.close(mistakes);
    Some(Tier {
        up_to: up_to.map(|placed| placed.number),
        unit_price: unit_price.unwrap_or(Some(UnitPrice::ZERO))?,
        flat_fee: flat_fee.unwrap_or(Some(Decimal::ZERO))?,
        block_size: block,
        maximum,
    })
}

fn check_start(node: &Node, ordinal: usize, expected: Decimal, mistakes: &mut Mistakes) {
    let Some(start) = number::at_least_zero(node, "`from`", mistakes) else {
        return;
    };
    if start == expected {
        return;
    }
    let problem = if start > expected {
        format!("there is a gap before tier {ordinal}: nothing prices usage from {expected} to {start}")
    } else {
        format!("tier {ordinal} overlaps the one before: both price usage from {start} to {expected}")
    };
    mistakes
        .report(node.place, problem)
        .hint(format!("`from` may be left out, or must be {expected}, where the tier before ends"));
}

fn check_end(
    up_to: Option<Placed>,
    ordinal: usize,
    is_last: bool,
    bound: Placed,
    tier: Place,
    mistakes: &mut Mistakes,
) {
    match up_to {
        Some(up_to) if up_to.number <= bound.number => {
            mistakes
                .report(up_to.place, format!("tier {ordinal} overlaps the one before: it ends at {}, which that tier already covers", up_to.number))
                .hint(format!("the tier before ends at {} in line {}; bounds must rise", bound.number, bound.place.line));
        }
        Some(up_to) if is_last => {
            mistakes
                .report(
                    up_to.place,
                    format!(
                        "there is a gap above tier {ordinal}: nothing prices usage beyond {}",
                        up_to.number
                    ),
                )
                .hint("leave `up_to` out of the last tier");
        }
        None if !is_last => {
            mistakes
                .report(
                    tier,
                    format!("tier {ordinal} has no `up_to` but is not the last, so it overlaps the next"),
                )
                .hint("only the last tier is open at its end");
        }
        _ => {}
    }
}
