//! Exact quantities: how much of a meter a tenant used in a span (DESIGN.md 3.5).
//!
//! Owns the algorithms as plain state machines, one file per meter kind, that are fed in (time, arrival) order, can be
//! cut into hours and days, and resume from the state that the day before left. Does not read events or know prices.
//!
//! Levels and values are `i128` in nano units (scaled by 1e9), times are microseconds UTC, and everything that could
//! pass 128 bits is either kept wider or is an error that names tenant and meter.

pub mod cumulative;
pub mod delta;
mod error;
pub mod gauge;
pub mod measure;
mod measured;
mod percentile;
pub mod rollup;
pub mod session;
pub mod unique;
mod wide;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::exact::Exact;
use crate::period::Span;

pub use error::{FoldError, QuantityError, Samples};
pub use measure::{KindName, Measure, MeterKind, SessionRules, UnknownMeasure};
pub use measured::Measured;
pub use percentile::BUCKET_US;
pub use wide::WideSum;

/// The names and values by which a quantity is split, `region: eu`.
pub type Dimensions = BTreeMap<String, String>;

/// How much of a meter a tenant used in one span, by one measure.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quantity {
    pub tenant: String,
    pub meter: String,
    pub dimensions: Dimensions,
    pub measure: Measure,
    pub span: Span,
    /// The meter's unit, before a price converts it.
    pub unit: String,
    /// Exact: a decimal when it ends, else a ratio.
    pub value: Exact,
    #[serde(flatten)]
    pub samples: Samples,
    /// The level, or nothing worth naming, that earlier periods carried in.
    pub carried_in: Exact,
}

/// How the quantities of a period's spans become that of the period. Levels hold for a time: a peak held for half the month
/// costs half.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OverTime {
    /// Sums, hours and increases of the spans are added.
    AddsUp,
    /// The quantity is per period and weighs by its span's share of it.
    Weighs,
    /// It is over the whole period already, as averages are.
    IsWeighed,
}

impl Measure {
    pub fn over_time(self) -> OverTime {
        match self {
            Measure::Peak
            | Measure::P95
            | Measure::Last
            | Measure::Min
            | Measure::SumOfPeaks
            | Measure::Max
            | Measure::BusiestHour
            | Measure::UniqueResources => OverTime::Weighs,
            Measure::Average => OverTime::IsWeighed,
            Measure::UnitHours
            | Measure::Sum
            | Measure::Count
            | Measure::Increase
            | Measure::SessionTime
            | Measure::ResourceHours => OverTime::AddsUp,
        }
    }

    /// Whether the quantity of a span has yet to be multiplied with its share of the period.
    pub fn weighs_by_time(self) -> bool {
        self.over_time() == OverTime::Weighs
    }
}
