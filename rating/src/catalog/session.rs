//! Where a session meter's events say that a session starts, lives on, stops, or how long it took (DESIGN.md 3.5).
//!
//! Owns: reading those paths and texts and the check that they suffice. Does not own: adding up time (`quantity`).

use super::fields::{self, Fields};
use super::meter::read_path;
use super::mistake::{Mistakes, Place};
use super::path::Path;

/// Where a session's events say what they mean.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionPaths {
    /// The text at this path says whether the event starts, keeps alive or stops the session. Without it each
    /// event is one complete session.
    pub signal: Option<Path>,
    pub start: Vec<String>,
    pub stop: Vec<String>,
    pub heartbeat: Vec<String>,
    /// When the session began; without it, the time of the event that starts it.
    pub started_at: Option<Path>,
    /// When the session ended; without it, the time of the event that stops it.
    pub ended_at: Option<Path>,
    /// How long a complete session took, if its event says that in place of a start or an end.
    pub duration_seconds: Option<Path>,
}

/// Reads the mapping below a meter's `session:`.
pub(super) fn read(fields: &mut Fields<'_>, mistakes: &mut Mistakes) -> Option<SessionPaths> {
    let node = fields.required("session", mistakes)?;
    let mut inner = Fields::open(node, "`session`", fields.place, mistakes)?;
    let signal = read_path("signal", &mut inner, mistakes);
    let mut words = |key: &'static str, mistakes: &mut Mistakes| {
        inner.optional(key).map(|node| (fields::texts(node, &format!("`{key}`"), mistakes), node.place))
    };
    let (start, stop) = (words("start", mistakes), words("stop", mistakes));
    let heartbeat = words("heartbeat", mistakes);
    let started_at = read_path("started_at", &mut inner, mistakes);
    let ended_at = read_path("ended_at", &mut inner, mistakes);
    let duration_seconds = read_path("duration_seconds", &mut inner, mistakes);
    let has_signal = inner.optional("signal").is_some();
    inner.close(mistakes);

    if has_signal && (start.is_none() || stop.is_none()) {
        mistakes
            .report(node.place, "`session` has a `signal` but not both `start` and `stop`")
            .hint("name the values of the signal that mean start and stop, like `start: [active]`, `stop: [completed]`");
    }
    if !has_signal {
        for (_, place) in [&start, &stop, &heartbeat].into_iter().flatten() {
            mistakes
                .report(*place, "values of a signal without a `signal`")
                .hint("add the path of the signal, like `signal: $.status`");
        }
        if started_at.is_none() && duration_seconds.is_none() {
            mistakes
                .report(node.place, "`session` does not say how long a session lasts")
                .hint("give `signal` with `start` and `stop`, or for complete sessions `started_at` or `duration_seconds`");
        }
    }
    check_signal_values([&start, &stop, &heartbeat], mistakes);
    let values = |read: Option<(Vec<String>, Place)>| read.map(|(values, _)| values).unwrap_or_default();
    Some(SessionPaths {
        signal,
        start: values(start),
        stop: values(stop),
        heartbeat: values(heartbeat),
        started_at,
        ended_at,
        duration_seconds,
    })
}

/// One value of the signal cannot mean two things.
fn check_signal_values(lists: [&Option<(Vec<String>, Place)>; 3], mistakes: &mut Mistakes) {
    let mut seen: Vec<&String> = Vec::new();
    for (values, place) in lists.into_iter().flatten() {
        for value in values {
            if seen.contains(&value) {
                mistakes.report(*place, format!("the signal value `{value}` is given two meanings"));
            }
            seen.push(value);
        }
    }
}
