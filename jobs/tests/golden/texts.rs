//! What the golden files look like: messages and events as JSON lines that people can read.

use std::borrow::Cow;

use ingest::decode::Decoded;
use ingest::event::{Identity, Reading, Signal, UsageEvent};
use ingest::raw_message::{Coordinates, RawMessage};
use ingest::rejected::{Refusal, RejectReason, Rejected};
use rating::catalog::Catalog;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::collections::BTreeMap;

/// `1_messages.jsonl`
#[derive(Debug, Deserialize)]
pub struct MessageText {
    pub offset: i64,
    #[serde(default)]
    pub stamped: Option<String>,
    pub arrival: String,
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// The payload, where it is JSON.
    #[serde(default)]
    pub event: Option<Box<RawValue>>,
    /// The payload, where it is something else. A message with neither has no value at all.
    #[serde(default)]
    pub text: Option<String>,
}

impl MessageText {
    pub fn message<'m>(&'m self, topic: &'m str) -> RawMessage<'m> {
        let event = self.event.as_ref().map(|event| event.get());
        RawMessage {
            at: Coordinates { topic, partition: 0, offset: self.offset },
            stamped_at_us: self.stamped.as_deref().map(instant_us),
            key: None,
            payload: event.or(self.text.as_deref()).map(str::as_bytes),
            headers: self
                .headers
                .iter()
                .map(|(name, value)| (name.as_str(), Some(value.as_bytes())))
                .collect(),
        }
    }
}

pub fn instant_us(text: &str) -> i64 {
    text.parse::<jiff::Timestamp>().unwrap().as_microsecond()
}

pub fn time_text(instant_us: i64) -> String {
    jiff::Timestamp::from_microsecond(instant_us).unwrap().to_string()
}

/// `2_events.jsonl`
#[derive(Debug, Serialize, Deserialize)]
pub struct DecodedText {
    offset: i64,
    pub arrival: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    event: Option<EventText>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    rejected: Option<RejectedText>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    tombstone: bool,
}

#[derive(Debug, Serialize, Deserialize)]
struct EventText {
    source: String,
    id: String,
    tenant: String,
    event_type: String,
    time: String,
    time_given: bool,
    batch_index: i32,
    data: Option<String>,
    readings: Vec<ReadingText>,
}

#[derive(Debug, Serialize, Deserialize)]
struct ReadingText {
    meter: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    value_nano: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    resource: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    dimensions: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    signal: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    signal_time: Option<String>,
}

#[derive(Debug, Serialize, Deserialize)]
struct RejectedText {
    reason: String,
    detail: String,
    batch_index: i32,
    payload: String,
    source: Option<String>,
    id: Option<String>,
    tenant: Option<String>,
    event_type: Option<String>,
}

impl DecodedText {
    pub fn of(decoded: &Decoded<'_>, message: &MessageText, catalog: &Catalog) -> DecodedText {
        let mut text = DecodedText {
            offset: message.offset,
            arrival: message.arrival.clone(),
            event: None,
            rejected: None,
            tombstone: false,
        };
        match decoded {
            Decoded::Event(event) => text.event = Some(EventText::of(event, catalog)),
            Decoded::Rejected(rejected) => text.rejected = Some(RejectedText::of(rejected)),
            Decoded::Tombstone => text.tombstone = true,
        }
        text
    }

    pub fn coordinates<'m>(&self, topic: &'m str) -> Coordinates<'m> {
        Coordinates { topic, partition: 0, offset: self.offset }
    }

    pub fn event(&self, catalog: &Catalog) -> Option<UsageEvent<'_>> {
        self.event.as_ref().map(|event| event.event(catalog))
    }

    pub fn rejected(&self) -> Option<Rejected<'_>> {
        self.rejected.as_ref().map(RejectedText::rejected)
    }
}

impl EventText {
    fn of(event: &UsageEvent<'_>, catalog: &Catalog) -> EventText {
        EventText {
            source: event.source.to_string(),
            id: event.id.to_string(),
            tenant: event.tenant.to_string(),
            event_type: event.event_type.to_string(),
            time: time_text(event.time_us),
            time_given: event.time_given,
            batch_index: event.batch_index,
            data: event.data.as_deref().map(str::to_owned),
            readings: event.readings.iter().map(|reading| ReadingText::of(reading, catalog)).collect(),
        }
    }

    fn event(&self, catalog: &Catalog) -> UsageEvent<'_> {
        UsageEvent {
            identity: Identity::of(&self.source, &self.id),
            source: Cow::Borrowed(&self.source),
            id: Cow::Borrowed(&self.id),
            tenant: Cow::Borrowed(&self.tenant),
            event_type: Cow::Borrowed(&self.event_type),
            time_us: instant_us(&self.time),
            time_given: self.time_given,
            data: self.data.as_deref().map(Cow::Borrowed),
            batch_index: self.batch_index,
            readings: self.readings.iter().map(|reading| reading.reading(catalog)).collect(),
        }
    }
}

impl ReadingText {
    fn of(reading: &Reading<'_>, catalog: &Catalog) -> ReadingText {
        ReadingText {
            meter: catalog.meters[reading.meter].key.clone(),
            value_nano: reading.value.map(|value| value.to_string()),
            resource: reading.resource.as_deref().map(str::to_owned),
            dimensions: reading.dimensions.clone(),
            signal: reading.signal.map(|signal| signal.name().to_owned()),
            signal_time: reading.signal_time_us.map(time_text),
        }
    }

    fn reading(&self, catalog: &Catalog) -> Reading<'_> {
        let signals = [Signal::Start, Signal::Stop, Signal::Heartbeat, Signal::Complete];
        Reading {
            meter: catalog.meters.iter().position(|meter| meter.key == self.meter).unwrap(),
            value: self.value_nano.as_ref().map(|value| value.parse().unwrap()),
            resource: self.resource.as_deref().map(Cow::Borrowed),
            dimensions: self.dimensions.clone(),
            signal: self
                .signal
                .as_ref()
                .map(|name| signals.into_iter().find(|own| own.name() == name).unwrap()),
            signal_time_us: self.signal_time.as_deref().map(instant_us),
        }
    }
}

impl RejectedText {
    fn of(rejected: &Rejected<'_>) -> RejectedText {
        let text = |text: &Option<Cow<'_, str>>| text.as_deref().map(str::to_owned);
        RejectedText {
            reason: rejected.why.reason.name().to_owned(),
            detail: rejected.why.detail.clone(),
            batch_index: rejected.batch_index,
            payload: String::from_utf8(rejected.payload.to_vec()).unwrap(),
            source: text(&rejected.source),
            id: text(&rejected.id),
            tenant: text(&rejected.tenant),
            event_type: text(&rejected.event_type),
        }
    }

    fn rejected(&self) -> Rejected<'_> {
        let text = |text: &'_ Option<String>| text.clone().map(Cow::Owned);
        Rejected {
            why: Refusal::new(RejectReason::from_name(&self.reason).unwrap(), self.detail.clone()),
            batch_index: self.batch_index,
            payload: self.payload.as_bytes(),
            source: text(&self.source),
            id: text(&self.id),
            tenant: text(&self.tenant),
            event_type: text(&self.event_type),
        }
    }
}
