//! From a raw message to usage events or rejects (DESIGN.md 3.1 and 3.3).
//!
//! Owns the three Kafka modes of CloudEvents and what the catalog's meters read from an event. Does not
//! own what becomes of the result. An event is taken whole or not at all: if one of its meters finds no
//! usable value, none of its rows is stored, so that a replay after a fix cannot count a part twice.

mod again;
mod correction;
mod envelope;
mod meters;
#[cfg(test)]
mod tests;

use std::borrow::Cow;

use rating::catalog::Catalog;

use crate::event::{Identity, Reading, UsageEvent};
use crate::json::Scanner;
use crate::raw_message::RawMessage;
use crate::rejected::{Refusal, RejectReason, Rejected};
use crate::timestamp::parse_time;
pub use again::KeptBytes;
pub use correction::KeptAmendment;
use envelope::{Envelope, Members};
use meters::MeterPlan;
pub use meters::{KeptEvent, KeptReading, Underivable, underivable};

/// Bounds on what is accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DecodeLimits {
    /// An event may be this much ahead of our clock.
    pub future_tolerance_us: i64,
    /// What happened before this instant is taken for a broken clock.
    pub earliest_time_us: i64,
    pub message_bytes_max: usize,
}

impl Default for DecodeLimits {
    fn default() -> Self {
        Self {
            future_tolerance_us: 5 * 60 * 1_000_000,
            earliest_time_us: 946_684_800_000_000, // 2000-01-01
            message_bytes_max: 1024 * 1024,
        }
    }
}

/// Events in a batch message. A message of half a million zeros must not become as many rejects.
const BATCH_EVENTS_MAX: usize = 10_000;

/// What a message, or one event of a batch, turned out to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decoded<'m> {
    Event(UsageEvent<'m>),
    Rejected(Rejected<'m>),
    /// A message without a value; it is counted and skipped.
    Tombstone,
}

/// Decodes messages by one catalog.
#[derive(Debug, Clone)]
pub struct Decoder {
    plan: MeterPlan,
    limits: DecodeLimits,
}

impl Decoder {
    pub fn new(catalog: &Catalog, limits: DecodeLimits) -> Self {
        Self { plan: MeterPlan::new(catalog), limits }
    }

    /// Decodes a message that arrived now; `each` gets one result per event that it holds.
    pub fn decode<'m>(&self, message: &RawMessage<'m>, arrival_us: i64, each: &mut dyn FnMut(Decoded<'m>)) {
        let Some(payload) = message.payload else {
            return each(Decoded::Tombstone);
        };
        if let Err(why) = self.decode_payload(message, payload, arrival_us, each) {
            each(Decoded::Rejected(Rejected::whole(why, payload)));
        }
    }

    fn decode_payload<'m>(
        &self,
        message: &RawMessage<'m>,
        payload: &'m [u8],
        arrival_us: i64,
        each: &mut dyn FnMut(Decoded<'m>),
    ) -> Result<(), Refusal> {
        self.check_size(payload)?;
        let context = EventContext { stamped_at_us: message.stamped_at_us, arrival_us, batch_index: 0 };
        let mode = Mode::of(message, payload)?;
        if mode == Mode::Binary {
            let mut envelope = Envelope::empty(&self.plan);
            let read = envelope::read_binary(message, payload, &self.plan, &mut envelope);
            each(self.event(&mut envelope, read, None, payload, context));
            return Ok(());
        }
        let text = envelope::utf8(payload)?;
        if mode == Mode::Structured {
            self.structured(text, payload, context, each);
            return Ok(());
        }
        for (batch_index, element) in batch_elements(text)?.into_iter().enumerate() {
            let context = EventContext { batch_index: batch_index as i32, ..context };
            self.structured(element, element.as_bytes(), context, each);
        }
        Ok(())
    }

    /// An event whose attributes stand beside its data in one JSON object.
    fn structured<'m>(
        &self,
        text: &'m str,
        payload: &'m [u8],
        context: EventContext,
        each: &mut dyn FnMut(Decoded<'m>),
    ) {
        let mut envelope = Envelope::empty(&self.plan);
        let mut members = Members::new();
        let read = envelope::read_structured(text, &self.plan, &mut envelope, &mut members);
        each(self.event(&mut envelope, read, Some(&members), payload, context));
    }

    fn check_size(&self, payload: &[u8]) -> Result<(), Refusal> {
        if payload.len() <= self.limits.message_bytes_max {
            return Ok(());
        }
        let detail =
            format!("{} bytes, at most {} are accepted", payload.len(), self.limits.message_bytes_max);
        Err(Refusal::new(RejectReason::TooLarge, detail))
    }

    fn event<'m>(
        &self,
        envelope: &mut Envelope<'m>,
        read: Result<(), Refusal>,
        members: Option<&Members<'m>>,
        payload: &'m [u8],
        context: EventContext,
    ) -> Decoded<'m> {
        let result = read.and_then(|()| self.accept(envelope, members, context));
        match result {
            Ok(event) => Decoded::Event(event),
            Err(why) => Decoded::Rejected(Rejected {
                why,
                batch_index: context.batch_index,
                payload,
                tenant: self.plan.tenant_attribute(envelope).cloned(),
                source: envelope.source.take(),
                id: envelope.id.take(),
                event_type: envelope.event_type.take(),
            }),
        }
    }

    /// Takes the envelope's attributes out, so on an error it may be half empty only where it was complete.
    fn accept<'m>(
        &self,
        envelope: &mut Envelope<'m>,
        members: Option<&Members<'m>>,
        context: EventContext,
    ) -> Result<UsageEvent<'m>, Refusal> {
        envelope.check_attributes()?;
        let (time_us, time_given) = self.time(envelope, context)?;
        let event_type = envelope.event_type.as_deref().unwrap_or_default();
        if let Some(kind) = correction::kind_of(event_type) {
            return self.accept_correction(envelope, members, context, kind, (time_us, time_given));
        }
        let (tenant, readings) = self.plan.read(envelope, members, time_us)?;
        readings.iter().try_for_each(|reading| self.check_session(reading, context))?;
        let required = |attribute: &mut Option<Cow<'m, str>>| attribute.take().expect("checked above");
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

    fn time(&self, envelope: &Envelope<'_>, context: EventContext) -> Result<(i64, bool), Refusal> {
        let time_us = match &envelope.time {
            Some(text) => parse_time(text).ok_or_else(|| {
                let detail = format!("time is {}, expected RFC 3339", quoted(text));
                Refusal::new(RejectReason::TimeInvalid, detail)
            })?,
            None => context.stamped_at_us.ok_or_else(|| {
                let detail = "the event has no time, and its source keeps none";
                Refusal::new(RejectReason::TimeMissing, detail)
            })?,
        };
        self.check_time(time_us, context)?;
        Ok((time_us, envelope.time.is_some()))
    }

    /// A session's own start, stop and end come from the same clock as the event's time.
    fn check_session(&self, reading: &Reading<'_>, context: EventContext) -> Result<(), Refusal> {
        let instants = reading.signal_time_us.into_iter().chain(reading.ended_at_us());
        instants.into_iter().try_for_each(|instant_us| self.check_time(instant_us, context))
    }

    fn check_time(&self, time_us: i64, context: EventContext) -> Result<(), Refusal> {
        if time_us > context.arrival_us.saturating_add(self.limits.future_tolerance_us) {
            let ahead_s = (time_us - context.arrival_us) / 1_000_000;
            return Err(Refusal::new(RejectReason::TimeInFuture, format!("{ahead_s} s ahead of our clock")));
        }
        if time_us < self.limits.earliest_time_us {
            return Err(Refusal::new(RejectReason::TimeTooOld, "before the earliest time that is accepted"));
        }
        Ok(())
    }
}

#[derive(Debug, Clone, Copy)]
struct EventContext {
    stamped_at_us: Option<i64>,
    arrival_us: i64,
    batch_index: i32,
}

impl<'m> Rejected<'m> {
    fn whole(why: Refusal, payload: &'m [u8]) -> Self {
        Self { why, batch_index: 0, payload, source: None, id: None, tenant: None, event_type: None }
    }
}

/// The three ways in which a Kafka message carries CloudEvents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Binary,
    Structured,
    Batch,
}

impl Mode {
    /// By the content type, else by the `ce_` headers; a bare JSON text is taken for what it looks like, so
    /// that events also arrive from tools that cannot set headers.
    fn of(message: &RawMessage<'_>, payload: &[u8]) -> Result<Self, Refusal> {
        // What such a header was to say, and so what the message means, nobody can know.
        if !message.has_readable_headers() {
            let detail = "the name of one of the message's headers is not UTF-8";
            return Err(Refusal::new(RejectReason::InvalidUtf8, detail));
        }
        let content_type = message.header("content-type").unwrap_or_default();
        // What nearly all messages say, as they mostly spell it.
        if content_type == b"application/cloudevents+json" {
            return Ok(Self::Structured);
        }
        let media_type = content_type.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
        // The batch type starts with the structured one's prefix, so it comes first.
        for (prefix, mode) in [
            (&b"application/cloudevents-batch"[..], Self::Batch),
            (b"application/cloudevents", Self::Structured),
        ] {
            if media_type.len() >= prefix.len() && media_type[..prefix.len()].eq_ignore_ascii_case(prefix) {
                let format = &media_type[prefix.len()..];
                if format.is_empty() || format.eq_ignore_ascii_case(b"+json") {
                    return Ok(mode);
                }
                let detail = format!("CloudEvents as {}, only JSON is read", quoted_bytes(media_type));
                return Err(Refusal::new(RejectReason::UnsupportedContent, detail));
            }
        }
        if message.header("ce_specversion").is_some() {
            return Ok(Self::Binary);
        }
        match payload.trim_ascii_start().first() {
            Some(b'[') => Ok(Self::Batch),
            _ => Ok(Self::Structured),
        }
    }
}

/// The texts of a batch's elements. The whole batch must be JSON, or none of it is taken.
fn batch_elements(text: &str) -> Result<Vec<&str>, Refusal> {
    let mut scanner = Scanner::new(text);
    if scanner.peek() != Some(b'[') {
        scanner.value()?;
        scanner.finish()?;
        return Err(Refusal::new(RejectReason::NotACloudEvent, "expected a JSON array of events"));
    }
    let mut elements = Vec::new();
    scanner.array::<Refusal>(|scanner| {
        elements.push(scanner.value()?.text);
        Ok(())
    })?;
    scanner.finish()?;
    if elements.len() > BATCH_EVENTS_MAX {
        let detail = format!("a batch of {} events, at most {BATCH_EVENTS_MAX} are accepted", elements.len());
        return Err(Refusal::new(RejectReason::TooLarge, detail));
    }
    Ok(elements)
}

/// A piece of input in a message, short enough to read and without characters that nobody sees.
fn quoted(text: &str) -> String {
    let mut shown = String::from("`");
    let mut characters = text.chars();
    for character in characters.by_ref().take(60) {
        match character {
            '"' | '\'' => shown.push(character),
            other => shown.extend(other.escape_debug()),
        }
    }
    if characters.next().is_some() {
        shown.push('…');
    }
    shown.push('`');
    shown
}

fn quoted_bytes(bytes: &[u8]) -> String {
    quoted(&String::from_utf8_lossy(bytes))
}
