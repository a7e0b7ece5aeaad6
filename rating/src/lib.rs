//! The pure core of Meterhouse: what usage means and what it costs.
//!
//! Modules are declared in the order in which data flows through them. Nothing here does IO, reads a
//! clock or draws a random number: time and identifiers come in as arguments.

pub mod catalog;
pub mod exact;
pub mod invoice;
pub mod line;
pub mod money;
pub mod period;
pub mod price;
pub mod quantity;
