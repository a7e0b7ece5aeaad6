//! Structured and batch messages: the first byte chooses the catalog and the content type, the rest is the
//! message's value.
#![no_main]

use ingest_fuzz::check_message;
use ingest_fuzz::message::Message;
use libfuzzer_sys::fuzz_target;

const CONTENT_TYPES: [&str; 3] =
    ["application/cloudevents+json", "application/cloudevents-batch+json", "application/json"];

fuzz_target!(|bytes: &[u8]| {
    let Some((choice, payload)) = bytes.split_first() else { return };
    let message = Message::of(payload);
    // `0` to `5` name a catalog, further characters the same catalogs with a content type.
    let choice = usize::from(choice.wrapping_sub(b'0'));
    let message = match CONTENT_TYPES.get((choice / 6 % 8).wrapping_sub(1)) {
        Some(content_type) => message.with("content-type", content_type),
        None => message,
    };
    check_message(choice, &message);
});
