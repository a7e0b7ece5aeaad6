//! JSON by `serde_json`, key by key, so that a key that stands twice shows.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::Ruled;
use crate::rejected::RejectReason;

pub(super) enum Scalar {
    Text(String),
    Null,
    Compound,
}

/// JSON's white space, which is not Unicode's.
pub(super) const SPACE: [char; 4] = [' ', '\t', '\n', '\r'];

/// What nests deeper is no longer JSON to us.
pub(super) const NESTING_MAX: usize = 96;

/// How deep the brackets of a text nest; what stands in strings does not count.
pub(super) fn nesting(json: &str) -> usize {
    let (mut depth, mut deepest, mut in_string, mut escaped) = (0usize, 0, false, false);
    for byte in json.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'[' | b'{' if !in_string => depth += 1,
            b']' | b'}' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    deepest
}

pub(super) fn is_json(text: &str) -> bool {
    serde_json::from_str::<&RawValue>(text).is_ok() && nesting(text) <= NESTING_MAX
}

/// A JSON text without the white space around it.
pub(super) fn json(text: &str) -> Ruled<String> {
    if is_json(text) { Ok(text.trim_matches(SPACE).to_owned()) } else { Err(RejectReason::InvalidJson) }
}

pub(super) fn object(json: String) -> Ruled<String> {
    if json.starts_with('{') { Ok(json) } else { Err(RejectReason::DataNotAnObject) }
}

/// The content of a string, or a number or boolean as it is written.
pub(super) fn scalar(json: &str) -> Ruled<Scalar> {
    Ok(match json.as_bytes()[0] {
        b'"' => Scalar::Text(serde_json::from_str(json).map_err(|_| RejectReason::InvalidJson)?),
        b'{' | b'[' => Scalar::Compound,
        b'n' => Scalar::Null,
        _ => Scalar::Text(json.to_owned()),
    })
}

pub(super) fn set_once(slot: &mut Option<String>, raw: String) -> Ruled<()> {
    if slot.replace(raw).is_some() { Err(RejectReason::DuplicateKey) } else { Ok(()) }
}

/// The keys of an object with their values as JSON, and whether the text is whole: of a damaged text the pairs
/// before the damage count first, as a reader from front to back meets them.
pub(super) fn pairs(text: &str) -> (Vec<(String, String)>, bool) {
    let mut pairs = Vec::new();
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let read = PairsInto(&mut pairs).deserialize(&mut deserializer).and_then(|()| deserializer.end());
    (pairs, read.is_ok())
}

struct PairsInto<'p>(&'p mut Vec<(String, String)>);

impl<'de> DeserializeSeed<'de> for PairsInto<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for PairsInto<'_> {
    type Value = ();

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("an object")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<(), M::Error> {
        while let Some(key) = map.next_key::<String>()? {
            let value = map.next_value::<Box<RawValue>>()?;
            if nesting(value.get()) >= NESTING_MAX {
                return Err(serde::de::Error::custom("nested too deep"));
            }
            self.0.push((key, value.get().to_owned()));
        }
        Ok(())
    }
}
