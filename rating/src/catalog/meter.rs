//! Meters: which events they read, where in them the figures stand, and what kind of figure it is.
//!
//! Owns: the definition of a meter and reading it from YAML. Does not own: decoding events (`ingest`) and the
//! arithmetic of each kind (`quantity`). Keeps DESIGN.md 3.1 (paths, one event may feed several meters) and
//! 3.5 (the kinds).

use std::collections::BTreeMap;

use jiff::SignedDuration;
use rust_decimal::Decimal;

use super::fields::{self, Fields};
use super::mistake::Mistakes;
use super::number;
use super::path::{self, Path};
use super::session::{self, SessionPaths};
use super::unit::{self, Unit};
use super::yaml::{Content, Entry, Node};
use crate::quantity;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Meter {
    pub key: String,
    pub description: String,
    pub kind: MeterKind,
    pub event_type: String,
    /// Where the figure stands. A delta meter without one counts each event as 1.
    pub value: Option<Path>,
    /// What holds the level, counts up, or is counted; for a session meter the session's id. Without one a
    /// gauge or counter has one resource per tenant.
    pub resource: Option<Path>,
    pub dimensions: BTreeMap<String, Path>,
    /// Every condition must hold, or the event does not feed this meter.
    pub only_when: Vec<Condition>,
    pub unit: Unit,
    pub when_missing: WhenMissing,
    pub excess_digits: ExcessDigits,
    /// A counter that grows by more than this between two samples deserves a warning.
    pub largest_step: Option<Decimal>,
    /// Present exactly when the kind is a session.
    pub session: Option<SessionPaths>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MeterKind {
    /// A level that holds until the next sample.
    Gauge {
        /// A level without a new sample for this long counts as zero from then on.
        expires_after: Option<SignedDuration>,
    },
    /// An amount used up at the event's time.
    Delta,
    /// A counter that grows and may start again from zero.
    Cumulative,
    /// Something that lasts from a start to a stop.
    Session {
        /// A session without a stop ends this long after its last heartbeat (or its start).
        heartbeat_timeout: Option<SignedDuration>,
        /// Each session's time is rounded up to a multiple of this.
        increment: Option<SignedDuration>,
        /// Each session counts at least this long.
        minimum: Option<SignedDuration>,
    },
    /// Distinct resources.
    Unique,
}

impl MeterKind {
    /// The same kind for the quantity algorithms, which count in microseconds.
    pub fn rules(&self) -> quantity::MeterKind {
        // `fields::duration` refuses what is not whole in microseconds or longer than a century.
        let microseconds =
            |duration: &SignedDuration| i64::try_from(duration.as_micros()).unwrap_or(i64::MAX);
        match self {
            Self::Gauge { expires_after } => {
                quantity::MeterKind::Gauge { expires_after_us: expires_after.as_ref().map(microseconds) }
            }
            Self::Delta => quantity::MeterKind::Delta,
            Self::Cumulative => quantity::MeterKind::Cumulative,
            Self::Session { heartbeat_timeout, increment, minimum } => {
                quantity::MeterKind::Session(quantity::measure::SessionRules {
                    timeout_us: heartbeat_timeout.as_ref().map(microseconds),
                    increment_us: increment.as_ref().map(microseconds),
                    minimum_us: minimum.as_ref().map(microseconds),
                })
            }
            Self::Unique => quantity::MeterKind::Unique,
        }
    }

    pub fn name(&self) -> &'static str {
        match self {
            Self::Gauge { .. } => "gauge",
            Self::Delta => "delta",
            Self::Cumulative => "cumulative",
            Self::Session { .. } => "session",
            Self::Unique => "unique",
        }
    }
}

/// Which events feed a meter: the text at the path is any of these values, or with `negate` none of them.
/// Numbers and booleans are compared by the text they have in JSON; an absent path equals no value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    pub path: Path,
    pub any_of: Vec<String>,
    pub negate: bool,
}

/// What becomes of an event whose value path is absent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum WhenMissing {
    #[default]
    Reject,
    /// The event does not feed this meter.
    Skip,
}

/// What becomes of a value with more than 9 decimals.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ExcessDigits {
    #[default]
    Reject,
    /// It is rounded half away from zero to 9 decimals.
    Round,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum KindWord {
    Gauge,
    Delta,
    Cumulative,
    Session,
    Unique,
}

const KINDS: [(&str, KindWord); 5] = [
    ("gauge", KindWord::Gauge),
    ("delta", KindWord::Delta),
    ("cumulative", KindWord::Cumulative),
    ("session", KindWord::Session),
    ("unique", KindWord::Unique),
];

const WHEN_MISSING: [(&str, WhenMissing); 2] = [("reject", WhenMissing::Reject), ("skip", WhenMissing::Skip)];

const EXCESS_DIGITS: [(&str, ExcessDigits); 2] =
    [("reject", ExcessDigits::Reject), ("round", ExcessDigits::Round)];

/// Reads the mapping below `meters:`.
pub(super) fn read_all(node: &Node, mistakes: &mut Mistakes) -> Vec<Meter> {
    let Content::Map(entries) = &node.content else {
        mistakes
            .report(
                node.place,
                format!("`meters`: expected a mapping of meter names, found {}", node.found()),
            )
            .hint("write each meter as `name:` with its keys indented below");
        return Vec::new();
    };
    entries.iter().filter_map(|entry| read(entry, mistakes)).collect()
}

fn read(entry: &Entry, mistakes: &mut Mistakes) -> Option<Meter> {
    let key = &entry.key;
    fields::check_name(key, "meter", entry.key_place, mistakes);
    let mut fields = Fields::open(&entry.value, format!("meter `{key}`"), entry.key_place, mistakes)?;
    let description = fields.description(mistakes);
    let kind_word =
        fields.required("kind", mistakes).and_then(|node| fields::word(node, "`kind`", &KINDS, mistakes));
    let event_type = fields.required("event_type", mistakes).and_then(|node| read_event_type(node, mistakes));
    let value = read_path("value", &mut fields, mistakes);
    let resource = read_path("resource", &mut fields, mistakes);
    let dimensions =
        fields.optional("dimensions").map(|node| read_dimensions(node, mistakes)).unwrap_or_default();
    let mut only_when = read_conditions("only_when", false, &mut fields, mistakes);
    only_when.extend(read_conditions("except", true, &mut fields, mistakes));
    let unit = fields.required("unit", mistakes).and_then(|node| unit::read(node, "`unit`", mistakes));
    let when_missing = read_word("when_missing", &WHEN_MISSING, &mut fields, mistakes);
    let excess_digits = read_word("excess_digits", &EXCESS_DIGITS, &mut fields, mistakes);
    let Some(kind_word) = kind_word else {
        // Which of these belong here depends on the kind; all others are wrong for any kind.
        for key in ["expires_after", "heartbeat_timeout", "increment", "minimum", "session", "largest_step"] {
            fields.optional(key);
        }
        fields.close(mistakes);
        return None;
    };
    let has_value = check_value_and_resource(kind_word, &entry.value, &fields, mistakes);
    let kind = read_kind(kind_word, &mut fields, mistakes);
    let largest_step = match kind_word {
        KindWord::Cumulative => fields
            .optional("largest_step")
            .and_then(|node| number::above_zero(node, "`largest_step`", mistakes)),
        _ => None,
    };
    let session = match kind_word {
        KindWord::Session => Some(session::read(&mut fields, mistakes)?),
        _ => None,
    };
    if let Some(unit) = &unit {
        check_unit(kind_word, unit, entry, mistakes);
    }
    fields.close(mistakes);
    Some(Meter {
        key: key.clone(),
        description: description.unwrap_or_default().to_owned(),
        kind,
        event_type: event_type?,
        value: value.filter(|_| has_value),
        resource,
        dimensions,
        only_when,
        unit: unit?,
        when_missing: when_missing.unwrap_or_default(),
        excess_digits: excess_digits.unwrap_or_default(),
        largest_step,
        session,
    })
}

fn read_word<T: Clone>(
    key: &'static str,
    words: &[(&str, T)],
    fields: &mut Fields<'_>,
    mistakes: &mut Mistakes,
) -> Option<T> {
    let node = fields.optional(key)?;
    fields::word(node, &format!("`{key}`"), words, mistakes)
}

pub(super) fn read_path(key: &'static str, fields: &mut Fields<'_>, mistakes: &mut Mistakes) -> Option<Path> {
    let node = fields.optional(key)?;
    path::read(node, &format!("`{key}`"), mistakes)
}

fn read_event_type(node: &Node, mistakes: &mut Mistakes) -> Option<String> {
    let written = fields::text(node, "`event_type`", mistakes)?;
    if written.is_empty() || written.chars().any(|c| c.is_whitespace() || c.is_control()) {
        mistakes.report(
            node.place,
            format!("`event_type`: expected the `type` of a CloudEvent without spaces, found `{written}`"),
        );
        return None;
    }
    Some(written.to_owned())
}

fn read_dimensions(node: &Node, mistakes: &mut Mistakes) -> BTreeMap<String, Path> {
    let Content::Map(entries) = &node.content else {
        mistakes
            .report(
                node.place,
                format!("`dimensions`: expected a mapping of names to paths, found {}", node.found()),
            )
            .hint("for example `dimensions: { region: $.region }`");
        return BTreeMap::new();
    };
    let mut dimensions = BTreeMap::new();
    for entry in entries {
        fields::check_name(&entry.key, "dimension", entry.key_place, mistakes);
        let what = format!("dimension `{}`", entry.key);
        if let Some(path) = path::read(&entry.value, &what, mistakes) {
            dimensions.insert(entry.key.clone(), path);
        }
    }
    dimensions
}

fn read_conditions(
    key: &'static str,
    negate: bool,
    fields: &mut Fields<'_>,
    mistakes: &mut Mistakes,
) -> Vec<Condition> {
    let Some(node) = fields.optional(key) else {
        return Vec::new();
    };
    let Content::Map(entries) = &node.content else {
        mistakes
            .report(
                node.place,
                format!("`{key}`: expected a mapping of paths to values, found {}", node.found()),
            )
            .hint(format!("for example `{key}: {{ $.category: [device, admin] }}`"));
        return Vec::new();
    };
    entries
        .iter()
        .filter_map(|entry| {
            let path = path::read_written(&entry.key, &format!("`{key}`"), entry.key_place, mistakes);
            let any_of = fields::texts(&entry.value, &format!("`{key}`"), mistakes);
            Some(Condition { path: path?, any_of, negate })
        })
        .collect()
}

/// Returns whether the kind takes a value at all.
fn check_value_and_resource(
    kind: KindWord,
    node: &Node,
    fields: &Fields<'_>,
    mistakes: &mut Mistakes,
) -> bool {
    let place_of = |key: &str| match &node.content {
        Content::Map(entries) => entries.iter().find(|entry| entry.key == key).map(|entry| entry.key_place),
        _ => None,
    };
    let (takes_value, needs_value, needs_resource, name) = match kind {
        KindWord::Gauge => (true, true, false, "a gauge meter"),
        KindWord::Cumulative => (true, true, false, "a cumulative meter"),
        KindWord::Delta => (true, false, false, "a delta meter"),
        KindWord::Session => (false, false, true, "a session meter"),
        KindWord::Unique => (false, false, true, "a unique meter"),
    };
    match place_of("value") {
        Some(place) if !takes_value => {
            mistakes.report(place, format!("{name} takes no `value`")).hint(
                "its quantity is what it counts or how long it lasts; use a `delta` meter to add up values",
            );
        }
        None if needs_value => {
            mistakes
                .report(fields.place, format!("{} has no `value`", fields.what))
                .hint(format!("{name} needs the path of its figure, like `value: $.bytes`"));
        }
        _ => {}
    }
    if needs_resource && place_of("resource").is_none() {
        let example = if kind == KindWord::Session { "$.session_id" } else { "$.device_id" };
        mistakes
            .report(fields.place, format!("{} has no `resource`", fields.what))
            .hint(format!("{name} needs the path of what it tells apart, like `resource: {example}`"));
    }
    takes_value
}

fn read_kind(kind: KindWord, fields: &mut Fields<'_>, mistakes: &mut Mistakes) -> MeterKind {
    let mut duration = |key: &'static str, mistakes: &mut Mistakes| {
        fields.optional(key).and_then(|node| fields::duration(node, &format!("`{key}`"), mistakes))
    };
    match kind {
        KindWord::Gauge => MeterKind::Gauge { expires_after: duration("expires_after", mistakes) },
        KindWord::Delta => MeterKind::Delta,
        KindWord::Cumulative => MeterKind::Cumulative,
        KindWord::Session => MeterKind::Session {
            heartbeat_timeout: duration("heartbeat_timeout", mistakes),
            increment: duration("increment", mistakes),
            minimum: duration("minimum", mistakes),
        },
        KindWord::Unique => MeterKind::Unique,
    }
}

fn check_unit(kind: KindWord, unit: &Unit, entry: &Entry, mistakes: &mut Mistakes) {
    if kind == KindWord::Session && unit.name != "second" {
        let place = match &entry.value.content {
            Content::Map(entries) => entries.iter().find(|e| e.key == "unit").map(|e| e.value.place),
            _ => None,
        };
        mistakes
            .report(
                place.unwrap_or(entry.key_place),
                format!("a session meter measures in `second`, found `{unit}`"),
            )
            .hint("a price may still be per hour: it names its own unit");
    }
}
