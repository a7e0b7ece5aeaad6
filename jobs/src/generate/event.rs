//! Writes one event as the JSON text of a structured CloudEvent.
//!
//! This is the hot path: it appends to one buffer and formats nothing but numbers. Levels and counters live here,
//! so that each event continues what the one before it said.

use super::generator::Shape;
use super::hints::Scope;
use super::plan::{Content, EventTypePlan, Piece, quoted};
use super::poison::Damage;
use super::random::{Magnitude, Random, mix, mix_all};
use super::time_text::TimeText;

/// A level or counter that has not been seen yet.
const UNSEEN: u64 = u64::MAX;
/// One report in so many follows a restart that set all counters of its resource to zero.
const EVENTS_PER_RESTART: u64 = 500;

/// What is known of an event before its figures are drawn.
#[derive(Debug, Clone)]
pub(super) struct Draft {
    pub plan: usize,
    pub tenant: usize,
    pub resource: usize,
    pub time_us: i64,
    /// Its identity follows from this.
    pub number: u64,
    pub session: Option<Moment>,
}

/// Where in its life a session is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Moment {
    pub session: u64,
    pub started_us: i64,
    pub phase: Phase,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Phase {
    Start,
    Heartbeat,
    Stop,
    /// The one event of a complete session.
    Complete,
}

#[derive(Debug)]
struct Tenant {
    /// As a JSON text.
    json: Vec<u8>,
    source: Vec<u8>,
}

#[derive(Debug)]
pub(super) struct Writer {
    seed: u64,
    tenants: Vec<Tenant>,
    resources: usize,
    event_bytes_min: usize,
    /// Per plan the current levels and counters of each tenant's resources.
    states: Vec<Vec<u64>>,
    /// The figures of the event in the making, by slot.
    figures: Vec<u64>,
    time: TimeText,
    pub buffer: Vec<u8>,
}

impl Writer {
    pub fn new(catalog: &str, tenants: &[String], plans: &[EventTypePlan], shape: &Shape) -> Self {
        let resources = shape.resources as usize;
        let tenant =
            |name: &String| Tenant { json: quoted(name), source: quoted(&format!("/{catalog}/{name}")) };
        let states = |plan: &EventTypePlan| vec![UNSEEN; plan.states * resources * tenants.len()];
        Self {
            seed: shape.seed,
            tenants: tenants.iter().map(tenant).collect(),
            resources,
            event_bytes_min: shape.event_bytes_min as usize,
            states: plans.iter().map(states).collect(),
            figures: Vec::new(),
            time: TimeText::default(),
            buffer: Vec::with_capacity(4096),
        }
    }

    /// Draws the event's figures and writes it into the buffer.
    pub fn write(&mut self, plan: &EventTypePlan, draft: &Draft, random: &mut Random) {
        self.draw_figures(plan, draft, random);
        self.write_event(plan, draft, random, None);
    }

    /// Writes an event that must be rejected; no level or counter moves.
    pub fn write_poison(&mut self, plan: &EventTypePlan, draft: &Draft, random: &mut Random, damage: Damage) {
        self.figures.clear();
        self.figures.resize(plan.slots.len(), 1);
        self.write_event(plan, draft, random, Some(damage));
        damage.finish(&mut self.buffer);
    }

    fn draw_figures(&mut self, plan: &EventTypePlan, draft: &Draft, random: &mut Random) {
        self.figures.clear();
        self.figures.resize(plan.slots.len(), 0);
        let restarted = plan.states > 0 && random.one_in(EVENTS_PER_RESTART);
        for (slot, figure) in plan.slots.iter().zip(&mut self.figures) {
            let state = |state: usize, per_resource: bool| {
                let resource = if per_resource { draft.resource } else { 0 };
                (draft.tenant * self.resources + resource) * plan.states + state
            };
            match &slot.content {
                Content::Gauge { state: at, per_resource, size } => {
                    let level = &mut self.states[draft.plan][state(*at, *per_resource)];
                    *level = next_level(*level, *size, random);
                    *figure = *level;
                }
                Content::Counter { state: at, per_resource, size } => {
                    let counter = &mut self.states[draft.plan][state(*at, *per_resource)];
                    let before = if restarted || *counter == UNSEEN { 0 } else { *counter };
                    *counter = before + random.around(*size);
                    *figure = *counter;
                }
                Content::Delta { size } => *figure = random.around(*size),
                _ => {}
            }
        }
        for (at, slot) in plan.slots.iter().enumerate() {
            if let Content::Sum(parts) = &slot.content {
                self.figures[at] = parts.iter().map(|part| self.figures[*part]).sum();
            }
        }
    }

    fn write_event(
        &mut self,
        plan: &EventTypePlan,
        draft: &Draft,
        random: &mut Random,
        damage: Option<Damage>,
    ) {
        self.buffer.clear();
        self.buffer.push(b'{');
        match damage {
            Some(Damage::NoSpecVersion) => {}
            Some(Damage::OldSpecVersion) => self.buffer.extend_from_slice(b"\"specversion\":\"0.3\","),
            _ => self.buffer.extend_from_slice(b"\"specversion\":\"1.0\","),
        }
        if damage != Some(Damage::NoId) {
            self.buffer.extend_from_slice(b"\"id\":\"");
            push_id(&mut self.buffer, self.seed, draft.number);
            self.buffer.extend_from_slice(b"\",");
        }
        self.buffer.extend_from_slice(b"\"source\":");
        match plan.source {
            _ if damage == Some(Damage::EmptySource) => self.buffer.extend_from_slice(b"\"\""),
            Some(slot) => self.write_slot(plan, slot, draft, random),
            None => self.buffer.extend_from_slice(&self.tenants[draft.tenant].source),
        }
        self.buffer.extend_from_slice(b",\"type\":");
        self.buffer.extend_from_slice(&plan.event_type);
        if damage != Some(Damage::NoSubject) {
            self.buffer.extend_from_slice(b",\"subject\":");
            match plan.subject {
                Some(slot) => self.write_slot(plan, slot, draft, random),
                None => self.buffer.extend_from_slice(&self.tenants[draft.tenant].json),
            }
        }
        self.buffer.extend_from_slice(b",\"time\":");
        match damage.and_then(Damage::time) {
            Some(time) => self.buffer.extend_from_slice(time),
            None => self.write_time(draft.time_us),
        }
        for (name, slot) in &plan.extensions {
            self.buffer.extend_from_slice(b",\"");
            self.buffer.extend_from_slice(name.as_bytes());
            self.buffer.extend_from_slice(b"\":");
            self.write_slot(plan, *slot, draft, random);
        }
        self.buffer.extend_from_slice(b",\"datacontenttype\":\"application/json\",\"data\":");
        self.write_data(plan, draft, random, damage);
        self.buffer.push(b'}');
    }

    fn write_data(
        &mut self,
        plan: &EventTypePlan,
        draft: &Draft,
        random: &mut Random,
        damage: Option<Damage>,
    ) {
        if damage == Some(Damage::DataIsAList) {
            self.buffer.extend_from_slice(b"[1,2]");
            return;
        }
        self.buffer.push(b'{');
        for piece in &plan.data {
            match piece {
                Piece::Literal(bytes) => self.buffer.extend_from_slice(bytes),
                Piece::Slot(slot) => match damage.and_then(Damage::value) {
                    Some(value) if plan.sure_value == Some(*slot) => self.buffer.extend_from_slice(value),
                    _ => self.write_slot(plan, *slot, draft, random),
                },
                // What may be missing mostly is.
                Piece::Optional(label, slot) => {
                    if random.one_in(4) {
                        self.buffer.extend_from_slice(label);
                        self.write_slot(plan, *slot, draft, random);
                        self.buffer.push(b',');
                    }
                }
                Piece::Close => close(&mut self.buffer),
            }
        }
        // Behind what is written now comes one more brace, or with padding 14 bytes beside the padding itself.
        let written = self.buffer.len();
        if written + 1 < self.event_bytes_min {
            self.buffer.extend_from_slice(b"\"padding\":\"");
            let missing = self.event_bytes_min.saturating_sub(written + 14);
            self.buffer.resize(self.buffer.len() + missing, b'x');
            self.buffer.extend_from_slice(b"\",");
        }
        close(&mut self.buffer);
        if damage == Some(Damage::DataTwice) {
            self.buffer.extend_from_slice(b",\"data\":{}");
        }
    }

    fn write_slot(&mut self, plan: &EventTypePlan, slot: usize, draft: &Draft, random: &mut Random) {
        let buffer = &mut self.buffer;
        match &plan.slots[slot].content {
            Content::Tenant => buffer.extend_from_slice(&self.tenants[draft.tenant].json),
            Content::Resource { stem } => {
                buffer.push(b'"');
                buffer.extend_from_slice(stem.as_bytes());
                buffer.push(b'-');
                push_number(buffer, draft.tenant as u64 + 1);
                buffer.push(b'-');
                push_number(buffer, draft.resource as u64 + 1);
                buffer.push(b'"');
            }
            Content::SessionId => {
                let session = draft.session.map_or(draft.number, |moment| moment.session);
                buffer.extend_from_slice(b"\"session-");
                push_hex(buffer, mix(self.seed ^ mix(session)));
                buffer.push(b'"');
            }
            Content::Choice { values, scope, salt } => {
                let index = match scope {
                    Scope::Event => random.below(values.len() as u64) as usize,
                    _ if *salt == 0 => draft.resource % values.len(),
                    scope => self.lasting_choice(*salt, *scope, draft) % values.len(),
                };
                self.buffer.extend_from_slice(&values[index]);
            }
            Content::Signal { start, heartbeat, stop } => {
                let words = match draft.session.map(|moment| moment.phase) {
                    Some(Phase::Heartbeat) => heartbeat,
                    Some(Phase::Stop) => stop,
                    _ => start,
                };
                let word = usize::from(words.len() > 1 && random.one_in(8));
                buffer.extend_from_slice(&words[word]);
            }
            Content::StartedAt => {
                self.write_time(draft.session.map_or(draft.time_us, |moment| moment.started_us));
            }
            Content::EndedAt => self.write_time(draft.time_us),
            Content::DurationSeconds => {
                let started_us = draft.session.map_or(draft.time_us, |moment| moment.started_us);
                push_number(buffer, ((draft.time_us - started_us) / 1_000_000).unsigned_abs());
            }
            Content::Gauge { .. } | Content::Counter { .. } | Content::Delta { .. } | Content::Sum(_) => {
                push_number(buffer, self.figures[slot]);
            }
        }
    }

    /// The same number each time for the same tenant, resource or session.
    fn lasting_choice(&self, salt: u64, scope: Scope, draft: &Draft) -> usize {
        let of: [u64; 2] = match (scope, draft.session) {
            (Scope::Resource, Some(moment)) => [moment.session, 1],
            (Scope::Resource, None) => [draft.tenant as u64, draft.resource as u64 + 2],
            _ => [draft.tenant as u64, 0],
        };
        (mix_all(&[self.seed, salt, of[0], of[1]]) >> 1) as usize
    }

    fn write_time(&mut self, time_us: i64) {
        self.buffer.push(b'"');
        self.time.push(&mut self.buffer, time_us);
        self.buffer.push(b'"');
    }
}

fn close(buffer: &mut Vec<u8>) {
    if buffer.last() == Some(&b',') {
        buffer.pop();
    }
    buffer.push(b'}');
}

/// A level wanders, is cleaned up now and then, and sometimes everything is deleted.
fn next_level(level: u64, size: Magnitude, random: &mut Random) -> u64 {
    if level == UNSEEN || (level == 0 && random.one_in(2)) {
        return random.around(size);
    }
    match random.below(256) {
        0 => 0,
        1..=3 => level / 2,
        _ => {
            let step = level / 16 + 2;
            let moved = (level + random.below(2 * step + 1)).saturating_sub(step - step / 16);
            moved.min(1 << (size.high + 1))
        }
    }
}

fn push_number(buffer: &mut Vec<u8>, number: u64) {
    buffer.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

const HEX: &[u8; 16] = b"0123456789abcdef";

fn push_hex(buffer: &mut Vec<u8>, bits: u64) {
    for nibble in (0..16).rev() {
        buffer.push(HEX[(bits >> (4 * nibble)) as usize & 15]);
    }
}

/// A UUID of version 8, which leaves its bits to us. Its last 62 are a one-to-one image of the number, so no two
/// events of a run share one.
fn push_id(buffer: &mut Vec<u8>, seed: u64, number: u64) {
    const LOW: u64 = (1 << 62) - 1;
    let high = mix(seed ^ mix(number)) & !0xf000 | 0x8000;
    let low = number.wrapping_mul(0x2545_f491_4f6c_dd1d) & LOW | (1 << 63);
    for (bits, dashes) in [(high, [8, 12]), (low, [0, 4])] {
        for position in 0..16 {
            if dashes.contains(&position) {
                buffer.push(b'-');
            }
            buffer.push(HEX[(bits >> (60 - 4 * position)) as usize & 15]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_uuids_and_differ() {
        let id = |number| {
            let mut buffer = Vec::new();
            push_id(&mut buffer, 1, number);
            String::from_utf8(buffer).unwrap()
        };
        let all: std::collections::BTreeSet<String> = (0..10_000).map(id).collect();
        assert_eq!(all.len(), 10_000);
        for id in all {
            let lengths: Vec<usize> = id.split('-').map(str::len).collect();
            assert_eq!(lengths, [8, 4, 4, 4, 12], "{id}");
            assert_eq!(id.as_bytes()[14], b'8');
            assert!(b"89ab".contains(&id.as_bytes()[19]), "{id}");
        }
    }

    #[test]
    fn levels_stay_within_reason() {
        let mut random = Random::new(1);
        let size = Magnitude { low: 26, high: 38 };
        let mut level = UNSEEN;
        for _ in 0..100_000 {
            level = next_level(level, size, &mut random);
            assert!(level <= 1 << 39);
        }
    }
}
