//! Decimals that clients send, read to the last digit.
//!
//! Owns the two ways in which PostgreSQL's protocol writes a NUMERIC, and which value of the engine it becomes: with the digits
//! after the point that it has, not those of the column beside it. Does not own how they are sent (`encode`).

use datafusion::arrow::datatypes::DataType;
use datafusion::common::ScalarValue;

use super::failure::Failure;

/// What a decimal of the engine holds.
const DIGITS_MAX: usize = 38;

/// A decimal number: the digits before the point and those after it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decimal {
    is_negative: bool,
    whole: String,
    fraction: String,
}

impl Decimal {
    /// As text, with an exponent or without.
    pub fn of_text(bytes: &[u8]) -> Result<Self, Failure> {
        let text = str::from_utf8(bytes).map_err(|_| invalid(bytes))?.trim();
        let (mantissa, exponent) = match text.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => (mantissa, exponent.parse::<i16>().map_err(|_| invalid(bytes))?),
            None => (text, 0),
        };
        let is_negative = mantissa.starts_with('-');
        let digits = mantissa.strip_prefix(['+', '-']).unwrap_or(mantissa);
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        let all_digits = format!("{whole}{fraction}");
        if all_digits.is_empty() || !all_digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(invalid(bytes));
        }
        let point = whole.len() as i64 + i64::from(exponent);
        Self::of_digits(is_negative, &all_digits, point)
    }

    /// In binary: groups of four digits, the first of which has a weight in powers of 10,000.
    pub fn of_binary(bytes: &[u8]) -> Result<Self, Failure> {
        let numbers: Vec<i16> =
            bytes.chunks_exact(2).map(|pair| i16::from_be_bytes([pair[0], pair[1]])).collect();
        let [count, weight, sign, scale, groups @ ..] = &numbers[..] else { return Err(invalid(bytes)) };
        let is_number = matches!(sign, 0 | 0x4000) && *scale >= 0;
        let are_digits = groups.iter().all(|group| (0..10_000).contains(group));
        if !is_number
            || !are_digits
            || usize::try_from(*count) != Ok(groups.len())
            || !bytes.len().is_multiple_of(2)
        {
            return Err(invalid(bytes));
        }
        let digits = groups.iter().map(|group| format!("{group:04}")).collect::<Vec<_>>().concat();
        Self::of_digits(*sign != 0, &digits, (i64::from(*weight) + 1) * 4)
    }

    /// Digits of which so many are before the point.
    fn of_digits(is_negative: bool, digits: &str, point: i64) -> Result<Self, Failure> {
        // Zeros at both ends say nothing.
        let leading = digits.len() - digits.trim_start_matches('0').len();
        let digits = digits.trim_matches('0');
        let point = if digits.is_empty() { 0 } else { point - leading as i64 };
        if point > DIGITS_MAX as i64 || digits.len() as i64 - point > DIGITS_MAX as i64 {
            return Err(too_long());
        }
        let before = usize::try_from(point).unwrap_or(0);
        let padded = format!("{digits:0<before$}");
        let (whole, fraction) = padded.split_at(before);
        let zeros = usize::try_from(-point).unwrap_or(0);
        let fraction = format!("{}{fraction}", "0".repeat(zeros));
        if whole.len() + fraction.len() > DIGITS_MAX {
            return Err(too_long());
        }
        Ok(Self { is_negative, whole: whole.to_owned(), fraction })
    }

    /// The value where a query wants this kind: whole numbers and floats where these are wanted and the number is one, else a
    /// decimal with all its digits.
    pub fn for_kind(&self, kind: Option<&DataType>) -> Result<ScalarValue, Failure> {
        let digits: i128 = format!("0{}{}", self.whole, self.fraction).parse().map_err(|_| too_long())?;
        let digits = if self.is_negative { -digits } else { digits };
        let scale = self.fraction.len();
        let precision = (self.whole.len() + scale).max(1);
        let exact = ScalarValue::Decimal128(Some(digits), precision as u8, scale as i8);
        match kind {
            None => Ok(exact),
            Some(kind) if kind.is_decimal() => Ok(exact),
            Some(kind) if kind.is_integer() && scale == 0 => Ok(exact.cast_to(kind).unwrap_or(exact)),
            Some(kind) if kind.is_integer() => Ok(exact),
            Some(kind) if kind.is_floating() => Ok(exact.cast_to(kind)?),
            Some(kind) => Err(Failure::new(
                "42804",
                format!("a parameter is a number, and the query wants {kind} there"),
            )),
        }
    }
}

fn invalid(bytes: &[u8]) -> Failure {
    let text = String::from_utf8_lossy(bytes);
    Failure::new("22P02", format!("invalid input for type numeric: \"{}\"", text.escape_debug()))
}

fn too_long() -> Failure {
    Failure::new("22003", format!("a parameter has more than {DIGITS_MAX} digits"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Digits, precision and scale.
    type Value = (i128, u8, i8);

    fn value(number: &Decimal) -> Value {
        match number.for_kind(None).unwrap() {
            ScalarValue::Decimal128(Some(digits), precision, scale) => (digits, precision, scale),
            other => panic!("{other}"),
        }
    }

    fn binary(numbers: &[i16]) -> Vec<u8> {
        numbers.iter().flat_map(|number| number.to_be_bytes()).collect()
    }

    /// Each as text, as count of groups, weight, sign, scale and groups, and as digits, precision and scale; by hand.
    #[test]
    fn text_and_binary_are_read_alike() {
        let cases: [(&str, &[i16], Value); 9] = [
            ("0", &[0, 0, 0, 0], (0, 1, 0)),
            ("1", &[1, 0, 0, 0, 1], (1, 1, 0)),
            ("-1.50", &[2, 0, 0x4000, 2, 1, 5000], (-15, 2, 1)),
            ("1e4", &[1, 1, 0, 0, 1], (10_000, 5, 0)),
            ("123456.789", &[3, 1, 0, 3, 12, 3456, 7890], (123_456_789, 9, 3)),
            ("0.9999999999", &[3, -1, 0, 10, 9999, 9999, 9900], (9_999_999_999, 10, 10)),
            ("0.000000001", &[1, -3, 0, 9, 1000], (1, 9, 9)),
            ("1E+21", &[1, 5, 0, 0, 10], (1_000_000_000_000_000_000_000, 22, 0)),
            (
                "79228162514264337593543950336",
                &[8, 7, 0, 0, 7, 9228, 1625, 1426, 4337, 5935, 4395, 336],
                (1 << 96, 29, 0),
            ),
        ];
        for (text, groups, expected) in cases {
            assert_eq!(value(&Decimal::of_text(text.as_bytes()).unwrap()), expected, "{text}");
            assert_eq!(value(&Decimal::of_binary(&binary(groups)).unwrap()), expected, "{text}");
        }
        let longest = "9".repeat(38);
        assert_eq!(value(&Decimal::of_text(longest.as_bytes()).unwrap()).0.to_string(), longest);
    }

    #[test]
    fn what_is_no_number_or_too_long_is_refused() {
        for text in ["", "-", ".", "e5", "1e", "NaN", "Infinity", "1.2.3", "0x10"] {
            assert_eq!(Decimal::of_text(text.as_bytes()).unwrap_err().code, "22P02", "{text}");
        }
        for text in
            ["1e38", "1e-39", "1e30000", "1e-30000", &"9".repeat(39), &format!("{}.5", "9".repeat(38))]
        {
            assert_eq!(Decimal::of_text(text.as_bytes()).unwrap_err().code, "22003", "{text}");
        }
        let wrong: [&[i16]; 6] = [
            &[],
            &[1, 0, 0, 0],
            &[0, 0, 0xC000_u16 as i16, 0],
            &[1, 0, 0, 0, 10_000],
            &[1, 0, 0, 0, -1],
            &[1, 0, 5, 0, 1],
        ];
        for groups in wrong {
            assert_eq!(Decimal::of_binary(&binary(groups)).unwrap_err().code, "22P02", "{groups:?}");
        }
        assert_eq!(Decimal::of_binary(&binary(&[1, 30_000, 0, 0, 1])).unwrap_err().code, "22003");
    }

    #[test]
    fn whole_numbers_stay_such_where_the_query_wants_them() {
        let of = |text: &str, kind: &DataType| {
            Decimal::of_text(text.as_bytes()).unwrap().for_kind(Some(kind)).unwrap()
        };
        assert_eq!(of("12", &DataType::Int64), ScalarValue::Int64(Some(12)));
        assert_eq!(of("1e20", &DataType::Int64), ScalarValue::Decimal128(Some(10_i128.pow(20)), 21, 0));
        assert_eq!(of("1.5", &DataType::Int64), ScalarValue::Decimal128(Some(15), 2, 1));
        assert_eq!(of("1.5", &DataType::Float64), ScalarValue::Float64(Some(1.5)));
        assert!(Decimal::of_text(b"1").unwrap().for_kind(Some(&DataType::Utf8)).is_err());
    }
}
