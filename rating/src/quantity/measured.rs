//! From the totals of a span to the value of one measure.
//!
//! Owns which total answers which measure, so that whoever folds events needs to know only the measure's name.

use super::error::Samples;
use super::gauge::GaugeTotals;
use super::measure::Measure;
use super::rollup::{CumulativeRollup, DeltaRollup, GaugeRollup};
use super::session::SessionTotals;
use super::unique::UniqueTotals;
use crate::exact::Exact;
use crate::period::Span;

/// Totals of one span that some measures can be taken of.
pub trait Measured {
    /// The measure's value, or nothing when these totals do not hold it. `period` is the whole billing period, of
    /// which the totals may be one span.
    fn measure(&self, measure: Measure, period: &Span) -> Option<Exact>;

    fn samples(&self) -> Samples;

    /// What earlier periods carried in; zero where nothing is.
    fn carried_in(&self) -> Exact {
        Exact::ZERO
    }
}

impl Measured for GaugeRollup {
    fn measure(&self, measure: Measure, period: &Span) -> Option<Exact> {
        match measure {
            Measure::Peak => Some(self.peak()),
            Measure::Average => Some(self.average(period)),
            Measure::Last => Some(self.last()),
            Measure::Min => Some(self.min()),
            Measure::UnitHours => Some(self.unit_hours()),
            _ => None,
        }
    }

    fn samples(&self) -> Samples {
        self.samples
    }

    fn carried_in(&self) -> Exact {
        Exact::from_nano(self.opening_nano)
    }
}

impl Measured for GaugeTotals {
    fn measure(&self, measure: Measure, period: &Span) -> Option<Exact> {
        match measure {
            Measure::P95 => self.p95.clone(),
            Measure::SumOfPeaks => self.sum_of_peaks.clone(),
            _ => self.rollup.measure(measure, period),
        }
    }

    fn samples(&self) -> Samples {
        self.rollup.samples
    }

    fn carried_in(&self) -> Exact {
        self.rollup.carried_in()
    }
}

impl Measured for DeltaRollup {
    fn measure(&self, measure: Measure, _period: &Span) -> Option<Exact> {
        match measure {
            Measure::Sum => Some(self.sum()),
            Measure::Count => Some(self.count()),
            Measure::Max => Some(self.max()),
            Measure::BusiestHour => Some(self.busiest_hour()),
            _ => None,
        }
    }

    fn samples(&self) -> Samples {
        self.samples
    }
}

impl Measured for CumulativeRollup {
    fn measure(&self, measure: Measure, _period: &Span) -> Option<Exact> {
        (measure == Measure::Increase).then(|| self.increase())
    }

    fn samples(&self) -> Samples {
        self.samples
    }
}

impl Measured for SessionTotals {
    fn measure(&self, measure: Measure, _period: &Span) -> Option<Exact> {
        (measure == Measure::SessionTime).then(|| self.session_time())
    }

    fn samples(&self) -> Samples {
        self.samples
    }
}

impl Measured for UniqueTotals {
    fn measure(&self, measure: Measure, _period: &Span) -> Option<Exact> {
        match measure {
            Measure::UniqueResources => Some(self.unique_resources()),
            Measure::ResourceHours => Some(self.resource_hours()),
            _ => None,
        }
    }

    fn samples(&self) -> Samples {
        self.samples
    }
}
