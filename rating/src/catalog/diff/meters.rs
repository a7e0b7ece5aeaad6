//! Changes of meters. They concern everybody: a meter reads the events of all tenants.

use std::fmt::Write;

use super::{matched, say_if_changed};
use crate::catalog::Catalog;
use crate::catalog::describe;
use crate::catalog::meter::{ExcessDigits, Meter, MeterKind, WhenMissing};
use crate::catalog::path::Path;
use crate::catalog::session::SessionPaths;

pub(super) fn compare(old: &Catalog, new: &Catalog, sentences: &mut Vec<String>) {
    let meters = matched(&old.meters, &new.meters, |meter| meter.key.clone());
    for meter in meters.removed {
        sentences.push(format!("Meter `{}` is gone: its events are kept but no longer feed it.", meter.key));
    }
    for (before, after) in meters.kept_or_added {
        match before {
            Some(before) => compare_one(before, after, sentences),
            None => sentences.push(format!(
                "Meter `{}` is new: a {} meter of `{}` events in {}.",
                after.key,
                after.kind.name(),
                after.event_type,
                after.unit
            )),
        }
    }
}

fn compare_one(before: &Meter, after: &Meter, sentences: &mut Vec<String>) {
    let subject = format!("Meter `{}`", after.key);
    let mut say = |what: &str, of: &dyn Fn(&Meter) -> String| {
        say_if_changed(&format!("{subject}, {what}"), &of(before), &of(after), ", for everybody", sentences);
    };
    say("description", &|meter| format!("\"{}\"", meter.description));
    say("kind", &|meter| kind(&meter.kind));
    say("event type", &|meter| format!("`{}`", meter.event_type));
    say("value", &|meter| path(meter.value.as_ref()));
    say("resource", &|meter| path(meter.resource.as_ref()));
    say("dimensions", &|meter| {
        let words: Vec<String> =
            meter.dimensions.iter().map(|(name, path)| format!("{name} from `{path}`")).collect();
        if words.is_empty() { "none".to_owned() } else { describe::listed(&words) }
    });
    say("events", &|meter| describe::conditions(&meter.only_when));
    say("unit", &|meter| meter.unit.name.clone());
    say("events without value", &|meter| match meter.when_missing {
        WhenMissing::Reject => "rejected".to_owned(),
        WhenMissing::Skip => "skipped".to_owned(),
    });
    say("values with more than 9 decimals", &|meter| match meter.excess_digits {
        ExcessDigits::Reject => "rejected".to_owned(),
        ExcessDigits::Round => "rounded".to_owned(),
    });
    say("largest credible step", &|meter| {
        meter.largest_step.map_or_else(|| "none".to_owned(), |step| step.normalize().to_string())
    });
    say("session", &|meter| meter.session.as_ref().map_or_else(|| "none".to_owned(), session));
}

fn path(path: Option<&Path>) -> String {
    path.map_or_else(|| "none".to_owned(), |path| format!("`{path}`"))
}

fn kind(kind: &MeterKind) -> String {
    let mut words = kind.name().to_owned();
    let settings = match kind {
        MeterKind::Gauge { expires_after } => vec![("expires after", expires_after)],
        MeterKind::Session { heartbeat_timeout, increment, minimum } => {
            vec![("heartbeat timeout", heartbeat_timeout), ("increment", increment), ("minimum", minimum)]
        }
        MeterKind::Delta | MeterKind::Cumulative | MeterKind::Unique => Vec::new(),
    };
    for (name, duration) in settings {
        if let Some(duration) = duration {
            let _ = write!(words, ", {name} {duration:#}");
        }
    }
    words
}

fn session(session: &SessionPaths) -> String {
    let words = [
        ("signal", path(session.signal.as_ref())),
        ("start", session.start.join(" or ")),
        ("stop", session.stop.join(" or ")),
        ("heartbeat", session.heartbeat.join(" or ")),
        ("started at", path(session.started_at.as_ref())),
        ("ended at", path(session.ended_at.as_ref())),
        ("duration", path(session.duration_seconds.as_ref())),
    ];
    words
        .iter()
        .filter(|(_, word)| !word.is_empty() && word != "none")
        .map(|(name, word)| format!("{name} {word}"))
        .collect::<Vec<_>>()
        .join(", ")
}
