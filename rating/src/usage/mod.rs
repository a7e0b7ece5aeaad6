//! What a tenant used in a period: the question that prices ask, and the totals that answer it.
//!
//! Owns the way in which a meter is looked at (`View`), what is asked of it (`Wanted`, `Demand`), the fold of one tenant's
//! events over all that is asked (`TenantFold`), and the answer (`Usage`). Does not own where events come from (`sql`)
//! nor which price asks for what (`draft`). It keeps DESIGN.md 3.5: a tenant's level is the sum over its resources, so
//! a price that adds up over dimensions needs a series of its own and cannot be added up from narrower ones.

mod carried;
mod fold;
mod segments;
mod totals;
mod view;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::period::{Period, Span};
use crate::quantity::session::SessionOddities;
use crate::quantity::{Dimensions, Measure, Measured, Quantity};

pub use carried::{CarriedSample, CarriedSession, CarriedState};
pub use fold::{BadDimensions, MeterAnswers, MeterFold, Reading, ResumeError, Sample};
pub use segments::{DAY_US, SpanInParts, day_span, parts_of_day, question_key};
pub use totals::{DeltaTotals, Totals};
pub use view::View;

/// One look at a meter over some stretches of a period.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Wanted {
    pub view: View,
    /// Ascending and apart from each other; what happens between them is carried but not counted.
    pub spans: Vec<Span>,
    pub measures: BTreeSet<Measure>,
    /// Whether the single values of a delta meter are wanted, for percentages with fees per transaction.
    pub transactions: bool,
}

/// Everything that is asked of one tenant's events in one period. No two entries have the same view and spans.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Demand {
    pub tenant: String,
    pub period: Period,
    pub wanted: Vec<Wanted>,
}

/// The totals of one set of dimension values in one span.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SeriesSpan {
    pub dimensions: Dimensions,
    pub span: Span,
    pub totals: Totals,
}

/// What one tenant used: an answer for each entry of its demand.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Usage {
    pub demand: Demand,
    /// In the order of `demand.wanted`; within each in the order of dimensions and spans. Dimension values that hold
    /// nothing in a span (no event, nothing carried in) are left out of it.
    pub answers: Vec<Vec<SeriesSpan>>,
    /// By meter: what should not happen to sessions within the period.
    pub session_oddities: BTreeMap<String, SessionOddities>,
}

impl Demand {
    /// Adds a question, joined with an earlier one about the same view and spans.
    pub fn ask(&mut self, asked: Wanted) {
        let same = |known: &&mut Wanted| known.view == asked.view && known.spans == asked.spans;
        match self.wanted.iter_mut().find(same) {
            Some(known) => {
                known.measures.extend(&asked.measures);
                known.transactions |= asked.transactions;
            }
            None => self.wanted.push(asked),
        }
    }
}

impl Usage {
    /// The answer of a tenant that used nothing.
    pub fn unused(demand: Demand) -> Usage {
        let answers = demand.wanted.iter().map(|_| Vec::new()).collect();
        Usage { demand, answers, session_oddities: BTreeMap::new() }
    }

    /// The answers to a question about a view over exactly these spans; none if it was not asked.
    pub fn of(&self, view: &View, spans: &[Span]) -> Option<&[SeriesSpan]> {
        let asked =
            self.demand.wanted.iter().position(|wanted| wanted.view == *view && wanted.spans == spans);
        asked.and_then(|at| self.answers.get(at)).map(Vec::as_slice)
    }

    /// Every quantity that was asked for, in the order of the questions; `unit_of` names a meter's unit.
    pub fn quantities<'u>(
        &'u self,
        unit_of: impl Fn(&str) -> String + 'u,
    ) -> impl Iterator<Item = Quantity> + 'u {
        self.demand.wanted.iter().zip(&self.answers).flat_map(move |(wanted, series)| {
            let unit = unit_of(&wanted.view.meter);
            series.iter().flat_map(move |series| {
                let unit = unit.clone();
                let taken = move |measure: &Measure| self.quantity(&wanted.view, series, *measure, &unit);
                wanted.measures.iter().filter_map(taken).collect::<Vec<_>>()
            })
        })
    }

    /// One measure of one series; nothing when its totals do not hold the measure.
    pub fn quantity(
        &self,
        view: &View,
        series: &SeriesSpan,
        measure: Measure,
        unit: &str,
    ) -> Option<Quantity> {
        Some(Quantity {
            tenant: self.demand.tenant.clone(),
            meter: view.meter.clone(),
            dimensions: series.dimensions.clone(),
            measure,
            span: series.span,
            unit: unit.to_owned(),
            value: series.totals.measure(measure, &self.demand.period.span)?,
            samples: series.totals.samples(),
            carried_in: series.totals.carried_in(),
        })
    }
}
