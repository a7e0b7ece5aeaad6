//! The questions about a session meter. A session may move from one set of dimensions to another and is split there, so
//! each question folds all of them together and picks its own afterwards.

use std::collections::BTreeMap;

use super::MeterAnswers;
use super::look::{Edge, edges};
use crate::period::Span;
use crate::quantity::session::{
    OpenSession, SessionEvent, SessionFold, SessionOddities, SessionSegment, SessionState, SessionTotals,
};
use crate::quantity::{Dimensions, FoldError, SessionRules};
use crate::usage::{SeriesSpan, Totals, View, Wanted};

#[derive(Debug)]
pub(super) struct SessionLooks {
    looks: Vec<SessionLook>,
    /// Events that wait to be put in order of when they happened; nothing when they come in it.
    waiting: Option<Vec<Waiting>>,
}

#[derive(Debug, Clone, Copy)]
struct Waiting {
    time_us: i64,
    session: u32,
    dimensions: u32,
    event: SessionEvent,
}

type OdditiesOfSpans = Vec<(Span, SessionOddities)>;

#[derive(Debug)]
struct SessionLook {
    at: usize,
    view: View,
    edges: Vec<Edge>,
    next_edge: usize,
    fold: SessionFold,
    done: Vec<(Span, SessionSegment)>,
}

impl SessionLooks {
    pub fn new(rules: SessionRules, wanted: &[(usize, &Wanted)], in_order: bool) -> SessionLooks {
        let look = |(at, wanted): &(usize, &Wanted)| SessionLook {
            at: *at,
            view: wanted.view.clone(),
            edges: edges(&wanted.spans),
            next_edge: 0,
            fold: SessionFold::new(rules, i64::MIN, &SessionState::default()),
            done: Vec::new(),
        };
        SessionLooks { looks: wanted.iter().map(look).collect(), waiting: (!in_order).then(Vec::new) }
    }

    pub fn event(
        &mut self,
        time_us: i64,
        session: u32,
        dimensions: u32,
        event: SessionEvent,
    ) -> Result<(), FoldError> {
        let next = Waiting { time_us, session, dimensions, event };
        match &mut self.waiting {
            Some(waiting) => {
                waiting.push(next);
                Ok(())
            }
            None => self.looks.iter_mut().try_for_each(|look| look.event(next)),
        }
    }

    pub fn resume(&mut self, open: OpenSession) {
        self.looks.iter_mut().for_each(|look| look.fold.resume(open));
    }

    pub fn count(&self) -> usize {
        self.looks.len()
    }

    pub fn finish(mut self, dimensions: &[Dimensions]) -> Result<MeterAnswers, FoldError> {
        let mut waiting = self.waiting.take().unwrap_or_default();
        // Stable: at one instant the order is that of arrival.
        waiting.sort_by_key(|waiting| waiting.time_us);
        let mut found = MeterAnswers::default();
        for mut look in self.looks {
            waiting.iter().try_for_each(|event| look.event(*event))?;
            let (at, answers, by_span) = look.finish(dimensions)?;
            let oddities = by_span
                .iter()
                .map(|(_, own)| *own)
                .fold(SessionOddities::default(), |sum, own| sum.together_with(&own));
            found.oddities.push((at, by_span));
            found.answers.push((at, answers));
            // Each question saw the same sessions over its own spans: the widest view of them is the one to warn of.
            found.session_oddities = found.session_oddities.most(&oddities);
        }
        Ok(found)
    }
}

impl SessionLook {
    fn event(&mut self, waiting: Waiting) -> Result<(), FoldError> {
        let Waiting { time_us, session, dimensions, event } = waiting;
        while let Some(edge) = self.edges.get(self.next_edge)
            && edge.at_us <= time_us
        {
            self.cross(*edge)?;
        }
        if self.next_edge == self.edges.len() {
            return Ok(());
        }
        self.fold.event(time_us, session, dimensions, event)
    }

    fn cross(&mut self, edge: Edge) -> Result<(), FoldError> {
        self.next_edge += 1;
        let segment = self.fold.cut(edge.at_us)?;
        if let Some(span) = edge.ends {
            self.done.push((span, segment));
        }
        Ok(())
    }

    fn finish(
        mut self,
        dimensions: &[Dimensions],
    ) -> Result<(usize, Vec<SeriesSpan>, OdditiesOfSpans), FoldError> {
        while let Some(edge) = self.edges.get(self.next_edge) {
            self.cross(*edge)?;
        }
        let mut series: BTreeMap<(Dimensions, Span), SessionTotals> = BTreeMap::new();
        let oddities = self.done.iter().map(|(span, segment)| (*span, segment.oddities)).collect();
        for (span, segment) in &self.done {
            for (own, totals) in dimensions.iter().zip(&segment.totals) {
                if self.view.takes(own) {
                    let sum = series.entry((self.view.group(own), *span)).or_default();
                    sum.billed_us += totals.billed_us;
                    sum.started += totals.started;
                    sum.samples = sum.samples.together_with(&totals.samples);
                }
            }
        }
        let answers = series.into_iter().map(|((dimensions, span), totals)| SeriesSpan {
            dimensions,
            span,
            totals: Totals::Session(totals),
        });
        Ok((self.at, answers.filter(|series| !series.totals.is_empty()).collect(), oddities))
    }
}
