//! Decimal numbers of the catalog, read from their source text.
//!
//! Owns: what counts as a number. Keeps DESIGN.md 3.6: at most 12 decimals, and never a float in between.

use rust_decimal::Decimal;

use super::fields;
use super::mistake::{Mistakes, Place};
use super::yaml::{Content, Node};
use crate::money::{UNIT_PRICE_DECIMALS_MAX, UnitPrice};

pub(super) fn decimal(node: &Node, what: &str, mistakes: &mut Mistakes) -> Option<Decimal> {
    let written = match &node.content {
        Content::Text { text, .. } => text,
        Content::Alias => return None,
        _ => {
            mistakes.report(node.place, format!("{what}: expected a number, found {}", node.found()));
            return None;
        }
    };
    match exact(written) {
        Ok(number) => Some(number),
        Err(NotExact::Spelling) => {
            mistakes.report(node.place, format!("{what}: expected a number, found `{written}`")).hint(
                "write digits and at most one point, like `0.085`; no currency sign, exponent or separators",
            );
            None
        }
        Err(NotExact::Digits(problem)) => {
            mistakes.report(node.place, format!("{what}: `{written}` has {problem} are allowed"));
            None
        }
    }
}

pub(super) fn at_least_zero(node: &Node, what: &str, mistakes: &mut Mistakes) -> Option<Decimal> {
    let number = decimal(node, what, mistakes)?;
    if number.is_sign_negative() && !number.is_zero() {
        mistakes.report(node.place, format!("{what}: expected zero or more, found `{number}`"));
        return None;
    }
    Some(number)
}

pub(super) fn above_zero(node: &Node, what: &str, mistakes: &mut Mistakes) -> Option<Decimal> {
    let number = decimal(node, what, mistakes)?;
    if number <= Decimal::ZERO {
        mistakes.report(node.place, format!("{what}: expected more than zero, found `{number}`"));
        return None;
    }
    Some(number)
}

pub(super) fn unit_price(node: &Node, what: &str, mistakes: &mut Mistakes) -> Option<UnitPrice> {
    UnitPrice::new(decimal(node, what, mistakes)?).ok()
}

/// From zero to a hundred.
pub(super) fn percent(node: &Node, what: &str, mistakes: &mut Mistakes) -> Option<Decimal> {
    let number = at_least_zero(node, what, mistakes)?;
    if number > Decimal::ONE_HUNDRED {
        mistakes.report(node.place, format!("{what}: expected a percentage from 0 to 100, found `{number}`"));
        return None;
    }
    Some(number)
}

pub(super) fn whole(node: &Node, what: &str, mistakes: &mut Mistakes) -> Option<u64> {
    let written = fields::text(node, what, mistakes)?;
    let number = written.parse().ok();
    if number.is_none() {
        mistakes.report(node.place, format!("{what}: expected a whole number, found `{written}`"));
    }
    number
}

pub(super) fn boolean(node: &Node, what: &str, mistakes: &mut Mistakes) -> Option<bool> {
    fields::word(node, what, &[("true", true), ("false", false)], mistakes)
}

enum NotExact {
    Spelling,
    /// How many digits there are, and how many at most.
    Digits(String),
}

/// The number without trailing zeros, or what is wrong with it.
fn exact(written: &str) -> Result<Decimal, NotExact> {
    let unsigned = written.strip_prefix('-').unwrap_or(written);
    let (whole, fraction) = unsigned.split_once('.').unwrap_or((unsigned, "0"));
    let all_digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    if !all_digits(whole) || !all_digits(fraction) {
        return Err(NotExact::Spelling);
    }
    let fraction = fraction.trim_end_matches('0');
    let decimals = fraction.len();
    if decimals > UNIT_PRICE_DECIMALS_MAX as usize {
        return Err(NotExact::Digits(format!("{decimals} decimals, at most {UNIT_PRICE_DECIMALS_MAX}")));
    }
    let sign = if written.starts_with('-') { "-" } else { "" };
    let point = if fraction.is_empty() { "" } else { "." };
    Decimal::from_str_exact(&format!("{sign}{whole}{point}{fraction}"))
        .map(|number| number.normalize())
        .map_err(|_| NotExact::Digits("more than 28 digits, at most 28".to_owned()))
}

/// A place and the number there, for checks that need both.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Placed {
    pub number: Decimal,
    pub place: Place,
}
