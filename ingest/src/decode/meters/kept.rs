//! What meters read from an event that the lake kept, for meters that the catalog got after it was stored.
//!
//! The lake keeps source, id, type, tenant, time and data. A meter that reads anything else of an event
//! cannot be derived; `underivable` finds those before anything is read.

use std::borrow::Cow;

use rating::catalog::{Catalog, Meter, Path};

use super::found::Data;
use super::{Field, MeterPlan};
use crate::decode::envelope::Envelope;
use crate::decode::{Decoder, EventContext};
use crate::event::Reading;
use crate::rejected::Refusal;

/// An event as the lake keeps it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeptEvent<'e> {
    pub source: &'e str,
    pub id: &'e str,
    pub tenant: &'e str,
    pub event_type: &'e str,
    pub time_us: i64,
    pub time_given: bool,
    pub arrival_us: i64,
    pub data: Option<&'e str>,
}

/// What a meter finds in a kept event; a refusal if it is fed by the event but finds no usable value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptReading<'e> {
    /// The meter's place in the catalog.
    pub meter: usize,
    pub reading: Result<Reading<'e>, Refusal>,
}

/// A meter that reads something of an event that the lake does not keep.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the meter `{meter}` cannot be derived for earlier events: it reads `{path}`, and the lake keeps only an event's source, id, type, tenant, time and data"
)]
pub struct Underivable {
    pub meter: String,
    pub path: String,
}

/// The first of the wanted meters that cannot be derived.
pub fn underivable(catalog: &Catalog, wanted: impl Fn(&str) -> bool) -> Option<Underivable> {
    let tenant_is_subject = catalog.tenant == Path::Attribute("subject".to_owned());
    catalog.meters.iter().filter(|meter| wanted(&meter.key)).find_map(|meter| {
        let (texts, instants) = paths(meter);
        let lost = texts.into_iter().find(|path| !is_kept(path, tenant_is_subject, false));
        let lost =
            lost.or_else(|| instants.into_iter().find(|path| !is_kept(path, tenant_is_subject, true)))?;
        Some(Underivable { meter: meter.key.clone(), path: lost.to_string() })
    })
}

/// The paths whose text a meter takes, and those that it reads as an instant.
fn paths(meter: &Meter) -> (Vec<&Path>, Vec<&Path>) {
    let mut texts: Vec<&Path> = meter.value.iter().chain(&meter.resource).collect();
    texts.extend(meter.dimensions.values());
    texts.extend(meter.only_when.iter().map(|condition| &condition.path));
    let mut instants = Vec::new();
    if let Some(session) = &meter.session {
        texts.extend(session.signal.iter().chain(&session.duration_seconds));
        instants.extend(session.started_at.iter().chain(&session.ended_at));
    }
    (texts, instants)
}

fn is_kept(path: &Path, tenant_is_subject: bool, as_instant: bool) -> bool {
    match path {
        Path::Data(_) => true,
        Path::Attribute(name) => match name.as_str() {
            "source" | "id" | "type" => true,
            "subject" => tenant_is_subject,
            // The instant is kept, but not how the event wrote it.
            "time" => as_instant,
            _ => false,
        },
    }
}

impl Decoder {
    /// The meters (by their place in the catalog) that take events of a type.
    pub fn meters_of(&self, event_type: &str) -> impl Iterator<Item = usize> {
        let plan = self.plan.by_event_type.get(event_type);
        plan.into_iter().flat_map(|plan| plan.meters.iter().map(|meter| meter.index))
    }

    /// What the wanted meters read from a kept event, each on its own: the event counts already, so one
    /// meter's refusal does not keep the others from reading it.
    pub fn read_kept<'e>(
        &self,
        event: &KeptEvent<'e>,
        wanted: impl Fn(usize) -> bool,
    ) -> Vec<KeptReading<'e>> {
        let Some(plan) = self.plan.by_event_type.get(event.event_type) else { return Vec::new() };
        let envelope = self.plan.kept_envelope(event);
        let context = EventContext { stamped_at_us: None, arrival_us: event.arrival_us, batch_index: 0 };
        let found = plan.find(&envelope, event.data.map_or(Data::Nothing, Data::Text));
        let meters = plan.meters.iter().filter(|meter| wanted(meter.index));
        let read = meters.filter_map(|meter| {
            let reading = found.as_ref().map_err(Clone::clone).and_then(|found| {
                let reading = meter.read(found, event.time_us)?;
                reading.iter().try_for_each(|reading| self.check_session(reading, context))?;
                Ok(reading)
            });
            Some(KeptReading { meter: meter.index, reading: reading.transpose()? })
        });
        read.collect()
    }
}

impl MeterPlan {
    fn kept_envelope<'e>(&self, event: &KeptEvent<'e>) -> Envelope<'e> {
        let time = jiff::Timestamp::from_microsecond(event.time_us).ok();
        Envelope {
            source: Some(Cow::Borrowed(event.source)),
            id: Some(Cow::Borrowed(event.id)),
            event_type: Some(Cow::Borrowed(event.event_type)),
            subject: (self.tenant == Field::Subject).then_some(Cow::Borrowed(event.tenant)),
            time: time.filter(|_| event.time_given).map(|time| Cow::Owned(time.to_string())),
            data: event.data.map(Cow::Borrowed),
            ..Envelope::empty(self)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn catalog(meters: &str) -> Catalog {
        Catalog::parse(&format!("catalog: test\nmeters:\n{meters}"), "test.yaml").unwrap()
    }

    #[test]
    fn meters_that_read_what_is_not_kept_are_named() {
        for (name, body, lost) in [
            ("data only", "value: $.bytes, resource: id, dimensions: { who: subject }", None),
            ("an extension", "value: $.bytes, dimensions: { region: region }", Some("region")),
            ("the text of the time", "value: $.bytes, resource: time", Some("time")),
            (
                "the content type",
                "value: $.bytes, only_when: { datacontenttype: [x] }",
                Some("datacontenttype"),
            ),
        ] {
            let catalog = catalog(&format!("  m: {{ kind: gauge, event_type: t, unit: byte, {body} }}\n"));
            let found = underivable(&catalog, |_| true).map(|lost| lost.path);
            assert_eq!(found.as_deref(), lost, "{name}");
            assert_eq!(underivable(&catalog, |meter| meter != "m"), None, "{name}");
        }
    }

    #[test]
    fn each_meter_reads_on_its_own() {
        let catalog = catalog(
            "  good: { kind: gauge, event_type: t, unit: byte, value: $.bytes, dimensions: { who: subject } }\n  \
             bad: { kind: gauge, event_type: t, unit: byte, value: $.nothing }\n  \
             skips: { kind: gauge, event_type: t, unit: byte, value: $.nothing, when_missing: skip }\n  \
             other: { kind: delta, event_type: u, unit: request }\n",
        );
        let decoder = Decoder::new(&catalog, crate::decode::DecodeLimits::default());
        let event = KeptEvent {
            source: "s",
            id: "1",
            tenant: "acme",
            event_type: "t",
            time_us: 1_800_000_000_000_000,
            time_given: true,
            arrival_us: 1_800_000_000_000_000,
            data: Some(r#"{"bytes":12}"#),
        };
        let readings = decoder.read_kept(&event, |_| true);
        assert_eq!(readings.iter().map(|it| it.meter).collect::<Vec<_>>(), [0, 1]);
        let good = readings[0].reading.as_ref().unwrap();
        assert_eq!(
            (good.value, good.dimensions.as_deref()),
            (Some(12_000_000_000), Some(r#"{"who":"acme"}"#))
        );
        assert!(readings[1].reading.is_err());
        assert_eq!(decoder.meters_of("t").collect::<Vec<_>>(), [0, 1, 2]);
        assert_eq!(decoder.meters_of("v").count(), 0);
    }
}
