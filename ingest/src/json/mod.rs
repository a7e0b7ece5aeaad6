//! A strict JSON scanner that hands out slices of its input.
//!
//! Decoding needs three things that general parsers do not give together: the exact text of numbers
//! (quantities are decimals, never floats), the untouched text of a nested object (the event's `data`
//! is kept as it came), and a bounded depth (a message of ten million `[` must be a reject and not a
//! stack overflow). Its oracle is `serde_json`: the tests hold both against each other.

mod text;

use std::borrow::Cow;

pub use text::push_json_string;
use text::{plain_length, unescape};

/// Objects and arrays may nest this deep; what is deeper is refused.
pub const DEPTH_MAX: u32 = 96;

/// Why a text is not JSON, and at which byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{problem} at byte {at}")]
pub struct JsonError {
    pub problem: &'static str,
    pub at: usize,
}

/// What kind of value a slice holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Object,
    Array,
    String,
    Number,
    Boolean,
    Null,
}

/// One value: its kind and its text, quotes and brackets included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Value<'a> {
    pub kind: Kind,
    pub text: &'a str,
    /// Whether a string holds a backslash, so that its text is not yet its content.
    escaped: bool,
}

impl<'a> Value<'a> {
    /// The content of a string, or the text of a number or boolean; none for the rest.
    #[inline]
    pub fn scalar(&self) -> Option<Result<Cow<'a, str>, JsonError>> {
        match self.kind {
            Kind::String => Some(self.string()),
            Kind::Number | Kind::Boolean => Some(Ok(Cow::Borrowed(self.text))),
            Kind::Object | Kind::Array | Kind::Null => None,
        }
    }

    /// The keys and values of an object; nothing of any other value.
    pub fn members(&self, each: impl FnMut(Value<'a>, Value<'a>)) -> Result<(), JsonError> {
        Scanner::new(self.text).value_and_members(each).map(drop)
    }

    /// The content of a string value.
    #[inline]
    fn string(&self) -> Result<Cow<'a, str>, JsonError> {
        let inner = &self.text[1..self.text.len() - 1];
        if self.escaped { unescape(inner).map(Cow::Owned) } else { Ok(Cow::Borrowed(inner)) }
    }
}

/// Reads one JSON text from front to back.
#[derive(Debug)]
pub struct Scanner<'a> {
    text: &'a str,
    bytes: &'a [u8],
    at: usize,
    depth: u32,
}

impl<'a> Scanner<'a> {
    pub fn new(text: &'a str) -> Self {
        Self { text, bytes: text.as_bytes(), at: 0, depth: 0 }
    }

    fn fail<T>(&self, problem: &'static str) -> Result<T, JsonError> {
        Err(JsonError { problem, at: self.at })
    }

    #[inline]
    fn skip_space(&mut self) {
        while let Some(b' ' | b'\n' | b'\t' | b'\r') = self.bytes.get(self.at) {
            self.at += 1;
        }
    }

    /// The next byte that is not white space, left unread.
    #[inline]
    pub fn peek(&mut self) -> Option<u8> {
        self.skip_space();
        self.bytes.get(self.at).copied()
    }

    /// Fails unless only white space is left.
    pub fn finish(mut self) -> Result<(), JsonError> {
        if self.peek().is_some() { self.fail("text after the end of the value") } else { Ok(()) }
    }

    /// Scans one value of any kind.
    #[inline]
    pub fn value(&mut self) -> Result<Value<'a>, JsonError> {
        let first = self.peek();
        let start = self.at;
        let mut escaped = false;
        let kind = match first {
            Some(b'"') => {
                escaped = self.skip_string()?;
                Kind::String
            }
            Some(b'-' | b'0'..=b'9') => {
                self.skip_number()?;
                Kind::Number
            }
            Some(b'{') => {
                self.object(|_, scanner| scanner.value().map(drop))?;
                Kind::Object
            }
            Some(b'[') => {
                self.array(|scanner| scanner.value().map(drop))?;
                Kind::Array
            }
            Some(b't') => self.literal("true", Kind::Boolean)?,
            Some(b'f') => self.literal("false", Kind::Boolean)?,
            Some(b'n') => self.literal("null", Kind::Null)?,
            Some(_) => return self.fail("expected a value"),
            None => return self.fail("the text ends where a value should be"),
        };
        Ok(Value { kind, text: &self.text[start..self.at], escaped })
    }

    /// Scans one value of any kind; if it is an object, `each` gets its keys and values.
    pub fn value_and_members(
        &mut self,
        mut each: impl FnMut(Value<'a>, Value<'a>),
    ) -> Result<Value<'a>, JsonError> {
        if self.peek() != Some(b'{') {
            return self.value();
        }
        let start = self.at;
        self.object(|key, scanner| {
            each(key, scanner.value()?);
            Ok::<(), JsonError>(())
        })?;
        Ok(Value { kind: Kind::Object, text: &self.text[start..self.at], escaped: false })
    }

    /// Walks an object; `each` gets a key and must consume its value.
    #[inline]
    pub fn object<E: From<JsonError>>(
        &mut self,
        mut each: impl FnMut(Value<'a>, &mut Self) -> Result<(), E>,
    ) -> Result<(), E> {
        if !self.open(b'{', b'}', "expected an object")? {
            return Ok(());
        }
        loop {
            if self.peek() != Some(b'"') {
                return Ok(self.fail("expected a key in double quotes")?);
            }
            let start = self.at;
            let escaped = self.skip_string()?;
            let key = Value { kind: Kind::String, text: &self.text[start..self.at], escaped };
            if self.peek() != Some(b':') {
                return Ok(self.fail("expected ':' after a key")?);
            }
            self.at += 1;
            each(key, self)?;
            if !self.more(b'}', "expected ',' or '}'")? {
                return Ok(());
            }
        }
    }

    /// Walks an array; `each` must consume one element.
    pub fn array<E: From<JsonError>>(
        &mut self,
        mut each: impl FnMut(&mut Self) -> Result<(), E>,
    ) -> Result<(), E> {
        if !self.open(b'[', b']', "expected an array")? {
            return Ok(());
        }
        loop {
            each(self)?;
            if !self.more(b']', "expected ',' or ']'")? {
                return Ok(());
            }
        }
    }

    /// Enters a container; false if it is empty, and then it is left again.
    #[inline]
    fn open(&mut self, opening: u8, closing: u8, expected: &'static str) -> Result<bool, JsonError> {
        if self.peek() != Some(opening) {
            return self.fail(expected);
        }
        if self.depth == DEPTH_MAX {
            return self.fail("nested too deep");
        }
        self.at += 1;
        if self.peek() == Some(closing) {
            self.at += 1;
            return Ok(false);
        }
        self.depth += 1;
        Ok(true)
    }

    /// After an element: true if another follows, false if the container ended.
    #[inline]
    fn more(&mut self, closing: u8, expected: &'static str) -> Result<bool, JsonError> {
        match self.peek() {
            Some(b',') => {
                self.at += 1;
                Ok(true)
            }
            Some(byte) if byte == closing => {
                self.at += 1;
                self.depth -= 1;
                Ok(false)
            }
            _ => self.fail(expected),
        }
    }

    fn literal(&mut self, word: &'static str, kind: Kind) -> Result<Kind, JsonError> {
        if self.bytes[self.at..].starts_with(word.as_bytes()) {
            self.at += word.len();
            Ok(kind)
        } else {
            self.fail("expected a value")
        }
    }

    /// Passes a string, whose opening quote is next; true if it holds a backslash.
    #[inline]
    fn skip_string(&mut self) -> Result<bool, JsonError> {
        self.at += 1;
        let mut escaped = false;
        loop {
            self.at += plain_length(&self.bytes[self.at..]);
            match self.bytes.get(self.at) {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(escaped);
                }
                Some(b'\\') => {
                    escaped = true;
                    self.skip_escape()?;
                }
                Some(_) => return self.fail("control character in a string"),
                None => return self.fail("the text ends inside a string"),
            }
        }
    }

    fn skip_escape(&mut self) -> Result<(), JsonError> {
        match self.bytes.get(self.at + 1) {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => self.at += 2,
            Some(b'u') => {
                let digits = self.bytes.get(self.at + 2..self.at + 6);
                if !digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit)) {
                    return self.fail("\\u needs four hexadecimal digits");
                }
                self.at += 6;
            }
            _ => return self.fail("unknown escape in a string"),
        }
        Ok(())
    }

    #[inline]
    fn skip_number(&mut self) -> Result<(), JsonError> {
        if self.bytes[self.at] == b'-' {
            self.at += 1;
        }
        if self.bytes.get(self.at) == Some(&b'0') {
            self.at += 1;
            if self.bytes.get(self.at).is_some_and(u8::is_ascii_digit) {
                return self.fail("a digit after a leading zero");
            }
        } else {
            self.skip_digits()?;
        }
        if self.bytes.get(self.at) == Some(&b'.') {
            self.at += 1;
            self.skip_digits()?;
        }
        if let Some(b'e' | b'E') = self.bytes.get(self.at) {
            self.at += 1;
            if let Some(b'+' | b'-') = self.bytes.get(self.at) {
                self.at += 1;
            }
            self.skip_digits()?;
        }
        Ok(())
    }

    #[inline]
    fn skip_digits(&mut self) -> Result<(), JsonError> {
        let digits = self.bytes[self.at..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        if digits == 0 {
            return self.fail("expected a digit");
        }
        self.at += digits;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn scan(text: &str) -> Result<Value<'_>, JsonError> {
        let mut scanner = Scanner::new(text);
        let value = scanner.value()?;
        scanner.finish()?;
        Ok(value)
    }

    #[test]
    fn every_kind_of_value_keeps_its_text() {
        for (text, kind) in [
            ("{\"a\": [1, {\"b\": null}]}", Kind::Object),
            ("[]", Kind::Array),
            ("\"a\\u00e9\"", Kind::String),
            ("-0.5e+10", Kind::Number),
            ("true", Kind::Boolean),
            ("null", Kind::Null),
        ] {
            let value = scan(text).unwrap();
            assert_eq!((value.kind, value.text), (kind, text));
        }
    }

    #[test]
    fn what_is_not_json_is_refused_with_its_place() {
        for (text, problem, at) in [
            ("", "the text ends where a value should be", 0),
            ("{\"a\" 1}", "expected ':' after a key", 5),
            ("{\"a\": 1,}", "expected a key in double quotes", 8),
            ("[1 2]", "expected ',' or ']'", 3),
            ("01", "a digit after a leading zero", 1),
            ("[-00]", "a digit after a leading zero", 3),
            ("1.", "expected a digit", 2),
            ("\"a", "the text ends inside a string", 2),
            ("\"\u{1}\"", "control character in a string", 1),
            ("\"\\x\"", "unknown escape in a string", 1),
            ("NaN", "expected a value", 0),
            ("{} {}", "text after the end of the value", 3),
        ] {
            assert_eq!(scan(text).unwrap_err(), JsonError { problem, at }, "{text}");
        }
    }

    #[test]
    fn depth_is_bounded() {
        let deep = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
        assert!(scan(&deep(DEPTH_MAX as usize)).is_ok());
        assert_eq!(scan(&deep(10_000_000)).unwrap_err().problem, "nested too deep");
    }

    #[test]
    fn escapes_decode_and_half_pairs_do_not() {
        let content = |text: &str| scan(text).unwrap().scalar().unwrap().map(Cow::into_owned);
        assert_eq!(content(r#""a\n\"\\\/\u0041\ud83d\ude00z""#).unwrap(), "a\n\"\\/A\u{1F600}z");
        assert!(content(r#""\ud83d""#).is_err());
        assert!(content(r#""\ud83d\u0041""#).is_err());
        assert!(content(r#""\ude00""#).is_err());
    }

    fn json() -> impl Strategy<Value = String> {
        let leaf = prop_oneof![
            Just("null".to_owned()),
            Just("true".to_owned()),
            "-?(0|[1-9][0-9]{0,20})(\\.[0-9]{1,5})?([eE][+-]?[0-9]{1,2})?",
            any::<String>().prop_map(|text| serde_json::to_string(&text).unwrap()),
        ];
        leaf.prop_recursive(5, 40, 6, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..6)
                    .prop_map(|items| format!("[ {}]", items.join(" ,"))),
                proptest::collection::vec((any::<String>(), inner), 0..6).prop_map(|pairs| {
                    let pairs: Vec<_> = pairs
                        .into_iter()
                        .map(|(key, value)| format!("{}: {value}", serde_json::to_string(&key).unwrap()))
                        .collect();
                    format!("{{{}}}", pairs.join(",\n"))
                }),
            ]
        })
    }

    proptest! {
        #[test]
        fn agrees_with_serde_json_on_valid_texts(text in json()) {
            prop_assert_eq!(scan(&text).unwrap().text, text.as_str());
        }

        #[test]
        fn agrees_with_serde_json_on_damaged_texts(text in json(), at in any::<prop::sample::Index>(), byte in 0u8..128) {
            let mut bytes = text.into_bytes();
            let at = at.index(bytes.len());
            bytes[at] = byte;
            if let Ok(text) = String::from_utf8(bytes) {
                let oracle = serde_json::from_str::<&serde_json::value::RawValue>(&text);
                prop_assert_eq!(scan(&text).is_ok(), oracle.is_ok(), "{}", text);
            }
        }

        #[test]
        fn strings_round_trip(content in any::<String>()) {
            let mut text = String::new();
            push_json_string(&mut text, &content);
            prop_assert_eq!(scan(&text).unwrap().scalar().unwrap().unwrap(), content.as_str());
            prop_assert_eq!(serde_json::from_str::<String>(&text).unwrap(), content);
        }
    }
}
