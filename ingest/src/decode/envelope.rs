//! A CloudEvent's attributes and data, by structured or binary mode, before the catalog has a say.

use std::borrow::Cow;

use base64::Engine as _;
use smallvec::SmallVec;

use super::meters::MeterPlan;
use super::quoted;
use crate::json::{Kind, Scanner, Value};
use crate::raw_message::RawMessage;
use crate::rejected::{Refusal, RejectReason};

/// The attributes that Meterhouse reads, and those extensions that the catalog names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Envelope<'m> {
    pub spec_version: Option<Cow<'m, str>>,
    pub source: Option<Cow<'m, str>>,
    pub id: Option<Cow<'m, str>>,
    pub event_type: Option<Cow<'m, str>>,
    pub subject: Option<Cow<'m, str>>,
    pub time: Option<Cow<'m, str>>,
    pub content_type: Option<Cow<'m, str>>,
    pub schema: Option<Cow<'m, str>>,
    /// In the order of the plan's extension names.
    pub extensions: Vec<Option<Cow<'m, str>>>,
    /// A JSON object.
    pub data: Option<Cow<'m, str>>,
}

/// Keys and values of the data, as they were found while it was checked: nobody needs to scan it twice.
pub(super) type Members<'m> = SmallVec<[(Value<'m>, Value<'m>); 16]>;

pub(super) fn utf8(bytes: &[u8]) -> Result<&str, Refusal> {
    simdutf8::basic::from_utf8(bytes).map_err(|_| {
        let at = std::str::from_utf8(bytes).err().map_or(0, |error| error.valid_up_to());
        Refusal::new(RejectReason::InvalidUtf8, format!("no UTF-8 from byte {at} on"))
    })
}

/// Reads an event whose attributes stand beside its data in one JSON object. What could be read stands in
/// the envelope even if the rest is wrong, so that a reject can name its event.
pub(super) fn read_structured<'m>(
    text: &'m str,
    plan: &MeterPlan,
    envelope: &mut Envelope<'m>,
    members: &mut Members<'m>,
) -> Result<(), Refusal> {
    let mut scanner = Scanner::new(text);
    if scanner.peek() != Some(b'{') {
        scanner.value()?;
        scanner.finish()?;
        return Err(Refusal::new(RejectReason::NotACloudEvent, "expected a JSON object"));
    }
    let mut data: Option<Value<'m>> = None;
    let mut data_base64 = None;
    scanner.object::<Refusal>(|key, scanner| {
        if key.text == "\"data\"" {
            let value = scanner.value_and_members(|key, value| members.push((key, value)))?;
            return set_once(&mut data, value, "data");
        }
        let value = scanner.value()?;
        let name = key.scalar().expect("a key is a string")?;
        match &*name {
            "data" => {
                // The key is spelled with escapes.
                members.clear();
                value.members(|key, value| members.push((key, value)))?;
                set_once(&mut data, value, "data")
            }
            "data_base64" => set_once(&mut data_base64, value, "data_base64"),
            name => match envelope.slot(name, plan) {
                Some(slot) => set_attribute(slot, value, name),
                None => Ok(()),
            },
        }
    })?;
    scanner.finish()?;
    let data = data.filter(|data| data.kind != Kind::Null);
    let data_base64 = data_base64.filter(|data| data.kind != Kind::Null);
    match (data, data_base64) {
        (None, None) => {}
        (Some(data), None) => envelope.data = Some(Cow::Borrowed(json_object(data)?)),
        (None, Some(encoded)) => envelope.data = Some(Cow::Owned(base64_object(encoded)?)),
        (Some(_), Some(_)) => {
            let detail = "both data and data_base64 are given";
            return Err(Refusal::new(RejectReason::DuplicateKey, detail));
        }
    }
    Ok(())
}

/// Reads an event whose attributes are `ce_` headers and whose data is the message's value.
pub(super) fn read_binary<'m>(
    message: &RawMessage<'m>,
    payload: &'m [u8],
    plan: &MeterPlan,
    envelope: &mut Envelope<'m>,
) -> Result<(), Refusal> {
    for (header, value) in &message.headers {
        let attribute = match header.get(..3) {
            Some(prefix) if prefix.eq_ignore_ascii_case("ce_") => header[3..].to_ascii_lowercase(),
            _ if header.eq_ignore_ascii_case("content-type") => "datacontenttype".to_owned(),
            _ => continue,
        };
        let (Some(slot), Some(value)) = (envelope.slot(&attribute, plan), value) else { continue };
        set_once(slot, Cow::Borrowed(utf8(value)?), &attribute)?;
    }
    let media_type = envelope.content_type.as_deref().unwrap_or("application/json");
    if !is_json(media_type) {
        let detail = format!("data is {}, only JSON is read", quoted(media_type));
        return Err(Refusal::new(RejectReason::UnsupportedContent, detail));
    }
    let text = utf8(payload)?;
    if text.trim_ascii().is_empty() {
        return Ok(());
    }
    let mut scanner = Scanner::new(text);
    let data = scanner.value()?;
    scanner.finish()?;
    if data.kind != Kind::Null {
        envelope.data = Some(Cow::Borrowed(json_object(data)?));
    }
    Ok(())
}

impl<'m> Envelope<'m> {
    pub(super) fn empty(plan: &MeterPlan) -> Self {
        Self { extensions: vec![None; plan.extensions().len()], ..Self::default() }
    }

    #[inline]
    fn slot(&mut self, name: &str, plan: &MeterPlan) -> Option<&mut Option<Cow<'m, str>>> {
        Some(match name {
            "id" => &mut self.id,
            "source" => &mut self.source,
            "type" => &mut self.event_type,
            "subject" => &mut self.subject,
            "time" => &mut self.time,
            "specversion" => &mut self.spec_version,
            "datacontenttype" => &mut self.content_type,
            "dataschema" => &mut self.schema,
            other => {
                let at = plan.extensions().iter().position(|extension| extension == other)?;
                &mut self.extensions[at]
            }
        })
    }

    /// Every CloudEvent has a version, a source, an id and a type, none of them empty.
    pub(super) fn check_attributes(&self) -> Result<(), Refusal> {
        match self.spec_version.as_deref() {
            Some("1.0") => {}
            Some(other) => {
                let detail = format!("specversion is {}, only 1.0 is read", quoted(other));
                return Err(Refusal::new(RejectReason::AttributeInvalid, detail));
            }
            None => {
                let detail = "specversion is missing: not a CloudEvent";
                return Err(Refusal::new(RejectReason::NotACloudEvent, detail));
            }
        }
        for (name, attribute) in [("source", &self.source), ("id", &self.id), ("type", &self.event_type)] {
            if attribute.as_deref().is_none_or(str::is_empty) {
                return Err(Refusal::new(RejectReason::AttributeMissing, format!("{name} is missing")));
            }
        }
        Ok(())
    }
}

#[inline]
fn set_once<T>(slot: &mut Option<T>, value: T, name: &str) -> Result<(), Refusal> {
    if slot.replace(value).is_some() {
        return Err(Refusal::new(RejectReason::DuplicateKey, format!("{} is given twice", quoted(name))));
    }
    Ok(())
}

#[inline]
fn set_attribute<'m>(slot: &mut Option<Cow<'m, str>>, value: Value<'m>, name: &str) -> Result<(), Refusal> {
    match value.scalar() {
        Some(text) => set_once(slot, text?, name),
        None if value.kind == Kind::Null => Ok(()),
        None => {
            let detail = format!("{} is neither text nor a number", quoted(name));
            Err(Refusal::new(RejectReason::AttributeInvalid, detail))
        }
    }
}

fn json_object(data: Value<'_>) -> Result<&str, Refusal> {
    if data.kind == Kind::Object {
        return Ok(data.text);
    }
    Err(Refusal::new(RejectReason::DataNotAnObject, format!("data is {}", quoted(data.text))))
}

fn base64_object(encoded: Value<'_>) -> Result<String, Refusal> {
    let not_base64 = || Refusal::new(RejectReason::AttributeInvalid, "data_base64 is not base64");
    let text = encoded.scalar().filter(|_| encoded.kind == Kind::String).ok_or_else(not_base64)??;
    let bytes = base64::engine::general_purpose::STANDARD.decode(&*text).map_err(|_| not_base64())?;
    let decoded = utf8(&bytes)?;
    let mut scanner = Scanner::new(decoded);
    let data = scanner.value()?;
    scanner.finish()?;
    Ok(json_object(data)?.to_owned())
}

fn is_json(media_type: &str) -> bool {
    let essence = media_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    essence == "application/json" || essence == "text/json" || essence.ends_with("+json")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_media_types() {
        for (media_type, expected) in [
            ("application/json", true),
            ("Application/JSON; charset=utf-8", true),
            ("application/vnd.usage+json", true),
            ("text/plain", false),
            ("application/avro", false),
        ] {
            assert_eq!(is_json(media_type), expected, "{media_type}");
        }
    }
}
