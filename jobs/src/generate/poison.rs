//! Messages that must be rejected, whatever the catalog: each damages an event in one way.

use super::plan::EventTypePlan;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Damage {
    Truncated,
    InvalidUtf8,
    NotJson,
    NotAnObject,
    NoSpecVersion,
    OldSpecVersion,
    NoId,
    EmptySource,
    NoSubject,
    TimeNonsense,
    TimeYear9999,
    TimeTooOld,
    DataIsAList,
    DataTwice,
    ValueNotANumber,
    ValueTooLarge,
}

const ALL: [Damage; 16] = [
    Damage::Truncated,
    Damage::InvalidUtf8,
    Damage::NotJson,
    Damage::NotAnObject,
    Damage::NoSpecVersion,
    Damage::OldSpecVersion,
    Damage::NoId,
    Damage::EmptySource,
    Damage::NoSubject,
    Damage::TimeNonsense,
    Damage::TimeYear9999,
    Damage::TimeTooOld,
    Damage::DataIsAList,
    Damage::DataTwice,
    Damage::ValueNotANumber,
    Damage::ValueTooLarge,
];

impl Damage {
    /// The ways in which events of this type can be spoilt for certain.
    pub fn all_for(plan: &EventTypePlan) -> Vec<Self> {
        let is_certain = |damage: &Self| match damage {
            Self::NoSubject => plan.tenant_is_subject,
            Self::ValueNotANumber | Self::ValueTooLarge => plan
                .sure_value
                .is_some_and(|slot| matches!(plan.slots[slot].path, rating::catalog::Path::Data(_))),
            _ => true,
        };
        ALL.into_iter().filter(is_certain).collect()
    }

    /// What stands as the time instead, as a JSON text.
    pub fn time(self) -> Option<&'static [u8]> {
        match self {
            Self::TimeNonsense => Some(b"\"yesterday at noon\""),
            Self::TimeYear9999 => Some(b"\"9999-12-31T23:59:59Z\""),
            Self::TimeTooOld => Some(b"\"1969-07-20T20:17:40Z\""),
            _ => None,
        }
    }

    /// What stands as the value instead, as a JSON text.
    pub fn value(self) -> Option<&'static [u8]> {
        match self {
            Self::ValueNotANumber => Some(b"\"NaN\""),
            Self::ValueTooLarge => Some(b"1e400"),
            _ => None,
        }
    }

    /// Damages the finished text. It never holds a line break, which would make two messages of it in a file.
    pub fn finish(self, text: &mut Vec<u8>) {
        match self {
            Self::Truncated => text.truncate(text.len() / 2),
            Self::InvalidUtf8 => text.push(0xff),
            Self::NotJson => b"usage: 12 GB".as_slice().clone_into(text),
            Self::NotAnObject => b"\"usage\"".as_slice().clone_into(text),
            _ => {}
        }
    }
}
