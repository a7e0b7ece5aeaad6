//! Canonical JSON: one text for one value, whatever wrote it (DESIGN.md 3.10).
//!
//! Object names ascend by their bytes as written, nothing stands between tokens, and numbers are whole: amounts and
//! quantities are strings, and fractions are refused. The digest of an invoice is the BLAKE3 of this text.
//!
//! Every draft is written this way, so there is no tree in between: `serde_json` writes a compact text, and one pass
//! over it puts each object's fields in order.

use std::ops::Range;

use serde::Serialize;

/// The value cannot be written canonically.
#[derive(Debug, thiserror::Error)]
pub enum CanonicalError {
    #[error("not serializable")]
    NotSerializable(#[from] serde_json::Error),
    #[error("number {number} is not whole")]
    NotWhole { number: String },
    #[error("object has the name {name} twice")]
    NameTwice { name: String },
    #[error("compact text breaks off at byte {at}")]
    BrokenOff { at: usize },
}

pub fn canonical_json(value: &impl Serialize) -> Result<String, CanonicalError> {
    let compact = serde_json::to_string(value)?;
    let mut sorter = Sorter { compact: &compact, at: 0, text: String::with_capacity(compact.len()) };
    sorter.value()?;
    Ok(sorter.text)
}

/// BLAKE3 of a canonical text, in lower-case hexadecimal.
pub fn digest(canonical: &str) -> String {
    blake3::hash(canonical.as_bytes()).to_hex().to_string()
}

/// Reads compact JSON as `serde_json` writes it and copies it with sorted names.
struct Sorter<'a> {
    compact: &'a str,
    at: usize,
    text: String,
}

/// A field: its name with quotes, and where its value was written.
struct Field<'a> {
    name: &'a str,
    value: Range<usize>,
}

impl<'a> Sorter<'a> {
    fn value(&mut self) -> Result<(), CanonicalError> {
        match self.peek()? {
            b'{' => self.object(),
            b'[' => self.list(),
            b'"' => {
                let string = self.string()?;
                self.text.push_str(string);
                Ok(())
            }
            _ => self.scalar(),
        }
    }

    fn object(&mut self) -> Result<(), CanonicalError> {
        let start = self.text.len();
        let mut fields: Vec<Field> = Vec::new();
        self.at += 1;
        while self.peek()? != b'}' {
            self.at += usize::from(!fields.is_empty());
            let name = self.string()?;
            self.at += 1;
            let from = self.text.len();
            self.value()?;
            fields.push(Field { name, value: from..self.text.len() });
        }
        self.at += 1;
        fields.sort_unstable_by_key(|field| field.name);
        if let Some(pair) = fields.windows(2).find(|pair| pair[0].name == pair[1].name) {
            return Err(CanonicalError::NameTwice { name: pair[0].name.to_owned() });
        }
        let unsorted = self.text.split_off(start);
        self.text.push('{');
        for (position, field) in fields.iter().enumerate() {
            self.text.push_str(if position == 0 { "" } else { "," });
            self.text.push_str(field.name);
            self.text.push(':');
            self.text.push_str(&unsorted[field.value.start - start..field.value.end - start]);
        }
        self.text.push('}');
        Ok(())
    }

    fn list(&mut self) -> Result<(), CanonicalError> {
        self.text.push('[');
        self.at += 1;
        while self.peek()? != b']' {
            if self.peek()? == b',' {
                self.text.push(',');
                self.at += 1;
            }
            self.value()?;
        }
        self.text.push(']');
        self.at += 1;
        Ok(())
    }

    /// A string with its quotes, escapes untouched: `serde_json` writes the shortest.
    fn string(&mut self) -> Result<&'a str, CanonicalError> {
        let start = self.at;
        self.at += 1;
        loop {
            match self.peek()? {
                b'"' => break,
                b'\\' => self.at += 2,
                _ => self.at += 1,
            }
        }
        self.at += 1;
        Ok(&self.compact[start..self.at])
    }

    /// A number, `true`, `false` or `null`.
    fn scalar(&mut self) -> Result<(), CanonicalError> {
        let rest = &self.compact[self.at..];
        let length = rest.find([',', '}', ']']).unwrap_or(rest.len());
        let scalar = &rest[..length];
        let is_number = scalar.starts_with(|first: char| first == '-' || first.is_ascii_digit());
        if is_number && scalar.contains(['.', 'e', 'E']) {
            return Err(CanonicalError::NotWhole { number: scalar.to_owned() });
        }
        self.text.push_str(scalar);
        self.at += length;
        Ok(())
    }

    fn peek(&self) -> Result<u8, CanonicalError> {
        self.compact.as_bytes().get(self.at).copied().ok_or(CanonicalError::BrokenOff { at: self.at })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    fn canonical(json: &str) -> Result<String, CanonicalError> {
        canonical_json(&serde_json::from_str::<Value>(json).unwrap())
    }

    #[test]
    fn names_ascend_and_nothing_stands_between() {
        for (json, text) in [
            (
                r#" { "b" : [1, null, "ü\n"], "a" : {"z": true, "y": -3} } "#,
                r#"{"a":{"y":-3,"z":true},"b":[1,null,"ü\n"]}"#,
            ),
            (
                r#"{"b": {}, "a": [], "ab": [[], {"c": "}]"}], "": "\"\\"}"#,
                r#"{"":"\"\\","a":[],"ab":[[],{"c":"}]"}],"b":{}}"#,
            ),
            ("17", "17"),
            (r#""x""#, r#""x""#),
        ] {
            assert_eq!(canonical(json).unwrap(), text);
            assert_eq!(canonical(text).unwrap(), text);
        }
        assert_eq!(digest("x").len(), 64);
    }

    #[test]
    fn fractions_must_be_strings() {
        for json in ["[0.5]", r#"{"a": -1e3}"#] {
            assert!(matches!(canonical(json), Err(CanonicalError::NotWhole { .. })));
        }
        assert!(canonical(r#"["0.1"]"#).is_ok());
    }

    #[test]
    fn names_are_given_once() {
        #[derive(Serialize)]
        struct Twice {
            #[serde(rename = "same")]
            first: i32,
            #[serde(rename = "same")]
            second: i32,
        }
        let twice = Twice { first: 1, second: 2 };
        assert!(matches!(canonical_json(&twice), Err(CanonicalError::NameTwice { .. })));
    }
}
