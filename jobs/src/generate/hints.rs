//! What makes synthetic usage look like somebody's: words for well-known dimensions, sizes by unit.
//!
//! A catalog that uses none of these names gets plain values like `region-1`; nothing here is needed for its
//! events to be right.

use rating::catalog::{Measures, Meter, MeterKind};

use super::random::Magnitude;

/// For how long a dimension keeps its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scope {
    Tenant,
    /// A resource, or a session.
    Resource,
    Event,
}

/// A dimension's name, its values, and whether it belongs to the tenant as a whole.
const CHOICES: [(&str, &[&str], Option<Scope>); 22] = [
    ("user_type", &["free", "pro", "enterprise", "admin"], Some(Scope::Tenant)),
    ("tier", &["free", "standard", "professional", "enterprise"], Some(Scope::Tenant)),
    ("plan", &["starter", "professional", "enterprise"], Some(Scope::Tenant)),
    ("size", &["small", "medium", "large", "gpu"], None),
    ("storage_class", &["hot", "cold"], None),
    ("ownership", &["vendor", "tenant"], None),
    ("storage_type", &["gcs_bucket", "filestore_pvc"], None),
    ("template", &["ml_ready", "data_science", "web_development", "research"], None),
    ("policy", &["age", "unused", "over_limit"], None),
    ("qos", &["0", "1", "2"], None),
    ("category", &["device", "admin", "public"], None),
    ("store", &["influxdb", "postgresql", "object_storage"], None),
    ("region", &["eu-central", "us-east", "ap-south"], None),
    ("zone", &["a", "b", "c"], None),
    ("method", &["GET", "POST", "PUT", "DELETE"], Some(Scope::Event)),
    ("status", &["ok", "error"], Some(Scope::Event)),
    ("direction", &["in", "out"], Some(Scope::Event)),
    ("protocol", &["mqtt", "http", "websocket"], None),
    ("model", &["small", "medium", "large"], None),
    ("environment", &["production", "staging", "test"], None),
    ("currency", &["EUR", "USD"], Some(Scope::Tenant)),
    ("country", &["DE", "FR", "US", "JP"], Some(Scope::Tenant)),
];

/// The values of a dimension or condition, by the first of its names that is known.
pub(super) fn choices(names: &[&str]) -> Option<(&'static [&'static str], Option<Scope>)> {
    names.iter().find_map(|name| {
        CHOICES.iter().find(|(known, ..)| known == name).map(|(_, values, scope)| (*values, *scope))
    })
}

/// How large a meter's figures are: levels for gauges, increases for counters, amounts for the rest.
pub(super) fn magnitude(meter: &Meter) -> Magnitude {
    let is_level = matches!(meter.kind, MeterKind::Gauge { .. });
    let is_counter = meter.kind == MeterKind::Cumulative;
    let (low, high) = match (&meter.unit.measures, meter.unit.name.as_str()) {
        (Measures::Data, "byte") if is_level => (26, 38),
        (Measures::Data, "byte") if is_counter => (14, 28),
        (Measures::Data, "byte") => (10, 28),
        (Measures::Data, "kB" | "KiB") => (4, 20),
        (Measures::Data | Measures::DataTime, _) => (0, 6),
        (Measures::Time | Measures::CoreTime, "second" | "core_second") => (2, 12),
        (Measures::Time | Measures::CoreTime, _) => (0, 5),
        (Measures::Count(_), "row" | "file" | "point" | "message") => (8, 20),
        (Measures::Count(_), _) if is_level => (1, 7),
        (Measures::Count(_), _) => (0, 10),
    };
    Magnitude { low, high }
}

/// How often events of a type occur beside those of others.
pub(super) fn weight(event_type: &str) -> u64 {
    const RARE: [&str; 6] = ["purchased", "bought", "expired", "cleaned", "deleted", "refunded"];
    let last = event_type.rsplit(['.', '/', '_', '-']).next().unwrap_or_default();
    if RARE.contains(&last) { 1 } else { 20 }
}
