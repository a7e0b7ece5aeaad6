//! Amounts and quantities as people read them: grouped digits, a real minus sign, and `≈` where digits were left out.

use rating::exact::{Exact, Rounding};
use rating::money::{Amount, Currency};

const MINUS: char = '\u{2212}';
/// More decimals than this only make a quantity hard to read; the CSV and JSON files have them all.
const DECIMALS_MAX: u32 = 6;
/// A unit price has at most so many, and each counts.
const UNIT_PRICE_DECIMALS_MAX: u32 = 12;

/// `1,234.50`: with exactly the currency's minor digits.
pub(super) fn amount(amount: Amount, currency: Currency) -> String {
    exact_amount(&Exact::from(amount), currency, currency.minor_digits())
}

/// An amount before rounding: at least the minor digits, and up to six decimals.
pub(super) fn unrounded(amount: &Exact, currency: Currency) -> String {
    exact_amount(amount, currency, DECIMALS_MAX)
}

/// The price of one unit: at least the minor digits, and up to twelve decimals.
pub(super) fn unit_price(price: &Exact, currency: Currency) -> String {
    exact_amount(price, currency, UNIT_PRICE_DECIMALS_MAX)
}

fn exact_amount(amount: &Exact, currency: Currency, decimals_max: u32) -> String {
    shown(amount, currency.minor_digits(), decimals_max.max(currency.minor_digits()))
}

/// `1,234.5`: as many decimals as there are, up to six.
pub(super) fn quantity(quantity: &Exact) -> String {
    shown(quantity, 0, DECIMALS_MAX)
}

/// `48.39 %` of a share between 0 and 1.
pub(super) fn percent_of(share: &Exact) -> String {
    format!("{} %", shown(&(share * &Exact::from(100_i64)), 0, 2))
}

fn shown(number: &Exact, decimals_min: u32, decimals_max: u32) -> String {
    let scale = Exact::from(10_i64.pow(decimals_max));
    let scaled = (number * &scale).round(Rounding::HalfEven);
    let is_cut = scaled != number * &scale;
    let is_negative = scaled.is_negative();
    let digits = scaled.abs().to_string();
    let width = decimals_max as usize + 1;
    let digits = format!("{digits:0>width$}");
    let (whole, decimals) = digits.split_at(digits.len() - decimals_max as usize);
    let mut decimals = decimals.to_owned();
    while decimals.len() > decimals_min as usize && decimals.ends_with('0') {
        decimals.pop();
    }
    let mut text = String::with_capacity(digits.len() + 8);
    if is_cut {
        text.push_str("≈ ");
    }
    if is_negative {
        text.push(MINUS);
    }
    for (position, digit) in whole.chars().enumerate() {
        if position > 0 && (whole.len() - position).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    if !decimals.is_empty() {
        text.push('.');
        text.push_str(&decimals);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_have_their_currencys_digits() {
        for (written, code, expected) in [
            ("1234567.5", "EUR", "1,234,567.50"),
            ("-0.05", "USD", "−0.05"),
            ("0", "JPY", "0"),
            ("1234", "JPY", "1,234"),
            ("1", "KWD", "1.000"),
            ("-1234.567", "KWD", "−1,234.567"),
            ("0.0001", "CLF", "0.0001"),
            ("999", "EUR", "999.00"),
            ("79228162514264337593543950335", "JPY", "79,228,162,514,264,337,593,543,950,335"),
        ] {
            let currency = Currency::from_code(code).unwrap();
            assert_eq!(amount(written.parse().unwrap(), currency), expected, "{written} {code}");
        }
    }

    #[test]
    fn what_is_left_out_is_marked() {
        let euro = Currency::from_code("EUR").unwrap();
        let yen = Currency::from_code("JPY").unwrap();
        let exact = |text: &str| text.parse::<Exact>().unwrap();
        assert_eq!(quantity(&exact("12.5")), "12.5");
        assert_eq!(quantity(&exact("1000000")), "1,000,000");
        assert_eq!(quantity(&exact("1/3")), "≈ 0.333333");
        assert_eq!(quantity(&exact("-2/3")), "≈ −0.666667");
        assert_eq!(quantity(&exact("1/10000000")), "≈ 0");
        assert_eq!(unrounded(&exact("1.5"), euro), "1.50");
        assert_eq!(unrounded(&exact("1.2345678"), euro), "≈ 1.234568");
        assert_eq!(unit_price(&exact("0.000000000001"), euro), "0.000000000001");
        assert_eq!(unit_price(&exact("0.1"), euro), "0.10");
        assert_eq!(unit_price(&exact("2"), yen), "2");
        assert_eq!(percent_of(&exact("15/31")), "≈ 48.39 %");
        assert_eq!(percent_of(&exact("0.5")), "50 %");
    }
}
