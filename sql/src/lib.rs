//! The lake as SQL sees it: which tables there are, what their columns mean, and how to query them.

pub mod functions;
pub mod lake;

pub mod quantities;
pub mod query_memory;
pub mod relation;
pub mod report;
pub mod rollups;
pub mod session;
mod tenant_terms;

#[cfg(feature = "cluster")]
pub mod cluster;
