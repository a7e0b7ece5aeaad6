//! JSON strings: where one ends, what its escapes stand for, and how a text is written as one.

use super::JsonError;

/// How many bytes from the front are neither a quote, a backslash nor a control character: eight at a time.
#[inline]
pub(super) fn plain_length(bytes: &[u8]) -> usize {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGHS: u64 = 0x8080_8080_8080_8080;
    let has_zero = |word: u64| word.wrapping_sub(ONES) & !word & HIGHS;
    let mut length = 0;
    let mut chunks = bytes.chunks_exact(8);
    for chunk in &mut chunks {
        let word = u64::from_le_bytes(chunk.try_into().expect("a chunk of eight bytes"));
        let below_space = word.wrapping_sub(ONES * 0x20) & !word & HIGHS;
        let special = has_zero(word ^ (ONES * u64::from(b'"')))
            | has_zero(word ^ (ONES * u64::from(b'\\')))
            | below_space;
        if special != 0 {
            // The lowest marked byte is always right; only bytes above it can be marked by a borrow.
            return length + special.trailing_zeros() as usize / 8;
        }
        length += 8;
    }
    length + chunks.remainder().iter().take_while(|byte| !matches!(byte, b'"' | b'\\' | 0..0x20)).count()
}

/// The content of a string whose escapes are known to be well formed; lone surrogates are refused.
pub(super) fn unescape(inner: &str) -> Result<String, JsonError> {
    let refuse = |at| JsonError { problem: "half of a surrogate pair in a string", at };
    let unit = |at: usize| {
        inner
            .get(at..at + 4)
            .and_then(|digits| u16::from_str_radix(digits, 16).ok())
            .ok_or_else(|| refuse(at))
    };
    let mut content = String::with_capacity(inner.len());
    let mut at = 0;
    while let Some(found) = inner[at..].find('\\') {
        content.push_str(&inner[at..at + found]);
        at += found + 2;
        content.push(match inner.as_bytes()[at - 1] {
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => {
                let mut units = vec![unit(at)?];
                at += 4;
                if (0xD800..0xDC00).contains(&units[0]) && inner[at..].starts_with("\\u") {
                    units.push(unit(at + 2)?);
                    at += 6;
                }
                let mut decoded = char::decode_utf16(units);
                match (decoded.next(), decoded.next()) {
                    (Some(Ok(character)), None) => character,
                    _ => return Err(refuse(at)),
                }
            }
            other => char::from(other),
        });
    }
    content.push_str(&inner[at..]);
    Ok(content)
}

/// Appends `text` to `out` as a JSON string.
pub fn push_json_string(out: &mut String, text: &str) {
    out.push('"');
    let plain = plain_length(text.as_bytes());
    out.push_str(&text[..plain]);
    for character in text[plain..].chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\u{0}'..'\u{20}' => {
                out.push_str("\\u00");
                for nibble in [character as u32 >> 4, character as u32 & 15] {
                    out.push(char::from_digit(nibble, 16).expect("a nibble is a hexadecimal digit"));
                }
            }
            other => out.push(other),
        }
    }
    out.push('"');
}
