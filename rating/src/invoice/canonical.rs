//! Canonical JSON: one text for one value, whatever wrote it (DESIGN.md 3.10).
//!
//! Object keys ascend by their bytes, nothing stands between tokens, and numbers are whole: amounts and quantities are
//! strings. The digest of an invoice is the BLAKE3 of this text.

use std::fmt::Write;

use serde::Serialize;
use serde_json::Value;

/// The value cannot be written canonically.
#[derive(Debug, thiserror::Error)]
pub enum CanonicalError {
    #[error("not serializable")]
    NotSerializable(#[from] serde_json::Error),
    #[error("number {number} is not whole")]
    NotWhole { number: String },
}

pub fn canonical_json(value: &impl Serialize) -> Result<String, CanonicalError> {
    let mut text = String::with_capacity(1024);
    write_value(&serde_json::to_value(value)?, &mut text)?;
    Ok(text)
}

/// BLAKE3 of a canonical text, in lower-case hexadecimal.
pub fn digest(canonical: &str) -> String {
    blake3::hash(canonical.as_bytes()).to_hex().to_string()
}

fn write_value(value: &Value, text: &mut String) -> Result<(), CanonicalError> {
    match value {
        Value::Null => text.push_str("null"),
        Value::Bool(truth) => text.push_str(if *truth { "true" } else { "false" }),
        Value::Number(number) => {
            if !number.is_i64() && !number.is_u64() {
                return Err(CanonicalError::NotWhole { number: number.to_string() });
            }
            let _ = write!(text, "{number}");
        }
        Value::String(string) => text.push_str(&serde_json::to_string(string)?),
        Value::Array(items) => {
            text.push('[');
            for (position, item) in items.iter().enumerate() {
                text.push_str(if position == 0 { "" } else { "," });
                write_value(item, text)?;
            }
            text.push(']');
        }
        Value::Object(fields) => {
            // Sorted here and not by the map: another crate of the program may ask serde_json to keep insertion order.
            let mut sorted: Vec<_> = fields.iter().collect();
            sorted.sort_unstable_by_key(|field| field.0);
            text.push('{');
            for (position, (name, field)) in sorted.into_iter().enumerate() {
                text.push_str(if position == 0 { "" } else { "," });
                text.push_str(&serde_json::to_string(name)?);
                text.push(':');
                write_value(field, text)?;
            }
            text.push('}');
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_ascend_and_nothing_stands_between() {
        let value: Value =
            serde_json::from_str(r#" { "b" : [1, null, "ü\n"], "a" : {"z": true, "y": -3} } "#).unwrap();
        let text = canonical_json(&value).unwrap();
        assert_eq!(text, "{\"a\":{\"y\":-3,\"z\":true},\"b\":[1,null,\"ü\\n\"]}");
        assert_eq!(digest(&text).len(), 64);
    }

    #[test]
    fn fractions_must_be_strings() {
        let value: Value = serde_json::from_str("[0.1]").unwrap();
        assert!(matches!(canonical_json(&value), Err(CanonicalError::NotWhole { .. })));
    }
}
