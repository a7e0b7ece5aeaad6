//! Sessions by brute force: each session's own events are read from start to end, and each span asks anew what it
//! overlaps.

use rating::quantity::SessionRules;
use rating::quantity::session::SessionEvent;

#[derive(Debug, Clone, Copy)]
pub struct Event {
    pub time_us: i64,
    pub session: u32,
    pub dimensions: u32,
    pub what: SessionEvent,
}

/// One run of a session: from its start to its end, and the dimensions that it moved through.
#[derive(Debug)]
pub struct Run {
    pub start_us: i64,
    /// Nothing while it goes on.
    pub end_us: Option<i64>,
    /// (from instant, dimensions), in order.
    pub moves: Vec<(i64, u32)>,
}

/// All runs of one session, from its events in (time, arrival) order.
pub fn runs(events: &[Event], session: u32, rules: &SessionRules) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    let mut last_sign_us = 0;
    let mut known_end_us = None;
    let mut stopped_us: Option<i64> = None;
    for event in events.iter().filter(|event| event.session == session) {
        close_if_over(&mut runs, last_sign_us, known_end_us, rules, Some(event.time_us));
        let running = runs.last_mut().filter(|run| run.end_us.is_none());
        match (event.what, running) {
            (SessionEvent::BareHeartbeat, Some(_)) => last_sign_us = event.time_us,
            (SessionEvent::Start | SessionEvent::Heartbeat, Some(run)) => {
                run.moves.retain(|of| of.0 < event.time_us);
                run.moves.push((event.time_us, event.dimensions));
                last_sign_us = event.time_us;
            }
            (SessionEvent::Heartbeat | SessionEvent::BareHeartbeat, None)
                if is_stray(stopped_us, rules, event.time_us) => {}
            (SessionEvent::Start | SessionEvent::Heartbeat | SessionEvent::BareHeartbeat, None) => {
                runs.push(begin(event));
                (last_sign_us, known_end_us) = (event.time_us, None);
            }
            (SessionEvent::Stop, Some(run)) => run.end_us = Some(event.time_us),
            (SessionEvent::Complete { end_us }, running) if end_us >= event.time_us => {
                let same_start = running.as_ref().is_some_and(|run| run.start_us == event.time_us);
                if let Some(run) = running {
                    run.end_us = Some(event.time_us);
                }
                if same_start {
                    runs.pop();
                }
                runs.push(begin(event));
                (last_sign_us, known_end_us) = (event.time_us, Some(end_us));
            }
            (SessionEvent::Stop | SessionEvent::Complete { .. }, _) => {}
        }
        match event.what {
            SessionEvent::Stop => stopped_us = Some(event.time_us),
            SessionEvent::Start => stopped_us = None,
            SessionEvent::Complete { end_us } if end_us >= event.time_us => stopped_us = None,
            _ => {}
        }
    }
    close_if_over(&mut runs, last_sign_us, known_end_us, rules, None);
    runs
}

/// Whether a heartbeat of a session that does not run says nothing: no timeout could end what it begins, or the session was
/// stopped just before.
fn is_stray(stopped_us: Option<i64>, rules: &SessionRules, at_us: i64) -> bool {
    rules.timeout_us.is_none_or(|timeout_us| {
        stopped_us.is_some_and(|stopped_us| i128::from(at_us) <= after(stopped_us, timeout_us))
    })
}

fn begin(event: &Event) -> Run {
    Run { start_us: event.time_us, end_us: None, moves: vec![(event.time_us, event.dimensions)] }
}

fn close_if_over(
    runs: &mut [Run],
    last_sign_us: i64,
    known_end_us: Option<i64>,
    rules: &SessionRules,
    before_us: Option<i64>,
) {
    let Some(run) = runs.last_mut().filter(|run| run.end_us.is_none()) else {
        return;
    };
    let over_us = match (known_end_us, rules.timeout_us) {
        (Some(end_us), _) => Some(i128::from(end_us)),
        (None, timeout_us) => timeout_us.map(|timeout_us| after(last_sign_us, timeout_us)),
    };
    // Beyond the last instant there is nothing that it could end before.
    let over_us = over_us.and_then(|over_us| i64::try_from(over_us).ok());
    run.end_us = over_us.filter(|&over_us| before_us.is_none_or(|before_us| over_us < before_us));
}

fn after(instant_us: i64, duration_us: i64) -> i128 {
    i128::from(instant_us) + i128::from(duration_us)
}

/// What a session owes in all from its start to an instant.
fn owed_us(start_us: i64, until_us: i64, rules: &SessionRules) -> i128 {
    let elapsed_us = i128::from(until_us) - i128::from(start_us);
    let owed_us = elapsed_us.max(rules.minimum_us.unwrap_or(0).into());
    let increment_us = i128::from(rules.increment_us.unwrap_or(1));
    (owed_us + increment_us - 1) / increment_us * increment_us
}

/// Whether what a run owes up to an instant is more than 64 bits of microseconds.
pub fn is_too_long(run: &Run, until_us: i64, rules: &SessionRules) -> bool {
    let until_us = run.end_us.unwrap_or(i64::MAX).min(until_us);
    run.start_us < until_us && owed_us(run.start_us, until_us, rules) > i64::MAX.into()
}

/// What one span bills of a run in one dimension set.
pub fn billed_us(run: &Run, dimensions: u32, start_us: i64, end_us: i64, rules: &SessionRules) -> i128 {
    let run_end_us = run.end_us.unwrap_or(i64::MAX);
    let mut billed_us = 0;
    for (index, &(from_us, of)) in run.moves.iter().enumerate() {
        let until_us = run.moves.get(index + 1).map_or(run_end_us, |next| next.0);
        let begins_here = index == 0 && start_us <= run.start_us && run.start_us < end_us;
        let (low_us, high_us) = (from_us.max(start_us), until_us.min(end_us));
        if of != dimensions || (low_us >= high_us && !begins_here) {
            continue;
        }
        let before_us = if begins_here { 0 } else { owed_us(run.start_us, low_us, rules) };
        billed_us += owed_us(run.start_us, high_us, rules) - before_us;
    }
    billed_us
}
