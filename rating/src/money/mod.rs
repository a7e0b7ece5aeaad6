//! Money: the currencies of ISO 4217, amounts, unit prices, and the named points where amounts are rounded.
//!
//! Owns how an amount is written and rounded. Does not own prices' meaning (`price`) or credits (`invoice`).
//! Keeps DESIGN.md 3.6: unit prices to 12 decimals, line rounding half away from zero unless told otherwise.

mod allocation;
mod currency;
mod rounding;
mod unit_price;

pub use allocation::allocate;
pub use currency::{Currency, UnknownCurrency};
pub use rounding::MoneyRounding;
pub use unit_price::{UNIT_PRICE_DECIMALS_MAX, UnitPrice, UnitPriceError};

/// An amount of money in the currency's major unit; which currency is said by the line or invoice that
/// carries it. Amounts before line rounding may have any number of decimals.
pub type Amount = rust_decimal::Decimal;
