//! What an operator may set about ingest.

use std::time::Duration;

use crate::decode::DecodeLimits;

#[derive(Debug, Clone)]
pub struct IngestSettings {
    pub limits: DecodeLimits,
    /// A batch is committed when it holds this many rows,
    pub flush_rows: usize,
    /// or when its first message has waited this long,
    pub flush_age: Duration,
    /// or when its files would take this much room.
    pub file_size_bytes: usize,
    /// A batch spans at most this many days, which bounds the files that are open at once.
    pub open_days_max: usize,
}

impl Default for IngestSettings {
    fn default() -> Self {
        Self {
            limits: DecodeLimits::default(),
            flush_rows: 2_000_000,
            flush_age: Duration::from_secs(5),
            file_size_bytes: 128 * 1024 * 1024,
            open_days_max: 64,
        }
    }
}
