//! The steps of a line in words, from its `PriceTrail`: each with its numbers, so that anybody can follow the arithmetic.

use rating::exact::{Exact, Rounding};
use rating::money::Currency;
use rating::price::{
    CommitmentApplied, Discount, DiscountTaken, Part, PriceTrail, QuantityRounding, RoundingDirection, Rule,
};

/// A step: its name and its arithmetic.
pub type Step = (String, String);

/// How many decimals people are shown; what has more says so by `…`.
const DECIMALS: u32 = 9;

/// A number for people: exact where it is short, else cut to a few decimals and marked.
pub fn number(value: &Exact) -> String {
    match value.round_to_decimals(Rounding::HalfEven, DECIMALS) {
        Ok(rounded) if Exact::from(rounded) == *value => rounded.normalize().to_string(),
        Ok(rounded) => format!("{}…", rounded.normalize()),
        Err(_) => value.to_string(),
    }
}

/// Every step from the metered quantity to the amount, in the order in which they were taken.
pub fn of_trail(trail: &PriceTrail, unit: &str, currency: Currency) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    let mut say = |name: &str, text: String| steps.push((name.to_owned(), text));
    let conversion = &trail.conversion;
    say("metered", format!("{} {unit}", number(&trail.metered)).trim_end().to_owned());
    if let Some(share) = trail.time_share.as_ref().filter(|share| **share != Exact::ONE) {
        say("share of the period", format!("× {share}"));
    }
    if conversion.unit != unit {
        let factor = match (&conversion.multiply_by, &conversion.divide_by) {
            (above, below) if *below == Exact::ONE => format!("× {above}"),
            (above, below) if *above == Exact::ONE => format!("/ {below}"),
            (above, below) => format!("× {above} / {below}"),
        };
        say("unit", format!("{factor} = {} {}", number(&conversion.converted), conversion.unit));
    }
    if let Some(drawn) = &trail.allowance {
        let granted = number(&drawn.granted);
        let text = match &drawn.pool {
            Some(pool) => {
                let left = number(&drawn.available);
                format!("- {} of pool {pool} ({granted} granted, {left} left)", number(&drawn.drawn))
            }
            None if drawn.available != drawn.granted => {
                let left = number(&drawn.available);
                format!("- {} of {granted} included in the period ({left} left)", number(&drawn.drawn))
            }
            None => format!("- {} of {granted} included", number(&drawn.drawn)),
        };
        say("allowance", text);
    }
    if let Some(rounded) = &trail.rounding {
        let rule = rounding_rule(&rounded.rule);
        let weight = weighed(rounded.weight.as_ref());
        say("rounded", format!("{} {rule}{weight} = {}", number(&rounded.before), number(&rounded.after)));
    }
    for part in &trail.parts {
        let (name, text) = of_part(part);
        say(&name, text);
    }
    if trail.parts.len() > 1 {
        say("price", number(&trail.model_amount));
    }
    if let Some(commitment) = &trail.commitment {
        say("commitment", of_commitment(commitment));
    }
    for taken in &trail.discounts {
        say("discount", of_discount(taken));
    }
    let rounding = &trail.line_rounding;
    say("amount", format!("{} rounded to {} {currency}", number(&rounding.before), rounding.amount));
    steps
}

fn of_commitment(step: &CommitmentApplied) -> String {
    let before = if step.used_before.is_zero() {
        String::new()
    } else {
        format!(" in the period, {} used before", number(&step.used_before))
    };
    let short = if step.goes_on {
        " (what is short is asked with the last line of the period)".to_owned()
    } else {
        format!(" + {} short", number(&step.true_up))
    };
    format!(
        "{} committed{before}: {} within + {} beyond{short} = {}",
        number(&step.committed),
        number(&step.within),
        number(&step.overage),
        number(&step.amount)
    )
}

fn of_discount(step: &DiscountTaken) -> String {
    let rule = match &step.discount {
        Discount::Percent(percent) => format!("{} %", percent.normalize()),
        Discount::Amount(amount) => format!("{} off", amount.normalize()),
        Discount::MaximumSpend(maximum) => format!("at most {} in the period", maximum.normalize()),
    };
    let share = step.share.as_ref().map(|share| format!(" for {share} of the period")).unwrap_or_default();
    format!("{rule}{share}: {} - {}", number(&step.before), number(&step.taken))
}

/// Bounds and sizes of a level count for the share of the period that its quantity was weighed by.
fn weighed(weight: Option<&Exact>) -> String {
    weight.map(|weight| format!(" × {weight} of the period")).unwrap_or_default()
}

fn rounding_rule(rule: &QuantityRounding) -> String {
    match rule {
        QuantityRounding::None => "as it is".to_owned(),
        QuantityRounding::ToStep { direction, step } => {
            let direction = match direction {
                RoundingDirection::Up => "up",
                RoundingDirection::Down => "down",
                RoundingDirection::Nearest => "to the nearest",
            };
            format!("{direction}, in steps of {}", step.normalize())
        }
    }
}

fn of_part(part: &Part) -> Step {
    let product = || {
        let fee = if part.fee.is_zero() { String::new() } else { format!(" + {} fee", number(&part.fee)) };
        let (quantity, price, amount) =
            (number(&part.quantity), number(&part.unit_price), number(&part.amount));
        format!("{quantity} × {price}{fee} = {amount}")
    };
    match &part.rule {
        Rule::Flat { share } if *share == Exact::ONE => ("flat".to_owned(), number(&part.amount)),
        Rule::Flat { share } => {
            ("flat".to_owned(), format!("for {share} of the period = {}", number(&part.amount)))
        }
        Rule::Units => ("units".to_owned(), product()),
        Rule::Packages { size, weight } => {
            (format!("packages of {size}{}", weighed(weight.as_ref())), product())
        }
        Rule::Tier { .. } => (tier(&part.rule), product()),
        Rule::FreeTransactions => ("free".to_owned(), number(&part.quantity)),
        Rule::Cell { values } => ("cell".to_owned(), values.join(" × ")),
        Rule::OtherCells { values } => ("cell".to_owned(), format!("all others, for {}", values.join(" × "))),
        Rule::Rate => ("rate".to_owned(), product()),
        Rule::TransactionFees => ("fees".to_owned(), product()),
        Rule::TransactionLimits => ("limits per transaction".to_owned(), number(&part.amount)),
    }
}

fn tier(rule: &Rule) -> String {
    let Rule::Tier { number: tier, up_to, block_size, maximum, weight, billed_before } = rule else {
        return String::new();
    };
    let weight = weighed(weight.as_ref());
    let bound = up_to.as_ref().map_or(" and up".to_owned(), |up_to| format!(", up to {up_to}{weight}"));
    let blocks = block_size.as_ref().map(|size| format!(", in blocks of {size}{weight}")).unwrap_or_default();
    let before = billed_before.as_ref().map(|before| format!(" with {} before", number(before)));
    let capped = maximum.as_ref().map(|maximum| format!(", at most {maximum}{weight}")).unwrap_or_default();
    format!("tier {tier}{bound}{blocks}{capped}{}", before.unwrap_or_default())
}

/// Steps with their names aligned.
pub fn aligned(steps: &[Step], indent: &str) -> String {
    let width = steps.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
    let line = |(name, text): &Step| {
        let padding = " ".repeat(width - name.chars().count());
        format!("{indent}{name}{padding}  {text}\n")
    };
    steps.iter().map(line).collect()
}
