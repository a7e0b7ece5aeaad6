//! The pure core of Meterhouse: what usage means and what it costs.
//!
//! Modules are declared in the order in which data flows through them. Nothing here does IO, reads a
//! clock or draws a random number: time and identifiers come in as arguments.

// Blank lines keep the order: rustfmt sorts what stands together.
pub mod catalog;

pub mod period;

pub mod quantity;

pub mod usage;

pub mod quota;

pub mod price;

pub mod money;

pub mod line;

pub mod invoice;

pub mod draft;

// What all of them count with.
pub mod exact;
