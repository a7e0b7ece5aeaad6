//! How a line is rounded to its currency's minor unit: the last step that may change an amount (DESIGN.md 3.6).

use serde::{Deserialize, Serialize};

use super::{Amount, Currency};
use crate::exact::{Exact, NotADecimal, Rounding};

/// The rule at an exact half of the minor unit; anything else goes to the nearest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MoneyRounding {
    /// 0.005 becomes 0.01 and -0.005 becomes -0.01. The default.
    #[default]
    HalfAwayFromZero,
    /// 0.005 becomes 0.00 and 0.015 becomes 0.02.
    HalfEven,
}

impl From<MoneyRounding> for Rounding {
    fn from(rule: MoneyRounding) -> Rounding {
        match rule {
            MoneyRounding::HalfAwayFromZero => Rounding::HalfAwayFromZero,
            MoneyRounding::HalfEven => Rounding::HalfEven,
        }
    }
}

impl Currency {
    /// The amount in whole minor units of this currency, with all their digits written out: `3.00`.
    pub fn round(self, amount: &Exact, rule: MoneyRounding) -> Result<Amount, NotADecimal> {
        amount.round_to_decimals(rule.into(), self.minor_digits())
    }
}
