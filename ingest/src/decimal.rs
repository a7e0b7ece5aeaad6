//! Exact decimal values out of text.
//!
//! A value is stored as an integer count of billionths (`Decimal(38, 9)`). No float is involved at
//! any point: what does not fit exactly is an error, unless the meter asks for rounding.

/// Digits after the decimal point that a stored value can carry.
pub const SCALE: u32 = sql::lake::VALUE_SCALE as u32;
/// Decimal digits that a stored value can carry in all.
const PRECISION: u32 = sql::lake::VALUE_PRECISION as u32;

/// Why a text is no usable value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DecimalError {
    NotANumber,
    OutOfRange,
    TooManyDecimals,
}

/// Reads a number in JSON's notation as billionths; leading zeros, which only a text can have, do no harm.
///
/// With `round`, decimals past the ninth round half away from zero; without, they are an error.
pub fn parse_decimal(text: &str, round: bool) -> Result<i128, DecimalError> {
    if let Some(billionths) = parse_short(text.as_bytes()) {
        return Ok(billionths);
    }
    let (negative, unsigned) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (mantissa, exponent) = match unsigned.find(['e', 'E']) {
        Some(at) => (&unsigned[..at], parse_exponent(&unsigned[at + 1..])?),
        None => (unsigned, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    if whole.is_empty() || (mantissa.len() > whole.len() && fraction.is_empty()) {
        return Err(DecimalError::NotANumber);
    }
    let digits = whole.bytes().chain(fraction.bytes());
    if !digits.clone().all(|byte| byte.is_ascii_digit()) {
        return Err(DecimalError::NotANumber);
    }
    // The decimal point stands this many digits behind the first digit of the scaled integer.
    let kept = whole.len() as i64 + exponent + i64::from(SCALE);
    let magnitude = scaled_integer(digits, kept, round)?;
    Ok(if negative { -magnitude } else { magnitude })
}

/// Reads what most values look like, in machine words: few digits, at most nine of them decimals, no exponent.
/// None says nothing about the text.
fn parse_short(text: &[u8]) -> Option<i128> {
    let (negative, text) = match text {
        [b'-', rest @ ..] => (true, rest),
        text => (false, text),
    };
    // Eighteen digits fit into a word.
    if text.is_empty() || text.len() > 18 {
        return None;
    }
    let (mut integer, mut point) = (0i64, None);
    for (at, byte) in text.iter().enumerate() {
        match byte {
            b'0'..=b'9' => integer = integer * 10 + i64::from(byte - b'0'),
            b'.' if point.is_none() && at > 0 => point = Some(at),
            _ => return None,
        }
    }
    let decimals = point.map_or(0, |point| text.len() - point - 1);
    if (point.is_some() && decimals == 0) || decimals > SCALE as usize {
        return None;
    }
    let billionths = i128::from(integer) * i128::from(10i64.pow(SCALE - decimals as u32));
    Some(if negative { -billionths } else { billionths })
}

fn parse_exponent(text: &str) -> Result<i64, DecimalError> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(DecimalError::NotANumber);
    }
    // Past this bound every exponent means the same: far too large, or nothing but decimals.
    let magnitude = digits.bytes().try_fold(0i64, |sum, byte| {
        Some(sum * 10 + i64::from(byte - b'0')).filter(|sum| *sum < 1_000_000_000)
    });
    let magnitude = magnitude.unwrap_or(1_000_000_000);
    Ok(if text.starts_with('-') { -magnitude } else { magnitude })
}

/// The integer made of the first `kept` digits, padded with zeros; what is cut off must be zero or be rounded.
fn scaled_integer(digits: impl Iterator<Item = u8>, kept: i64, round: bool) -> Result<i128, DecimalError> {
    const LIMIT: i128 = 10i128.pow(PRECISION);
    // One more digit would pass the limit, and for some digits `i128` itself: check before, not after.
    let has_room = |integer: i128| if integer < LIMIT / 10 { Ok(()) } else { Err(DecimalError::OutOfRange) };
    let mut integer = 0i128;
    let mut position = 0i64;
    for digit in digits.map(|byte| i128::from(byte - b'0')) {
        if position < kept {
            has_room(integer)?;
            integer = integer * 10 + digit;
        } else if round {
            if position == kept {
                integer += i128::from(digit >= 5);
            }
        } else if digit != 0 {
            return Err(DecimalError::TooManyDecimals);
        }
        position += 1;
    }
    while position < kept && integer != 0 {
        has_room(integer)?;
        integer *= 10;
        position += 1;
    }
    if integer >= LIMIT { Err(DecimalError::OutOfRange) } else { Ok(integer) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn texts_become_billionths_exactly() {
        for (text, expected) in [
            ("0", Ok(0)),
            ("-0", Ok(0)),
            ("12", Ok(12_000_000_000)),
            ("-1.5", Ok(-1_500_000_000)),
            ("0.000000001", Ok(1)),
            ("1e3", Ok(1_000_000_000_000)),
            ("1E-9", Ok(1)),
            ("12.30e-1", Ok(1_230_000_000)),
            ("9223372036854775807", Ok(9_223_372_036_854_775_807_000_000_000)),
            ("99999999999999999999999999999.999999999", Ok(10i128.pow(38) - 1)),
            ("0e999999999999999999999", Ok(0)),
            ("100000000000000000000000000000", Err(DecimalError::OutOfRange)),
            // Thirty-eight nines and one more digit: ten times this is more than `i128` holds.
            ("99999999999999999999999999999999999999", Err(DecimalError::OutOfRange)),
            ("340282366920938463463374607431.768211456", Err(DecimalError::OutOfRange)),
            ("1e400", Err(DecimalError::OutOfRange)),
            ("1e99999999999999999999", Err(DecimalError::OutOfRange)),
            ("0.0000000001", Err(DecimalError::TooManyDecimals)),
            ("0.30000000000000004", Err(DecimalError::TooManyDecimals)),
            ("1e-400", Err(DecimalError::TooManyDecimals)),
            ("1.0000000000000000", Ok(1_000_000_000)),
            ("", Err(DecimalError::NotANumber)),
            ("NaN", Err(DecimalError::NotANumber)),
            ("1.", Err(DecimalError::NotANumber)),
            (".5", Err(DecimalError::NotANumber)),
            ("1e", Err(DecimalError::NotANumber)),
            ("+1", Err(DecimalError::NotANumber)),
            ("1_000", Err(DecimalError::NotANumber)),
            ("--1", Err(DecimalError::NotANumber)),
        ] {
            assert_eq!(parse_decimal(text, false), expected, "{text}");
        }
    }

    #[test]
    fn rounding_is_half_away_from_zero_and_only_on_request() {
        for (text, expected) in [
            ("0.30000000000000004", 300_000_000),
            ("0.0000000005", 1),
            ("-0.0000000005", -1),
            ("0.00000000049999", 0),
            ("5e-10", 1),
            ("5e-11", 0),
        ] {
            assert_eq!(parse_decimal(text, true), Ok(expected), "{text}");
        }
    }

    proptest! {
        #[test]
        fn the_short_way_says_what_the_long_way_does(text in "-?[0-9]{0,12}(\\.[0-9]{0,11})?[-.e0-9]{0,1}") {
            if let Some(short) = parse_short(text.as_bytes()) {
                // An exponent of nothing is only read the long way.
                prop_assert_eq!(parse_decimal(&format!("{text}e0"), false), Ok(short), "{}", text);
            }
        }

        #[test]
        fn every_storable_value_survives_its_text(nanos in -(10i128.pow(38) - 1)..10i128.pow(38)) {
            let (whole, fraction) = (nanos.unsigned_abs() / 1_000_000_000, nanos.unsigned_abs() % 1_000_000_000);
            let sign = if nanos < 0 { "-" } else { "" };
            prop_assert_eq!(parse_decimal(&format!("{sign}{whole}.{fraction:09}"), false), Ok(nanos));
            prop_assert_eq!(parse_decimal(&format!("{nanos}e-9"), false), Ok(nanos));
        }

        #[test]
        fn no_text_panics(text in "[-+0-9.eE]{0,40}", round in any::<bool>()) {
            let _ = parse_decimal(&text, round);
        }
    }
}
