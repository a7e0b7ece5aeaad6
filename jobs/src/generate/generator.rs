//! The stream of messages: which tenant does what when, and what goes wrong on the way.
//!
//! Owns order, duplicates, late events and poison. The core knows no destination: each message is lent to
//! whoever asks for the next. Memory does not grow with the number of events, only with tenants and resources.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use anyhow::{Result, ensure};
use rating::catalog::Catalog;

use super::event::{Draft, Moment, Phase, Writer};
use super::plan::{EventTypePlan, plans};
use super::poison::Damage;
use super::random::{Magnitude, Quota, Random, Weighted};

/// Duplicates and late events come at most this many messages behind their place.
const DELAY_MESSAGES_MAX: u64 = 1000;
/// A session sends at most this many heartbeats.
const HEARTBEATS_MAX: u64 = 30;
const SESSION_SECONDS: Magnitude = Magnitude { low: 6, high: 12 };
/// One session in so many ends without a stop, where the meter has a time-out for that.
const SESSIONS_PER_LOST_STOP: u64 = 30;
const SECOND_US: u64 = 1_000_000;
/// Poison has identities of its own.
const POISON_NUMBERS: u64 = 1 << 61;

/// What is to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shape {
    pub seed: u64,
    pub tenants: u64,
    /// Per tenant and event type.
    pub resources: u64,
    /// Good and different events; duplicates and poison come on top.
    pub events: u64,
    pub start_us: i64,
    pub end_us: i64,
    pub duplicates: Share,
    pub disorder: Share,
    pub poison: Share,
    /// Smaller events are padded to this many bytes.
    pub event_bytes_min: u64,
}

impl Shape {
    /// The catalog's own tenants come first and so are the busiest; the others are numbered.
    pub fn tenant_names(&self, catalog: &Catalog) -> Vec<String> {
        let width = self.tenants.to_string().len().max(4);
        let named = catalog.tenants.iter().map(|tenant| tenant.key.clone());
        let numbered = (catalog.tenants.len() as u64 + 1..).map(|number| format!("tenant-{number:0width$}"));
        named.chain(numbered).take(self.tenants as usize).collect()
    }

    /// How many messages there will be in all.
    pub fn messages(&self) -> u64 {
        self.events + self.duplicates.of(self.events) + self.poison.of(self.events)
    }
}

/// A part of the events, in millionths.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Share(pub u32);

impl Share {
    pub fn of(self, count: u64) -> u64 {
        (u128::from(count) * u128::from(self.0) / 1_000_000) as u64
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MessageKind {
    Event,
    /// A good event that comes after events which happened later.
    Late,
    /// The same bytes as an event before.
    Duplicate,
    Poison,
}

/// One message, lent until the next is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Message<'g> {
    pub kind: MessageKind,
    /// The tenant, so that a tenant's events share a partition and keep their order.
    pub key: &'g str,
    pub payload: &'g [u8],
}

/// Makes the messages one by one.
#[derive(Debug)]
pub struct Generator {
    shape: Shape,
    plans: Vec<EventTypePlan>,
    damages: Vec<Vec<Damage>>,
    tenants: Vec<String>,
    choose_plan: Weighted,
    choose_tenant: Weighted,
    random: Random,
    writer: Writer,
    /// Events made or promised to a running session; this paces the clock.
    planned: u64,
    numbered: u64,
    next_time_us: Option<i64>,
    follow_ups: BinaryHeap<Reverse<FollowUp>>,
    held: BinaryHeap<Reverse<Held>>,
    messages: u64,
    poison_is_due: bool,
    poisoned: u64,
    duplicates: Quota,
    disorder: Quota,
    poison: Quota,
}

/// The next event of a running session.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct FollowUp {
    time_us: i64,
    number: u64,
    plan: usize,
    tenant: usize,
    resource: usize,
    moment: Moment,
}

/// A message that comes later than it would.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Held {
    due: u64,
    order: u64,
    is_duplicate: bool,
    tenant: usize,
    payload: Vec<u8>,
}

impl Generator {
    pub fn new(catalog: &Catalog, shape: Shape) -> Result<Self> {
        let span_us = shape.end_us.saturating_sub(shape.start_us);
        ensure!(shape.tenants > 0 && shape.resources > 0, "there must be at least one tenant and resource");
        ensure!(span_us > 0, "the period is empty");
        ensure!(shape.events <= span_us as u64, "more events than the period has microseconds");
        let plans = plans(catalog)?;
        let weights: Vec<u64> = plans.iter().map(|plan| plan.weight).collect();
        let tenants = shape.tenant_names(catalog);
        let writer = Writer::new(&catalog.name, &tenants, &plans, &shape);
        Ok(Self {
            damages: plans.iter().map(Damage::all_for).collect(),
            tenants,
            choose_plan: Weighted::new(&weights),
            choose_tenant: Weighted::zipf(shape.tenants as usize),
            random: Random::new(shape.seed),
            writer,
            planned: 0,
            numbered: 0,
            next_time_us: None,
            follow_ups: BinaryHeap::new(),
            held: BinaryHeap::new(),
            messages: 0,
            poison_is_due: false,
            poisoned: 0,
            duplicates: Quota::new(shape.events, shape.duplicates.of(shape.events)),
            disorder: Quota::new(shape.events, shape.disorder.of(shape.events)),
            poison: Quota::new(shape.events, shape.poison.of(shape.events)),
            plans,
            shape,
        })
    }

    /// The next message; none when all are made.
    pub fn next_message(&mut self) -> Option<Message<'_>> {
        let (kind, tenant) = self.advance()?;
        self.messages += 1;
        Some(Message { kind, key: &self.tenants[tenant], payload: &self.writer.buffer })
    }

    /// Puts the next message into the writer's buffer.
    fn advance(&mut self) -> Option<(MessageKind, usize)> {
        loop {
            if self.held.peek().is_some_and(|Reverse(held)| held.due <= self.messages) {
                return self.release();
            }
            if std::mem::take(&mut self.poison_is_due) {
                return Some((MessageKind::Poison, self.write_poison()));
            }
            let Some(draft) = self.next_draft() else { return self.release() };
            self.writer.write(&self.plans[draft.plan], &draft, &mut self.random);
            self.poison_is_due = self.poison.draw(&mut self.random);
            if self.duplicates.draw(&mut self.random) {
                self.hold(&draft, true);
            }
            if self.disorder.draw(&mut self.random) {
                self.hold(&draft, false);
                continue;
            }
            return Some((MessageKind::Event, draft.tenant));
        }
    }

    fn hold(&mut self, draft: &Draft, is_duplicate: bool) {
        let due = self.messages + 2 + self.random.below(DELAY_MESSAGES_MAX);
        let (order, payload) = (draft.number, self.writer.buffer.clone());
        self.held.push(Reverse(Held { due, order, is_duplicate, tenant: draft.tenant, payload }));
    }

    fn release(&mut self) -> Option<(MessageKind, usize)> {
        let Reverse(held) = self.held.pop()?;
        self.writer.buffer = held.payload;
        let kind = if held.is_duplicate { MessageKind::Duplicate } else { MessageKind::Late };
        Some((kind, held.tenant))
    }

    /// What happens next: a step of a running session, or something new.
    fn next_draft(&mut self) -> Option<Draft> {
        let next_time_us = self.next_time();
        let follow_up_is_first = self.follow_ups.peek().is_some_and(|Reverse(follow_up)| {
            next_time_us.is_none_or(|next_time_us| follow_up.time_us <= next_time_us)
        });
        if follow_up_is_first {
            let Reverse(FollowUp { time_us, number, plan, tenant, resource, moment }) =
                self.follow_ups.pop()?;
            return Some(Draft { plan, tenant, resource, time_us, number, session: Some(moment) });
        }
        let time_us = next_time_us?;
        self.next_time_us = None;
        let plan = self.choose_plan.draw(&mut self.random);
        let resources = self.shape.resources.min(self.plans[plan].resources_max.unwrap_or(usize::MAX) as u64);
        let mut draft = Draft {
            plan,
            tenant: self.choose_tenant.draw(&mut self.random),
            resource: self.random.below(resources) as usize,
            time_us,
            number: self.number(),
            session: None,
        };
        self.planned += 1;
        if let Some(session) = self.plans[plan].session.clone() {
            let length_us = self.random.around(SESSION_SECONDS) * SECOND_US;
            let in_steps = session.in_steps;
            let started_us = if in_steps { time_us } else { time_us - length_us as i64 };
            let phase = if in_steps { Phase::Start } else { Phase::Complete };
            draft.session = Some(Moment { session: draft.number, started_us, phase });
            if in_steps {
                let interval_us =
                    session.heartbeat_timeout_us.map_or(length_us / 3, |timeout| timeout * 4 / 5);
                let stop_is_lost =
                    session.heartbeat_timeout_us.is_some() && self.random.one_in(SESSIONS_PER_LOST_STOP);
                let heartbeats = if session.has_heartbeats { interval_us } else { u64::MAX };
                self.plan_session(&draft, length_us, heartbeats, stop_is_lost);
            }
        }
        Some(draft)
    }

    /// Each planned event has an equal part of the period, and happens somewhere in it.
    fn next_time(&mut self) -> Option<i64> {
        if self.next_time_us.is_none() && self.planned < self.shape.events {
            let span_us = (self.shape.end_us - self.shape.start_us) as u128;
            let edge_us = |part: u64| (span_us * u128::from(part) / u128::from(self.shape.events)) as i64;
            let (from_us, to_us) = (edge_us(self.planned), edge_us(self.planned + 1));
            let within_us = self.random.below((to_us - from_us) as u64) as i64;
            self.next_time_us = Some(self.shape.start_us + from_us + within_us);
        }
        self.next_time_us
    }

    fn number(&mut self) -> u64 {
        self.numbered += 1;
        self.numbered - 1
    }

    /// Promises the session's heartbeats and its stop, as far as the period and the number of events allow.
    fn plan_session(&mut self, start: &Draft, length_us: u64, interval_us: u64, stop_is_lost: bool) {
        let heartbeats = ((length_us - 1) / interval_us).min(HEARTBEATS_MAX);
        let length_us = length_us.min(interval_us.saturating_mul(heartbeats + 1));
        let steps = (1..=heartbeats).map(|count| (count * interval_us, Phase::Heartbeat));
        let stop = (!stop_is_lost).then_some((length_us, Phase::Stop));
        for (after_us, phase) in steps.chain(stop) {
            let time_us = start.time_us + after_us as i64;
            if time_us >= self.shape.end_us || self.planned >= self.shape.events {
                return;
            }
            self.planned += 1;
            let number = self.number();
            let Some(session) = start.session else { return };
            let moment = Moment { phase, ..session };
            let Draft { plan, tenant, resource, .. } = *start;
            self.follow_ups.push(Reverse(FollowUp { time_us, number, plan, tenant, resource, moment }));
        }
    }

    fn write_poison(&mut self) -> usize {
        self.poisoned += 1;
        let plan = self.choose_plan.draw(&mut self.random);
        let draft = Draft {
            plan,
            tenant: self.choose_tenant.draw(&mut self.random),
            resource: 0,
            time_us: self.shape.start_us,
            number: POISON_NUMBERS + self.poisoned,
            session: None,
        };
        let damages = &self.damages[plan];
        let damage = damages[self.random.below(damages.len() as u64) as usize];
        self.writer.write_poison(&self.plans[plan], &draft, &mut self.random, damage);
        draft.tenant
    }
}
