//! Drafts: from a catalog and a tenant's events to lines, warnings and sums.

#[path = "../oracle/mod.rs"]
mod oracle;

mod cases;
mod examples;
mod property;
mod warned;
mod world;
