//! Events that correct earlier ones: `meterhouse.void` and `meterhouse.amend`.
//!
//! They are CloudEvents with an identity of their own, and name the corrected event in their data:
//!
//! ```json
//! {"type": "meterhouse.void",  "data": {"source": "/agents/7", "id": "e-1"}, …}
//! {"type": "meterhouse.amend", "data": {"source": "/agents/7", "id": "e-1", "type": "storage.sampled",
//!                                       "data": {"bytes": 12}, "time": "2026-05-01T12:00:00Z"}, …}
//! ```
//!
//! - Nothing stored is touched. Whoever counts leaves the named event out, whenever it arrived or arrives, and counts an
//!   amendment's content in its place. Of several corrections of one event the last to arrive decides, so an amendment
//!   after a void brings the event back.
//! - Their tenant must be that of the event; of another tenant's event nothing changes. It stands where the catalog looks
//!   for it: in the event's own `subject`, or in the data (for an amendment, in the new data).
//! - An amendment names the event's type and the whole new data. Without `time` it keeps the time of the event, and
//!   counts once that has arrived; a meter that needs the time to read the data (a session that only says how long
//!   it was) needs it to be named. With `time` it counts then, whether or not the event is there.
//! - The same void or amendment sent twice counts once; one cannot be voided or amended itself.
//!
//! Stored are rows of `usage_events` in files of their own: first one without meter, whose `resource` is the identity
//! of the corrected event in hexadecimal and whose `signal` is `void` or `amend`; after it, what the catalog's meters
//! read from the new data.

use std::borrow::Cow;
use std::fmt::Write as _;

use super::envelope::{Envelope, Members};
use super::{Decoder, EventContext, KeptEvent, KeptReading, quoted};
use crate::event::{Identity, Reading, Readings, Signal, UsageEvent};
use crate::json::{Kind, Scanner, Value};
use crate::rejected::{Refusal, RejectReason};
use crate::timestamp::parse_time;

/// What the data of a correction says, by its keys.
const NAMES: [&str; 5] = ["source", "id", "type", "time", "data"];

/// What names the corrected event, and its new content.
#[derive(Debug, Default)]
struct Named<'d> {
    source: Option<Cow<'d, str>>,
    id: Option<Cow<'d, str>>,
    event_type: Option<Cow<'d, str>>,
    time: Option<Cow<'d, str>>,
    data: Option<Value<'d>>,
}

/// Which correction an event type is, if it is one.
#[inline]
pub(super) fn kind_of(event_type: &str) -> Option<Signal> {
    match event_type.strip_prefix("meterhouse.")? {
        "void" => Some(Signal::Void),
        "amend" => Some(Signal::Amend),
        _ => None,
    }
}

impl Decoder {
    pub(super) fn accept_correction<'m>(
        &self,
        envelope: &mut Envelope<'m>,
        members: Option<&Members<'m>>,
        context: EventContext,
        kind: Signal,
        own_time: (i64, bool),
    ) -> Result<UsageEvent<'m>, Refusal> {
        let text = envelope.data.clone().unwrap_or_default();
        let named = Named::read(&text)?;
        let target_source = required(named.source.clone(), "source")?;
        let target_id = required(named.id.clone(), "id")?;
        let (mut time_us, mut time_given) = own_time;
        let (tenant, mut readings) = if kind == Signal::Amend {
            time_given = named.time.is_some();
            if let Some(time) = &named.time {
                time_us = parse_time(time).ok_or_else(|| {
                    let detail = format!("the amended time is {}, expected RFC 3339", quoted(time));
                    Refusal::new(RejectReason::TimeInvalid, detail)
                })?;
                self.check_time(time_us, context)?;
            }
            self.read_amended(envelope, &named, time_us, context)?
        } else {
            (self.plan.read(envelope, members, time_us)?.0, Readings::new())
        };
        readings.insert(0, header(Identity::of(&target_source, &target_id), kind));
        let required = |attribute: &mut Option<Cow<'m, str>>| attribute.take().expect("checked before");
        let (source, id) = (required(&mut envelope.source), required(&mut envelope.id));
        Ok(UsageEvent {
            identity: Identity::of(&source, &id),
            source,
            id,
            tenant,
            event_type: required(&mut envelope.event_type),
            time_us,
            time_given,
            data: envelope.data.take(),
            batch_index: context.batch_index,
            readings,
        })
    }

    /// What the meters read from the new data, as if the event had come with it.
    fn read_amended<'m>(
        &self,
        envelope: &Envelope<'m>,
        named: &Named<'_>,
        time_us: i64,
        context: EventContext,
    ) -> Result<(Cow<'m, str>, Readings<'m>), Refusal> {
        let own = |text: &Option<Cow<'_, str>>| text.clone().map(|text| Cow::Owned(text.into_owned()));
        let event_type = required(named.event_type.clone(), "type")?;
        if kind_of(&event_type).is_some() {
            return Err(invalid("a void or an amendment cannot be amended itself"));
        }
        let data = match named.data {
            Some(data) if data.kind == Kind::Object => Some(Cow::Owned(data.text.to_owned())),
            Some(data) if data.kind == Kind::Null => None,
            Some(_) => return Err(invalid("the amended data is no JSON object")),
            None => return Err(missing("data")),
        };
        let amended = Envelope {
            source: own(&named.source),
            id: own(&named.id),
            event_type: Some(Cow::Owned(event_type.into_owned())),
            time: own(&named.time),
            data,
            ..envelope.clone()
        };
        let (tenant, readings) = self.plan.read(&amended, None, time_us)?;
        readings.iter().try_for_each(|reading| self.check_session(reading, context))?;
        if named.time.is_none()
            && self.plan.read(&amended, None, time_us.saturating_add(1_000_000))?.1 != readings
        {
            return Err(needs_time());
        }
        let tenant = Cow::Owned(tenant.into_owned());
        Ok((tenant, readings.into_iter().map(Reading::into_owned).collect()))
    }
}

/// An amendment as the lake kept it.
#[derive(Debug)]
pub struct KeptAmendment<'e> {
    kept: KeptEvent<'e>,
    named: Named<'e>,
}

impl<'e> KeptAmendment<'e> {
    /// None if its data does not say what an amendment says.
    pub fn of(kept: KeptEvent<'e>) -> Option<Self> {
        let named = Named::read(kept.data?).ok()?;
        (named.source.is_some() && named.id.is_some() && named.data.is_some()).then_some(Self { kept, named })
    }

    /// The type of the amended event.
    pub fn event_type(&self) -> &str {
        self.named.event_type.as_deref().unwrap_or_default()
    }

    /// The amended event, as if it had come with the new data.
    fn event(&self) -> KeptEvent<'_> {
        KeptEvent {
            source: self.named.source.as_deref().unwrap_or_default(),
            id: self.named.id.as_deref().unwrap_or_default(),
            event_type: self.event_type(),
            data: self.named.data.filter(|data| data.kind == Kind::Object).map(|data| data.text),
            ..self.kept
        }
    }
}

impl Decoder {
    /// What the wanted meters read from the new data of an amendment, each on its own.
    pub fn read_amendment<'a>(
        &self,
        amendment: &'a KeptAmendment<'_>,
        wanted: impl Fn(usize) -> bool,
    ) -> Vec<KeptReading<'a>> {
        let event = amendment.event();
        let mut readings = self.read_kept(&event, &wanted);
        if !event.time_given {
            let earlier = KeptEvent { time_us: event.time_us - 1_000_000, ..event };
            let others = self.read_kept(&earlier, &wanted);
            for (read, other) in readings.iter_mut().zip(others) {
                if read.reading.is_ok() && read.reading != other.reading {
                    read.reading = Err(needs_time());
                }
            }
        }
        readings
    }
}

impl<'d> Named<'d> {
    fn read(text: &'d str) -> Result<Self, Refusal> {
        let mut named = Self::default();
        if text.is_empty() {
            return Ok(named);
        }
        let mut seen = [false; NAMES.len()];
        let mut scanner = Scanner::new(text);
        scanner.object::<Refusal>(|key, scanner| {
            let value = scanner.value()?;
            let key = key.scalar().expect("a key is a string")?;
            let Some(place) = NAMES.iter().position(|name| *name == key) else { return Ok(()) };
            if std::mem::replace(&mut seen[place], true) {
                let detail = format!("the data of a correction has `{key}` twice");
                return Err(Refusal::new(RejectReason::DuplicateKey, detail));
            }
            let text = || value.scalar().transpose();
            match &*key {
                "source" => named.source = text()?,
                "id" => named.id = text()?,
                "type" => named.event_type = text()?,
                "time" => named.time = text()?,
                _ => named.data = Some(value),
            }
            Ok(())
        })?;
        scanner.finish()?;
        Ok(named)
    }
}

/// The row that says what is corrected.
fn header<'m>(target: Identity, kind: Signal) -> Reading<'m> {
    let mut hexadecimal = String::with_capacity(32);
    for byte in target.0 {
        // Writing to a string cannot fail.
        let _ = write!(hexadecimal, "{byte:02x}");
    }
    Reading {
        meter: Reading::NO_METER,
        value: None,
        resource: Some(Cow::Owned(hexadecimal)),
        dimensions: None,
        signal: Some(kind),
        signal_time_us: None,
    }
}

fn required<'d>(text: Option<Cow<'d, str>>, name: &str) -> Result<Cow<'d, str>, Refusal> {
    text.filter(|text| !text.is_empty()).ok_or_else(|| missing(name))
}

fn missing(name: &str) -> Refusal {
    let detail = format!("the data of a correction names no `{name}` of the event that it corrects");
    Refusal::new(RejectReason::AttributeMissing, detail)
}

fn needs_time() -> Refusal {
    invalid("a meter needs the time to read the amended data: name it as `time` beside `data`")
}

fn invalid(detail: &str) -> Refusal {
    Refusal::new(RejectReason::AttributeInvalid, detail)
}
