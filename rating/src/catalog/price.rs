//! Prices: what is measured, in which unit, and what it costs.
//!
//! Owns: reading one price and checking it against its meter. Does not own: arithmetic (`crate::price`), nor when
//! a price is in force (`plan`, `in_force`). Keeps DESIGN.md 3.5-3.7: a measure belongs to a kind of meter, and
//! a gauge's price says whether it means the peak or the average.

use std::collections::BTreeMap;

use super::fields::{self, Fields};
use super::meter::{Meter, MeterKind};
use super::mistake::{Mistakes, Place};
use super::model::ModelSource;
use super::pool;
use super::stripe::{self, StripeSending, StripeSettings};
use super::terms::{self, ReadTerms};
use super::unit::{self, Measures, Unit};
use super::yaml::{Content, Entry, Node};
use crate::money::{Currency, MoneyRounding};
use crate::price::{
    Allowance, CommittedUsage, Pool, PriceModel, PriceTerms, QuantityRounding, UnitConversion,
};
use crate::quantity::Measure;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Price {
    pub key: String,
    /// As the invoice line shows it.
    pub description: String,
    /// The line of the file that `explain` names.
    pub place: Place,
    pub source: ModelSource,
    /// What the price is multiplied with; none for base fees and one-off charges.
    pub usage: Option<PricedUsage>,
    /// Charged once at the start of the subscription instead of every period.
    pub once: bool,
    /// How it reaches Stripe; none does not.
    pub stripe: Option<StripeSending>,
    pub terms: PriceTerms,
}

/// The quantity that a price reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PricedUsage {
    pub meter: String,
    pub measure: Measure,
    /// Only usage whose dimensions have one of these values; dimensions not named here may have any.
    pub only: BTreeMap<String, Vec<String>>,
    /// A line of its own for each value of these dimensions. Otherwise usage is added up over all of them (but a
    /// matrix always looks at its own).
    pub split_by: Vec<String>,
    /// In what the measure counts.
    pub measured_unit: Unit,
    /// In what the price counts.
    pub unit: Unit,
}

/// What a price may refer to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Context<'c> {
    pub meters: &'c [Meter],
    /// Names of all meters in the file, also of those with mistakes of their own.
    pub declared: &'c [String],
    pub line_rounding: MoneyRounding,
    pub currency: Option<Currency>,
    /// Whether the file has a currency at its top, be it a wrong one.
    pub names_currency: bool,
    /// What prices say to Stripe unless they say otherwise; none where nothing is ever sent.
    pub stripe: Option<&'c StripeSettings>,
}

pub(super) fn read(
    entry: &Entry,
    what: &str,
    pools: &[Pool],
    context: Context<'_>,
    mistakes: &mut Mistakes,
) -> Option<Price> {
    let what = format!("{what} `{}`", entry.key);
    fields::check_name(&entry.key, &what, entry.key_place, mistakes);
    let mut fields = Fields::open(&entry.value, what, entry.key_place, mistakes)?;
    let price = read_fields(&entry.key, &mut fields, pools, context, mistakes);
    fields.close(mistakes);
    price
}

/// Reads a price whose mapping may hold further keys, as that of an item does.
pub(super) fn read_fields(
    key: &str,
    fields: &mut Fields<'_>,
    pools: &[Pool],
    context: Context<'_>,
    mistakes: &mut Mistakes,
) -> Option<Price> {
    let description = fields.description(mistakes);
    let once = fields.optional("charge").and_then(|node| {
        let words = [("every_period", false), ("once", true)];
        Some((fields::word(node, "`charge`", &words, mistakes)?, node.place))
    });
    let has_meter = fields.optional("meter").is_some();
    let usage = read_usage(fields, context, mistakes);
    let sent = stripe::read_price(fields, context.stripe, usage.as_ref(), mistakes);
    let read = terms::read(fields, true, mistakes);
    stripe::check_figures(sent.as_ref(), usage.as_ref(), read.change.model.as_ref(), fields, mistakes);
    if !has_meter {
        check_without_usage(&read, &fields.what, mistakes);
    }
    if let Some((_, place)) = once.filter(|(once, _)| *once && has_meter) {
        mistakes.report(place, "`charge: once` belongs to a `flat` price without a meter");
    }
    if let Some(usage) = &usage {
        check_against_usage(&read, usage, context, mistakes);
        check_commitment(&read, None, usage, mistakes);
        check_percentage(&read, None, usage, mistakes);
    }
    if let Some(Allowance::Pool { pool }) = &read.change.allowance {
        let place = read.allowance_place.unwrap_or(fields.place);
        pool::check_reference(pool, usage.as_ref(), pools, place, mistakes);
    }
    if has_meter && usage.is_none() {
        return None; // Reported while reading the usage.
    }
    let once = once.is_some_and(|(once, _)| once);
    let ReadTerms { change, model_place, .. } = read;
    let mut model = change.model?;
    if let PriceModel::Flat(flat) = &mut model {
        flat.prorated &= !once;
    }
    Some(Price {
        key: key.to_owned(),
        description: description.unwrap_or(key).to_owned(),
        place: model_place.unwrap_or(fields.place),
        source: change.source,
        terms: PriceTerms {
            conversion: usage.as_ref().map_or_else(UnitConversion::none, |usage| {
                terms::conversion(&usage.measured_unit, &usage.unit)
            }),
            allowance: change.allowance,
            quantity_rounding: change.quantity_rounding.unwrap_or_default(),
            model,
            commitment: change.commitment,
            discounts: change.discounts.unwrap_or_default(),
            line_rounding: context.line_rounding,
        },
        usage,
        once,
        stripe: sent,
    })
}

/// Reads `meter`, `measure`, `unit`, `only` and `split_by`; a quota names its usage by the same keys.
pub(super) fn read_usage(
    fields: &mut Fields<'_>,
    context: Context<'_>,
    mistakes: &mut Mistakes,
) -> Option<PricedUsage> {
    let meter_node = fields.optional("meter");
    let measure_node = fields.optional("measure");
    let unit_node = fields.optional("unit");
    let only_node = fields.optional("only");
    let split_node = fields.optional("split_by");
    let Some(meter_node) = meter_node else {
        for (node, key) in
            [(measure_node, "measure"), (unit_node, "unit"), (only_node, "only"), (split_node, "split_by")]
        {
            if let Some(node) = node {
                mistakes.report(node.place, format!("`{key}` without a `meter`"));
            }
        }
        return None;
    };
    let meter = find_meter(meter_node, context, mistakes)?;
    let measure = read_measure(measure_node, meter, meter_node.place, &fields.what, mistakes);
    let only = only_node.map(|node| read_only(node, meter, mistakes)).unwrap_or_default();
    let split_by = split_node.map(|node| read_split(node, meter, mistakes)).unwrap_or_default();
    let measure = measure?;
    let measured_unit = measured_unit(meter, measure);
    let unit = match unit_node {
        Some(node) => read_price_unit(node, &measured_unit, measure, mistakes)?,
        None => measured_unit.clone(),
    };
    Some(PricedUsage { meter: meter.key.clone(), measure, only, split_by, measured_unit, unit })
}

fn find_meter<'c>(node: &Node, context: Context<'c>, mistakes: &mut Mistakes) -> Option<&'c Meter> {
    let written = fields::text(node, "`meter`", mistakes)?;
    let meter = context.meters.iter().find(|meter| meter.key == written);
    if meter.is_none() && !context.declared.iter().any(|key| key == written) {
        mistakes
            .report(node.place, format!("there is no meter `{written}`"))
            .hint("a price reads a meter that stands under `meters:`")
            .did_you_mean(written, context.declared.iter().map(String::as_str));
    }
    meter
}

fn read_measure(
    node: Option<&Node>,
    meter: &Meter,
    meter_place: Place,
    what: &str,
    mistakes: &mut Mistakes,
) -> Option<Measure> {
    let kind = meter.kind.name();
    let possible: Vec<(&str, Measure)> = Measure::ALL
        .into_iter()
        .filter(|measure| measure.kind().as_str() == kind)
        .map(|measure| (measure.as_str(), measure))
        .collect();
    let Some(node) = node else {
        return match meter.kind {
            MeterKind::Delta => Some(Measure::Sum),
            MeterKind::Cumulative => Some(Measure::Increase),
            MeterKind::Session { .. } => Some(Measure::SessionTime),
            MeterKind::Gauge { .. } | MeterKind::Unique => {
                let names =
                    possible.iter().map(|(name, _)| format!("`{name}`")).collect::<Vec<_>>().join(", ");
                mistakes
                    .report(meter_place, format!("{what} has no `measure`"))
                    .hint(format!("a {kind} meter can be measured in several ways, so say which: {names}"));
                None
            }
        };
    };
    let written = fields::text(node, "`measure`", mistakes)?;
    if let Ok(measure) = written.parse::<Measure>()
        && !possible.iter().any(|(_, other)| *other == measure)
    {
        let names = possible.iter().map(|(name, _)| format!("`{name}`")).collect::<Vec<_>>().join(", ");
        mistakes
            .report(
                node.place,
                format!(
                    "`{measure}` is a measure of a {} meter, but `{}` is a {kind} meter",
                    measure.kind(),
                    meter.key
                ),
            )
            .hint(format!("a {kind} meter can be measured by {names}"));
        return None;
    }
    fields::word(node, "`measure`", &possible, mistakes)
}

/// In what a measure of a meter counts.
pub(super) fn measured_unit(meter: &Meter, measure: Measure) -> Unit {
    let counted = |name: String| Unit { measures: Measures::Count(name.clone()), name, size: 1 };
    // `core_hour` is a unit of the table, of which other units of its family are multiples.
    let hours = |name: String| Unit::named(&name).unwrap_or_else(|| counted(name));
    match (measure, &meter.unit.measures) {
        (Measure::Count, _) => counted("event".to_owned()),
        (Measure::UnitHours, Measures::Data) => Unit {
            name: format!("{}_hour", meter.unit.name.to_lowercase()),
            measures: Measures::DataTime,
            size: meter.unit.size * 3600,
        },
        (Measure::UnitHours | Measure::ResourceHours, _) => hours(format!("{}_hour", meter.unit.name)),
        _ => meter.unit.clone(),
    }
}

fn read_price_unit(node: &Node, measured: &Unit, measure: Measure, mistakes: &mut Mistakes) -> Option<Unit> {
    let unit = unit::read(node, "`unit`", mistakes)?;
    if !unit.converts_to(measured) {
        mistakes
            .report(
                node.place,
                format!("the measure `{measure}` counts in `{measured}`, which does not convert to `{unit}`"),
            )
            .hint("GB is 1000^3 and GiB 1024^3 bytes; counted things convert into nothing else");
        return None;
    }
    Some(unit)
}

fn read_only(node: &Node, meter: &Meter, mistakes: &mut Mistakes) -> BTreeMap<String, Vec<String>> {
    let Content::Map(entries) = &node.content else {
        mistakes
            .report(
                node.place,
                format!("`only`: expected a mapping of dimensions to values, found {}", node.found()),
            )
            .hint("for example `only: { region: [eu, us] }`");
        return BTreeMap::new();
    };
    let mut only = BTreeMap::new();
    for entry in entries {
        check_dimension(&entry.key, meter, entry.key_place, mistakes);
        only.insert(entry.key.clone(), fields::texts(&entry.value, "`only`", mistakes));
    }
    only
}

fn read_split(node: &Node, meter: &Meter, mistakes: &mut Mistakes) -> Vec<String> {
    let dimensions = fields::texts(node, "`split_by`", mistakes);
    for dimension in &dimensions {
        check_dimension(dimension, meter, node.place, mistakes);
    }
    dimensions
}

fn check_dimension(dimension: &str, meter: &Meter, place: Place, mistakes: &mut Mistakes) {
    if !meter.dimensions.contains_key(dimension) {
        let known = meter.dimensions.keys().map(|key| format!("`{key}`")).collect::<Vec<_>>().join(", ");
        let hint = if known.is_empty() { "it has none".to_owned() } else { format!("it has {known}") };
        mistakes
            .report(place, format!("meter `{}` has no dimension `{dimension}`", meter.key))
            .hint(hint)
            .did_you_mean(dimension, meter.dimensions.keys().map(String::as_str));
    }
}

/// Checks of a price that reads no usage; also used for a tenant's override of one.
pub(super) fn check_without_usage(read: &ReadTerms, what: &str, mistakes: &mut Mistakes) {
    for (place, key) in [(read.allowance_place, "included"), (read.rounding_place, "round")] {
        if let Some(place) = place {
            mistakes.report(place, format!("`{key}` without a `meter`")).hint("a flat price has no quantity");
        }
    }
    if let (Some(model), Some(place)) = (&read.change.model, read.model_place)
        && !matches!(model, PriceModel::Flat(_))
    {
        mistakes
            .report(place, format!("{what} has no `meter`, so there is no usage to price"))
            .hint("add `meter:`, or make it a `flat` price");
    }
}

/// Checks that need the meter; also used for a tenant's override of a price.
pub(super) fn check_against_usage(
    read: &ReadTerms,
    usage: &PricedUsage,
    context: Context<'_>,
    mistakes: &mut Mistakes,
) {
    let (Some(model), Some(place)) = (&read.change.model, read.model_place) else {
        return;
    };
    match model {
        PriceModel::Flat(_) => {
            mistakes
                .report(place, "a `flat` price reads no usage, so it takes no `meter`")
                .hint("remove `meter`, or use `per_unit`");
        }
        PriceModel::Matrix(matrix) => {
            let Some(meter) = context.meters.iter().find(|meter| meter.key == usage.meter) else {
                return;
            };
            for (at, dimension) in matrix.dimensions.iter().enumerate() {
                check_dimension(dimension, meter, place, mistakes);
                if matrix.dimensions[..at].contains(dimension) {
                    mistakes.report(place, format!("the matrix names the dimension `{dimension}` twice"));
                }
            }
        }
        _ => {}
    }
}

/// A percentage with fees, limits or free transactions prices the single events of a sum and not their quantity: what
/// changes the quantity would be shown and not billed. `held` are the plan's terms where `read` is a tenant's override of
/// them.
pub(super) fn check_percentage(
    read: &ReadTerms,
    held: Option<&PriceTerms>,
    usage: &PricedUsage,
    mistakes: &mut Mistakes,
) {
    let own = &read.change;
    let Some(model) = own.model.as_ref().or(held.map(|terms| &terms.model)) else { return };
    let spoken_of = [read.model_place, read.allowance_place, read.rounding_place, read.commitment_place];
    let Some(place) = spoken_of.into_iter().flatten().next() else { return };
    let rounding = own.quantity_rounding.as_ref().or(held.map(|terms| &terms.quantity_rounding));
    let rounds = rounding.is_some_and(|rounding| *rounding != QuantityRounding::None);
    if rounds && (matches!(model, PriceModel::Percentage(_)) || model.needs_transactions()) {
        mistakes.report(
            read.rounding_place.unwrap_or(place),
            "a `percentage` price reads an amount of money, which is not rounded as a quantity",
        );
    }
    if !model.needs_transactions() {
        return;
    }
    let what = "a `percentage` with fees, limits or free transactions prices single events";
    if usage.measure != Measure::Sum {
        mistakes
            .report(place, format!("{what}, and the measure `{}` has none", usage.measure))
            .hint("measure a `delta` meter by `sum`, or let a rate alone price the quantity");
    } else if usage.unit != usage.measured_unit {
        mistakes
            .report(place, format!("{what} as they are measured, in `{}`", usage.measured_unit))
            .hint(format!("leave `unit: {}` out", usage.unit));
    }
    if own.allowance.as_ref().or(held.and_then(|terms| terms.allowance.as_ref())).is_some() {
        mistakes
            .report(
                read.allowance_place.unwrap_or(place),
                format!("{what}, from which no quantity is `included`"),
            )
            .hint("write `free_amount` or `free_transactions` into the `percentage`");
    }
    let commitment = own.commitment.as_ref().or(held.and_then(|terms| terms.commitment.as_ref()));
    if commitment.is_some_and(|own| matches!(own.committed, CommittedUsage::Quantity(_))) {
        mistakes
            .report(
                read.commitment_place.unwrap_or(place),
                format!("{what}, so a committed `quantity` has no value"),
            )
            .hint("commit to an `amount`");
    }
}

/// A commitment is one promise: a price with a line for each value would ask for it on each of them, and on none where
/// nothing is used. `held` are the plan's terms where `read` is a tenant's override of them.
pub(super) fn check_commitment(
    read: &ReadTerms,
    held: Option<&PriceTerms>,
    usage: &PricedUsage,
    mistakes: &mut Mistakes,
) {
    let model = read.change.model.as_ref().or(held.map(|terms| &terms.model));
    let commitment = read.change.commitment.as_ref().or(held.and_then(|terms| terms.commitment.as_ref()));
    let has_many_lines = matches!(model, Some(PriceModel::Matrix(_))) || !usage.split_by.is_empty();
    if let (Some(_), true, Some(place)) =
        (commitment, has_many_lines, read.commitment_place.or(read.model_place))
    {
        mistakes
            .report(place, "a commitment on a price with a line for each value (`matrix`, `split_by`)")
            .hint(
                "which line would owe it? Commit to a flat fee, or to a price that adds up all of its usage",
            );
    }
}
