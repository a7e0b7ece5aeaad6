//! Offsets that jump or go back: ingest stops until an operator says that it is meant (DESIGN.md 3.3).

use std::collections::HashMap;
use std::str::FromStr;

use serde_json::json;

use crate::batch::PartitionName;
use crate::commit::{Commit, Position};

/// The offset that should come next is not there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "topic {} partition {}: the next offset to read is {expected}, but the broker holds {first} to {end}: {}. \
     To accept this and read on from {resume}, start with --accept-gap {}:{}:{expected}-{resume}",
    name.topic, name.partition, self.what_happened(), name.topic, name.partition
)]
pub struct OffsetGap {
    pub name: PartitionName,
    pub expected: i64,
    /// The broker's first offset, and the one after its last.
    pub first: i64,
    pub end: i64,
    /// Where reading would go on.
    pub resume: i64,
}

impl OffsetGap {
    /// Compares where the lake stands with what the broker holds.
    pub fn find(name: &PartitionName, expected: i64, first: i64, end: i64) -> Option<Self> {
        let gap = |resume| Some(Self { name: name.clone(), expected, first, end, resume });
        match expected {
            expected if expected < first => gap(first),
            expected if expected > end => gap(first),
            _ => None,
        }
    }

    /// Moves a table's position over the gap, and says so in the table's log.
    pub(super) fn commit(&self, stands_at: Option<i64>) -> Commit {
        let Self { name, expected, first, end, resume } = self;
        let positions = name.application().map(|application| Position {
            application,
            expected: stands_at,
            next: *resume,
        });
        let note = json!({
            "topic": &*name.topic,
            "partition": name.partition,
            "expected": expected,
            "first": first,
            "end": end,
            "resume": resume,
        });
        Commit {
            operation: "WRITE",
            parameters: HashMap::from([("mode".to_owned(), json!("Append"))]),
            positions: positions.into_iter().collect(),
            actions: Vec::new(),
            notes: HashMap::from([("meterhouseAcceptedGap".to_owned(), note)]),
        }
    }

    fn what_happened(&self) -> String {
        if self.expected < self.first {
            format!("{} messages were deleted before they were read", self.first - self.expected)
        } else {
            "the topic was deleted and made anew, or its end was cut off".to_owned()
        }
    }
}

/// A gap that the operator accepted, as `topic:partition:expected-resume`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AcceptedGap {
    pub topic: String,
    pub partition: i32,
    pub expected: i64,
    pub resume: i64,
}

impl AcceptedGap {
    /// Whether this is the very gap that was accepted; another needs a decision of its own. What was
    /// deleted may have grown since, so a later start than the one accepted is not covered.
    pub fn covers(&self, gap: &OffsetGap) -> bool {
        *self.topic == *gap.name.topic
            && self.partition == gap.name.partition
            && self.expected == gap.expected
            && self.resume == gap.resume
    }
}

impl FromStr for AcceptedGap {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let explain =
            || format!("`{text}` is not topic:partition:expected-resume, such as usage:3:1200-5000");
        let mut parts = text.rsplitn(3, ':');
        let offsets = parts.next().and_then(|offsets| offsets.split_once('-')).ok_or_else(explain)?;
        let partition = parts.next().and_then(|partition| partition.parse().ok()).ok_or_else(explain)?;
        let topic = parts.next().filter(|topic| !topic.is_empty()).ok_or_else(explain)?.to_owned();
        let expected = offsets.0.parse().map_err(|_| explain())?;
        let resume = offsets.1.parse().map_err(|_| explain())?;
        Ok(Self { topic, partition, expected, resume })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_and_what_they_say() {
        let name = PartitionName { topic: "usage".into(), partition: 3 };
        for (expected, first, end, resume) in
            [(5, 0, 10, None), (0, 0, 0, None), (10, 0, 10, None), (5, 7, 10, Some(7)), (11, 2, 10, Some(2))]
        {
            let gap = OffsetGap::find(&name, expected, first, end);
            assert_eq!(gap.map(|gap| gap.resume), resume, "{expected} in {first}..{end}");
        }
        let gap = OffsetGap::find(&name, 1_200, 5_000, 9_000).unwrap();
        assert_eq!(
            gap.to_string(),
            "topic usage partition 3: the next offset to read is 1200, but the broker holds 5000 to 9000: 3800 \
             messages were deleted before they were read. To accept this and read on from 5000, start with \
             --accept-gap usage:3:1200-5000"
        );
        assert!("usage:3:1200-5000".parse::<AcceptedGap>().unwrap().covers(&gap));
        assert!(!"usage:3:1200-4000".parse::<AcceptedGap>().unwrap().covers(&gap));
        assert!(!"other:3:1200-5000".parse::<AcceptedGap>().unwrap().covers(&gap));
        assert!("usage:3".parse::<AcceptedGap>().is_err());
    }
}
