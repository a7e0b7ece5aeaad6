//! From a catalog to templates of events: which keys an event of each type has, and what fills them.
//!
//! Owns the reading of the catalog; a template is then filled event by event without looking at it again. A
//! template's events are taken by every meter of their type, or fail its conditions: none is ever rejected.

use std::collections::BTreeMap;

use anyhow::{Result, bail, ensure};
use rating::catalog::{Catalog, Meter, MeterKind, Path, SessionPaths, WhenMissing};

use super::hints::{self, Scope};
use super::random::{Magnitude, mix_all};

/// How the events of one type are made.
#[derive(Debug, Clone)]
pub(super) struct EventTypePlan {
    /// As a JSON text.
    pub event_type: Vec<u8>,
    pub weight: u64,
    pub slots: Vec<Slot>,
    /// Where attributes of the envelope come from a slot.
    pub source: Option<usize>,
    pub subject: Option<usize>,
    /// Extensions by name, and `dataschema`.
    pub extensions: Vec<(String, usize)>,
    /// The members of `data`, without its opening brace.
    pub data: Vec<Piece>,
    pub session: Option<SessionPlan>,
    /// How many levels or counters each resource has.
    pub states: usize,
    /// Where resources have names of a fixed set, there are no more of them.
    pub resources_max: Option<usize>,
    /// A value that some meter takes of every event: a wrong one is always rejected.
    pub sure_value: Option<usize>,
    /// Whether an event without subject has no tenant.
    pub tenant_is_subject: bool,
}

/// A part of the data's text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Piece {
    Literal(Vec<u8>),
    Slot(usize),
    /// A member that may be left out: its key with colon.
    Optional(Vec<u8>, usize),
    /// Closes an object, taking back the comma behind its last member.
    Close,
}

#[derive(Debug, Clone)]
pub(super) struct Slot {
    pub path: Path,
    pub content: Content,
}

/// What stands at a path of an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Content {
    Tenant,
    /// One of the tenant's resources, named after the stem.
    Resource {
        stem: String,
    },
    SessionId,
    /// One of these JSON texts; the number tells it apart from other slots.
    Choice {
        values: Vec<Vec<u8>>,
        scope: Scope,
        salt: u64,
    },
    /// Quoted words for start, heartbeat and stop.
    Signal {
        start: Vec<Vec<u8>>,
        heartbeat: Vec<Vec<u8>>,
        stop: Vec<Vec<u8>>,
    },
    StartedAt,
    EndedAt,
    DurationSeconds,
    Gauge {
        state: usize,
        per_resource: bool,
        size: Magnitude,
    },
    Counter {
        state: usize,
        per_resource: bool,
        size: Magnitude,
    },
    Delta {
        size: Magnitude,
    },
    /// The sum of other slots, for totals of figures that stand beside them.
    Sum(Vec<usize>),
}

/// How sessions of a type go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SessionPlan {
    /// False if each event is a complete session.
    pub in_steps: bool,
    pub has_heartbeats: bool,
    pub heartbeat_timeout_us: Option<u64>,
}

/// Everything that the meters of one event type want of a path.
#[derive(Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each says that one more thing is read here")]
struct Roles<'c> {
    tenant: bool,
    value_of: Vec<&'c Meter>,
    resource_of: Vec<&'c Meter>,
    dimensions: Vec<&'c str>,
    /// Whether the meter of a dimension keeps a level, counter or session by it.
    sticky: bool,
    conditions: Vec<&'c str>,
    signal_of: Option<&'c SessionPaths>,
    started_at: bool,
    ended_at: bool,
    duration: bool,
}

pub(super) fn plans(catalog: &Catalog) -> Result<Vec<EventTypePlan>> {
    ensure!(!catalog.meters.is_empty(), "the catalog {} has no meters to make events for", catalog.name);
    let mut types: Vec<&str> = Vec::new();
    for meter in &catalog.meters {
        if !types.contains(&meter.event_type.as_str()) {
            types.push(&meter.event_type);
        }
    }
    types.into_iter().map(|event_type| plan(catalog, event_type)).collect()
}

fn plan(catalog: &Catalog, event_type: &str) -> Result<EventTypePlan> {
    let meters: Vec<&Meter> = catalog.meters.iter().filter(|meter| meter.event_type == event_type).collect();
    let mut plan = EventTypePlan {
        event_type: quoted(event_type),
        weight: hints::weight(event_type),
        slots: Vec::new(),
        source: None,
        subject: None,
        extensions: Vec::new(),
        data: Vec::new(),
        session: session_plan(&meters),
        states: 0,
        resources_max: None,
        sure_value: None,
        tenant_is_subject: catalog.tenant == Path::Attribute("subject".to_owned()),
    };
    let mut tree = Vec::new();
    for (path, roles) in collect_roles(catalog, &meters) {
        if let Path::Attribute(name) = &path
            && is_fixed(name, &roles, event_type)?
        {
            continue;
        }
        let slot = plan.add_slot(path.clone(), &roles);
        match &path {
            Path::Attribute(name) => match name.as_str() {
                "source" => plan.source = Some(slot),
                "subject" => plan.subject = Some(slot),
                _ => plan.extensions.push((name.clone(), slot)),
            },
            Path::Data(keys) => insert(&mut tree, keys, slot, roles.may_be_left_out())
                .map_err(|problem| anyhow::anyhow!("events of type {event_type}: {problem}"))?,
        }
        let takes_every_event = |meter: &&&Meter| meter.only_when.is_empty();
        if roles.value_of.iter().any(|meter| takes_every_event(&meter)) && !roles.may_be_left_out() {
            plan.sure_value.get_or_insert(slot);
        }
    }
    plan.add_up_totals();
    flatten(&tree, &mut plan.data);
    Ok(plan)
}

fn session_plan(meters: &[&Meter]) -> Option<SessionPlan> {
    meters.iter().find_map(|meter| {
        let MeterKind::Session { heartbeat_timeout, .. } = &meter.kind else { return None };
        let session = meter.session.as_ref()?;
        let timeout = heartbeat_timeout.map(|timeout| u64::try_from(timeout.as_micros()).unwrap_or(u64::MAX));
        Some(SessionPlan {
            in_steps: session.signal.is_some(),
            has_heartbeats: !session.heartbeat.is_empty(),
            heartbeat_timeout_us: timeout,
        })
    })
}

/// In the order in which the catalog names the paths first.
fn collect_roles<'c>(catalog: &'c Catalog, meters: &[&'c Meter]) -> Vec<(Path, Roles<'c>)> {
    let mut order: Vec<Path> = Vec::new();
    let mut roles: BTreeMap<Path, Roles<'c>> = BTreeMap::new();
    let mut at = |path: &Path, note: &mut dyn FnMut(&mut Roles<'c>)| {
        if !order.contains(path) {
            order.push(path.clone());
        }
        note(roles.entry(path.clone()).or_default());
    };
    at(&catalog.tenant, &mut |roles| roles.tenant = true);
    for meter in meters {
        let sticky =
            matches!(meter.kind, MeterKind::Gauge { .. } | MeterKind::Cumulative | MeterKind::Session { .. });
        if let Some(path) = &meter.resource {
            at(path, &mut |roles| roles.resource_of.push(meter));
        }
        for (name, path) in &meter.dimensions {
            at(path, &mut |roles| {
                roles.dimensions.push(name);
                roles.sticky |= sticky;
            });
        }
        for condition in &meter.only_when {
            let values = condition.any_of.iter().map(String::as_str);
            at(&condition.path, &mut |roles| roles.conditions.extend(values.clone()));
        }
        if let Some(path) = &meter.value {
            at(path, &mut |roles| roles.value_of.push(meter));
        }
        let Some(session) = &meter.session else { continue };
        if let Some(path) = &session.signal {
            at(path, &mut |roles| roles.signal_of = Some(session));
        }
        if let Some(path) = &session.started_at {
            at(path, &mut |roles| roles.started_at = true);
        }
        if let Some(path) = &session.ended_at {
            at(path, &mut |roles| roles.ended_at = true);
        }
        if let Some(path) = &session.duration_seconds {
            at(path, &mut |roles| roles.duration = true);
        }
    }
    order.into_iter().filter_map(|path| roles.remove_entry(&path)).collect()
}

/// Attributes that every event has anyway, and that cannot hold just anything.
fn is_fixed(name: &str, roles: &Roles<'_>, event_type: &str) -> Result<bool> {
    let is_number = !roles.value_of.is_empty() || roles.duration;
    let is_instant = roles.started_at || roles.ended_at;
    let fits = match name {
        "id" | "type" => !is_number && !is_instant && roles.signal_of.is_none(),
        "time" => !is_number && roles.signal_of.is_none(),
        "specversion" | "datacontenttype" => false,
        _ => return Ok(false),
    };
    if !fits {
        bail!(
            "events of type {event_type}: what the catalog reads from the attribute `{name}` cannot stand there"
        );
    }
    Ok(true)
}

impl Roles<'_> {
    /// Whether every meter that reads a value here can do without.
    fn may_be_left_out(&self) -> bool {
        let alone = !self.tenant && self.resource_of.is_empty() && self.signal_of.is_none();
        let skips = |meter: &&Meter| meter.when_missing == WhenMissing::Skip;
        alone && !self.value_of.is_empty() && self.value_of.iter().all(skips)
    }

    fn choices(&self, path: &Path) -> (Vec<String>, Option<Scope>) {
        let last = match path {
            Path::Attribute(name) => name,
            Path::Data(keys) => keys.last().expect("a path has keys"),
        };
        let names: Vec<&str> = self.dimensions.iter().copied().chain([last.as_str()]).collect();
        let (known, scope) = hints::choices(&names).unwrap_or_default();
        let mut values: Vec<String> = Vec::new();
        for value in known.iter().chain(&self.conditions) {
            if !values.iter().any(|known| known == value) {
                values.push((*value).to_owned());
            }
        }
        if values.is_empty() {
            values = (1..=3).map(|number| format!("{}-{number}", names[0])).collect();
        }
        (values, scope)
    }
}

impl EventTypePlan {
    fn add_slot(&mut self, path: Path, roles: &Roles<'_>) -> usize {
        let content = self.content(&path, roles);
        self.slots.push(Slot { path, content });
        self.slots.len() - 1
    }

    fn content(&mut self, path: &Path, roles: &Roles<'_>) -> Content {
        if roles.tenant {
            return Content::Tenant;
        }
        if let Some(session) = roles.signal_of {
            let [start, heartbeat, stop] =
                [&session.start, &session.heartbeat, &session.stop].map(|words| quoted_all(words));
            return Content::Signal { start, heartbeat, stop };
        }
        if let Some(meter) = roles.value_of.first() {
            return self.figure(meter);
        }
        if roles.started_at {
            return Content::StartedAt;
        }
        if roles.ended_at {
            return Content::EndedAt;
        }
        if roles.duration {
            return Content::DurationSeconds;
        }
        if roles.resource_of.iter().any(|meter| matches!(meter.kind, MeterKind::Session { .. })) {
            return Content::SessionId;
        }
        let (values, scope) = roles.choices(path);
        let is_known = !roles.conditions.is_empty() || hints::choices(&[&last_key(path)]).is_some();
        if !roles.resource_of.is_empty() {
            if !is_known {
                return Content::Resource { stem: stem(&last_key(path)) };
            }
            self.resources_max = Some(self.resources_max.unwrap_or(usize::MAX).min(values.len()));
        }
        let usual =
            if roles.sticky || !roles.resource_of.is_empty() { Scope::Resource } else { Scope::Event };
        Content::Choice {
            values: quoted_all(&values),
            scope: if roles.resource_of.is_empty() { scope.unwrap_or(usual) } else { Scope::Resource },
            // A resource's name must be its own, so it is taken in order and not by chance.
            salt: if roles.resource_of.is_empty() { salt(&last_key(path)) } else { 0 },
        }
    }

    fn figure(&mut self, meter: &Meter) -> Content {
        let size = hints::magnitude(meter);
        let per_resource = meter.resource.is_some();
        let state = self.states;
        match meter.kind {
            MeterKind::Gauge { .. } => {
                self.states += 1;
                Content::Gauge { state, per_resource, size }
            }
            MeterKind::Cumulative => {
                self.states += 1;
                Content::Counter { state, per_resource, size }
            }
            _ => Content::Delta { size },
        }
    }

    /// `bytes_total` beside `bytes_in` and `bytes_out` is their sum.
    fn add_up_totals(&mut self) {
        for total in 0..self.slots.len() {
            let Path::Data(keys) = &self.slots[total].path else { continue };
            let Some((last, parents)) = keys.split_last() else { continue };
            let Some(prefix) = last.strip_suffix("total").filter(|prefix| prefix.ends_with('_')) else {
                continue;
            };
            let is_part = |slot: &Slot| match &slot.path {
                Path::Data(keys) => {
                    let same_kind = std::mem::discriminant(&slot.content)
                        == std::mem::discriminant(&self.slots[total].content);
                    let (key, folder) = keys.split_last().expect("a path has keys");
                    same_kind && folder == parents && key != last && key.starts_with(prefix)
                }
                Path::Attribute(_) => false,
            };
            let is_figure =
                matches!(self.slots[total].content, Content::Delta { .. } | Content::Counter { .. });
            let parts: Vec<usize> = (0..self.slots.len()).filter(|at| is_part(&self.slots[*at])).collect();
            if is_figure && parts.len() > 1 {
                self.slots[total].content = Content::Sum(parts);
            }
        }
    }
}

fn last_key(path: &Path) -> String {
    match path {
        Path::Attribute(name) => name.clone(),
        Path::Data(keys) => keys.last().expect("a path has keys").clone(),
    }
}

/// The same key means the same in every event type: a tenant's plan does not depend on what it does.
fn salt(key: &str) -> u64 {
    key.bytes().fold(1, |sum, byte| mix_all(&[sum, u64::from(byte)])) | 1
}

/// `device_id` names devices.
fn stem(key: &str) -> String {
    key.strip_suffix("_id").filter(|stem| !stem.is_empty()).unwrap_or(key).to_owned()
}

/// As a JSON text.
pub(super) fn quoted(text: &str) -> Vec<u8> {
    serde_json::to_vec(text).expect("every text is JSON")
}

fn quoted_all(texts: &[String]) -> Vec<Vec<u8>> {
    texts.iter().map(|text| quoted(text)).collect()
}

#[derive(Debug)]
enum Node {
    Leaf { slot: usize, optional: bool },
    Branch(Vec<(String, Node)>),
}

fn insert(
    tree: &mut Vec<(String, Node)>,
    keys: &[String],
    slot: usize,
    optional: bool,
) -> Result<(), String> {
    let (key, rest) = keys.split_first().expect("a path has keys");
    let clash = || format!("a path of the catalog ends at the key `{key}`, and another goes on below it");
    let position = tree.iter().position(|(name, _)| name == key);
    match (position, rest.is_empty()) {
        (Some(_), true) => Err(clash()),
        (None, true) => {
            tree.push((key.clone(), Node::Leaf { slot, optional }));
            Ok(())
        }
        (position, false) => {
            let at = position.unwrap_or_else(|| {
                tree.push((key.clone(), Node::Branch(Vec::new())));
                tree.len() - 1
            });
            match &mut tree[at].1 {
                Node::Branch(children) => insert(children, rest, slot, optional),
                Node::Leaf { .. } => Err(clash()),
            }
        }
    }
}

/// Every member is followed by a comma, which closing takes back.
fn flatten(tree: &[(String, Node)], pieces: &mut Vec<Piece>) {
    for (key, node) in tree {
        let mut label = quoted(key);
        label.push(b':');
        match node {
            Node::Leaf { slot, optional: true } => {
                pieces.push(Piece::Optional(label, *slot));
                continue;
            }
            Node::Leaf { slot, optional: false } => {
                push_literal(pieces, &label);
                pieces.push(Piece::Slot(*slot));
            }
            Node::Branch(children) => {
                label.push(b'{');
                push_literal(pieces, &label);
                flatten(children, pieces);
                pieces.push(Piece::Close);
            }
        }
        push_literal(pieces, b",");
    }
}

fn push_literal(pieces: &mut Vec<Piece>, bytes: &[u8]) {
    if let Some(Piece::Literal(literal)) = pieces.last_mut() {
        literal.extend_from_slice(bytes);
    } else {
        pieces.push(Piece::Literal(bytes.to_vec()));
    }
}
