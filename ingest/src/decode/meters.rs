//! What the catalog's meters read from an event's attributes and data.
//!
//! An event's data is walked once however many meters it feeds (`found`).

mod found;
mod kept;

use std::borrow::Cow;

use hashbrown::HashMap;
use rating::catalog::{Catalog, Condition, ExcessDigits, Meter, MeterKind, Path, SessionPaths, WhenMissing};

use super::envelope::{Envelope, Members};
use super::quoted;
use crate::decimal::{DecimalError, SCALE, parse_decimal};
use crate::event::{Reading, Readings, Signal};
use crate::json::push_json_string;
use crate::rejected::{Refusal, RejectReason};
use crate::timestamp::parse_time;

use found::{At, Data, Found, TreeNode, slot_for};
pub use kept::{KeptEvent, KeptReading, Underivable, underivable};

/// One billionth-scaled unit.
const ONE: i128 = 10i128.pow(SCALE);
const NANOS_PER_MICROSECOND: i128 = 1_000;

/// The catalog's meters, arranged by event type.
#[derive(Debug, Clone)]
pub(super) struct MeterPlan {
    tenant: Field,
    /// Extension attributes that some path names.
    extensions: Vec<String>,
    by_event_type: HashMap<String, EventTypePlan>,
    /// For event types that no meter takes: the tenant may still stand in the data.
    unmetered: EventTypePlan,
}

#[derive(Debug, Clone, Default)]
struct EventTypePlan {
    tree: Vec<TreeNode>,
    slots: usize,
    meters: Vec<MeterFields>,
}

/// A path of the catalog, resolved to where its value will be found.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Field {
    Source,
    Id,
    Type,
    Subject,
    Time,
    ContentType,
    Schema,
    Extension(usize),
    Data(usize),
}

/// A meter with its paths resolved.
#[derive(Debug, Clone)]
struct MeterFields {
    index: usize,
    meter: Meter,
    value: Option<Field>,
    resource: Option<Field>,
    dimensions: Vec<DimensionField>,
    conditions: Vec<(Field, Condition)>,
    signal: Option<Field>,
    started_at: Option<Field>,
    ended_at: Option<Field>,
    duration: Option<Field>,
}

/// A dimension, its path resolved.
#[derive(Debug, Clone)]
struct DimensionField {
    name: String,
    /// The name as a key of a JSON object, with its colon.
    key: String,
    field: Field,
}

impl MeterPlan {
    pub fn new(catalog: &Catalog) -> Self {
        let mut extensions = Vec::new();
        let mut unmetered = EventTypePlan::default();
        let tenant = unmetered.resolve(&catalog.tenant, &mut extensions);
        let mut by_event_type = HashMap::new();
        for (index, meter) in catalog.meters.iter().enumerate() {
            // Each type's plan starts as a copy, so that the tenant's slot is the same everywhere.
            let plan = by_event_type.entry(meter.event_type.clone()).or_insert_with(|| unmetered.clone());
            plan.add(index, meter, &mut extensions);
        }
        Self { tenant, extensions, by_event_type, unmetered }
    }

    pub fn extensions(&self) -> &[String] {
        &self.extensions
    }

    /// The tenant, where it is an attribute that could be read.
    pub fn tenant_attribute<'e, 'm>(&self, envelope: &'e Envelope<'m>) -> Option<&'e Cow<'m, str>> {
        self.tenant.attribute(envelope)
    }

    /// Reads the tenant and one reading per meter that the event feeds.
    pub fn read<'m>(
        &self,
        envelope: &Envelope<'m>,
        members: Option<&Members<'m>>,
        time_us: i64,
    ) -> Result<(Cow<'m, str>, Readings<'m>), Refusal> {
        match (&envelope.data, members) {
            (None, _) => self.read_data(envelope, Data::Nothing, time_us),
            (Some(Cow::Borrowed(_)), Some(members)) => {
                self.read_data(envelope, Data::Members(members), time_us)
            }
            (Some(Cow::Borrowed(data)), None) => self.read_data(envelope, Data::Text(data), time_us),
            // Data that came as base64 lives no longer than the envelope.
            (Some(Cow::Owned(data)), _) => {
                let (tenant, readings) = self.read_data(envelope, Data::Text(data), time_us)?;
                let tenant = Cow::Owned(tenant.into_owned());
                Ok((tenant, readings.into_iter().map(Reading::into_owned).collect()))
            }
        }
    }

    fn read_data<'m>(
        &self,
        envelope: &Envelope<'m>,
        data: Data<'_, 'm>,
        time_us: i64,
    ) -> Result<(Cow<'m, str>, Readings<'m>), Refusal> {
        let event_type = envelope.event_type.as_deref().unwrap_or_default();
        let plan = self.by_event_type.get(event_type).unwrap_or(&self.unmetered);
        let found = plan.find(envelope, data)?;
        let tenant = match self.tenant_attribute(envelope) {
            Some(tenant) => Some(tenant.clone()),
            None => found.text(&self.tenant)?,
        };
        let tenant = tenant.filter(|tenant| !tenant.is_empty()).ok_or_else(|| {
            Refusal::new(RejectReason::TenantMissing, "nothing stands where the catalog looks for the tenant")
        })?;
        let mut readings = Readings::new();
        for meter in &plan.meters {
            if let Some(reading) = meter.read(&found, time_us)? {
                readings.push(reading);
            }
        }
        Ok((tenant, readings))
    }
}

impl EventTypePlan {
    fn add(&mut self, index: usize, meter: &Meter, extensions: &mut Vec<String>) {
        let mut resolve = |path: &Path| self.resolve(path, extensions);
        let session = meter.session.as_ref();
        let mut session_path = |path: fn(&SessionPaths) -> &Option<Path>| {
            session.and_then(|session| path(session).as_ref()).map(&mut resolve)
        };
        let fields = MeterFields {
            index,
            signal: session_path(|session| &session.signal),
            started_at: session_path(|session| &session.started_at),
            ended_at: session_path(|session| &session.ended_at),
            duration: session_path(|session| &session.duration_seconds),
            value: meter.value.as_ref().map(&mut resolve),
            resource: meter.resource.as_ref().map(&mut resolve),
            dimensions: meter
                .dimensions
                .iter()
                .map(|(name, path)| DimensionField::new(name, resolve(path)))
                .collect(),
            conditions: meter.only_when.iter().map(|it| (resolve(&it.path), it.clone())).collect(),
            meter: meter.clone(),
        };
        self.meters.push(fields);
    }

    fn resolve(&mut self, path: &Path, extensions: &mut Vec<String>) -> Field {
        match path {
            Path::Attribute(name) => Field::of_attribute(name, extensions),
            Path::Data(keys) => Field::Data(slot_for(&mut self.tree, keys, &mut self.slots)),
        }
    }
}

impl Field {
    fn of_attribute(name: &str, extensions: &mut Vec<String>) -> Self {
        match name {
            "source" => Self::Source,
            "id" => Self::Id,
            "type" => Self::Type,
            "subject" => Self::Subject,
            "time" => Self::Time,
            "datacontenttype" => Self::ContentType,
            "dataschema" => Self::Schema,
            other => {
                let at = extensions.iter().position(|extension| extension == other);
                Self::Extension(at.unwrap_or_else(|| {
                    extensions.push(other.to_owned());
                    extensions.len() - 1
                }))
            }
        }
    }

    #[inline]
    fn attribute<'e, 'm>(&self, envelope: &'e Envelope<'m>) -> Option<&'e Cow<'m, str>> {
        match self {
            Self::Source => envelope.source.as_ref(),
            Self::Id => envelope.id.as_ref(),
            Self::Type => envelope.event_type.as_ref(),
            Self::Subject => envelope.subject.as_ref(),
            Self::Time => envelope.time.as_ref(),
            Self::ContentType => envelope.content_type.as_ref(),
            Self::Schema => envelope.schema.as_ref(),
            Self::Extension(at) => envelope.extensions[*at].as_ref(),
            Self::Data(_) => None,
        }
    }
}

impl DimensionField {
    fn new(name: &str, field: Field) -> Self {
        let mut key = String::new();
        push_json_string(&mut key, name);
        key.push(':');
        Self { name: name.to_owned(), key, field }
    }
}

impl MeterFields {
    /// What this meter reads; none if the event does not feed it.
    fn read<'m>(&self, found: &Found<'_, 'm>, time_us: i64) -> Result<Option<Reading<'m>>, Refusal> {
        for (field, condition) in &self.conditions {
            let text = found.text(field)?;
            let matches = text.is_some_and(|text| condition.any_of.iter().any(|value| *value == *text));
            if matches == condition.negate {
                return Ok(None);
            }
        }
        let mut reading = Reading {
            meter: self.index,
            value: None,
            resource: None,
            dimensions: None,
            signal: None,
            signal_time_us: None,
        };
        let usable = match self.meter.kind {
            MeterKind::Unique => true,
            MeterKind::Session { .. } => self.read_session(found, time_us, &mut reading)?,
            MeterKind::Gauge { .. } | MeterKind::Delta | MeterKind::Cumulative => {
                self.read_value(found, &mut reading)?
            }
        };
        if !usable {
            return Ok(None);
        }
        if let Some(field) = &self.resource {
            match self.scalar(found, field, RejectReason::ResourceMissing, "its resource")? {
                Some(resource) => reading.resource = Some(resource),
                None if self.meter.when_missing == WhenMissing::Skip => return Ok(None),
                None => return Err(self.refuse(RejectReason::ResourceMissing, "has no resource")),
            }
        }
        reading.dimensions = self.read_dimensions(found)?;
        Ok(Some(reading))
    }

    fn refuse(&self, reason: RejectReason, what: &str) -> Refusal {
        Refusal::new(reason, format!("meter {} {what}", self.meter.key))
    }

    /// False if the event does not feed this meter.
    fn read_value(&self, found: &Found<'_, '_>, reading: &mut Reading<'_>) -> Result<bool, Refusal> {
        let Some(field) = &self.value else {
            reading.value = Some(ONE);
            return Ok(true);
        };
        match self.scalar(found, field, RejectReason::ValueNotANumber, "its value")? {
            Some(text) => reading.value = Some(self.decimal(&text)?),
            None if self.meter.when_missing == WhenMissing::Skip => return Ok(false),
            None => return Err(self.refuse(RejectReason::ValueMissing, "finds no value")),
        }
        Ok(true)
    }

    /// The text at a path. An object or array there is wrong, which is not the same as missing: it must
    /// neither be skipped nor stand for a default.
    fn scalar<'m>(
        &self,
        found: &Found<'_, 'm>,
        field: &Field,
        reason: RejectReason,
        what: &str,
    ) -> Result<Option<Cow<'m, str>>, Refusal> {
        match found.at(field)? {
            At::Text(text) => Ok(Some(text)),
            At::Nothing => Ok(None),
            At::Compound => Err(self.refuse(reason, &format!("finds an object or array as {what}"))),
        }
    }

    fn decimal(&self, text: &str) -> Result<i128, Refusal> {
        let round = self.meter.excess_digits == ExcessDigits::Round;
        parse_decimal(text, round).map_err(|error| {
            let (reason, what) = match error {
                DecimalError::NotANumber => (RejectReason::ValueNotANumber, "which is not a number"),
                DecimalError::OutOfRange => (RejectReason::ValueOutOfRange, "which is out of range"),
                DecimalError::TooManyDecimals => {
                    (RejectReason::ValueTooPrecise, "which has more than 9 decimals (see excess_digits)")
                }
            };
            self.refuse(reason, &format!("finds the value {}, {what}", quoted(text)))
        })
    }

    /// A start, heartbeat or stop moves the session's state; a complete session carries its length.
    fn read_session(
        &self,
        found: &Found<'_, '_>,
        time_us: i64,
        reading: &mut Reading<'_>,
    ) -> Result<bool, Refusal> {
        let session = self.meter.session.as_ref().expect("the catalog gives every session meter its paths");
        let started_at_us = self.read_instant(found, self.started_at.as_ref())?;
        let ended_at_us = self.read_instant(found, self.ended_at.as_ref())?;
        let Some(signal_field) = &self.signal else {
            let complete = self.complete_session(found, time_us, started_at_us, ended_at_us)?;
            let Some((start_us, length)) = complete else {
                return match self.meter.when_missing {
                    WhenMissing::Skip => Ok(false),
                    WhenMissing::Reject => {
                        Err(self.refuse(RejectReason::SessionInvalid, "finds neither a start nor a duration"))
                    }
                };
            };
            reading.signal = Some(Signal::Complete);
            reading.signal_time_us = Some(start_us);
            reading.value = Some(length);
            return Ok(true);
        };
        let word = self.scalar(found, signal_field, RejectReason::SessionInvalid, "its signal")?;
        let Some(word) = word else {
            return match self.meter.when_missing {
                WhenMissing::Skip => Ok(false),
                WhenMissing::Reject => Err(self.refuse(RejectReason::SessionInvalid, "finds no signal")),
            };
        };
        let any = |words: &[String]| words.iter().any(|known| *known == *word);
        let signal = if any(&session.start) {
            Signal::Start
        } else if any(&session.stop) {
            Signal::Stop
        } else if any(&session.heartbeat) {
            Signal::Heartbeat
        } else {
            let what = format!("finds the signal {}, which it does not know", quoted(&word));
            return Err(self.refuse(RejectReason::SessionInvalid, &what));
        };
        reading.signal = Some(signal);
        // The instant that counts: when it began for a start, when it ended for a stop, if the event says so.
        reading.signal_time_us = match signal {
            Signal::Start => started_at_us,
            Signal::Stop => ended_at_us,
            Signal::Heartbeat | Signal::Complete | Signal::Void | Signal::Amend => None,
        };
        Ok(true)
    }

    /// Start and length (in billionths of a second) of a session that one event tells whole; none if the
    /// event tells neither.
    fn complete_session(
        &self,
        found: &Found<'_, '_>,
        time_us: i64,
        started_at_us: Option<i64>,
        ended_at_us: Option<i64>,
    ) -> Result<Option<(i64, i128)>, Refusal> {
        let duration = match &self.duration {
            Some(field) => self.scalar(found, field, RejectReason::ValueNotANumber, "its duration")?,
            None => None,
        };
        let duration = duration.map(|text| self.decimal(&text)).transpose()?;
        let end_us = i128::from(ended_at_us.unwrap_or(time_us));
        let (start_us, length) = match (started_at_us.map(i128::from), duration) {
            (Some(start_us), Some(duration)) => (start_us, duration),
            (Some(start_us), None) => (start_us, (end_us - start_us) * NANOS_PER_MICROSECOND),
            (None, Some(duration)) => (end_us - duration / NANOS_PER_MICROSECOND, duration),
            (None, None) => return Ok(None),
        };
        if length < 0 {
            return Err(
                self.refuse(RejectReason::SessionInvalid, "finds a session that ends before it starts")
            );
        }
        match (i64::try_from(start_us), i64::try_from(start_us + length / NANOS_PER_MICROSECOND)) {
            (Ok(start_us), Ok(_)) => Ok(Some((start_us, length))),
            _ => Err(self.refuse(RejectReason::ValueOutOfRange, "finds a session longer than time itself")),
        }
    }

    fn read_instant(&self, found: &Found<'_, '_>, field: Option<&Field>) -> Result<Option<i64>, Refusal> {
        let Some(field) = field else { return Ok(None) };
        let text = self.scalar(found, field, RejectReason::SessionInvalid, "a time")?;
        let Some(text) = text else { return Ok(None) };
        let instant = parse_time(&text).ok_or_else(|| {
            let what = format!("finds the time {}, expected RFC 3339", quoted(&text));
            self.refuse(RejectReason::SessionInvalid, &what)
        })?;
        Ok(Some(instant))
    }

    /// The dimensions that the event names, as a JSON object; none if it names none.
    fn read_dimensions(&self, found: &Found<'_, '_>) -> Result<Option<String>, Refusal> {
        let mut object = String::with_capacity(if self.dimensions.is_empty() { 0 } else { 96 });
        for DimensionField { name, key, field } in &self.dimensions {
            let text = match found.at(field)? {
                At::Text(text) => text,
                At::Nothing => continue,
                At::Compound => {
                    let what = format!("finds an object or array as its dimension {name}");
                    return Err(self.refuse(RejectReason::DimensionInvalid, &what));
                }
            };
            object.push(if object.is_empty() { '{' } else { ',' });
            object.push_str(key);
            push_json_string(&mut object, &text);
        }
        if object.is_empty() {
            return Ok(None);
        }
        object.push('}');
        Ok(Some(object))
    }
}
