//! How long freed memory is kept before the system gets it back.
#![expect(
    unsafe_code,
    reason = "the allocator's one setting, for which its crate has no safe call; measured, see README.md"
)]

use std::ffi::{c_int, c_long};
use std::time::Duration;

// Links the allocator.
use mimalloc as _;

/// `mi_option_purge_delay` of mimalloc 3.
const PURGE_DELAY: c_int = 15;

unsafe extern "C" {
    /// Sets an option that the environment does not set.
    safe fn mi_option_set_default(option: c_int, value: c_long);
}

/// Keeps freed memory for so long. Who frees and takes the same amounts all the time otherwise gets each of them from the
/// system anew, which clears it first, and huge pages whole. `MIMALLOC_PURGE_DELAY` in the environment counts for more.
pub fn keep_freed_memory(duration: Duration) {
    mi_option_set_default(PURGE_DELAY, duration.as_millis() as c_long);
}
