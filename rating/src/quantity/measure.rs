//! Meter kinds and the measures that can be taken of each (DESIGN.md 3.5).

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// What a meter's events mean, with the settings that change it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum MeterKind {
    /// The level of a resource, which holds until its next sample.
    Gauge {
        /// A level drops to zero this long after its sample when no newer one came; `None` holds for ever.
        expires_after_us: Option<i64>,
    },
    /// Each event adds its value.
    Delta,
    /// A counter that only grows until it resets.
    Cumulative,
    /// Start and stop of something that is billed by its duration.
    Session(SessionRules),
    /// Which resources were seen.
    Unique,
}

/// How a session's duration becomes billed time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct SessionRules {
    /// A session without stop ends this long after its last heartbeat (or start); `None` stays open.
    pub timeout_us: Option<i64>,
    /// Billed time is rounded up to whole increments per session, for example one started minute.
    pub increment_us: Option<i64>,
    /// A session is billed at least this long.
    pub minimum_us: Option<i64>,
}

/// The kinds without their settings, to say which measure belongs to which.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KindName {
    Gauge,
    Delta,
    Cumulative,
    Session,
    Unique,
}

impl MeterKind {
    pub fn name(&self) -> KindName {
        match self {
            MeterKind::Gauge { .. } => KindName::Gauge,
            MeterKind::Delta => KindName::Delta,
            MeterKind::Cumulative => KindName::Cumulative,
            MeterKind::Session(_) => KindName::Session,
            MeterKind::Unique => KindName::Unique,
        }
    }

    /// All measures that can be taken of a meter of this kind.
    pub fn measures(&self) -> impl Iterator<Item = Measure> {
        let name = self.name();
        Measure::ALL.into_iter().filter(move |measure| measure.kind() == name)
    }
}

impl KindName {
    pub fn as_str(self) -> &'static str {
        match self {
            KindName::Gauge => "gauge",
            KindName::Delta => "delta",
            KindName::Cumulative => "cumulative",
            KindName::Session => "session",
            KindName::Unique => "unique",
        }
    }
}

impl fmt::Display for KindName {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.as_str())
    }
}

/// One way to turn a meter's events of a span into one number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Measure {
    /// Gauge: highest sum over the resources.
    Peak,
    /// Gauge: integral of the sum over the resources, divided by the length of the whole period.
    Average,
    /// Gauge: highest 5-minute average after dropping the top 5 %, by nearest rank.
    P95,
    /// Gauge: sum over the resources at the end.
    Last,
    /// Gauge: lowest sum over the resources.
    Min,
    /// Gauge: integral of the sum over the resources, in unit times hours.
    UnitHours,
    /// Gauge: each resource's own peak, added.
    SumOfPeaks,
    /// Delta: all values added.
    Sum,
    /// Delta: number of events.
    Count,
    /// Delta: highest single value.
    Max,
    /// Delta: highest sum of one clock hour.
    BusiestHour,
    /// Cumulative: growth, resets seen through.
    Increase,
    /// Session: billed time in seconds.
    SessionTime,
    /// Unique: number of distinct resources.
    UniqueResources,
    /// Unique: number of distinct pairs of resource and clock hour.
    ResourceHours,
}

/// The text names no measure.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown measure {name:?}")]
pub struct UnknownMeasure {
    pub name: String,
}

impl Measure {
    pub const ALL: [Measure; 15] = [
        Measure::Peak,
        Measure::Average,
        Measure::P95,
        Measure::Last,
        Measure::Min,
        Measure::UnitHours,
        Measure::SumOfPeaks,
        Measure::Sum,
        Measure::Count,
        Measure::Max,
        Measure::BusiestHour,
        Measure::Increase,
        Measure::SessionTime,
        Measure::UniqueResources,
        Measure::ResourceHours,
    ];

    /// The name as catalogs, tables and reports write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Measure::Peak => "peak",
            Measure::Average => "average",
            Measure::P95 => "p95",
            Measure::Last => "last",
            Measure::Min => "min",
            Measure::UnitHours => "unit_hours",
            Measure::SumOfPeaks => "sum_of_peaks",
            Measure::Sum => "sum",
            Measure::Count => "count",
            Measure::Max => "max",
            Measure::BusiestHour => "busiest_hour",
            Measure::Increase => "increase",
            Measure::SessionTime => "session_time",
            Measure::UniqueResources => "unique_resources",
            Measure::ResourceHours => "resource_hours",
        }
    }

    pub fn kind(self) -> KindName {
        match self {
            Measure::Peak
            | Measure::Average
            | Measure::P95
            | Measure::Last
            | Measure::Min
            | Measure::UnitHours
            | Measure::SumOfPeaks => KindName::Gauge,
            Measure::Sum | Measure::Count | Measure::Max | Measure::BusiestHour => KindName::Delta,
            Measure::Increase => KindName::Cumulative,
            Measure::SessionTime => KindName::Session,
            Measure::UniqueResources | Measure::ResourceHours => KindName::Unique,
        }
    }
}

impl fmt::Display for Measure {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.as_str())
    }
}

impl FromStr for Measure {
    type Err = UnknownMeasure;

    fn from_str(name: &str) -> Result<Measure, UnknownMeasure> {
        Measure::ALL
            .into_iter()
            .find(|measure| measure.as_str() == name)
            .ok_or_else(|| UnknownMeasure { name: name.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_measure_is_found_by_its_name() {
        for measure in Measure::ALL {
            assert_eq!(measure.as_str().parse(), Ok(measure));
        }
        assert!("Peak".parse::<Measure>().is_err());
    }
}
