//! The steps around a price model: unit, allowance, rounding, commitment, discounts (DESIGN.md 3.6).
//!
//! Owns: reading them, for a plan's price and for a tenant's override of one alike. Does not own: applying them
//! (`price`).

use rust_decimal::Decimal;

use super::fields::{self, Fields};
use super::mistake::{Mistakes, Place};
use super::model::{self, DIRECTIONS, ModelSource, ReadModel};
use super::number;
use super::unit::Unit;
use super::yaml::{Content, Node};
use crate::price::{
    Allowance, Commitment, CommittedUsage, Discount, FlatPrice, PriceModel, PriceTerms, QuantityRounding,
    RoundingDirection, UnitConversion,
};

/// What a price says about its terms; `None` is left unsaid. An override replaces what it says and leaves the rest.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TermsChange {
    pub model: Option<PriceModel>,
    pub source: ModelSource,
    pub allowance: Option<Allowance>,
    pub quantity_rounding: Option<QuantityRounding>,
    pub commitment: Option<Commitment>,
    pub discounts: Option<Vec<Discount>>,
}

impl TermsChange {
    /// The given terms with everything replaced that this change speaks of.
    pub fn applied_to(&self, terms: &PriceTerms) -> PriceTerms {
        PriceTerms {
            conversion: terms.conversion.clone(),
            allowance: self.allowance.clone().or_else(|| terms.allowance.clone()),
            quantity_rounding: self
                .quantity_rounding
                .clone()
                .unwrap_or_else(|| terms.quantity_rounding.clone()),
            model: self.model_instead_of(&terms.model),
            commitment: self.commitment.clone().or_else(|| terms.commitment.clone()),
            discounts: self.discounts.clone().unwrap_or_else(|| terms.discounts.clone()),
            line_rounding: terms.line_rounding,
        }
    }

    fn model_instead_of(&self, model: &PriceModel) -> PriceModel {
        match (&self.model, model) {
            // What the plan charges whole, like a one-off fee, stays whole at another amount.
            (Some(PriceModel::Flat(own)), PriceModel::Flat(plans)) => {
                let prorated = own.prorated && plans.prorated;
                PriceModel::Flat(FlatPrice { amount: own.amount, prorated })
            }
            (Some(own), _) => own.clone(),
            (None, _) => model.clone(),
        }
    }

    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// The change and where its parts stand, for checks against the meter and the plan.
#[derive(Debug, Default)]
pub(super) struct ReadTerms {
    pub change: TermsChange,
    pub model_place: Option<Place>,
    pub allowance_place: Option<Place>,
    pub rounding_place: Option<Place>,
    pub commitment_place: Option<Place>,
}

pub(super) fn read(fields: &mut Fields<'_>, model_required: bool, mistakes: &mut Mistakes) -> ReadTerms {
    let allowance = fields.optional("included");
    let rounding = fields.optional("round");
    let commitment = fields.optional("commitment");
    let discounts = fields.optional("discounts");
    let model = model::read(fields, model_required, mistakes);
    let model_place = model.as_ref().map(|read| read.place);
    let (model, source) = match model {
        Some(ReadModel { model, source, .. }) => (Some(model), source),
        None => (None, ModelSource::default()),
    };
    ReadTerms {
        model_place,
        allowance_place: allowance.map(place_of_pool),
        rounding_place: rounding.map(|node| node.place),
        commitment_place: commitment.map(|node| node.place),
        change: TermsChange {
            model,
            source,
            allowance: allowance.and_then(|node| read_allowance(node, mistakes)),
            quantity_rounding: rounding.and_then(|node| read_rounding(node, mistakes)),
            commitment: commitment.and_then(|node| read_commitment(node, mistakes)),
            discounts: discounts.map(|node| read_discounts(node, mistakes)),
        },
    }
}

/// Where the name of the pool stands, if there is one.
fn place_of_pool(allowance: &Node) -> Place {
    match &allowance.content {
        Content::Map(entries) => entries
            .iter()
            .find(|entry| entry.key == "pool")
            .map_or(allowance.place, |entry| entry.value.place),
        _ => allowance.place,
    }
}

fn read_allowance(node: &Node, mistakes: &mut Mistakes) -> Option<Allowance> {
    if !matches!(node.content, Content::Map(_)) {
        let quantity = number::at_least_zero(node, "`included`", mistakes)?;
        return Some(Allowance::Own { quantity, prorated: true });
    }
    let mut fields = Fields::open(node, "`included`", node.place, mistakes)?;
    let pool = fields.optional("pool");
    let quantity = fields.optional("quantity");
    let prorated = fields.optional("prorate").map(|node| number::boolean(node, "`prorate`", mistakes));
    fields.close(mistakes);
    match (pool, quantity) {
        (Some(pool), None) => {
            let pool = fields::text(pool, "`pool`", mistakes)?.to_owned();
            if prorated.is_some() {
                mistakes.report(node.place, "a pool's own entry says whether it is prorated");
            }
            Some(Allowance::Pool { pool })
        }
        (None, Some(quantity)) => {
            let quantity = number::at_least_zero(quantity, "`quantity`", mistakes)?;
            Some(Allowance::Own { quantity, prorated: prorated.unwrap_or(Some(true))? })
        }
        _ => {
            mistakes
                .report(node.place, "`included` needs either `quantity` or `pool`")
                .hint("write `included: 10`, `included: { quantity: 10, prorate: false }` or `included: { pool: traffic }`");
            None
        }
    }
}

fn read_rounding(node: &Node, mistakes: &mut Mistakes) -> Option<QuantityRounding> {
    if !matches!(node.content, Content::Map(_)) {
        let words: Vec<(&str, Option<RoundingDirection>)> = [("none", None)]
            .into_iter()
            .chain(DIRECTIONS.map(|(name, direction)| (name, Some(direction))))
            .collect();
        let direction = fields::word(node, "`round`", &words, mistakes)?;
        return Some(direction.map_or(QuantityRounding::None, |direction| QuantityRounding::ToStep {
            direction,
            step: Decimal::ONE,
        }));
    }
    let mut fields = Fields::open(node, "`round`", node.place, mistakes)?;
    let direction = fields
        .required("direction", mistakes)
        .and_then(|node| fields::word(node, "`direction`", &DIRECTIONS, mistakes));
    let step =
        fields.required("step", mistakes).and_then(|node| number::above_zero(node, "`step`", mistakes));
    fields.close(mistakes);
    Some(QuantityRounding::ToStep { direction: direction?, step: step? })
}

fn read_commitment(node: &Node, mistakes: &mut Mistakes) -> Option<Commitment> {
    let mut fields = Fields::open(node, "`commitment`", node.place, mistakes)?;
    let amount = fields.optional("amount").map(|node| number::above_zero(node, "`amount`", mistakes));
    let quantity = fields.optional("quantity").map(|node| number::above_zero(node, "`quantity`", mistakes));
    let true_up = fields.optional("true_up").map(|node| number::boolean(node, "`true_up`", mistakes));
    let overage_factor =
        fields.optional("overage_factor").map(|node| number::above_zero(node, "`overage_factor`", mistakes));
    let prorated = fields.optional("prorate").map(|node| number::boolean(node, "`prorate`", mistakes));
    fields.close(mistakes);
    let committed = match (amount, quantity) {
        (Some(amount), None) => CommittedUsage::Amount(amount?),
        (None, Some(quantity)) => CommittedUsage::Quantity(quantity?),
        _ => {
            mistakes
                .report(node.place, "`commitment` needs either `amount` or `quantity`")
                .hint("an amount of money, or a quantity that the price itself values");
            return None;
        }
    };
    Some(Commitment {
        committed,
        true_up: true_up.unwrap_or(Some(true))?,
        overage_factor: overage_factor.unwrap_or(Some(Decimal::ONE))?,
        prorated: prorated.unwrap_or(Some(true))?,
    })
}

fn read_discounts(node: &Node, mistakes: &mut Mistakes) -> Vec<Discount> {
    fields::list(node).iter().filter_map(|item| read_discount(item, mistakes)).collect()
}

fn read_discount(node: &Node, mistakes: &mut Mistakes) -> Option<Discount> {
    let mut fields = Fields::open(node, "a discount", node.place, mistakes)?;
    let percent = fields
        .optional("percent")
        .map(|node| number::percent(node, "`percent`", mistakes).map(Discount::Percent));
    let amount = fields
        .optional("amount")
        .map(|node| number::above_zero(node, "`amount`", mistakes).map(Discount::Amount));
    let maximum = fields
        .optional("maximum_spend")
        .map(|node| number::at_least_zero(node, "`maximum_spend`", mistakes).map(Discount::MaximumSpend));
    fields.close(mistakes);
    let mut given = [percent, amount, maximum].into_iter().flatten();
    if let (Some(discount), None) = (given.next(), given.next()) {
        return discount;
    }
    mistakes
        .report(node.place, "a discount is exactly one of `percent`, `amount`, `maximum_spend`")
        .hint("list several discounts one after the other");
    None
}

/// The exact factor from what a measure yields to what the price speaks of.
pub(super) fn conversion(measured: &Unit, priced: &Unit) -> UnitConversion {
    let divisor = greatest_common_divisor(measured.size, priced.size);
    // The largest unit is 2^50 bytes, far below a decimal's 2^96.
    let decimal = |size: u128| Decimal::from_i128_with_scale(size.cast_signed(), 0);
    UnitConversion {
        multiply_by: decimal(measured.size / divisor),
        divide_by: decimal(priced.size / divisor),
        unit: Some(priced.name.clone()),
    }
}

fn greatest_common_divisor(mut a: u128, mut b: u128) -> u128 {
    while b > 0 {
        (a, b) = (b, a % b);
    }
    a.max(1)
}
