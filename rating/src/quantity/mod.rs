//! Exact quantities: how much of a meter a tenant used in a span (DESIGN.md 3.5).
//!
//! Owns the algorithms as plain state machines that are fed in time order. Does not read events or know prices.

pub mod measure;

pub use measure::{Measure, MeterKind, UnknownMeasure};
