//! Spans cut into UTC days, and their totals put together again from the days' own.
//!
//! Owns which parts a question has on a day and when two questions are the same on it. Inside a span, parts meet only at
//! a UTC midnight: no clock hour is ever cut for somebody else's reason, so that busiest hours and resource-hours add up.

use std::collections::HashSet;

use super::{DeltaTotals, Totals, View};
use crate::period::{MICROSECONDS_PER_HOUR, Span};
use crate::quantity::gauge::GaugeTotals;
use crate::quantity::rollup::{CumulativeRollup, DeltaRollup, GaugeRollup, HourSums, RollupError};
use crate::quantity::session::SessionTotals;
use crate::quantity::unique::UniqueTotals;
use crate::quantity::{FoldError, KindName, Measure, MeterKind, Samples, WideSum};

pub const DAY_US: i64 = 24 * MICROSECONDS_PER_HOUR;

/// The UTC day that starts so many days after 1970-01-01.
pub fn day_span(day: i32) -> Span {
    let start_us = i64::from(day) * DAY_US;
    Span { start_us, end_us: start_us + DAY_US }
}

/// What of some spans lies on a UTC day.
pub fn parts_of_day(spans: &[Span], day: i32) -> Vec<Span> {
    let whole = day_span(day);
    spans.iter().filter_map(|span| span.intersection(&whole)).collect()
}

/// A name for a question about one day, the same for all that ask it: the meter's rules, how it is looked at, and the parts
/// of the day.
pub fn question_key(kind: &MeterKind, view: &View, parts: &[Span], day: i32) -> String {
    let start_us = day_span(day).start_us;
    let offsets: Vec<(i64, i64)> =
        parts.iter().map(|part| (part.start_us - start_us, part.end_us - start_us)).collect();
    let text = format!("{kind:?} {view:?} {offsets:?}");
    blake3::hash(text.as_bytes()).to_hex()[..16].to_owned()
}

impl Measure {
    /// Whether the measure of a span follows from the totals of its days.
    pub fn composes(self) -> bool {
        !matches!(self, Measure::P95 | Measure::SumOfPeaks)
    }
}

impl Totals {
    /// The totals of a stretch in which nothing happened and nothing was held.
    pub fn nothing(kind: KindName, span: Span) -> Totals {
        let samples = Samples::default();
        match kind {
            KindName::Gauge => Totals::Gauge(GaugeTotals {
                rollup: GaugeRollup {
                    span,
                    opening_nano: 0,
                    closing_nano: 0,
                    highest_nano: 0,
                    lowest_nano: 0,
                    integral: WideSum::default(),
                    samples,
                    negative_samples: 0,
                },
                p95: None,
                sum_of_peaks: None,
            }),
            KindName::Delta => Totals::Delta(DeltaTotals {
                rollup: DeltaRollup {
                    span,
                    sum_nano: 0,
                    max_nano: None,
                    samples,
                    hours: HourSums::default(),
                },
                transactions_nano: None,
            }),
            KindName::Cumulative => Totals::Cumulative(CumulativeRollup {
                span,
                increase_nano: 0,
                largest_step_nano: 0,
                resets: 0,
                negative_samples: 0,
                samples,
            }),
            KindName::Session => Totals::Session(SessionTotals::default()),
            KindName::Unique => {
                Totals::Unique(UniqueTotals { span, resources: 0, resource_hours: 0, samples })
            }
        }
    }

    /// These and those of the stretch after them, which begins at `at_us`. Resources that both saw are counted twice: whoever knows them by
    /// name corrects that.
    fn followed_by(&self, later: &Totals, at_us: i64) -> Result<Totals, RollupError> {
        Ok(match (self, later) {
            (Totals::Gauge(own), Totals::Gauge(later)) => Totals::Gauge(GaugeTotals {
                rollup: own.rollup.followed_by(&later.rollup)?,
                p95: None,
                sum_of_peaks: None,
            }),
            (Totals::Delta(own), Totals::Delta(later)) => Totals::Delta(DeltaTotals {
                rollup: own.rollup.followed_by(&later.rollup)?,
                transactions_nano: None,
            }),
            (Totals::Cumulative(own), Totals::Cumulative(later)) => {
                Totals::Cumulative(own.followed_by(later)?)
            }
            (Totals::Session(own), Totals::Session(later)) => Totals::Session(SessionTotals {
                billed_us: own.billed_us.checked_add(later.billed_us).ok_or(FoldError::Overflow {
                    what: "session time",
                    at_us: later.samples.last_us.unwrap_or(at_us),
                })?,
                samples: own.samples.together_with(&later.samples),
                started: own.started + later.started,
            }),
            (Totals::Unique(own), Totals::Unique(later)) => Totals::Unique(UniqueTotals {
                span: Span { start_us: own.span.start_us, end_us: later.span.end_us },
                resources: own.resources + later.resources,
                resource_hours: own.resource_hours + later.resource_hours,
                samples: own.samples.followed_by(&later.samples),
            }),
            (own, _) => return Err(RollupError::OtherKind { at_us: own.start_us() }),
        })
    }

    fn start_us(&self) -> i64 {
        match self {
            Totals::Gauge(totals) => totals.rollup.span.start_us,
            Totals::Delta(totals) => totals.rollup.span.start_us,
            Totals::Cumulative(totals) => totals.span.start_us,
            Totals::Session(totals) => totals.samples.first_us.unwrap_or_default(),
            Totals::Unique(totals) => totals.span.start_us,
        }
    }
}

/// The totals of one series in one span, from those of its parts. Parts that are not given held nothing.
#[derive(Debug, Clone)]
pub struct SpanInParts {
    kind: KindName,
    span: Span,
    until_us: i64,
    totals: Option<Totals>,
    seen: HashSet<Box<str>>,
}

impl SpanInParts {
    pub fn new(kind: KindName, span: Span) -> SpanInParts {
        SpanInParts { kind, span, until_us: span.start_us, totals: None, seen: HashSet::new() }
    }

    /// Adds a later part, with the resources that it saw if that is what is counted.
    pub fn add<'s>(
        &mut self,
        part: Span,
        totals: Totals,
        seen: impl IntoIterator<Item = &'s str>,
    ) -> Result<(), RollupError> {
        if part.start_us < self.until_us || part.end_us > self.span.end_us {
            return Err(RollupError::NotNeighbours { end_us: self.until_us, start_us: part.start_us });
        }
        for name in seen {
            if !self.seen.contains(name) {
                self.seen.insert(name.into());
            }
        }
        self.fill_until(part.start_us)?;
        self.push(totals)?;
        self.until_us = part.end_us;
        Ok(())
    }

    pub fn finish(mut self) -> Result<Totals, RollupError> {
        self.fill_until(self.span.end_us)?;
        let mut totals = self.totals.unwrap_or_else(|| Totals::nothing(self.kind, self.span));
        if let Totals::Unique(unique) = &mut totals {
            unique.resources = self.seen.len() as u64;
        }
        Ok(totals)
    }

    fn fill_until(&mut self, at_us: i64) -> Result<(), RollupError> {
        if self.until_us < at_us {
            let gap = Span { start_us: self.until_us, end_us: at_us };
            self.push(Totals::nothing(self.kind, gap))?;
            self.until_us = at_us;
        }
        Ok(())
    }

    fn push(&mut self, later: Totals) -> Result<(), RollupError> {
        self.totals = Some(match self.totals.take() {
            None => later,
            Some(before) => before.followed_by(&later, self.until_us)?,
        });
        Ok(())
    }
}
