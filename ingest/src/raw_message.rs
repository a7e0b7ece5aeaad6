//! A message as its source handed it over: bytes, coordinates, and nothing understood yet.
//!
//! Kafka and files both produce it; the decoder turns it into usage events or rejects. Every message
//! has coordinates (topic, partition, offset), whatever its source, so that each stored row can say
//! where it came from.

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

/// Stands last among the headers of a message in which the name of a header is not UTF-8. No header of Kafka's is
/// called that: its client library ends names at this character.
pub const UNREADABLE_HEADER: &str = "\0";

/// Header names and values in the order in which they came.
pub type Headers<'m> = Vec<(&'m str, Option<&'m [u8]>)>;

impl<'m> RawMessage<'m> {
    /// Whether the names of all headers could be read.
    #[inline]
    pub fn has_readable_headers(&self) -> bool {
        self.headers.last().is_none_or(|(name, _)| *name != UNREADABLE_HEADER)
    }

    /// The first header of this name, compared without regard to case, as text.
    #[inline]
    pub fn header(&self, name: &str) -> Option<&'m [u8]> {
        self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).and_then(|(_, value)| *value)
    }
}
