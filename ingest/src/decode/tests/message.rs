//! Messages to decode, and when they arrive.
//!
//! Like the oracle it names nothing above it but its own neighbours, for `ingest/fuzz` mounts it too.

use crate::raw_message::{Coordinates, Headers, RawMessage};

/// When every message arrives: 2026-05-01T12:00:00Z.
pub const ARRIVAL_US: i64 = 1_777_636_800_000_000;
/// When the broker stamped it: a minute earlier.
pub const STAMPED_US: i64 = ARRIVAL_US - 60_000_000;

/// A message that owns its parts.
#[derive(Debug, Clone)]
pub struct Message {
    pub headers: Vec<(String, Option<Vec<u8>>)>,
    pub payload: Option<Vec<u8>>,
    pub stamped_at_us: Option<i64>,
}

impl Message {
    pub fn of(payload: impl Into<Vec<u8>>) -> Self {
        Self { headers: Vec::new(), payload: Some(payload.into()), stamped_at_us: Some(STAMPED_US) }
    }

    pub fn with(mut self, header: impl Into<String>, value: impl AsRef<[u8]>) -> Self {
        self.headers.push((header.into(), Some(value.as_ref().to_vec())));
        self
    }

    pub fn raw(&self) -> RawMessage<'_> {
        let headers: Headers<'_> =
            self.headers.iter().map(|(name, value)| (name.as_str(), value.as_deref())).collect();
        RawMessage {
            at: Coordinates { topic: "usage", partition: 3, offset: 7 },
            stamped_at_us: self.stamped_at_us,
            key: None,
            payload: self.payload.as_deref(),
            headers,
        }
    }
}
