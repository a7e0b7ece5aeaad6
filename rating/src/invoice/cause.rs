//! Why an issued line has another amount now: one cause, or several that each changed it.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// What makes an issued line come to something else. They stand in the order in which they are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cause {
    /// An event of the period arrived after its invoice was rated.
    LateEvent,
    /// An event of the tenant was voided or amended since.
    AmendedEvent,
    /// A catalog was applied that holds for the period.
    CatalogChange,
}

impl Cause {
    pub const ALL: [Cause; 3] = [Self::LateEvent, Self::AmendedEvent, Self::CatalogChange];

    pub fn name(self) -> &'static str {
        match self {
            Self::LateEvent => "late_event",
            Self::AmendedEvent => "amended_event",
            Self::CatalogChange => "catalog_change",
        }
    }

    /// For people.
    pub fn text(self) -> &'static str {
        match self {
            Self::LateEvent => "late event",
            Self::AmendedEvent => "amended event",
            Self::CatalogChange => "catalog change",
        }
    }
}

/// The causes of one line's change; at least one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Causes(BTreeSet<Cause>);

/// Between the names of several causes.
const AND: &str = "+";

impl Causes {
    /// None of nothing.
    pub fn of(causes: impl IntoIterator<Item = Cause>) -> Option<Self> {
        let causes: BTreeSet<Cause> = causes.into_iter().collect();
        (!causes.is_empty()).then_some(Self(causes))
    }

    pub fn iter(&self) -> impl Iterator<Item = Cause> {
        self.0.iter().copied()
    }

    /// `late_event`, or `late_event+catalog_change`.
    pub fn name(&self) -> String {
        let names: Vec<&str> = self.iter().map(Cause::name).collect();
        names.join(AND)
    }

    /// For people.
    pub fn text(&self) -> String {
        let texts: Vec<&str> = self.iter().map(Cause::text).collect();
        texts.join(" and ")
    }
}

impl From<Cause> for Causes {
    fn from(cause: Cause) -> Self {
        Self(BTreeSet::from([cause]))
    }
}

impl fmt::Display for Causes {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.name())
    }
}

impl Serialize for Causes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Causes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let named = |name: &str| Cause::ALL.into_iter().find(|cause| cause.name() == name);
        let causes: Option<BTreeSet<Cause>> = text.split(AND).map(named).collect();
        let causes = causes.map(Self).filter(|causes| causes.name() == text);
        causes.ok_or_else(|| serde::de::Error::custom(format!("`{text}` names no cause of a correction")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_are_written_in_one_way_and_read_back() {
        let causes = |all: &[Cause]| Causes::of(all.iter().copied()).unwrap();
        for (all, written, told) in [
            (&[Cause::LateEvent][..], "late_event", "late event"),
            (
                &[Cause::CatalogChange, Cause::AmendedEvent],
                "amended_event+catalog_change",
                "amended event and catalog change",
            ),
            (
                &Cause::ALL,
                "late_event+amended_event+catalog_change",
                "late event and amended event and catalog change",
            ),
        ] {
            let causes = causes(all);
            assert_eq!(serde_json::to_string(&causes).unwrap(), format!("\"{written}\""));
            assert_eq!(serde_json::from_str::<Causes>(&format!("\"{written}\"")).unwrap(), causes);
            assert_eq!(causes.text(), told);
        }
        assert_eq!(Causes::of([]), None);
        for wrong in ["", "late", "late_event+", "catalog_change+late_event", "late_event+late_event"] {
            assert!(serde_json::from_str::<Causes>(&format!("\"{wrong}\"")).is_err(), "{wrong}");
        }
    }
}
