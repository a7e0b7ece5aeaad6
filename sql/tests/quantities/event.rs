//! What a random lake holds.

use std::collections::BTreeMap;

pub const DAY_US: i64 = 86_400_000_000;
/// 2026-05-01
pub const FIRST_DAY: i32 = 20_574;

pub const CATALOG: &str = r"
catalog: random
currency: USD
meters:
  stored: { kind: gauge, event_type: a, value: $.v, resource: $.r, dimensions: { region: $.g, class: $.c }, unit: byte }
  briefly: { kind: gauge, event_type: a, value: $.v, resource: $.r, dimensions: { region: $.g, class: $.c }, expires_after: 5h, unit: byte }
  calls: { kind: delta, event_type: a, value: $.v, dimensions: { region: $.g, class: $.c }, unit: request }
  counted: { kind: cumulative, event_type: a, value: $.v, resource: $.r, dimensions: { region: $.g, class: $.c }, unit: byte }
  runs:
    kind: session
    event_type: a
    resource: $.r
    dimensions: { region: $.g, class: $.c }
    session: { signal: $.s, start: a, stop: b }
    unit: second
  beats:
    kind: session
    event_type: a
    resource: $.r
    dimensions: { region: $.g, class: $.c }
    session: { signal: $.s, start: a, stop: b, heartbeat: c }
    heartbeat_timeout: 9h
    unit: second
  jobs:
    kind: session
    event_type: a
    resource: $.r
    dimensions: { region: $.g, class: $.c }
    session: { started_at: $.s }
    unit: second
  seen: { kind: unique, event_type: a, resource: $.r, dimensions: { region: $.g, class: $.c }, unit: device }
";

/// An event as it arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    pub identity: [u8; 16],
    pub tenant: String,
    pub meter: Option<&'static str>,
    pub time_us: i64,
    pub value: Option<i128>,
    pub resource: Option<String>,
    /// Region and class.
    pub dimensions: Option<(u8, u8)>,
    /// What the dimensions are called, class first; nothing for one that the meter does not have.
    pub names: [&'static str; 2],
    pub signal: Option<&'static str>,
    pub signal_time_us: Option<i64>,
    pub arrival_us: i64,
    pub offset: i64,
}

impl Event {
    pub fn dimension_text(&self) -> Option<String> {
        let (region, class) = self.dimensions?;
        let [class_name, region_name] = self.names;
        let named = [(class_name, format!("c{class}")), (region_name, format!("r{region}"))];
        let named: BTreeMap<_, _> = named.into_iter().filter(|(name, _)| !name.is_empty()).collect();
        serde_json::to_string(&named).ok()
    }
}
