//! A message, or one event of a batch, that cannot be counted, and why.

use std::borrow::Cow;

/// Why something was rejected. The names are stored and grouped by, so they never change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RejectReason {
    TooLarge,
    InvalidUtf8,
    InvalidJson,
    UnsupportedContent,
    NotACloudEvent,
    AttributeMissing,
    AttributeInvalid,
    TenantMissing,
    TimeMissing,
    TimeInvalid,
    TimeInFuture,
    TimeTooOld,
    DataNotAnObject,
    DuplicateKey,
    ValueMissing,
    ValueNotANumber,
    ValueOutOfRange,
    ValueTooPrecise,
    ResourceMissing,
    DimensionInvalid,
    SessionInvalid,
    /// Same source and id as an earlier event, but other content.
    Conflict,
}

impl RejectReason {
    pub const ALL: [Self; 22] = [
        Self::TooLarge,
        Self::InvalidUtf8,
        Self::InvalidJson,
        Self::UnsupportedContent,
        Self::NotACloudEvent,
        Self::AttributeMissing,
        Self::AttributeInvalid,
        Self::TenantMissing,
        Self::TimeMissing,
        Self::TimeInvalid,
        Self::TimeInFuture,
        Self::TimeTooOld,
        Self::DataNotAnObject,
        Self::DuplicateKey,
        Self::ValueMissing,
        Self::ValueNotANumber,
        Self::ValueOutOfRange,
        Self::ValueTooPrecise,
        Self::ResourceMissing,
        Self::DimensionInvalid,
        Self::SessionInvalid,
        Self::Conflict,
    ];

    /// The reason of a stored name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.name() == name)
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::TooLarge => "too_large",
            Self::InvalidUtf8 => "invalid_utf8",
            Self::InvalidJson => "invalid_json",
            Self::UnsupportedContent => "unsupported_content",
            Self::NotACloudEvent => "not_a_cloudevent",
            Self::AttributeMissing => "attribute_missing",
            Self::AttributeInvalid => "attribute_invalid",
            Self::TenantMissing => "tenant_missing",
            Self::TimeMissing => "time_missing",
            Self::TimeInvalid => "time_invalid",
            Self::TimeInFuture => "time_in_future",
            Self::TimeTooOld => "time_too_old",
            Self::DataNotAnObject => "data_not_an_object",
            Self::DuplicateKey => "duplicate_key",
            Self::ValueMissing => "value_missing",
            Self::ValueNotANumber => "value_not_a_number",
            Self::ValueOutOfRange => "value_out_of_range",
            Self::ValueTooPrecise => "value_too_precise",
            Self::ResourceMissing => "resource_missing",
            Self::DimensionInvalid => "dimension_invalid",
            Self::SessionInvalid => "session_invalid",
            Self::Conflict => "conflict",
        }
    }
}

/// A reject with as much of the event as could be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejected<'m> {
    pub why: Refusal,
    pub batch_index: i32,
    /// The bytes to try again after a fix: the whole message, or one event of a batch.
    pub payload: &'m [u8],
    pub source: Option<Cow<'m, str>>,
    pub id: Option<Cow<'m, str>>,
    pub tenant: Option<Cow<'m, str>>,
    pub event_type: Option<Cow<'m, str>>,
}

/// The reason and a sentence that says more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    pub reason: RejectReason,
    pub detail: String,
}

impl Refusal {
    pub fn new(reason: RejectReason, detail: impl Into<String>) -> Self {
        Self { reason, detail: detail.into() }
    }
}

impl From<crate::json::JsonError> for Refusal {
    fn from(error: crate::json::JsonError) -> Self {
        Self::new(RejectReason::InvalidJson, error.to_string())
    }
}
