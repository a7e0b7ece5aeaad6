//! The totals of one series in one span, whatever its meter's kind.

use serde::{Deserialize, Serialize};

use crate::exact::Exact;
use crate::period::Span;
use crate::quantity::gauge::GaugeTotals;
use crate::quantity::rollup::{CumulativeRollup, DeltaRollup};
use crate::quantity::session::SessionTotals;
use crate::quantity::unique::UniqueTotals;
use crate::quantity::{Measure, Measured, Samples};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Totals {
    Gauge(GaugeTotals),
    Delta(DeltaTotals),
    Cumulative(CumulativeRollup),
    Session(SessionTotals),
    Unique(UniqueTotals),
}

/// The sums of a delta meter, with the single values where they were asked for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DeltaTotals {
    pub rollup: DeltaRollup,
    /// In the order of time, in nano units.
    pub transactions_nano: Option<Vec<i128>>,
}

impl Totals {
    fn measured(&self) -> &dyn Measured {
        match self {
            Totals::Gauge(totals) => totals,
            Totals::Delta(totals) => &totals.rollup,
            Totals::Cumulative(totals) => totals,
            Totals::Session(totals) => totals,
            Totals::Unique(totals) => totals,
        }
    }

    /// Whether nothing happened and nothing was carried in: such a series is not worth a row.
    pub fn is_empty(&self) -> bool {
        let held = match self {
            Totals::Gauge(totals) => {
                let rollup = &totals.rollup;
                // Levels that cancel each other have peaks of their own.
                let has_peaks = totals.sum_of_peaks.as_ref().is_some_and(|peaks| !peaks.is_zero());
                rollup.opening_nano != 0 || rollup.highest_nano != 0 || rollup.lowest_nano != 0 || has_peaks
            }
            Totals::Session(totals) => totals.billed_us != 0,
            Totals::Delta(_) | Totals::Cumulative(_) | Totals::Unique(_) => false,
        };
        !held && self.samples().count == 0
    }
}

impl Measured for Totals {
    fn measure(&self, measure: Measure, period: &Span) -> Option<Exact> {
        self.measured().measure(measure, period)
    }

    fn samples(&self) -> Samples {
        self.measured().samples()
    }

    fn carried_in(&self) -> Exact {
        self.measured().carried_in()
    }
}
