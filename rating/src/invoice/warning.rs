//! What an invoice's reader must know though it has an amount, or why an amount is missing. Never a silent zero.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::exact::Exact;
use crate::quantity::Dimensions;
use crate::quantity::rollup::{CumulativeRollup, GaugeRollup};
use crate::quantity::session::SessionOddities;

/// A warning row of a draft.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "warning")]
pub enum Warning {
    /// The plan has no price for what was used: it is not billed.
    UsageWithoutPrice { meter: String, dimensions: Dimensions, quantity: Exact },
    /// A price has no cell for these values: it is not billed.
    NoPriceForDimensions { price: String, dimensions: Dimensions, quantity: Exact },
    /// Usage outside of every subscription of the tenant: it is not billed.
    UsageWithoutSubscription { meter: String, quantity: Exact },
    /// Levels below zero were reported: they count as they are.
    NegativeLevel { meter: String, samples: u64 },
    /// A billable quantity below zero: it is paid back.
    NegativeQuantity { price: String, quantity: Exact },
    /// Counter values below zero were reported.
    NegativeCounter { meter: String, samples: u64 },
    /// A counter grew by more than the meter's limit between two samples: it counts as it is.
    CounterJump { meter: String, increase: Exact, limit: Exact },
    /// Sessions that stopped, or were said to live, without having started: they are not billed.
    StopWithoutStart { meter: String, sessions: u64 },
    /// Sessions that ended before they started: they are not billed.
    StopBeforeStart { meter: String, sessions: u64 },
    /// Sessions without a stop, closed by the meter's timeout.
    SessionTimedOut { meter: String, sessions: u64 },
}

impl Warning {
    /// What a gauge's samples must be warned about.
    pub fn of_gauge(meter: &str, rollup: &GaugeRollup) -> Vec<Warning> {
        let samples = rollup.negative_samples;
        let meter = meter.to_owned();
        if samples == 0 { Vec::new() } else { vec![Warning::NegativeLevel { meter, samples }] }
    }

    /// What a counter's samples must be warned about; `limit` is the meter's highest credible step, if it has one.
    pub fn of_counter(meter: &str, rollup: &CumulativeRollup, limit: Option<&Exact>) -> Vec<Warning> {
        let mut warnings = Vec::new();
        let samples = rollup.negative_samples;
        if samples > 0 {
            warnings.push(Warning::NegativeCounter { meter: meter.to_owned(), samples });
        }
        let increase = Exact::from_nano(rollup.largest_step_nano);
        if let Some(limit) = limit.filter(|limit| increase > **limit) {
            let limit = limit.clone();
            warnings.push(Warning::CounterJump { meter: meter.to_owned(), increase, limit });
        }
        warnings
    }

    /// What a meter's sessions must be warned about.
    pub fn of_sessions(meter: &str, oddities: &SessionOddities) -> Vec<Warning> {
        let meter = || meter.to_owned();
        let SessionOddities { stops_without_start, ends_before_start, timed_out } = *oddities;
        [
            (
                stops_without_start,
                Warning::StopWithoutStart { meter: meter(), sessions: stops_without_start },
            ),
            (ends_before_start, Warning::StopBeforeStart { meter: meter(), sessions: ends_before_start }),
            (timed_out, Warning::SessionTimedOut { meter: meter(), sessions: timed_out }),
        ]
        .into_iter()
        .filter_map(|(sessions, warning)| (sessions > 0).then_some(warning))
        .collect()
    }

    /// Whether something was used and not billed.
    pub fn leaves_usage_unbilled(&self) -> bool {
        matches!(
            self,
            Warning::UsageWithoutPrice { .. }
                | Warning::NoPriceForDimensions { .. }
                | Warning::UsageWithoutSubscription { .. }
        )
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Warning::UsageWithoutPrice { meter, dimensions, quantity } => {
                write!(out, "no price for {quantity} of {meter}{}", shown(dimensions))
            }
            Warning::NoPriceForDimensions { price, dimensions, quantity } => {
                write!(out, "price {price} has no cell for {quantity}{}", shown(dimensions))
            }
            Warning::UsageWithoutSubscription { meter, quantity } => {
                write!(out, "{quantity} of {meter} outside of every subscription")
            }
            Warning::NegativeLevel { meter, samples } => {
                write!(out, "{samples} levels of {meter} below zero")
            }
            Warning::NegativeQuantity { price, quantity } => {
                write!(out, "price {price} pays back {quantity}")
            }
            Warning::NegativeCounter { meter, samples } => {
                write!(out, "{samples} values of counter {meter} below zero")
            }
            Warning::CounterJump { meter, increase, limit } => {
                write!(out, "counter {meter} grew by {increase} at once, more than {limit}")
            }
            Warning::StopWithoutStart { meter, sessions } => {
                write!(out, "{sessions} stops or heartbeats of {meter} without a start")
            }
            Warning::StopBeforeStart { meter, sessions } => {
                write!(out, "{sessions} sessions of {meter} ended before they started")
            }
            Warning::SessionTimedOut { meter, sessions } => {
                write!(out, "{sessions} sessions of {meter} closed by timeout")
            }
        }
    }
}

fn shown(dimensions: &Dimensions) -> String {
    let pairs: Vec<String> = dimensions.iter().map(|(name, value)| format!(" {name}={value}")).collect();
    pairs.concat()
}
