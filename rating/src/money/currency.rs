//! Currencies of ISO 4217 with the number of digits of their minor unit.
//!
//! Owns the table; the number of minor digits decides where a line is rounded (DESIGN.md 3.6).

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// An ISO 4217 currency, for example `USD` with two minor digits or `JPY` with none.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Currency {
    code: &'static str,
    minor_digits: u32,
}

/// The code is not an active ISO 4217 currency.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown currency {code:?}: expected an ISO 4217 code such as USD")]
pub struct UnknownCurrency {
    pub code: String,
}

impl Currency {
    /// Finds a currency by its code; upper and lower case are the same.
    pub fn from_code(code: &str) -> Result<Currency, UnknownCurrency> {
        let groups: [(&[&'static str], u32); 4] =
            [(NO_MINOR_UNIT, 0), (TWO_MINOR_DIGITS, 2), (THREE_MINOR_DIGITS, 3), (FOUR_MINOR_DIGITS, 4)];
        for (codes, minor_digits) in groups {
            if let Some(code) = codes.iter().find(|known| known.eq_ignore_ascii_case(code)) {
                return Ok(Currency { code, minor_digits });
            }
        }
        Err(UnknownCurrency { code: code.to_owned() })
    }

    pub fn code(self) -> &'static str {
        self.code
    }

    /// Digits after the point of the smallest amount that can be paid.
    pub fn minor_digits(self) -> u32 {
        self.minor_digits
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.code)
    }
}

impl fmt::Debug for Currency {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.code)
    }
}

impl FromStr for Currency {
    type Err = UnknownCurrency;

    fn from_str(code: &str) -> Result<Currency, UnknownCurrency> {
        Currency::from_code(code)
    }
}

impl Serialize for Currency {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.code)
    }
}

impl<'de> Deserialize<'de> for Currency {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Currency, D::Error> {
        let code = String::deserialize(deserializer)?;
        Currency::from_code(&code).map_err(serde::de::Error::custom)
    }
}

const NO_MINOR_UNIT: &[&str] = &[
    "BIF", "CLP", "DJF", "GNF", "ISK", "JPY", "KMF", "KRW", "PYG", "RWF", "UGX", "UYI", "VND", "VUV", "XAF",
    "XOF", "XPF",
];

const THREE_MINOR_DIGITS: &[&str] = &["BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"];

const FOUR_MINOR_DIGITS: &[&str] = &["CLF", "UYW"];

const TWO_MINOR_DIGITS: &[&str] = &[
    "AED", "AFN", "ALL", "AMD", "AOA", "ARS", "AUD", "AWG", "AZN", "BAM", "BBD", "BDT", "BGN", "BMD", "BND",
    "BOB", "BOV", "BRL", "BSD", "BTN", "BWP", "BYN", "BZD", "CAD", "CDF", "CHE", "CHF", "CHW", "CNY", "COP",
    "COU", "CRC", "CUP", "CVE", "CZK", "DKK", "DOP", "DZD", "EGP", "ERN", "ETB", "EUR", "FJD", "FKP", "GBP",
    "GEL", "GHS", "GIP", "GMD", "GTQ", "GYD", "HKD", "HNL", "HTG", "HUF", "IDR", "ILS", "INR", "IRR", "JMD",
    "KES", "KGS", "KHR", "KPW", "KYD", "KZT", "LAK", "LBP", "LKR", "LRD", "LSL", "MAD", "MDL", "MGA", "MKD",
    "MMK", "MNT", "MOP", "MRU", "MUR", "MVR", "MWK", "MXN", "MXV", "MYR", "MZN", "NAD", "NGN", "NIO", "NOK",
    "NPR", "NZD", "PAB", "PEN", "PGK", "PHP", "PKR", "PLN", "QAR", "RON", "RSD", "RUB", "SAR", "SBD", "SCR",
    "SDG", "SEK", "SGD", "SHP", "SLE", "SOS", "SRD", "SSP", "STN", "SVC", "SYP", "SZL", "THB", "TJS", "TMT",
    "TOP", "TRY", "TTD", "TWD", "TZS", "UAH", "USD", "USN", "UYU", "UZS", "VED", "VES", "WST", "XCD", "XCG",
    "YER", "ZAR", "ZMW", "ZWG",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn minor_digits_follow_iso_4217() {
        for (code, digits) in
            [("USD", 2), ("eur", 2), ("JPY", 0), ("KWD", 3), ("CLF", 4), ("ISK", 0), ("MRU", 2)]
        {
            assert_eq!(Currency::from_code(code).unwrap().minor_digits(), digits, "{code}");
        }
    }

    #[test]
    fn unknown_codes_are_refused() {
        for code in ["", "US", "USDX", "XXX", "BTC"] {
            assert!(Currency::from_code(code).is_err(), "{code}");
        }
    }
}
