//! A slow and obvious decoder: the rules of DESIGN.md 3.1 and 3.3, one after the other.
//!
//! It shares no parsing code with the real one: JSON comes from `serde_json`, decimals are moved about as
//! text, times are civil times of `jiff`. Its only optimisation is not to have one. It names no module
//! above it, so that `ingest/fuzz` can mount this file beside the decoder.

mod figures;
mod text;

use std::collections::{BTreeMap, HashMap};

use base64::Engine as _;
use rating::catalog::{Catalog, Meter, MeterKind, Path, SessionPaths, WhenMissing};
use serde_json::value::RawValue;

use crate::decode::{DecodeLimits, Decoded};
use crate::raw_message::RawMessage;
use crate::rejected::RejectReason;
pub use figures::{billionths, rfc3339};
use text::{NESTING_MAX, SPACE, Scalar, is_json, json, nesting, object, pairs, scalar, set_once};

/// A rule's answer, or the reason by which the event is rejected.
type Ruled<T> = Result<T, RejectReason>;

/// What a message, or one event of a batch, turned out to be: without borrowing and without wording.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    Tombstone,
    Rejected { reason: RejectReason, batch_index: i32, payload: Vec<u8> },
    Event(Box<Event>),
}

#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::struct_field_names, reason = "an event's type is called so everywhere")]
pub struct Event {
    pub source: String,
    pub id: String,
    pub tenant: String,
    pub event_type: String,
    pub time_us: i64,
    pub time_given: bool,
    pub data: Option<String>,
    pub batch_index: i32,
    pub readings: Vec<Reading>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reading {
    pub meter: String,
    pub value: Option<i128>,
    pub resource: Option<String>,
    pub dimensions: BTreeMap<String, String>,
    pub signal: Option<&'static str>,
    pub signal_time_us: Option<i64>,
}

impl Outcome {
    /// What the real decoder said, in the same terms.
    pub fn of(decoded: &Decoded<'_>, catalog: &Catalog) -> Self {
        let event = match decoded {
            Decoded::Tombstone => return Self::Tombstone,
            Decoded::Rejected(rejected) => {
                let payload = rejected.payload.to_vec();
                let batch_index = rejected.batch_index;
                return Self::Rejected { reason: rejected.why.reason, batch_index, payload };
            }
            Decoded::Event(event) => event,
        };
        let readings = event.readings.iter().map(|reading| Reading {
            meter: catalog.meters[reading.meter].key.clone(),
            value: reading.value,
            resource: reading.resource.as_deref().map(str::to_owned),
            dimensions: reading.dimensions.as_deref().map_or_else(BTreeMap::new, |text| {
                serde_json::from_str(text).expect("dimensions are a JSON object of texts")
            }),
            signal: reading.signal.map(crate::event::Signal::name),
            signal_time_us: reading.signal_time_us,
        });
        Self::Event(Box::new(Event {
            source: event.source.to_string(),
            id: event.id.to_string(),
            tenant: event.tenant.to_string(),
            event_type: event.event_type.to_string(),
            time_us: event.time_us,
            time_given: event.time_given,
            data: event.data.as_deref().map(str::to_owned),
            batch_index: event.batch_index,
            readings: readings.collect(),
        }))
    }
}

/// Everything besides the message that a verdict depends on.
#[derive(Debug, Clone, Copy)]
pub struct Oracle<'c> {
    pub catalog: &'c Catalog,
    pub limits: DecodeLimits,
    pub arrival_us: i64,
}

#[derive(Debug, Clone, Default)]
struct Envelope {
    attributes: HashMap<String, String>,
    data: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Binary,
    Structured,
    Batch,
}

impl Oracle<'_> {
    pub fn decode(&self, message: &RawMessage<'_>) -> Vec<Outcome> {
        let Some(payload) = message.payload else { return vec![Outcome::Tombstone] };
        let elements = match self.elements(message, payload) {
            Ok(elements) => elements,
            Err(reason) => {
                return vec![Outcome::Rejected { reason, batch_index: 0, payload: payload.to_vec() }];
            }
        };
        let outcomes = elements.into_iter().enumerate().map(|(at, (payload, envelope))| {
            let batch_index = i32::try_from(at).expect("a batch is smaller than that");
            match envelope.and_then(|envelope| self.accept(&envelope, message.stamped_at_us)) {
                Ok(event) => Outcome::Event(Box::new(Event { batch_index, ..event })),
                Err(reason) => Outcome::Rejected { reason, batch_index, payload },
            }
        });
        outcomes.collect()
    }

    /// The events of a message, each with its bytes.
    fn elements(&self, message: &RawMessage<'_>, payload: &[u8]) -> Ruled<Vec<(Vec<u8>, Ruled<Envelope>)>> {
        if payload.len() > self.limits.message_bytes_max {
            return Err(RejectReason::TooLarge);
        }
        let mode = mode_of(message, payload)?;
        if mode == Mode::Binary {
            return Ok(vec![(payload.to_vec(), self.binary(message, payload))]);
        }
        let text = std::str::from_utf8(payload).map_err(|_| RejectReason::InvalidUtf8)?;
        if mode == Mode::Structured {
            return Ok(vec![(payload.to_vec(), self.structured(text))]);
        }
        let elements = match serde_json::from_str::<Vec<Box<RawValue>>>(text) {
            Ok(elements) if nesting(text) <= NESTING_MAX => elements,
            Err(_) if is_json(text) && !text.trim_start_matches(SPACE).starts_with('[') => {
                return Err(RejectReason::NotACloudEvent);
            }
            _ => return Err(RejectReason::InvalidJson),
        };
        let element =
            |element: Box<RawValue>| (element.get().as_bytes().to_vec(), self.structured(element.get()));
        Ok(elements.into_iter().map(element).collect())
    }

    fn structured(&self, text: &str) -> Ruled<Envelope> {
        let start = text.trim_start_matches(SPACE);
        if !start.is_empty() && !start.starts_with('{') {
            return Err(if is_json(text) { RejectReason::NotACloudEvent } else { RejectReason::InvalidJson });
        }
        let mut envelope = Envelope::default();
        let (mut data, mut data_base64) = (None, None);
        let (pairs, complete) = pairs(text);
        for (key, raw) in pairs {
            match key.as_str() {
                "data" => set_once(&mut data, raw)?,
                "data_base64" => set_once(&mut data_base64, raw)?,
                name if self.is_read(name) => match scalar(&raw)? {
                    Scalar::Text(text) => envelope.set(name, text)?,
                    Scalar::Null => {}
                    Scalar::Compound => return Err(RejectReason::AttributeInvalid),
                },
                _ => {}
            }
        }
        if !complete {
            return Err(RejectReason::InvalidJson);
        }
        match (data.filter(|raw| raw != "null"), data_base64.filter(|raw| raw != "null")) {
            (Some(_), Some(_)) => return Err(RejectReason::DuplicateKey),
            (Some(data), None) => envelope.data = Some(object(data)?),
            (None, Some(encoded)) => {
                let text = if encoded.starts_with('"') { scalar(&encoded)? } else { Scalar::Null };
                let Scalar::Text(text) = text else { return Err(RejectReason::AttributeInvalid) };
                let bytes = base64::engine::general_purpose::STANDARD
                    .decode(text)
                    .map_err(|_| RejectReason::AttributeInvalid)?;
                let text = String::from_utf8(bytes).map_err(|_| RejectReason::InvalidUtf8)?;
                envelope.data = Some(object(json(&text)?)?);
            }
            (None, None) => {}
        }
        Ok(envelope)
    }

    fn binary(&self, message: &RawMessage<'_>, payload: &[u8]) -> Ruled<Envelope> {
        let utf8 = |bytes| std::str::from_utf8(bytes).map_err(|_| RejectReason::InvalidUtf8);
        let mut envelope = Envelope::default();
        for (header, value) in &message.headers {
            let header = header.to_ascii_lowercase();
            let attribute = match (header.as_str(), header.strip_prefix("ce_")) {
                ("content-type", _) => "datacontenttype",
                (_, Some(attribute)) => attribute,
                _ => continue,
            };
            if let (true, Some(value)) = (self.is_read(attribute), value) {
                envelope.set(attribute, utf8(value)?.to_owned())?;
            }
        }
        if let Some(media_type) = envelope.attributes.get("datacontenttype") {
            let media_type = media_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
            let plain = ["application/json", "text/json"].contains(&media_type.as_str());
            if !plain && !media_type.ends_with("+json") {
                return Err(RejectReason::UnsupportedContent);
            }
        }
        let text = utf8(payload)?;
        if !text.trim_ascii().is_empty() {
            let data = json(text)?;
            envelope.data = if data == "null" { None } else { Some(object(data)?) };
        }
        Ok(envelope)
    }

    /// Whether anything is done with an attribute; what else an event carries does not matter.
    fn is_read(&self, name: &str) -> bool {
        let own = ["id", "source", "type", "subject", "time", "specversion", "datacontenttype", "dataschema"];
        let named = |path: &&Path| matches!(path, Path::Attribute(attribute) if attribute == name);
        own.contains(&name)
            || named(&&self.catalog.tenant)
            || self.catalog.meters.iter().any(|meter| paths(meter).iter().any(named))
    }

    fn accept(&self, envelope: &Envelope, stamped_at_us: Option<i64>) -> Ruled<Event> {
        match envelope.attributes.get("specversion").map(String::as_str) {
            Some("1.0") => {}
            Some(_) => return Err(RejectReason::AttributeInvalid),
            None => return Err(RejectReason::NotACloudEvent),
        }
        let required = |name: &str| {
            let text = envelope.attributes.get(name).filter(|text| !text.is_empty());
            text.cloned().ok_or(RejectReason::AttributeMissing)
        };
        let (source, id, event_type) = (required("source")?, required("id")?, required("type")?);
        let time = envelope.attributes.get("time");
        let time_us = match time {
            Some(text) => rfc3339(text).ok_or(RejectReason::TimeInvalid)?,
            None => stamped_at_us.ok_or(RejectReason::TimeMissing)?,
        };
        self.check_time(time_us)?;
        let meters: Vec<&Meter> =
            self.catalog.meters.iter().filter(|meter| meter.event_type == event_type).collect();
        let place = Places::find(envelope, &self.catalog.tenant, &meters)?;
        let tenant = place.text(Some(&self.catalog.tenant))?.filter(|tenant| !tenant.is_empty());
        let tenant = tenant.ok_or(RejectReason::TenantMissing)?;
        let mut readings = Vec::new();
        for meter in meters {
            readings.extend(read(meter, &place, time_us)?);
        }
        for reading in &readings {
            reading.signal_time_us.map_or(Ok(()), |time_us| self.check_time(time_us))?;
            if let ("complete", Some(start), Some(length)) =
                (reading.signal.unwrap_or_default(), reading.signal_time_us, reading.value)
            {
                self.check_time(start + i64::try_from(length / 1000).expect("shorter than time"))?;
            }
        }
        let (time_given, data) = (time.is_some(), envelope.data.clone());
        Ok(Event { source, id, tenant, event_type, time_us, time_given, data, batch_index: 0, readings })
    }

    fn check_time(&self, time_us: i64) -> Ruled<()> {
        if i128::from(time_us) > i128::from(self.arrival_us) + i128::from(self.limits.future_tolerance_us) {
            return Err(RejectReason::TimeInFuture);
        }
        if time_us < self.limits.earliest_time_us { Err(RejectReason::TimeTooOld) } else { Ok(()) }
    }
}

impl Envelope {
    fn set(&mut self, name: &str, text: String) -> Ruled<()> {
        let earlier = self.attributes.insert(name.to_owned(), text);
        if earlier.is_some() { Err(RejectReason::DuplicateKey) } else { Ok(()) }
    }
}

fn mode_of(message: &RawMessage<'_>, payload: &[u8]) -> Ruled<Mode> {
    let header = |name: &str| {
        let first = message.headers.iter().find(|(header, _)| header.to_ascii_lowercase() == name);
        first.and_then(|(_, value)| *value)
    };
    let content_type = header("content-type").unwrap_or_default();
    let media_type = String::from_utf8_lossy(content_type).to_ascii_lowercase();
    let media_type =
        media_type.split(';').next().unwrap_or_default().trim_matches([' ', '\t', '\n', '\r', '\x0c']);
    match media_type {
        "application/cloudevents" | "application/cloudevents+json" => Ok(Mode::Structured),
        "application/cloudevents-batch" | "application/cloudevents-batch+json" => Ok(Mode::Batch),
        other if other.starts_with("application/cloudevents") => Err(RejectReason::UnsupportedContent),
        _ if header("ce_specversion").is_some() => Ok(Mode::Binary),
        _ if payload.trim_ascii_start().starts_with(b"[") => Ok(Mode::Batch),
        _ => Ok(Mode::Structured),
    }
}

fn paths(meter: &Meter) -> Vec<&Path> {
    let session = meter.session.iter().flat_map(|session| {
        let SessionPaths { signal, started_at, ended_at, duration_seconds, .. } = session;
        [signal, started_at, ended_at, duration_seconds].into_iter().flatten()
    });
    let conditions = meter.only_when.iter().map(|condition| &condition.path);
    meter
        .value
        .iter()
        .chain(&meter.resource)
        .chain(meter.dimensions.values())
        .chain(conditions)
        .chain(session)
        .collect()
}

/// What stands at the paths of one event.
struct Places<'e> {
    envelope: &'e Envelope,
    /// By the path's keys, as JSON.
    data: HashMap<Vec<String>, String>,
}

impl<'e> Places<'e> {
    fn find(envelope: &'e Envelope, tenant: &Path, meters: &[&Meter]) -> Ruled<Self> {
        let all = meters.iter().flat_map(|meter| paths(meter)).chain([tenant]);
        let wanted: Vec<&[String]> = all
            .filter_map(|path| match path {
                Path::Data(keys) => Some(keys.as_slice()),
                Path::Attribute(_) => None,
            })
            .collect();
        let mut places = Self { envelope, data: HashMap::new() };
        if let (Some(data), false) = (&envelope.data, wanted.is_empty()) {
            places.walk(data, &[], &wanted)?;
        }
        Ok(places)
    }

    fn walk(&mut self, object: &str, prefix: &[String], wanted: &[&[String]]) -> Ruled<()> {
        let (pairs, complete) = pairs(object);
        for (key, raw) in pairs {
            let place = [prefix, &[key]].concat();
            if !wanted.iter().any(|path| path.starts_with(&place)) {
                continue;
            }
            if self.data.insert(place.clone(), raw.clone()).is_some() {
                return Err(RejectReason::DuplicateKey);
            }
            if raw.starts_with('{')
                && wanted.iter().any(|path| path.len() > place.len() && path.starts_with(&place))
            {
                self.walk(&raw, &place, wanted)?;
            }
        }
        if complete { Ok(()) } else { Err(RejectReason::InvalidJson) }
    }

    fn scalar(&self, path: &Path) -> Ruled<Scalar> {
        match path {
            Path::Attribute(name) => {
                Ok(self.envelope.attributes.get(name).cloned().map_or(Scalar::Null, Scalar::Text))
            }
            Path::Data(keys) => self.data.get(keys).map_or(Ok(Scalar::Null), |raw| scalar(raw)),
        }
    }

    /// The text at a path; none if nothing, or something that is no text, stands there.
    fn text(&self, path: Option<&Path>) -> Ruled<Option<String>> {
        self.text_or(path, None)
    }

    /// The text at a path; what is no text is refused for this reason.
    fn text_or(&self, path: Option<&Path>, compound: Option<RejectReason>) -> Ruled<Option<String>> {
        match (path.map(|path| self.scalar(path)).transpose()?, compound) {
            (Some(Scalar::Text(text)), _) => Ok(Some(text)),
            (Some(Scalar::Compound), Some(reason)) => Err(reason),
            _ => Ok(None),
        }
    }
}

/// What a meter reads; none if the event does not feed it.
fn read(meter: &Meter, place: &Places<'_>, time_us: i64) -> Ruled<Option<Reading>> {
    for condition in &meter.only_when {
        let listed = place.text(Some(&condition.path))?.is_some_and(|text| condition.any_of.contains(&text));
        if listed == condition.negate {
            return Ok(None);
        }
    }
    let skip = meter.when_missing == WhenMissing::Skip;
    let missing = |reason| if skip { Ok(None) } else { Err(reason) };
    let mut reading = Reading { meter: meter.key.clone(), ..Reading::default() };
    match (&meter.kind, &meter.value) {
        (MeterKind::Unique, _) => {}
        (MeterKind::Session { .. }, _) => {
            if !read_session(meter, place, time_us, &mut reading)? {
                return missing(RejectReason::SessionInvalid);
            }
        }
        (_, None) => reading.value = Some(1_000_000_000),
        (_, Some(path)) => match place.text_or(Some(path), Some(RejectReason::ValueNotANumber))? {
            Some(text) => reading.value = Some(billionths(&text, meter.excess_digits)?),
            None => return missing(RejectReason::ValueMissing),
        },
    }
    if let Some(path) = &meter.resource {
        match place.text_or(Some(path), Some(RejectReason::ResourceMissing))? {
            Some(resource) => reading.resource = Some(resource),
            None => return missing(RejectReason::ResourceMissing),
        }
    }
    for (name, path) in &meter.dimensions {
        if let Some(text) = place.text_or(Some(path), Some(RejectReason::DimensionInvalid))? {
            reading.dimensions.insert(name.clone(), text);
        }
    }
    Ok(Some(reading))
}

/// False if the event says nothing about a session.
fn read_session(meter: &Meter, place: &Places<'_>, time_us: i64, reading: &mut Reading) -> Ruled<bool> {
    let session = meter.session.as_ref().expect("a session meter has its paths");
    let instant = |path: &Option<Path>| -> Ruled<Option<i64>> {
        let text = place.text_or(path.as_ref(), Some(RejectReason::SessionInvalid))?;
        text.map(|text| rfc3339(&text).ok_or(RejectReason::SessionInvalid)).transpose()
    };
    let (started_at, ended_at) = (instant(&session.started_at)?, instant(&session.ended_at)?);
    if session.signal.is_some() {
        let word = place.text_or(session.signal.as_ref(), Some(RejectReason::SessionInvalid))?;
        let Some(word) = word else { return Ok(false) };
        (reading.signal, reading.signal_time_us) = if session.start.contains(&word) {
            (Some("start"), started_at)
        } else if session.stop.contains(&word) {
            (Some("stop"), ended_at)
        } else if session.heartbeat.contains(&word) {
            (Some("heartbeat"), None)
        } else {
            return Err(RejectReason::SessionInvalid);
        };
        return Ok(true);
    }
    let duration = place.text_or(session.duration_seconds.as_ref(), Some(RejectReason::ValueNotANumber))?;
    let duration = duration.map(|text| billionths(&text, meter.excess_digits)).transpose()?;
    let end = i128::from(ended_at.unwrap_or(time_us));
    let (start, length) = match (started_at.map(i128::from), duration) {
        (Some(start), Some(duration)) => (start, duration),
        (Some(start), None) => (start, (end - start) * 1000),
        (None, Some(duration)) => (end - duration / 1000, duration),
        (None, None) => return Ok(false),
    };
    if length < 0 {
        return Err(RejectReason::SessionInvalid);
    }
    i64::try_from(start + length / 1000).map_err(|_| RejectReason::ValueOutOfRange)?;
    reading.signal = Some("complete");
    reading.signal_time_us = Some(i64::try_from(start).map_err(|_| RejectReason::ValueOutOfRange)?);
    reading.value = Some(length);
    Ok(true)
}
