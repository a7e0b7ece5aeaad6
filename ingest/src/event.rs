//! A decoded usage event: who used what, when, and which meters it feeds with which figures.
//!
//! It borrows from the message it came from; `columns` copies it into the lake's rows.

use std::borrow::Cow;

use smallvec::SmallVec;

/// A usage event that the lake will keep.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsageEvent<'m> {
    pub identity: Identity,
    pub source: Cow<'m, str>,
    pub id: Cow<'m, str>,
    pub tenant: Cow<'m, str>,
    pub event_type: Cow<'m, str>,
    pub time_us: i64,
    /// False if the message's own timestamp stands in for a time that the event does not name.
    pub time_given: bool,
    pub data: Option<Cow<'m, str>>,
    /// The event's place in a batch message.
    pub batch_index: i32,
    /// One per meter that the event feeds; none if no meter takes it.
    pub readings: Readings<'m>,
}

impl UsageEvent<'_> {
    /// Whether it voids or amends another event.
    pub fn is_correction(&self) -> bool {
        self.readings.first().is_some_and(|reading| reading.meter == Reading::NO_METER)
    }
}

/// Most events feed one meter.
pub type Readings<'m> = SmallVec<[Reading<'m>; 1]>;

/// What one meter reads from an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reading<'m> {
    /// The meter's place in the catalog.
    pub meter: usize,
    /// In billionths.
    pub value: Option<i128>,
    pub resource: Option<Cow<'m, str>>,
    /// A JSON object with sorted keys and text values.
    pub dimensions: Option<String>,
    pub signal: Option<Signal>,
    /// When the session began or ended, if the event says so beside its own time.
    pub signal_time_us: Option<i64>,
}

impl Reading<'_> {
    /// The place of no meter: the reading says which event is corrected.
    pub const NO_METER: usize = usize::MAX;

    /// When the session ended that this reading tells whole.
    pub fn ended_at_us(&self) -> Option<i64> {
        let (Some(Signal::Complete), Some(start_us), Some(length)) =
            (self.signal, self.signal_time_us, self.value)
        else {
            return None;
        };
        Some(i64::try_from(i128::from(start_us) + length / 1_000).unwrap_or(i64::MAX))
    }

    /// Borrows from nothing any more.
    pub fn into_owned<'o>(self) -> Reading<'o> {
        Reading { resource: self.resource.map(|resource| Cow::Owned(resource.into_owned())), ..self }
    }
}

/// What an event says about a session, or does to another event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    Start,
    Stop,
    Heartbeat,
    Complete,
    Void,
    Amend,
}

impl Signal {
    pub fn name(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Stop => "stop",
            Self::Heartbeat => "heartbeat",
            Self::Complete => "complete",
            Self::Void => "void",
            Self::Amend => "amend",
        }
    }
}

/// What makes two events the same: a digest of source and id.
///
/// Half of a BLAKE3 digest: long enough that nobody finds two events with the same one, even on purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Identity(pub [u8; 16]);

impl Identity {
    pub fn of(source: &str, id: &str) -> Self {
        // The length keeps ("a", "bc") apart from ("ab", "c").
        let length = (source.len() as u64).to_le_bytes();
        let (source_end, end) = (8 + source.len(), 8 + source.len() + id.len());
        let mut text = [0; 192];
        let digest = if end <= text.len() {
            // Hashing one piece of memory is twice as fast as feeding a hasher three.
            text[..8].copy_from_slice(&length);
            text[8..source_end].copy_from_slice(source.as_bytes());
            text[source_end..end].copy_from_slice(id.as_bytes());
            blake3::hash(&text[..end])
        } else {
            let mut hasher = blake3::Hasher::new();
            hasher.update(&length).update(source.as_bytes()).update(id.as_bytes()).finalize()
        };
        Self(digest.as_bytes()[..16].try_into().expect("a digest has 32 bytes"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identity_keeps_source_and_id_apart() {
        // Stored in every lake, so it never changes.
        let digest = [200, 204, 219, 147, 149, 158, 2, 123, 239, 152, 174, 47, 29, 73, 110, 126];
        assert_eq!(Identity::of("/agents/7", "e-1").0, digest);
        for length in [0, 1, 183, 184, 185, 2_000] {
            let source = "s".repeat(length);
            let whole = [&(length as u64).to_le_bytes(), source.as_bytes(), b"x"].concat();
            assert_eq!(Identity::of(&source, "x").0, blake3::hash(&whole).as_bytes()[..16], "{length}");
        }
        assert_ne!(Identity::of("a", "bc"), Identity::of("ab", "c"));
        assert_eq!(Identity::of("/agents/7", "e-1"), Identity::of("/agents/7", "e-1"));
    }
}
