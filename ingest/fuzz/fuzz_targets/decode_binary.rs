//! Messages with any headers: a character for the catalog, then lines of `name: value` (a line without a
//! colon is a header without a value), an empty line, and the message's value.
#![no_main]

use ingest_fuzz::check_message;
use ingest_fuzz::message::Message;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Some((choice, mut rest)) = bytes.split_first() else { return };
    let mut headers = Vec::new();
    while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
        let line = &rest[..end];
        rest = &rest[end + 1..];
        if line.is_empty() {
            break;
        }
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        headers.push(match line.iter().position(|byte| *byte == b':') {
            Some(at) => (text(&line[..at]), Some(line[at + 1..].trim_ascii_start().to_vec())),
            None => (text(line), None),
        });
    }
    let message = Message { headers, ..Message::of(rest) };
    check_message(usize::from(choice.wrapping_sub(b'0')), &message);
});
