//! Exact numbers as text: a decimal when it ends, else `numerator/denominator`. Both forms parse back.

use std::fmt;
use std::str::FromStr;

use num_bigint::BigInt;
use num_traits::{Signed, Zero};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::rounding::SmallDecimal;
use super::{Exact, Repr};

/// The text is not a decimal number or a ratio of two whole ones.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a decimal number or a ratio")]
pub struct NotANumber {
    pub text: String,
}

/// More digits than any quantity or price needs; the limit keeps hostile input from costing memory.
const DIGITS_MAX: usize = 4_096;

impl fmt::Display for Exact {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Repr::Small(whole, 1) = self.0 {
            return write!(out, "{whole}");
        }
        let (negative, digits, decimals) = match self.finite_small() {
            SmallDecimal::Finite(mantissa, decimals) => {
                (mantissa < 0, mantissa.unsigned_abs().to_string(), decimals)
            }
            SmallDecimal::Endless => {
                return write!(out, "{}/{}", self.numerator(), self.denominator());
            }
            SmallDecimal::TooWide => match self.finite() {
                Some((mantissa, decimals)) => (mantissa.is_negative(), mantissa.abs().to_string(), decimals),
                None => return write!(out, "{}/{}", self.numerator(), self.denominator()),
            },
        };
        let sign = if negative { "-" } else { "" };
        let width = decimals as usize + 1;
        let padded = if digits.len() < width { format!("{digits:0>width$}") } else { digits };
        let (whole, fraction) = padded.split_at(padded.len() - decimals as usize);
        match decimals {
            0 => write!(out, "{sign}{whole}"),
            _ => write!(out, "{sign}{whole}.{fraction}"),
        }
    }
}

impl fmt::Debug for Exact {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, out)
    }
}

impl FromStr for Exact {
    type Err = NotANumber;

    fn from_str(text: &str) -> Result<Exact, NotANumber> {
        let parsed = match text.split_once('/') {
            Some((above, below)) => parse_ratio(above, below),
            None => parse_decimal(text),
        };
        parsed.filter(|_| text.len() <= DIGITS_MAX).ok_or_else(|| NotANumber { text: text.to_owned() })
    }
}

fn parse_ratio(above: &str, below: &str) -> Option<Exact> {
    let above: BigInt = above.parse().ok()?;
    let below: BigInt = below.parse().ok()?;
    (!below.is_zero()).then(|| Exact::reduce_big(above, below))
}

fn parse_decimal(text: &str) -> Option<Exact> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let all_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    let empty_part = whole.is_empty() || (fraction.is_empty() && digits.contains('.'));
    if empty_part || !all_digits(whole) || !all_digits(fraction) || text.len() > DIGITS_MAX {
        return None;
    }
    let mantissa: BigInt = format!("{whole}{fraction}").parse().ok()?;
    let mantissa = if negative { -mantissa } else { mantissa };
    Some(Exact::reduce_big(mantissa, BigInt::from(10).pow(u32::try_from(fraction.len()).ok()?)))
}

impl Serialize for Exact {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Exact {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Exact, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_round_trips() {
        for (text, shown) in [
            ("0", "0"),
            ("-0.0", "0"),
            ("1.50", "1.5"),
            ("-0.001", "-0.001"),
            ("6/4", "1.5"),
            ("1/3", "1/3"),
            ("-2/6", "-1/3"),
            ("1/-3", "-1/3"),
            ("0007.100", "7.1"),
        ] {
            let value: Exact = text.parse().unwrap();
            assert_eq!(value.to_string(), shown);
            assert_eq!(shown.parse::<Exact>().unwrap(), value);
        }
    }

    #[test]
    fn other_text_is_refused() {
        for text in ["", "-", ".", "1.", ".5", "1e3", "+1", "1/0", "1/2/3", "NaN", " 1", "1_000", "--1"] {
            assert!(text.parse::<Exact>().is_err(), "{text:?}");
        }
    }
}
