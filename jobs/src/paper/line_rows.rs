//! One line of the invoice as rows: what was used, and below it how its amount came about.
//!
//! The steps are those of the line's trail, in the order of DESIGN.md 3.6. A step that changed nothing is not shown.

use rating::exact::Exact;
use rating::line::LineItem;
use rating::money::Currency;
use rating::price::{CommitmentApplied, Discount, DiscountTaken, Part, PriceTrail, Rule};
use serde::Serialize;

use super::input::{Correction, PaperInvoice};
use super::{amount_text, date_text, unit_text};

#[derive(Debug, Clone, Serialize)]
pub(super) struct LineRows {
    pub description: String,
    /// Dimensions and span, where the line has any of its own.
    pub about: Vec<String>,
    pub quantity: String,
    pub unit_price: String,
    pub amount: String,
    pub steps: Vec<Step>,
}

#[derive(Debug, Clone, Default, Serialize)]
pub(super) struct Step {
    pub label: String,
    pub quantity: String,
    pub unit_price: String,
    /// Before rounding to the minor unit; empty where the line's own amount says the same.
    pub amount: String,
}

pub(super) fn rows(paper: &PaperInvoice, index: usize, line: &LineItem) -> LineRows {
    let rows = Rows { trail: &line.trail, currency: line.currency };
    let mut steps = rows.quantity_steps(line);
    let billed = rows.money_steps(line.quantity.is_some(), steps.is_empty());
    let unit_price = match &billed {
        Billed::AtOnePrice(price) => price.clone(),
        Billed::InSteps(_) => String::new(),
    };
    if let Billed::InSteps(money) = billed {
        steps.extend(money);
    }
    let corrections = paper.corrections.iter().filter(|correction| correction.line == index);
    steps.extend(corrections.map(|correction| rows.correction(correction)));
    let quantity = match &line.quantity {
        Some(_) => rows.counted(&line.trail.conversion.converted),
        None => String::new(),
    };
    LineRows {
        description: line.description.clone(),
        about: about(paper, line),
        quantity,
        unit_price,
        amount: amount_text::amount(line.amount, line.currency),
        steps,
    }
}

fn about(paper: &PaperInvoice, line: &LineItem) -> Vec<String> {
    let dimensions = line.key.dimensions.iter().map(|(name, value)| format!("{name}: {value}"));
    let own_span = (line.key.span != paper.invoice.period.span)
        .then(|| date_text::span(&line.key.span, &paper.time_zone));
    dimensions.chain(own_span).collect()
}

/// Whether the line's own row can say its price, or steps must.
enum Billed {
    AtOnePrice(String),
    InSteps(Vec<Step>),
}

struct Rows<'a> {
    trail: &'a PriceTrail,
    currency: Currency,
}

impl Rows<'_> {
    fn counted(&self, quantity: &Exact) -> String {
        let unit = unit_text::unit(&self.trail.conversion.unit, quantity);
        let number = amount_text::quantity(quantity);
        if unit.is_empty() { number } else { format!("{number} {unit}") }
    }

    fn unit_price(&self, price: &Exact) -> String {
        amount_text::unit_price(price, self.currency)
    }

    fn money(&self, amount: &Exact) -> String {
        amount_text::unrounded(amount, self.currency)
    }

    /// From the measured to the billable quantity.
    fn quantity_steps(&self, line: &LineItem) -> Vec<Step> {
        let mut steps = Vec::new();
        if line.quantity.is_none() {
            return steps;
        }
        if let Some(share) = self.trail.time_share.as_ref().filter(|share| **share != Exact::ONE) {
            let label = format!("Weighed by its part of the period, {}", amount_text::percent_of(share));
            steps.push(Step { label, ..Step::default() });
        }
        if let Some(allowance) = &self.trail.allowance {
            let source = match &allowance.pool {
                None => "Included".to_owned(),
                Some(pool) => format!("Included in {pool}"),
            };
            let granted = self.counted(&allowance.granted);
            let drawn = amount_text::quantity(&allowance.drawn);
            let left = amount_text::quantity(&allowance.available);
            let label = if allowance.available != allowance.granted {
                format!("{source}: {drawn}, when {left} of {granted} were left")
            } else if allowance.drawn != allowance.granted {
                format!("{source}: {drawn} of {granted}")
            } else {
                source
            };
            steps.push(Step { label, quantity: self.counted(&-&allowance.drawn), ..Step::default() });
        }
        if let Some(rounding) = self.trail.rounding.as_ref().filter(|step| step.before != step.after) {
            let direction = if rounding.after > rounding.before { "up" } else { "down" };
            let share = for_a_share(rounding.weight.as_ref());
            let label = format!("Rounded {direction} from {}{share}", self.counted(&rounding.before));
            steps.push(Step { label, quantity: self.counted(&rounding.after), ..Step::default() });
        }
        steps
    }

    /// From the billable quantity to the amount.
    fn money_steps(&self, has_quantity: bool, quantity_is_plain: bool) -> Billed {
        let trail = self.trail;
        let is_adjusted = trail.commitment.is_some() || !trail.discounts.is_empty();
        let mut steps = Vec::new();
        // The cell that was chosen is named by the line's dimensions already.
        let is_shown = |part: &&Part| !matches!(part.rule, Rule::Cell { .. });
        let parts: Vec<&Part> = trail.parts.iter().filter(is_shown).collect();
        match parts.as_slice() {
            [part] if part.rule == Rule::Units && quantity_is_plain && has_quantity => {
                let price = self.unit_price(&part.unit_price);
                if !is_adjusted {
                    return Billed::AtOnePrice(price);
                }
                steps.push(self.part(part, None, true));
            }
            parts => {
                let mut tier_before = None;
                // One part alone costs what the line costs.
                let shows_amount = parts.len() > 1 || is_adjusted;
                for part in parts {
                    let is_whole = matches!(&part.rule, Rule::Flat { share } if *share == Exact::ONE);
                    if !is_whole || is_adjusted {
                        steps.push(self.part(part, tier_before, shows_amount));
                    }
                    if let Rule::Tier { up_to, .. } = &part.rule {
                        tier_before = up_to.as_ref();
                    }
                }
            }
        }
        steps.extend(trail.commitment.iter().flat_map(|commitment| self.commitment(commitment)));
        let taken = trail.discounts.iter().filter(|discount| !discount.taken.is_zero());
        steps.extend(taken.map(|discount| self.discount(discount)));
        Billed::InSteps(steps)
    }

    fn part(&self, part: &Part, tier_before: Option<&Exact>, shows_amount: bool) -> Step {
        let unit_price = self.unit_price(&part.unit_price);
        let is_note = matches!(part.rule, Rule::Cell { .. } | Rule::OtherCells { .. });
        let amount = if shows_amount && !is_note { self.money(&part.amount) } else { String::new() };
        let (label, quantity, unit_price) = match &part.rule {
            Rule::Flat { share } if *share == Exact::ONE => ("Fee".to_owned(), String::new(), String::new()),
            Rule::Flat { share } => {
                let label = format!("For {} of the period", amount_text::percent_of(share));
                (label, String::new(), String::new())
            }
            Rule::Units => ("Billed".to_owned(), self.counted(&part.quantity), unit_price),
            Rule::Packages { size, weight } => {
                let label = format!("Packages of {}{}", self.counted(size), for_a_share(weight.as_ref()));
                (label, amount_text::quantity(&part.quantity), unit_price)
            }
            Rule::Tier { .. } => (self.tier(part, tier_before), self.tier_quantity(part), unit_price),
            Rule::Cell { values } => {
                (format!("Price for {}", values.join(", ")), String::new(), String::new())
            }
            Rule::OtherCells { values } => {
                (format!("Price for all others ({})", values.join(", ")), String::new(), String::new())
            }
            Rule::FreeTransactions => ("Free".to_owned(), self.money(&part.quantity), String::new()),
            Rule::Rate => {
                let rate = amount_text::percent_of(&part.unit_price);
                (format!("{rate} of the amount"), self.money(&part.quantity), String::new())
            }
            Rule::TransactionFees => {
                ("Fee for each transaction".to_owned(), amount_text::quantity(&part.quantity), unit_price)
            }
            Rule::TransactionLimits => {
                ("Least and most for a transaction".to_owned(), String::new(), String::new())
            }
        };
        Step { label, quantity, unit_price, amount }
    }

    fn tier(&self, part: &Part, before: Option<&Exact>) -> String {
        let Rule::Tier { number, up_to, block_size, maximum, weight, billed_before } = &part.rule else {
            return String::new();
        };
        let tier = match (up_to, before) {
            (Some(up_to), _) => format!("Tier {number}, up to {}", self.counted(up_to)),
            (None, Some(before)) => format!("Tier {number}, above {}", self.counted(before)),
            (None, None) => format!("Tier {number}"),
        };
        let blocks = block_size.as_ref().map(|size| format!(", in blocks of {}", self.counted(size)));
        let fee = (!part.fee.is_zero()).then(|| format!(", plus a fee of {}", self.money(&part.fee)));
        let most = maximum.as_ref().map(|maximum| format!(", at most {}", self.money(maximum)));
        let taken = billed_before.as_ref().map(|before| format!(" with {} before", self.money(before)));
        let share = Some(for_a_share(weight.as_ref()));
        [Some(tier), blocks, fee, most, taken, share].into_iter().flatten().collect()
    }

    /// Blocks are counted as such: they are not the unit.
    fn tier_quantity(&self, part: &Part) -> String {
        match &part.rule {
            Rule::Tier { block_size: Some(_), .. } => {
                format!(
                    "{} {}",
                    amount_text::quantity(&part.quantity),
                    unit_text::unit("block", &part.quantity)
                )
            }
            _ => self.counted(&part.quantity),
        }
    }

    fn commitment(&self, commitment: &CommitmentApplied) -> Vec<Step> {
        let beyond = &self.trail.model_amount - &commitment.within;
        let surcharge = &commitment.overage - &beyond;
        let committed = self.money(&commitment.committed);
        let raised = |label: String, amount: &Exact| {
            (!amount.is_zero()).then(|| Step { label, amount: self.money(amount), ..Step::default() })
        };
        let missing = raised(format!("Up to the commitment of {committed}"), &commitment.true_up);
        let beyond = raised(format!("Beyond the commitment of {committed}"), &surcharge);
        missing.into_iter().chain(beyond).collect()
    }

    fn discount(&self, discount: &DiscountTaken) -> Step {
        let label = match &discount.discount {
            Discount::Percent(percent) => {
                format!("Discount of {} %", amount_text::quantity(&Exact::from(*percent)))
            }
            Discount::Amount(amount) => {
                format!(
                    "Discount of {}{}",
                    self.money(&Exact::from(*amount)),
                    for_a_share(discount.share.as_ref())
                )
            }
            Discount::MaximumSpend(maximum) => {
                format!("Never more than {}", self.money(&Exact::from(*maximum)))
            }
        };
        Step { label, amount: self.money(&-&discount.taken), ..Step::default() }
    }

    fn correction(&self, correction: &Correction) -> Step {
        let shown = |amount| amount_text::amount(amount, self.currency);
        let label = format!(
            "Corrects {}: was {}, is now {} ({})",
            correction.number,
            shown(correction.old),
            shown(correction.new),
            correction.cause
        );
        Step { label, ..Step::default() }
    }
}

/// What counts for a part of the period only.
fn for_a_share(share: Option<&Exact>) -> String {
    let percent = share.map(amount_text::percent_of);
    percent.map(|percent| format!(", for {percent} of the period")).unwrap_or_default()
}
