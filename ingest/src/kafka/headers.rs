//! A message's headers. Their names are bytes to Kafka, and neither its clients nor its brokers look whether they are
//! text; the library that we read with panics over one that is not. One such message must not end the process.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;

use rdkafka::message::{BorrowedMessage, Headers as _, Message};

use crate::raw_message::{Headers, UNREADABLE_HEADER};

thread_local! {
    /// Whether a panic of this thread is about a header's name, and will be caught.
    static READS_NAMES: Cell<bool> = const { Cell::new(false) };
}

/// All headers, in their order. If a name is not text, those that are, and `UNREADABLE_HEADER` after them.
pub(super) fn headers_of<'m>(message: &'m BorrowedMessage<'_>) -> Headers<'m> {
    let Some(headers) = message.headers() else { return Headers::new() };
    let all = || headers.iter().map(|it| (it.key, it.value)).collect();
    if let Some(all) = quietly(all) {
        return all;
    }
    let each = (0..headers.count()).filter_map(|place| quietly(|| headers.get(place)));
    let readable = each.map(|it| (it.key, it.value));
    readable.chain([(UNREADABLE_HEADER, None)]).collect()
}

/// None if reading panics, of which nothing is printed.
fn quietly<T>(read: impl FnOnce() -> T) -> Option<T> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let others = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if !READS_NAMES.get() {
                others(panic);
            }
        }));
    });
    READS_NAMES.set(true);
    let read = catch_unwind(AssertUnwindSafe(read));
    READS_NAMES.set(false);
    read.ok()
}
