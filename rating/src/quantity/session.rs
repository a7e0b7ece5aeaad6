//! Sessions: time between start and stop, billed where it overlaps the period (DESIGN.md 3.5).
//!
//! Owns the fold of one tenant's sessions of one meter, over all dimension sets, since a session may move from one to
//! another and is split there. Events are fed in time order; a complete event is fed at its start.
//!
//! Increments and minimum belong to the whole session: after an elapsed time `e` it has been billed `B(e)` in all, the
//! minimum or `e` rounded up to increments. Each stretch bills what `B` grew by, so that the parts of a split session
//! add up to the unsplit one and a started minute belongs to the span in which it started.
//!
//! A session without stop ends at its last sign of life plus the timeout, if the meter has one. That is final: what is
//! billed up to an instant depends only on what happened before it, or closed days could not be kept. A later sign of
//! life starts anew; a later stop ends nothing. Both are counted, for a warning.
//!
//! A heartbeat begins a session only where a timeout can end it, and not within that time after a stop: what an agent's
//! other thread sends half a second after the stop would otherwise be billed as a session that nobody ends. It is counted,
//! too. A start or a complete event always begins one.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use serde::{Deserialize, Serialize};

use super::error::{FoldError, Samples};
use super::measure::SessionRules;
use crate::exact::Exact;
use crate::period::Span;

/// One thing that happened to a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionEvent {
    /// Begins a session, or is a sign of life of one that runs.
    Start,
    Heartbeat,
    /// A heartbeat that names no dimensions: a session that runs keeps those it has.
    BareHeartbeat,
    /// Ends the session in the dimensions that it has, whatever the event names.
    Stop,
    /// The whole session in one event, fed at its start.
    Complete {
        end_us: i64,
    },
}

/// A session that goes on: closing state of one stretch, opening state of the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenSession {
    pub session: u32,
    pub started_us: i64,
    pub last_sign_us: i64,
    /// Known in advance when it came as one complete event.
    pub end_us: Option<i64>,
    pub dimensions: u32,
    /// What earlier stretches billed of it.
    pub billed_us: i64,
    /// It does not run: it was stopped at `last_sign_us`, which is remembered for as long as a heartbeat may still come late.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_stopped: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct SessionState {
    pub open: Vec<OpenSession>,
}

/// What one dimension set is billed in one stretch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct SessionTotals {
    pub billed_us: i128,
    pub samples: Samples,
    /// Sessions that began in this stretch.
    pub started: u64,
}

/// One stretch of all dimension sets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionSegment {
    pub span: Span,
    /// By dimension set; sets without any event or open session may be missing at the end.
    pub totals: Vec<SessionTotals>,
    pub oddities: SessionOddities,
}

/// What should not happen, counted for warnings; none of it is billed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct SessionOddities {
    /// A stop of a session that is not running: never started, or already ended. Or a heartbeat that begins none.
    pub stops_without_start: u64,
    /// A complete event that ends before it starts.
    pub ends_before_start: u64,
    /// Sessions that ended by timeout.
    pub timed_out: u64,
}

impl SessionOddities {
    /// Those of two stretches.
    #[must_use]
    pub fn together_with(&self, other: &SessionOddities) -> SessionOddities {
        SessionOddities {
            stops_without_start: self.stops_without_start + other.stops_without_start,
            ends_before_start: self.ends_before_start + other.ends_before_start,
            timed_out: self.timed_out + other.timed_out,
        }
    }

    /// The larger of each, of two looks at the same sessions.
    #[must_use]
    pub fn most(&self, other: &SessionOddities) -> SessionOddities {
        SessionOddities {
            stops_without_start: self.stops_without_start.max(other.stops_without_start),
            ends_before_start: self.ends_before_start.max(other.ends_before_start),
            timed_out: self.timed_out.max(other.timed_out),
        }
    }
}

impl SessionTotals {
    /// Billed time in seconds.
    pub fn session_time(&self) -> Exact {
        Exact::ratio(self.billed_us, 1_000_000).unwrap_or(Exact::ZERO)
    }
}

#[derive(Debug, Clone)]
pub struct SessionFold {
    rules: SessionRules,
    open: HashMap<u32, OpenSession, BuildHasherDefault<DenseHasher>>,
    segment: SessionSegment,
    now_us: i64,
}

impl SessionFold {
    pub fn new(rules: SessionRules, start_us: i64, opening: &SessionState) -> SessionFold {
        SessionFold {
            rules,
            open: opening.open.iter().map(|open| (open.session, *open)).collect(),
            segment: empty_segment(start_us),
            now_us: start_us,
        }
    }

    /// Goes on with a session that an earlier stretch left open.
    pub fn resume(&mut self, open: OpenSession) {
        self.open.insert(open.session, open);
    }

    /// Takes one event. Times never go back; at one instant the order is that of arrival.
    pub fn event(
        &mut self,
        time_us: i64,
        session: u32,
        dimensions: u32,
        event: SessionEvent,
    ) -> Result<(), FoldError> {
        if time_us < self.now_us {
            return Err(FoldError::OutOfOrder { time_us, now_us: self.now_us });
        }
        self.now_us = time_us;
        self.end_if_over(session, time_us)?;
        let dimensions = match (event, self.running(session)) {
            (SessionEvent::BareHeartbeat | SessionEvent::Stop, Some(open)) => open.dimensions,
            _ => dimensions,
        };
        if self.counts(session, time_us, event) {
            self.totals(dimensions).samples.note(time_us);
        }
        match event {
            SessionEvent::Heartbeat | SessionEvent::BareHeartbeat if !self.takes_heartbeat(session) => {
                self.segment.oddities.stops_without_start += 1;
                Ok(())
            }
            SessionEvent::Start | SessionEvent::Heartbeat | SessionEvent::BareHeartbeat => {
                self.sign_of_life(time_us, session, dimensions)
            }
            SessionEvent::Stop => self.stop(time_us, session, dimensions),
            SessionEvent::Complete { end_us } if end_us < time_us => {
                self.segment.oddities.ends_before_start += 1;
                Ok(())
            }
            SessionEvent::Complete { end_us } => self.complete(time_us, session, dimensions, end_us),
        }
    }

    /// Whether an event says anything of usage. What ends nothing is an oddity and no sample: dimensions that nobody used
    /// would owe the fee of a first tier.
    fn counts(&self, session: u32, time_us: i64, event: SessionEvent) -> bool {
        match event {
            SessionEvent::Stop => self.running(session).is_some(),
            SessionEvent::Complete { end_us } => end_us >= time_us,
            SessionEvent::Heartbeat | SessionEvent::BareHeartbeat => self.takes_heartbeat(session),
            SessionEvent::Start => true,
        }
    }

    fn running(&self, session: u32) -> Option<&OpenSession> {
        self.open.get(&session).filter(|open| !open.is_stopped)
    }

    /// Whether a heartbeat says anything: its session runs, or may begin by it.
    fn takes_heartbeat(&self, session: u32) -> bool {
        match self.open.get(&session) {
            Some(open) => !open.is_stopped,
            None => self.rules.timeout_us.is_some(),
        }
    }

    fn stop(&mut self, time_us: i64, session: u32, dimensions: u32) -> Result<(), FoldError> {
        let running = self.open.remove(&session).filter(|open| !open.is_stopped);
        if self.rules.timeout_us.is_some() {
            let stopped = OpenSession { is_stopped: true, ..begin(time_us, session, dimensions) };
            self.open.insert(session, stopped);
        }
        match running {
            Some(open) => self.bill(&open, time_us).map(drop),
            None => {
                self.segment.oddities.stops_without_start += 1;
                Ok(())
            }
        }
    }

    /// Ends the current segment (an hour, a day, a span) and starts the next; running sessions are billed up to here
    /// and go on.
    pub fn cut(&mut self, at_us: i64) -> Result<SessionSegment, FoldError> {
        if at_us < self.now_us {
            return Err(FoldError::OutOfOrder { time_us: at_us, now_us: self.now_us });
        }
        self.now_us = at_us;
        let mut open = std::mem::take(&mut self.open);
        let mut failure = None;
        open.retain(|_, session| match self.bill_until(session, at_us) {
            Ok(goes_on) => goes_on,
            Err(error) => {
                failure = Some(error);
                true
            }
        });
        self.open = open;
        if let Some(error) = failure {
            return Err(error);
        }
        let mut segment = std::mem::replace(&mut self.segment, empty_segment(at_us));
        segment.span.end_us = at_us;
        Ok(segment)
    }

    /// What the next stretch opens with, in ascending order of sessions. Call it right after `cut`.
    pub fn closing(&self) -> SessionState {
        let mut open: Vec<OpenSession> = self.open.values().copied().collect();
        open.sort_unstable_by_key(|open| open.session);
        SessionState { open }
    }

    fn sign_of_life(&mut self, time_us: i64, session: u32, dimensions: u32) -> Result<(), FoldError> {
        let Some(mut open) = self.running(session).copied() else {
            self.totals(dimensions).started += 1;
            self.open.insert(session, begin(time_us, session, dimensions));
            return Ok(());
        };
        if open.dimensions != dimensions {
            // The stretch up to here belongs to the old dimensions, the session itself goes on. Dimensions that it had
            // for no time at all owe nothing, not even the minimum.
            if open.started_us < time_us {
                open.billed_us = self.bill(&open, time_us)?;
            }
            open.dimensions = dimensions;
        }
        open.last_sign_us = time_us;
        self.open.insert(session, open);
        Ok(())
    }

    fn complete(
        &mut self,
        time_us: i64,
        session: u32,
        dimensions: u32,
        end_us: i64,
    ) -> Result<(), FoldError> {
        self.totals(dimensions).started += 1;
        let whole = OpenSession { end_us: Some(end_us), ..begin(time_us, session, dimensions) };
        // A start event of the same session may have come as well: the complete event says it all.
        if let Some(running) = self.open.remove(&session)
            && !running.is_stopped
            && running.started_us != time_us
        {
            self.bill(&running, time_us)?;
        }
        self.open.insert(session, whole);
        Ok(())
    }

    /// When the session is over without a stop: at its known end, or when it timed out.
    fn over_at(&self, open: &OpenSession) -> Option<i64> {
        let timeout =
            || self.rules.timeout_us.and_then(|timeout_us| open.last_sign_us.checked_add(timeout_us));
        open.end_us.or_else(timeout)
    }

    fn end_if_over(&mut self, session: u32, time_us: i64) -> Result<(), FoldError> {
        let Some(open) = self.open.get(&session).copied() else {
            return Ok(());
        };
        match self.over_at(&open) {
            Some(over_us) if over_us < time_us => {
                self.open.remove(&session);
                if open.is_stopped {
                    return Ok(());
                }
                self.note_end(&open);
                self.bill(&open, over_us).map(|_| ())
            }
            _ => Ok(()),
        }
    }

    /// Bills a session up to a cut and says whether it goes on after it.
    fn bill_until(&mut self, open: &mut OpenSession, at_us: i64) -> Result<bool, FoldError> {
        match self.over_at(open) {
            Some(over_us) if over_us < at_us && open.is_stopped => Ok(false),
            _ if open.is_stopped => Ok(true),
            Some(over_us) if over_us < at_us => {
                self.note_end(open);
                self.bill(open, over_us)?;
                Ok(false)
            }
            _ => {
                open.billed_us = self.bill(open, at_us)?;
                Ok(true)
            }
        }
    }

    fn note_end(&mut self, open: &OpenSession) {
        self.segment.oddities.timed_out += u64::from(open.end_us.is_none());
    }

    /// Adds what the session owes until then and was not billed before; answers with what it was billed in all.
    fn bill(&mut self, open: &OpenSession, until_us: i64) -> Result<i64, FoldError> {
        let overflow = FoldError::Overflow { what: "session time", at_us: until_us };
        let owed_us = self.owed_us(open, until_us).ok_or(overflow)?;
        let new_us = owed_us - open.billed_us;
        self.totals(open.dimensions).billed_us += i128::from(new_us);
        Ok(owed_us)
    }

    /// `B(elapsed)`: the minimum or the elapsed time, rounded up to whole increments.
    fn owed_us(&self, open: &OpenSession, until_us: i64) -> Option<i64> {
        let elapsed_us = until_us.checked_sub(open.started_us)?;
        let at_least_us = elapsed_us.max(self.rules.minimum_us.unwrap_or(0));
        match self.rules.increment_us {
            Some(increment_us) if increment_us > 0 => {
                let increments = at_least_us / increment_us + i64::from(at_least_us % increment_us > 0);
                increments.checked_mul(increment_us)
            }
            _ => Some(at_least_us),
        }
    }

    fn totals(&mut self, dimensions: u32) -> &mut SessionTotals {
        let index = dimensions as usize;
        if index >= self.segment.totals.len() {
            self.segment.totals.resize(index + 1, SessionTotals::default());
        }
        &mut self.segment.totals[index]
    }
}

fn begin(time_us: i64, session: u32, dimensions: u32) -> OpenSession {
    OpenSession {
        session,
        started_us: time_us,
        last_sign_us: time_us,
        end_us: None,
        dimensions,
        billed_us: 0,
        is_stopped: false,
    }
}

fn empty_segment(at_us: i64) -> SessionSegment {
    SessionSegment {
        span: Span { start_us: at_us, end_us: at_us },
        totals: Vec::new(),
        oddities: SessionOddities::default(),
    }
}

/// Session numbers are dense, so one multiplication spreads them well enough.
#[derive(Debug, Clone, Copy, Default)]
struct DenseHasher(u64);

impl Hasher for DenseHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.write_u32(byte.into());
        }
    }

    fn write_u32(&mut self, number: u32) {
        self.0 = (self.0.rotate_left(32) ^ u64::from(number)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    }
}
