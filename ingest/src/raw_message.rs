//! A message as its source handed it over: bytes, coordinates, and nothing understood yet.
//!
//! Kafka and files both produce it; the decoder turns it into usage events or rejects. Every message
//! has coordinates (topic, partition, offset), whatever its source, so that each stored row can say
//! where it came from.

use std::borrow::Cow;

use smallvec::SmallVec;

/// A message's place in its source. A file's lines count as the offsets of partition 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Coordinates<'m> {
    pub topic: &'m str,
    pub partition: i32,
    pub offset: i64,
}

/// A message before anything of it is understood.
#[derive(Debug, Clone)]
pub struct RawMessage<'m> {
    pub at: Coordinates<'m>,
    /// When the producer or the broker stamped it, in microseconds since 1970 UTC.
    pub stamped_at_us: Option<i64>,
    pub key: Option<&'m [u8]>,
    /// Absent for a tombstone.
    pub payload: Option<&'m [u8]>,
    pub headers: Headers<'m>,
}

/// Header names and values in the order in which they came. Most messages have one, or none.
pub type Headers<'m> = SmallVec<[(Cow<'m, str>, Option<&'m [u8]>); 2]>;

impl<'m> RawMessage<'m> {
    /// The first header of this name, compared without regard to case, as text.
    #[inline]
    pub fn header(&self, name: &str) -> Option<&'m [u8]> {
        self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).and_then(|(_, value)| *value)
    }
}
